// SPDX-License-Identifier: GPL-2.0
/* ksmd itself: when it works, when it rests, and what stops it. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "ksm_env.h"

#define N 32
#define HOUR_MS 3600000
/* Much less than an hour, and only a hang takes so long, s. */
#define PATIENCE 240
#define POWER "/sys/power/"

/* How often it went to sleep, and so how often it was awake. */
static long ksmd_wakeups(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid_of("ksmd"));
	return file_read_key(path, "voluntary_ctxt_switches");
}

/* Waits until a counter has reached a value, for at most this long. */
static bool reaches(const char *counter, long value, double seconds)
{
	double end = seconds_now() + seconds;

	while (ksm_read(counter) < value && seconds_now() < end)
		sleep_ms(2);
	return ksm_read(counter) >= value;
}

#define SHARE_STEP_MS 20

/* CPU time that it took, s */
static double ksmd_cpu(void)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid_of("ksmd"));
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	fclose(f);
	return ns / 1e9;
}

/*
 * Of one CPU, during so many ms. They pass in steps: where the machine stands still
 * for a while, that is one step, and ksmd has had all the others.
 */
static double ksmd_share(int ms)
{
	double cpu = ksmd_cpu();
	int passed;

	for (passed = 0; passed < ms; passed += SHARE_STEP_MS)
		sleep_ms(SHARE_STEP_MS);
	return (ksmd_cpu() - cpu) / ms * 1000;
}

#define HEIRLOOM 16384
#define LITTLE 4096
/* As a part of a CPU; without a limit it would be most of one. */
#define LITTLE_CPU 0.15

/* At the usual pace, what a child needs of an exited process costs little. */
KSM_TEST(what_a_child_needs_is_looked_at_now_and_then)
{
	struct peer parent, child;
	char *mem = mem_map(N);
	double with = 1e9, without, again;
	int tries = 6;

	ASSERT_EQ(0, peer_start(&parent, HEIRLOOM));
	ASSERT_EQ(0, peer_fill(&parent, 0, HEIRLOOM / 2, 1, 1));
	ASSERT_EQ(0, peer_fill(&parent, HEIRLOOM / 2, HEIRLOOM / 2, 1, 1));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_madvise(&parent, 0, HEIRLOOM, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_LT(HEIRLOOM / 4, ksm_read("pages_sharing"));
	ASSERT_EQ(0, peer_end(&parent));
	/* Something to scan, again and again. */
	mem_fill(mem, N, 100000, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("pages_to_scan", 100));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 20));
	ASSERT_EQ(0, ksm_set("run", 1));
	sleep_ms(3000);
	/* Others on this machine, and pauses of it, make it more. */
	do {
		again = ksmd_share(5000);
		with = again < with ? again : with;
	} while (with > LITTLE_CPU && --tries);
	EXPECT_EQ(0, peer_bad(&child, 0, HEIRLOOM / 2, 1, 1));
	ASSERT_EQ(0, peer_end(&child));
	/* The rest is the scan itself, which differs between machines. */
	sleep_ms(3000);
	without = ksmd_share(5000);
	TH_LOG("ksmd takes %.1f %% of a CPU, %.1f %% without an heir", with * 100, without * 100);
	EXPECT_GT(without + LITTLE_CPU, with);
	ASSERT_EQ(0, ksm_set("run", 0));
}

/*
 * A child that was not scanned yet is found through what its exited parent
 * knew. As long as that is so, ksmd looks at it less and less often, even if
 * there is nothing to scan.
 */
