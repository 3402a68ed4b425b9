/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection: kernel allocations that fail when a test wants it: either
 * the n-th one that a task makes, which allows to walk through all of them, or
 * all that some tasks make.
 */
#ifndef KSM_SELFTEST_INJECT_H
#define KSM_SELFTEST_INJECT_H

#include <stdbool.h>
#include <sys/types.h>

/* Instead of the name of a slab cache. */
#define INJECT_ALL NULL		/* objects of all caches, and pages */
#define INJECT_PAGES ""		/* pages alone */

/* The thread that makes the kernel's threads. */
#define KTHREADD 2

bool inject_available(void);
/* From here on, allocations can fail, but none does yet. 0 or -errno. */
int inject_start(void);
void inject_stop(void);
/* Objects of this slab cache alone are to fail. 0 or -errno. */
int inject_only(const char *cache);
int inject_pages_too(void);

/* The n-th allocation of a task from here on fails; a pid of 0 is the caller. */
void fail_nth(pid_t pid, int n);
/* Ends it; true if the failure was due and did happen. */
bool fail_did_happen(pid_t pid);

/* This percentage of the allocations of tasks that may fail does. 0 or -errno. */
int fail_percent(int percent);
/* Sets whether the caller, or all workers, may fail so; returns how many tasks. */
int fail_allow_self(bool may);
int fail_allow_ksmd(bool may);
/* Threads called ksmd or ksmd/N. */
int count_ksmd(void);

#endif
