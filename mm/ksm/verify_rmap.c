// SPDX-License-Identifier: GPL-2.0
/*
 * The verifying walk at a KSM page: does its content match its key, can nobody
 * write to it, and does reverse mapping find each of its mappings?
 *
 * The folio lock keeps the page from migrating, from being swapped out, and
 * from coming back from swap. But faults, forks and exits still map and unmap
 * it, so look again if the numbers do not agree.
 */
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "verify.h"

/* No address */
#define NOWHERE	ULONG_MAX

/**
 * struct page_view - results of one look at a KSM page
 * @verify: the walk, with the hash table
 * @mapcount: the page's, before the look
 * @nr: different mappings
 * @full: there are more than fit in the hash table
 * @writable: of these, an address with a PTE that permits writing
 * @unmergeable: an address in a VMA that does not let its pages be merged
 */
struct page_view {
	struct ksm_verify *verify;
	unsigned int mapcount;
	unsigned int nr;
	bool full;
	unsigned long writable;
	unsigned long unmergeable;
};

/* Twice the expected size. Forks may map the page before it is locked. */
static int make_room(struct ksm_verify *verify, struct folio *folio)
{
	unsigned int room = roundup_pow_of_two(2 * (folio_mapcount(folio) + 64));

	if (room <= verify->room)
		return 0;
	kvfree(verify->found);
	verify->room = 0;
	verify->found = kvmalloc_array(room, sizeof(*verify->found), GFP_KERNEL);
	if (!verify->found)
		return -ENOMEM;
	verify->room = room;
	return 0;
}

/* A child's mapping may be found through its parent's items and through its own. */
static void view_mapping(struct page_view *view, struct mm_struct *mm,
			 unsigned long addr)
{
	unsigned int mask = view->verify->room - 1;
	unsigned int at = hash_long((unsigned long)mm ^ addr, 32) & mask;
	struct ksm_verify_mapping *entry;

	for (;; at = (at + 1) & mask) {
		entry = &view->verify->found[at];
		if (!entry->mm)
			break;
		if (entry->mm == mm && entry->addr == addr)
			return;
	}
	/* This ends the search above. */
	if (view->nr + 1 == view->verify->room) {
		view->full = true;
		return;
	}
	entry->mm = mm;
	entry->addr = addr;
	view->nr++;
}

static bool view_one(struct folio *folio, struct vm_area_struct *vma,
		     unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, PVMW_SYNC);
	struct page_view *view = arg;

	if (!page_vma_mapped_walk(&pvmw))
		return true;
	if (!pvmw.pte || pte_write(ptep_get(pvmw.pte)))
		view->writable = addr;
	page_vma_mapped_walk_done(&pvmw);
	if (!(READ_ONCE(vma->vm_flags) & VM_MERGEABLE))
		view->unmergeable = addr;
	view_mapping(view, vma->vm_mm, addr);
	return true;
}

/* The page is locked. Returns whether nothing changed during the look. */
static bool view_page(struct folio *folio, struct page_view *view)
{
	struct rmap_walk_control rwc = { .rmap_one = view_one, .arg = view };
	struct ksm_verify *verify = view->verify;

	memset(verify->found, 0, verify->room * sizeof(*verify->found));
	view->mapcount = folio_mapcount(folio);
	rmap_walk(folio, &rwc);
	return folio_mapcount(folio) == view->mapcount && !view->full;
}

/* Nobody may have written to the page, so its content must still have its key. */
static void verify_content(struct ksm_verify *verify, struct folio *folio,
			   struct ksm_stable_node *node)
{
	/* Reading it may be fatal. */
	if (folio_test_hwpoison(folio))
		return;
	if (ksm_key(ksm_fingerprint(&folio->page, NULL), node->scope) != node->key)
		ksm_verify_fail(verify, "page %lx: its content has another key, in scope %u",
				node->kpfn, node->scope);
}

static void verify_view(struct ksm_verify *verify, struct folio *folio,
			struct ksm_stable_node *node, const struct page_view *view)
{
	unsigned long pfn = folio_pfn(folio);

