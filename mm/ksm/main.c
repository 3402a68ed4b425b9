// SPDX-License-Identifier: GPL-2.0
/*
 * Start-up, the settings and counters, the gate, and the notifier of memory
 * that goes offline.
 */
#include <linux/init.h>
#include <linux/memory.h>
#include <linux/mutex.h>

#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>

#include "ksm.h"

struct ksm_settings ksm_settings = {
	/* Without sysfs nobody could switch it on. */
	.run = IS_ENABLED(CONFIG_SYSFS) ? KSM_RUN_STOP : KSM_RUN_MERGE,
	.pages_to_scan = 100,
	.sleep_millisecs = 20,
	.scan_threads = 1,
	.max_page_sharing = 256,
	.merge_across_nodes = true,
	.smart_scan = true,
	.prune_millisecs = 2000,
	.advisor_max_cpu = 70,
	.advisor_target_scan_time = 200,
	.advisor_min_pages_to_scan = 500,
	.advisor_max_pages_to_scan = 30000,
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
	int err;

	ksm_fingerprint_init();
	err = ksm_rmap_item_init();
	if (!err)
		err = ksm_stable_init();
	if (!err)
		err = ksm_forest_init();
	if (!err)
		err = ksm_registry_init();
	if (!err)
		err = ksm_workers_init();
	if (err)
		return err;
#ifdef CONFIG_MEMORY_HOTREMOVE
	hotplug_memory_notifier(memory_changes, KSM_CALLBACK_PRI);
#endif
	return ksm_sysfs_init();
}
subsys_initcall(ksm_init);
