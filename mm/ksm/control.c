// SPDX-License-Identifier: GPL-2.0
/*
 * Control: what it takes to change a setting. Switches merging on and off,
 * undoes all of it, and empties the trees when what they are built by changes.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/oom.h>
#include <linux/sched.h>

#include "control.h"
#include "forest.h"
#include "ksm.h"
#include "reap.h"
#include "registry.h"
#include "rmap_item.h"
#include "slot.h"
#include "unmerge.h"
#include "unstable.h"

/*
 * Held while run changes, for as long as it takes to undo all merging. Also
 * held by those who change what the trees are built by, which cannot happen in
 * the meantime. Everything else can. Taken before ksm_gate.
 */
static DEFINE_MUTEX(control_lock);

/* ------------------------------------------------------------------- run */

/*
 * With run=2, no KSM page comes back to where it was unshared, or moves there.
 * Returns -EBUSY if the mm has to be tried again, from where it was left.
 */
static int control_unmerge_slot(struct ksm_mm_slot *slot, unsigned int number)
{
	int err;

	if (slot->unmerge != number) {
		slot->unmerge = number;
		slot->unmerge_next = 0;
	}
	if (slot->unmerge_next == ULONG_MAX)
		return 0;
	err = ksm_unmerge_part(slot->slot.mm, &slot->unmerge_next, ULONG_MAX, false);
	if (!err)
		err = ksm_chunks_release_all(slot);
	if (!err)
		slot->unmerge_next = ULONG_MAX;
	return err;
}

static bool control_is_interrupted(int err)
{
	return err == -EINTR || err == -ERESTARTSYS;
}

/*
 * Each mm once. Those that are busy keep no other one waiting; nor do those that
 * there is no memory for, in their cgroups perhaps, or that have lost a page.
 */
static int control_unmerge_pass(unsigned int number)
{
	struct ksm_mm_slot *slot;
	int err, left = 0;

	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot)) {
		if (control_is_interrupted(left))
			continue;
		err = control_unmerge_slot(slot, number);
		/* Those that are busy are worth another try, whatever others are. */
		if (control_is_interrupted(err) || err == -EBUSY || !left)
			left = err;
	}
	return left;
}

/* How long to retry busy mms once all others are done. */
#define UNMERGE_PATIENCE	(10 * HZ)

static int control_unmerge_slots(void)
{
	static unsigned int number;
	unsigned long end = 0;
	int err;

	number++;
	set_current_oom_origin();
	while ((err = control_unmerge_pass(number)) == -EBUSY) {
		if (!end)
			end = jiffies + UNMERGE_PATIENCE;
		else if (time_after(jiffies, end))
			break;
		usleep_range_idle(USEC_PER_MSEC, 2 * USEC_PER_MSEC);
	}
	clear_current_oom_origin();
	return err;
}

/*
 * Undoes all merging. The mms stay registered, for when it is switched on
 * again.
 *
 * The gate is held exclusively, and settings.run is KSM_RUN_UNMERGE, which
 * keeps KSM pages from coming back from swap. Returns 0, or an error if some
 * pages are still shared; -EBUSY if they all belong to mms whose mmap_lock
 * could not be taken.
 */
static int control_unmerge_all(void)
{
	int err = control_unmerge_slots();

	if (err)
		return err;
	err = ksm_reap_all();
	if (err)
		return err;
	/*
	 * A page fault may have been about to map a KSM page from the swap
	 * cache when we came by. By now it has, and others copy: once more.
	 * What remains then belongs to mms that are on their way out, or that
	 * could not be registered when they were forked.
	 */
	if (ksm_stable_remove_all()) {
		err = control_unmerge_slots();
		ksm_stable_remove_all();
	}
	if (!err)
		ksm_reset_full_scans();
	return err;
}

/* On error, merging stays off and some of it remains. */
static int control_unmerge(void)
{
	int err = ksm_gate_close();

	if (!err) {
		err = control_unmerge_all();
		if (err)
			WRITE_ONCE(ksm_settings.run, KSM_RUN_STOP);
		ksm_gate_open();
	} else {
		WRITE_ONCE(ksm_settings.run, KSM_RUN_STOP);
	}
	return err;
}