	if (PageAnonExclusive(&folio->page))
		ksm_verify_fail(verify, "page %lx: is exclusive to a process", pfn);
	if (view->writable != NOWHERE)
		ksm_verify_fail(verify, "page %lx: can be written to at %lx",
				pfn, view->writable);
	if (view->unmergeable != NOWHERE)
		ksm_verify_fail(verify, "page %lx: is mapped at %lx, which is not mergeable",
				pfn, view->unmergeable);
	if (view->nr != view->mapcount)
		ksm_verify_fail(verify, "page %lx: %u mappings, %u found, %u sharers",
				pfn, view->mapcount, view->nr, node->sharers);
	verify_content(verify, folio, node);
	verify->mappings += view->mapcount;
	verify->misplaced += node->scope != ksm_scope(&folio->page);
}

/* Migration changes the page of a node under the shard's lock. */
static struct folio *verify_get_folio(struct ksm_stable_node *node)
{
	struct ksm_shard *shard = ksm_shard_of(node->key);
	struct folio *folio;

	ksm_shard_lock(shard);
	folio = ksm_node_get_folio(node);
	ksm_shard_unlock(shard);
	return folio;
}

/* This many looks in a row with the same result show a fault... */
#define LOOKS_ALIKE	5U
/* ...and after this many without, give up on the page. */
#define LOOKS_MAX	20U

/**
 * struct page_looks - number of looks at a page
 * @all: all looks
 * @alike: the last ones that gave the same result and saw no change
 * @mapcount: result of the last look
 * @nr: result of the last look
 */
struct page_looks {
	unsigned int all;
	unsigned int alike;
	unsigned int mapcount;
	unsigned int nr;
};

static void count_look(struct page_looks *looks, const struct page_view *view,
		       bool settled)
{
	if (!settled)
		looks->alike = 0;
	else if (looks->mapcount == view->mapcount && looks->nr == view->nr)
		looks->alike++;
	else
		looks->alike = 1;
	looks->mapcount = view->mapcount;
	looks->nr = view->nr;
	looks->all++;
}

/* The page is locked. Returns 0, or -EAGAIN if it has to be looked at again. */
static int verify_locked(struct ksm_verify *verify, struct folio *folio,
			 struct ksm_stable_node *node, struct page_looks *looks)
{
	struct page_view view = {
		.verify = verify,
		.writable = NOWHERE,
		.unmergeable = NOWHERE,
	};
	bool settled = view_page(folio, &view);

	count_look(looks, &view, settled);
	if (!settled || view.nr != view.mapcount) {
		if (looks->alike < LOOKS_ALIKE && looks->all < LOOKS_MAX)
			return -EAGAIN;
		if (looks->alike < LOOKS_ALIKE) {
			verify->unsettled++;
			view.nr = view.mapcount;
		}
	}
	verify_view(verify, folio, node, &view);
	return 0;
}

/* As verify_locked(); or -ESTALE if the page is gone; -ENOMEM. */
static int verify_once(struct ksm_verify *verify, struct ksm_stable_node *node,
		       struct page_looks *looks)
{
	struct folio *folio = verify_get_folio(node);
	int err;

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	err = make_room(verify, folio);
	if (err) {
		folio_put(folio);
		return err;
	}
	if (ksm_node_lock_folio(node, folio, true))
		return -EAGAIN;
	err = verify_locked(verify, folio, node, looks);
	folio_unlock(folio);
	folio_put(folio);
	return err;
}

/**
 * ksm_verify_mappings - a KSM page and what maps it
 * @verify: the walk
 * @node: its node
 *
 * Context: ksm_gate held exclusively; sleeps.
 * Return: 0; -EINTR if killed; -ENOMEM.
 */
int ksm_verify_mappings(struct ksm_verify *verify, struct ksm_stable_node *node)
{
	struct page_looks looks = { };
	int err;

	for (;;) {
		err = verify_once(verify, node, &looks);
		if (err != -EAGAIN)
			break;
		if (fatal_signal_pending(current))
			return -EINTR;
		usleep_range(500, 1000);
	}
	if (err == -ESTALE) {
		verify->stale++;
		err = 0;
	}
	return err;
}
