// SPDX-License-Identifier: GPL-2.0
/*
 * Unmerging: give every sharer of a range, or of all memory, its own copy of
 * the page again.
 *
 * The page fault code could make the copies one by one. But there may be
 * millions of them: here it is many at a time, with one flush and one
 * notification for all. What is known of the pages is left to the next scan,
 * unless all of it is to go.
 */
#include <linux/highmem.h>
#include <linux/hugetlb.h>	/* flush_tlb_range() */
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>
#include <asm/tlbflush.h>

#include "../internal.h"
#include "ksm.h"

/*
 * Pages that are unshared at a time: one flush, one notification. x86 flushes
 * more than 33 pages all at once, which is cheaper.
 */
#define UNSHARE_BATCH	64

/**
 * struct shared - a page that is to be unshared
 * @addr: its address
 * @pte: its PTE as it was found
 * @page: the KSM page, with a reference; NULL: it is KSM's zero page
 * @copy: what takes its place
 * @changed: the PTE is another one by now
 */
struct shared {
	unsigned long addr;
	pte_t pte;
	struct page *page;
	struct folio *copy;
	bool changed;
};

/**
 * struct unshare - unsharing of a range
 * @vma: the VMA
 * @batch: shared pages of one page table
 * @nr: how many
 * @fresh: pages to copy to
 * @taken: how many of @fresh were taken; those behind them are there or NULL
 * @next: where to go on looking
 * @waits: there, a KSM page is just being migrated
 */
struct unshare {
	struct vm_area_struct *vma;
	struct shared batch[UNSHARE_BATCH];
	unsigned int nr;
	struct page *fresh[UNSHARE_BATCH];
	unsigned int taken;
	unsigned long next;
	bool waits;
};

/* ---------------------------------------------------------------- finding */

static bool is_migrating(pte_t pte)
{
	swp_entry_t entry;

	if (pte_none(pte) || pte_present(pte))
		return false;
	entry = pte_to_swp_entry(pte);
	return is_migration_entry(entry) &&
	       PageKsm(pfn_swap_entry_to_page(entry));
}

/* Is this what KSM has put there? If so, notes it. */
static void find_shared(struct unshare *found, unsigned long addr, pte_t pte)
{
	struct shared *shared = &found->batch[found->nr];
	struct page *page;

	if (!pte_present(pte))
		return;
	page = vm_normal_page(found->vma, addr, pte);
	if (page ? !PageKsm(page) : !is_ksm_zero_pte(pte))
		return;
	if (page)
		get_page(page);
	*shared = (struct shared){ .addr = addr, .pte = pte, .page = page };
	found->nr++;
}

static int unshare_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		       struct mm_walk *walk)
{
	struct unshare *found = walk->private;
	pte_t *start, *ptep;
	spinlock_t *ptl;

	cond_resched();
	/* A huge page is nobody else's. */
	if (pmd_leaf(pmdp_get_lockless(pmd)))
		return 0;
	start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start)
		return 0;
	for (ptep = start; addr < end; ptep++, addr += PAGE_SIZE) {
		pte_t pte = ptep_get(ptep);

		found->waits = is_migrating(pte);
		if (found->waits || found->nr == UNSHARE_BATCH)
			break;
		find_shared(found, addr, pte);
	}
	pte_unmap_unlock(start, ptl);
	found->next = addr;
	/* Of one page table at a time. */
	return found->nr || found->waits;
}

static const struct mm_walk_ops read_ops = {
	.pmd_entry = unshare_pmd,
	.walk_lock = PGWALK_RDLOCK,
};

static const struct mm_walk_ops write_ops = {
	.pmd_entry = unshare_pmd,
	.walk_lock = PGWALK_WRLOCK,
};

/* ---------------------------------------------------------------- copying */

/*
 * Many pages are cheaper to get at once. That goes by the policy of the task
 * alone: where the VMA has one, they are got one by one.
 */
static void get_fresh(struct unshare *found)
{
	unsigned int nr = 0, i;

	memset(found->fresh, 0, sizeof(found->fresh));
	found->taken = 0;
	if (vma_policy(found->vma) || found->vma->vm_ops)
		return;
	for (i = 0; i < found->nr; i++)
		nr += !!found->batch[i].page;
	/* If it gets fewer, no harm is done. */
	if (IS_ENABLED(CONFIG_NUMA))
		alloc_pages_bulk_array_mempolicy(GFP_HIGHUSER_MOVABLE, nr,
						 found->fresh);
	else
		alloc_pages_bulk_array_node(GFP_HIGHUSER_MOVABLE,
					    numa_node_id(), nr, found->fresh);
}

static void put_fresh(struct unshare *found)
{
	for (; found->taken < UNSHARE_BATCH; found->taken++)
		if (found->fresh[found->taken])
			__free_page(found->fresh[found->taken]);
}

