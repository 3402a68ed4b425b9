// SPDX-License-Identifier: GPL-2.0
/*
 * Matching: reads the pages of a batch and finds the duplicate of each: the
 * zero page, a KSM page, or a page of the unstable tree, which then becomes a
 * KSM page.
 */
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>

#include "key.h"
#include "match.h"
#include "node.h"
#include "page.h"
#include "pair.h"
#include "promote.h"
#include "rmap_item.h"
#include "shard.h"
#include "sharer.h"
#include "stable.h"
#include "unstable.h"
#include "visit.h"

static void match_retry_soon(struct ksm_rmap_item *item)
{
	ksm_page_changed(ksm_item_chunk(item), ksm_item_place(item));
}

static void match_track(struct ksm_match *match, struct ksm_rmap_item *item)
{
	ksm_item_track(item);
	match->tracked++;
}

static void match_count_tracked(struct ksm_match *match)
{
	if (match->tracked)
		ksm_count_tracked(match->lock->mm, match->tracked);
	match->tracked = 0;
}

/*
 * Makes sure that the item is in no tree, and ours. Returns false if somebody
 * has claimed it, and may even have made it %KSM_ITEM_STABLE since.
 */
static bool match_leave_tree(struct ksm_rmap_item *item)
{
	u8 state = ksm_item_state(item);

	if (state == KSM_ITEM_UNSTABLE)
		return ksm_unstable_remove(item);
	return state == KSM_ITEM_SEEN;
}

/*
 * Queues a page to be merged with @kpage later, together with others. Takes
 * over the reference to @kpage. Does nothing if that was tried before, or
 * cannot be done.
 */
static bool match_enqueue(struct ksm_match *match, struct ksm_candidate *cand,
			  struct page *kpage)
{
	if (!cand->held || cand->queued)
		return false;
	cand->queued = true;
	match->queued[match->nr_queue] = cand;
	match->queue[match->nr_queue++] = (struct ksm_mapping){
		.item = cand->item,
		.addr = ksm_item_address(cand->item),
		.page = cand->page,
		.kpage = kpage,
	};
	return true;
}

/* Compares without keeping others from writing. */
static bool match_seems_equal(struct ksm_match *match,
			      struct ksm_candidate *cand, struct folio *kfolio)
{
	struct page *page = ksm_candidate_page(match->lock, cand);
	bool equal;

	if (!page)
		return false;
	equal = ksm_pages_equal(page, &kfolio->page);
	put_page(page);
	return equal;
}

/* As match_stable(), for one KSM page. */
static enum ksm_fate match_hit(struct ksm_match *match,
			       struct ksm_candidate *cand, struct folio *kfolio)
{
	if (!match_leave_tree(cand->item))
		return KSM_FATE_BUSY;
	if (!match_enqueue(match, cand, &kfolio->page))
		return ksm_candidate_merge(match->lock, cand, kfolio);
	folio_get(kfolio);
	return KSM_FATE_QUEUED;
}

/*
 * Looks for an equal KSM page.
 *
 * If the key has only one, it is most likely equal, and merging finds out. If
 * it has several, or if merging has failed, compare first rather than protect
 * the page for nothing.
 */
static enum ksm_fate match_stable(struct ksm_match *match,
				  struct ksm_candidate *cand)
{
	enum ksm_fate fate = KSM_FATE_UNEQUAL;
	struct ksm_rmap_item *item = cand->item;
	struct ksm_stable_hits hits;
	bool certain;
	unsigned int i;

	ksm_stable_find(ksm_item_key(item), cand->scope, false, &hits);
	certain = hits.nr == 1 && !hits.more && !cand->queued;
	for (i = 0; i < hits.nr && fate == KSM_FATE_UNEQUAL; i++)
		if (certain || match_seems_equal(match, cand, hits.folio[i]))
			fate = match_hit(match, cand, hits.folio[i]);
	/* Equals none of these, but perhaps another one. */
	if (hits.more && fate == KSM_FATE_UNEQUAL)
		ksm_page_read_next(ksm_item_chunk(item), ksm_item_place(item));
	ksm_stable_hits_put(&hits);
	return fate;
}

/* The zero page now takes the place of the item's page. */
static void match_release_zero(struct ksm_match *match,
			       struct ksm_rmap_item *item)
{
	match_count_tracked(match);
	ksm_item_release(item, KSM_RELEASE_IF_UNNEEDED);
}

