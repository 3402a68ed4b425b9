/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A QEMU that runs a guest of the demonstration. The guest takes commands over
 * a serial port, and QEMU takes commands over QMP.
 */
#ifndef KSM_GUESTS_QEMU_H
#define KSM_GUESTS_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define GUEST_MIB 128

/**
 * struct qemu - a guest, or the target of a migration
 * @name: of its files
 * @nr: the guest's number, which its memory depends on
 * @pid: QEMU
 * @port: the guest's commands and answers
 * @qmp: QEMU's
 * @answer: the last line that the guest sent
 * @reply: the last line that QEMU sent
 */
struct qemu {
	char name[16];
	unsigned int nr;
	pid_t pid;
	int port;
	int qmp;
	char answer[200];
	char reply[8192];
};

struct settings {
	const char *kernel;
	const char *initrd;
	const char *dir;
	unsigned long common, own, zero, unsteady;	/* MiB */
};

extern struct settings settings;

double now(void);
void nap(double seconds);
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);

/* @incoming: source of its state; NULL: it boots. */
void qemu_start(struct qemu *q, const char *name, unsigned int nr, const char *incoming);
/* Ends it, whatever it does. Does nothing if there is none. */
void qemu_end(struct qemu *q);
/* True if the guest's answer to the command begins as it should. */
bool guest_answers(struct qemu *q, const char *command, double seconds);
void guest_tell(struct qemu *q, const char *command);
bool guest_does(struct qemu *q, const char *command, double seconds);
/* True if QEMU did it; @reply is its answer. */
__attribute__((format(printf, 2, 3))) bool qmp(struct qemu *q, const char *format, ...);
/* The number after a name in the reply; -1 if it is missing. */
long long qmp_number(const struct qemu *q, const char *name);

#endif
