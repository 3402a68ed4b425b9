// SPDX-License-Identifier: GPL-2.0
/*
 * What the rest of mm asks of a KSM page: who maps it, what happens when it
 * migrates, comes back from swap, or when its memory fails.
 *
 * All callers hold the folio lock, which keeps the list of rmap_items of its
 * stable node unchanged, and the items' chunks in place.
 */
#include <kunit/static_stub.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "ksm.h"
#include "node.h"
#include "rmap.h"
#include "slot.h"

/* Where the mappings of an item are in the anon_vma's interval tree. */
static void rmap_index_range(struct ksm_rmap_item *item, pgoff_t *first,
			     pgoff_t *last)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	unsigned int place = ksm_item_place(item);

	*first = chunk->pgoff + place;
	*last = *first;
	if (READ_ONCE(chunk->state[place]) & KSM_ITEM_ODD_PGOFF) {
		*first = 0;
		*last = ULONG_MAX;
	}
}

/*
 * Calls rmap_one for the mappings of one item: for the one in its own mm, or
 * for all others, which come from forks. Returns whether to go on.
 */
static bool rmap_walk_item(struct ksm_rmap_item *item, struct folio *folio,
			   struct rmap_walk_control *rwc, bool forks)
{
	unsigned long addr = ksm_item_address(item);
	struct mm_struct *mm = ksm_item_mm(item);
	struct anon_vma_chain *avc;
	pgoff_t first, last;
	bool of_fork;

	rmap_index_range(item, &first, &last);
	anon_rmap_tree_foreach(avc, item->anon_vma, first, last) {
		struct vm_area_struct *vma = avc->vma;

		cond_resched();
		if (addr < vma->vm_start || addr >= vma->vm_end)
			continue;
		of_fork = vma->vm_mm != mm;
		if (of_fork != forks)
			continue;
		if (rwc->invalid_vma && rwc->invalid_vma(vma, rwc->arg))
			continue;
		if (!rwc->rmap_one(folio, vma, addr, rwc->arg))
			return false;
		if (rwc->done && rwc->done(folio))
			return false;
		/* An mm has one VMA at an address. */
		if (!forks)
			break;
	}
	return true;
}

static bool rmap_walk_items(struct ksm_stable_node *node, struct folio *folio,
			    struct rmap_walk_control *rwc, bool forks)
{
	struct ksm_rmap_item *item;

	hlist_for_each_entry(item, &node->items, link) {
		bool go_on;

		cond_resched();
		if (!anon_vma_trylock_read(item->anon_vma)) {
			if (rwc->try_lock) {
				rwc->contended = true;
				return false;
			}
			anon_vma_lock_read(item->anon_vma);
		}
		go_on = rmap_walk_item(item, folio, rwc, forks);
		anon_vma_unlock_read(item->anon_vma);
		if (!go_on)
			return false;
	}
	return true;
}

/**
 * rmap_walk_ksm - visit all mappings of a KSM page
 * @folio: the page, locked
 * @rwc: what to do with each
 *
 * First visits the mappings that rmap_items stand for, which are usually all.
 * Visits children that were forked since in a second round, unless the
 * callbacks are done by then.
 */
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);

	VM_WARN_ON_ONCE_FOLIO(!folio_test_ksm(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	if (node && rmap_walk_items(node, folio, rwc, false))
		rmap_walk_items(node, folio, rwc, true);
}

#ifdef CONFIG_MIGRATION
/**
 * folio_migrate_ksm - a KSM page moves
 * @newfolio: to here, locked
 * @folio: from here, locked
 */
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio)
{
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(newfolio), newfolio);
	VM_WARN_ON_ONCE_FOLIO(newfolio->mapping != folio->mapping, newfolio);

	ksm_stable_moved(newfolio, folio);
}
#endif

#ifdef CONFIG_MEMORY_FAILURE
static void rmap_collect_task(struct ksm_rmap_item *item, struct task_struct *task,
			      const struct page *page,
			      struct list_head *to_kill)
{
	unsigned long addr = ksm_item_address(item);
	struct anon_vma_chain *avc;
	pgoff_t first, last;