/* As match_stable(), for the zero page. */
static enum ksm_fate match_zero(struct ksm_match *match,
				struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct vm_area_struct *vma;
	enum ksm_fate fate;

	if (!match_leave_tree(item))
		return KSM_FATE_BUSY;
	if (!mm_forbids_zeropage(match->lock->mm) &&
	    match_enqueue(match, cand, ZERO_PAGE(ksm_item_address(item))))
		return KSM_FATE_QUEUED;
	vma = ksm_mm_find_vma(match->lock, ksm_item_address(item));
	if (!vma)
		return KSM_FATE_BUSY;
	fate = ksm_fate_of(ksm_merge_zero(vma, item,
					  cand->held ? cand->page : NULL));
	if (fate == KSM_FATE_MERGED)
		match_release_zero(match, item);
	return fate;
}

/* Looks for an equal page that is shared already. Returns as match_stable(). */
static enum ksm_fate match_shared(struct ksm_match *match,
				  struct ksm_candidate *cand)
{
	enum ksm_fate fate;

	if (READ_ONCE(ksm_settings.use_zero_pages) &&
	    ksm_is_zero_key(ksm_item_key(cand->item), cand->scope))
		fate = match_zero(match, cand);
	else
		fate = match_stable(match, cand);
	if (fate == KSM_FATE_BUSY)
		match_retry_soon(cand->item);
	return fate;
}

static void match_read_page(struct ksm_match *match, struct ksm_candidate *cand)
{
	struct ksm_batch *batch = match->batch;
	struct ksm_candidate *next = cand + 1;
	bool goes_on = next < batch->cand + batch->nr && next->held &&
		       next->want == KSM_WANT_READ;

	if (!cand->read)
		cand->fingerprint = ksm_fingerprint(cand->page,
						    goes_on ? next->page : NULL);
	cand->read = true;
}

/* Takes the page's fingerprint. Returns whether its key has changed. */
static bool match_read_content(struct ksm_match *match,
			       struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	unsigned int place = ksm_item_place(item);
	u64 key;

	match_read_page(match, cand);
	key = ksm_key(cand->fingerprint, cand->scope);
	if (key == ksm_item_key(item) &&
	    ksm_same_frame(chunk, place, page_to_pfn(cand->page)))
		return false;
	if (!match_leave_tree(item)) {
		match_retry_soon(item);
		return false;
	}
	/* KSM_ITEM_SAME is about what was here before. */
	ksm_item_set_state(item, KSM_ITEM_SEEN);
	ksm_note_frame(chunk, place, page_to_pfn(cand->page));
	if (key == ksm_item_key(item))
		return false;
	ksm_item_set_key(item, key);
	ksm_page_changed(chunk, place);
	return true;
}

/* Turns the item into one without a shared page. Returns whether it could. */
static bool match_take_up(struct ksm_match *match, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;

	switch (ksm_item_state(item)) {
	case KSM_ITEM_FREE:
		match_track(match, item);
		return true;
	case KSM_ITEM_STABLE:
		/* A page of the same batch may have made the item shared since. */
		if (!cand->shared || !match->lock->held)
			return false;
		/* Somebody wrote to the shared page, and now has a copy. */
		return ksm_item_unlink(item, KSM_RELEASE_IF_GONE);
	case KSM_ITEM_CLAIMED:
		return false;
	}
	return true;
}

/* The page was read already, and its key has changed since the last visit. */
static bool match_has_new_key(struct ksm_candidate *cand)
{
	return cand->read && ksm_key(cand->fingerprint, cand->scope) !=
			     ksm_item_key(cand->item);
}

/*
 * Looks for a shared page that equals this one. %KSM_FATE_UNEQUAL: there is
 * none, so ask the unstable tree for a page that is not shared.
 *
 * Tries the key of the last visit first: if there is a KSM page with that key,
 * comparing with it takes the place of reading.
 */
static enum ksm_fate match_private(struct ksm_match *match,
				   struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	enum ksm_fate fate;

	if (!match_take_up(match, cand))
		return KSM_FATE_BUSY;
	if (ksm_item_key(item) && !match_has_new_key(cand)) {
		fate = match_shared(match, cand);
		if (fate != KSM_FATE_UNEQUAL)
			return fate;
		if (cand->changed)
			return KSM_FATE_CHANGED;
		ksm_unstable_soon(ksm_item_key(item));
	}
	if (cand->want == KSM_WANT_READ && match_read_content(match, cand)) {
		cand->changed = true;
		fate = match_shared(match, cand);
		return fate == KSM_FATE_UNEQUAL ? KSM_FATE_CHANGED : fate;
	}
	/* Somebody may have claimed it and given it back without a key. */
	if (ksm_item_state(item) == KSM_ITEM_SEEN && ksm_item_key(item))
		return KSM_FATE_UNEQUAL;
	return KSM_FATE_BUSY;
}

