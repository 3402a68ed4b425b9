// SPDX-License-Identifier: GPL-2.0
/*
 * Matching: reads the pages of a batch, and lets each find its duplicate: the
 * zero page, a KSM page, or a page of the unstable tree, which then becomes a
 * KSM page.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "scan.h"

static void retry_soon(struct ksm_rmap_item *item)
{
	ksm_page_changed(ksm_item_chunk(item), ksm_item_place(item));
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

/*
 * Makes a KSM page of the page of @partner, which was claimed, if it equals
 * @page, which has a reference that is put here: it would be in the way of
 * splitting, if both are parts of the same huge page.
 */
static int promote_partner(struct ksm_scan *scan, struct ksm_rmap_item *partner,
			   struct page *page, bool full, struct folio **kfolio)
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
		 pages_identical(other, page))
		err = 0;
	if (other)
		put_page(other);
	put_page(page);
	if (!err)
		err = ksm_promote(vma, partner, full, kfolio);
	unlock_partner(scan, mm);
	mmdrop(mm);
	return err;
}

/*
 * Merges the page of @item with that of @partner, which was claimed.
 *
 * Returns 0; -ENOENT: it is @partner that did not fit, try another one;
 * -EAGAIN: something is in the way of @item.
 */
static int merge_two(struct ksm_scan *scan, struct ksm_rmap_item *item,
		     struct ksm_rmap_item *partner, bool full)
{
	struct mm_struct *mm = ksm_scan_mm(scan);
	unsigned long addr = ksm_item_address(item);
	struct vm_area_struct *vma = ksm_find_vma(mm, addr);
	struct page *page = vma ? ksm_get_page(vma, addr) : NULL;
	struct folio *kfolio;
	int err;

	if (!page) {
		reinsert(partner);
		return -EAGAIN;
	}
	err = promote_partner(scan, partner, page, full, &kfolio);
	if (err == -EEXIST) {
		reinsert(partner);
		return -EAGAIN;
	}
	if (err) {
		unclaim(partner, err != -ENOENT);
		return -ENOENT;
	}
	vma = ksm_find_vma(mm, addr);
	err = vma ? ksm_merge_with(vma, item, kfolio) : -EAGAIN;
	folio_put(kfolio);
	return err ? -EAGAIN : 0;
}

/* Looks for an equal KSM page. As ksm_merge_with(). */
static int match_stable(struct ksm_scan *scan, struct ksm_candidate *cand,
			bool *full)
{
	struct ksm_rmap_item *item = cand->item;
	struct ksm_stable_hits hits;
	struct vm_area_struct *vma;
	int err = -ENOENT;
	unsigned int i;

	ksm_stable_find(ksm_item_key(item), cand->scope, false, &hits);
	*full = hits.full;
	if (!hits.nr)
		return err;

	vma = ksm_find_vma(ksm_scan_mm(scan), ksm_item_address(item));
	if (!vma || (ksm_item_state(item) == KSM_ITEM_UNSTABLE &&
		     !ksm_unstable_remove(item)))
		err = -EAGAIN;
	for (i = 0; i < hits.nr && err == -ENOENT; i++)
		err = ksm_merge_with(vma, item, hits.folio[i]);
	ksm_stable_hits_put(&hits);
	return err;
}

/* Looks for an equal page without duplicate, or leaves this one as such. */
static void match_unstable(struct ksm_scan *scan, struct ksm_rmap_item *item,
			   bool full)
{
	struct ksm_rmap_item *partner;
	unsigned int tries;
	int err;

	for (tries = 0; tries < KSM_SAME_KEY_MAX; tries++) {
		partner = ksm_unstable_meet(item);
		if (!partner)
			return;
		err = merge_two(scan, item, partner, full);
		if (err != -ENOENT) {
			if (err)
				retry_soon(item);
			return;
		}
	}
	ksm_unstable_insert(item);
}

