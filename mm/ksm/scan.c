// SPDX-License-Identifier: GPL-2.0
/*
 * The scan: takes a worker through its window, batch by batch. It keeps to the
 * budget, and releases locks that others wait for.
 */
#include <linux/freezer.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "collect.h"
#include "match.h"
#include "reap.h"
#include "registry.h"
#include "rmap_item.h"
#include "scan.h"

/**
 * struct ksm_scan - a worker's state of scanning
 * @left: what is left of the budget, pages; of one call of ksm_scan_window()
 * @owed: what went beyond the budgets until now, pages
 * @lock: the mmap_lock of the window's mm
 * @collect: from page tables to @batch
 * @match: from @batch to merges
 * @batch: empty except during a step
 */
struct ksm_scan {
	unsigned long left;
	unsigned long owed;
	struct ksm_mm_lock lock;
	struct ksm_collect collect;
	struct ksm_match match;
	struct ksm_batch batch;
};

/**
 * ksm_scan_alloc - make the state of a worker
 *
 * Return: the state, or NULL.
 */
struct ksm_scan *ksm_scan_alloc(void)
{
	struct ksm_scan *scan = kvzalloc(sizeof(*scan), GFP_KERNEL);

	if (!scan)
		return NULL;
	scan->collect.batch = &scan->batch;
	scan->match.batch = &scan->batch;
	scan->match.lock = &scan->lock;
	return scan;
}

/**
 * ksm_scan_free - free the state of a worker
 * @scan: the state, or NULL
 */
void ksm_scan_free(struct ksm_scan *scan)
{
	kvfree(scan);
}

/* A step that finds nothing counts as this many pages of a window's work. */
#define WORK_A_STEP	32

/* Takes what has come up from the budget, and from what its mm may cost. */
static void scan_pay(struct ksm_scan *scan)
{
	struct ksm_collect *collect = &scan->collect;
	unsigned long cost = collect->visited + collect->unpaid / KSM_VISITS_A_READ, paid;

	collect->unpaid %= KSM_VISITS_A_READ;
	atomic_long_sub(cost, &collect->slot->pages);
	/* What goes beyond this budget is for the next one to pay. */
	cost += scan->owed;
	paid = min(scan->left, cost);
	scan->left -= paid;
	scan->owed = cost - paid;
}

/* Charges what was collected. */
static void scan_account(struct ksm_scan *scan, struct ksm_window *window)
{
	struct ksm_collect *collect = &scan->collect;
	unsigned long steps = atomic_xchg(&collect->slot->debt, 0);

	window->work += WORK_A_STEP + collect->visited + collect->skipped;
	collect->unpaid += collect->skipped +
			   collect->holes / KSM_HOLES_A_STEP +
			   steps * (KSM_VISITS_A_READ / KSM_STEPS_A_READ);
	collect->holes %= KSM_HOLES_A_STEP;
	scan_pay(scan);
	atomic_long_add(collect->visited, &ksm_counters.pages_scanned);
	if (collect->skipped)
		atomic_long_add(collect->skipped, &ksm_counters.pages_skipped);
	collect->visited = 0;
	collect->skipped = 0;
}

/*
 * Scans up to the next piece in which something was found. The mmap_lock is
 * held. Returns whether this was the end of the window.
 */
static bool scan_step(struct ksm_scan *scan, struct ksm_window *window)
{
	struct ksm_collect *collect = &scan->collect;
	bool done;

	collect->pos = window->next;
	collect->most = min_t(unsigned long, scan->left, KSM_BATCH_PAGES);
	done = ksm_collect(collect, window->last);
	window->next = collect->pos;
	/* Checking whether an item may leave its page takes time, too. */
	collect->unpaid += scan->batch.nr_gone;
	ksm_match_batch(&scan->match);
	ksm_collect_end(collect);
	scan_account(scan, window);
	if (collect->young.cleared)
		WRITE_ONCE(window->slot->tlb_stale, true);
	collect->young.cleared = false;
	return done;
}

/* Was as much found as a window, or as the mm, may have in a full scan? */
static bool scan_is_spent(const struct ksm_window *window)
{
	return (window->final && window->work > KSM_WINDOW_WORK) ||
	       ksm_slot_is_spent(window->slot);
}

/* Does anybody wait for what we hold? */
static bool scan_should_yield(struct ksm_scan *scan)
{
	return need_resched() || rwsem_is_contended(&ksm_gate) ||
	       mmap_lock_is_contended(scan->lock.mm) || freezing(current);
}

/**
 * ksm_scan_window - scan a window, or as much of it as the budget allows
 * @scan: the worker's state
 * @window: its window; window->next moves on
 * @budget: pages to scan; set to what is left
 *
 * Context: ksm_gate held shared; sleeps.
 * Return: whether the window was scanned to its end. If not, window->busy tells
 *	whether the mmap_lock was the reason.
 */
bool ksm_scan_window(struct ksm_scan *scan, struct ksm_window *window,
		     unsigned long *budget)
{
	struct ksm_mm_lock *lock = &scan->lock;
	bool done = false;

	ksm_collect_window(&scan->collect, window->slot);
	lock->slot = window->slot;
	lock->mm = window->slot->slot.mm;
	scan->left = *budget;
	window->busy = false;
	/* A step costs as much as a visit that reads nothing. */
	scan->collect.unpaid += window->steps;
	window->steps = 0;
	scan_pay(scan);
	while (!done && scan->left) {
		window->spent = scan_is_spent(window);
		if (window->spent)
			break;
		lock->patience = KSM_MM_PATIENCE;
		if (!ksm_mm_lock(lock)) {
			window->busy = true;
			break;
		}
		/* An mm that is being unmerged waits for the next full scan. */
		if (ksm_mm_exiting(lock->mm) ||
		    ksm_slot_is_spared(window->slot)) {
			/* Going on to the next window takes time, too. */
			scan->left--;
			done = true;
			break;
		}
		done = scan_step(scan, window);
		if (done && window->final && lock->held)
			ksm_slot_retire_if_unused(window);
		if (!done && (!lock->held || scan_should_yield(scan))) {
			window->busy = !lock->held || !ksm_mm_give_way(lock);
			if (window->busy)
				break;
			if (rwsem_is_contended(&ksm_gate) || freezing(current))
				break;
		}
	}
	ksm_mm_unlock(lock);
	if (done)
		ksm_young_forget_huge(&scan->collect.young);
	*budget = scan->left;
	return done;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/match_kunit.c"
#include "tests/scan_kunit.c"
#include "tests/visits_kunit.c"
#endif
