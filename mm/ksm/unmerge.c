// SPDX-License-Identifier: GPL-2.0
/*
 * Unmerging: give every sharer of a range, or of all memory, its own copy of
 * the page again.
 *
 * The page fault code could make the copies one by one. But there may be
 * millions of them, so this does many at a time, with one flush and one
 * notification for all. It leaves what is known of the pages to the next scan,
 * unless all of it has to go.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>	/* flush_tlb_range() */
#include <linux/jiffies.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/vmstat.h>
#include <asm/tlbflush.h>

#include "../internal.h"
#include "ksm.h"
#include "registry.h"
#include "slot.h"
#include "unmerge.h"

/*
 * Pages to unshare at a time, with one flush and one notification. For more
 * than 33 pages, x86 flushes everything at once, which is cheaper.
 */
#define UNSHARE_BATCH	64

/**
 * struct shared - a page to unshare
 * @addr: its address
 * @pte: its PTE as it was found
 * @page: the KSM page, with a reference; NULL: it is KSM's zero page
 * @copy: the page that takes its place
 * @changed: the PTE has changed by now
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
 * @taken: how many of @fresh were taken; the others are unused or NULL
 * @next: where to continue
 * @holes: empty entries of page tables that were passed
 * @waits: a KSM page is being migrated at @next
 * @yields: stop when somebody waits for the mmap_lock
 * @restarts: stop at any signal, not only at a fatal one
 * @since: jiffies when the mmap_lock was taken
 */
struct unshare {
	struct vm_area_struct *vma;
	struct shared batch[UNSHARE_BATCH];
	unsigned int nr;
	struct page *fresh[UNSHARE_BATCH];
	unsigned int taken;
	unsigned long next;
	unsigned long holes;
	bool waits;
	bool yields;
	bool restarts;
	unsigned long since;
};

/* ---------------------------------------------------------------- finding */

static bool unmerge_is_migrating(pte_t pte)
{
	softleaf_t entry;

	if (pte_none(pte) || pte_present(pte))
		return false;
	entry = softleaf_from_pte(pte);
	return softleaf_is_migration(entry) &&
	       folio_test_ksm(softleaf_to_folio(entry));
}

/* If KSM has put this PTE there, notes it. */
static void unmerge_find_shared(struct unshare *found, unsigned long addr, pte_t pte)
{
	struct shared *shared = &found->batch[found->nr];
	struct page *page;

	if (!pte_present(pte))
		return;
	page = vm_normal_page(found->vma, addr, pte);
	if (page ? !folio_test_ksm(page_folio(page)) : !is_ksm_zero_pte(pte))
		return;
	if (page)
		get_page(page);
	*shared = (struct shared){ .addr = addr, .pte = pte, .page = page };
	found->nr++;
}

/*
 * Not at once: a thread that maps memory all the time must not hold us up for
 * long.
 */
static bool unmerge_must_yield(struct unshare *found)
{
	return found->yields && time_after(jiffies, found->since) &&
	       mmap_lock_is_contended(found->vma->vm_mm);
}

static bool unmerge_is_interrupted(struct unshare *found)
{
	return found->restarts ? signal_pending(current) : fatal_signal_pending(current);
}

static int unmerge_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		       struct mm_walk *walk)
{
	struct unshare *found = walk->private;
	pte_t *start = NULL, *ptep;
	spinlock_t *ptl;

	cond_resched();
	/* A huge page is not shared. */
	if (!pmd_leaf(pmdp_get_lockless(pmd)))
		start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start) {
		found->next = end;
		return unmerge_must_yield(found);
	}
	for (ptep = start; addr < end; ptep++, addr += PAGE_SIZE) {
		pte_t pte = ptep_get(ptep);

		found->waits = unmerge_is_migrating(pte);
		if (found->waits || found->nr == UNSHARE_BATCH)
			break;
		unmerge_find_shared(found, addr, pte);
	}
	pte_unmap_unlock(start, ptl);
	found->next = addr;
	/* The batch comes from one page table. */
	return found->nr || found->waits || unmerge_must_yield(found);
}

