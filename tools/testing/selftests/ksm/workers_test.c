// SPDX-License-Identifier: GPL-2.0
/* Several workers: how many there are, and that together they act as one. */

#include "ksm_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>

#include "ksm_env.h"

/* More than one window of each mm, so that workers meet in it. */
#define N 32
#define PAGES 10240
#define MOST 256

/* Threads called ksmd or ksmd/N; -1 if one of them is not as nice as ksmd. */
static int workers(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int found = 0;

	if (!proc)
		return -1;
	while ((entry = readdir(proc))) {
		char path[300], comm[32] = "";
		pid_t pid = atoi(entry->d_name);
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		f = pid > 0 ? fopen(path, "re") : NULL;
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) &&
		    (!strcmp(comm, "ksmd\n") || !strncmp(comm, "ksmd/", 5))) {
			found++;
			if (getpriority(PRIO_PROCESS, pid) != 5)
				found = -MOST;
		}
		fclose(f);
	}
	closedir(proc);
	return found < 0 ? -1 : found;
}

/* Only a hang takes so long, s. */
#define PATIENCE 240

/* A thread that has ended remains visible for a moment. */
static int workers_become(int count)
{
	double end = seconds_now() + PATIENCE;

	while (workers() != count && seconds_now() < end)
		sleep_ms(1);
	return workers();
}

/* Every content four times, far from each other. */
static void fill_in_fours(char *mem, uint64_t seed)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		page_fill(PAGE(mem, i), seed + i % (PAGES / 4));
}

static size_t bad_in_fours(char *mem, uint64_t seed)
{
	size_t i, bad = 0;

	for (i = 0; i < PAGES; i++)
		bad += page_diff(PAGE(mem, i), seed + i % (PAGES / 4)) >= 0;
	return bad;
}

static bool have_workers(void)
{
	return ksm_has("scan_threads");
}

KSM_TEST(as_many_as_asked_for)
{
	static const int counts[] = { 1, 7, 2, 2, 40, 3, 1 };
	size_t i;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		ASSERT_EQ(0, ksm_set("scan_threads", counts[i]));
		EXPECT_EQ(counts[i], ksm_read("scan_threads"));
		EXPECT_EQ(counts[i], workers_become(counts[i]));
	}
}

KSM_TEST(limits)
{
	static const char * const bad[] = { "0", "257", "-1", "", " ", "two",
					    "1.5", "4294967297" };
	size_t i;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	ASSERT_EQ(0, ksm_set("scan_threads", 2));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (*bad[i])
			EXPECT_EQ(-EINVAL, ksm_write("scan_threads", bad[i]));
	EXPECT_EQ(2, ksm_read("scan_threads"));
	EXPECT_EQ(2, workers_become(2));
	EXPECT_EQ(0, ksm_set("scan_threads", MOST));
	EXPECT_EQ(MOST, workers_become(MOST));
	/* Their stacks are memory, too. */
	EXPECT_EQ(0, ksm_set("scan_threads", 1));
	EXPECT_EQ(1, workers_become(1));
}

/* A scan of several workers visits each page once, and none is left out. */
KSM_TEST(each_page_once)
{
	char *mem = mem_map(PAGES);
	int threads;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	mem_fill(mem, PAGES, 1, 1);
	ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
	for (threads = 1; threads <= 4; threads *= 2) {
		long before, scans;

		ASSERT_EQ(0, ksm_set("scan_threads", threads));
		/* Ends the current scan, and no worker keeps a window of it. */
		ASSERT_EQ(0, ksm_one_scan());
		ASSERT_EQ(0, ksm_set("run", 2));
		ASSERT_EQ(0, ksm_read("full_scans"));
		before = ksm_read("pages_scanned");
		for (scans = 0; scans < 3; scans++)
			ASSERT_EQ(0, ksm_one_scan());
		scans = ksm_read("full_scans");
		EXPECT_LE(3, scans);
		EXPECT_EQ(PAGES * scans, ksm_read("pages_scanned") - before);
		EXPECT_EQ(0, verify_now());
	}
	EXPECT_EQ(0, mem_bad(mem, PAGES, 1, 1));
}

