/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the program in the VM know of each other: host.c is in
 * charge, guest.c manages the guests, report.c informs the user, counters.c
 * reads the kernel, terminal.c writes lines.
 */
#ifndef KSM_DEMO_H
#define KSM_DEMO_H

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "pattern.h"

#define MAX_GUESTS	8
#define ANSWER_BYTES	200

struct options {
	const char *kernel;	/* the guests' kernel image */
	const char *initrd;
	const char *name;	/* what the report calls the kernel */
	const char *dir;	/* for the report and the guests' logs */
	unsigned int guests;
	unsigned int mib;	/* memory of a guest */
	bool tty;
	bool self_test;
	bool keeps_chains;	/* this kernel prunes chains only while there is an mm to scan */
	struct layout layout;
};

extern struct options opt;

/* One look at the kernel's counters */
struct sample {
	double time;		/* seconds since the demo's start */
	double cpu;		/* seconds that all ksmd threads have run */
	unsigned long shared, sharing, unshared, volatiles, zero;
	unsigned long chains, dups, scans;
};

struct guest {
	unsigned int nr;	/* from 1 */
	pid_t pid;
	int fd;
	bool asked;		/* its answer was not looked at yet */
	bool answered;
	size_t len;
	char answer[ANSWER_BYTES];
	char log[256];
};

extern struct guest guests[MAX_GUESTS];

/* counters.c */
double now(void);
void ksm_write(const char *file, unsigned long value);
bool ksm_try_read(const char *file, unsigned long *value);
void take_sample(struct sample *s);
unsigned long saved_pages(const struct sample *s);
unsigned long guest_resident_kib(pid_t pid);
unsigned long guest_rmap_items(pid_t pid);

/* guest.c */
void guests_start(void);
void guest_ask(struct guest *g, const char *command);
bool guests_answer(const char *command, double limit);
bool guests_leave(double limit);
void guests_idle(double seconds);

/* report.c */
struct result {
	struct sample filled, settled;
	struct sample found;	/* when 95 % of what is shared in the end was */
	double memory_ready;
	bool in_time;
	unsigned long resident_kib;
	unsigned long metadata;
	const char *metadata_source;
};

void stage(const char *what);
void progress(void);
[[gnu::format(printf, 2, 3)]] bool check(bool held, const char *fmt, ...);
bool report_out(const struct result *r);

/* terminal.c */
[[gnu::format(printf, 1, 2)]] void say_for_now(const char *fmt, ...);
[[gnu::format(printf, 1, 2)]] void say(const char *fmt, ...);
[[gnu::format(printf, 1, 2), gnu::noreturn]] void fail(const char *fmt, ...);

#endif /* KSM_DEMO_H */