KSM_TEST(what_a_child_needs_is_looked_at_less_and_less)
{
	struct peer parent, child;
	double first, later;
	int tries = 6;

	ASSERT_EQ(0, peer_start(&parent, LITTLE));
	ASSERT_EQ(0, peer_fill(&parent, 0, LITTLE / 2, 1, 1));
	ASSERT_EQ(0, peer_fill(&parent, LITTLE / 2, LITTLE / 2, 1, 1));
	ASSERT_EQ(0, peer_madvise(&parent, 0, LITTLE, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(LITTLE / 2, ksm_read("pages_shared"));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_end(&parent));
	first = ksmd_share(2000);
	sleep_ms(6000);
	/*
	 * The time that looks take shows how often they happen; machines differ
	 * in it.
	 */
	do
		later = ksmd_share(8000);
	while (later >= first / 4 + 0.001 && --tries);
	TH_LOG("ksmd takes %.2f %% of a CPU at first, then %.2f %%", first * 100, later * 100);
	/* Almost nothing may not get less. */
	EXPECT_GT(first / 4 + 0.001, later);
	/* All that was there to look at. */
	if (verify_there())
		EXPECT_EQ(1, verify_figure("gone"));
	EXPECT_EQ(LITTLE / 2, ksm_read("pages_shared"));
	EXPECT_EQ(0, peer_bad(&child, 0, LITTLE / 2, 1, 1));
	ASSERT_EQ(0, peer_end(&child));
}

KSM_TEST(is_nice)
{
	pid_t pid = pid_of("ksmd");

	ASSERT_LT(0, pid);
	errno = 0;
	EXPECT_EQ(5, getpriority(PRIO_PROCESS, pid));
	EXPECT_EQ(0, errno);
}

/* When it is stopped, it merges nothing more, and what is shared stays shared. */
KSM_TEST(stopping_keeps_what_is_shared)
{
	char *mem = mem_merged(N, 10, 0);
	long scans = ksm_read("full_scans");
	char *more = mem_map(N);

	ASSERT_NE(NULL, mem);
	mem_fill(more, N, 10, 0);
	ASSERT_EQ(0, madvise(more, N * PAGE_BYTES, MADV_MERGEABLE));
	sleep_ms(300);
	EXPECT_EQ(0, ksm_read("run"));
	EXPECT_EQ(scans, ksm_read("full_scans"));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_count_ksm(0, more, N));
	ASSERT_COUNTERS(1, N - 1, 0);
	/* A page that leaves while it is stopped leaves. */
	page_fill(mem, 11);
	EXPECT_EQ(-1, page_diff(mem, 11));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N - 1, 10, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 2, 1);
}

KSM_TEST(sleeps_when_nothing_is_registered)
{
	long before = 0, after;
	int tries;

	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	/* What is left of earlier tests is seen to first. */
	for (tries = 0, after = -1; tries < 10 && before != after; tries++) {
		sleep_ms(500);
		before = ksmd_wakeups();
		ASSERT_LT(0, before);
		sleep_ms(1000);
		after = ksmd_wakeups();
	}
	EXPECT_EQ(before, after);
	EXPECT_EQ('S', task_state(pid_of("ksmd")));
}

KSM_TEST(wakes_when_something_is_registered)
{
	char *mem = mem_map(N);
	double start;
	long scanned;

	mem_fill(mem, N, 20, 0);
	ASSERT_EQ(0, ksm_set("run", 1));
	sleep_ms(200);
	/* It waits for another worker by now, not for the hour to end. */
	ASSERT_EQ(0, ksm_set("sleep_millisecs", HOUR_MS));
	sleep_ms(200);
	scanned = ksm_read("pages_scanned");
	start = seconds_now();
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_TRUE(reaches("pages_scanned", scanned + N, PATIENCE));
	TH_LOG("at work after %.0f ms", (seconds_now() - start) * 1e3);
	/* It scans once, and then sleeps until the hour is over or shortened. */
	sleep_ms(200);
	scanned = ksm_read("pages_scanned");
	sleep_ms(500);
	EXPECT_EQ(scanned, ksm_read("pages_scanned"));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 1));
	EXPECT_TRUE(reaches("pages_sharing", N - 1, PATIENCE));
	EXPECT_EQ(0, mem_bad(mem, N, 20, 0));
}

/* Even during a sleep of an hour. */
KSM_TEST(stops_at_once)
{
	char *mem = mem_merged(N, 30, 0);
	double start;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_set("sleep_millisecs", HOUR_MS));
	ASSERT_EQ(0, ksm_set("run", 1));
	sleep_ms(200);
	start = seconds_now();
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_GT(PATIENCE, seconds_now() - start);
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 30, 0));
}

