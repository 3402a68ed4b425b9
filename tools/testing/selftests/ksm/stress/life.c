// SPDX-License-Identifier: GPL-2.0
/*
 * The lives of processes: owners, whose threads write and check while
 * operations are made on their pages; what an owner becomes by exec; and the
 * one that spreads chaos on the machine. See stress.h.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stress.h"

#define WRITERS 2

/* Operations of an owner before another one takes its place */
#define OPS_LEAST 60
#define OPS_MORE 240

static bool flips_now(size_t i)
{
	return shared->flip && life_index(me) == 1 && i < SMALL &&
	       seconds_now() - shared->start > 1 && shared->flipped_page < 0;
}

static void *writer(void *arg)
{
	uint64_t random = derive(me->seed, 1000 + (uintptr_t)arg);

	while (!me->writers_stop && !stress_stops()) {
		size_t i = draw(&random, PAGES);
		uint64_t kind = draw(&random, 4);

		pages_lock(i, 1);
		page_check(i);
		if (kind) {
			struct identity id = page_draw_identity(i, &random);

			page_write(i, &id);
			if (kind == 1)
				page_check(i);
			if (flips_now(i))
				page_flip(i);
		}
		pages_unlock(i, 1);
		/* Pauses, so that some pages come to rest and are merged. */
		if (draw(&random, 12) == 0)
			sleep_ms(draw(&random, 16));
	}
	return NULL;
}

static void advise_all(void)
{
	struct op_args args = { .first = 0, .count = PAGES };

	if (op_mergeable(&args))
		stress_fail("MADV_MERGEABLE is refused");
}

static void live(uint64_t ops)
{
	pthread_t thread[WRITERS];
	uint64_t n;
	size_t i;

	pages_map();
	advise_all();
	for (i = 0; i < WRITERS; i++)
		if (pthread_create(&thread[i], NULL, writer, (void *)i))
			stress_fail("pthread_create: %m");
	for (n = 0; n < ops && !stress_stops(); n++) {
		op_run(op_choose(ON_PAGES, me->seed, n), derive(me->seed, 5000 + n));
		children_reap(false);
		if (n % 32 == 31)
			pages_check_all();
	}
	__atomic_store_n(&me->writers_stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	children_reap(true);
	pages_check_all();
}

void life_owner(int index, uint64_t number)
{
	me = &shared->life[index];
	life_begin(me, -1);
	me->pid = getpid();
	me->seed = derive(derive(shared->seed, index), number);
	guard_install();
	live(OPS_LEAST + derive(me->seed, 2) % OPS_MORE);
	_exit(0);
}

/* With the child's seed, which its life's memory kept. */
void life_after_exec(int index)
{
	me = &shared->life[index];
	me->pid = getpid();
	guard_install();
	live(2 + derive(me->seed, 2) % 12);
	_exit(0);
}

void life_chaos(void)
{
	uint64_t n;

	me = &shared->life[CHAOS];
	life_begin(me, -1);
	me->pid = getpid();
	me->seed = derive(shared->seed, CHAOS);
	for (n = 0; !stress_stops(); n++) {
		uint64_t random = derive(me->seed, 5000 + n);

		op_run(op_choose(ON_SYSTEM, me->seed, n), random);
		/* Flat out it is between the operations. */
		ksm_set("run", 1);
		sleep_ms(draw(&random, 20));
	}
	_exit(0);
}
