// SPDX-License-Identifier: GPL-2.0
/*
 * The advisor: sets pages_to_scan so that a full scan takes the time that it
 * is meant to take.
 *
 * What a full scan cost is taken apart into what pages_to_scan does not change,
 * the pages it went through, the CPU time for them and the length of a sleep,
 * and from these the value follows that would have met the goal. It does not
 * depend on the value that was in force, so there is nothing that could swing;
 * a load that changes is followed by three quarters of the way at a time.
 */
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/spinlock.h>
#include <trace/events/ksm.h>

#include "ksm.h"

/* The value that "none" begins with. */
#define DEFAULT_PAGES_TO_SCAN	100
/* A target beyond this is never reached, s: far from where ns overflow. */
#define TARGET_MAX		1000000000ULL

/**
 * struct load - what was done since the full scan began
 * @pages: of the budget that were used up
 * @rounds: budgets that were begun, each of them followed by a sleep
 * @cpu: CPU time of all workers, ns
 * @wall: time that went by, ns
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
static u64 overdue;	/* when not to wait for the end of the scan any longer */
static unsigned long scans;	/* full scans that were complete then */

static u64 per_cent(u64 part, u64 whole)
{
	return div64_u64(part * 100, whole ?: 1);
}

/* How long a full scan with this load ought to take, ns. */
static u64 goal(const struct load *load, const struct ksm_settings *set)
{
	u64 time = min_t(u64, READ_ONCE(set->advisor_target_scan_time),
			 TARGET_MAX);

	/* Of more than that much of a CPU nothing is left for others. */
	return max(time * NSEC_PER_SEC,
		   div_u64(load->cpu * 100,
			   READ_ONCE(set->advisor_max_cpu) ?: 1));
}

/* The pages_to_scan that would have met the goal. */
static u64 ideal(const struct load *load, const struct ksm_settings *set)
{
	unsigned int threads = READ_ONCE(set->scan_threads);
	u64 busy = div_u64(load->cpu, threads);
	u64 time = goal(load, set), sleep, rounds;

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
static unsigned int advise(const struct load *load,
			   const struct ksm_settings *set)
{
	u64 most = min_t(u64, READ_ONCE(set->advisor_max_pages_to_scan),
			 UINT_MAX);
	u64 pages = min(ideal(load, set), most), now = set->pages_to_scan;

	/* Rounded so that the rest of the way is gone, too. */
	if (pages > now)
		pages = now + div_u64((pages - now) * 3 + 3, 4);
	else
		pages = now - div_u64((now - pages) * 3 + 3, 4);
	/* With none at all there would be no full scan to learn from any more. */
	pages = max3(pages, (u64)READ_ONCE(set->advisor_min_pages_to_scan),
		     1ULL);
	return min(pages, most);
}

static void apply(const struct load *load)
{
	unsigned int pages = advise(load, &ksm_settings);

	WRITE_ONCE(ksm_settings.pages_to_scan, pages);
	trace_ksm_advisor(div_u64(load->wall, NSEC_PER_SEC), pages,
			  per_cent(load->cpu, load->wall));
}

static void start_over(u64 now)
{
	load = (struct load){ };
	began = now;
	overdue = now + goal(&load, &ksm_settings);
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
		/* As if it had slept before, as it will after all others. */
		start_over(now - cpu - READ_ONCE(ksm_settings.sleep_millisecs) *
			   (u64)NSEC_PER_MSEC);
	}
	load.pages += pages;
	load.cpu += cpu;
	load.rounds++;
	load.wall = now - began;
	if (ksm_full_scans() != scans) {
		apply(&load);
		start_over(now);
	} else if (now > overdue) {
		/* At least as much again is to come: it may be far more. */
		struct load twice = {
			.pages = load.pages * 2,
			.rounds = load.rounds * 2,
			.cpu = load.cpu * 2,
			.wall = load.wall * 2,
		};

		apply(&twice);
		overdue = now + load.wall;
	}
	spin_unlock(&advisor_lock);
}

/**
 * ksm_advisor_set_mode - let the advisor set pages_to_scan, or the user
 * @mode: who is to
 *
 * pages_to_scan begins anew with a value that suits the mode.
 *
 * Context: ksm_control held.
 */
void ksm_advisor_set_mode(enum ksm_advisor_mode mode)
{
	unsigned long pages = DEFAULT_PAGES_TO_SCAN;

	if (mode == ksm_settings.advisor)
		return;
	if (mode == KSM_ADVISOR_SCAN_TIME)
		pages = ksm_settings.advisor_min_pages_to_scan;

	spin_lock(&advisor_lock);
	began = 0;
	WRITE_ONCE(ksm_settings.advisor, mode);
	WRITE_ONCE(ksm_settings.pages_to_scan, min_t(unsigned long, pages, UINT_MAX));
	spin_unlock(&advisor_lock);
}

/**
 * ksm_advisor_set_pages - the user sets pages_to_scan
 * @pages: the value
 *
 * Context: ksm_control held.
 * Return: 0, or -EINVAL if it is the advisor's to set.
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
