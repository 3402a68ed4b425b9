// SPDX-License-Identifier: GPL-2.0
/*
 * The workers without memory: what they cannot allocate is not merged, and made
 * up for later; and workers that cannot be had.
 */

#include "ksm_fixture.h"

#include <fcntl.h>

#include "inject.h"
#include "ksm_env.h"

#define N 32

#define INJECT_TEST(name) TEST_F_TIMEOUT(inject, name, KSM_TEST_SECONDS)

FIXTURE(inject) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(inject)
{
	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	if (!inject_available() || !ksm_has("scan_threads"))
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	ASSERT_EQ(0, inject_start());
}

FIXTURE_TEARDOWN_PARENT(inject)
{
	if (!inject_available() || !ksm_has("scan_threads"))
		return;
	inject_stop();
	KSM_FIXTURE_TEARDOWN();
}

/* Pairs, and a content of so many pages that its node becomes a chain. */
#define SHARING_MAX 4

static void fill(char *mem)
{
	mem_fill(mem, N / 4, 10, 1);
	mem_fill(PAGE(mem, N / 4), N / 4, 10, 1);
	mem_fill(PAGE(mem, N / 2), N / 2, 9, 0);
}

static size_t bad(const char *mem)
{
	return mem_bad(mem, N / 4, 10, 1) + mem_bad(PAGE(mem, N / 4), N / 4, 10, 1) +
	       mem_bad(PAGE(mem, N / 2), N / 2, 9, 0);
}

static char *offer(void)
{
	char *mem = mem_map(N);

	fill(mem);
	return madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE) ? NULL : mem;
}

/* Each allocation of one worker's scan fails once. */
INJECT_TEST(each_allocation_of_a_scan)
{
	pid_t ksmd = pid_of("ksmd");
	bool more = true;
	int n, quiet = 0;
	char *mem;

	ASSERT_LT(0, ksmd);
	ASSERT_EQ(0, ksm_set("scan_threads", 1));
	ASSERT_EQ(0, ksm_set("max_page_sharing", SHARING_MAX));
	/* There is not one sequence of allocations only: a few in a row. */
	for (n = 1; quiet < 3 && n < 200; n++) {
		struct ksm_counters c;

		mem = offer();
		ASSERT_NE(NULL, mem);
		fail_nth(ksmd, n);
		ASSERT_EQ(0, ksm_scans(2));
		more = fail_did_happen(ksmd);
		quiet = more ? 0 : quiet + 1;
		ASSERT_EQ(0, bad(mem));
		/* What failed is made up for. */
		ASSERT_EQ(0, ksm_settle());
		ksm_counters(&c);
		ASSERT_EQ(N, c.shared + c.sharing);
		ASSERT_EQ(N, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, bad(mem));
		ASSERT_EQ(0, munmap(mem, N * PAGE_BYTES));
		ASSERT_TRUE(ksm_wait_zero(&c, self->zero_before));
	}
	TH_LOG("%d allocations failed", n - quiet - 1);
	EXPECT_FALSE(more);
	EXPECT_LT(20, n);
}

/* Nothing of one kind can be had for a while: what comes of it is known. */
static void starve(struct __test_metadata *_metadata, const char *cache,
		   long want_known)
{
	struct ksm_counters c;
	char *mem = offer();

	ASSERT_NE(NULL, mem);
	/* One that is certain to be told that it may fail */
	ASSERT_EQ(0, ksm_set("scan_threads", 1));
	ASSERT_EQ(0, inject_only(cache));
	ASSERT_LE(1, fail_allow_ksmd(true));
	ASSERT_EQ(0, fail_percent(100));
	EXPECT_EQ(0, ksm_scans(4));
	ASSERT_EQ(0, fail_percent(0));
	ksm_counters_print(cache, (ksm_counters(&c), &c));
	EXPECT_EQ(0, c.shared);
	EXPECT_EQ(0, c.sharing);
	EXPECT_EQ(0, c.chains);
	EXPECT_EQ(want_known, c.unshared + c.volatiles);
	EXPECT_EQ(0, bad(mem));
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	EXPECT_EQ(N, c.shared + c.sharing);
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, bad(mem));
	ASSERT_EQ(0, munmap(mem, N * PAGE_BYTES));
}

INJECT_TEST(no_chunks)
{
	starve(_metadata, "ksm_chunk", 0);
}

/* What finds the chunks by address. */
INJECT_TEST(no_xarray_nodes)
{
	starve(_metadata, "radix_tree_node", 0);
}

/* All pages are known, and wait. */
INJECT_TEST(no_stable_nodes)
{
	starve(_metadata, "ksm_stable_node", N);
}

