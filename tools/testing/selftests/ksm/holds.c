// SPDX-License-Identifier: GPL-2.0
/* How long KSM holds locks, by its own clock; see holds.h. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "holds.h"
#include "ksm_util.h"

#define HOLDS "/sys/kernel/debug/ksm_holds"

#define LIMIT_NS 20000000UL
#define TRIES 3
/* As many as the kernel tells of. */
#define PLACES_MAX 128

/* Where a kind of lock was taken, and where it was released. */
struct place {
	char kind[16];
	char from[64];
	char to[64];
	/* The longest time of the last try, and the shortest of these of all tries. */
	unsigned long ns;
	unsigned long best;
};

struct places {
	struct place place[PLACES_MAX];
	int nr;
};

/*
 * What the base does with a KSM page: reclaim, migration, memory failure; and
 * the kernel's own check of what KSM knows, see verify.h.
 */
static const char *const exempt[] = { "rmap_walk_items", "collect_procs_ksm", "verify_once" };

bool holds_there(void)
{
	return !access(HOLDS, W_OK);
}

static bool is_limited(const struct place *place)
{
	size_t i;

	/* While others wait for it, they are let through. */
	if (!strcmp(place->kind, "gate"))
		return false;
	for (i = 0; i < sizeof(exempt) / sizeof(*exempt); i++)
		if (!strcmp(place->to, exempt[i]))
			return false;
	return true;
}

static int note_place(struct places *all, const struct place *found)
{
	struct place *place;

	for (place = all->place; place < all->place + all->nr; place++)
		if (!strcmp(place->kind, found->kind) && !strcmp(place->from, found->from) &&
		    !strcmp(place->to, found->to))
			break;
	if (place == all->place + all->nr) {
		if (all->nr++ == PLACES_MAX)
			return -ENOSPC;
		*place = *found;
		place->best = found->ns;
	}
	place->ns = found->ns;
	if (place->best > found->ns)
		place->best = found->ns;
	return 0;
}

static int read_places(struct places *all)
{
	struct place found;
	char line[256];
	int err = 0;
	FILE *f;

	f = fopen(HOLDS, "re");
	if (!f)
		return -errno;
	while (!err && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%15s %63s %63s %lu", found.kind, found.from, found.to,
			   &found.ns) == 4)
			err = note_place(all, &found);
		else
			/* The kernel had no room for all. */
			err = -ENOSPC;
	}
	fclose(f);
	return err;
}

/* The longest hold of each kind, and all those that take long. */
static void print_places(const struct places *all, const char *what)
{
	static const char *const kinds[] = { "mmap", "folio", "anon_vma", "gate" };
	const struct place *place, *longest;
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		longest = NULL;
		for (place = all->place; place < all->place + all->nr; place++) {
			if (strcmp(place->kind, kinds[i]) ||
			    (strcmp(place->kind, "gate") && !is_limited(place)))
				continue;
			if (!longest || place->ns > longest->ns)
				longest = place;
		}
		if (longest)
			printf("# %s: %-8s %7.3f ms at most, from %s to %s\n", what, kinds[i],
			       longest->ns / 1e6, longest->from, longest->to);
	}
	fflush(stdout);
}

static bool all_are_short(const struct places *all, const char *what)
{
	const struct place *place;
	bool is_short = true;

	for (place = all->place; place < all->place + all->nr; place++) {
		if (!is_limited(place) || place->best <= LIMIT_NS)
			continue;
		printf("# %s: %s from %s to %s takes too long, %.3f ms\n", what, place->kind,
		       place->from, place->to, place->best / 1e6);
		is_short = false;
	}
	fflush(stdout);
	return is_short;
}

static int time_work(struct places *all, int (*work)(void *), void *arg)
{
	int err = file_write(HOLDS, "1"), err2;

	if (err)
		return err;
	err = work(arg);
	err2 = file_write(HOLDS, "0");
	if (!err)
		err = err2 ? err2 : read_places(all);
	return err;
}

int holds_are_short(const char *what, int (*work)(void *), void *arg)
{
	struct places all = { 0 };
	int err, i;

	for (i = 0; i < TRIES; i++) {
		err = time_work(&all, work, arg);
		if (err)
			return err;
		if (!all.nr)
			return -ENODATA;
		print_places(&all, what);
		if (all_are_short(&all, what))
			return 0;
	}
	return -ETIME;
}
