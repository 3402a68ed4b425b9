/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads what the kernel tells about KSM: its files in sysfs and the threads of
 * ksmd. For ksmadm, the demonstration and the measurements: it needs only the C
 * library, prints nothing, and leaves it to the caller what an error means.
 */
#ifndef KSMFS_H
#define KSMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

extern const char *ksmfs_dir;	/* /sys/kernel/mm/ksm, without a slash at the end */

/* These return 0 or an error's number. */
int ksmfs_read(const char *file, char *text, size_t size);
int ksmfs_read_number(const char *file, long long *value);
int ksmfs_write(const char *file, const char *text);
int ksmfs_write_number(const char *file, long long value);

/* A thread of ksmd */
struct ksmd {
	pid_t pid;
	char state;			/* as in /proc/PID/stat */
	unsigned long long ns;		/* that it has run */
};

/* False if @pid is not, or no longer, a thread of ksmd. */
bool ksmd_read(pid_t pid, struct ksmd *thread);
/* Returns how many there are; stores up to @room of them in @threads. */
size_t ksmd_find(struct ksmd *threads, size_t room);

/* The number after "FIELD" or "FIELD:" at the start of a line, or -1 */
long long proc_field(const char *path, const char *field);

#endif /* KSMFS_H */
