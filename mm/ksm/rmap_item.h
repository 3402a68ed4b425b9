/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Release of rmap_items: forgetting what is known of pages.
 */
#ifndef _MM_KSM_RMAP_ITEM_H
#define _MM_KSM_RMAP_ITEM_H

#include "slot.h"

/**
 * enum ksm_release - when an rmap_item may leave its KSM page
 * @KSM_RELEASE_IF_GONE: if the mapping cannot come back by itself, from swap or
 *	migration; and no other one is found by this item alone. The mmap_lock
 *	is held
 * @KSM_RELEASE_IF_UNNEEDED: the mapping is gone; if no other one is found by
 *	this item alone
 * @KSM_RELEASE_ALWAYS: in any case; all sharing is being undone. No mmap_lock is
 *	held
 */
enum ksm_release {
	KSM_RELEASE_IF_GONE,
	KSM_RELEASE_IF_UNNEEDED,
	KSM_RELEASE_ALWAYS,
};

/* Chunks to release before looking at others that may be waiting. */
#define KSM_RELEASE_CHUNKS	32U

/**
 * struct ksm_forget - a range of pages of one mm to forget
 * @next: first address, moves on
 * @last: last address, inclusive
 * @how: see ksm_item_release()
 * @chunks: how many chunks may be looked at; counts down
 * @waits: skip for a while what others may need, see ksm_chunk_waits()
 * @freed: items that were forgotten
 * @busy: some items have to stay that were not %KSM_ITEM_STABLE
 */
struct ksm_forget {
	unsigned long next;
	unsigned long last;
	enum ksm_release how;
	unsigned int chunks;
	bool waits;
	unsigned long freed;
	bool busy;
};

/* Full scans at most until others are asked again what they need. */
#define KSM_HELD_MAX	64U

/**
 * ksm_chunk_waits - does this full scan skip items that others may need?
 * @chunk: their chunk
 *
 * It takes a search to find out whether others need an item, and they may need
 * it forever. So search in one full scan out of 2, then out of 4, and so on.
 *
 * Context: the caller owns the chunk.
 */
static inline bool ksm_chunk_waits(struct ksm_chunk *chunk)
{
	unsigned int now = chunk->slot->scan;

	return (int)(now - chunk->held_until) < 0 &&
	       now != chunk->held_until - chunk->held_for;
}

/* Others need one of its items. Context as for ksm_chunk_waits(). */
static inline void ksm_chunk_hold(struct ksm_chunk *chunk)
{
	unsigned int now = chunk->slot->scan;

	/* This full scan has found that out already. */
	if ((int)(now - chunk->held_until) < 0)
		return;
	if (now - chunk->held_until > KSM_HELD_MAX)
		chunk->held_for = 0;
	chunk->held_for = clamp(2U * chunk->held_for, 1U, KSM_HELD_MAX);
	chunk->held_until = now + chunk->held_for;
}

/* This many steps in search of forks that depend on an item cost one read. */
#define KSM_STEPS_A_READ	4
/* Looking at a chunk to release costs as much as this many reads, if it is full. */
#define KSM_READS_A_CHUNK	4

/**
 * ksm_forget_visits - what it costs to release chunks
 * @chunks: that many
 * @freed: items of them that were freed
 *
 * One read for each chunk, and what is left of %KSM_READS_A_CHUNK by items: a
 * chunk may have only one.
 *
 * Return: the price, %KSM_VISITS_A_READ of it for each page to read.
 */
static inline unsigned long ksm_forget_visits(unsigned long chunks,
					      unsigned long freed)
{
	return (chunks + freed * (KSM_READS_A_CHUNK - 1) / KSM_CHUNK_PAGES) *
	       KSM_VISITS_A_READ;
}

bool ksm_item_must_stay(struct folio *folio, struct ksm_rmap_item *item);
bool ksm_item_release(struct ksm_rmap_item *item, enum ksm_release how);
bool ksm_item_unlink(struct ksm_rmap_item *item, enum ksm_release how);
bool ksm_chunks_release(struct ksm_mm_slot *slot, struct ksm_forget *forget);
int ksm_chunks_release_all(struct ksm_mm_slot *slot);
unsigned long ksm_metadata_bytes(void);

#endif /* _MM_KSM_RMAP_ITEM_H */
