// SPDX-License-Identifier: GPL-2.0
/*
 * Matching: reads the pages of a batch, and lets each find its duplicate: the
 * zero page, a KSM page, or a page of the unstable tree, which then becomes a
 * KSM page.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/sched/mm.h>

#include "scan.h"

/* What is to be merged is, together with others: no error, nor done. */
#define QUEUED	1

static void merge_queue(struct ksm_scan *scan);

static void retry_soon(struct ksm_rmap_item *item)
{
	ksm_page_changed(ksm_item_chunk(item), ksm_item_place(item));
}

static void track(struct ksm_scan *scan, struct ksm_rmap_item *item)
{
	ksm_item_track(item);
	scan->tracked++;
}

static void count_tracked(struct ksm_scan *scan)
{
	if (scan->tracked)
		ksm_count_tracked(ksm_scan_mm(scan), scan->tracked);
	scan->tracked = 0;
}

/* Back from a claim to where it was, if there is room. */
static void reinsert(struct ksm_rmap_item *item)
{
	if (!ksm_unstable_insert(item))
		ksm_item_set_state(item, KSM_ITEM_SEEN);
}

/* Back from a claim, with or without a key that is still worth something. */
static void unclaim(struct ksm_rmap_item *item, bool keep_key)
{
	if (!keep_key)
		ksm_item_set_key(item, 0);
	ksm_item_set_state(item, KSM_ITEM_SEEN);
}

/*
 * Locks the mm of the partner, too. Two mmap_locks at once could deadlock; so
 * if there is a queue, this mm's lock is given up first.
 */
static void lock_partner(struct ksm_scan *scan, struct mm_struct *mm)
{
	if (mm == ksm_scan_mm(scan)) {
		ksm_scan_lock(scan);
	} else if (!mmap_read_trylock(mm)) {
		ksm_scan_unlock(scan);
		mmap_read_lock(mm);
	}
}

static void unlock_partner(struct ksm_scan *scan, struct mm_struct *mm)
{
	if (mm != ksm_scan_mm(scan)) {
		mmap_read_unlock(mm);
		ksm_scan_lock(scan);
	}
}

/* As ksm_merge_with(). */
static int merge_with(struct ksm_scan *scan, struct ksm_candidate *cand,
		      struct folio *kfolio)
{
	struct vm_area_struct *vma = ksm_find_vma(ksm_scan_mm(scan),
						  ksm_item_address(cand->item));

	if (!vma)
		return -EAGAIN;
	return ksm_merge_with(vma, cand->item, cand->held ? cand->page : NULL,
			      kfolio);
}

/*
 * Makes a KSM page of the page of @partner, which was claimed, if it equals
 * that of @cand.
 */
static int promote_partner(struct ksm_scan *scan, struct ksm_candidate *cand,
			   struct ksm_rmap_item *partner, struct page *page,
			   struct folio **kfolio)
{
	struct mm_struct *mm = ksm_item_mm(partner);
	struct vm_area_struct *vma;
	struct page *other = NULL;
	int err = -ENOENT;

	/* Once it is promoted the item, and the slot, are no more ours. */
	mmgrab(mm);
	lock_partner(scan, mm);
	vma = ksm_find_vma(mm, ksm_item_address(partner));
	if (vma)
		other = ksm_get_page(vma, ksm_item_address(partner));
	if (other == page)
		err = -EEXIST;	/* a fork left both the same */
	else if (other && !PageKsm(other) &&
		 ksm_scope(other) == ksm_scope(page) &&
		 ksm_pages_equal(other, page))
		err = 0;
	if (other)
		put_page(other);
	/* Would be in the way of splitting, were both parts of one huge page. */
	if (!cand->held)
		put_page(page);
	if (!err)
		err = ksm_promote(vma, partner, kfolio);
	unlock_partner(scan, mm);
	mmdrop(mm);
	return err;
}

/*
 * Merges the page of a candidate with that of @partner, which was claimed.
 *
 * Returns 0; -ENOENT: it is @partner that did not fit, try another one;
 * -EAGAIN: something is in the way of the candidate.
 */
static int merge_two(struct ksm_scan *scan, struct ksm_candidate *cand,
		     struct ksm_rmap_item *partner)
{
	struct mm_struct *mm = ksm_scan_mm(scan);
	unsigned long addr = ksm_item_address(cand->item);
	struct page *page = cand->held ? cand->page : NULL;
	struct vm_area_struct *vma;
	struct folio *kfolio;
	int err;

