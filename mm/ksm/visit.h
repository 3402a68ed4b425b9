/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When a page has to be read again, and when a visit can do without. What is
 * kept for that in its chunk are hints.
 */
#ifndef _MM_KSM_VISIT_H
#define _MM_KSM_VISIT_H

#include <linux/build_bug.h>
#include <linux/hash.h>
#include <linux/minmax.h>

#include "slot.h"

/* Tells page frames apart, most of the time. */
static inline u16 ksm_frame_tag(unsigned long pfn)
{
	return hash_long(pfn, 16);
}

/* Is it the page frame that was read last? Rarely true when it is not. */
static inline bool ksm_same_frame(struct ksm_chunk *chunk, unsigned int place,
				  unsigned long pfn)
{
	return READ_ONCE(chunk->note[place]) == ksm_frame_tag(pfn);
}

/* The caller is the owner of the item, which is %KSM_ITEM_SEEN. */
static inline void ksm_note_frame(struct ksm_chunk *chunk, unsigned int place,
				  unsigned long pfn)
{
	WRITE_ONCE(chunk->note[place], ksm_frame_tag(pfn));
}

/*
 * Reading a page costs a hundred times as much as looking at its accessed bit.
 * But the bit does not show all writes: neither those through a reference from
 * get_user_pages(), nor those by a CPU or a guest with an old TLB entry. So an
 * idle page is read again on its 32nd visit, and then on every 64th.
 */
#define KSM_REREAD_VISITS	64

/*
 * A page that is accessed all the time is not read at each visit either. After
 * three reads it is left alone for one visit, then for 2, 4, and 8 from then
 * on. The first visit that finds it idle reads it if it was accessed since the
 * last read. Each idle visit takes back one of these steps.
 */
#define KSM_BUSY_STEPS		6
/* The low bits count the visits left, above them is the step. */
#define KSM_BUSY_SHIFT		4
/* After this many idle visits no step is left. */
#define KSM_BUSY_VISITS		8

static inline unsigned int ksm_busy_pause(unsigned int step)
{
	BUILD_BUG_ON(1 << (KSM_BUSY_STEPS - 3) >= 1 << KSM_BUSY_SHIFT);
	BUILD_BUG_ON(KSM_BUSY_VISITS < KSM_BUSY_STEPS);
	return step < 3 ? 0 : 1U << (step - 3);
}

static inline u8 ksm_busy(unsigned int step)
{
	return step << KSM_BUSY_SHIFT | ksm_busy_pause(step);
}

/* The page was accessed. Returns whether this visit leaves it alone. */
static inline bool ksm_busy_skip(u8 *busy)
{
	if (*busy & ((1 << KSM_BUSY_SHIFT) - 1)) {
		--*busy;
		return true;
	}
	*busy = ksm_busy(min((*busy >> KSM_BUSY_SHIFT) + 1, KSM_BUSY_STEPS));
	return false;
}

/* The page was idle. Returns whether it was accessed after the last read. */
static inline bool ksm_busy_owed(u8 *busy)
{
	unsigned int step = *busy >> KSM_BUSY_SHIFT;
	bool owed = *busy != ksm_busy(step);

	*busy = ksm_busy(step ? step - 1 : 0);
	return owed;
}

/**
 * enum ksm_visit - what a visit to a page does
 * @KSM_VISIT_READ: it has to be read
 * @KSM_VISIT_IDLE: it has not changed, as far as one can tell without reading
 * @KSM_VISIT_BUSY: it may have changed, but is in use; another visit reads it
 */
enum ksm_visit { KSM_VISIT_READ, KSM_VISIT_IDLE, KSM_VISIT_BUSY };

/**
 * ksm_page_visit - can this visit do without reading the page?
 * @chunk: the chunk of its item, which has a key
 * @place: the item's place in it
 * @pfn: the page frame that is mapped now
 * @young: it was accessed since the last visit
 *
 * Counts the visit.
 *
 * Context: the caller is the item's owner.
 */
static inline enum ksm_visit ksm_page_visit(struct ksm_chunk *chunk,
					    unsigned int place,
					    unsigned long pfn, bool young)
{
	u8 *age = &chunk->age[place], *busy = &chunk->busy[place];

	if (young) {
		*age = 0;
		return ksm_busy_skip(busy) ? KSM_VISIT_BUSY : KSM_VISIT_READ;
	}
	if (!ksm_same_frame(chunk, place, pfn)) {
		*age = 0;
		return KSM_VISIT_READ;
	}
	/* Wrap from one multiple of the period to another, and not to zero. */
	if (!++*age)
		*age = KSM_REREAD_VISITS;
	BUILD_BUG_ON((U8_MAX + 1) % KSM_REREAD_VISITS);
	if (*age <= KSM_BUSY_VISITS && ksm_busy_owed(busy))
		return KSM_VISIT_READ;
	return *age % KSM_REREAD_VISITS == KSM_REREAD_VISITS / 2 ?
	       KSM_VISIT_READ : KSM_VISIT_IDLE;
}

/* Visits from one match to the next, of an idle page that met itself in the tree */
#define KSM_SAME_VISITS	(KSM_REREAD_VISITS / 2)

/* Is it matched again on this visit? */
static inline bool ksm_same_again(const struct ksm_chunk *chunk, unsigned int place)
{
	return !(chunk->age[place] % KSM_SAME_VISITS);
}

/* Starts counting visits anew. The caller is the item's owner. */
static inline void ksm_page_changed(struct ksm_chunk *chunk, unsigned int place)
{
	chunk->age[place] = 0;
}

/* It may have been written to: lets the next visit read it. As above. */
static inline void ksm_page_read_next(struct ksm_chunk *chunk,
				      unsigned int place)
{
	chunk->age[place] = KSM_REREAD_VISITS / 2 - 1;
}

#endif /* _MM_KSM_VISIT_H */