/* Returns whether the page is settled: as a zero page, or not for now. */
static bool match_zero(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	struct vm_area_struct *vma;

	if (!READ_ONCE(ksm_settings.use_zero_pages) ||
	    !ksm_is_zero_key(ksm_item_key(item), cand->scope))
		return false;
	if (ksm_item_state(item) == KSM_ITEM_UNSTABLE &&
	    !ksm_unstable_remove(item))
		return true;
	vma = ksm_find_vma(ksm_scan_mm(scan), ksm_item_address(item));
	if (vma && !ksm_merge_zero(vma, item))
		ksm_item_release(item, KSM_RELEASE_IF_UNNEEDED);
	else
		retry_soon(item);
	return true;
}

/*
 * Notes what was read. Returns false if the item is in somebody's hands; sets
 * @changed if the page is not what it was at the last visit.
 */
static bool note_content(struct ksm_candidate *cand, bool *changed)
{
	struct ksm_rmap_item *item = cand->item;
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	unsigned int place = ksm_item_place(item);
	u64 key;

	*changed = false;
	if (cand->want == KSM_WANT_MATCH)
		return true;

	key = ksm_key(cand->fingerprint, cand->scope);
	*changed = key != ksm_item_key(item);
	if (ksm_item_state(item) == KSM_ITEM_UNSTABLE) {
		if (!*changed && ksm_same_frame(chunk, place, cand->page))
			return true;
		if (!ksm_unstable_remove(item))
			return false;
	}
	ksm_note_frame(chunk, place, cand->page);
	if (*changed) {
		ksm_item_set_key(item, key);
		ksm_page_changed(chunk, place);
	}
	return true;
}

static void settle_private(struct ksm_scan *scan, struct ksm_candidate *cand)
{
	struct ksm_rmap_item *item = cand->item;
	bool changed, full;
	int err;

	switch (ksm_item_state(item)) {
	case KSM_ITEM_FREE:
		ksm_item_track(item);
		break;
	case KSM_ITEM_STABLE:
		/* A page of the same batch may have made it shared since. */
		if (!cand->shared)
			return;
		/* Somebody wrote to the shared page and has a copy now. */
		if (!ksm_stable_unlink(item, KSM_RELEASE_IF_UNNEEDED))
			return;
		break;
	case KSM_ITEM_CLAIMED:
		return;
	}
	if (!note_content(cand, &changed))
		return;
	if (match_zero(scan, cand))
		return;
	err = match_stable(scan, cand, &full);
	if (err == -EAGAIN)
		retry_soon(item);
	if (err != -ENOENT || changed ||
	    ksm_item_state(item) != KSM_ITEM_SEEN)
		return;
	match_unstable(scan, item, full);
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
		ksm_item_track(item);
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

/* Takes the fingerprints of all candidates that ask for it. */
static void read_candidates(struct ksm_scan *scan)
{
	struct ksm_candidate *cand, *end = scan->cand + scan->nr;

	for (cand = scan->cand; cand < end; cand++) {
		if (cand->want != KSM_WANT_READ)
			continue;
		if (cand + 1 < end)
			ksm_fingerprint_soon(cand[1].page);
		cand->fingerprint = ksm_fingerprint(cand->page);
		put_page(cand->page);
	}
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
	struct ksm_candidate *cand;
	unsigned int i;

	for (i = 0; i < scan->nr_gone; i++) {
		struct ksm_rmap_item *item = scan->gone[i];
		bool shares = ksm_item_state(item) == KSM_ITEM_STABLE;

		ksm_item_release(item, scan->swapped[i] && shares ?
				 KSM_RELEASE_IF_STALE : KSM_RELEASE_IF_UNNEEDED);
	}
	read_candidates(scan);
	for (cand = scan->cand; cand < scan->cand + scan->nr; cand++) {
		if (cand->want != KSM_WANT_ADOPT) {
			settle_private(scan, cand);
		} else {
			settle_ksm_page(scan, cand);
			put_page(cand->page);
		}
	}
	scan->nr_gone = 0;
	scan->nr = 0;
}