/* All of an address space may consist of empty entries of page tables. */
#define HOLES_A_LOOK	512

static int unmerge_hole(unsigned long addr, unsigned long end, int depth,
			struct mm_walk *walk)
{
	struct unshare *found = walk->private;

	found->next = end;
	if (++found->holes % HOLES_A_LOOK)
		return 0;
	cond_resched();
	return unmerge_must_yield(found) || unmerge_is_interrupted(found);
}

static const struct mm_walk_ops unmerge_read_ops = {
	.pmd_entry = unmerge_pmd,
	.pte_hole = unmerge_hole,
	.walk_lock = PGWALK_RDLOCK,
};

static const struct mm_walk_ops unmerge_write_ops = {
	.pmd_entry = unmerge_pmd,
	.pte_hole = unmerge_hole,
	.walk_lock = PGWALK_WRLOCK,
};

/* ---------------------------------------------------------------- copying */

/*
 * Getting many pages at once is cheaper. But it only follows the policy of the
 * task: if the VMA has a policy, get them one by one.
 */
static void unmerge_get_fresh(struct unshare *found)
{
	unsigned int nr = 0, i;

	memset(found->fresh, 0, sizeof(found->fresh));
	found->taken = 0;
	if (vma_policy(found->vma) || found->vma->vm_ops)
		return;
	for (i = 0; i < found->nr; i++)
		nr += !!found->batch[i].page;
	/* If it gets fewer, that does no harm. */
	if (IS_ENABLED(CONFIG_NUMA))
		alloc_pages_bulk_mempolicy(GFP_HIGHUSER_MOVABLE, nr,
					   found->fresh);
	else
		alloc_pages_bulk_node(GFP_HIGHUSER_MOVABLE, numa_node_id(), nr,
				      found->fresh);
}

static void unmerge_put_fresh(struct unshare *found)
{
	for (; found->taken < UNSHARE_BATCH; found->taken++)
		if (found->fresh[found->taken])
			__free_page(found->fresh[found->taken]);
}

static struct folio *unmerge_get_copy(struct unshare *found, struct shared *shared)
{
	if (!shared->page)
		return vma_alloc_zeroed_movable_folio(found->vma, shared->addr);
	if (found->fresh[found->taken])
		return page_folio(found->fresh[found->taken++]);
	return vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, found->vma,
			       shared->addr);
}

static int unmerge_make_copy(struct unshare *found, struct shared *shared)
{
	struct folio *copy = unmerge_get_copy(found, shared);
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
	 * Its PTE will be clean. If the page were clean, too, MADV_FREE in a
	 * child of the process would let reclaim drop it, for the parent as
	 * well.
	 */
	folio_set_dirty(copy);
	return 0;
}

static int unmerge_make_copies(struct unshare *found)
{
	unsigned int i;
	int err = 0;

	unmerge_get_fresh(found);
	for (i = 0; i < found->nr && !err; i++) {
		err = unmerge_make_copy(found, &found->batch[i]);
		cond_resched();
	}
	unmerge_put_fresh(found);
	return err;
}

/* -------------------------------------------------------------- replacing */

/* Only this process maps the copy. It was not written to, and need not be. */
static void unmerge_map_copy(struct vm_area_struct *vma, struct shared *shared,
			     pte_t *ptep)
{
	struct mm_struct *mm = vma->vm_mm;
	pte_t pte = pte_sw_mkyoung(mk_pte(&shared->copy->page,
					  vma->vm_page_prot));

	if (pte_soft_dirty(shared->pte))
		pte = pte_mksoft_dirty(pte);
	if (pte_uffd(shared->pte)) {
		pte = pte_mkuffd(pte);
		/* userfaultfd has to hear of the next read as well. */
		if (userfaultfd_rwp(vma))
			pte = pte_modify(pte, PAGE_NONE);
	}
	folio_add_new_anon_rmap(shared->copy, vma, shared->addr,
				RMAP_EXCLUSIVE);
	folio_add_lru_vma(shared->copy, vma);
	set_pte_at(mm, shared->addr, ptep, pte);
	update_mmu_cache(vma, shared->addr, ptep);
	if (shared->page) {
		folio_remove_rmap_pte(page_folio(shared->page), shared->page,
				      vma);
		/* Drop the mapping's reference; ours remains. */
		put_page(shared->page);
		count_vm_event(COW_KSM);
	} else {
		ksm_might_unmap_zero_page(mm, shared->pte);
		inc_mm_counter(mm, MM_ANONPAGES);
	}
	/* The mapping owns that reference now. */
	shared->copy = NULL;
}

