/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Other users of accessed bits: idle page tracking, DAMON, and the
 * multi-generational LRU.
 */
#ifndef KSM_SELFTEST_LRU_H
#define KSM_SELFTEST_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_IDLE "/sys/kernel/mm/page_idle/bitmap"
#define DAMON "/sys/kernel/mm/damon/admin/kdamonds/"

/* Is the page marked idle and not accessed? Reading the bitmap checks that. */
int idle_get(uint64_t pfn);
int idle_set(uint64_t pfn);
/* The frame with the marks of a page: of a huge page, the first one. */
uint64_t head_of(uint64_t pfn);
/* Of the caller's pages, huge or not: how many are not idle any more. */
int idle_set_all(const char *mem, size_t pages);
size_t idle_count_accessed(const char *mem, size_t pages);

/* DAMON looks at these pages of the caller, all the time, until damon_stop(). */
int damon_watch(const char *mem, size_t pages);
int damon_stop(void);

/* Each returns 0 or -errno; -ENODEV if there is no such LRU. */
int lru_gen_start(void);
int lru_gen_stop(void);
/* A new generation for the test's group; accessed pages move there. */
int lru_gen_age(void);
/* Pages of anonymous memory in the group's youngest generation, or -errno. */
long lru_gen_youngest(void);

/*
 * Clearing accessed bits without a flush leaves TLBs that do not set them
 * again. An emulated TLB holds all of a small area. Unmapping much memory
 * empties it.
 */
int forget_translations(void);

#endif
