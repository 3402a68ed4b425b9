// SPDX-License-Identifier: GPL-2.0
/*
 * The workers: the threads that scan, ksmd and as many more as scan_threads
 * asks for, and how they are paced.
 *
 * Nobody leads. Each worker scans its part of pages_to_scan, in windows that
 * nobody else has, and sleeps. ksmd, the first and the one that always is, also
 * frees what mms that have exited leave.
 */
#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/sched/cputime.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "ksm.h"

/**
 * struct worker - a thread that scans
 * @thread: the thread
 * @number: 0: ksmd
 * @scan: its state
 * @window: the window that it has, kept while it sleeps
 * @budget: pages left until it sleeps
 * @scans: full scans that were complete when it woke
 *
 * All but @thread is the thread's own.
 */
struct worker {
	struct task_struct *thread;
	unsigned int number;
	struct ksm_scan *scan;
	struct ksm_window window;
	unsigned long budget;
	unsigned long scans;
};

/* Those below settings.scan_threads. Under ksm_control. */
static struct worker *workers[KSM_THREADS_MAX];

/* Workers wait here: for something to do, and for the end of their sleep. */
DECLARE_WAIT_QUEUE_HEAD(ksm_wait);

/* Whether what exited mms have left can be freed is not told; so look again. */
#define HELD_RETRY	(2 * HZ)

/**
 * enum outcome - how a round of scanning ended
 * @PAUSE: the budget is used up, the full scan complete, or something else
 *	wants to be done
 * @STARVED: all windows of this full scan are with others
 */
enum outcome { PAUSE, STARVED };

static bool should_scan(void)
{
	return ksm_runs(KSM_RUN_MERGE) && !ksm_registry_idle();
}

static bool should_stop(struct worker *worker)
{
	return worker->number && kthread_should_stop();
}

/* This worker's part of pages_to_scan. */
static unsigned long budget_of(struct worker *worker)
{
	unsigned int pages = READ_ONCE(ksm_settings.pages_to_scan);
	unsigned int threads = READ_ONCE(ksm_settings.scan_threads);

	return pages / threads + (worker->number < pages % threads);
}

/* It goes through all of the trees, and nobody waits for it. */
static void sweep(void)
{
	static unsigned long last = INITIAL_JIFFIES - HELD_RETRY;

	if (!ksm_stable_unswept() ||
	    time_before(jiffies, READ_ONCE(last) + HELD_RETRY))
		return;
	WRITE_ONCE(last, jiffies);
	ksm_stable_sweep();
}

/*
 * Workers do not sleep in step. If each began a full scan when it wakes, little
 * memory would be scanned by all of them where one is asked for; and so it would
 * if one began when another has just completed the last.
 */
static bool may_begin(struct worker *worker)
{
	if (!READ_ONCE(ksm_settings.sleep_millisecs))
		return true;
	return !worker->number && worker->scans == ksm_full_scans();
}

static enum outcome scan_windows(struct worker *worker)
{
	struct ksm_window *window = &worker->window;
	bool completed;
	int err = 0;

	while (worker->budget && ksm_runs(KSM_RUN_MERGE) &&
	       !freezing(current) && !should_stop(worker) &&
	       !rwsem_is_contended(&ksm_gate)) {
		if (!window->slot)
			err = ksm_window_get(window, may_begin(worker));
		if (err)
			return err == -EAGAIN ? STARVED : PAUSE;
		if (!ksm_scan_window(worker->scan, window, &worker->budget))
			continue;
		completed = ksm_window_put(window);
		ksm_scan_flush(worker->scan);
		if (completed) {
			sweep();
			break;
		}
	}
	return PAUSE;
}

static enum outcome scan(struct worker *worker)
{
	unsigned long budget = worker->budget;
	enum outcome outcome;
	u64 cpu;

	cpu = task_sched_runtime(current);
	down_read(&ksm_gate);
	outcome = scan_windows(worker);
	up_read(&ksm_gate);
	cpu = task_sched_runtime(current) - cpu;
	ksm_advisor_account(budget - worker->budget, cpu);
	return outcome;
}

/* ------------------------------------------------------ mms that have exited */

/* Is the window that this worker has in an mm that exited meanwhile? */
static bool holds_exited(struct worker *worker)
{
	struct ksm_mm_slot *slot = worker->window.slot;

	return slot && ksm_mm_exiting(slot->slot.mm);
}

static bool reap_pending(struct worker *worker)
{
	return holds_exited(worker) || (!worker->number && ksm_reap_pending());
}

static void reap(struct worker *worker)
{
	if (!reap_pending(worker) && !ksm_reap_held() && !ksm_stable_unswept())
		return;

	down_read(&ksm_gate);
	if (holds_exited(worker))
		ksm_window_put(&worker->window);
	if (!worker->number) {
		ksm_reap(false);
		sweep();
	}
	up_read(&ksm_gate);
}