/* A chain takes a node more than the page that it is made for. */
INJECT_TEST(no_chains)
{
	pid_t ksmd = pid_of("ksmd");
	bool more = true;
	char *mem;
	int n;

	ASSERT_EQ(0, ksm_set("scan_threads", 1));
	ASSERT_EQ(0, ksm_set("max_page_sharing", 2));
	ASSERT_EQ(0, inject_only("ksm_stable_node"));
	for (n = 1; more && n < 100; n++) {
		struct ksm_counters c;

		mem = mem_map(8);
		mem_fill(mem, 8, 20, 0);
		ASSERT_EQ(0, madvise(mem, 8 * PAGE_BYTES, MADV_MERGEABLE));
		fail_nth(ksmd, n);
		ASSERT_EQ(0, ksm_scans(3));
		more = fail_did_happen(ksmd);
		ASSERT_EQ(0, mem_bad(mem, 8, 20, 0));
		ASSERT_EQ(0, ksm_settle());
		ksm_counters(&c);
		ASSERT_EQ(8, c.shared + c.sharing);
		ASSERT_EQ(1, c.chains);
		ASSERT_EQ(0, mem_bad(mem, 8, 20, 0));
		ASSERT_EQ(0, munmap(mem, 8 * PAGE_BYTES));
		ASSERT_TRUE(ksm_wait_zero(&c, self->zero_before));
	}
	TH_LOG("%d nodes failed", n - 2);
	EXPECT_FALSE(more);
	/* Four pages, and the chain. */
	EXPECT_LE(5, n - 2);
}

/* Any allocation, at random, of all workers at once. */
INJECT_TEST(scan_short_of_memory)
{
	const size_t n = 512;
	char *mem;
	int round;

	mem = mem_map(n);
	ASSERT_LE(1, fail_allow_ksmd(true));
	for (round = 0; round < 6; round++) {
		mem_fill(mem, n / 2, 1000 + round, 1);
		mem_fill(PAGE(mem, n / 2), n / 2, 1000 + round, 1);
		ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_EQ(0, fail_percent(5 + 15 * round));
		EXPECT_EQ(0, ksm_scans(6));
		ASSERT_EQ(0, fail_percent(0));
		ASSERT_EQ(0, mem_merged_bad(mem, n, 1000 + round, 1));
		/* What failed is made up for. */
		ASSERT_EQ(0, ksm_settle());
		ASSERT_COUNTERS(n / 2, n / 2, 0);
		ASSERT_EQ(0, mem_merged_bad(mem, n, 1000 + round, 1));
		ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_UNMERGEABLE));
	}
	ASSERT_LE(1, fail_allow_ksmd(false));
}

static int open_threads(void)
{
	return open("/sys/kernel/mm/ksm/scan_threads", O_WRONLY | O_CLOEXEC);
}

/* 0 or -errno, by a file that is open: to open one takes memory. */
static int set_threads(int fd, const char *threads)
{
	return pwrite(fd, threads, strlen(threads), 0) < 0 ? -errno : 0;
}

/* A number of workers is had as a whole, or it stays as it was. */
static void check_threads(struct __test_metadata *_metadata, int ret)
{
	if (ret)
		EXPECT_TRUE(ret == -ENOMEM || ret == -EAGAIN)
			TH_LOG("error %d", ret);
	EXPECT_EQ(ret ? 2 : 5, ksm_read("scan_threads"));
	EXPECT_EQ(ret ? 2 : 5, count_ksmd());
}

/* The caller allocates, and kthreadd does for it. */
INJECT_TEST(more_workers)
{
	static const pid_t who[] = { 0, KTHREADD };
	int fd = open_threads();
	int i, n, ret, failed;
	bool more;

	ASSERT_LE(0, fd);
	for (i = 0; i < 2; i++) {
		for (n = 1, failed = 0, more = true; more && n < 400; n += n < 24 ? 1 : 5) {
			ASSERT_EQ(0, set_threads(fd, "2"));
			fail_nth(who[i], n);
			ret = set_threads(fd, "5");
			more = fail_did_happen(who[i]);
			failed += !!ret;
			check_threads(_metadata, ret);
		}
		EXPECT_FALSE(more);
		TH_LOG("%d of %d failed", failed, n);
		EXPECT_LT(0, failed);
	}
	close(fd);
}

/* A worker's state is large, and only when neither kind of memory is there... */
INJECT_TEST(no_room_for_a_worker)
{
	int fd = open_threads();
	char *mem;
	int ret;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_threads(fd, "2"));
	ASSERT_EQ(0, inject_only("kmalloc-8k"));
	ASSERT_EQ(0, inject_pages_too());
	ASSERT_EQ(1, fail_allow_self(true));
	ASSERT_EQ(0, fail_percent(100));
	ret = set_threads(fd, "5");
	/* The failures end with those who may fail, not by opening a file. */
	ASSERT_EQ(1, fail_allow_self(false));
	ASSERT_EQ(0, fail_percent(0));
	EXPECT_EQ(-ENOMEM, ret);
	check_threads(_metadata, ret);
	/* The two that there are work on. */
	mem = mem_merged(N, 30, 1);
	ASSERT_NE(NULL, mem);
	ASSERT_COUNTERS(N / 2, N / 2, 0);
	ASSERT_EQ(0, set_threads(fd, "5"));
	close(fd);
}

TEST_HARNESS_MAIN