/* After stopping ksmd, its user may rely on nothing being merged any more. */
static int control_stop(void)
{
	int err = ksm_gate_close();

	if (!err)
		ksm_gate_open();
	return err;
}

/**
 * ksm_control_run - change settings.run
 * @run: %KSM_RUN_STOP, %KSM_RUN_MERGE or %KSM_RUN_UNMERGE
 *
 * Context: sleeps, for as long as it takes to undo all merging.
 * Return: 0; -ERESTARTSYS if nothing has changed; or another error if merging
 *	is off, but some of it may remain.
 */
int ksm_control_run(unsigned int run)
{
	int err = 0;

	if (mutex_lock_interruptible(&control_lock))
		return -ERESTARTSYS;
	if (run != ksm_settings.run) {
		WRITE_ONCE(ksm_settings.run, run);
		if (run == KSM_RUN_UNMERGE)
			err = control_unmerge();
		else if (run == KSM_RUN_STOP)
			err = control_stop();
	}
	mutex_unlock(&control_lock);
	wake_up_interruptible(&ksm_wait);
	return err;
}

/* ------------------------------------------------ what trees are built by */

/*
 * Makes workers read all pages again that are in no tree: the scope of their
 * keys no longer exists. The gate is held exclusively.
 */
static void control_forget_keys(void)
{
	struct ksm_mm_slot *slot;
	struct ksm_chunk *chunk;
	unsigned long index;
	unsigned int place;

	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot)) {
		xa_for_each(&slot->chunks, index, chunk) {
			for (place = 0; place < KSM_CHUNK_PAGES; place++) {
				struct ksm_rmap_item *item = &chunk->item[place];

				if (ksm_item_state(item) == KSM_ITEM_SEEN)
					ksm_item_set_key(item, 0);
			}
			cond_resched();
		}
	}
}

/* @set changes what the trees are built by, so they have to be empty. */
static int control_rebuild(void (*set)(unsigned int value), unsigned int value)
{
	int err = ksm_gate_close();

	if (err)
		return err;
	err = -EBUSY;
	if (!atomic_long_read(&ksm_counters.pages_shared) &&
	    !ksm_stable_remove_all()) {
		ksm_unstable_clear();
		control_forget_keys();
		set(value);
		err = 0;
	}
	ksm_gate_open();
	return err;
}

static void control_set_sharing(unsigned int value)
{
	WRITE_ONCE(ksm_settings.max_page_sharing, value);
}

/**
 * ksm_control_max_page_sharing - change settings.max_page_sharing
 * @value: the new value, at least 2
 *
 * Context: sleeps.
 * Return: 0; or an error, and nothing has changed: -EINVAL, -ERESTARTSYS,
 *	-EINTR; -EBUSY if pages are shared.
 */
int ksm_control_max_page_sharing(int value)
{
	int err = 0;

	/* A page that nobody may share is no KSM page. */
	if (value < 2)
		return -EINVAL;
	if (mutex_lock_interruptible(&control_lock))
		return -ERESTARTSYS;
	if (value != ksm_settings.max_page_sharing)
		err = control_rebuild(control_set_sharing, value);
	mutex_unlock(&control_lock);
	return err;
}

#ifdef CONFIG_NUMA
static void control_set_across_nodes(unsigned int value)
{
	WRITE_ONCE(ksm_settings.merge_across_nodes, value);
}

/**
 * ksm_control_across_nodes - change settings.merge_across_nodes
 * @value: the new value
 *
 * Context: sleeps.
 * Return: as ksm_control_max_page_sharing().
 */
int ksm_control_across_nodes(bool value)
{
	int err = 0;

	if (mutex_lock_interruptible(&control_lock))
		return -ERESTARTSYS;
	if (value != ksm_settings.merge_across_nodes)
		err = control_rebuild(control_set_across_nodes, value);
	mutex_unlock(&control_lock);
	return err;
}
#endif

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/control_kunit.c"
#endif
