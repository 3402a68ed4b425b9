// SPDX-License-Identifier: GPL-2.0
/*
 * The workers: the threads that scan, and their pace. There are ksmd and as
 * many more as scan_threads asks for.
 *
 * There is no leader. Each worker scans its part of pages_to_scan, in windows
 * that nobody else has, and sleeps. ksmd is the first worker and always exists.
 * It also frees what exited mms leave.
 */
#include <linux/delay.h>
#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/cputime.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "advisor.h"
#include "key.h"
#include "ksm.h"
#include "reap.h"
#include "registry.h"
#include "scan.h"
#include "sweep.h"
#include "window.h"
#include "worker.h"

/**
 * struct worker - a thread that scans
 * @thread: the thread
 * @number: 0: ksmd
 * @scan: its state
 * @window: its window, which it keeps while it sleeps
 * @budget: pages left until it sleeps
 * @credit: of ksmd's budgets, what is for reaping; in pages / %REAP_SHARE.
 *	Less than 0: so much is to come before it goes on with what is costly
 * @refilled: when that got more without a budget, jiffies
 * @reaping: CPU time that has yet to be accounted for
 * @scans: full scans that were complete when it woke up
 *
 * All but @thread is the thread's own.
 */
struct worker {
	struct task_struct *thread;
	unsigned int number;
	struct ksm_scan *scan;
	struct ksm_window window;
	unsigned long budget;
	long credit;
	unsigned long refilled;
	u64 reaping;
	unsigned long scans;
};

/* Those below settings.scan_threads */
static struct worker *workers[KSM_THREADS_MAX];
static DEFINE_MUTEX(workers_lock);

/* Nothing reports that a node can be freed now, so look again. */
#define SWEEP_RETRY	(2 * HZ)
/* ksmd may reap for this long before it scans again. */
#define REAP_SLICE	(HZ / 50 + 1)
/* Looking at what others need of exited mms may use 1/REAP_SHARE of the budget. */
#define REAP_SHARE	4
/* When there is nothing to scan: how much to look at, and how often. */
#define REAP_IDLE	1024UL
#define REAP_IDLE_PAUSE	(HZ / 50 + 1)

/* ksmd is freeing what exited mms leave, and does not begin a scan meanwhile. */
static bool ksmd_reaps;

/* Time between two tries for busy mmap_locks if nothing else is left, us. */
#define BUSY_WAIT	1000

/**
 * enum outcome - how a round of scanning ended
 * @PAUSE: the budget is used up, the full scan is complete, or there is
 *	something else to do
 * @STARVED: others have all windows of this full scan
 * @BUSY: only mms whose mmap_lock is busy are left of it
 */
enum outcome { PAUSE, STARVED, BUSY };

static bool worker_should_scan(void)
{
	return ksm_runs(KSM_RUN_MERGE) && !ksm_registry_idle() &&
	       ksm_fingerprint_ready();
}

static bool worker_should_stop(struct worker *worker)
{
	return worker->number && kthread_should_stop();
}

/* This worker's part of pages_to_scan. */
static unsigned long worker_budget(struct worker *worker)
{
	unsigned int pages = READ_ONCE(ksm_settings.pages_to_scan);
	unsigned int threads = READ_ONCE(ksm_settings.scan_threads);

	return pages / threads + (worker->number < pages % threads);
}

/* Most nodes stay as long as others need them, and nobody waits for this. */
static void worker_sweep(void)
{
	static unsigned long last = INITIAL_JIFFIES - SWEEP_RETRY;

	if (!ksm_stable_unswept() ||
	    jiffies - READ_ONCE(last) < SWEEP_RETRY)
		return;
	WRITE_ONCE(last, jiffies);
	ksm_stable_sweep(false);
}

/*
 * Workers do not sleep in step. If each of them began a full scan when it wakes
 * up, all of them would scan a small memory where one scan is asked for. The
 * same would happen if one began when another has just completed the last scan.
 */
static bool worker_may_begin(struct worker *worker)
{
	if (!READ_ONCE(ksm_settings.sleep_millisecs))
		return true;
	return (!worker->number || READ_ONCE(ksmd_reaps)) &&
	       worker->scans == ksm_full_scans();
}

/* Each try costs one page of the budget. */
static enum outcome worker_busy(struct worker *worker)
{
	worker->budget -= !!worker->budget;
	return BUSY;
}

static enum outcome worker_scan_windows(struct worker *worker)
{
	struct ksm_window *window = &worker->window;
	bool completed;
	int err = 0;