/*
 * The page-table lock is held. All PTEs are cleared and flushed before the
 * first new one is set, so that no two CPUs see different pages.
 */
static void unmerge_replace_locked(struct unshare *found, pte_t *table,
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
			unmerge_map_copy(vma, shared, table +
					 ((shared->addr - first) >> PAGE_SHIFT));
}

/*
 * Maps the copies, except where the PTE has changed: those places are looked at
 * again.
 */
static void unmerge_replace(struct unshare *found)
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
		unmerge_replace_locked(found, table, first, last);
		pte_unmap_unlock(table, ptl);
	} else {
		found->next = first;
	}
	mmu_notifier_invalidate_range_end(&range);
}

static void unmerge_put_batch(struct unshare *found)
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
 * Waits for the migration. A page fault is no way to do that: if the entry went
 * away in the meantime, it could read from a file, for as long as that takes,
 * or tell userfaultfd of a read that nobody made.
 */
static void unmerge_wait(struct unshare *found)
{
	struct mm_struct *mm = found->vma->vm_mm;
	pmd_t *pmd = mm_find_pmd(mm, found->next);

	if (pmd)
		migration_entry_wait(mm, pmd, found->next);
}

static int unmerge_some(struct unshare *found, unsigned long end,
			const struct mm_walk_ops *ops)
{
	unsigned long next;
	int err = 0;

	found->waits = false;
	if (!walk_page_range_vma(found->vma, found->next, end, ops, found))
		found->next = end;
	next = found->next;
	if (found->nr) {
		err = unmerge_make_copies(found);
		if (!err)
			unmerge_replace(found);
		unmerge_put_batch(found);
	}
	if (!err && found->waits && found->next == next)
		unmerge_wait(found);
	return err;
}

/*
 * Unshares from found->next to @end, or until somebody waits for the mmap_lock;
 * found->next tells how far it came.
 */
static int unmerge_range(struct unshare *found, unsigned long end,
			 const struct mm_walk_ops *ops)
{
	while (found->next < end) {
		int err = -ERESTARTSYS;

		if (ksm_mm_exiting(found->vma->vm_mm))
			break;
		if (!unmerge_is_interrupted(found))
			err = unmerge_some(found, end, ops);
		if (err)
			return err;
		if (unmerge_must_yield(found))
			break;
	}
	return 0;
}

/**
 * ksm_unmerge_range - unshare all KSM pages of a range
 * @vma: the VMA
 * @start: first address
 * @end: address behind the last
 * @restarts: the system call may start again after any signal. That of mremap(2) may
 *	not: it may have moved other VMAs by now, and would take what it has left in
 *	their place for what is to be moved
 *
 * Page faults are kept out, as they could bring KSM pages in from swap.
 *
 * Context: mmap_lock held for writing; sleeps, allocates.
 * Return: 0 and there is none left; -ENOMEM; -ERESTARTSYS after a signal;
 *	-EHWPOISON if a KSM page cannot be read any more.
 */
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool restarts)
{
	struct unshare *found;
	int err;

	if (!vma->anon_vma)
		return 0;
	found = kmalloc(sizeof(*found), GFP_KERNEL);
	if (!found)
		return -ENOMEM;
	found->vma = vma;
	found->nr = 0;
	found->holes = 0;
	found->next = start;
	found->yields = false;
	found->restarts = restarts;
	vma_start_write(vma);
	err = unmerge_range(found, end, &unmerge_write_ops);
	kfree(found);
	return err;
}

/*
 * Unshares everything from found->next to @end, in all mergeable VMAs. Returns
 * 1 if it stopped because somebody waits for the mmap_lock.
 */
