// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: who may scan which piece of which mm.
 *
 * A full scan moves a cursor over the list of registered mms once. Each window
 * that the cursor hands out belongs to one worker until it is put back. The
 * scan is complete when the cursor has reached the end and all windows are
 * back.
 */
#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <asm/tlbflush.h>
#include <trace/events/ksm.h>

#include "ksm.h"
#include "registry.h"
#include "rmap_item.h"
#include "slot.h"
#include "window.h"

/* ksm_mm_slot.cursor: no window of this full scan is left to hand out. */
#define CURSOR_END	ULONG_MAX

/* A full scan waits at most this long, in all, for busy mmap_locks, in jiffies. */
#define BUSY_WAIT_MAX	(HZ / 32 + 1)
/* These two belong to the registry's lock. */
static bool busy_waits;		/* waiting has begun */
static unsigned long busy_until;	/* when it ends, jiffies */

/* --------------------------------------------------------------- planning */

/*
 * All of an address space may consist of empty entries of upper page tables.
 * After this many, the search ends with an empty window, so that the mmap_lock
 * is released.
 */
#define HOLES_MAX	4096

/* Passing this many VMAs of an mm is free: most processes have fewer. */
#define VMAS_FREE	256

/**
 * struct window_probe - a search for memory that is worth a window
 * @found: the address at which the search ended
 * @vmas: VMAs that it has looked at
 * @holes: empty entries of page tables that it has passed
 */
struct window_probe {
	unsigned long found;
	unsigned long vmas;
	unsigned long holes;
};

static int window_probe_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
			    struct mm_walk *walk)
{
	struct window_probe *probe = walk->private;

	if (pmd_none(pmdp_get_lockless(pmd)))
		return 0;
	probe->found = addr;
	return 1;
}

static int window_probe_hole(unsigned long addr, unsigned long end, int depth,
			     struct mm_walk *walk)
{
	struct window_probe *probe = walk->private;

	if (++probe->holes < HOLES_MAX)
		return 0;
	probe->found = addr;
	return 1;
}

static const struct mm_walk_ops window_probe_ops = {
	.pmd_entry = window_probe_pmd,
	.pte_hole = window_probe_hole,
	.walk_lock = PGWALK_RDLOCK,
};

/*
 * Finds the first address at or after @from that has a page table, or gives up
 * after %HOLES_MAX or %KSM_VMAS_MAX. Returns the end of the VMA in which the
 * search ended, or 0 if nothing is left.
 */
static unsigned long window_find_populated(struct mm_struct *mm, unsigned long from,
					   struct window_probe *probe)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, from);

	for_each_vma(vmi, vma) {
		unsigned long addr = max(from, vma->vm_start);

		if (++probe->vmas == KSM_VMAS_MAX) {
			probe->found = addr;
			return vma->vm_end;
		}
		if (!(vma->vm_flags & VM_MERGEABLE) || !vma->anon_vma)
			continue;
		if (walk_page_range_vma(vma, addr, vma->vm_end, &window_probe_ops,
					probe) > 0)
			return vma->vm_end;
	}
	return 0;
}

/*
 * What is charged for a search that began at @from. Whoever scans the window passes
 * over the same empty entries, and pays for both.
 */
static unsigned long window_probe_steps(struct window_probe *probe,
					unsigned long from)
{
	unsigned long vmas = probe->vmas;

	if (!from)
		vmas -= min(vmas, (unsigned long)VMAS_FREE);
	return vmas / KSM_VMAS_A_STEP;
}

/* A glance at this many VMAs costs less than another window. */
#define LOOK_AHEAD 64

/* Is there nothing to scan from @from on, as far as a glance can tell? */
static bool window_nothing_follows(struct mm_struct *mm, unsigned long from)
{
	struct vm_area_struct *vma;
	unsigned int vmas = 0;
	VMA_ITERATOR(vmi, mm, from);

	for_each_vma(vmi, vma)
		if (++vmas > LOOK_AHEAD ||
		    ((vma->vm_flags & VM_MERGEABLE) && vma->anon_vma))
			return false;
	return true;
}