	if (!page) {
		vma = ksm_find_vma(mm, addr);
		page = vma ? ksm_get_page(vma, addr) : NULL;
	}
	if (!page) {
		reinsert(partner);
		return -EAGAIN;
	}
	err = promote_partner(scan, cand, partner, page, &kfolio);
	if (err == -EEXIST) {
		reinsert(partner);
		return -EAGAIN;
	}
	if (err) {
		unclaim(partner, err != -ENOENT);
		return -ENOENT;
	}
	err = merge_with(scan, cand, kfolio);
	folio_put(kfolio);
	return err ? -EAGAIN : 0;
}

/* Looks for a page without duplicate that equals this one, or leaves it so. */
static void match_unstable(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item, *partner;
	unsigned int tries;
	int err;

	for (tries = 0; tries < KSM_SAME_KEY_MAX; tries++) {
		partner = ksm_unstable_meet(item);
		if (!partner)
			return;
		/* It may let go of the mmap_lock. */
		merge_queue(scan);
		err = merge_two(scan, cand, partner);
		if (err != -ENOENT) {
			if (err)
				retry_soon(item);
			return;
		}
	}
	ksm_unstable_insert(item);
}

/*
 * Makes sure that the item is in no tree, and ours: false if somebody has
 * claimed it, and may even have made it %KSM_ITEM_STABLE since.
 */
static bool leave_tree(struct ksm_rmap_item *item)
{
	u8 state = ksm_item_state(item);

	if (state == KSM_ITEM_UNSTABLE)
		return ksm_unstable_remove(item);
	return state == KSM_ITEM_SEEN;
}

/*
 * Has a page merged with @kpage, of which the reference is ours now, together
 * with others; unless that has been tried, or cannot be.
 */
static bool queue(struct ksm_scan *scan, struct ksm_candidate *cand,
		  struct page *kpage)
{
	if (!cand->held || cand->queued)
		return false;
	cand->queued = true;
	scan->queued[scan->nr_queue] = cand;
	scan->queue[scan->nr_queue++] = (struct ksm_mapping){
		.item = cand->item,
		.page = cand->page,
		.kpage = kpage,
	};
	return true;
}

/* Looks for an equal KSM page. As ksm_merge_with(), or QUEUED. */
static int match_stable(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct ksm_stable_hits hits;
	int err = -ENOENT;
	unsigned int i;

	ksm_stable_find(ksm_item_key(item), cand->scope, false, &hits);
	if (!hits.nr)
		return err;
	if (!leave_tree(item)) {
		err = -EAGAIN;
	} else if (queue(scan, cand, &hits.folio[0]->page)) {
		folio_get(hits.folio[0]);
		err = QUEUED;
	}
	for (i = 0; i < hits.nr && err == -ENOENT; i++)
		err = merge_with(scan, cand, hits.folio[i]);
	ksm_stable_hits_put(&hits);
	return err;
}

/* The zero page is mapped in the place of the item's. */
static void release_zero(struct ksm_scan *scan, struct ksm_rmap_item *item)
{
	count_tracked(scan);
	ksm_item_release(item, KSM_RELEASE_IF_UNNEEDED);
}

/* As match_stable(), with the zero page. */
static int match_zero(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct vm_area_struct *vma;
	int err;

	if (!leave_tree(item))
		return -EAGAIN;
	if (!mm_forbids_zeropage(ksm_scan_mm(scan)) &&
	    queue(scan, cand, ZERO_PAGE(ksm_item_address(item))))
		return QUEUED;
	vma = ksm_find_vma(ksm_scan_mm(scan), ksm_item_address(item));
	if (!vma)
		return -EAGAIN;
	err = ksm_merge_zero(vma, item, cand->held ? cand->page : NULL);
	if (!err)
		release_zero(scan, item);
	return err;
}

/* Looks for an equal page that is shared already. As match_stable(). */
static int match_shared(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	int err;

	if (READ_ONCE(ksm_settings.use_zero_pages) &&
	    ksm_is_zero_key(ksm_item_key(cand->item), cand->scope))
		err = match_zero(scan, cand);
	else
		err = match_stable(scan, cand);
	if (err == -EAGAIN)
		retry_soon(cand->item);
	return err;
}