	rmap_index_range(item, &first, &last);
	anon_rmap_tree_foreach(avc, item->anon_vma, first, last) {
		struct vm_area_struct *vma = avc->vma;

		if (vma->vm_mm == task->mm && addr >= vma->vm_start &&
		    addr < vma->vm_end)
			add_to_kill_ksm(task, (struct page *)page, vma, to_kill,
					addr);
	}
}

/**
 * collect_procs_ksm - find the processes that lose data with this page
 * @folio: the KSM page, locked
 * @page: the same
 * @to_kill: list to add them to
 * @force_early: also those that did not ask to be told early
 */
void collect_procs_ksm(const struct folio *folio, const struct page *page,
		       struct list_head *to_kill, int force_early)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_rmap_item *item;
	struct task_struct *task;

	if (!node)
		return;
	hlist_for_each_entry(item, &node->items, link) {
		anon_vma_lock_read(item->anon_vma);
		rcu_read_lock();
		for_each_process(task) {
			struct task_struct *victim =
				task_early_kill(task, force_early);

			if (victim)
				rmap_collect_task(item, victim, page, to_kill);
		}
		rcu_read_unlock();
		anon_vma_unlock_read(item->anon_vma);
	}
}
#endif

static struct folio *rmap_copy_folio(struct folio *folio,
				     struct vm_area_struct *vma, unsigned long addr)
{
	struct folio *copy;

	copy = vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, vma, addr);
	if (!copy)
		return NULL;
	if (mem_cgroup_charge(copy, vma->vm_mm, GFP_KERNEL)) {
		folio_put(copy);
		return NULL;
	}
	if (copy_mc_user_highpage(&copy->page, &folio->page, addr, vma)) {
		folio_put(copy);
		return ERR_PTR(-EHWPOISON);
	}
	folio_set_dirty(copy);
	__folio_mark_uptodate(copy);
	__folio_set_locked(copy);
#ifdef CONFIG_SWAP
	count_vm_event(KSM_SWPIN_COPY);
#endif
	return copy;
}

/* Does the anon_vma cover @vma? Its lock or the mmap_lock is held. */
static bool rmap_is_covered(struct anon_vma *anon_vma, struct vm_area_struct *vma)
{
	struct anon_vma_chain *avc;

	if (anon_vma == vma->anon_vma)
		return true;
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma)
		if (avc->anon_vma == anon_vma)
			return true;
	return false;
}

/*
 * Does reverse mapping look into @vma for the mappings of @item, whose address
 * is in it? The VMA may be another one that has taken the place of the first.
 */
static bool rmap_item_leads_to(struct ksm_rmap_item *item,
			       struct vm_area_struct *vma)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	u8 state = READ_ONCE(chunk->state[ksm_item_place(item)]);

	return rmap_is_covered(item->anon_vma, vma) &&
	       ((state & KSM_ITEM_ODD_PGOFF) || !ksm_has_odd_pgoff(vma, item));
}

static bool rmap_walk_finds(struct vm_area_struct *vma, unsigned long addr,
			    struct folio *folio, unsigned int flags)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, flags);

	if (!page_vma_mapped_walk(&pvmw))
		return false;
	page_vma_mapped_walk_done(&pvmw);
	return true;
}

/* Does the PTE map the page, or did it until migration began? */
static bool rmap_maps_folio(struct vm_area_struct *vma, unsigned long addr,
			    struct folio *folio)
{
	return rmap_walk_finds(vma, addr, folio, PVMW_SYNC) ||
	       rmap_walk_finds(vma, addr, folio, PVMW_MIGRATION);
}

/* ------------------------------------------------------ forks and their items */

/* With more VMAs than this, do not work out which maps what. */
#define FORKS_MAX	1024
/* Passing over this many that cannot map the page costs as much as one look. */
#define GLANCES_A_STEP	16

/**
 * struct rmap_forks - which of the mappings left by forks have items
 * @of: the item whose mappings are searched
 * @item: the items of its relatives at its address, by mm; NULL until needed
 * @nr: how many
 * @looked: mappings for which the page table was looked at
 */
struct rmap_forks {
	struct ksm_rmap_item *of;
	struct ksm_rmap_item **item;
	unsigned int nr;
	unsigned int looked;
};