/*
 * Plans the window at @from; the caller still has to give it to the worker.
 * Returns false if the mmap_lock is busy.
 */
static bool window_plan(struct mm_struct *mm, unsigned long from,
			struct ksm_window *window)
{
	unsigned long start, end = 0, limit;
	struct window_probe probe = { };

	window->next = from;
	window->busy = false;
	window->spent = false;
	window->work = 0;
	window->steps = 0;
	window->first = ULONG_MAX;
	window->last = ULONG_MAX;

	if (!mmap_read_trylock(mm))
		return false;
	if (!ksm_mm_exiting(mm))
		end = window_find_populated(mm, from, &probe);
	if (end) {
		start = probe.found;
		limit = (start & ~(KSM_WINDOW_SPAN - 1)) + KSM_WINDOW_SPAN - 1;
		window->first = max(from, start & KSM_CHUNK_MASK);
		window->last = min((end - 1) | ~KSM_CHUNK_MASK, limit);
		if (window->last != ULONG_MAX &&
		    window_nothing_follows(mm, window->last + 1))
			window->last = ULONG_MAX;
	}
	mmap_read_unlock(mm);
	window->steps = 1 + window_probe_steps(&probe, from);
	window->final = window->last == ULONG_MAX;
	return true;
}

/* ---------------------------------------------------- the cursor, full scans */

/* Nothing is left to hand out, or no full scan has begun. */
static bool window_none_left(void)
{
	lockdep_assert_held(&ksm_registry.lock);
	return ksm_registry.cursor == &ksm_registry.slots;
}

/*
 * The mmap_lock of the mm under the cursor is busy, so others go first. When
 * all of them have had their turn, the full scan waits, but only for a short
 * time in total. What is still busy then is left to the next one, which goes on
 * there.
 *
 * Returns whether to wait.
 */
static bool window_defer_mm(struct ksm_mm_slot *slot)
{
	bool others_done = slot->deferred;

	lockdep_assert_held(&ksm_registry.lock);
	if (others_done && busy_waits && time_after(jiffies, busy_until)) {
		slot->resume = true;
		ksm_cursor_advance();
		return false;
	}
	slot->deferred = true;
	if (others_done && !busy_waits) {
		busy_waits = true;
		busy_until = jiffies + BUSY_WAIT_MAX;
	}
	if (!list_is_last(&slot->slot.mm_node, &ksm_registry.slots)) {
		ksm_cursor_advance();
		ksm_registry_requeue(slot);
	}
	return others_done;
}

static void window_scan_completed(void)
{
	lockdep_assert_held(&ksm_registry.lock);
	ksm_registry.under_way = false;
	WRITE_ONCE(ksm_registry.full_scans, ksm_registry.full_scans + 1);
	WRITE_ONCE(ksm_registry.reap_wanted, !list_empty(&ksm_registry.gone));
}

/**
 * ksm_window_available - will ksm_window_get() find one, or nothing at all?
 *
 * Return: false as long as it would return -EAGAIN. When that ends, threads
 *	that sleep on ksm_wait are woken.
 */
bool ksm_window_available(void)
{
	bool available;

	spin_lock(&ksm_registry.lock);
	available = !window_none_left() || !ksm_registry.windows;
	spin_unlock(&ksm_registry.lock);
	return available;
}

/* Will the next window be the first one of a full scan? */
static bool window_is_first(void)
{
	bool begins;

	spin_lock(&ksm_registry.lock);
	begins = window_none_left() && !ksm_registry.windows;
	spin_unlock(&ksm_registry.lock);
	return begins;
}

/* A worker has met a page that a CPU has yet to put on the LRU lists. */
static bool drain_wanted;

