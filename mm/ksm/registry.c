// SPDX-License-Identifier: GPL-2.0
/*
 * The registry: which mms take part, who may scan which piece of them, and
 * how they leave.
 *
 * madvise, prctl, fork and exec register an mm: an mm_slot goes on a list. A
 * full scan passes a cursor over the list once; each window that the cursor
 * hands out belongs to one worker until it is put back. The scan is complete
 * when the cursor is at the end and all windows are back.
 *
 * An exiting mm leaves the list at once and never waits for more than the
 * batch that a worker has in hand. What is known of its pages is freed by
 * ksmd, whether it scans or not.
 */
#include <linux/hashtable.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/timer.h>
#include <trace/events/ksm.h>

#include "ksm.h"

static struct kmem_cache *slot_cache;

static DEFINE_SPINLOCK(registry_lock);

/* The rest of this block belongs to registry_lock. */
#define SLOT_HASH_BITS 10
static DEFINE_HASHTABLE(slot_hash, SLOT_HASH_BITS);
static LIST_HEAD(slots);	/* to scan */
static LIST_HEAD(gone_slots);	/* of exited mms, to free */
static bool reap_wanted;	/* it may be possible now to free some */
static struct list_head *cursor = &slots;	/* &slots: between full scans */
static unsigned int windows_out;
static bool scan_under_way;
static unsigned long full_scans;

/*
 * ksmd is told of an exit a little later, when no more have followed: processes
 * that exit are not to share their CPU with it. But where there is no end of
 * them, it is not to wait for long.
 */
#define REAP_DELAY	(HZ / 20)
#define REAP_DELAY_MAX	HZ

static void reap_now(struct timer_list *unused)
{
	WRITE_ONCE(reap_wanted, true);
	wake_up_interruptible(&ksm_wait);
}

static DEFINE_TIMER(reap_timer, reap_now);

static void reap_soon(void)
{
	static unsigned long first;	/* exit since the last reaping, about */

	if (!timer_pending(&reap_timer))
		WRITE_ONCE(first, jiffies);
	if (time_before(jiffies, READ_ONCE(first) + REAP_DELAY_MAX))
		mod_timer(&reap_timer, jiffies + REAP_DELAY);
}

static struct ksm_mm_slot *slot_of(struct list_head *link)
{
	return list_entry(link, struct ksm_mm_slot, slot.mm_node);
}

static void cursor_advance(void)
{
	lockdep_assert_held(&registry_lock);
	cursor = cursor->next;
	if (cursor != &slots)
		slot_of(cursor)->cursor = 0;
}

/* Takes @slot off the list of mms to scan. */
static void slot_unlist(struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&registry_lock);
	if (cursor == &slot->slot.mm_node)
		cursor_advance();
	list_del_init(&slot->slot.mm_node);
	hash_del(&slot->slot.hash);
	slot->gone = true;
}

static void slot_free(struct ksm_mm_slot *slot)
{
	VM_WARN_ON_ONCE(!xa_empty(&slot->chunks) || slot->users);
	mmdrop(slot->slot.mm);
	mm_slot_free(slot_cache, slot);
	atomic_long_dec(&ksm_counters.slots);
}

/**
 * __ksm_enter - register an mm
 * @mm: the mm, not registered
 *
 * Context: mmap_lock held for writing.
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int __ksm_enter(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot = mm_slot_alloc(slot_cache);
	struct mm_slot *link;
	bool first;

	if (!slot)
		return -ENOMEM;

	atomic_long_inc(&ksm_counters.slots);
	xa_init(&slot->chunks);
	mmgrab(mm);
	link = &slot->slot;

	spin_lock(&registry_lock);
	first = list_empty(&slots);
	mm_slot_insert(slot_hash, mm, link);
	/*
	 * Last in this scan, just behind the cursor: most children exec soon,
	 * and the memory of a new process takes a while to settle. But
	 * ksm_unmerge_all() goes through the list from front to end, and must
	 * not miss the child of an mm that it has yet to visit.
	 */
	if (ksm_runs(KSM_RUN_UNMERGE))
		list_add_tail(&link->mm_node, &slots);
	else
		list_add_tail(&link->mm_node, cursor);
	spin_unlock(&registry_lock);

	set_bit(MMF_VM_MERGEABLE, &mm->flags);
	if (first)
		wake_up_interruptible(&ksm_wait);
	trace_ksm_enter(mm);
	return 0;
}

