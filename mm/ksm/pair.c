// SPDX-License-Identifier: GPL-2.0
/*
 * Pairs: a candidate and its partner, which has the same key and no KSM page
 * yet. The partner becomes a KSM page, and the candidate is merged with it.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/page-flags.h>
#include <linux/sched/mm.h>

#include "key.h"
#include "merge.h"
#include "node.h"
#include "page.h"
#include "pair.h"
#include "promote.h"
#include "slot.h"
#include "split.h"
#include "visit.h"

/* Patience that a worker keeps for the mm that it scans. */
#define OWN_PATIENCE	10U

/**
 * enum pair_partner - what is known about a partner
 * @PARTNER_EQUAL: it equals the candidate
 * @PARTNER_SAME: it is the same page, mapped in both places since a fork
 * @PARTNER_UNEQUAL: it differs, although its key is that of the candidate
 * @PARTNER_STALE: its page has another key now, or is gone
 * @PARTNER_BUSY: something is in the way
 */
enum pair_partner {
	PARTNER_EQUAL,
	PARTNER_SAME,
	PARTNER_UNEQUAL,
	PARTNER_STALE,
	PARTNER_BUSY,
};

/**
 * ksm_candidate_page - get the page of a candidate
 * @lock: the mmap_lock of its mm, held or lost
 * @cand: the candidate
 *
 * Return: the page with a reference, or NULL.
 */
struct page *ksm_candidate_page(struct ksm_mm_lock *lock,
				struct ksm_candidate *cand)
{
	unsigned long addr = ksm_item_address(cand->item);
	struct vm_area_struct *vma;

	if (cand->held) {
		get_page(cand->page);
		return cand->page;
	}
	vma = ksm_mm_find_vma(lock, addr);
	return vma ? ksm_get_page(vma, addr) : NULL;
}

/**
 * ksm_candidate_merge - merge a candidate with a KSM page
 * @lock: the mmap_lock of its mm, held or lost
 * @cand: the candidate, whose item is in the caller's hands and in no tree
 * @kfolio: the KSM page, a reference held
 *
 * Context: no folio lock held; sleeps.
 * Return: %KSM_FATE_MERGED, %KSM_FATE_BUSY or %KSM_FATE_UNEQUAL.
 */
enum ksm_fate ksm_candidate_merge(struct ksm_mm_lock *lock,
				  struct ksm_candidate *cand,
				  struct folio *kfolio)
{
	struct vm_area_struct *vma;

	vma = ksm_mm_find_vma(lock, ksm_item_address(cand->item));
	if (!vma)
		return KSM_FATE_BUSY;
	return ksm_fate_of(ksm_merge_with(vma, cand->item,
					  cand->held ? cand->page : NULL,
					  kfolio));
}

/*
 * Locks the mm of the partner, too. Waiting for a second mmap_lock could
 * deadlock, so release the first one before that. Returns false if the
 * partner's lock stays busy; the first one may be lost by then.
 */
static bool pair_lock(struct ksm_mm_lock *lock, struct ksm_rmap_item *partner,
		      struct mm_struct *mm)
{
	if (mm == lock->mm)
		return lock->held;
	if (mmap_read_trylock(mm))
		return true;
	if (lock->patience <= OWN_PATIENCE)
		return false;
	ksm_mm_unlock(lock);
	if (ksm_mm_lock_other(lock, ksm_item_chunk(partner)->slot, mm, OWN_PATIENCE))
		return true;
	ksm_mm_lock(lock);
	return false;
}

static void pair_unlock(struct ksm_mm_lock *lock, struct mm_struct *mm)
{
	if (mm != lock->mm) {
		mmap_read_unlock(mm);
		ksm_mm_lock(lock);
	}
}

/* How the page of a partner, and what is known of it, compare with @page. */
static enum pair_partner pair_compare(struct ksm_rmap_item *partner,
				      struct page *other, struct page *page)
{
	unsigned int scope;

	if (other == page)
		return PARTNER_SAME;
	if (!other || folio_test_ksm(page_folio(other)))
		return PARTNER_STALE;
	scope = ksm_scope(other);
	if (scope != ksm_scope(page))
		return PARTNER_STALE;
	if (ksm_pages_equal(other, page))
		return PARTNER_EQUAL;
	return ksm_key(ksm_fingerprint(other, NULL), scope) ==
	       ksm_item_key(partner) ? PARTNER_UNEQUAL : PARTNER_STALE;
}

/* Converts the result of ksm_promote(). */
static enum pair_partner pair_promoted(int err)
{
	switch (err) {
	case 0:
		return PARTNER_EQUAL;
	case -ENOENT:
		return PARTNER_STALE;
	default:
		return PARTNER_BUSY;
	}
}

/*
 * If the page of @partner, which was claimed, equals @page, makes it a KSM
 * page. Drops the reference to @page. %PARTNER_EQUAL: it is a KSM page, and the
 * item is not ours any more.
 */