/* ----------------------------------------------------------------- pacing */

static bool pause_ends(struct worker *worker, unsigned int length)
{
	return length != READ_ONCE(ksm_settings.sleep_millisecs) ||
	       !ksm_runs(KSM_RUN_MERGE) || should_stop(worker);
}

/*
 * Sleeps between two budgets. A new length of the sleep takes effect at once;
 * an exit does not cut it short.
 */
static void pause_scan(struct worker *worker)
{
	unsigned int length = READ_ONCE(ksm_settings.sleep_millisecs);
	unsigned long end = jiffies + msecs_to_jiffies(length);

	for (;;) {
		long left = end - jiffies;

		if (left <= 0)
			break;
		wait_event_freezable_timeout(ksm_wait,
					     pause_ends(worker, length) ||
					     reap_pending(worker), left);
		if (pause_ends(worker, length))
			break;
		if (reap_pending(worker))
			reap(worker);
	}
}

/* Waits until the others have scanned what is left of the full scan. */
static void wait_for_others(struct worker *worker)
{
	wait_event_freezable(ksm_wait, ksm_window_available() ||
			     !should_scan() || should_stop(worker) ||
			     reap_pending(worker));
}

/* Waits for something to do. */
static void wait_for_work(struct worker *worker)
{
	bool look_again = !worker->number &&
			  (ksm_reap_held() || ksm_stable_unswept());

	wait_event_freezable_timeout(ksm_wait, should_scan() ||
				     reap_pending(worker) ||
				     should_stop(worker),
				     look_again ? HELD_RETRY :
						  MAX_SCHEDULE_TIMEOUT);
	try_to_freeze();
}

static void work(struct worker *worker)
{
	if (!worker->budget)
		worker->budget = budget_of(worker);
	worker->scans = ksm_full_scans();
	/* Too little for all: the others are not to wait for this window. */
	if (!worker->budget && worker->window.slot)
		ksm_window_abandon(&worker->window);
	/* The end of a full scan is the end of a round, for all of them. */
	if (scan(worker) == STARVED)
		wait_for_others(worker);
	try_to_freeze();
	cond_resched();
	pause_scan(worker);
	worker->budget = 0;
}

static int worker_thread(void *arg)
{
	struct worker *worker = arg;

	set_freezable();

	while (!should_stop(worker)) {
		if (reap_pending(worker) || (!worker->number && !should_scan()))
			reap(worker);
		if (should_scan()) {
			work(worker);
			continue;
		}
		if (worker->window.slot)
			ksm_window_abandon(&worker->window);
		worker->budget = 0;
		ksm_advisor_restart();
		wait_for_work(worker);
	}
	if (worker->window.slot)
		ksm_window_abandon(&worker->window);
	return 0;
}

/* -------------------------------------------------------- start and stop */

static void worker_free(struct worker *worker)
{
	ksm_scan_free(worker->scan);
	kfree(worker);
}

static struct worker *worker_start(unsigned int number)
{
	struct worker *worker = kzalloc(sizeof(*worker), GFP_KERNEL);
	struct task_struct *thread;

	if (!worker)
		return ERR_PTR(-ENOMEM);
	worker->number = number;
	worker->scan = ksm_scan_alloc();
	if (!worker->scan) {
		kfree(worker);
		return ERR_PTR(-ENOMEM);
	}
	thread = number ? kthread_create(worker_thread, worker, "ksmd/%u", number) :
			  kthread_create(worker_thread, worker, "ksmd");
	if (IS_ERR(thread)) {
		worker_free(worker);
		return ERR_CAST(thread);
	}
	worker->thread = thread;
	set_user_nice(thread, 5);
	wake_up_process(thread);
	return worker;
}

/* Its window becomes part of the next one. */
static void worker_stop(struct worker *worker)
{
	kthread_stop(worker->thread);
	worker_free(worker);
}

/**
 * ksm_workers_init - start ksmd
 */
int __init ksm_workers_init(void)
{
	workers[0] = worker_start(0);
	return PTR_ERR_OR_ZERO(workers[0]);
}

/**
 * ksm_workers_set - have this many workers
 * @threads: how many, 1 to %KSM_THREADS_MAX
 *
 * Context: ksm_control held; sleeps until those too many have stopped.
 * Return: 0, or an error and nothing has changed.
 */
int ksm_workers_set(unsigned int threads)
{
	unsigned int running = ksm_settings.scan_threads, had = running;

	for (; running < threads; running++) {
		struct worker *worker = worker_start(running);

		if (IS_ERR(worker)) {
			while (running > had)
				worker_stop(workers[--running]);
			return PTR_ERR(worker);
		}
		workers[running] = worker;
	}
	/* First those that stay take over. */
	WRITE_ONCE(ksm_settings.scan_threads, threads);
	while (running > threads)
		worker_stop(workers[--running]);
	return 0;
}
