// SPDX-License-Identifier: GPL-2.0
/* ksmd itself: when it works, when it rests, and what stops it. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "ksm_env.h"

#define N 32
#define HOUR_MS 3600000
#define POWER "/sys/power/"

/* How often it went to sleep, which is how often it was awake. */
static long ksmd_wakeups(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid_of("ksmd"));
	return file_read_key(path, "voluntary_ctxt_switches");
}

static long ksmd_state(void)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid_of("ksmd"));
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state;
}

/* Until a counter has come to a value, for at most this long. */
static bool reaches(const char *counter, long value, double seconds)
{
	double end = seconds_now() + seconds;

	while (ksm_read(counter) < value && seconds_now() < end)
		sleep_ms(2);
	return ksm_read(counter) >= value;
}

KSM_TEST(is_nice)
{
	pid_t pid = pid_of("ksmd");

	ASSERT_LT(0, pid);
	errno = 0;
	EXPECT_EQ(5, getpriority(PRIO_PROCESS, pid));
	EXPECT_EQ(0, errno);
}

/* Stopped, it merges nothing more, and what is shared stays so. */
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
	/* One that leaves while it is stopped leaves. */
	page_fill(mem, 11);
	EXPECT_EQ(-1, page_diff(mem, 11));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N - 1, 10, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 2, 1);
}

KSM_TEST(sleeps_when_nothing_is_registered)
{
	long before;

	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	/* What is left of earlier tests is seen to first. */
	sleep_ms(500);
	before = ksmd_wakeups();
	ASSERT_LT(0, before);
	sleep_ms(1000);
	EXPECT_EQ(before, ksmd_wakeups());
	EXPECT_EQ('S', ksmd_state());
}

KSM_TEST(wakes_when_something_is_registered)
{
	char *mem = mem_map(N);
	double start;
	long scanned;

	mem_fill(mem, N, 20, 0);
	ASSERT_EQ(0, ksm_set("run", 1));
	sleep_ms(200);
	/* It is waiting for somebody by now, and not for the hour to end. */
	ASSERT_EQ(0, ksm_set("sleep_millisecs", HOUR_MS));
	sleep_ms(200);
	scanned = ksm_read("pages_scanned");
	start = seconds_now();
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_TRUE(reaches("pages_scanned", scanned + N, 5));
	TH_LOG("at work after %.0f ms", (seconds_now() - start) * 1e3);
	/* Once, and then it does sleep, until the hour is over or shortened. */
	sleep_ms(200);
	scanned = ksm_read("pages_scanned");
	sleep_ms(500);
	EXPECT_EQ(scanned, ksm_read("pages_scanned"));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 1));
	EXPECT_TRUE(reaches("pages_sharing", N - 1, 5));
	EXPECT_EQ(0, mem_bad(mem, N, 20, 0));
}

/* Also out of an hour's sleep. */
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
	EXPECT_GT(5, seconds_now() - start);
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 30, 0));
}

/* When the write returns, ksmd is not at work any more. */
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

/* 0, or -errno if a signal came; the alarm is due after so many microseconds. */
static int unmerge_all_with_alarm(unsigned int us)
{
	struct itimerval in = { .it_value.tv_usec = us }, never = { 0 };
	int err;

	setitimer(ITIMER_REAL, &in, NULL);
	err = ksm_write("run", "2");
	setitimer(ITIMER_REAL, &never, NULL);
	return err;
}

/* A signal ends the work of run=2 in the middle: it is as if stopped by 0. */
KSM_TEST(signal_ends_unmerging)
{
	const size_t n = 8192;
	struct sigaction act = { .sa_handler = on_alarm };
	char *mem = mem_map(n);
	unsigned int us = 50000;
	size_t shared, i;
	int err = 0;

	ASSERT_EQ(0, sigaction(SIGALRM, &act, NULL));
	for (i = 0; i < n; i += 128)
		mem_fill(PAGE(mem, i), 128, 1000, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	for (; us > 50 && !err; us /= 2) {
		ASSERT_EQ(0, ksm_settle());
		ASSERT_COUNTERS(128, n - 128, 0);
		err = unmerge_all_with_alarm(us);
	}
	EXPECT_EQ(-EINTR, err);
	EXPECT_EQ(0, ksm_read("run"));
	shared = mem_count_ksm(0, mem, n);
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

/* It never sleeps, but it is not to keep the machine awake. */
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
