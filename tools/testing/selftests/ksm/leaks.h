/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that nobody uses any more and that is not free. The numbers to compare
 * are taken before the test and after all is over, while only the caller runs.
 */
#ifndef KSM_SELFTEST_LEAKS_H
#define KSM_SELFTEST_LEAKS_H

#include <stdbool.h>

/* anon_vma, anon_vma_chain, vm_area_struct, mm_struct */
#define LEAK_CACHES 4

struct memory_use {
	/* Anonymous pages on the reclaim lists that nobody maps. */
	long stray;
	/* Anonymous pages that are mapped, less those of the caller. */
	long mapped;
	/* Pages that are not free, and that no counter of the kernel includes. */
	long unknown;
	/* Objects of the caches that a page's reverse mapping goes through. */
	long objects[LEAK_CACHES];
};

/* Gives up the page cache, to see the rest. */
void memory_use_now(struct memory_use *use);

/*
 * Waits for what is freed late. Returns false if there is a leak, and reports
 * it, with the location of its frames.
 */
bool memory_is_back(const struct memory_use *before);

/* How much more may there be of each? The reasons are in leaks.c. */
extern const struct memory_use memory_tolerance;

#endif
