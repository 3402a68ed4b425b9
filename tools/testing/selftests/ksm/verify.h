/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's own check of what KSM knows (CONFIG_KSM_VERIFY): is it
 * consistent with itself, with the counters, and with the page tables?
 */
#ifndef KSM_SELFTEST_VERIFY_H
#define KSM_SELFTEST_VERIFY_H

#include <stdbool.h>

/* Can this kernel verify? */
bool verify_there(void);
/*
 * Returns 0 if nothing is wrong, or if the kernel cannot verify; -EUCLEAN after
 * printing each violation; or another error of the read.
 */
int verify_now(void);
/* The same, and returns one of its counts, such as "sharers"; or -errno. */
long verify_figure(const char *name);

#endif
