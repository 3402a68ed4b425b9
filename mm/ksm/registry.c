// SPDX-License-Identifier: GPL-2.0
/*
 * The registry: the mms that take part.
 *
 * madvise, prctl, fork and exec register an mm: an mm_slot goes on a list. A
 * full scan passes a cursor over the list once, see window.c.
 *
 * An exiting mm leaves the list at once, and waits at most for the batch that a
 * worker has in hand. ksmd frees what is known of its pages, see reap.c.
 */
#include <linux/jiffies.h>
#include <linux/sched/mm.h>
#include <linux/timer.h>
#include <trace/events/ksm.h>

#include "mm_lock.h"
#include "registry.h"
#include "rmap_item.h"

struct ksm_registry ksm_registry = {
	.lock = __SPIN_LOCK_UNLOCKED(ksm_registry.lock),
	.slots = LIST_HEAD_INIT(ksm_registry.slots),
	.gone = LIST_HEAD_INIT(ksm_registry.gone),
	.held = LIST_HEAD_INIT(ksm_registry.held),
	.cursor = &ksm_registry.slots,
};

/* ----------------------------------------------------------------- exiting */

/*
 * Wake ksmd for an exit a little later, when no more exits have followed:
 * exiting processes should not have to share their CPU with it. But if exits
 * never end, do not delay it for long.
 */
#define REAP_DELAY	(HZ / 20)
#define REAP_DELAY_MAX	HZ

static void registry_tell_reaper(struct timer_list *unused)
{
	WRITE_ONCE(ksm_registry.reap_wanted, true);
	wake_up_interruptible(&ksm_wait);
}

static DEFINE_TIMER(reap_timer, registry_tell_reaper);

/**
 * ksm_reap_soon - let ksmd look a little later whether slots can be freed
 */
void ksm_reap_soon(void)
{
	static unsigned long first;	/* the first exit since reaping, about */

	if (!timer_pending(&reap_timer))
		WRITE_ONCE(first, jiffies);
	if (time_before(jiffies, READ_ONCE(first) + REAP_DELAY_MAX))
		mod_timer(&reap_timer, jiffies + REAP_DELAY);
}

/* -------------------------------------------------------------- the cursor */

/*
 * The number of windows that the mm's present size can ask for. A program that
 * maps memory ahead of the cursor, and unmaps it behind, gets no more than
 * that: the rest waits for the next full scan, and other mms do not have to
 * wait.
 */
static unsigned long registry_windows(struct mm_struct *mm)
{
	return 2 * mm_pgtables_bytes(mm) / PAGE_SIZE +
	       get_mm_rss(mm) / (PMD_SIZE / PAGE_SIZE) +
	       READ_ONCE(mm->map_count) + KSM_WINDOWS_SPARE;
}

/*
 * A window may be full, or hold a page. So what a full scan spends on an mm has a
 * limit, too: twice the price of a visit to each of the pages that the mm has now, and
 * of passing over pages of files, over its VMAs, which the search and the scan do, and
 * over page tables without an entry. It may grow that much meanwhile. To forget what it
 * has unmapped counts once, as if each page had a chunk of its own: each was read before.
 */
static unsigned long registry_pages(struct mm_struct *mm, unsigned long pages)
{
	unsigned long known = READ_ONCE(mm->ksm_rmap_items);
	unsigned long steps;

	steps = mm_pgtables_bytes(mm) / PAGE_SIZE * (PTRS_PER_PTE / KSM_HOLES_A_STEP) +
		get_mm_counter_sum(mm, MM_FILEPAGES) +
		get_mm_counter_sum(mm, MM_SHMEMPAGES) +
		READ_ONCE(mm->map_count) * (2 / KSM_VMAS_A_STEP + 1UL);
	return 2 * (pages + steps / KSM_VISITS_A_READ) +
	       ksm_forget_visits(known, known) / KSM_VISITS_A_READ + KSM_PAGES_SPARE;
}

/* The more there is to scan, the more often its lock may be busy. */
static int registry_patience(unsigned long pages)
{
	return 2 * KSM_MM_PATIENCE + min(pages / KSM_PAGES_A_WAIT, INT_MAX / 2UL);
}

/* What a full scan may spend on an mm */
static void registry_allow(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;
	unsigned long pages;

	/* Exactly: what CPUs have yet to add up is much where there are many of them. */
	pages = get_mm_counter_sum(mm, MM_ANONPAGES) +
		get_mm_counter_sum(mm, MM_SWAPENTS);
	slot->windows = registry_windows(mm);
	atomic_long_set(&slot->pages, registry_pages(mm, pages));
	atomic_set(&slot->patience, registry_patience(pages));
}