static struct folio *get_copy(struct unshare *found, struct shared *shared)
{
	if (!shared->page)
		return vma_alloc_zeroed_movable_folio(found->vma, shared->addr);
	if (found->fresh[found->taken])
		return page_folio(found->fresh[found->taken++]);
	return vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, found->vma,
			       shared->addr, false);
}

static int make_copy(struct unshare *found, struct shared *shared)
{
	struct folio *copy = get_copy(found, shared);
	struct vm_area_struct *vma = found->vma;

	if (!copy)
		return -ENOMEM;
	shared->copy = copy;
	if (mem_cgroup_charge(copy, vma->vm_mm, GFP_KERNEL))
		return -ENOMEM;
	folio_throttle_swaprate(copy, GFP_KERNEL);
	if (shared->page &&
	    copy_mc_user_highpage(&copy->page, shared->page, shared->addr, vma))
		return -EHWPOISON;
	__folio_mark_uptodate(copy);
	/*
	 * Its PTE will be clean. Were the page clean, too, MADV_FREE in a child
	 * of the process would have reclaim drop it, for the parent as well.
	 */
	folio_set_dirty(copy);
	return 0;
}

static int make_copies(struct unshare *found)
{
	unsigned int i;
	int err = 0;

	get_fresh(found);
	for (i = 0; i < found->nr && !err; i++) {
		err = make_copy(found, &found->batch[i]);
		cond_resched();
	}
	put_fresh(found);
	return err;
}

/* -------------------------------------------------------------- replacing */

/* The copy is the process's alone, but not written to: nor need it be. */
static void map_copy(struct vm_area_struct *vma, struct shared *shared,
		     pte_t *ptep)
{
	struct mm_struct *mm = vma->vm_mm;
	pte_t pte = pte_sw_mkyoung(mk_pte(&shared->copy->page,
					  vma->vm_page_prot));

	if (pte_soft_dirty(shared->pte))
		pte = pte_mksoft_dirty(pte);
	if (pte_uffd_wp(shared->pte))
		pte = pte_mkuffd_wp(pte);
	folio_add_new_anon_rmap(shared->copy, vma, shared->addr,
				RMAP_EXCLUSIVE);
	folio_add_lru_vma(shared->copy, vma);
	set_pte_at(mm, shared->addr, ptep, pte);
	update_mmu_cache(vma, shared->addr, ptep);
	if (shared->page) {
		folio_remove_rmap_pte(page_folio(shared->page), shared->page,
				      vma);
		/* The mapping's reference; ours is left. */
		put_page(shared->page);
		count_vm_event(COW_KSM);
	} else {
		ksm_might_unmap_zero_page(mm, shared->pte);
		inc_mm_counter(mm, MM_ANONPAGES);
	}
	/* That one is the mapping's now. */
	shared->copy = NULL;
}

/*
 * The page-table lock is held. All PTEs are taken away and flushed before the
 * first new one is set, so that no two CPUs see different pages.
 */
static void replace_locked(struct unshare *found, pte_t *table,
			   unsigned long first, unsigned long last)
{
	struct vm_area_struct *vma = found->vma;
	struct shared *shared, *end = found->batch + found->nr;

	for (shared = found->batch; shared < end; shared++) {
		pte_t *ptep = table + ((shared->addr - first) >> PAGE_SHIFT);

		if (!pte_same(ptep_get(ptep), shared->pte)) {
			found->next = min(found->next, shared->addr);
			shared->changed = true;
			continue;
		}
		flush_cache_page(vma, shared->addr, pte_pfn(shared->pte));
		ptep_get_and_clear(vma->vm_mm, shared->addr, ptep);
	}
	flush_tlb_range(vma, first, last + PAGE_SIZE);
	for (shared = found->batch; shared < end; shared++)
		if (!shared->changed)
			map_copy(vma, shared, table +
				 ((shared->addr - first) >> PAGE_SHIFT));
}

/* Maps the copies, but where the PTE has changed meanwhile: look again there. */
static void replace_batch(struct unshare *found)
{
	unsigned long first = found->batch[0].addr;
	unsigned long last = found->batch[found->nr - 1].addr;
	struct mm_struct *mm = found->vma->vm_mm;
	struct mmu_notifier_range range;
	pte_t *table = NULL;
	spinlock_t *ptl;
	pmd_t *pmd;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, first,
				last + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	pmd = mm_find_pmd(mm, first);
	if (pmd)
		table = pte_offset_map_lock(mm, pmd, first, &ptl);
	if (table) {
		replace_locked(found, table, first, last);
		pte_unmap_unlock(table, ptl);
	} else {
		found->next = first;
	}
	mmu_notifier_invalidate_range_end(&range);
}