	while (worker->budget && ksm_runs(KSM_RUN_MERGE) &&
	       !freezing(current) && !worker_should_stop(worker) &&
	       !rwsem_is_contended(&ksm_gate)) {
		/* A window may consist only of VMAs to pass. */
		cond_resched();
		if (!window->slot)
			err = ksm_window_get(window, worker_may_begin(worker));
		if (err == -EBUSY)
			return worker_busy(worker);
		if (err)
			return err == -EAGAIN ? STARVED : PAUSE;
		if (!ksm_scan_window(worker->scan, window, &worker->budget)) {
			if (window->busy && ksm_window_defer(window))
				return worker_busy(worker);
			if (!window->spent)
				continue;
			completed = ksm_window_abandon(window);
		} else {
			completed = ksm_window_put(window);
		}
		if (completed) {
			worker_sweep();
			break;
		}
	}
	return PAUSE;
}

/*
 * The gate may stay closed for long, as it does for run=2. Waiting for it must
 * not count as load, be reported as a hung task, or keep the machine from being
 * suspended. Returns false if the worker has to stop.
 */
static bool worker_enter_gate(struct worker *worker)
{
	bool in = false;

	while (!in && !worker_should_stop(worker))
		/* The thread that opens the gate wakes us. */
		wait_event_freezable_timeout(ksm_wait,
					     (in = down_read_trylock(&ksm_gate)) ||
					     worker_should_stop(worker), HZ);
	return in;
}

/* Looks at what children of exited mms need. Scanning has priority, but shares. */
static void worker_reap_again(struct worker *worker)
{
	/* The sum of two must not overflow, also on 32 bit. */
	long budget = min(worker->budget, INT_MAX / 2UL);

	worker->credit = min(worker->credit + budget, max(budget, REAP_SHARE));
	while (worker->credit >= REAP_SHARE && !rwsem_is_contended(&ksm_gate) &&
	       !freezing(current)) {
		unsigned long cost = ksm_reap_again(worker->credit / REAP_SHARE);

		if (!cost)
			break;
		worker->credit -= cost * REAP_SHARE;
		worker->budget -= min(worker->budget, cost);
		cond_resched();
	}
}

static enum outcome worker_scan(struct worker *worker)
{
	unsigned long budget = worker->budget;
	enum outcome outcome;
	u64 cpu;

	if (!worker_enter_gate(worker))
		return PAUSE;
	cpu = task_sched_runtime(current);
	if (!worker->number)
		worker_reap_again(worker);
	outcome = worker_scan_windows(worker);
	up_read(&ksm_gate);
	cpu = task_sched_runtime(current) - cpu + worker->reaping;
	worker->reaping = 0;
	ksm_advisor_account(budget - worker->budget, cpu);
	return outcome;
}

/* ------------------------------------------------------ mms that have exited */

/* Is the window of this worker in an mm that has exited meanwhile? */
static bool worker_holds_exited(struct worker *worker)
{
	struct ksm_mm_slot *slot = worker->window.slot;

	return slot && ksm_mm_exiting(slot->slot.mm);
}

static bool worker_reap_pending(struct worker *worker)
{
	return worker_holds_exited(worker) || (!worker->number && ksm_reap_pending());
}

static bool worker_may_reap_on(unsigned long end)
{
	cond_resched();
	return time_before(jiffies, end) && !rwsem_is_contended(&ksm_gate) &&
	       !freezing(current);
}

/* Where nothing is scanned, no budget is there to pay: it gets a fixed one. */
static void worker_refill(struct worker *worker)
{
	long most = REAP_IDLE * REAP_SHARE;

	if ((worker_should_scan() && worker_budget(worker)) ||
	    jiffies - worker->refilled < REAP_IDLE_PAUSE)
		return;
	worker->refilled = jiffies;
	worker->credit = min(worker->credit + most, most);
}

/*
 * What has exited lately, for a while. The gate is held. That costs little, for
 * the pages were scanned; where it is more, budgets have to come first.
 */
static void worker_reap_slice(struct worker *worker, struct ksm_parting *parting)
{
	unsigned long end = jiffies + REAP_SLICE;
	long had, credit;

	worker_refill(worker);
	had = worker->credit / REAP_SHARE;
	credit = had;
	WRITE_ONCE(ksmd_reaps, true);
	while (ksm_reap(parting, &credit) && worker_may_reap_on(end))
		;
	worker->credit -= (had - credit) * REAP_SHARE;
	/* One piece may cost very much: others should not wait for long. */
	worker->credit = max(worker->credit, -(long)(REAP_IDLE * REAP_SHARE));
}

/* No budget pays for this either. */
static void worker_reap_idle(void)
{
	unsigned long end = jiffies + REAP_SLICE, left = REAP_IDLE;

	while (left && worker_may_reap_on(end)) {
		unsigned long cost = ksm_reap_again(left);

		if (!cost)
			break;
		left -= min(left, cost);
	}
}

static void worker_reap(struct worker *worker)
{
	struct ksm_parting parting = { };
	u64 cpu;

	if (!worker_reap_pending(worker) && !ksm_reap_held() && !ksm_stable_unswept())
		return;

	if (!worker_enter_gate(worker))
		return;
	cpu = task_sched_runtime(current);
	if (worker_holds_exited(worker))
		ksm_window_put(&worker->window);
	if (!worker->number) {
		if (ksm_reap_pending())
			worker_reap_slice(worker, &parting);
		if (!worker_should_scan())
			worker_reap_idle();
		worker_sweep();
	}
	up_read(&ksm_gate);
	ksm_part(&parting);
	if (!ksm_reap_pending())
		WRITE_ONCE(ksmd_reaps, false);
	worker->reaping += task_sched_runtime(current) - cpu;
}

