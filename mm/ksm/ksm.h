/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all of mm/ksm shares: the lock order, the settings, the counters, and the
 * gate. What one file offers to others is in the header beside it.
 *
 * Lock order, outermost first:
 *
 *	ksm_gate			rwsem: workers shared, rebuilders exclusive
 *	  mm->mmap_lock (read)		at most one mm's, a second by trylock alone
 *	    folio lock			a second one by trylock alone
 *	      page-table lock
 *
 * Leaves: ksm_shard.lock and ksm_registry.lock. Nothing sleeps under them, and
 * neither of the two is taken under the other. A shard's lock nests in any of
 * the above, and the lock of the queue of stable nodes nests in a shard's. At
 * most KSM_STEPS_MAX steps are taken under a shard's lock, see
 * ksm_shard_step().
 *
 * A slot may lose its mm before it is freed itself: when an mm has exited, ksmd
 * takes it from its slot, and drops it after an RCU grace period, holding no
 * lock and not the gate. See ksm_item_mm().
 *
 * slot.h says who may change chunks and rmap_items.
 */
#ifndef _MM_KSM_KSM_H
#define _MM_KSM_KSM_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/ksm.h>
#include <linux/rwsem.h>
#include <linux/types.h>
#include <linux/wait.h>

#define KSM_RUN_STOP		0
#define KSM_RUN_MERGE		1
#define KSM_RUN_UNMERGE		2

/*
 * Budgets are in pages that are read. As much as one of these cost so many steps: a
 * step is a visit to a page that is not read,
 */
#define KSM_VISITS_A_READ	16
/* or to pass over so many VMAs, */
#define KSM_VMAS_A_STEP		2
/* or over so many empty entries of page tables, both for the plan and the scan. */
#define KSM_HOLES_A_STEP	8

/**
 * struct ksm_settings - what user space sets through sysfs
 * @run: %KSM_RUN_STOP, %KSM_RUN_MERGE or %KSM_RUN_UNMERGE; changes with the
 *	lock of control.c held, for as long as the change takes
 * @pages_to_scan: budget of all workers between two sleeps, pages. Written
 *	under the advisor's lock
 * @sleep_millisecs: length of that sleep
 * @scan_threads: how many workers there are; 1 to %KSM_THREADS_MAX. Written
 *	under a lock of worker.c
 * @max_page_sharing: most rmap_items of one KSM page; locked as @run is, and
 *	ksm_gate is held exclusively
 * @merge_across_nodes: NUMA nodes share with each other; likewise
 * @use_zero_pages: map the kernel's zero page for pages full of zeroes
 * @smart_scan: do not re-read pages that seem unchanged
 * @prune_millisecs: minimum time between two prunings of a chain
 * @advisor: enum ksm_advisor_mode. Written under the advisor's lock
 * @advisor_max_cpu: most CPU time of all workers, per cent of one CPU
 * @advisor_target_scan_time: of a full scan, s; at least 1
 * @advisor_min_pages_to_scan: lower limit of the advisor's pages_to_scan
 * @advisor_max_pages_to_scan: upper limit, which wins
 *
 * Read anywhere with READ_ONCE(), and written with WRITE_ONCE(). Settings
 * without a lock above need none: a change takes effect at the next read.
 */
struct ksm_settings {
	unsigned int run;
	unsigned int pages_to_scan;
	unsigned int sleep_millisecs;
	unsigned int scan_threads;
	unsigned int max_page_sharing;
	bool merge_across_nodes;
	bool use_zero_pages;
	bool smart_scan;
	unsigned int prune_millisecs;
	unsigned int advisor;
	unsigned int advisor_max_cpu;
	unsigned long advisor_target_scan_time;
	unsigned long advisor_min_pages_to_scan;
	unsigned long advisor_max_pages_to_scan;
};

/**
 * struct ksm_counters - what sysfs shows; each is exact at rest
 * @pages_shared: KSM pages that at least one rmap_item shares
 * @pages_sharing: rmap_items that share them beyond the first of each
 * @pages_unshared: rmap_items in the unstable tree
 * @rmap_items: rmap_items that are not %KSM_ITEM_FREE
 * @pages_scanned: pages looked at since boot
 * @pages_skipped: of these, those not read because they seemed unchanged
 * @chains: stable nodes that are chains
 * @dups: stable nodes on them
 * @nodes: stable nodes allocated, chains included
 * @chunks: chunks allocated
 * @slots: mm_slots allocated
 */
struct ksm_counters {
	atomic_long_t pages_shared;
	atomic_long_t pages_sharing;
	atomic_long_t pages_unshared;
	atomic_long_t rmap_items;
	atomic_long_t pages_scanned;
	atomic_long_t pages_skipped;
	atomic_long_t chains;
	atomic_long_t dups;
	atomic_long_t nodes;
	atomic_long_t chunks;
	atomic_long_t slots;
};

extern struct ksm_settings ksm_settings;
extern struct ksm_counters ksm_counters;
extern struct rw_semaphore ksm_gate;
extern struct wait_queue_head ksm_wait;

int ksm_gate_close(void);
void ksm_gate_open(void);

static inline bool ksm_runs(unsigned int how)
{
	return READ_ONCE(ksm_settings.run) == how;
}

#endif /* _MM_KSM_KSM_H */
