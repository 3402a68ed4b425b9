/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Threads with different tasks that race with each other while KSM merges.
 * KSM_RACE_SECONDS sets for how long, KSM_RACE_SEED how.
 */
#ifndef KSM_SELFTEST_SIDES_H
#define KSM_SELFTEST_SIDES_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* One of the sides: a thread that repeats its turn until time is up. */
struct side {
	void (*turn)(struct side *side);
	pthread_t thread;
	uint64_t random;
	char *mem;
	size_t turns;
	size_t bad;
};

#define SIDE(does) { .turn = does }

/* Starts them, and KSM; returns less than 0 if that fails. */
int sides_start(struct side *sides, int n);
/* Waits until the time is up and something was merged, and tells all to stop. */
void sides_run_out(void);
/* Pages that are merged now, in all processes. */
long sides_merged(void);
/* The largest number of them that any side has seen. */
long sides_most_merged(void);
/* The race also goes on, up to its limit, until this count is more than 0. */
void sides_need(const size_t *count);
/* Until there is something to race for, however slow the machine; not for ever. */
void sides_await_merging(long (*merged)(void));

#endif
