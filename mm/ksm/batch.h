/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The batch: the pages of one visit to a page table that need something done.
 * collect.c fills it, match.c empties it.
 */
#ifndef _MM_KSM_BATCH_H
#define _MM_KSM_BATCH_H

#include "slot.h"

/* Pages of one visit to a page table. */
#define KSM_BATCH_PAGES		128U
#define KSM_BATCH_CHUNKS	(KSM_BATCH_PAGES / KSM_CHUNK_PAGES)

/**
 * enum ksm_want - what to do about a page
 * @KSM_WANT_READ: take its fingerprint, see whether it changed
 * @KSM_WANT_MATCH: it seems unchanged, but has no place in a tree yet
 * @KSM_WANT_ADOPT: it is a KSM page that its item does not know about
 */
enum ksm_want { KSM_WANT_READ, KSM_WANT_MATCH, KSM_WANT_ADOPT };

/**
 * enum ksm_fate - what becomes of a candidate
 * @KSM_FATE_MERGED: a shared page has taken its place
 * @KSM_FATE_QUEUED: it will be merged together with others
 * @KSM_FATE_BUSY: something is in the way; another visit tries again
 * @KSM_FATE_CHANGED: it has changed since the last visit and equals no shared
 *	page; if it stays as it is, the next visit looks for a duplicate
 * @KSM_FATE_SAME: the page that it met is itself, mapped elsewhere since a fork
 * @KSM_FATE_UNEQUAL: it equals nothing that it was compared with
 */
enum ksm_fate {
	KSM_FATE_MERGED,
	KSM_FATE_QUEUED,
	KSM_FATE_BUSY,
	KSM_FATE_CHANGED,
	KSM_FATE_SAME,
	KSM_FATE_UNEQUAL,
};

/**
 * struct ksm_candidate - a page that was collected
 * @item: its item
 * @page: the page
 * @fingerprint: of its content, if it was @read
 * @scope: who may share it
 * @want: what to do about it
 * @held: there is a reference to it
 * @read: its fingerprint was taken
 * @changed: it was read, and differs from the last visit
 * @queued: is or was on the list of those that are merged together
 * @shared: its item was %KSM_ITEM_STABLE when the page was found
 *
 * collect.c sets all of it; afterwards match.c alone changes @held, @read,
 * @fingerprint, @changed and @queued.
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
 * struct ksm_batch - what one visit to a page table has found
 * @nr: length of @cand
 * @nr_gone: length of @gone
 * @accessed: accessed bits are looked at, so a page that has a key and has to
 *	be read has most likely changed. Set for a window
 * @cand: pages that need something done, by address
 * @gone: items whose page is no longer mapped
 *
 * Filled by ksm_collect() and empty again after ksm_match_batch(). Candidates
 * hold references to pages in between, so call one right after the other.
 */
struct ksm_batch {
	unsigned int nr;
	unsigned int nr_gone;
	bool accessed;
	struct ksm_candidate cand[KSM_BATCH_PAGES];
	struct ksm_rmap_item *gone[KSM_BATCH_PAGES];
};

#endif /* _MM_KSM_BATCH_H */