static void match_ksm_page(struct ksm_match *match, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct folio *folio = page_folio(cand->page);
	struct vm_area_struct *vma;

	vma = ksm_mm_find_vma(match->lock, ksm_item_address(item));
	if (!vma)
		return;
	if (ksm_item_state(item) == KSM_ITEM_FREE)
		match_track(match, item);
	else if (ksm_item_state(item) == KSM_ITEM_UNSTABLE)
		ksm_unstable_remove(item);
	else if (ksm_item_state(item) == KSM_ITEM_STABLE &&
		 ksm_item_node(item) != ksm_folio_node(folio))
		ksm_item_unlink(item, KSM_RELEASE_IF_UNNEEDED);

	if (ksm_item_state(item) == KSM_ITEM_SEEN)
		ksm_item_set_key(item, 0);
	else if (ksm_item_state(item) != KSM_ITEM_STABLE)
		return;
	ksm_adopt(vma, item, folio);
}

/*
 * A reference to one part keeps a huge page from being split for another part.
 * So read all its parts first, and drop the references.
 */
static void match_read_huge(struct ksm_match *match)
{
	struct ksm_batch *batch = match->batch;
	struct ksm_candidate *cand;

	for (cand = batch->cand; cand < batch->cand + batch->nr; cand++) {
		if (!folio_test_large(page_folio(cand->page)) ||
		    cand->want == KSM_WANT_ADOPT)
			continue;
		if (cand->want == KSM_WANT_READ)
			match_read_page(match, cand);
		put_page(cand->page);
		cand->held = false;
	}
}

/*
 * A page that was merged, and that nothing maps any more, is freed with our
 * last reference. Freeing many at once takes the LRU and zone locks only once.
 */
static void match_let_go(struct ksm_match *match, struct ksm_candidate *cand)
{
	struct folio *folio = page_folio(cand->page);

	cand->held = false;
	if (folio_mapped(folio))
		folio_put(folio);
	else if (!folio_batch_add(&match->merged, folio))
		folios_put(&match->merged);
}

/*
 * Fetches what the candidate's turn begins with. The shard of a page without a
 * key is not known yet, so read the page to learn it, while the shard of its
 * predecessor is on its way. Also read a page that was accessed, as its key has
 * most likely changed.
 */
static void match_look_ahead(struct ksm_match *match, unsigned int nr)
{
	struct ksm_candidate *cand = &match->batch->cand[nr];
	u64 key;

	if (nr >= match->batch->nr)
		return;
	key = ksm_item_key(cand->item);
	if (key)
		ksm_shard_soon(key);
	if (!cand->held || cand->want != KSM_WANT_READ ||
	    (key && !match->batch->accessed))
		return;
	match_read_page(match, cand);
	ksm_shard_soon(ksm_key(cand->fingerprint, cand->scope));
}

/* Merges with one of the pages of a row, all of which are claimed. */
static void match_row(struct ksm_match *match, struct ksm_candidate *cand,
		      struct ksm_rmap_item **row, unsigned int nr)
{
	struct ksm_rmap_item *item = cand->item;
	enum ksm_fate fate = KSM_FATE_UNEQUAL;
	u64 key = ksm_item_key(item);
	unsigned int i;

	for (i = 0; i < nr && fate == KSM_FATE_UNEQUAL; i++)
		fate = ksm_pair_merge(match->lock, cand, &row[i]);
	ksm_unstable_put_back(key, row, nr,
			      fate == KSM_FATE_UNEQUAL ? item : NULL);
	if (fate == KSM_FATE_BUSY)
		match_retry_soon(item);
	else if (fate == KSM_FATE_SAME)
		ksm_item_set_state(item, KSM_ITEM_SEEN | KSM_ITEM_SAME);
}

/* Retries a page of the queue that was not merged together with the others. */
static void match_by_itself(struct ksm_match *match, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *row[KSM_SAME_KEY_MAX];
	unsigned int nr;

	if (match_private(match, cand) != KSM_FATE_UNEQUAL)
		return;
	nr = ksm_unstable_meet(cand->item, row);
	if (nr)
		match_row(match, cand, row, nr);
}

/*
 * Tries all pages of the queue at once. Returns false if they no longer belong
 * together.
 */
static bool match_at_once(struct ksm_match *match, unsigned int nr)
{
	struct ksm_mapping_set set = { .map = match->queue, .nr = nr };
	unsigned long last = ksm_item_address(match->queue[nr - 1].item);
	struct ksm_mapping *map;

	set.vma = ksm_mm_find_vma(match->lock,
				  ksm_item_address(match->queue[0].item));
	if (!set.vma || last >= set.vma->vm_end)
		return false;
	ksm_merge_set(&set);
	/* Those that failed are traced when they are retried. */
	for (map = set.map; map < set.map + nr; map++)
		if (!map->err || map->err == -EAGAIN)
			ksm_trace_merge(set.vma, map);
	return true;
}