static void put_batch(struct unshare *found)
{
	unsigned int i;

	for (i = 0; i < found->nr; i++) {
		struct shared *shared = &found->batch[i];

		if (shared->copy)
			folio_put(shared->copy);
		if (!shared->page)
			continue;
		free_swap_cache(page_folio(shared->page));
		put_page(shared->page);
	}
	found->nr = 0;
}

/*
 * The fault waits until the page has arrived. It is one to read: should the page
 * have arrived already, it is not to be copied by others, see make_copy().
 */
static int wait_for_migration(struct unshare *found)
{
	vm_fault_t fault = handle_mm_fault(found->vma, found->next,
					   FAULT_FLAG_REMOTE, NULL);

	/*
	 * It has not, but there is no KSM page any more either: a page of a
	 * private file mapping went when that was truncated, or it was in
	 * memory that has failed.
	 */
	if (fault & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON |
		     VM_FAULT_HWPOISON_LARGE))
		found->next += PAGE_SIZE;
	else if (fault & VM_FAULT_ERROR)
		return vm_fault_to_errno(fault, FOLL_HWPOISON);
	return 0;
}

static int unshare_some(struct unshare *found, unsigned long end,
			const struct mm_walk_ops *ops)
{
	unsigned long next;
	int err = 0;

	found->waits = false;
	if (!walk_page_range_vma(found->vma, found->next, end, ops, found))
		found->next = end;
	next = found->next;
	if (found->nr) {
		err = make_copies(found);
		if (!err)
			replace_batch(found);
		put_batch(found);
	}
	if (!err && found->waits && found->next == next)
		err = wait_for_migration(found);
	return err;
}

/**
 * ksm_unmerge_range - unshare all KSM pages of a range
 * @vma: the VMA
 * @start: first address
 * @end: address behind the last
 * @lock_vma: keep page faults out, which could bring KSM pages in from swap;
 *	for this, mmap_lock must be held for writing
 *
 * Context: mmap_lock held, at least for reading; sleeps, allocates.
 * Return: 0 and there is none left; -ENOMEM; -ERESTARTSYS; -EHWPOISON: a KSM
 *	page cannot be read any more.
 */
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool lock_vma)
{
	const struct mm_walk_ops *ops = lock_vma ? &write_ops : &read_ops;
	struct unshare *found;
	int err = 0;

	if (!vma->anon_vma)
		return 0;
	found = kmalloc(sizeof(*found), GFP_KERNEL);
	if (!found)
		return -ENOMEM;
	found->vma = vma;
	found->nr = 0;
	found->next = start;
	if (lock_vma)
		vma_start_write(vma);
	while (found->next < end && !err) {
		if (ksm_mm_exiting(vma->vm_mm))
			break;
		if (signal_pending(current))
			err = -ERESTARTSYS;
		else
			err = unshare_some(found, end, ops);
	}
	kfree(found);
	return err;
}

static int unmerge_slot(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);
	int err = 0;

	mmap_read_lock(mm);
	/* The maple tree of a dying mm may not be walked any more. */
	if (!ksm_mm_exiting(mm)) {
		for_each_vma(vmi, vma) {
			if (!(vma->vm_flags & VM_MERGEABLE))
				continue;
			err = ksm_unmerge_range(vma, vma->vm_start,
						vma->vm_end, false);
			if (err)
				break;
		}
	}
	if (!err)
		ksm_chunks_release(slot, 0, ULONG_MAX, KSM_RELEASE_ALWAYS);
	mmap_read_unlock(mm);
	return err;
}

static int unmerge_slots(void)
{
	struct ksm_mm_slot *slot;
	int err = 0;

	set_current_oom_origin();
	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot)) {
		if (!err)
			err = unmerge_slot(slot);
	}
	clear_current_oom_origin();
	return err;
}

/**
 * ksm_unmerge_all - undo all merging
 *
 * The mms stay registered, for when merging is switched on again.
 *
 * Context: ksm_gate held exclusively, settings.run is %KSM_RUN_UNMERGE, which
 *	keeps KSM pages from coming back from swap; sleeps, allocates.
 * Return: 0, or an error and some pages are still shared.
 */
int ksm_unmerge_all(void)
{
	int err = unmerge_slots();

	if (err)
		return err;
	ksm_reap(true);
	/*
	 * A page fault may have been about to map a KSM page from the swap
	 * cache when we came by. By now it has, and others copy: once more.
	 * What remains then belongs to mms that are on their way out.
	 */
	if (ksm_stable_remove_all()) {
		err = unmerge_slots();
		ksm_stable_remove_all();
	}
	if (!err)
		ksm_reset_full_scans();
	return err;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/unmerge_kunit.c"
#endif
