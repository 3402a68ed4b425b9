// SPDX-License-Identifier: GPL-2.0
/*
 * What the rest of mm asks of a KSM page: who maps it, that it migrates, that
 * it comes back from swap, that its memory fails.
 *
 * The folio lock, which all callers hold, keeps the list of rmap_items of its
 * stable node as it is, and with it their chunks.
 */
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "ksm.h"

/* Where in the anon_vma's interval tree the mappings of an item are. */
static void index_range(struct ksm_rmap_item *item, pgoff_t *first,
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
 * Calls rmap_one for the mappings of one item: for that of its own mm, or for
 * those of all others, which forks have left. Returns whether to go on.
 */
static bool walk_item(struct ksm_rmap_item *item, struct folio *folio,
		      struct rmap_walk_control *rwc, bool forks)
{
	unsigned long addr = ksm_item_address(item);
	struct mm_struct *mm = ksm_item_mm(item);
	struct anon_vma_chain *avc;
	pgoff_t first, last;
	bool of_fork;

	index_range(item, &first, &last);
	anon_vma_interval_tree_foreach(avc, &item->anon_vma->rb_root, first,
				       last) {
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
	}
	return true;
}

static bool walk_items(struct ksm_stable_node *node, struct folio *folio,
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
		go_on = walk_item(item, folio, rwc, forks);
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
 * First the mappings that rmap_items stand for, which mostly are all. Children
 * that were forked since are visited in a second round, where the callbacks
 * have not had enough by then.
 */
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);

	VM_WARN_ON_ONCE_FOLIO(!folio_test_ksm(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	if (node && walk_items(node, folio, rwc, false))
		walk_items(node, folio, rwc, true);
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
static void collect_task(struct ksm_rmap_item *item, struct task_struct *task,
			 struct page *page, struct list_head *to_kill)
{
	unsigned long addr = ksm_item_address(item);
	struct anon_vma_chain *avc;
	pgoff_t first, last;

	index_range(item, &first, &last);
	anon_vma_interval_tree_foreach(avc, &item->anon_vma->rb_root, first,
				       last) {
		struct vm_area_struct *vma = avc->vma;

		if (vma->vm_mm == task->mm && addr >= vma->vm_start &&
		    addr < vma->vm_end)
			add_to_kill_ksm(task, page, vma, to_kill, addr);
	}
}

/**
 * collect_procs_ksm - which processes lose data with this page?
 * @folio: the KSM page, locked
 * @page: the same
 * @to_kill: list that they are added to
 * @force_early: also those that did not ask to be told early
 */
void collect_procs_ksm(struct folio *folio, struct page *page,
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
				collect_task(item, victim, page, to_kill);
		}
		rcu_read_unlock();
		anon_vma_unlock_read(item->anon_vma);
	}
}
#endif

static struct folio *copy_folio(struct folio *folio,
				struct vm_area_struct *vma, unsigned long addr)
{
	struct folio *copy;

	copy = vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, vma, addr, false);
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

/*
 * Is @vma where reverse mapping looks for the mappings of @item? Another may
 * have moved to the address of one that is gone. The lock of its anon_vma is
 * held, which is that of all of the family.
 */
static bool item_leads_to(struct ksm_rmap_item *item, struct vm_area_struct *vma)
{
	struct anon_vma_chain *avc;
	pgoff_t first, last;

	index_range(item, &first, &last);
	anon_vma_interval_tree_foreach(avc, &item->anon_vma->rb_root, first,
				       last)
		if (avc->vma == vma)
			return true;
	return false;
}

/* Does this very mapping, of the family of @root, have an rmap_item? */
static bool has_item(struct ksm_stable_node *node, struct anon_vma *root,
		     struct vm_area_struct *vma, unsigned long addr)
{
	struct ksm_rmap_item *item;

	hlist_for_each_entry(item, &node->items, link)
		if (ksm_item_mm(item) == vma->vm_mm &&
		    ksm_item_address(item) == addr &&
		    item->anon_vma->root == root && item_leads_to(item, vma))
			return true;
	return false;
}

static bool walk_finds(struct vm_area_struct *vma, unsigned long addr,
		       struct folio *folio, unsigned int flags)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, flags);

	if (!page_vma_mapped_walk(&pvmw))
		return false;
	page_vma_mapped_walk_done(&pvmw);
	return true;
}

