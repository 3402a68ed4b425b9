// SPDX-License-Identifier: GPL-2.0
/* Several workers: how many there are, and that together they are as one. */

#include "ksm_fixture.h"

#include <dirent.h>
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

/* A thread that has ended is still to be seen for a moment. */
static int workers_become(int count)
{
	double end = seconds_now() + 5;

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
		/* Ends what was begun: the next scan is a whole one. */
		ASSERT_EQ(0, ksm_set("run", 2));
		ASSERT_EQ(0, ksm_read("full_scans"));
		/* Time for all workers to give their windows back. */
		sleep_ms(300);
		before = ksm_read("pages_scanned");
		/* Time to stop it between two scans. */
		ASSERT_EQ(0, ksm_set("sleep_millisecs", 1500));
		ASSERT_EQ(0, ksm_scans(1));
		scans = ksm_read("full_scans");
		EXPECT_EQ(PAGES * scans, ksm_read("pages_scanned") - before);
		ASSERT_EQ(0, ksm_set("sleep_millisecs", 1));
	}
	EXPECT_EQ(0, mem_bad(mem, PAGES, 1, 1));
}

/* They sleep one after the other; that is no reason to scan more often. */
KSM_TEST(one_scan_a_round)
{
	char *mem = mem_map(N);
	double start, rounds;
	long scans;

	if (!have_workers())
		SKIP(return, "no scan_threads in this kernel");
	mem_fill(mem, N, 1, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("scan_threads", 4));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 50));
	ASSERT_EQ(0, ksm_set("run", 1));
	start = seconds_now();
	scans = ksm_read("full_scans");
	sleep_ms(2000);
	scans = ksm_read("full_scans") - scans;
	rounds = (seconds_now() - start) / 0.050;
	TH_LOG("%ld scans in %.1f rounds", scans, rounds);
	EXPECT_LT(0, scans);
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
	/* The fixture looks whether all of it goes. */
}

TEST_HARNESS_MAIN