/**
 * __ksm_exit - an mm goes away
 * @mm: the mm; mm_users is zero, or it was never used
 *
 * When this returns, nobody will touch the page tables of @mm any more.
 *
 * Context: may sleep, for as long as a worker holds the mmap_lock of @mm.
 */
void __ksm_exit(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot = NULL;
	struct mm_slot *link;
	bool untouched = false;

	spin_lock(&registry_lock);
	link = mm_slot_lookup(slot_hash, mm);
	if (link) {
		slot = mm_slot_entry(link, struct ksm_mm_slot, slot);
		slot_unlist(slot);
		untouched = !slot->users && xa_empty(&slot->chunks);
		if (!untouched)
			list_add_tail(&link->mm_node, &gone_slots);
	}
	spin_unlock(&registry_lock);

	if (untouched) {
		slot_free(slot);
	} else {
		/*
		 * Whoever has the lock saw mm_users before it became zero. A
		 * failed execve() comes here with the lock held for writing,
		 * and with a user.
		 */
		if (ksm_mm_exiting(mm)) {
			mmap_write_lock(mm);
			mmap_write_unlock(mm);
		}
		reap_soon();
	}
	clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
	clear_bit(MMF_VM_MERGEABLE, &mm->flags);
	trace_ksm_exit(mm);
}

/**
 * ksm_reap_pending - are there slots of exited mms to free?
 */
bool ksm_reap_pending(void)
{
	return READ_ONCE(reap_wanted);
}

/**
 * ksm_reap_held - are there slots that could not be freed yet?
 *
 * Children may depend on what they hold. That changes with the next full scan,
 * or without anybody being told.
 */
bool ksm_reap_held(void)
{
	/* A hint: who asks will ask again. */
	return !data_race(list_empty(&gone_slots));
}

/*
 * Are the pages of an exited mm unmapped? Until then they are found by what the
 * slot holds. Where there was nothing to unmap, exit_mmap() sets no flag.
 */
static bool slot_unmapped(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;

	/* Of an mm that exits it does not change any more. */
	return test_bit(MMF_OOM_SKIP, &mm->flags) || !READ_ONCE(mm->map_count);
}

/**
 * ksm_reap - free what is known of exited mms
 * @all: also of those that a worker has a window of; ksm_gate is exclusive
 *
 * Context: ksm_gate held; sleeps.
 */
void ksm_reap(bool all)
{
	struct ksm_mm_slot *slot, *next;
	bool too_early = false;
	LIST_HEAD(mine);
	LIST_HEAD(done);

	/* Without windows and off the list, nobody gets to the slot any more. */
	spin_lock(&registry_lock);
	WRITE_ONCE(reap_wanted, false);
	list_for_each_entry_safe(slot, next, &gone_slots, slot.mm_node) {
		if (!all && !slot_unmapped(slot))
			too_early = true;
		else if (all || !slot->users)
			list_move_tail(&slot->slot.mm_node, &mine);
	}
	spin_unlock(&registry_lock);
	if (too_early)
		reap_soon();

	list_for_each_entry_safe(slot, next, &mine, slot.mm_node) {
		cond_resched();
		if (!ksm_chunks_release(slot, 0, ULONG_MAX,
					all ? KSM_RELEASE_ALWAYS :
					      KSM_RELEASE_IF_UNNEEDED))
			continue;
		spin_lock(&registry_lock);
		if (!slot->users)
			list_move(&slot->slot.mm_node, &done);
		spin_unlock(&registry_lock);
	}
	list_for_each_entry_safe(slot, next, &done, slot.mm_node)
		slot_free(slot);

	/* In somebody's hands, or depended on: next time. */
	spin_lock(&registry_lock);
	list_splice_tail(&mine, &gone_slots);
	spin_unlock(&registry_lock);
}

/**
 * ksm_registry_idle - is there nothing to scan?
 */
bool ksm_registry_idle(void)
{
	return list_empty(&slots);
}

/**
 * ksm_slot_next - go through all slots of mms that have not exited
 * @prev: the last one, or NULL to begin
 *
 * What the function returns stays until it is called again with it.
 *
 * Context: ksm_gate held exclusively.
 * Return: a slot, or NULL.
 */
