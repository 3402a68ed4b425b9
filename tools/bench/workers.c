// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads with several workers: how much faster two of them are than one, in
 * a single large process and in many.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define MANY		16
#define LIMIT_NS	(120 * 1000000000ULL)
#define SCAN_NS		2000000000ULL

/* Processes that divide the pages among themselves. */
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

static void figure_speed(const char *what, int processes, int threads, double pages,
			 uint64_t ns)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.%s.%d", what, processes == 1 ? "one" : "many", threads);
	put_figure(name, pages * 1e6 / ns, "kpages/s");
}

static void wait_for_scans(long goal)
{
	uint64_t end = now() + LIMIT_NS;

	while (ksm_read("full_scans") < goal) {
		if (now() > end)
			die("full_scans does not reach %ld", goal);
		sleep_ms(4);
	}
}

/*
 * Workers do not wait for each other at the end of a full scan, so they cannot
 * be stepped. They run without a pause, and the elapsed time is measured.
 */
static void scanning(int processes, int threads)
{
	uint64_t start, end;
	long scans;

	crowd_start(processes, true);
	ksm_write("scan_threads", threads);
	ksm_run_paced(ALL_PAGES, 0);
	scans = ksm_read("full_scans") + 2;
	wait_for_scans(scans);
	start = now();
	wait_for_scans(scans + 4);
	while (now() < start + SCAN_NS)
		wait_for_scans(ksm_read("full_scans") + 1);
	end = now();
	scans = ksm_read("full_scans") - scans;
	ksm_stop();
	figure_speed("scan", processes, threads, (double)opt.pages * scans, end - start);
	expect(ksm_read("pages_unshared") == (long)opt.pages, "%ld of %zu pages are unshared",
	       ksm_read("pages_unshared"), opt.pages);
	crowd_end();
}

static void merging(int processes, int threads)
{
	long goal = opt.pages - CONTENTS;
	uint64_t start, end;

	crowd_start(processes, false);
	ksm_write("scan_threads", threads);
	start = now();
	ksm_run_paced(ALL_PAGES, 0);
	while (ksm_merged() < goal && now() < start + LIMIT_NS)
		sleep_ms(4);
	end = now();
	expect(ksm_merged() >= goal, "merged %ld pages of %ld", ksm_merged(), goal);
	ksm_stop();
	figure_speed("merge", processes, threads, opt.pages, end - start);
	crowd_end();
}

/* Pages filled per second, which needs nothing that the emulator serializes. */
static uint64_t spin(void)
{
	uint64_t end = now() + SCAN_NS / 2, pages = 0;
	struct area a;

	area_make(&a, MIB_PAGES, CONTENT_RANDOM);
	for (; now() < end; pages++)
		area_fill_page(&a, pages % MIB_PAGES, pages + 1);
	munmap(a.mem, MIB_PAGES * PAGE_BYTES);
	free(a.seed);
	return pages;
}

/*
 * How much more two independent processes get done than one. On a machine that
 * others use, too, no worker can gain more than this.
 */
static void machine_gain(void)
{
	uint64_t one = spin(), two, other = 0;
	int result[2];
	pid_t pid;

	if (pipe(result))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	two = spin();
	if (!pid)
		_exit(write(result[1], &two, sizeof(two)) != sizeof(two));
	if (read(result[0], &other, sizeof(other)) != sizeof(other))
		die("no answer from the other process");
	waitpid(pid, NULL, 0);
	put_figure("machine.gain", (double)(two + other) / one, "times");
}

/*
 * Larger than the memory of other workloads: starting takes some time, and with
 * many windows it does not matter who gets the last one.
 */
#define LARGER 4

void measure_workers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int threads;

	if (!ksm_has("scan_threads")) {
		put_skipped("no scan_threads");
		return;
	}
	machine_gain();
	opt.pages *= LARGER;
	for (threads = 1; threads <= cpus; threads *= 2) {
		scanning(1, threads);
		scanning(MANY, threads);
		merging(1, threads);
		merging(MANY, threads);
	}
	opt.pages /= LARGER;
}