static void read_page(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_candidate *next = cand + 1;
	bool goes_on = next < scan->cand + scan->nr && next->held &&
		       next->want == KSM_WANT_READ;

	if (!cand->read)
		cand->fingerprint = ksm_fingerprint(cand->page,
						    goes_on ? next->page : NULL);
	cand->read = true;
}

/* Takes the page's fingerprint, and returns whether the key is another one. */
static bool read_content(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	unsigned int place = ksm_item_place(item);
	u64 key;

	read_page(scan, cand);
	key = ksm_key(cand->fingerprint, cand->scope);
	if (key == ksm_item_key(item) &&
	    ksm_same_frame(chunk, place, page_to_pfn(cand->page)))
		return false;
	if (!leave_tree(item)) {
		retry_soon(item);
		return false;
	}
	ksm_note_frame(chunk, place, page_to_pfn(cand->page));
	if (key == ksm_item_key(item))
		return false;
	ksm_item_set_key(item, key);
	ksm_page_changed(chunk, place);
	return true;
}

/* Makes the item one that has no shared page. Returns whether it could. */
static bool take_up(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;

	switch (ksm_item_state(item)) {
	case KSM_ITEM_FREE:
		track(scan, item);
		return true;
	case KSM_ITEM_STABLE:
		/* A page of the same batch may have made it shared since. */
		if (!cand->shared)
			return false;
		/* Somebody wrote to the shared page and has a copy now. */
		return ksm_stable_unlink(item, KSM_RELEASE_IF_UNNEEDED);
	case KSM_ITEM_CLAIMED:
		return false;
	}
	return true;
}

/* The page was read already, and has another key than at the last visit. */
static bool has_new_key(struct ksm_candidate *cand)
{
	return cand->read && ksm_key(cand->fingerprint, cand->scope) !=
			     ksm_item_key(cand->item);
}

/*
 * The key that the page had at the last visit is tried first: where there is a
 * KSM page of that key, comparing with it takes the place of reading.
 */
static void settle_private(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;

	if (!take_up(scan, cand))
		return;
	if (ksm_item_key(item) && !has_new_key(cand)) {
		if (match_shared(scan, cand) != -ENOENT || cand->changed)
			return;
		ksm_unstable_soon(ksm_item_key(item));
	}
	if (cand->want == KSM_WANT_READ && read_content(scan, cand)) {
		cand->changed = true;
		match_shared(scan, cand);
		return;
	}
	/* Who had claimed it may have given it back, without its key. */
	if (ksm_item_state(item) == KSM_ITEM_SEEN && ksm_item_key(item))
		match_unstable(scan, cand);
}

static void settle_ksm_page(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct folio *folio = page_folio(cand->page);
	struct vm_area_struct *vma;

	if (ksm_item_state(item) == KSM_ITEM_STABLE &&
	    ksm_item_node(item) == ksm_folio_node(folio)) {
		folio_lock(folio);
		ksm_stable_rehome(folio);
		folio_unlock(folio);
		return;
	}
	if (ksm_item_state(item) == KSM_ITEM_FREE)
		track(scan, item);
	else if (ksm_item_state(item) == KSM_ITEM_UNSTABLE)
		ksm_unstable_remove(item);
	else if (ksm_item_state(item) == KSM_ITEM_STABLE)
		ksm_stable_unlink(item, KSM_RELEASE_IF_UNNEEDED);
	if (ksm_item_state(item) != KSM_ITEM_SEEN)
		return;

	vma = ksm_find_vma(ksm_scan_mm(scan), ksm_item_address(item));
	ksm_item_set_key(item, 0);
	if (vma)
		ksm_adopt(vma, item, folio);
}

/*
 * A reference to one part is in the way of splitting a huge page for the sake
 * of another. So these are read first, and held no longer.
 */
static void read_huge(struct ksm_scan *scan)
{
	struct ksm_candidate *cand;

	for (cand = scan->cand; cand < scan->cand + scan->nr; cand++) {
		if (!PageTransCompound(cand->page) ||
		    cand->want == KSM_WANT_ADOPT)
			continue;
		if (cand->want == KSM_WANT_READ)
			read_page(scan, cand);
		put_page(cand->page);
		cand->held = false;
	}
}

/*
 * A page that nothing maps any more was merged, and goes with our reference. To
 * free many at a time takes the locks of the LRU and of the zone once.
 */
static void let_go(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct folio *folio = page_folio(cand->page);

	cand->held = false;
	if (folio_mapped(folio))
		folio_put(folio);
	else if (!folio_batch_add(&scan->merged, folio))
		folios_put(&scan->merged);
}