static int rmap_mm_order(const void *a, const void *b)
{
	struct mm_struct *x = ksm_item_mm(*(struct ksm_rmap_item **)a);
	struct mm_struct *y = ksm_item_mm(*(struct ksm_rmap_item **)b);

	return x < y ? -1 : x > y;
}

static bool rmap_is_relative(struct ksm_rmap_item *of, struct ksm_rmap_item *item)
{
	return ksm_item_address(item) == ksm_item_address(of) &&
	       item->anon_vma->root == of->anon_vma->root;
}

/*
 * Goes through the list of sharers once, not once for each mapping. Returns
 * false without memory. An anon_vma is locked, so do not wait for any.
 */
static bool rmap_collect_forks(struct rmap_forks *forks,
			       struct ksm_stable_node *node)
{
	struct ksm_rmap_item *item;

	forks->item = kvmalloc_array(node->sharers, sizeof(*forks->item),
				     GFP_NOWAIT | __GFP_NOWARN);
	if (!forks->item)
		return false;
	forks->looked += node->sharers / GLANCES_A_STEP;
	hlist_for_each_entry(item, &node->items, link)
		if (rmap_is_relative(forks->of, item))
			forks->item[forks->nr++] = item;
	sort(forks->item, forks->nr, sizeof(*forks->item), rmap_mm_order, NULL);
	return true;
}

/* Does the mapping have an item of its own? */
static bool rmap_has_item(struct rmap_forks *forks, struct vm_area_struct *vma)
{
	unsigned int low = 0, high = forks->nr;

	/* An exited mm may have left another item with the same mm_struct. */
	while (low < high) {
		unsigned int middle = low + (high - low) / 2;

		if (ksm_item_mm(forks->item[middle]) < vma->vm_mm)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < forks->nr && ksm_item_mm(forks->item[low]) == vma->vm_mm;
	     low++)
		if (rmap_item_leads_to(forks->item[low], vma))
			return true;
	return false;
}

/* Is this the mapping of a fork that is found only through @forks->of? */
static bool rmap_depends_on(struct rmap_forks *forks, struct vm_area_struct *vma,
			    struct folio *folio)
{
	unsigned long addr = ksm_item_address(forks->of);

	if (vma->vm_mm == ksm_item_mm(forks->of) || addr < vma->vm_start ||
	    addr >= vma->vm_end)
		return false;
	forks->looked++;
	if (!rmap_maps_folio(vma, addr, folio))
		return false;
	if (!forks->item && !rmap_collect_forks(forks, ksm_folio_node(folio)))
		return true;
	return !rmap_has_item(forks, vma);
}

/**
 * ksm_item_is_needed - are any mappings found only through this item?
 * @folio: the KSM page, locked
 * @item: one of its rmap_items
 *
 * Children map the page until they write to it. Once they are scanned, they
 * have their own items. If there are too many to look at, the item stays,
 * perhaps for too long, but at the cost of its own process only. The search is
 * charged to that process.
 *
 * It does not wait for the anon_vma: all of a family of processes share its lock, and
 * the caller has locked a page that strangers may use.
 *
 * Return: 1: yes; 0: no; -EBUSY: ask again, the family is changing.
 */
int ksm_item_is_needed(struct folio *folio, struct ksm_rmap_item *item)
{
	struct rmap_forks forks = { .of = item };
	struct anon_vma_chain *avc;
	unsigned int seen = 0;
	bool needed = false;
	pgoff_t first, last;

	KUNIT_STATIC_STUB_REDIRECT(ksm_item_is_needed, folio, item);
	/* From swap it returns to where there is an item, and nowhere else. */
	if (!folio_mapped(folio))
		return false;

	if (!anon_vma_trylock_read(item->anon_vma))
		return -EBUSY;
	rmap_index_range(item, &first, &last);
	anon_rmap_tree_foreach(avc, item->anon_vma, first, last) {
		needed = ++seen > FORKS_MAX ||
			 rmap_depends_on(&forks, avc->vma, folio);
		if (needed)
			break;
	}
	anon_vma_unlock_read(item->anon_vma);
	kvfree(forks.item);
	atomic_add(1 + forks.looked + seen / GLANCES_A_STEP,
		   &ksm_item_chunk(item)->slot->debt);
	return needed;
}