/* They sleep one after the other, which is no reason to scan more often. */
KSM_TEST(one_scan_a_round)
{
	char *mem = mem_map(N);
	double start, rounds;
	long before, scans;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	mem_fill(mem, N, 1, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("scan_threads", 4));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 50));
	ASSERT_EQ(0, ksm_set("run", 1));
	start = seconds_now();
	before = ksm_read("full_scans");
	do {
		sleep_ms(100);
		scans = ksm_read("full_scans") - before;
		rounds = (seconds_now() - start) / 0.050;
	} while (scans < 30 && rounds < PATIENCE / 0.050);
	TH_LOG("%ld scans in %.1f rounds", scans, rounds);
	EXPECT_LE(30, scans);
	EXPECT_GE(rounds + 1, scans);
}

/* However many look for a content at once, it gets one KSM page. */
KSM_TEST(one_page_a_content)
{
	char *mem = mem_map(PAGES);
	int round;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	ASSERT_EQ(0, ksm_set("scan_threads", 4));
	ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
	for (round = 0; round < 5; round++) {
		fill_in_fours(mem, 100000 * round);
		ASSERT_EQ(0, ksm_settle());
		ASSERT_COUNTERS(PAGES / 4, PAGES / 4 * 3, 0);
		EXPECT_EQ(0, bad_in_fours(mem, 100000 * round));
	}
}

/* While they merge, and while the memory is written to. */
KSM_TEST(changed_while_scanning)
{
	char *mem = mem_map(PAGES);
	double end;
	int i;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	fill_in_fours(mem, 7);
	ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	end = seconds_now() + 8;
	for (i = 0; seconds_now() < end; i++) {
		ASSERT_EQ(0, ksm_set("scan_threads", 1 + i * 5 % 8));
		page_fill(PAGE(mem, i * 97 % PAGES),
			  7 + i * 97 % PAGES % (PAGES / 4));
		if (i % 50 == 49) {
			ASSERT_EQ(0, ksm_set("run", 2));
			ASSERT_EQ(0, ksm_set("run", 1));
		}
	}
	printf("# changed %d times\n", i);
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(PAGES / 4, PAGES / 4 * 3, 0);
	EXPECT_EQ(0, bad_in_fours(mem, 7));
}

/* A sleeping worker has a window of an mm that exits. */
KSM_TEST(exit_under_sleeping_workers)
{
	int round;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	ASSERT_EQ(0, ksm_set("scan_threads", 4));
	ASSERT_EQ(0, ksm_set("pages_to_scan", 400));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 10));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 20; round++) {
		pid_t pid = fork();
		int status;

		ASSERT_LE(0, pid);
		if (!pid) {
			char *mem = mem_map(PAGES);

			mem_fill(mem, PAGES, 9, 0);
			madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE);
			sleep_ms(round * 7 % 60);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	/* The fixture checks that all of it goes. */
}

/* Workers that sleep for an hour still give up the memory of a process that exits. */
KSM_TEST(exit_under_workers_that_sleep_long)
{
	struct peer p;
	long scanned;
	double end;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	ASSERT_EQ(0, peer_start(&p, PAGES));
	ASSERT_EQ(0, peer_fill(&p, 0, PAGES, 1, 1));
	ASSERT_EQ(0, peer_madvise(&p, 0, PAGES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("scan_threads", 2));
	ASSERT_EQ(0, ksm_set("pages_to_scan", 20));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 3600000));
	scanned = ksm_read("pages_scanned");
	ASSERT_EQ(0, ksm_set("run", 1));
	end = seconds_now() + PATIENCE;
	while (ksm_read("pages_scanned") < scanned + 10 && seconds_now() < end)
		sleep_ms(1);
	/* Their windows are not finished. */
	ASSERT_LT(0, ksm_read("metadata_bytes"));
	ASSERT_EQ(0, peer_end(&p));
	end = seconds_now() + PATIENCE;
	while (ksm_read("metadata_bytes") && seconds_now() < end)
		sleep_ms(10);
	EXPECT_EQ(0, ksm_read("metadata_bytes"));
}

