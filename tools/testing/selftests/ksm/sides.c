// SPDX-License-Identifier: GPL-2.0
/* Threads that race with each other; see sides.h. */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ksm_env.h"
#include "ksm_util.h"
#include "sides.h"

/* If nothing was merged until time was up, there was no race yet. */
#define MOST_SECONDS 240

static bool stop;
static long most;
static const size_t *needed;
/* Those that race */
static struct side *racing;
static int racers;

static uint64_t seed(void)
{
	static uint64_t value;
	const char *text = getenv("KSM_RACE_SEED");

	if (value)
		return value;
	value = text && *text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
	printf("# KSM_RACE_SEED=%llu\n", (unsigned long long)value);
	fflush(stdout);
	return value;
}

static double seconds(void)
{
	const char *text = getenv("KSM_RACE_SECONDS");

	return text && *text ? atof(text) : 3;
}

static void *take_turns(void *arg)
{
	struct side *side = arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED) && !side->bad) {
		side->turn(side);
		__atomic_add_fetch(&side->turns, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

int sides_start(struct side *sides, int n)
{
	int i;

	racing = sides;
	racers = n;
	for (i = 0; i < n; i++) {
		sides[i].random = seed() + i;
		if (pthread_create(&sides[i].thread, NULL, take_turns, &sides[i]))
			return -1;
	}
	return ksm_set("run", 1);
}

long sides_merged(void)
{
	long sharing = ksm_read("pages_sharing");

	if (sharing > __atomic_load_n(&most, __ATOMIC_RELAXED))
		__atomic_store_n(&most, sharing, __ATOMIC_RELAXED);
	return sharing;
}

void sides_need(const size_t *count)
{
	needed = count;
}

/* Also where all of the time passed before a thread ran at all. */
static bool there_was_a_race(void)
{
	int i;

	for (i = 0; i < racers; i++)
		if (!__atomic_load_n(&racing[i].turns, __ATOMIC_RELAXED) && !racing[i].bad)
			return false;
	return __atomic_load_n(&most, __ATOMIC_RELAXED) &&
	       (!needed || __atomic_load_n(needed, __ATOMIC_RELAXED));
}

void sides_run_out(void)
{
	double start = seconds_now(), end = start + seconds();

	while (seconds_now() < (there_was_a_race() ? end : start + MOST_SECONDS)) {
		sides_merged();
		sleep_ms(10);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
}

void sides_await_merging(long (*merged)(void))
{
	double end = seconds_now() + 2;

	while (merged() <= 0 && seconds_now() < end && !__atomic_load_n(&stop, __ATOMIC_RELAXED))
		sleep_ms(1);
}

long sides_most_merged(void)
{
	return most;
}
