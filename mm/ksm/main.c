// SPDX-License-Identifier: GPL-2.0
/*
 * Start-up, ksmd and its pacing, the gate, and the notifier of memory that
 * goes offline.
 */
#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/memory.h>
#include <linux/mutex.h>
#include <linux/sched.h>

#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>

#include "ksm.h"

struct ksm_settings ksm_settings = {
	/* Without sysfs nobody could switch it on. */
	.run = IS_ENABLED(CONFIG_SYSFS) ? KSM_RUN_STOP : KSM_RUN_MERGE,
	.pages_to_scan = 100,
	.sleep_millisecs = 20,
	.max_page_sharing = 256,
	.merge_across_nodes = true,
	.smart_scan = true,
	.prune_millisecs = 2000,
};

struct ksm_counters ksm_counters;
atomic_long_t ksm_zero_pages = ATOMIC_LONG_INIT(0);

/*
 * Workers hold it shared while they scan. Exclusive: run=2, settings that the
 * trees are built by, and memory that has gone offline.
 */
DECLARE_RWSEM(ksm_gate);

/* Serializes the writers of ksm_settings. Outside of ksm_gate. */
DEFINE_MUTEX(ksm_control);

/* ksmd waits here: for something to do, and for the end of its sleep. */
DECLARE_WAIT_QUEUE_HEAD(ksm_wait);

#define HELD_RETRY	(2 * HZ)

static bool should_scan(void)
{
	return ksm_runs(KSM_RUN_MERGE) && !ksm_registry_idle();
}

/* Scans until the budget is used up, or the full scan is complete. */
static void scan_some(struct ksm_scan *scan, struct ksm_window *window)
{
	unsigned long budget = READ_ONCE(ksm_settings.pages_to_scan);

	while (budget && ksm_runs(KSM_RUN_MERGE) && !freezing(current) &&
	       !rwsem_is_contended(&ksm_gate)) {
		if (!window->slot && ksm_window_get(window))
			return;
		if (!ksm_scan_window(scan, window, &budget))
			continue;
		if (ksm_window_put(window)) {
			ksm_stable_sweep();
			return;
		}
	}
}

/* Frees what is left of mms that have exited. */
static void reap(struct ksm_window *window)
{
	if (!ksm_reap_held() && !ksm_stable_unswept())
		return;

	down_read(&ksm_gate);
	if (window->slot && ksm_mm_exiting(window->slot->slot.mm))
		ksm_window_put(window);
	ksm_reap(false);
	ksm_stable_sweep();
	up_read(&ksm_gate);
}

static bool pause_ends(unsigned int length)
{
	return length != READ_ONCE(ksm_settings.sleep_millisecs) ||
	       !ksm_runs(KSM_RUN_MERGE) || kthread_should_stop();
}

/*
 * Sleeps between two budgets. A new length of the sleep takes effect at once;
 * an exit does not cut it short.
 */
static void pause_scan(struct ksm_window *window)
{
	unsigned int length = READ_ONCE(ksm_settings.sleep_millisecs);
	unsigned long end = jiffies + msecs_to_jiffies(length);

	for (;;) {
		long left = end - jiffies;

		if (left <= 0)
			break;
		wait_event_freezable_timeout(ksm_wait, pause_ends(length) ||
					     ksm_reap_pending(), left);
		if (pause_ends(length))
			break;
		if (ksm_reap_pending())
			reap(window);
	}
}

/*
 * Waits for something to do. What exited mms have left and could not be freed
 * is looked at now and then: nobody tells when it can.
 */
static void wait_for_work(void)
{
	wait_event_freezable_timeout(ksm_wait, should_scan() ||
				     ksm_reap_pending() ||
				     kthread_should_stop(),
				     ksm_reap_held() || ksm_stable_unswept() ?
				     HELD_RETRY : MAX_SCHEDULE_TIMEOUT);
	try_to_freeze();
}

static int ksmd(void *arg)
{
	struct ksm_window window = { .slot = NULL };
	struct ksm_scan *scan = arg;

	set_freezable();
	set_user_nice(current, 5);

	while (!kthread_should_stop()) {
		if (ksm_reap_pending() || !should_scan())
			reap(&window);
		if (should_scan()) {
			down_read(&ksm_gate);
			scan_some(scan, &window);
			up_read(&ksm_gate);
			try_to_freeze();
			pause_scan(&window);
		} else {
			if (window.slot)
				ksm_window_abandon(&window);
			wait_for_work();
		}
	}
	return 0;
}

#ifdef CONFIG_MEMORY_HOTREMOVE
/*
 * KSM pages migrate away like all others before memory goes offline, but stale
 * nodes may be left that refer to it, and its struct pages will be gone.
 */
static int memory_changes(struct notifier_block *self, unsigned long action,
			  void *arg)
{
	struct memory_notify *notify = arg;

	if (action == MEM_OFFLINE) {
		down_write(&ksm_gate);
		ksm_stable_remove_frames(notify->start_pfn, notify->start_pfn +
					 notify->nr_pages);
		up_write(&ksm_gate);
	}
	return NOTIFY_OK;
}
#endif

static int __init ksm_init(void)
{
	struct task_struct *thread;
	struct ksm_scan *scan;
	int err;

	ksm_fingerprint_init();
	err = ksm_rmap_item_init();
	if (!err)
		err = ksm_stable_init();
	if (!err)
		err = ksm_forest_init();
	if (!err)
		err = ksm_registry_init();
	if (err)
		return err;

	scan = ksm_scan_alloc();
	if (!scan)
		return -ENOMEM;
	thread = kthread_run(ksmd, scan, "ksmd");
	if (IS_ERR(thread)) {
		ksm_scan_free(scan);
		return PTR_ERR(thread);
	}
#ifdef CONFIG_MEMORY_HOTREMOVE
	hotplug_memory_notifier(memory_changes, KSM_CALLBACK_PRI);
#endif
	return ksm_sysfs_init();
}
subsys_initcall(ksm_init);
