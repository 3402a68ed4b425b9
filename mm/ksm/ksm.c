// SPDX-License-Identifier: GPL-2.0
/* What all of mm/ksm shares: settings, counters, the gate, tracepoints. */
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

/* Workers wait here: for something to do, and for the end of their sleep. */
DECLARE_WAIT_QUEUE_HEAD(ksm_wait);

/*
 * Workers hold it shared while they scan. Held exclusively for run=2, for
 * settings that the trees are built by, and for memory that has gone offline.
 */
DECLARE_RWSEM(ksm_gate);

/**
 * ksm_gate_close - keep workers out, and wait until those that are in have left
 *
 * Return: 0, to be followed by ksm_gate_open(); or -EINTR if the caller was
 *	killed.
 */
int ksm_gate_close(void)
{
	int err = down_write_killable(&ksm_gate);

	/* Workers that saw us waiting are waiting now, too. */
	if (err)
		wake_up_interruptible(&ksm_wait);
	return err;
}

/**
 * ksm_gate_open - let workers in again
 */
void ksm_gate_open(void)
{
	up_write(&ksm_gate);
	wake_up_interruptible(&ksm_wait);
}