/* When the write returns, ksmd does not work any more. */
KSM_TEST(has_stopped_when_told)
{
	const size_t n = 8192;
	char *mem = mem_map(n);
	long scanned;
	int i;

	mem_fill(mem, n, 500, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, ksm_set("run", 1));
		sleep_ms(7 + i);
		ASSERT_EQ(0, ksm_set("run", 0));
		scanned = ksm_read("pages_scanned");
		sleep_ms(20);
		ASSERT_EQ(scanned, ksm_read("pages_scanned"));
	}
	EXPECT_LT(0, scanned);
}

static void on_alarm(int signal)
{
}

/* Returns 0, or -errno if a signal came; the alarm comes after @us microseconds. */
static int unmerge_all_with_alarm(unsigned int us)
{
	struct itimerval in = { .it_value.tv_usec = us }, never = { 0 };
	int err;

	setitimer(ITIMER_REAL, &in, NULL);
	err = ksm_write("run", "2");
	setitimer(ITIMER_REAL, &never, NULL);
	return err;
}

/* A signal ends run=2 before it is done, as if 0 had stopped it. */
KSM_TEST(signal_ends_unmerging)
{
	const size_t n = 8192;
	struct sigaction act = { .sa_handler = on_alarm };
	char *mem = mem_map(n);
	unsigned int us = 50000;
	size_t shared = 0, i;
	int err = 0, tries;

	ASSERT_EQ(0, sigaction(SIGALRM, &act, NULL));
	for (i = 0; i < n; i += 128)
		mem_fill(PAGE(mem, i), 128, 1000, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	for (tries = 0; tries < 30 && (!err || shared == n); tries++) {
		ASSERT_EQ(0, ksm_settle());
		ASSERT_COUNTERS(128, n - 128, 0);
		err = unmerge_all_with_alarm(us);
		shared = mem_count_ksm(0, mem, n);
		/* It came too late, or before anything was done. */
		us = err ? us + us / 4 : us / 2;
	}
	EXPECT_EQ(-EINTR, err);
	EXPECT_EQ(0, ksm_read("run"));
	TH_LOG("%zu of %zu pages are shared still", shared, n);
	EXPECT_LT(0, shared);
	EXPECT_GT(n, shared);
	for (i = 0; i < n; i += 128)
		EXPECT_EQ(0, mem_bad(PAGE(mem, i), 128, 1000, 1));
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, mem_count_ksm(0, mem, n));
	for (i = 0; i < n; i += 128)
		EXPECT_EQ(0, mem_bad(PAGE(mem, i), 128, 1000, 1));
}

#define ADVISED 8192
#define LEAST 16

static const struct {
	const char *name;
	long value;
} advised[] = {
	{ "advisor_target_scan_time", 2 }, { "advisor_min_pages_to_scan", LEAST },
	{ "advisor_max_pages_to_scan", 100000 },
};

/* ksmd scans what the advisor works out: more if it is too slow, less under a limit. */
KSM_TEST(the_advisor_sets_the_pace)
{
	long before[sizeof(advised) / sizeof(*advised)];
	char *mem = mem_map(ADVISED);
	bool more, less;
	double end;
	size_t i;

	if (!ksm_has("metadata_bytes"))
		SKIP(return, "the base has an advisor of its own");
	mem_fill(mem, ADVISED, 1, 1);
	ASSERT_EQ(0, madvise(mem, ADVISED * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 20));
	for (i = 0; i < sizeof(advised) / sizeof(*advised); i++) {
		before[i] = ksm_read(advised[i].name);
		EXPECT_EQ(0, ksm_set(advised[i].name, advised[i].value));
	}
	EXPECT_EQ(0, ksm_write("advisor_mode", "scan-time"));
	EXPECT_EQ(LEAST, ksm_read("pages_to_scan"));
	EXPECT_EQ(0, ksm_set("run", 1));
	/* At this rate a full scan would take more than ten seconds. */
	more = reaches("pages_to_scan", 2 * LEAST, PATIENCE);
	TH_LOG("%ld pages to scan", ksm_read("pages_to_scan"));
	EXPECT_EQ(0, ksm_set("advisor_max_pages_to_scan", LEAST));
	end = seconds_now() + PATIENCE;
	while (ksm_read("pages_to_scan") > LEAST && seconds_now() < end)
		sleep_ms(2);
	less = ksm_read("pages_to_scan") == LEAST;
	EXPECT_EQ(0, ksm_set("run", 0));
	EXPECT_EQ(0, ksm_write("advisor_mode", "none"));
	for (i = 0; i < sizeof(advised) / sizeof(*advised); i++)
		EXPECT_EQ(0, ksm_set(advised[i].name, before[i]));
	EXPECT_TRUE(more);
	EXPECT_TRUE(less);
}

