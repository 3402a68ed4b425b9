// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/ksm_holds: the longest times for which KSM has held locks,
 * see holds.h. Writing 1 to it starts timing from scratch, and writing 0 ends
 * it. It shows a line for each pair of places:
 *
 *	LOCK PLACE-WHERE-IT-WAS-TAKEN PLACE-WHERE-IT-WAS-RELEASED LONGEST-NS TIMES
 *
 * A time is what the task itself spends, running or asleep. KSM can do nothing
 * about the times in which the task could have run, but other tasks did, so
 * these do not count.
 */
#include <linux/debugfs.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "holds.h"

/* Holders at the same time, each of one kind of lock. */
#define HOLDERS_MAX	64
/* Pairs of places. */
#define PLACES_MAX	128

/**
 * struct holder - a task that holds locks of a kind
 * @task: the task; NULL: none
 * @what: the kind
 * @depth: how many of them
 * @where: where the first one was taken
 * @since: when, by ksm_hold_clock()
 */
struct holder {
	struct task_struct *task;
	enum ksm_hold what;
	unsigned int depth;
	const char *where;
	u64 since;
};

/**
 * struct place - a place where locks are held
 * @what: the kind; the rest of an entry is empty if @from is NULL
 * @from: the function that took the lock
 * @to: the function that released it
 * @longest: the longest hold, ns
 * @times: number of holds
 */
struct place {
	enum ksm_hold what;
	const char *from;
	const char *to;
	s64 longest;
	unsigned long times;
};

static const char *const names[] = {
	[KSM_HOLD_GATE] = "gate",
	[KSM_HOLD_MMAP] = "mmap",
	[KSM_HOLD_FOLIO] = "folio",
	[KSM_HOLD_ANON_VMA] = "anon_vma",
};

bool ksm_holds_timed;

/* Protects the rest. A leaf. */
static DEFINE_SPINLOCK(holds_lock);
static struct holder holders[HOLDERS_MAX];
static struct place places[PLACES_MAX];
static unsigned long missed;	/* there was no room for them */

/**
 * ksm_hold_clock - time without what this task spends waiting for a CPU, ns
 */
u64 ksm_hold_clock(void)
{
	/* By the scheduler's clock, as the waiting time is part of it. */
	u64 now = local_clock();

#ifdef CONFIG_SCHED_INFO
	now -= current->sched_info.run_delay;
#endif
	return now;
}

static struct holder *find_holder(struct task_struct *task, enum ksm_hold what)
{
	struct holder *holder;

	for (holder = holders; holder < holders + HOLDERS_MAX; holder++)
		if (holder->task == task && (!task || holder->what == what))
			return holder;
	return NULL;
}

static struct place *find_place(enum ksm_hold what, const char *from,
				const char *to)
{
	struct place *place;

	for (place = places; place < places + PLACES_MAX; place++) {
		if (!place->from)
			*place = (struct place){
				.what = what,
				.from = from,
				.to = to,
			};
		if (place->what == what && !strcmp(place->from, from) &&
		    !strcmp(place->to, to))
			return place;
	}
	return NULL;
}

static void note(struct holder *holder, const char *to)
{
	struct place *place = find_place(holder->what, holder->where, to);
	/* CPUs' clocks may differ by a little. */
	s64 time = ksm_hold_clock() - holder->since;

	if (!place) {
		missed++;
		return;
	}
	place->longest = max(place->longest, time);
	place->times++;
}

/**
 * ksm_hold_begin - note that a lock was taken
 * @what: the kind
 * @where: the function that took it
 */
void ksm_hold_begin(enum ksm_hold what, const char *where)
{
	struct holder *holder;

	spin_lock(&holds_lock);
	holder = find_holder(current, what);
	if (!holder) {
		holder = find_holder(NULL, what);
		if (holder)
			*holder = (struct holder){
				.task = current,
				.what = what,
				.where = where,
				.since = ksm_hold_clock(),
			};
	}
	if (holder)
		holder->depth++;
	else
		missed++;
	spin_unlock(&holds_lock);
}

/**
 * ksm_hold_end - note that a lock is released
 * @what: the kind
 * @where: the function that releases it
 */
void ksm_hold_end(enum ksm_hold what, const char *where)
{
	struct holder *holder;

	spin_lock(&holds_lock);
	holder = find_holder(current, what);
	/* NULL: it was taken before timing began, or not by KSM. */
	if (holder && !--holder->depth) {
		note(holder, where);
		holder->task = NULL;
	}
	spin_unlock(&holds_lock);
}

/**
 * ksm_hold_renew - note that a lock is held and nobody waits for it
 * @what: the kind
 * @where: the function that asked
 */
void ksm_hold_renew(enum ksm_hold what, const char *where)
{
	struct holder *holder;

	spin_lock(&holds_lock);
	holder = find_holder(current, what);
	if (holder) {
		note(holder, where);
		holder->where = where;
		holder->since = ksm_hold_clock();
	}
	spin_unlock(&holds_lock);
}

/**
 * ksm_hold_exempt - do not count time that the base spends
 * @since: when that time began
 */
void ksm_hold_exempt(u64 since)
{
	struct holder *holder;
	u64 time;

	if (!READ_ONCE(ksm_holds_timed))
		return;
	spin_lock(&holds_lock);
	time = ksm_hold_clock() - since;
	for (holder = holders; holder < holders + HOLDERS_MAX; holder++)
		if (holder->task == current)
			holder->since += time;
	spin_unlock(&holds_lock);
}

static int holds_show(struct seq_file *file, void *unused)
{
	struct place *place;

	spin_lock(&holds_lock);
	for (place = places; place < places + PLACES_MAX && place->from; place++)
		seq_printf(file, "%s %s %s %lld %lu\n", names[place->what],
			   place->from, place->to, place->longest, place->times);
	if (missed)
		seq_printf(file, "missed %lu\n", missed);
	spin_unlock(&holds_lock);
	return 0;
}

static int holds_open(struct inode *inode, struct file *file)
{
	/*
	 * Room for everything, so that the lock is not held for a second
	 * attempt.
	 */
	return single_open_size(file, holds_show, NULL, PLACES_MAX * 128);
}

static ssize_t holds_write(struct file *file, const char __user *buffer,
			   size_t count, loff_t *at)
{
	bool on;
	int err = kstrtobool_from_user(buffer, count, &on);

	if (err)
		return err;
	spin_lock(&holds_lock);
	if (on) {
		memset(holders, 0, sizeof(holders));
		memset(places, 0, sizeof(places));
		missed = 0;
	}
	WRITE_ONCE(ksm_holds_timed, on);
	spin_unlock(&holds_lock);
	return count;
}

static const struct file_operations holds_fops = {
	.owner = THIS_MODULE,
	.open = holds_open,
	.read = seq_read,
	.write = holds_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init holds_init(void)
{
	debugfs_create_file("ksm_holds", 0600, NULL, NULL, &holds_fops);
	return 0;
}
late_initcall(holds_init);