static int unmerge_vmas(struct unshare *found, struct mm_struct *mm,
			unsigned long end)
{
	VMA_ITERATOR(vmi, mm, found->next);
	int err;

	/* The maple tree of a dying mm must not be walked any more. */
	if (ksm_mm_exiting(mm))
		return 0;
	for_each_vma_range(vmi, found->vma, end) {
		unsigned long last = min(found->vma->vm_end, end);

		if (!(found->vma->vm_flags & VM_MERGEABLE) ||
		    !found->vma->anon_vma)
			continue;
		found->next = max(found->next, found->vma->vm_start);
		err = unmerge_range(found, last, &unmerge_read_ops);
		if (err)
			return err;
		if (unmerge_must_yield(found))
			return 1;
	}
	return 0;
}

/* A writer that was woken needs this long to start running, us. */
#define WRITER_WAKES	20
#define WRITER_TRIES	50

/*
 * A thread that reads from a file which a program serves holds the mmap_lock
 * for as long as that program likes. So never sleep on the lock of a stranger's
 * mm.
 */
static int unmerge_lock(struct mm_struct *mm, bool patient)
{
	unsigned int tries;

	if (patient)
		return mmap_read_lock_killable(mm);
	for (tries = 0; !mmap_read_trylock(mm); tries++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (tries == WRITER_TRIES)
			return -EBUSY;
		usleep_range_idle(WRITER_WAKES, 2 * WRITER_WAKES);
	}
	return 0;
}

/**
 * ksm_unmerge_part - unshare all KSM pages of a part of an mm
 * @mm: the mm
 * @start: first address; set to where it stopped
 * @end: address behind the last
 * @patient: wait for the mmap_lock, however long it is held
 *
 * Others may take the mmap_lock in between. The caller has to deal with what
 * they change.
 *
 * Context: mmap_lock not held; sleeps, allocates.
 * Return: 0, or an error if some pages are still shared; -EBUSY if the
 *	mmap_lock could not be taken.
 */
int ksm_unmerge_part(struct mm_struct *mm, unsigned long *start,
		     unsigned long end, bool patient)
{
	struct unshare *found = kmalloc(sizeof(*found), GFP_KERNEL);
	unsigned int tries;
	int err;

	if (!found)
		return -ENOMEM;
	found->nr = 0;
	found->holes = 0;
	found->next = *start;
	found->yields = true;
	found->restarts = true;
	do {
		err = unmerge_lock(mm, patient);
		if (err)
			break;
		found->since = jiffies;
		err = unmerge_vmas(found, mm, end);
		mmap_read_unlock(mm);
		cond_resched();
		for (tries = 0; err > 0 && tries < WRITER_TRIES &&
		     mmap_lock_is_contended(mm); tries++)
			usleep_range_idle(WRITER_WAKES, 2 * WRITER_WAKES);
	} while (err > 0);
	*start = found->next;
	kfree(found);
	return err;
}

/**
 * ksm_unmerge_ahead - undo most sharing before MADV_UNMERGEABLE does
 * @mm: the caller's mm
 * @start: first address
 * @end: address behind the last
 *
 * Unsharing takes as long as copying, and ksm_madvise() keeps everybody else
 * out of the address space meanwhile. So do most of it here, without keeping
 * them out. ksm_madvise() reports what fails. No worker merges in this mm until
 * this is done.
 *
 * Context: mmap_lock not held; sleeps, allocates.
 * Return: 0; or -ERESTARTSYS if a signal has come: the call starts again, and finds most
 *	of it done. A worker of io_uring cannot start it again, and goes on instead.
 */
int ksm_unmerge_ahead(struct mm_struct *mm, unsigned long start,
		      unsigned long end)
{
	struct ksm_mm_slot *slot = ksm_slot_spare(mm);
	int err;

	if (!slot)
		return 0;
	err = ksm_unmerge_part(mm, &start, end, true);
	ksm_slot_unspare(slot);
	return err == -ERESTARTSYS && !(current->flags & PF_IO_WORKER) ? err : 0;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/unmerge_kunit.c"
#endif
