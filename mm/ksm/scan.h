/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a worker carries from scan.c, which collects pages, to match.c, which
 * finds their duplicates.
 */
#ifndef _MM_KSM_SCAN_H
#define _MM_KSM_SCAN_H

#include <linux/pagevec.h>

#include "merge.h"

/* Pages of one visit to a page table. */
#define KSM_SCAN_BATCH	128U
#define KSM_SCAN_CHUNKS	(KSM_SCAN_BATCH / KSM_CHUNK_PAGES)

/**
 * enum ksm_want - what is to be done about a page
 * @KSM_WANT_READ: take its fingerprint, see whether it changed
 * @KSM_WANT_MATCH: it seems unchanged, but has no place in a tree yet
 * @KSM_WANT_ADOPT: it is a KSM page that its item does not know of
 */
enum ksm_want { KSM_WANT_READ, KSM_WANT_MATCH, KSM_WANT_ADOPT };

/**
 * struct ksm_candidate - a page that was collected
 * @item: its item
 * @page: the page
 * @held: there is a reference to it
 * @read: its fingerprint was taken
 * @changed: and it was another one than at the last visit
 * @queued: is on, or was taken from, the list of those that are merged together
 * @fingerprint: what it holds, if it was @read
 * @scope: who may share it
 * @want: what is to be done
 * @shared: its item was %KSM_ITEM_STABLE when the page was found
 */
struct ksm_candidate {
	struct ksm_rmap_item *item;
	struct page *page;
	u64 fingerprint;
	unsigned int scope;
	enum ksm_want want;
	bool held;
	bool read;
	bool changed;
	bool queued;
	bool shared;
};

/**
 * struct ksm_scan - a worker's state
 * @slot: the mm that is scanned
 * @locked: its mmap_lock is held
 * @pos: what lies before it, in this window, was dealt with
 * @left: budget left, pages
 * @smart: settings.smart_scan, and the CPU keeps accessed bits
 * @huge_start: the huge page that @huge_young is about
 * @huge_young: it was accessed since the last visit
 * @cleared: accessed bits were cleared in this step
 * @flush: mm that ksm_scan_flush() is for, with a reference to mm_count
 * @visited: pages looked at since account()
 * @skipped: of these, not read
 * @unpaid: skipped pages, and pieces without a page to scan, that the budget
 *	has yet to be charged for
 * @tracked: items that are in use since, and have yet to be counted
 * @nr: length of @cand
 * @nr_queue: length of @queue and @queued
 * @nr_gone: length of @gone
 * @merged: pages that were replaced, to be freed
 * @cand: pages of the piece that ask for something
 * @queue: pages for which there is a shared one, to be merged at a time
 * @queued: their candidates
 * @gone: items of the piece whose page is no longer mapped
 * @swapped: of @gone, those with a swap entry, which may come back
 * @chunk: chunks of the piece
 * @young: a secondary MMU accessed some page of the chunk
 * @pte: the PTEs of the piece
 */
struct ksm_scan {
	struct ksm_mm_slot *slot;
	bool locked;
	unsigned long pos;
	unsigned long left;
	bool smart;
	unsigned long huge_start;
	bool huge_young;
	bool cleared;
	struct mm_struct *flush;
	unsigned long visited;
	unsigned long skipped;
	unsigned long unpaid;
	unsigned long tracked;
	unsigned int nr;
	unsigned int nr_queue;
	unsigned int nr_gone;
	struct folio_batch merged;
	struct ksm_candidate cand[KSM_SCAN_BATCH];
	struct ksm_mapping queue[KSM_MERGE_BATCH];
	struct ksm_candidate *queued[KSM_MERGE_BATCH];
	struct ksm_rmap_item *gone[KSM_SCAN_BATCH];
	bool swapped[KSM_SCAN_BATCH];
	struct ksm_chunk *chunk[KSM_SCAN_CHUNKS];
	bool young[KSM_SCAN_CHUNKS];
	pte_t pte[KSM_SCAN_BATCH];
};

static inline struct mm_struct *ksm_scan_mm(struct ksm_scan *scan)
{
	return scan->slot->slot.mm;
}

static inline void ksm_scan_lock(struct ksm_scan *scan)
{
	if (!scan->locked)
		mmap_read_lock(ksm_scan_mm(scan));
	scan->locked = true;
}

static inline void ksm_scan_unlock(struct ksm_scan *scan)
{
	if (scan->locked)
		mmap_read_unlock(ksm_scan_mm(scan));
	scan->locked = false;
}

void ksm_scan_give_way(struct ksm_scan *scan);
void ksm_settle(struct ksm_scan *scan);

#endif /* _MM_KSM_SCAN_H */