static enum pair_partner pair_promote(struct ksm_mm_lock *lock,
				      struct page *page,
				      struct ksm_rmap_item *partner,
				      struct folio **kfolio)
{
	struct mm_struct *mm = ksm_item_mm(partner);
	struct vm_area_struct *vma;
	struct page *other = NULL;
	enum pair_partner found;
	bool slow;

	/* After promotion, neither the item nor the slot is ours. */
	mmgrab(mm);
	if (!pair_lock(lock, partner, mm)) {
		put_page(page);
		mmdrop(mm);
		return PARTNER_BUSY;
	}
	vma = ksm_find_vma(mm, ksm_item_address(partner));
	if (vma && !ksm_slot_is_spared(ksm_item_chunk(partner)->slot))
		other = ksm_get_page(vma, ksm_item_address(partner));
	found = pair_compare(partner, other, page);
	slow = mm_has_notifiers(mm) || (other && PageCompound(other));
	if (other)
		put_page(other);
	/* It would prevent merging, and splitting a huge page that has both. */
	put_page(page);
	/* Do not keep this mm locked during slow work on the partner's side. */
	if (found == PARTNER_EQUAL && slow && mm != lock->mm)
		ksm_mm_unlock(lock);
	if (found == PARTNER_EQUAL)
		found = pair_promoted(ksm_promote(vma, partner, kfolio));
	pair_unlock(lock, mm);
	mmdrop(mm);
	return found;
}

/*
 * Is the candidate in use, so that it cannot be merged with anything, nor split
 * if it is part of a huge page? We hold a reference to it, and so does the batch.
 * Otherwise the partner would be promoted for nothing.
 */
static bool pair_in_use(struct ksm_candidate *cand, struct page *page)
{
	return ksm_unknown_references(page_folio(page)) > 1 + cand->held;
}

/*
 * If the candidate is part of a huge page, have enough pages of that found a
 * twin to split it? Counts the partner's page, too, which may also be part of a
 * huge page. If only the partner's is, that one is checked when the partner is
 * about to be split.
 */
static bool pair_worth_splitting(struct ksm_candidate *cand, struct page *page,
				 struct ksm_rmap_item *partner)
{
	bool enough;

	/* Mostly it is not, and then there is no need to take a global lock. */
	if (!folio_test_pmd_mappable(page_folio(page)))
		return true;
	/* Most likely it is the same page, mapped there since a fork: no twin. */
	if (ksm_same_frame(ksm_item_chunk(partner), ksm_item_place(partner),
			   page_to_pfn(page)))
		return true;
	enough = ksm_split_add_twin(cand->item);
	ksm_split_add_twin(partner);
	return enough;
}

/* The partner is a KSM page now: merges the candidate with it. */
static enum ksm_fate pair_join(struct ksm_mm_lock *lock,
			       struct ksm_candidate *cand, struct folio *kfolio,
			       const struct ksm_rmap_item *promoted)
{
	enum ksm_fate fate = ksm_candidate_merge(lock, cand, kfolio);

	if (fate != KSM_FATE_MERGED) {
		ksm_demote(kfolio, promoted);
		fate = KSM_FATE_BUSY;
	}
	folio_put(kfolio);
	return fate;
}

/**
 * ksm_pair_merge - merge the page of a candidate with that of a partner
 * @lock: the mmap_lock of the candidate's mm; may be lost
 * @cand: the candidate, whose item is in the caller's hands and in no tree
 * @partner: the partner's item, which was claimed; set to NULL if it is not the
 *	caller's any more
 *
 * Context: no folio lock held; sleeps, allocates.
 * Return: %KSM_FATE_MERGED; %KSM_FATE_UNEQUAL: the partner did not fit, try
 *	another one; %KSM_FATE_SAME; %KSM_FATE_BUSY: something is in the way of
 *	the candidate.
 */
enum ksm_fate ksm_pair_merge(struct ksm_mm_lock *lock,
			     struct ksm_candidate *cand,
			     struct ksm_rmap_item **partner)
{
	struct page *page = ksm_candidate_page(lock, cand);
	struct ksm_rmap_item *item = *partner;
	struct folio *kfolio;

	if (!page)
		return KSM_FATE_BUSY;
	if (pair_in_use(cand, page) ||
	    !pair_worth_splitting(cand, page, item)) {
		put_page(page);
		return KSM_FATE_BUSY;
	}
	switch (pair_promote(lock, page, item, &kfolio)) {
	case PARTNER_EQUAL:
		*partner = NULL;
		return pair_join(lock, cand, kfolio, item);
	case PARTNER_SAME:
		return KSM_FATE_SAME;
	case PARTNER_UNEQUAL:
		return KSM_FATE_UNEQUAL;
	case PARTNER_STALE:
		ksm_item_set_key(item, 0);
		break;
	case PARTNER_BUSY:
		break;
	}
	/* If it has a key, its own next visit looks for a duplicate. */
	ksm_item_set_state(item, KSM_ITEM_SEEN);
	*partner = NULL;
	return KSM_FATE_UNEQUAL;
}
