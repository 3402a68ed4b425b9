// SPDX-License-Identifier: GPL-2.0
/*
 * The advisor: sets pages_to_scan so that a full scan takes the time that it
 * should.
 *
 * The cost of a full scan is split into parts that pages_to_scan does not
 * change: the pages visited, the CPU time for them, and the length of a sleep.
 * They give the value that would have met the goal. It does not depend on the
 * value that was in use, so it cannot oscillate. When the load changes, the
 * advisor moves three quarters of the way to the new value at a time.
 */
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/spinlock.h>
#include <trace/events/ksm.h>

#include "advisor.h"
#include "ksm.h"
#include "registry.h"

/* The value that "none" begins with. */
#define DEFAULT_PAGES_TO_SCAN	100
/*
 * A target beyond this is never reached. In seconds, and far from where ns
 * overflow.
 */
#define TARGET_MAX		1000000000ULL

/**
 * struct load - what was done since the full scan began
 * @pages: how much of the budget was used
 * @rounds: budgets that were begun; a sleep follows each
 * @cpu: CPU time of all workers, ns
 * @wall: time that has passed, ns
 */
struct load {
	u64 pages;
	u64 rounds;
	u64 cpu;
	u64 wall;
};

/* Guards what follows, and the writers of settings.pages_to_scan. */
static DEFINE_SPINLOCK(advisor_lock);
static struct load load;
static u64 began;	/* when it began, ns; 0: with the next round */
static u64 overdue;	/* when to stop waiting for the end of the scan */
static unsigned long scans;	/* full scans that were complete then */

static u64 advisor_per_cent(u64 part, u64 whole)
{
	return div64_u64(part * 100, whole ?: 1);
}

/* How long a full scan with this load ought to take, ns. */
static u64 advisor_goal(const struct load *load, const struct ksm_settings *set)
{
	u64 time = min_t(u64, READ_ONCE(set->advisor_target_scan_time),
			 TARGET_MAX);

	/* Using more of a CPU than this would leave nothing for others. */
	return max(time * NSEC_PER_SEC,
		   div_u64(load->cpu * 100,
			   READ_ONCE(set->advisor_max_cpu) ?: 1));
}

/* The pages_to_scan that would have met the goal. */
static u64 advisor_ideal(const struct load *load, const struct ksm_settings *set)
{
	unsigned int threads = READ_ONCE(set->scan_threads);
	u64 busy = div_u64(load->cpu, threads);
	u64 time = advisor_goal(load, set), sleep, rounds;

	/* Without sleeps, pages_to_scan makes no difference. */
	if (load->wall <= busy || !load->rounds)
		return set->pages_to_scan;
	if (time <= busy)
		return READ_ONCE(set->advisor_max_pages_to_scan);
	sleep = div64_u64((load->wall - busy) * threads, load->rounds);
	rounds = div64_u64(time - busy, sleep ?: 1) ?: 1;
	return div64_u64(load->pages + rounds - 1, rounds);
}

/* The next pages_to_scan. */
static unsigned int advisor_advise(const struct load *load,
				   const struct ksm_settings *set)
{
	u64 most = min_t(u64, READ_ONCE(set->advisor_max_pages_to_scan),
			 UINT_MAX);
	u64 pages = min(advisor_ideal(load, set), most), now = set->pages_to_scan;

	/* Round up, so that the last step reaches the value. */
	if (pages > now)
		pages = now + div_u64((pages - now) * 3 + 3, 4);
	else
		pages = now - div_u64((now - pages) * 3 + 3, 4);
	/* With no pages at all there would be no more full scans to learn from. */
	pages = max3(pages, (u64)READ_ONCE(set->advisor_min_pages_to_scan),
		     1ULL);
	return min(pages, most);
}

static void advisor_apply(const struct load *load)
{
	unsigned int pages = advisor_advise(load, &ksm_settings);

	WRITE_ONCE(ksm_settings.pages_to_scan, pages);
	trace_ksm_advisor(div_u64(load->wall, NSEC_PER_SEC), pages,
			  advisor_per_cent(load->cpu, load->wall));
}

static void advisor_start_over(u64 now)
{
	load = (struct load){ };
	began = now;
	overdue = now + advisor_goal(&load, &ksm_settings);
	scans = ksm_full_scans();
}

/**
 * ksm_advisor_restart - forget the current full scan: there was a break in it
 */
void ksm_advisor_restart(void)
{
	spin_lock(&advisor_lock);
	began = 0;
	spin_unlock(&advisor_lock);
}

/**
 * ksm_advisor_account - a worker has scanned, and is about to sleep
 * @pages: how much of its budget it used up
 * @cpu: CPU time that it took, ns
 */
void ksm_advisor_account(unsigned long pages, u64 cpu)
{
	u64 now = ktime_get_ns();

	if (READ_ONCE(ksm_settings.advisor) == KSM_ADVISOR_NONE)
		return;

	spin_lock(&advisor_lock);
	if (ksm_settings.advisor == KSM_ADVISOR_NONE) {
		spin_unlock(&advisor_lock);
		return;
	}
	if (!began) {
		/*
		 * As if it had slept before this round, as it will after all
		 * others.
		 */
		advisor_start_over(now - cpu - READ_ONCE(ksm_settings.sleep_millisecs) *
				   (u64)NSEC_PER_MSEC);
	}
	load.pages += pages;
	load.cpu += cpu;
	load.rounds++;
	load.wall = now - began;
	if (ksm_full_scans() != scans) {
		advisor_apply(&load);
		advisor_start_over(now);
	} else if (now > overdue) {
		/* At least as much again is left to do, perhaps far more. */
		struct load twice = {
			.pages = load.pages * 2,
			.rounds = load.rounds * 2,
			.cpu = load.cpu * 2,
			.wall = load.wall * 2,
		};

		advisor_apply(&twice);
		overdue = now + load.wall;
	}
	spin_unlock(&advisor_lock);
}

/**
 * ksm_advisor_set_mode - let the advisor set pages_to_scan, or the user
 * @mode: who sets it from now on
 *
 * pages_to_scan starts again with a value that suits the mode.
 */
void ksm_advisor_set_mode(enum ksm_advisor_mode mode)
{
	unsigned long pages = DEFAULT_PAGES_TO_SCAN;

	if (mode == KSM_ADVISOR_SCAN_TIME)
		pages = READ_ONCE(ksm_settings.advisor_min_pages_to_scan);

	spin_lock(&advisor_lock);
	if (mode != ksm_settings.advisor) {
		began = 0;
		WRITE_ONCE(ksm_settings.advisor, mode);
		WRITE_ONCE(ksm_settings.pages_to_scan,
			   min_t(unsigned long, pages, UINT_MAX));
	}
	spin_unlock(&advisor_lock);
}

/**
 * ksm_advisor_set_pages - the user sets pages_to_scan
 * @pages: the value
 *
 * Return: 0, or -EINVAL if the advisor sets it.
 */
int ksm_advisor_set_pages(unsigned int pages)
{
	int err = -EINVAL;

	spin_lock(&advisor_lock);
	if (ksm_settings.advisor == KSM_ADVISOR_NONE) {
		WRITE_ONCE(ksm_settings.pages_to_scan, pages);
		err = 0;
	}
	spin_unlock(&advisor_lock);
	return err;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/advisor_kunit.c"
#endif
