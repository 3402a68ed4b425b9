/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every page of a guest's memory must hold. The guest fills and checks its
 * memory with these functions. The host computes the same on its own, so that a
 * guest with damaged memory cannot report success.
 */
#ifndef KSM_DEMO_PATTERN_H
#define KSM_DEMO_PATTERN_H

#include <stdbool.h>
#include <string.h>

#define PAGE_BYTES	4096UL
#define PAGE_WORDS	(PAGE_BYTES / sizeof(unsigned long))
#define MIB_PAGES	256UL
#define MIB		(MIB_PAGES * PAGE_BYTES)
#define PATCH_WORDS	8UL	/* a guest's own values in a page it wrote */

enum region {
	REGION_COMMON,		/* the same distinct pages in every guest */
	REGION_OWN,		/* pages that no other guest has */
	REGION_ZERO,
	REGION_VOLATILE,	/* rewritten all the time: never checked */
	NR_REGIONS,
};

/* Sizes of a guest's regions, in MiB */
struct layout {
	unsigned long mib[NR_REGIONS];
};

static inline unsigned long pattern_mix(unsigned long x)
{
	x += 0x9e3779b97f4a7c15UL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9UL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebUL;
	return x ^ (x >> 31);
}

/* The page as filled; for a region of its own, seed is the guest's number */
static inline void pattern_fill(unsigned long *page, enum region region,
				unsigned int guest, unsigned long index)
{
	unsigned long seed = region == REGION_COMMON ? 0 : guest;
	unsigned long i, x;

	if (region == REGION_ZERO) {
		memset(page, 0, PAGE_BYTES);
		return;
	}
	x = pattern_mix((seed << 32 | index) ^ pattern_mix(region));
	for (i = 0; i < PAGE_WORDS; i++)
		page[i] = pattern_mix(x + i);
}

/* A guest's own values: a few words, at a different place in every page */
static inline void pattern_patch(unsigned long *page, enum region region,
				 unsigned int guest, unsigned long index)
{
	unsigned long at = index * PATCH_WORDS % PAGE_WORDS;
	unsigned long i;

	if (region != REGION_COMMON && region != REGION_ZERO)
		return;
	for (i = 0; i < PATCH_WORDS; i++)
		page[at + i] = pattern_mix(~(index * PATCH_WORDS + i) ^ (unsigned long)guest << 48);
}

static inline unsigned long pattern_sum(unsigned long sum, const unsigned long *page)
{
	unsigned long i;

	for (i = 0; i < PAGE_WORDS; i++) {
		sum = (sum ^ page[i]) * 0x100000001b3UL;
		sum ^= sum >> 29;
	}
	return sum;
}

#endif /* KSM_DEMO_PATTERN_H */