/* ----------------------------------------------------------------- pacing */

static bool worker_pause_ends(struct worker *worker, unsigned int length)
{
	return length != READ_ONCE(ksm_settings.sleep_millisecs) ||
	       !ksm_runs(KSM_RUN_MERGE) || worker_should_stop(worker);
}

/*
 * Sleeps between two budgets. A change of the sleep's length takes effect at
 * once; an exit does not end it early.
 */
static void worker_pause(struct worker *worker)
{
	unsigned int length = READ_ONCE(ksm_settings.sleep_millisecs);
	unsigned long end = jiffies + msecs_to_jiffies(length);

	for (;;) {
		long left = end - jiffies;

		if (left <= 0)
			break;
		wait_event_freezable_timeout(ksm_wait,
					     worker_pause_ends(worker, length) ||
					     worker_reap_pending(worker), left);
		if (worker_pause_ends(worker, length))
			break;
		if (worker_reap_pending(worker))
			worker_reap(worker);
		/* If exits never end, the wait above does not sleep. */
		try_to_freeze();
	}
}

/* Waits until the others have scanned the rest of the full scan. */
static void worker_wait_for_others(struct worker *worker)
{
	wait_event_freezable(ksm_wait, ksm_window_available() ||
			     !worker_should_scan() || worker_should_stop(worker) ||
			     worker_reap_pending(worker));
}

/* The gate is not held, so nobody waits for this worker in the meantime. */
static void worker_wait_for_busy(void)
{
	usleep_range_idle(BUSY_WAIT, 2 * BUSY_WAIT);
	try_to_freeze();
}

/* Are there nodes that may become free without a report? */
static bool worker_has_unswept(struct worker *worker)
{
	return !worker->number && ksm_stable_unswept();
}

/* Waits for something to do. */
static void worker_wait_for_work(struct worker *worker)
{
	bool unswept = worker_has_unswept(worker);
	long wait = MAX_SCHEDULE_TIMEOUT;

	if (!worker->number) {
		wait = max_t(long, ksm_reap_wait(), REAP_IDLE_PAUSE);
		if (unswept)
			wait = min_t(long, wait, SWEEP_RETRY);
	}
	wait_event_freezable_timeout(ksm_wait, worker_should_scan() ||
				     worker_reap_pending(worker) ||
				     worker_should_stop(worker) ||
				     (!unswept && worker_has_unswept(worker)), wait);
	try_to_freeze();
}

static void worker_work(struct worker *worker)
{
	enum outcome outcome;

	if (!worker->budget)
		worker->budget = worker_budget(worker);
	worker->scans = ksm_full_scans();
	ksm_scan_drain();
	/*
	 * Too little for all workers: do not make the others wait for this
	 * window.
	 */
	if (!worker->budget && worker->window.slot)
		ksm_window_abandon(&worker->window);
	/* The end of a full scan ends the round of all workers. */
	while ((outcome = worker_scan(worker)) == BUSY)
		worker_wait_for_busy();
	if (outcome == STARVED)
		worker_wait_for_others(worker);
	try_to_freeze();
	cond_resched();
	worker_pause(worker);
	worker->budget = 0;
}

static int worker_thread(void *arg)
{
	struct worker *worker = arg;

	set_freezable();

	while (!worker_should_stop(worker)) {
		if (worker_reap_pending(worker) ||
		    (!worker->number && !worker_should_scan()))
			worker_reap(worker);
		if (worker_should_scan()) {
			worker_work(worker);
			continue;
		}
		if (worker->window.slot)
			ksm_window_abandon(&worker->window);
		worker->budget = 0;
		worker->reaping = 0;
		ksm_advisor_restart();
		worker_wait_for_work(worker);
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
	worker->refilled = jiffies;
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

/* The rest of its window becomes part of the next one. */
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

static int worker_set_number(unsigned int threads)
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
	/* The workers that stay take over first. */
	WRITE_ONCE(ksm_settings.scan_threads, threads);
	while (running > threads)
		worker_stop(workers[--running]);
	return 0;
}

/**
 * ksm_workers_set - have this many workers
 * @threads: how many, 1 to %KSM_THREADS_MAX
 *
 * Context: sleeps until the surplus workers have stopped.
 * Return: 0, or an error and nothing has changed.
 */
int ksm_workers_set(unsigned int threads)
{
	int err;

	if (mutex_lock_interruptible(&workers_lock))
		return -ERESTARTSYS;
	err = worker_set_number(threads);
	mutex_unlock(&workers_lock);
	return err;
}