/*
 * The mm under the cursor begins, or goes on where its lock was busy or it had all
 * of its windows or pages.
 */
static void registry_arrive(void)
{
	struct ksm_mm_slot *slot;

	lockdep_assert_held(&ksm_registry.lock);
	if (ksm_registry.cursor == &ksm_registry.slots)
		return;
	slot = ksm_slot_of(ksm_registry.cursor);
	if (slot->scan == ksm_registry.scan)
		return;
	if (!slot->resume || slot->scan != ksm_registry.scan - 1)
		slot->cursor = 0;
	registry_allow(slot);
	slot->scan = ksm_registry.scan;
	slot->deferred = false;
	slot->resume = false;
}

/**
 * ksm_cursor_advance - move the cursor to the next mm
 *
 * Context: the registry's lock held.
 */
void ksm_cursor_advance(void)
{
	ksm_registry.cursor = ksm_registry.cursor->next;
	registry_arrive();
}

/* The last slot that ksm_slot_next() returned. Registry's lock. */
static struct list_head *visited = &ksm_registry.slots;

/* The slot leaves its place on the list, so ksm_slot_next() has to step back. */
static void registry_leave_place(struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&ksm_registry.lock);
	if (visited == &slot->slot.mm_node)
		visited = visited->prev;
}

/**
 * ksm_registry_requeue - make an mm the last one of this full scan
 * @slot: its slot; the cursor is not at it
 *
 * Context: the registry's lock held.
 */
void ksm_registry_requeue(struct ksm_mm_slot *slot)
{
	registry_leave_place(slot);
	list_move_tail(&slot->slot.mm_node, &ksm_registry.slots);
}

/**
 * ksm_registry_unlist - take a slot off the list of mms to scan
 * @slot: the slot, on no list afterwards
 *
 * Context: the registry's lock held.
 */
void ksm_registry_unlist(struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&ksm_registry.lock);
	if (ksm_registry.cursor == &slot->slot.mm_node)
		ksm_cursor_advance();
	registry_leave_place(slot);
	list_del_init(&slot->slot.mm_node);
	ksm_slot_unhash(slot);
	slot->gone = true;
}

/* -------------------------------------------------------- entering, leaving */

/**
 * __ksm_enter - register an mm
 * @mm: the mm, not registered
 *
 * Context: mmap_lock held for writing.
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int __ksm_enter(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot = ksm_slot_alloc(mm);
	struct list_head *link;
	bool first;

	if (!slot)
		return -ENOMEM;

	link = &slot->slot.mm_node;
	spin_lock(&ksm_registry.lock);
	first = list_empty(&ksm_registry.slots);
	ksm_slot_hash(slot, mm);
	/*
	 * Last in this scan, just behind the cursor: most children exec soon,
	 * and the memory of a new process takes a while to settle. But
	 * control_unmerge_all() walks the list from front to end, and must not
	 * miss the child of an mm that it has yet to visit.
	 */
	if (ksm_runs(KSM_RUN_UNMERGE))
		list_add_tail(link, &ksm_registry.slots);
	else
		list_add_tail(link, ksm_registry.cursor);
	spin_unlock(&ksm_registry.lock);

	mm_flags_set(MMF_VM_MERGEABLE, mm);
	if (first)
		wake_up_interruptible(&ksm_wait);
	trace_ksm_enter(mm);
	return 0;
}

/**
 * __ksm_exit - an mm goes away
 * @mm: the mm; mm_users is zero, or the mm was never used
 *
 * After this returns, nobody touches the page tables of @mm any more.
 *
 * Context: may sleep as long as a worker holds the mmap_lock of @mm.
 */
void __ksm_exit(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot;
	bool untouched = false;

	spin_lock(&ksm_registry.lock);
	slot = ksm_slot_find(mm);
	if (slot) {
		ksm_registry_unlist(slot);
		slot->cursor = 0;
		untouched = !slot->users && xa_empty(&slot->chunks);
		if (!untouched)
			list_add_tail(&slot->slot.mm_node, &ksm_registry.gone);
	}
	spin_unlock(&ksm_registry.lock);

	if (untouched) {
		ksm_slot_free(slot);
	} else {
		/*
		 * A thread that holds the lock saw mm_users before it became
		 * zero. A failed execve() comes here with the lock held for
		 * writing, and with a user.
		 */
		if (ksm_mm_exiting(mm)) {
			mmap_write_lock(mm);
			mmap_write_unlock(mm);
		}
		ksm_reap_soon();
	}
	mm_flags_clear(MMF_VM_MERGE_ANY, mm);
	mm_flags_clear(MMF_VM_MERGEABLE, mm);
	trace_ksm_exit(mm);
}

