// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads of several workers: how much faster two of them are than one, on a
 * single large process and on many.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <sys/wait.h>

#include "bench.h"

#define MANY	16

/* Processes that share the pages among them. */
static struct {
	int nr;
	pid_t pid[MANY];
	int ready[2], go[2];
} crowd;

static void member(size_t pages, size_t from)
{
	struct area a;
	char byte;
	size_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	area_make(&a, pages, CONTENT_RANDOM);
	for (i = 0; i < pages; i++)
		area_fill_page(&a, i, from ? from + i : 1000 + i % CONTENTS);
	if (write(crowd.ready[1], "r", 1) != 1 || read(crowd.go[0], &byte, 1) != 1)
		_exit(1);
	_exit(area_wrong(&a) ? 1 : 0);
}

static void crowd_start(int nr, bool different)
{
	size_t pages = opt.pages / nr;
	char byte;
	int i;

	if (pipe(crowd.ready) || pipe(crowd.go))
		die("pipe: %s", strerror(errno));
	for (crowd.nr = 0; crowd.nr < nr; crowd.nr++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			member(pages, different ? 1000000 + crowd.nr * pages : 0);
		crowd.pid[crowd.nr] = pid;
	}
	for (i = 0; i < nr; i++)
		if (read(crowd.ready[0], &byte, 1) != 1)
			die("a process did not start");
}

static void crowd_end(void)
{
	int i, status, good = 0;

	for (i = 0; i < crowd.nr; i++)
		if (write(crowd.go[1], "g", 1) != 1)
			die("write: %s", strerror(errno));
	for (i = 0; i < crowd.nr; i++)
		if (waitpid(crowd.pid[i], &status, 0) == crowd.pid[i])
			good += WIFEXITED(status) && !WEXITSTATUS(status);
	expect(good == crowd.nr, "%d of %d processes find their content", good, crowd.nr);
	close(crowd.ready[0]);
	close(crowd.ready[1]);
	close(crowd.go[0]);
	close(crowd.go[1]);
	ksm_reset();
}

static void figure_speed(const char *what, int processes, int threads, const struct cost *cost)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.%s.%d", what, processes == 1 ? "one" : "many", threads);
	put_figure(name, opt.pages * 1e6 * cost->scans / cost->wall, "kpages/s");
}

static void measure(int processes, int threads)
{
	struct cost first = { 0 }, later = { 0 }, merge = { 0 };

	crowd_start(processes, true);
	ksm_write("scan_threads", threads);
	ksm_scans(&first, 2);
	ksm_scans(&later, 3);
	figure_speed("scan", processes, threads, &later);
	expect(ksm_read("pages_unshared") == (long)opt.pages, "%ld of %zu pages are unshared",
	       ksm_read("pages_unshared"), opt.pages);
	crowd_end();

	crowd_start(processes, false);
	ksm_write("scan_threads", threads);
	ksm_scan_until(&merge, opt.pages - CONTENTS, 20);
	/* It is all of the merging that is one piece of work. */
	merge.scans = 1;
	figure_speed("merge", processes, threads, &merge);
	crowd_end();
}

void measure_workers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int threads;

	if (!ksm_has("scan_threads")) {
		put_skipped("no scan_threads");
		return;
	}
	for (threads = 1; threads <= cpus; threads *= 2) {
		measure(1, threads);
		measure(MANY, threads);
	}
}