/* More pages than a worker scans in the last window of an mm */
#define BEHIND 8192

/* Memory that is mapped beyond the place that ksmd scans gets its turn; scans end. */
KSM_TEST(memory_mapped_behind_is_scanned)
{
	char *mem = mem_map(N + BEHIND);
	long scanned, scans;
	int tries = 30;

	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	mem_fill(mem, N, 1, 1);
	ASSERT_EQ(0, ksm_set("pages_to_scan", N / 2));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", HOUR_MS));
	scanned = ksm_read("pages_scanned");
	ASSERT_EQ(0, ksm_set("run", 1));
	/* A full scan that was under way ends first. Another hour makes ksmd go on. */
	while (!reaches("pages_scanned", scanned + 1, 1) && tries--)
		ASSERT_EQ(0, ksm_set("sleep_millisecs", HOUR_MS - tries));
	ASSERT_LT(scanned, ksm_read("pages_scanned"));
	/* It sleeps by now, or soon will, in the middle of these pages. */
	mem_fill(PAGE(mem, N), BEHIND, 1 + N, 1);
	ASSERT_EQ(0, madvise(mem, (N + BEHIND) * PAGE_BYTES, MADV_MERGEABLE));
	scans = ksm_read("full_scans");
	ASSERT_EQ(0, ksm_set("pages_to_scan", 1000000));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 1));
	EXPECT_TRUE(reaches("full_scans", scans + 3, PATIENCE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(0, 0, N + BEHIND);
}

/* The first half of a suspend: all tasks freeze, and some time later thaw. */
static int freeze_and_thaw(void)
{
	int err, err2;

	file_write("/sys/module/suspend/parameters/pm_test_delay", "1");
	err = file_write(POWER "pm_test", "freezer");
	if (err)
		return err;
	err = file_write(POWER "state", "freeze");
	err2 = file_write(POWER "pm_test", "none");
	return err ? err : err2;
}

KSM_TEST(freezes_for_suspend)
{
	static const char *const sleeps[] = { "20", "3600000" };
	char *mem = mem_merged(N, 40, 0);
	size_t i;

	ASSERT_NE(NULL, mem);
	if (access(POWER "pm_test", W_OK))
		SKIP(return, "no test of suspend");
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, ksm_write("sleep_millisecs", sleeps[i]));
		ASSERT_EQ(0, ksm_set("run", 1));
		sleep_ms(50);
		EXPECT_EQ(0, freeze_and_thaw());
	}
	/* Awake again, and at work. */
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 1));
	page_fill(mem, 41);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 2, 1);
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N - 1, 40, 0));
	/* With nothing to do, too. */
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, freeze_and_thaw());
}

/* It never sleeps, but it must not keep the machine awake. */
KSM_TEST(freezes_without_a_pause)
{
	char *mem = mem_merged(N, 50, 0);

	ASSERT_NE(NULL, mem);
	if (access(POWER "pm_test", W_OK))
		SKIP(return, "no test of suspend");
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	EXPECT_EQ(0, freeze_and_thaw());
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 50, 0));
}

TEST_HARNESS_MAIN