static void *map_and_unmap(void *unused)
{
	for (;;) {
		char *mem = mmap(NULL, 64 * PAGE_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		munmap(mem, 64 * PAGE_BYTES);
	}
	return unused;
}

static char *offer_in_fours(void)
{
	char *mem = mem_map(PAGES);

	fill_in_fours(mem, 50000);
	madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE);
	return mem;
}

/* Never returns: an mm whose lock is always wanted, with memory to merge if @offers. */
static void be_busy(bool offers, int ready)
{
	pthread_t thread;
	int i;

	if (offers)
		offer_in_fours();
	for (i = 0; i < 3; i++)
		pthread_create(&thread, NULL, map_and_unmap, NULL);
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* What ksmd does when an mmap_lock is busy, at the same priority; returns how long it took, s. */
static double nap(void)
{
	double start = seconds_now();

	usleep(30);
	return seconds_now() - start;
}

#define NICE 5
#define NAPS 16

/* How a full scan gets on, and what a nap takes meanwhile, on average */
struct pace {
	double scans_a_second;
	double nap;
};

static void measure_pace(struct pace *pace)
{
	double start = seconds_now(), slept = 0, took;
	long begun = ksm_read("full_scans"), scans, naps;

	for (naps = 0; ; naps++) {
		slept += nap();
		if (naps % NAPS)
			continue;
		sleep_ms(20);
		scans = ksm_read("full_scans") - begun;
		took = seconds_now() - start;
		if (scans >= 20 || took > (scans < 4 ? PATIENCE : 20))
			break;
	}
	pace->scans_a_second = scans / took;
	pace->nap = slept / (naps + 1);
}

/*
 * The pace beside a process that maps and unmaps all the time; false: no such process.
 * The memory in fours belongs to that process if @offers, else to this one: there is as
 * much to scan, and as much at work beside ksmd.
 */
static bool pace_beside(struct pace *pace, bool offers)
{
	char *mem = offers ? NULL : offer_in_fours();
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe(ready))
		return false;
	pid = fork();
	if (!pid) {
		/* The child does not keep what it has from its parent. */
		if (mem)
			munmap(mem, PAGES * PAGE_BYTES);
		be_busy(offers, ready[1]);
	}
	close(ready[1]);
	if (pid < 0 || read(ready[0], &byte, 1) != 1)
		return false;
	close(ready[0]);
	sleep_ms(1000);
	setpriority(PRIO_PROCESS, 0, NICE);
	measure_pace(pace);
	setpriority(PRIO_PROCESS, 0, 0);
	if (mem)
		munmap(mem, PAGES * PAGE_BYTES);
	kill(pid, SIGKILL);
	return waitpid(pid, NULL, 0) == pid;
}

/* A full scan waits for so long at the most, s, for an mmap_lock that is never free, */
#define WAITS 0.15
/* besides this many naps: twice what ksmd takes for one mm with so many pages. */
#define NAPS_A_SCAN (2 * (2 * 50 + PAGES / 64))

/*
 * A process that maps and unmaps all the time is no reason not to scan others: a full
 * scan takes little longer than where ksmd does not need that process's mmap_lock. What a
 * nap takes where others want the CPU, too, differs between machines, and from one second
 * to the next.
 */
KSM_TEST(busy_mm_stops_nobody)
{
	struct pace alone, beside;
	char *mem = mem_map(N);
	double longest;
	int tries = 5;

	mem_fill(mem, N, 9, 0);
	ASSERT_EQ(0, ksm_set("run", 1));
	/*
	 * Something else at work on this machine may make them fewer in one half of a
	 * try; that of this process shows in each of them.
	 */
	do {
		ASSERT_TRUE(pace_beside(&alone, false));
		ASSERT_LT(0, alone.scans_a_second);
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_TRUE(pace_beside(&beside, true));
		longest = WAITS + 3 / alone.scans_a_second + NAPS_A_SCAN * beside.nap;
		TH_LOG("%.1f scans a second without its mmap_lock, %.1f with it, naps of %.2f ms",
		       alone.scans_a_second, beside.scans_a_second, beside.nap * 1e3);
	} while (beside.scans_a_second * longest <= 1 && --tries);
	EXPECT_LT(1, beside.scans_a_second * longest);
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 9, 0));
}

TEST_HARNESS_MAIN
