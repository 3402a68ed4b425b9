// SPDX-License-Identifier: GPL-2.0
/*
 * Steps ksmd from one full scan to the next, and tells what a scan has cost.
 *
 * A budget ends with a full scan at the latest, and a new length of the sleep
 * between two budgets ends that sleep. So with a budget larger than all memory
 * and a sleep of an hour, each change of the length makes exactly one scan,
 * and what it cost can be read while ksmd sleeps.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define MAX_THREADS	64
#define SCAN_SECONDS	300
#define HOUR_MS		3600000L

static struct {
	int nr;
	int pid[MAX_THREADS];
} ksmd;

static bool running;
/* Never the same twice: ksmd may not have seen the last change yet. */
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

/* Reads up to size - 1 bytes of a file; false if there are none. */
static bool file_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return true;
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

/* The number after a word at the start of a line; -1 without such a line. */
long file_key(const char *path, const char *key)
{
	size_t len = strlen(key);
	char line[512];
	long value = -1;
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && strchr(" \t:", line[len]))
			value = strtol(line + len + strspn(line + len, " \t:"), NULL, 10);
	fclose(f);
	return value;
}

static const char *ksm_path(const char *file)
{
	static char path[128];

	snprintf(path, sizeof(path), KSM_DIR "%s", file);
	return path;
}

bool ksm_has(const char *file)
{
	return !access(ksm_path(file), F_OK);
}

long ksm_read(const char *file)
{
	char text[64];

	if (!file_text(ksm_path(file), text, sizeof(text)))
		die("cannot read " KSM_DIR "%s", file);
	return strtol(text, NULL, 10);
}

void ksm_write(const char *file, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	if (!file_write(ksm_path(file), text))
		die("cannot write %ld to " KSM_DIR "%s: %s", value, file, strerror(errno));
}

long ksm_saved(void)
{
	return ksm_read("pages_shared") + ksm_read("pages_sharing") + ksm_read("ksm_zero_pages");
}

/* ------------------------------------------------------- the threads of KSM */

static void find_threads(void)
{
	struct dirent *entry;
	char path[300], name[64];
	DIR *proc = opendir("/proc");

	if (!proc)
		die("cannot read /proc");
	ksmd.nr = 0;
	while ((entry = readdir(proc)) && ksmd.nr < MAX_THREADS) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (file_text(path, name, sizeof(name)) && !strncmp(name, "ksmd", 4))
			ksmd.pid[ksmd.nr++] = atoi(entry->d_name);
	}
	closedir(proc);
	if (!ksmd.nr)
		die("there is no ksmd: is this kernel built with CONFIG_KSM?");
}

uint64_t ksmd_cpu(void)
{
	char path[64], text[128];
	uint64_t sum = 0;
	int i;

	for (i = 0; i < ksmd.nr; i++) {
		snprintf(path, sizeof(path), "/proc/%d/schedstat", ksmd.pid[i]);
		/* A worker too many may have ended meanwhile. */
		if (file_text(path, text, sizeof(text)))
			sum += strtoull(text, NULL, 10);
	}
	return sum;
}

static bool asleep(void)
{
	char path[64], text[128], *state;
	int i;

	for (i = 0; i < ksmd.nr; i++) {
		snprintf(path, sizeof(path), "/proc/%d/stat", ksmd.pid[i]);
		if (!file_text(path, text, sizeof(text)))
			continue;
		state = strrchr(text, ')');
		if (!state || state[2] != 'S')
			return false;
	}
	return true;
}

/* It may sleep for a moment on a lock, too, hence twice. */
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

/* Nothing merged, nothing known, all settings those of most workloads. */
void ksm_reset(void)
{
	if (ksm_has("advisor_mode"))
		file_write(KSM_DIR "advisor_mode", "none");
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

/* Scans until so many pages are merged; false if that is not to be. */
bool ksm_scan_until(struct cost *sum, long pages, unsigned int most)
{
	while (most-- && ksm_saved() < pages)
		ksm_scan(sum);
	return expect(ksm_saved() >= pages, "merged %ld pages of %ld in %u scans", ksm_saved(),
		      pages, sum->scans);
}

/* Runs ksmd on its own, as a user would, until ksm_stop(). */
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