/** ksm_want_drain - report a page that a CPU holds to put it on an LRU list */
void ksm_want_drain(void)
{
	if (!READ_ONCE(drain_wanted))
		WRITE_ONCE(drain_wanted, true);
}

/**
 * ksm_scan_drain - put such pages on their lists before a full scan begins
 *
 * Until then they cannot be merged. All CPUs take part. After a report, the next worker
 * does it, once in a full scan: each may find that others have begun. A page that waits to
 * become active looks like any other: so whoever begins does it, too, once a second.
 * Context: sleeps.
 */
void ksm_scan_drain(void)
{
	static unsigned long last = INITIAL_JIFFIES - HZ;
	static unsigned int drained;
	unsigned int scan = READ_ONCE(ksm_registry.scan);

	if (READ_ONCE(drain_wanted) ? scan == READ_ONCE(drained) :
	    !window_is_first() || jiffies - READ_ONCE(last) < HZ)
		return;
	WRITE_ONCE(drain_wanted, false);
	WRITE_ONCE(drained, scan);
	WRITE_ONCE(last, jiffies);
	lru_add_drain_all();
}

/* All windows are handed out: begins the next full scan, if allowed. */
static int window_begin_scan(bool may_begin)
{
	lockdep_assert_held(&ksm_registry.lock);
	if (ksm_registry.windows)
		return -EAGAIN;
	/* The mm under the cursor was the last one, and has exited. */
	if (ksm_registry.under_way)
		window_scan_completed();
	if (list_empty(&ksm_registry.slots) || !may_begin)
		return -ENOENT;
	WRITE_ONCE(ksm_registry.scan, ksm_registry.scan + 1);
	busy_waits = false;
	ksm_cursor_advance();
	ksm_registry.under_way = true;
	return 0;
}

/* Is the rest of the mm for the next full scan? */
static bool window_mm_is_spent(const struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&ksm_registry.lock);
	return !slot->windows || ksm_slot_is_spent(slot);
}

/* The window at the cursor becomes a worker's, and the cursor moves on. */
static void window_hand_out(struct ksm_mm_slot *slot, struct ksm_window *window)
{
	lockdep_assert_held(&ksm_registry.lock);
	slot->windows -= !!slot->windows;
	slot->cursor = window->final ? CURSOR_END : window->last + 1;
	slot->resume = !window->final && window_mm_is_spent(slot);
	if (window->final || slot->resume)
		ksm_cursor_advance();
}

/* So many mms may be found busy before others, and the CPU, have their turn. */
#define TRIES_MAX	64U
/* What window_try() says of an mm that is busy, or that another worker has: go on. */
#define TRY_NEXT	1

/* The mm under the cursor: as ksm_window_get(), or %TRY_NEXT. */
static int window_try(struct ksm_window *window, bool begin)
{
	struct ksm_mm_slot *slot;
	bool starts = false, planned, wait = false;
	unsigned long from;
	int err;

	spin_lock(&ksm_registry.lock);
	if (window_none_left()) {
		err = window_begin_scan(begin);
		if (err) {
			spin_unlock(&ksm_registry.lock);
			return err;
		}
		starts = true;
	}
	slot = ksm_slot_of(ksm_registry.cursor);
	from = slot->cursor;
	slot->users++;
	ksm_registry.windows++;
	spin_unlock(&ksm_registry.lock);

	if (starts)
		trace_ksm_start_scan(READ_ONCE(ksm_registry.full_scans),
				     atomic_long_read(&ksm_counters.rmap_items));
	planned = window_plan(slot->slot.mm, from, window);
	window->slot = slot;

	spin_lock(&ksm_registry.lock);
	/* Otherwise another worker was faster, or the mm has exited. */
	if (ksm_registry.cursor == &slot->slot.mm_node && slot->cursor == from) {
		if (planned) {
			window_hand_out(slot, window);
			spin_unlock(&ksm_registry.lock);
			return 0;
		}
		wait = window_defer_mm(slot);
	}
	spin_unlock(&ksm_registry.lock);
	/* What was planned in vain is for whoever scans this mm to pay, not another. */
	atomic_add(window->steps / (KSM_VISITS_A_READ / KSM_STEPS_A_READ), &slot->debt);
	if (ksm_window_put(window))
		return -ENOENT;
	return wait ? -EBUSY : TRY_NEXT;
}

