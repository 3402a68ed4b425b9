// SPDX-License-Identifier: GPL-2.0
/*
 * Steps ksmd from one full scan to the next, and measures the cost of a scan.
 *
 * A budget ends with a full scan at the latest, and setting a new length of the
 * sleep between two budgets ends that sleep. So with a budget larger than all
 * memory and a sleep of an hour, each change of the length causes exactly one
 * scan, and its cost can be read while ksmd sleeps.
 */
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define MAX_THREADS	64
#define SCAN_SECONDS	300
#define HOUR_MS		3600000L

static struct {
	size_t nr;
	struct ksmd thread[MAX_THREADS];
} ksmd;

static bool running;
/* Never the same value twice: ksmd may not have seen the last change yet. */
static long pause_ms = HOUR_MS;

uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

uint64_t thread_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	nanosleep(&ts, NULL);
}

bool file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

bool ksm_has(const char *file)
{
	char text[64];

	return !ksmfs_read(file, text, sizeof(text));
}

long ksm_read(const char *file)
{
	long long value;

	if (ksmfs_read_number(file, &value))
		die("cannot read %s/%s", ksmfs_dir, file);
	return value;
}

void ksm_write(const char *file, long value)
{
	int err = ksmfs_write_number(file, value);

	if (err)
		die("cannot write %ld to %s/%s: %s", value, ksmfs_dir, file, strerror(err));
}

/* Pages that are merged. Fewer are saved, as the KSM pages remain. */
long ksm_merged(void)
{
	return ksm_read("pages_shared") + ksm_read("pages_sharing") + ksm_read("ksm_zero_pages");
}

/* ------------------------------------------------------- the threads of KSM */

static void find_threads(void)
{
	ksmd.nr = ksmd_find(ksmd.thread, MAX_THREADS);
	if (!ksmd.nr)
		die("there is no ksmd: is this kernel built with CONFIG_KSM?");
	if (ksmd.nr > MAX_THREADS)
		die("there are %zu threads of ksmd: raise MAX_THREADS", ksmd.nr);
}

/* A thread that has ended in the meantime is not counted. */
uint64_t ksmd_cpu(void)
{
	struct ksmd thread;
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < ksmd.nr; i++)
		if (ksmd_read(ksmd.thread[i].pid, &thread))
			sum += thread.ns;
	return sum;
}

static bool asleep(void)
{
	struct ksmd thread;
	size_t i;

	for (i = 0; i < ksmd.nr; i++)
		if (ksmd_read(ksmd.thread[i].pid, &thread) && thread.state != 'S')
			return false;
	return true;
}

/* It may also sleep on a lock for a moment, so check twice. */
void ksm_wait_idle(void)
{
	uint64_t end = now() + SCAN_SECONDS * 1000000000ULL;
	uint64_t before;

	do {
		if (now() > end)
			die("ksmd does not come to rest");
		before = ksmd_cpu();
		sleep_ms(2);
	} while (!asleep() || ksmd_cpu() != before);
}

/* ------------------------------------------------------------------ stepping */

static void wake(void)
{
	ksm_write("sleep_millisecs", ++pause_ms);
}

void ksm_stop(void)
{
	ksm_write("run", 0);
	wake();
	ksm_wait_idle();
	running = false;
}

/* Nothing merged, nothing known, all settings as for most workloads. */
void ksm_reset(void)
{
	if (ksm_has("advisor_mode"))
		ksmfs_write("advisor_mode", "none");
	if (ksm_has("scan_threads"))
		ksm_write("scan_threads", 1);
	find_threads();
	ksm_write("run", 2);
	ksm_write("pages_to_scan", ALL_PAGES);
	ksm_write("smart_scan", 0);
	ksm_write("use_zero_pages", 0);
	ksm_write("max_page_sharing", 256);
	ksm_stop();
}

/* One full scan from start to end. */
void ksm_scan(struct cost *sum)
{
	long before = ksm_read("full_scans");
	uint64_t cpu, start, end;

	find_threads();
	cpu = ksmd_cpu();
	start = now();
	if (running)
		wake();
	else
		ksm_write("run", 1);
	running = true;
	while (ksm_read("full_scans") == before) {
		if (now() > start + SCAN_SECONDS * 1000000000ULL)
			die("a scan took more than %d s", SCAN_SECONDS);
		sleep_ms(1);
	}
	end = now();
	ksm_wait_idle();
	sum->cpu += ksmd_cpu() - cpu;
	sum->wall += end - start;
	sum->scans++;
	if (ksm_read("full_scans") != before + 1)
		die("%ld full scans where one was asked for", ksm_read("full_scans") - before);
}

void ksm_scans(struct cost *sum, unsigned int n)
{
	while (n--)
		ksm_scan(sum);
}

/* Scans until this many pages are merged; false if they never are. */
bool ksm_scan_until(struct cost *sum, long pages, unsigned int most)
{
	while (most-- && ksm_merged() < pages)
		ksm_scan(sum);
	return expect(ksm_merged() >= pages, "merged %ld pages of %ld in %u scans", ksm_merged(),
		      pages, sum->scans);
}

/* Runs ksmd at its own pace, as a user would, until ksm_stop(). */
void ksm_run_paced(long pages, long millisecs)
{
	find_threads();
	ksm_write("pages_to_scan", pages);
	ksm_write("sleep_millisecs", millisecs);
	ksm_write("run", 1);
	running = true;
}

/* The mean cost of a scan, per page. */
void figure_cost(const char *name, const struct cost *cost, size_t pages)
{
	put_figure(name, (double)cost->cpu / cost->scans / pages, "ns/page");
}
