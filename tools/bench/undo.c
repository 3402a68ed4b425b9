// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads that end sharing: a write, madvise, run=2, exit.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Writes the first word of each page: 4 KiB are copied for it. */
void measure_cow(void)
{
	uint64_t start;
	long copies;
	struct area a;
	size_t i;

	area_merge(&a, opt.pages, CONTENT_HEAD);
	copies = proc_field("/proc/vmstat", "cow_ksm");
	start = thread_cpu();
	for (i = 0; i < a.pages; i++)
		__atomic_store_n((uint64_t *)(a.mem + i * PAGE_BYTES), i, __ATOMIC_RELAXED);
	put_figure("fault", (double)(thread_cpu() - start) / a.pages, "ns/page");
	copies = proc_field("/proc/vmstat", "cow_ksm") - copies;
	expect(copies >= (long)(a.pages - CONTENTS), "%ld of %zu pages were copied", copies,
	       a.pages);
	for (i = 0; i < a.pages; i++)
		*(uint64_t *)(a.mem + i * PAGE_BYTES) = mix(a.seed[i]);
	area_check(&a);
}

static void check_unmerged(void)
{
	expect(!ksm_read("pages_sharing") && !ksm_read("pages_shared"), "%ld pages are merged",
	       ksm_read("pages_sharing") + ksm_read("pages_shared"));
}

void measure_unmerge(void)
{
	struct cost cost = { 0 };
	uint64_t start;
	long merged;
	struct area a;

	area_merge(&a, opt.pages, CONTENT_RANDOM);
	start = thread_cpu();
	area_advise(&a, MADV_UNMERGEABLE);
	put_figure("madvise", (double)(thread_cpu() - start) / a.pages, "ns/page");
	merged = proc_field("/proc/self/smaps_rollup", "KSM");
	expect(!merged, "%ld KiB are merged", merged);
	area_check(&a);
	/* The counters are updated when ksmd visits the pages. */
	ksm_scan(&cost);
	check_unmerged();
}

void measure_run2(void)
{
	uint64_t start;
	struct area a;

	area_merge(&a, opt.pages, CONTENT_RANDOM);
	start = thread_cpu();
	ksm_write("run", 2);
	put_figure("write", (double)(thread_cpu() - start) / a.pages, "ns/page");
	check_unmerged();
	area_check(&a);
}

/* A process with memory to merge. It says when it is ready, and dies on request. */
static pid_t start_victim(size_t pages)
{
	int ready[2];
	struct area a;
	pid_t pid;
	char byte;

	if (pipe(ready))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		area_make(&a, pages, CONTENT_RANDOM);
		area_fill_repeating(&a, 0, CONTENTS);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the process that is to exit died early");
	close(ready[0]);
	return pid;
}

static double process_seconds(pid_t pid)
{
	char path[64];
	double ns = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%lf", &ns) != 1)
		die("cannot read %s", path);
	fclose(f);
	return ns / 1e9;
}

/* All merged memory belongs to one process, which is killed. */
void measure_exit(void)
{
	pid_t pid = start_victim(opt.exit_pages);
	struct cost cost = { 0 };
	struct rusage usage;
	double cpu;
	uint64_t start, end;
	int status;

	if (!ksm_scan_until(&cost, opt.exit_pages - CONTENTS, 20))
		die("nothing to measure");
	cpu = process_seconds(pid);
	start = now();
	kill(pid, SIGKILL);
	if (wait4(pid, &status, 0, &usage) != pid)
		die("wait4: %s", strerror(errno));
	end = now();
	cpu = usage.ru_stime.tv_sec + usage.ru_utime.tv_sec +
	      (usage.ru_stime.tv_usec + usage.ru_utime.tv_usec) / 1e6 - cpu;
	put_figure("cpu", cpu * 1e9 / opt.exit_pages, "ns/page");
	put_figure("wall", (double)(end - start) / opt.exit_pages, "ns/page");
	ksm_write("run", 2);
	check_unmerged();
}

/* ------------------------------------------------------------ many processes */

#define PROCESSES	400
#define PROCESS_PAGES	64

static void process_main(int ready, int go)
{
	struct area a;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	area_make(&a, PROCESS_PAGES, CONTENT_RANDOM);
	area_fill_repeating(&a, 0, PROCESS_PAGES);
	if (write(ready, "r", 1) != 1 || read(go, &byte, 1) != 1)
		_exit(1);
	byte = area_wrong(&a) ? 'w' : 'g';
	if (write(ready, &byte, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Reads an answer from every process; returns how many are as expected. */
static int answers(int fd, char expected)
{
	int i, good = 0;
	char byte;

	for (i = 0; i < PROCESSES; i++)
		if (read(fd, &byte, 1) == 1)
			good += byte == expected;
	return good;
}

/* All processes have the same 64 pages. */
void measure_processes(void)
{
	size_t pages = PROCESSES * PROCESS_PAGES;
	struct cost merge = { 0 }, later = { 0 };
	pid_t pid[PROCESSES];
	int ready[2], go[2];
	uint64_t start, cpu;
	int i;

	if (pipe(ready) || pipe(go))
		die("pipe: %s", strerror(errno));
	for (i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork: %s", strerror(errno));
		if (!pid[i])
			process_main(ready[1], go[0]);
	}
	if (answers(ready[0], 'r') != PROCESSES)
		die("not all processes started");
	ksm_scan_until(&merge, pages - PROCESS_PAGES, 20);
	put_figure("merge", (double)merge.cpu / pages, "ns/page");
	ksm_scans(&later, 5);
	figure_cost("later", &later, pages);
	for (i = 0; i < PROCESSES; i++)
		if (write(go[1], "g", 1) != 1)
			die("write: %s", strerror(errno));
	i = answers(ready[0], 'g');
	expect(i == PROCESSES, "%d of %d processes find their content", i, PROCESSES);
	cpu = ksmd_cpu();
	start = now();
	for (i = 0; i < PROCESSES; i++)
		kill(pid[i], SIGKILL);
	for (i = 0; i < PROCESSES; i++)
		waitpid(pid[i], NULL, 0);
	put_figure("exit", (now() - start) / 1e3 / PROCESSES, "us/process");
	ksm_wait_idle();
	put_figure("exit-ksmd", (ksmd_cpu() - cpu) / 1e3 / PROCESSES, "us/process");
}