/* Does the PTE there lead to the page, or did it until it began to migrate? */
static bool maps_folio(struct vm_area_struct *vma, unsigned long addr,
		       struct folio *folio)
{
	return walk_finds(vma, addr, folio, PVMW_SYNC) ||
	       walk_finds(vma, addr, folio, PVMW_MIGRATION);
}

/* Of more children than this it is not worked out who maps what. */
#define FORKS_MAX	64

/**
 * ksm_item_is_needed - are there mappings that are found by this item alone?
 * @folio: the KSM page, locked
 * @item: one of its rmap_items, whose own mapping is gone
 *
 * Children map the page until they write to it. Once they are scanned they
 * have items of their own.
 *
 * Context: sleeps.
 */
bool ksm_item_is_needed(struct folio *folio, struct ksm_rmap_item *item)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	unsigned long addr = ksm_item_address(item);
	struct anon_vma_chain *avc;
	unsigned int forks = 0;
	bool needed = false;
	pgoff_t first, last;

	/* From swap it returns to where there is an item, and nowhere else. */
	if (!folio_mapped(folio))
		return false;

	index_range(item, &first, &last);
	anon_vma_lock_read(item->anon_vma);
	anon_vma_interval_tree_foreach(avc, &item->anon_vma->rb_root, first,
				       last) {
		struct vm_area_struct *vma = avc->vma;

		if (vma->vm_mm == ksm_item_mm(item) || addr < vma->vm_start ||
		    addr >= vma->vm_end)
			continue;
		needed = ++forks > FORKS_MAX ?
			folio_mapcount(folio) >= node->sharers :
			maps_folio(vma, addr, folio) &&
			!has_item(node, item->anon_vma->root, vma, addr);
		if (needed || forks > FORKS_MAX)
			break;
	}
	anon_vma_unlock_read(item->anon_vma);
	return needed;
}

/* Would reverse mapping find the page there? It is locked. */
static bool is_found_at(struct folio *folio, struct vm_area_struct *vma,
			unsigned long addr)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	bool found;

	if (!node || !vma->anon_vma)
		return false;
	anon_vma_lock_read(vma->anon_vma);
	found = has_item(node, vma->anon_vma->root, vma, addr);
	anon_vma_unlock_read(vma->anon_vma);
	return found;
}

/* May this page from the swap cache be mapped at that address as it is? */
static bool fits_as_it_is(struct folio *folio, struct vm_area_struct *vma,
			  unsigned long addr)
{
	struct anon_vma *anon_vma = folio_anon_vma(folio);

	if (folio_test_large(folio))
		return true;
	/*
	 * A KSM page may return to where it is wanted, and where it is known to
	 * be; elsewhere it would stay shared after MADV_UNMERGEABLE has said
	 * that it is not, or not be found by reverse mapping.
	 */
	if (folio_test_ksm(folio))
		return (vma->vm_flags & VM_MERGEABLE) &&
		       !ksm_runs(KSM_RUN_UNMERGE) &&
		       is_found_at(folio, vma, addr);
	/* Fresh from the swap device, or swapped out from this very place. */
	if (!anon_vma)
		return true;
	return folio->index == linear_page_index(vma, addr) &&
	       anon_vma->root == vma->anon_vma->root;
}

/**
 * ksm_might_need_to_copy - a page is about to be swapped in
 * @folio: the page as it is in the swap cache, locked
 * @vma: the VMA that it is for
 * @addr: the address
 *
 * What was one KSM page when it was swapped out is read back by whoever comes
 * first, and reverse mapping finds a page that is no KSM page in a single
 * place of related VMAs only. All others get copies, and ksmd may merge them.
 *
 * Return: @folio if it can be mapped; a copy, locked; NULL without memory; or
 *	ERR_PTR(-EHWPOISON).
 */
struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma,
				     unsigned long addr)
{
	if (fits_as_it_is(folio, vma, addr))
		return folio;
	if (PageHWPoison(&folio->page))
		return ERR_PTR(-EHWPOISON);
	/* The read has failed, which do_swap_page() will tell. */
	if (!folio_test_uptodate(folio))
		return folio;
	return copy_folio(folio, vma, addr);
}