/**
 * ksm_window_get - get a piece of memory to scan
 * @window: filled in
 * @begin: whether it may be the first one of a full scan
 *
 * Context: ksm_gate held shared. Tries to take mmap_locks; sleeps.
 * Return: 0; -EAGAIN: all of this full scan is handed out, others are still at
 *	it; -ENOENT: nothing is registered, or the next full scan has not begun;
 *	-EBUSY: all that is left, or very many, are mms whose mmap_lock is busy, ask
 *	again a little later; -EINTR: others want the gate, or the system is being frozen.
 */
int ksm_window_get(struct ksm_window *window, bool begin)
{
	unsigned int tries;
	int err;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		err = window_try(window, begin);
		if (err != TRY_NEXT)
			return err;
		if (rwsem_is_contended(&ksm_gate) || freezing(current))
			return -EINTR;
		cond_resched();
	}
	return -EBUSY;
}

/* Minimum time between two flushes of an mm; there may be many scans a second. */
#define FLUSH_PAUSE	HZ

/*
 * A CPU that has a page in its TLB does not set an accessed bit again after it
 * was cleared, which would hide writes from us for as long as the entry stays.
 * So flush an mm whose bits were cleared at the end of its part of a full scan,
 * when the last of its windows is back, in any order. This disturbs each CPU
 * that runs the mm, so do not repeat it within FLUSH_PAUSE.
 *
 * Returns the mm, with a reference to mm_count, if it has to be flushed now.
 */
static struct mm_struct *window_stale_mm(struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&ksm_registry.lock);
	if (slot->gone || slot->users != slot->spared || !slot->tlb_stale ||
	    (slot->cursor != CURSOR_END && !slot->resume))
		return NULL;
	if (slot->tlb_flushed &&
	    time_before(jiffies, slot->tlb_flushed + FLUSH_PAUSE))
		return NULL;
	slot->tlb_stale = false;
	slot->tlb_flushed = jiffies ?: 1;
	mmgrab(slot->slot.mm);
	return slot->slot.mm;
}

/**
 * ksm_window_put - give a window back, scanned or not
 * @window: the window
 *
 * Ends the full scan if it was the last one.
 *
 * Context: sleeps.
 * Return: whether it ended the scan.
 */
bool ksm_window_put(struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;
	bool completed = false, free = false, wake = false;
	struct mm_struct *stale;

	spin_lock(&ksm_registry.lock);
	ksm_registry.windows--;
	slot->users--;
	stale = window_stale_mm(slot);
	if (slot->gone && !slot->users) {
		/* Retired, not exited: it is on neither list. */
		free = list_empty(&slot->slot.mm_node);
		wake = !free;
		if (wake)
			WRITE_ONCE(ksm_registry.reap_wanted, true);
	}
	if (window_none_left() && !ksm_registry.windows &&
	    ksm_registry.under_way) {
		window_scan_completed();
		completed = true;
	}
	/* Others may wait for this, see ksm_window_available(). */
	wake |= window_none_left() && !ksm_registry.windows;
	spin_unlock(&ksm_registry.lock);

	window->slot = NULL;
	if (wake)
		wake_up_interruptible(&ksm_wait);
	if (free)
		ksm_slot_free(slot);
	if (completed)
		trace_ksm_stop_scan(READ_ONCE(ksm_registry.full_scans) - 1,
				    atomic_long_read(&ksm_counters.rmap_items));
	/* Other CPUs have to take part, and may take a while. */
	if (stale) {
		flush_tlb_mm(stale);
		mmdrop(stale);
	}
	return completed;
}

