// SPDX-License-Identifier: GPL-2.0
/*
 * What all processes of a run share: its memory, numbers that the seed
 * determines, and the places for lives; see stress.h.
 */

#include "stress.h"

struct stress_shared *shared;
int shared_fd = -1;
struct life *me;

uint64_t derive(uint64_t seed, uint64_t n)
{
	uint64_t x = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

uint64_t draw(uint64_t *state, uint64_t below)
{
	*state = derive(*state, 0);
	return *state % below;
}

void life_begin(struct life *life, int parent)
{
	life->pid = 0;
	life->parent = parent;
	life->depth = parent < 0 ? 0 : shared->life[parent].depth + 1;
	life->writers_stop = false;
	life->owner = OWNER_FIRST + __atomic_fetch_add(&shared->owners, 1, __ATOMIC_RELAXED);
	life->version = 0;
	life->nr_ops = 0;
	life->writes = 0;
	life->reads = 0;
}

struct life *life_new(int parent)
{
	int i;

	for (i = FIRST_CHILD; i < LIVES; i++) {
		if (__atomic_exchange_n(&shared->life[i].used, 1, __ATOMIC_ACQUIRE))
			continue;
		life_begin(&shared->life[i], parent);
		return &shared->life[i];
	}
	return NULL;
}

void life_free(struct life *life)
{
	__atomic_add_fetch(&shared->writes, life->writes, __ATOMIC_RELAXED);
	__atomic_add_fetch(&shared->reads, life->reads, __ATOMIC_RELAXED);
	__atomic_add_fetch(&shared->ended, 1, __ATOMIC_RELAXED);
	life->pid = 0;
	__atomic_store_n(&life->used, 0, __ATOMIC_RELEASE);
}