/*
 * Merges what was put off until now, while the mmap_lock was held all the time.
 * A page that was no match, or whose KSM page was busy, is retried alone:
 * nothing is queued twice, so the queue stays empty.
 */
static void match_flush(struct ksm_match *match)
{
	unsigned int i, nr = match->nr_queue;
	enum ksm_fate apart;
	bool together;

	if (!nr)
		return;
	together = match_at_once(match, nr);
	apart = match->lock->held ? KSM_FATE_UNEQUAL : KSM_FATE_BUSY;
	match->nr_queue = 0;
	for (i = 0; i < nr; i++) {
		struct ksm_mapping *map = &match->queue[i];
		bool is_zero = is_zero_pfn(page_to_pfn(map->kpage));
		enum ksm_fate fate = together ? ksm_fate_of(map->err) : apart;

		if (!is_zero)
			put_page(map->kpage);
		if (fate == KSM_FATE_BUSY)
			match_retry_soon(map->item);
		else if (fate != KSM_FATE_MERGED)
			match_by_itself(match, match->queued[i]);
		else if (is_zero)
			match_release_zero(match, map->item);
		match_let_go(match, match->queued[i]);
	}
}

/*
 * Looks for an equal page without a duplicate; if there is none, enters this
 * one.
 */
static void match_unstable(struct ksm_match *match, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *row[KSM_SAME_KEY_MAX];
	unsigned int nr;

	nr = ksm_unstable_meet(cand->item, row);
	if (!nr)
		return;
	/* Merging with one of them may let go of the mmap_lock. */
	match_flush(match);
	match_row(match, cand, row, nr);
}

/* The mmap_lock was lost: makes sure that the page is visited again. */
static void match_leave_out(struct ksm_candidate *cand)
{
	/* The item may belong to somebody else now, but not its count of visits. */
	if (ksm_item_state(cand->item) != KSM_ITEM_FREE)
		ksm_page_read_next(ksm_item_chunk(cand->item),
				   ksm_item_place(cand->item));
}

static void match_one(struct ksm_match *match, struct ksm_candidate *cand)
{
	if (!match->lock->held)
		match_leave_out(cand);
	else if (cand->want == KSM_WANT_ADOPT)
		match_ksm_page(match, cand);
	else if (match_private(match, cand) == KSM_FATE_UNEQUAL)
		match_unstable(match, cand);
}

static bool match_is_queued(struct ksm_match *match, struct ksm_candidate *cand)
{
	return match->nr_queue && match->queued[match->nr_queue - 1] == cand;
}

static void match_candidates(struct ksm_match *match)
{
	struct ksm_batch *batch = match->batch;
	struct ksm_candidate *cand;
	unsigned int i;

	match_look_ahead(match, 0);
	for (i = 0; i < batch->nr; i++) {
		match_look_ahead(match, i + 1);
		cand = &batch->cand[i];
		match_one(match, cand);
		if (cand->held && !match_is_queued(match, cand))
			match_let_go(match, cand);
		if (match->nr_queue == KSM_MERGE_BATCH)
			match_flush(match);
		/* Across this, hold nothing but references to pages. */
		if (match->lock->held && ksm_mm_is_wanted(match->lock)) {
			match_flush(match);
			ksm_mm_give_way(match->lock);
		}
	}
	match_flush(match);
}

/* A search for forks may take many steps: after so many, the rest waits. */
#define MATCH_DEBT_MAX	1024

/* Releases the items of pages that are no longer mapped. */
static void match_gone(struct ksm_match *match)
{
	struct ksm_batch *batch = match->batch;
	unsigned int i;

	for (i = 0; i < batch->nr_gone && match->lock->held; i++) {
		struct ksm_rmap_item *item = batch->gone[i];

		/* A later full scan finds the others. */
		if (atomic_read(&ksm_item_chunk(item)->slot->debt) >= MATCH_DEBT_MAX)
			break;
		/*
		 * It may be in swap, and come back while others hold the
		 * mmap_lock.
		 */
		ksm_item_release(item, KSM_RELEASE_IF_GONE);
		if (ksm_mm_is_wanted(match->lock))
			ksm_mm_give_way(match->lock);
	}
}

/**
 * ksm_match_batch - match the pages of a batch
 * @match: the worker's state; its batch is empty afterwards
 *
 * Context: mmap_lock held for reading, but it may be dropped in between; still
 *	held at the end if @match->lock says so.
 */
void ksm_match_batch(struct ksm_match *match)
{
	match_gone(match);
	match_read_huge(match);
	match_candidates(match);
	folios_put(&match->merged);
	match_count_tracked(match);
	match->batch->nr_gone = 0;
	match->batch->nr = 0;
}