/*
 * Makes what is left a part of the next window, if none was handed out since
 * and the mm may have more. Returns whether it did.
 */
static bool window_return(struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;
	unsigned long next = window->next & KSM_CHUNK_MASK;

	lockdep_assert_held(&ksm_registry.lock);
	if (slot->gone || slot->scan != ksm_registry.scan)
		return false;
	if (window_mm_is_spent(slot)) {
		/*
		 * Others may bring theirs back, too: the next scan begins at the first.
		 * This scan uses none of them, so it does no harm if they overlap.
		 */
		slot->cursor = min(slot->cursor, next);
		slot->resume = true;
		if (ksm_registry.cursor == &slot->slot.mm_node)
			ksm_cursor_advance();
		return false;
	}
	if (window->final) {
		/* The cursor has left the mm, and has to come back. */
		ksm_registry_requeue(slot);
		if (window_none_left())
			ksm_registry.cursor = &slot->slot.mm_node;
	} else if (ksm_registry.cursor != &slot->slot.mm_node ||
		   slot->cursor != window->last + 1) {
		return false;
	}
	slot->cursor = next;
	return true;
}

/**
 * ksm_window_abandon - give back a window that is not finished
 * @window: the window
 *
 * What is left becomes part of the next window, unless others were handed out
 * since, or the mm has had all that it may have; then it waits for the next full scan.
 *
 * Return: whether this ends the full scan, as for ksm_window_put().
 */
bool ksm_window_abandon(struct ksm_window *window)
{
	bool left, completed;

	spin_lock(&ksm_registry.lock);
	left = window_return(window);
	spin_unlock(&ksm_registry.lock);
	completed = ksm_window_put(window);
	if (left)
		wake_up_interruptible(&ksm_wait);
	return completed;
}

/**
 * ksm_window_defer - give back a window of an mm whose mmap_lock is busy
 * @window: the window
 *
 * As ksm_window_abandon(), but the memory of others comes first.
 *
 * Return: whether to wait a little because nothing else is left.
 */
bool ksm_window_defer(struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;
	bool wait = false, left;

	spin_lock(&ksm_registry.lock);
	left = window_return(window);
	if (ksm_registry.cursor == &slot->slot.mm_node)
		wait = window_defer_mm(slot);
	else
		slot->deferred = true;
	spin_unlock(&ksm_registry.lock);
	ksm_window_put(window);
	if (left)
		wake_up_interruptible(&ksm_wait);
	return wait;
}

static bool window_mm_is_mergeable(struct mm_struct *mm)
{
	/* With very many VMAs, it does no harm if the mm stays registered. */
	return mm->map_count > 4 * KSM_VMAS_MAX || ksm_process_mergeable(mm);
}

/**
 * ksm_slot_retire_if_unused - unregister an mm with nothing to merge any more
 * @window: the mm's final window of a full scan
 *
 * The mm registers again when something in it becomes mergeable, which takes
 * the mmap_lock for writing. MMF_VM_MERGE_ANY stays: ksm_vma_flags() needs it.
 *
 * Context: mmap_lock of the mm held for reading.
 */
void ksm_slot_retire_if_unused(struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;
	struct mm_struct *mm = slot->slot.mm;

	mmap_assert_locked(mm);
	if (ksm_mm_exiting(mm) || window_mm_is_mergeable(mm))
		return;

	spin_lock(&ksm_registry.lock);
	if (!slot->gone && slot->users == 1 && xa_empty(&slot->chunks)) {
		ksm_registry_unlist(slot);
		mm_flags_clear(MMF_VM_MERGEABLE, mm);
	}
	spin_unlock(&ksm_registry.lock);
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/window_kunit.c"
#include "tests/window_limits_kunit.c"
#endif