struct ksm_mm_slot *ksm_slot_next(struct ksm_mm_slot *prev)
{
	static unsigned int round;	/* slots that bear it have been visited */
	struct ksm_mm_slot *slot = NULL;
	struct list_head *link = &slots;

	spin_lock(&registry_lock);
	if (prev) {
		prev->users--;
		/* If it has exited, its neighbours are on another list. */
		if (!prev->gone)
			link = &prev->slot.mm_node;
	} else {
		round++;
	}
	for (link = link->next; link != &slots; link = link->next) {
		if (slot_of(link)->round == round)
			continue;
		slot = slot_of(link);
		slot->round = round;
		slot->users++;
		break;
	}
	spin_unlock(&registry_lock);
	return slot;
}

/* --------------------------------------------------------------- windows */

struct probe {
	unsigned long found;
};

static int probe_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		     struct mm_walk *walk)
{
	struct probe *probe = walk->private;

	if (pmd_none(pmdp_get_lockless(pmd)))
		return 0;
	probe->found = addr;
	return 1;
}

static const struct mm_walk_ops probe_ops = {
	.pmd_entry = probe_pmd,
	.walk_lock = PGWALK_RDLOCK,
};

/*
 * The first address at or after @from that is worth a window; anything that
 * has no page table is jumped over, however large it is.
 */
static bool find_populated(struct mm_struct *mm, unsigned long from,
			   unsigned long *start, unsigned long *end)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, from);

	for_each_vma(vmi, vma) {
		struct probe probe;
		unsigned long addr = max(from, vma->vm_start);

		if (!(vma->vm_flags & VM_MERGEABLE) || !vma->anon_vma)
			continue;
		if (walk_page_range_vma(vma, addr, vma->vm_end, &probe_ops,
					&probe) <= 0)
			continue;
		*start = probe.found;
		*end = vma->vm_end;
		return true;
	}
	return false;
}

/* Plans the window at @from; the caller has yet to make it the worker's. */
static void plan_window(struct mm_struct *mm, unsigned long from,
			struct ksm_window *window)
{
	unsigned long start, end, limit;

	window->next = from;
	window->first = ULONG_MAX;
	window->last = ULONG_MAX;

	mmap_read_lock(mm);
	if (!ksm_mm_exiting(mm) && find_populated(mm, from, &start, &end)) {
		limit = (start & ~(KSM_WINDOW_SPAN - 1)) + KSM_WINDOW_SPAN - 1;
		window->first = max(from, start & KSM_CHUNK_MASK);
		window->last = min((end - 1) | ~KSM_CHUNK_MASK, limit);
	}
	mmap_read_unlock(mm);
	window->final = window->last == ULONG_MAX;
}

static void scan_completed(void)
{
	lockdep_assert_held(&registry_lock);
	scan_under_way = false;
	WRITE_ONCE(full_scans, full_scans + 1);
	WRITE_ONCE(reap_wanted, !list_empty(&gone_slots));
}

/**
 * ksm_window_available - will ksm_window_get() find one, or nothing at all?
 *
 * Return: false as long as it would say -EAGAIN. Who sleeps on ksm_wait until
 *	that ends is woken.
 */
bool ksm_window_available(void)
{
	bool available;

	spin_lock(&registry_lock);
	available = cursor != &slots || !windows_out;
	spin_unlock(&registry_lock);
	return available;
}

/**
 * ksm_window_get - get a piece of memory to scan
 * @window: filled in
 * @begin: whether it may be the first one of a full scan
 *
 * Context: ksm_gate held shared. Takes an mmap_lock; sleeps.
 * Return: 0; -EAGAIN: all of this full scan is handed out, others are still at
 *	it; -ENOENT: nothing is registered, or the next full scan has not begun.
 */
