// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads in a steady state: what a scan costs once ksmd knows the memory.
 *
 * Each kernel comes to look at a page less often, in a cycle of its own. So
 * warm up until both are in their cycles, and then measure whole cycles of
 * both: the base's smart scan looks at a page without a duplicate once in nine
 * scans, and so do we if the page is in use; we read an idle page once in 64.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SKIP_PERIOD	9
#define REREAD_PERIOD	64

/* With smart_scan 1. The cycles of idle memory take long, so limit its size. */
#define WARM_SCANS	100
#define IDLE_SCANS	(SKIP_PERIOD * REREAD_PERIOD)
#define USED_SCANS	(SKIP_PERIOD * 8)
#define IDLE_PAGES	(256 * MIB_PAGES)
#define USED_PAGES	(64 * MIB_PAGES)

/* With smart_scan 0 each scan is like the one before. An even number in all. */
#define PLAIN_WARM	4
#define PLAIN_SCANS	4

static size_t at_most(size_t pages)
{
	return opt.pages < pages ? opt.pages : pages;
}

/* Before each scan, @use uses the memory, if given. Only later scans count. */
static void figure_steady(struct area *a, bool smart, void (*use)(struct area *a),
			  unsigned int scans, const char *name, size_t pages)
{
	unsigned int warm = smart ? WARM_SCANS : PLAIN_WARM, scan;
	struct cost before = { 0 }, cost = { 0 };

	if (!smart)
		scans = PLAIN_SCANS;
	ksm_write("smart_scan", smart);
	for (scan = 0; scan < warm + scans; scan++) {
		if (use)
			use(a);
		ksm_scan(scan < warm ? &before : &cost);
	}
	figure_cost(name, &cost, pages);
}

/* Some kernels do not count the pages that their smart scan skips. */
static void check_settled(const struct area *a)
{
	struct cost cost = { 0 };

	ksm_write("smart_scan", 0);
	ksm_scans(&cost, 2);
	check_unshared(a);
}

/* ---------------------------------------------------------------- idle memory */

void measure_smart(void)
{
	struct area a;

	area_make(&a, at_most(IDLE_PAGES), CONTENT_RANDOM);
	area_fill_unique(&a);
	figure_steady(&a, true, NULL, IDLE_SCANS, "later", a.pages);
	check_settled(&a);
}

#define CHILDREN	8

/* The pipe is closed when the children are to check what they have. */
static void child_main(const struct area *a, const int go[2])
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(go[1]);
	if (read(go[0], &byte, 1))
		_exit(2);
	_exit(area_wrong(a) ? 1 : 0);
}

/*
 * A parent and its children have all of this memory in common since the fork,
 * and each of them has offered it: one page, and nine visits to it.
 */
void measure_prefork(void)
{
	int go[2], i, status, good = 0;
	struct area a;

	area_make(&a, at_most(IDLE_PAGES) / CHILDREN, CONTENT_RANDOM);
	area_fill_unique(&a);
	if (pipe(go))
		die("pipe: %s", strerror(errno));
	for (i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			child_main(&a, go);
	}
	figure_steady(&a, true, NULL, IDLE_SCANS, "later", a.pages * (CHILDREN + 1));
	put_figure("merged", 100.0 * ksm_merged() / a.pages / (CHILDREN + 1), "%");
	close(go[1]);
	for (i = 0; i < CHILDREN; i++)
		good += wait(&status) > 0 && WIFEXITED(status) && !WEXITSTATUS(status);
	expect(good == CHILDREN, "%d of %d children find their content", good, CHILDREN);
	area_check(&a);
}

/* -------------------------------------------------------------- memory in use */

static void rewrite_tenth(struct area *a)
{
	static uint64_t round;
	size_t i;

	round++;
	for (i = 0; i < a->pages; i++)
		if (mix(round * a->pages + i) % 10 == 0)
			area_fill_page(a, i, round * 1000000000UL + i);
}

/* After so many scans, pages are in all phases of our cycle of idle pages. */
static void rewriting(bool smart)
{
	struct area a;

	area_make(&a, at_most(IDLE_PAGES), CONTENT_RANDOM);
	area_fill_unique(&a);
	figure_steady(&a, smart, rewrite_tenth, USED_SCANS, "scan", a.pages);
	area_check(&a);
}

void measure_rewrite(void)
{
	rewriting(false);
}

void measure_rewrite_smart(void)
{
	rewriting(true);
}

static void read_all(struct area *a)
{
	size_t i;

	for (i = 0; i < a->pages; i++)
		(void)__atomic_load_n(a->mem + i * PAGE_BYTES, __ATOMIC_RELAXED);
}

/* Doing this twice restores the content. */
static void flip_all(struct area *a)
{
	size_t i;

	for (i = 0; i < a->pages; i++)
		*(uint64_t *)(a->mem + i * PAGE_BYTES) ^= 1;
}

/* All of this memory is used by its owner between two scans. */
static void in_use(bool smart, void (*use)(struct area *a))
{
	struct area a;

	area_make(&a, at_most(USED_PAGES), CONTENT_RANDOM);
	area_fill_unique(&a);
	figure_steady(&a, smart, use, USED_SCANS, "scan", a.pages);
	check_settled(&a);
}

void measure_reread(void)
{
	in_use(false, read_all);
}

void measure_reread_smart(void)
{
	in_use(true, read_all);
}

void measure_written(void)
{
	in_use(false, flip_all);
}

void measure_written_smart(void)
{
	in_use(true, flip_all);
}
