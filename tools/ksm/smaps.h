/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads the mappings of a process. For ksmadm and the demonstration: it needs
 * nothing but the C library.
 */
#ifndef KSM_SMAPS_H
#define KSM_SMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A mapping, as /proc/PID/smaps has it; sizes in bytes */
struct area {
	unsigned long long start, end;
	char perms[8];
	char name[256];
	unsigned long long inode;
	long long rss, anonymous, merged, huge, swapped;
	char flags[256];	/* "rd wr mg " */
};

typedef void area_function(const struct area *area, void *argument);

int areas_walk(pid_t pid, area_function *each, void *argument);
bool area_has(const struct area *area, const char *flag);
void copy_printable(char *to, size_t size, const char *from);

#endif /* KSM_SMAPS_H */