/* Does the PTE map the page, or will it once the page is back? */
static bool rmap_pte_leads_to(pte_t pte, struct folio *folio)
{
	softleaf_t entry;

	if (pte_none(pte))
		return false;
	if (pte_present(pte))
		return pte_pfn(pte) == folio_pfn(folio);
	entry = softleaf_from_pte(pte);
	if (softleaf_is_migration(entry))
		return softleaf_to_folio(entry) == folio;
	return softleaf_is_swap(entry) && folio_test_swapcache(folio) &&
	       entry.val == folio->swap.val;
}

/**
 * ksm_item_may_return - may the page be mapped here again without a merge?
 * @folio: the KSM page, locked
 * @item: one of its rmap_items, whose own mapping was not present
 *
 * Nobody can map the page while it is locked, so the answer holds until then.
 *
 * Context: mmap_lock of the item's mm held.
 */
bool ksm_item_may_return(struct folio *folio, struct ksm_rmap_item *item)
{
	unsigned long addr = ksm_item_address(item);
	struct mm_struct *mm = ksm_item_mm(item);
	spinlock_t *ptl;
	bool leads;
	pmd_t *pmd;
	pte_t *pte;

	KUNIT_STATIC_STUB_REDIRECT(ksm_item_may_return, folio, item);
	if (!ksm_find_vma(mm, addr))
		return false;
	pmd = mm_find_pmd(mm, addr);
	pte = pmd ? pte_offset_map_lock(mm, pmd, addr, &ptl) : NULL;
	if (!pte)
		return false;
	leads = rmap_pte_leads_to(ptep_get(pte), folio);
	pte_unmap_unlock(pte, ptl);
	return leads;
}

/*
 * Would reverse mapping find the page there? It is locked, and the VMA does not
 * change while a fault works on it.
 */
static bool rmap_is_found_at(struct folio *folio, struct vm_area_struct *vma,
			     unsigned long addr)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_rmap_item *item;

	if (!node || !vma->anon_vma)
		return false;
	hlist_for_each_entry(item, &node->items, link)
		if (ksm_item_mm(item) == vma->vm_mm &&
		    ksm_item_address(item) == addr && rmap_item_leads_to(item, vma))
			return true;
	return false;
}

/* May this page from the swap cache be mapped at that address as it is? */
static bool rmap_fits_as_it_is(struct folio *folio, struct vm_area_struct *vma,
			       unsigned long addr)
{
	struct anon_vma *anon_vma = folio_anon_vma(folio);

	if (folio_test_large(folio))
		return true;
	/*
	 * A KSM page may return to a place where it is wanted and where reverse
	 * mapping finds it. Elsewhere it would stay shared after
	 * MADV_UNMERGEABLE has said that it is not, or not be found.
	 */
	if (folio_test_ksm(folio))
		return (vma->vm_flags & VM_MERGEABLE) &&
		       !ksm_runs(KSM_RUN_UNMERGE) &&
		       rmap_is_found_at(folio, vma, addr);
	/* Fresh from the swap device, or swapped out from this very place. */
	if (!anon_vma)
		return true;
	return folio->index == linear_anon_page_index(vma, addr) &&
	       anon_vma->root == vma->anon_vma->root;
}

/**
 * ksm_might_need_to_copy - a page is about to be swapped in
 * @folio: the page as it is in the swap cache, locked
 * @vma: the VMA that it is for
 * @addr: the address
 *
 * What was one KSM page when it was swapped out is read back by the first to
 * come, and reverse mapping finds a page that is no KSM page in a single place
 * of related VMAs only. All others get copies, which ksmd may merge.
 *
 * Return: @folio if it can be mapped; a copy, locked; NULL without memory; or
 *	ERR_PTR(-EHWPOISON).
 */
struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma,
				     unsigned long addr)
{
	if (rmap_fits_as_it_is(folio, vma, addr))
		return folio;
	if (PageHWPoison(&folio->page))
		return ERR_PTR(-EHWPOISON);
	/* The read has failed; do_swap_page() reports that. */
	if (!folio_test_uptodate(folio))
		return folio;
	return rmap_copy_folio(folio, vma, addr);
}
