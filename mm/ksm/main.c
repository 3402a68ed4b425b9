// SPDX-License-Identifier: GPL-2.0
/* Start-up, and the notifier for memory that goes offline. */
#include <linux/init.h>
#include <linux/memory.h>

#include "forest.h"
#include "key.h"
#include "ksm.h"
#include "node.h"
#include "shard.h"
#include "slot.h"
#include "sysfs.h"
#include "worker.h"

#ifdef CONFIG_MEMORY_HOTREMOVE
/*
 * Like all other pages, KSM pages migrate away before memory goes offline. But
 * stale nodes may still refer to that memory, and its struct pages will be
 * gone.
 */
static int main_memory_changes(struct notifier_block *self, unsigned long action,
			       void *arg)
{
	struct memory_notify *notify = arg;

	if (action == MEM_OFFLINE) {
		down_write(&ksm_gate);
		ksm_stable_remove_frames(notify->start_pfn, notify->start_pfn +
					 notify->nr_pages);
		ksm_gate_open();
	}
	return NOTIFY_OK;
}
#endif

static int __init ksm_init(void)
{
	int err;

	err = ksm_key_init();
	if (!err)
		err = ksm_slot_init();
	if (!err)
		err = ksm_shard_init();
	if (!err)
		err = ksm_node_init();
	if (!err)
		err = ksm_workers_init();
	if (err)
		return err;
#ifdef CONFIG_MEMORY_HOTREMOVE
	hotplug_memory_notifier(main_memory_changes, KSM_CALLBACK_PRI);
#endif
	return ksm_sysfs_init();
}
subsys_initcall(ksm_init);