/**
 * ksm_process_mergeable - is there anything in an mm that may be merged?
 * @mm: the mm
 *
 * Context: mmap_lock held.
 * Return: whether it has a mergeable VMA.
 */
bool ksm_process_mergeable(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	mmap_assert_locked(mm);
	for_each_vma(vmi, vma)
		if (vma->vm_flags & VM_MERGEABLE)
			return true;
	return false;
}

/**
 * ksm_slot_spare - let no worker merge in an mm for a while
 * @mm: the mm; it is in use, and does not exit in the meantime
 *
 * Workers may still finish the batch that they have in hand.
 *
 * Return: its slot, for ksm_slot_unspare(); NULL if it is not registered.
 */
struct ksm_mm_slot *ksm_slot_spare(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot;

	if (!mm_flags_test(MMF_VM_MERGEABLE, mm))
		return NULL;
	spin_lock(&ksm_registry.lock);
	slot = ksm_slot_find(mm);
	if (slot) {
		slot->users++;
		WRITE_ONCE(slot->spared, slot->spared + 1);
	}
	spin_unlock(&ksm_registry.lock);
	return slot;
}

/**
 * ksm_slot_unspare - end ksm_slot_spare()
 * @slot: its return value
 */
void ksm_slot_unspare(struct ksm_mm_slot *slot)
{
	spin_lock(&ksm_registry.lock);
	VM_WARN_ON_ONCE(slot->gone);
	WRITE_ONCE(slot->spared, slot->spared - 1);
	slot->users--;
	spin_unlock(&ksm_registry.lock);
}

/* -------------------------------------------------------------- iterating */

/**
 * ksm_registry_idle - is there nothing to scan?
 */
bool ksm_registry_idle(void)
{
	return list_empty(&ksm_registry.slots);
}

static unsigned int round;	/* of ksm_slot_next(): visited slots carry it */

/**
 * ksm_slot_next - go through all slots of mms that have not exited
 * @prev: the last one, or NULL to begin
 *
 * The returned slot stays until this is called again with it.
 *
 * Context: ksm_gate held exclusively.
 * Return: a slot, or NULL.
 */
struct ksm_mm_slot *ksm_slot_next(struct ksm_mm_slot *prev)
{
	struct ksm_mm_slot *slot = NULL;

	spin_lock(&ksm_registry.lock);
	if (prev) {
		prev->users--;
	} else {
		visited = &ksm_registry.slots;
		round++;
	}
	/* The only visited slots ahead belong to windows that were given back. */
	do
		visited = visited->next;
	while (visited != &ksm_registry.slots && ksm_slot_of(visited)->round == round);
	if (visited != &ksm_registry.slots) {
		slot = ksm_slot_of(visited);
		slot->round = round;
		slot->users++;
	}
	spin_unlock(&ksm_registry.lock);
	return slot;
}

#ifdef CONFIG_KSM_VERIFY
/**
 * ksm_gone_slot_next - go through the slots of exited mms
 * @prev: the last one, or NULL to begin
 *
 * Leaves out slots that the last round of ksm_slot_next() returned, and that
 * have exited since.
 *
 * Context: ksm_gate held exclusively: more may come, but none is freed.
 * Return: a slot, or NULL.
 */
struct ksm_mm_slot *ksm_gone_slot_next(struct ksm_mm_slot *prev)
{
	struct list_head *link = prev ? &prev->slot.mm_node : &ksm_registry.gone;

	spin_lock(&ksm_registry.lock);
	do {
		link = link->next;
		if (link == &ksm_registry.gone)
			link = ksm_registry.held.next;
	} while (link != &ksm_registry.held && ksm_slot_of(link)->round == round);
	spin_unlock(&ksm_registry.lock);
	return link == &ksm_registry.held ? NULL : ksm_slot_of(link);
}
#endif

/**
 * ksm_full_scans - number of full scans completed
 */
unsigned long ksm_full_scans(void)
{
	return READ_ONCE(ksm_registry.full_scans);
}

/**
 * ksm_reset_full_scans - count full scans from zero, as after run=2
 *
 * The current full scan is abandoned: the next one begins at the first mm, once
 * all windows are back.
 *
 * Context: ksm_gate held exclusively.
 */
void ksm_reset_full_scans(void)
{
	spin_lock(&ksm_registry.lock);
	ksm_registry.cursor = &ksm_registry.slots;
	ksm_registry.under_way = false;
	WRITE_ONCE(ksm_registry.scan, ksm_registry.scan + 1);
	WRITE_ONCE(ksm_registry.full_scans, 0);
	spin_unlock(&ksm_registry.lock);
}
