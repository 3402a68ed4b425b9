// SPDX-License-Identifier: GPL-2.0
/*
 * Unmerging uses up all memory of the machine: the process that caused it is
 * killed, the memory of all others is intact, and merging continues when there
 * is room again. memcg_test covers the limits of a group.
 */

#include "ksm_fixture.h"

#include <fcntl.h>

#define N 49152
#define CONTENTS 32
#define SEED 1000
/* Memory left to the machine, KiB; much less than N pages. */
#define ROOM (24 << 10)
#define HOG "/proc/sys/vm/nr_hugepages"

static int hog_fd = -1;

static bool hog_set(long huge_pages)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%ld", huge_pages);

	return pwrite(hog_fd, text, n, 0) == n;
}

static long available(void)
{
	return file_read_key("/proc/meminfo", "MemAvailable");
}

/*
 * A pool of huge pages that nobody uses: it takes memory away at once, reclaim
 * cannot reach it, and killing somebody does not free it.
 */
static bool hog_start(void)
{
	long page = file_read_key("/proc/meminfo", "Hugepagesize");
	long pages = 0;
	int tries;

	/* The process that ends the shortage must not need memory itself. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		return false;
	hog_fd = open(HOG, O_RDWR | O_CLOEXEC);
	if (hog_fd < 0 || page <= 0 || file_read_long(HOG) != 0)
		return false;
	file_write("/proc/sys/vm/drop_caches", "1");
	file_write("/proc/sys/vm/compact_memory", "1");
	/* Memory that was merged may still be on its way to the free lists. */
	for (tries = 0; tries < 10 || (tries < 500 && available() > 2 * ROOM); tries++) {
		pages = file_read_long(HOG) + (available() - ROOM) / page;
		if (available() > ROOM + page && !hog_set(pages))
			return false;
		sleep_ms(20);
	}
	printf("# %ld kB available, %ld huge pages kept\n", available(), file_read_long(HOG));
	fflush(stdout);
	return available() < (long)(N * PAGE_BYTES >> 10) / 2;
}

static void hog_stop(void)
{
	hog_set(0);
}

FIXTURE(oom) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(oom)
{
	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	ASSERT_EQ(0, ksm_set("max_page_sharing", 4 * N));
}

FIXTURE_TEARDOWN_PARENT(oom)
{
	/* Also if the test itself was killed. */
	file_write(HOG, "0");
	KSM_FIXTURE_TEARDOWN();
}

#define OOM_TEST(name) TEST_F_TIMEOUT(oom, name, KSM_TEST_SECONDS)

/* Few contents in turn, which take almost nothing when merged. */
static long start_filled(struct peer *p, size_t pages)
{
	long err = peer_start(p, pages);
	size_t i;

	for (i = 0; i < pages && !err; i += CONTENTS)
		err = peer_fill(p, i, CONTENTS, SEED, 1);
	return err ? err : peer_madvise(p, 0, pages, MADV_MERGEABLE);
}

static long bad(struct peer *p)
{
	long n = 0;
	size_t i;

	for (i = 0; i < p->pages && n >= 0; i += CONTENTS) {
		long more = peer_bad(p, i, CONTENTS, SEED, 1);

		n = more < 0 ? more : n + more;
	}
	return n;
}

static pid_t start_unmerging(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(ksm_write("run", "2") ? 1 : 0);
	return pid;
}

/*
 * It has hardly any memory, and the others have much. It is killed because it
 * causes the trouble.
 */
OOM_TEST(run_kills_the_writer)
{
	struct peer big, small;
	int status;
	pid_t pid;

	ASSERT_EQ(0, start_filled(&big, N));
	ASSERT_EQ(0, start_filled(&small, N / 4));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N + N / 4 - CONTENTS, 0);
	if (!hog_start()) {
		hog_stop();
		SKIP(return, "no huge pages to use up the memory with");
	}
	pid = start_unmerging();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	hog_stop();
	TH_LOG("wait status of the writer: %#x", status);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	/* Nothing continues in the background, and the rest is still shared. */
	EXPECT_EQ(0, ksm_read("run"));
	EXPECT_LT(0, ksm_read("pages_sharing"));
	EXPECT_EQ(0, bad(&big));
	EXPECT_EQ(0, bad(&small));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N + N / 4 - CONTENTS, 0);
	/* With memory it is done. */
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, bad(&big));
	EXPECT_EQ(0, bad(&small));
	EXPECT_EQ(0, peer_end(&big));
	EXPECT_EQ(0, peer_end(&small));
}

/* A process that takes back its own memory becomes the largest one. */
OOM_TEST(madvise_kills_the_caller)
{
	struct peer big, small;

	ASSERT_EQ(0, start_filled(&big, N));
	ASSERT_EQ(0, start_filled(&small, N / 4));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N + N / 4 - CONTENTS, 0);
	if (!hog_start()) {
		hog_stop();
		SKIP(return, "no huge pages to use up the memory with");
	}
	/* The call does not return. */
	EXPECT_EQ(-EPIPE, peer_madvise(&big, 0, N, MADV_UNMERGEABLE));
	hog_stop();
	EXPECT_EQ(-SIGKILL, peer_end(&big));
	EXPECT_EQ(0, bad(&small));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N / 4 - CONTENTS, 0);
	EXPECT_EQ(N / 4, mem_count_ksm(small.pid, small.mem, N / 4));
	EXPECT_EQ(0, bad(&small));
	EXPECT_EQ(0, peer_end(&small));
}

TEST_HARNESS_MAIN