int ksm_window_get(struct ksm_window *window, bool begin)
{
	struct ksm_mm_slot *slot;
	unsigned long from;
	bool starts;

again:
	starts = false;
	spin_lock(&registry_lock);
	if (cursor == &slots) {
		if (windows_out) {
			spin_unlock(&registry_lock);
			return -EAGAIN;
		}
		/* The mm under the cursor was the last one, and has exited. */
		if (scan_under_way)
			scan_completed();
		if (list_empty(&slots) || !begin) {
			spin_unlock(&registry_lock);
			return -ENOENT;
		}
		cursor_advance();
		scan_under_way = true;
		starts = true;
	}
	slot = slot_of(cursor);
	from = slot->cursor;
	slot->users++;
	windows_out++;
	spin_unlock(&registry_lock);

	if (starts) {
		/* A page in a CPU's LRU batch has a reference too many. */
		lru_add_drain_all();
		trace_ksm_start_scan(READ_ONCE(full_scans),
				     atomic_long_read(&ksm_counters.rmap_items));
	}
	plan_window(slot->slot.mm, from, window);
	window->slot = slot;

	spin_lock(&registry_lock);
	if (cursor != &slot->slot.mm_node || slot->cursor != from) {
		/* Another worker was faster, or the mm has exited. */
		spin_unlock(&registry_lock);
		ksm_window_put(window);
		goto again;
	}
	if (window->final)
		cursor_advance();
	else
		slot->cursor = window->last + 1;
	spin_unlock(&registry_lock);
	return 0;
}

/**
 * ksm_window_put - give a window back, scanned or not
 * @window: the window
 *
 * Ends the full scan if it was the last one.
 *
 * Return: whether it did.
 */
bool ksm_window_put(struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;
	bool completed = false, free = false, wake = false;

	spin_lock(&registry_lock);
	windows_out--;
	slot->users--;
	if (slot->gone && !slot->users) {
		/* Retired, not exited: on neither list. */
		free = list_empty(&slot->slot.mm_node);
		wake = !free;
		if (wake)
			WRITE_ONCE(reap_wanted, true);
	}
	if (cursor == &slots && !windows_out && scan_under_way) {
		scan_completed();
		completed = true;
	}
	/* Others may wait for this, see ksm_window_available(). */
	wake |= cursor == &slots && !windows_out;
	spin_unlock(&registry_lock);

	window->slot = NULL;
	if (wake)
		wake_up_interruptible(&ksm_wait);
	if (free)
		slot_free(slot);
	if (completed)
		trace_ksm_stop_scan(READ_ONCE(full_scans) - 1,
				    atomic_long_read(&ksm_counters.rmap_items));
	return completed;
}

/**
 * ksm_window_abandon - give back a window of which something is left
 * @window: the window
 *
 * What is left becomes part of the next window, unless others were handed out
 * since; then it waits for the next full scan.
 */
void ksm_window_abandon(struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;

	spin_lock(&registry_lock);
	if (!window->final && cursor == &slot->slot.mm_node &&
	    slot->cursor == window->last + 1)
		slot->cursor = window->next & KSM_CHUNK_MASK;
	spin_unlock(&registry_lock);
	ksm_window_put(window);
}

static bool has_mergeable_vma(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma)
		if (vma->vm_flags & VM_MERGEABLE)
			return true;
	return false;
}

/**
 * ksm_slot_retire_if_unused - unregister an mm that offers nothing any more
 * @window: the mm's final window of a full scan
 *
 * The mm registers again when something in it becomes mergeable, which takes
 * the mmap_lock for writing. MMF_VM_MERGE_ANY stays: ksm_add_vma() goes by it.
 *
 * Context: mmap_lock of the mm held for reading.
 */
void ksm_slot_retire_if_unused(struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;
	struct mm_struct *mm = slot->slot.mm;

	mmap_assert_locked(mm);
	if (ksm_mm_exiting(mm) || has_mergeable_vma(mm))
		return;

	spin_lock(&registry_lock);
	if (!slot->gone && slot->users == 1 && xa_empty(&slot->chunks)) {
		slot_unlist(slot);
		clear_bit(MMF_VM_MERGEABLE, &mm->flags);
	}
	spin_unlock(&registry_lock);
}

/**
 * ksm_full_scans - number of full scans completed
 */
unsigned long ksm_full_scans(void)
{
	return READ_ONCE(full_scans);
}

/**
 * ksm_reset_full_scans - count full scans from zero, as after run=2
 *
 * The one under way is not completed any more: the next one begins at the
 * first mm, once all windows are back.
 *
 * Context: ksm_gate held exclusively.
 */
void ksm_reset_full_scans(void)
{
	spin_lock(&registry_lock);
	cursor = &slots;
	scan_under_way = false;
	WRITE_ONCE(full_scans, 0);
	spin_unlock(&registry_lock);
}

int __init ksm_registry_init(void)
{
	slot_cache = KMEM_CACHE(ksm_mm_slot, 0);
	return slot_cache ? 0 : -ENOMEM;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/registry_kunit.c"
#endif
