// SPDX-License-Identifier: GPL-2.0
/*
 * Unmerging: give every sharer of a range, or of all memory, its own copy of
 * the page again.
 *
 * The copies are made by the page fault code, as for any write. What is known
 * of the pages is left to the next scan, unless all of it is to go.
 */
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "ksm.h"

/* Pages to unshare that are taken from a page table in one visit. */
#define UNSHARE_BATCH	64

/**
 * struct unshare - shared pages of a VMA
 * @addr: their addresses
 * @nr: how many
 * @next: where to go on looking
 */
struct unshare {
	unsigned long addr[UNSHARE_BATCH];
	unsigned int nr;
	unsigned long next;
};

/*
 * Is this what KSM has put there? While a KSM page migrates, its entry leads
 * to it, too; the fault waits until it has arrived.
 */
static bool is_shared_pte(struct vm_area_struct *vma, unsigned long addr,
			  pte_t pte)
{
	struct page *page;
	swp_entry_t entry;

	if (pte_none(pte))
		return false;
	if (pte_present(pte)) {
		page = vm_normal_page(vma, addr, pte);
		return page ? PageKsm(page) : is_ksm_zero_pte(pte);
	}
	entry = pte_to_swp_entry(pte);
	return is_migration_entry(entry) &&
	       PageKsm(pfn_swap_entry_to_page(entry));
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
		if (!is_shared_pte(walk->vma, addr, ptep_get(ptep)))
			continue;
		if (found->nr == UNSHARE_BATCH)
			break;
		found->addr[found->nr++] = addr;
	}
	pte_unmap_unlock(start, ptl);
	found->next = addr;
	return found->nr == UNSHARE_BATCH;
}

static const struct mm_walk_ops read_ops = {
	.pmd_entry = unshare_pmd,
	.walk_lock = PGWALK_RDLOCK,
};

static const struct mm_walk_ops write_ops = {
	.pmd_entry = unshare_pmd,
	.walk_lock = PGWALK_WRLOCK,
};

/* One batch. Returns how many pages it was, or an error. */
static int unshare_some(struct vm_area_struct *vma, unsigned long end,
			struct unshare *found, const struct mm_walk_ops *ops)
{
	unsigned long start = found->next;
	unsigned int i;

	found->nr = 0;
	if (!walk_page_range_vma(vma, start, end, ops, found))
		found->next = end;
	for (i = 0; i < found->nr; i++) {
		vm_fault_t fault = handle_mm_fault(vma, found->addr[i],
						   FAULT_FLAG_UNSHARE |
						   FAULT_FLAG_REMOTE, NULL);

		/*
		 * A page of a private file mapping that was truncated: the KSM
		 * page went with it.
		 */
		if (fault & VM_FAULT_SIGBUS)
			start = found->addr[i] + PAGE_SIZE;
		else if (fault & VM_FAULT_ERROR)
			return vm_fault_to_errno(fault, FOLL_HWPOISON);
		if (signal_pending(current))
			return -ERESTARTSYS;
	}
	/* The fault may have backed out for some: they are looked for again. */
	if (found->nr)
		found->next = max(start, found->addr[0]);
	return found->nr;
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
	struct unshare found = { .next = start };
	int nr = 0;

	if (!vma->anon_vma)
		return 0;
	if (lock_vma)
		vma_start_write(vma);
	while (found.next < end && nr >= 0) {
		if (ksm_mm_exiting(vma->vm_mm))
			break;
		if (signal_pending(current))
			return -ERESTARTSYS;
		nr = unshare_some(vma, end, &found, ops);
	}
	return min(nr, 0);
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
	static unsigned int round;	/* ksm_gate */
	struct ksm_mm_slot *slot;
	int err = 0;

	round++;
	set_current_oom_origin();
	for (slot = ksm_slot_next(NULL, round); slot;
	     slot = ksm_slot_next(slot, round)) {
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
