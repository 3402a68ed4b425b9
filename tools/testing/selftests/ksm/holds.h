/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long KSM holds locks. The kernel times itself (CONFIG_KSM_HOLDS, see
 * mm/ksm/tests/holds.h). The time counts that a task of KSM spends, running or
 * asleep, while it holds a lock or while others wait for it; but not the time
 * in which others have its CPU. A virtual CPU may not run either, which the
 * kernel does not know, but hardly each time in the same place. So what took
 * too long is repeated, and the shortest time of each place counts.
 */
#ifndef KSM_SELFTEST_HOLDS_H
#define KSM_SELFTEST_HOLDS_H

#include <stdbool.h>

/* Can this kernel time locks? */
bool holds_there(void);
/*
 * Makes ksmd work, and prints how long it held locks. Returns 0; -ETIME if an
 * mmap_lock, or the lock of a folio or an anon_vma, was held for more than 20
 * ms in the same place each time; or an error of the work.
 */
int holds_are_short(const char *what, int (*work)(void *), void *arg);

#endif