/*
 * Fetches what a candidate's turn begins with. A page without a key, whose shard
 * nobody can tell yet, is read for that, while its predecessor's is on its way;
 * so is one that was accessed, and most likely has another key by now.
 */
static void look_ahead(struct ksm_scan *scan, unsigned int nr)
{
	struct ksm_candidate *cand = &scan->cand[nr];
	u64 key;

	if (nr >= scan->nr)
		return;
	key = ksm_item_key(cand->item);
	if (key)
		ksm_shard_soon(key);
	if (!cand->held || cand->want != KSM_WANT_READ || (key && !scan->smart))
		return;
	read_page(scan, cand);
	ksm_shard_soon(ksm_key(cand->fingerprint, cand->scope));
}

/* Tries all pages of the queue at once, or none where they are not together. */
static void merge_at_once(struct ksm_scan *scan, unsigned int nr)
{
	struct ksm_mapping_set set = { .map = scan->queue, .nr = nr };
	unsigned long last = ksm_item_address(scan->queue[nr - 1].item);
	struct ksm_mapping *map;

	set.vma = ksm_find_vma(ksm_scan_mm(scan),
			       ksm_item_address(scan->queue[0].item));
	if (!set.vma || last >= set.vma->vm_end) {
		for (map = set.map; map < set.map + nr; map++)
			map->err = -ENOENT;
		return;
	}
	ksm_merge_set(&set);
	/* Of the others, what they come to by themselves is told. */
	for (map = set.map; map < set.map + nr; map++)
		if (!map->err || map->err == -EAGAIN)
			ksm_trace_merge(set.vma, map);
}

/*
 * Merges what was put off until now, while the mmap_lock was held all the time.
 * What was no match, or had to be waited for, is tried by itself.
 */
static void merge_queue(struct ksm_scan *scan)
{
	unsigned int i, nr = scan->nr_queue;

	if (!nr)
		return;
	merge_at_once(scan, nr);
	scan->nr_queue = 0;
	for (i = 0; i < nr; i++) {
		struct ksm_mapping *map = &scan->queue[i];
		bool is_zero = is_zero_pfn(page_to_pfn(map->kpage));

		if (!is_zero)
			put_page(map->kpage);
		if (map->err == -EAGAIN)
			retry_soon(map->item);
		else if (map->err)
			settle_private(scan, scan->queued[i]);
		else if (is_zero)
			release_zero(scan, map->item);
		let_go(scan, scan->queued[i]);
	}
}

static bool waits_in_queue(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	return scan->nr_queue && scan->queued[scan->nr_queue - 1] == cand;
}

static void settle_candidates(struct ksm_scan *scan)
{
	struct ksm_candidate *cand;
	unsigned int i;

	look_ahead(scan, 0);
	for (i = 0; i < scan->nr; i++) {
		look_ahead(scan, i + 1);
		cand = &scan->cand[i];
		if (cand->want == KSM_WANT_ADOPT)
			settle_ksm_page(scan, cand);
		else
			settle_private(scan, cand);
		if (cand->held && !waits_in_queue(scan, cand))
			let_go(scan, cand);
		if (scan->nr_queue == KSM_MERGE_BATCH)
			merge_queue(scan);
		/* Nothing but references to pages is taken across this. */
		if (mmap_lock_is_contended(ksm_scan_mm(scan)) ||
		    need_resched()) {
			merge_queue(scan);
			ksm_scan_give_way(scan);
		}
	}
	merge_queue(scan);
}

/**
 * ksm_settle - deal with the pages of a batch
 * @scan: what was collected; empty afterwards
 *
 * Context: mmap_lock held for reading, here and at the end, but not always in
 *	between.
 */
void ksm_settle(struct ksm_scan *scan)
{
	unsigned int i;

	for (i = 0; i < scan->nr_gone; i++) {
		struct ksm_rmap_item *item = scan->gone[i];
		bool shares = ksm_item_state(item) == KSM_ITEM_STABLE;

		ksm_item_release(item, scan->swapped[i] && shares ?
				 KSM_RELEASE_IF_STALE : KSM_RELEASE_IF_UNNEEDED);
	}
	read_huge(scan);
	settle_candidates(scan);
	folios_put(&scan->merged);
	count_tracked(scan);
	scan->nr_gone = 0;
	scan->nr = 0;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/match_kunit.c"
#endif
