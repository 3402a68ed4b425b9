// SPDX-License-Identifier: GPL-2.0
/* Merged memory goes out to swap and comes back, with swap on zram. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/swap.h>
#include <sys/uio.h>

#include "ksm_env.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define N 256
#define ZSWAP "/sys/module/zswap/parameters/enabled"
#define MIDDLING "/sys/kernel/mm/transparent_hugepage/hugepages-16kB/enabled"

FIXTURE(swap) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(swap)
{
	int err;

	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	err = swap_start();
	if (err)
		SKIP(return, "no swap on zram: %s", strerror(-err));
	err = cgroup_start();
	if (!err)
		err = cgroup_enter(0);
	if (err)
		SKIP(return, "no memory cgroup: %s", strerror(-err));
}

FIXTURE_TEARDOWN_PARENT(swap)
{
	KSM_FIXTURE_TEARDOWN();
	cgroup_stop();
	file_write(ZSWAP, "N");
	file_write(MIDDLING, "never");
	EXPECT_EQ(0, swap_stop());
}

#define SWAP_TEST(name) TEST_F_TIMEOUT(swap, name, KSM_TEST_SECONDS)

SWAP_TEST(out_and_in)
{
	char *mem = mem_merged(N, 1000, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_COUNTERS(N / 2, N / 2, 0);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 1000, 1));
	EXPECT_EQ(0, mem_count_swapped(0, mem, N));
	/* Found again and merged again. */
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, 0);
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 1000, 1));
}

/* Scans go on while the pages are out. */
SWAP_TEST(scan_while_out)
{
	char *mem = mem_merged(N, 2000, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	ASSERT_EQ(0, ksm_scans(3));
	EXPECT_LT(N / 2, swap_out(0, mem, N));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 2000, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, 0);
	EXPECT_EQ(0, mem_merged_bad(mem, N, 2000, 1));
}

/* Equal pages of the two, at the same places, that are in one frame. */
static size_t common_frames(const char *mem, struct peer *p, size_t pages)
{
	size_t i, n = 0;

	for (i = 0; i < pages; i++) {
		uint64_t pfn = page_pfn(0, PAGE(mem, i));

		n += pfn && pfn == page_pfn(p->pid, PAGE(p->mem, i));
	}
	return n;
}

/*
 * Runs of pages, each a page farther from the one before than its slots are: so some run
 * lies as a large page has to.
 */
#define RUN 12
#define RUNS 4
#define STRIDE (RUN + 1)
#define APART (RUNS * STRIDE)

static size_t runs_bad(const char *mem, struct peer *p, uint64_t seed)
{
	size_t i, n = 0;

	/* One process after the other: the first one gets large pages, if anybody does. */
	for (i = 0; i < APART; i += STRIDE)
		n += peer_bad(p, i, RUN, seed + i, 1) != 0;
	for (i = 0; i < APART; i += STRIDE)
		n += mem_bad(PAGE(mem, i), RUN, seed + i, 1);
	return n;
}

/*
 * Several slots in a row may be read into one large page, which is of no use to others who
 * share them. Before all tests with zswap: from then on there are no large pages.
 */
SWAP_TEST(no_large_page_of_what_is_shared)
{
	char *mem = mem_map(APART);
	struct peer p;
	int round;
	size_t i;

	ASSERT_EQ(0, peer_start(&p, APART));
	for (i = 0; i < APART; i += STRIDE) {
		mem_fill(PAGE(mem, i), RUN, 9000 + i, 1);
		ASSERT_EQ(0, peer_fill(&p, i, RUN, 9000 + i, 1));
	}
	ASSERT_EQ(0, madvise(mem, APART * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&p, 0, APART, MADV_MERGEABLE));
	if (file_write(MIDDLING, "always"))
		SKIP(return, "no huge pages of 16 kB");
	ASSERT_EQ(0, madvise(mem, APART * PAGE_BYTES, MADV_HUGEPAGE));
	ASSERT_EQ(0, peer_madvise(&p, 0, APART, MADV_HUGEPAGE));
	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, ksm_settle());
		ASSERT_EQ(RUNS * RUN, common_frames(mem, &p, APART));
		for (i = 0; i < APART; i += STRIDE) {
			ASSERT_LT(RUN / 2, swap_out(p.pid, PAGE(p.mem, i), RUN));
			ASSERT_LT(RUN / 2, swap_out(0, PAGE(mem, i), RUN));
		}
		EXPECT_EQ(0, runs_bad(mem, &p, 9000));
		EXPECT_EQ(0, common_frames(mem, &p, APART));
	}
	EXPECT_EQ(0, peer_end(&p));
}

/*
 * Checking whether swapped pages still share takes time, and a budget pays for
 * it: a full scan takes longer than its few pages would.
 */
SWAP_TEST(what_is_out_is_paid_for)
{
	enum { PAGES = 8192, SPLICED = 128 };
	char *mem = mem_map(PAGES);
	struct iovec page[SPLICED];
	int pipes[2], i;
	double begin;

	mem_fill(mem, PAGES, 7, 0);
	ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_LT(PAGES / 2, ksm_read("pages_sharing"));
	/*
	 * With one more reference, KSM pages stay in the swap cache, nearly all
	 * of them.
	 */
	for (i = 0; i < SPLICED; i++)
		page[i] = (struct iovec){ PAGE(mem, i * (PAGES / SPLICED)), PAGE_BYTES };
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_LE(SPLICED * PAGE_BYTES, fcntl(pipes[1], F_SETPIPE_SZ, SPLICED * PAGE_BYTES));
	ASSERT_EQ(SPLICED * PAGE_BYTES, vmsplice(pipes[1], page, SPLICED, 0));
	ASSERT_LT(PAGES / 2, swap_out(0, mem, PAGES));
	ASSERT_EQ(0, ksm_set("pages_to_scan", 20));
	/* So long that the time of the work itself does not matter. */
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 100));
	begin = seconds_now();
	ASSERT_EQ(0, ksm_scans(2));
	/* A visit each, of which 16 cost a page: 25 budgets a scan, two seconds and a half. */
	printf("# it took %.2f s\n", seconds_now() - begin);
	EXPECT_LT(4, seconds_now() - begin);
	close(pipes[0]);
	close(pipes[1]);
	EXPECT_EQ(0, mem_bad(mem, PAGES, 7, 0));
}

/* A swapped copy is not the shared page, which has one sharer less. */
SWAP_TEST(copies_are_out)
{
	char *mem = mem_map(4);

	mem_fill(mem, 4, 2500, 0);
	ASSERT_EQ(0, madvise(mem, 4 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 3, 0);
	page_fill(mem, 2501);
	/* On the LRU lists, from the batch of whatever CPU it is in */
	ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "1"));
	/* Only this one: the shared page stays where it is. */
	ASSERT_EQ(0, madvise(mem, PAGE_BYTES, MADV_PAGEOUT));
	ASSERT_EQ(1, mem_count_swapped(0, mem, 1));
	ASSERT_EQ(0, ksm_scans(3));
	ASSERT_EQ(1, mem_count_swapped(0, mem, 1));
	EXPECT_EQ(1, ksm_read("pages_shared"));
	EXPECT_EQ(2, ksm_read("pages_sharing"));
	EXPECT_EQ(-1, page_diff(mem, 2501));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), 3, 2500, 0));
}

SWAP_TEST(out_then_write)
{
	char *mem = mem_merged(N, 3000, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	mem_fill(mem, N / 4, 77000, 1);
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 3000, 1));
	EXPECT_EQ(0, mem_bad(mem, N / 4, 77000, 1));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 4), N / 4, 3000 + N / 4, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 4, N / 4, N / 2);
	EXPECT_EQ(0, mem_bad(mem, N / 4, 77000, 1));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 3000, 1));
}

struct orphan {
	pid_t pid;
	char *mem;
	size_t bad;
};

/* Runs in its own child: merges, forks, and exits; the child does the rest. */
static void merge_and_leave(size_t n, int tell, int told)
{
	struct orphan me = { .mem = mem_map(n) };

	mem_fill(me.mem, n, 700, 0);
	if (madvise(me.mem, n * PAGE_BYTES, MADV_MERGEABLE) || ksm_settle() ||
	    mem_count_ksm(0, me.mem, n) != n || fork())
		_exit(0);
	me.pid = getpid();
	if (write(tell, &me, sizeof(me)) != sizeof(me) ||
	    read(told, &me.bad, sizeof(me.bad)) != sizeof(me.bad))
		_exit(0);
	me.bad = mem_bad(me.mem, n, 700, 0);
	(void)!write(tell, &me, sizeof(me));
	_exit(0);
}

/* Only the parent's items led to the child's mappings. */
SWAP_TEST(out_when_the_parent_has_gone)
{
	const size_t n = 64;
	int tell[2], told[2];
	struct orphan orphan;
	pid_t pid;

	ASSERT_EQ(0, pipe(tell));
	ASSERT_EQ(0, pipe(told));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		merge_and_leave(n, tell[1], told[0]);
	close(tell[1]);
	close(told[0]);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	ASSERT_EQ((ssize_t)sizeof(orphan), read(tell[0], &orphan, sizeof(orphan)));
	/* Time for ksmd to free what it knew of the parent; it does not scan. */
	sleep_ms(1500);
	EXPECT_EQ(n, swap_out(orphan.pid, orphan.mem, n));
	ASSERT_EQ((ssize_t)sizeof(n), write(told[1], &n, sizeof(n)));
	ASSERT_EQ((ssize_t)sizeof(orphan), read(tell[0], &orphan, sizeof(orphan)));
	EXPECT_EQ(0, orphan.bad);
	close(tell[0]);
	close(told[1]);
}

/*
 * KSM pages in a pipe remain KSM pages when all their mappings are swapped out,
 * and may come back. But not where another mapping has taken the place of a
 * merged one: there nobody would find them, and they could not move.
 */
SWAP_TEST(moved_while_out)
{
	const size_t n = 16;
	char *gone = mem_map(n), *mem = mem_map(n);
	struct iovec all = { mem, n * PAGE_BYTES };
	int fds[2];

	mem_fill(gone, n, 7500, 1);
	mem_fill(mem, n, 7500, 1);
	ASSERT_EQ(0, madvise(gone, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(n, n, 0);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ((ssize_t)all.iov_len, vmsplice(fds[1], &all, 1, 0));
	ASSERT_EQ(n, swap_out(0, gone, n));
	ASSERT_EQ(n, swap_out(0, mem, n));
	ASSERT_EQ(0, munmap(gone, n * PAGE_BYTES));
	ASSERT_EQ(gone, mremap(mem, n * PAGE_BYTES, n * PAGE_BYTES,
			       MREMAP_MAYMOVE | MREMAP_FIXED, gone));
	EXPECT_EQ(0, mem_bad(gone, n, 7500, 1));
	close(fds[0]);
	close(fds[1]);
	if (two_nodes()) {
		EXPECT_EQ(n, move_to_node(0, gone, n, 1));
		EXPECT_EQ(n, move_to_node(0, gone, n, 0));
	}
	EXPECT_EQ(n, swap_out(0, gone, n));
	EXPECT_EQ(0, mem_bad(gone, n, 7500, 1));
}

SWAP_TEST(out_and_fork)
{
	struct peer parent, child;

	ASSERT_EQ(0, peer_start(&parent, N));
	ASSERT_EQ(0, peer_fill(&parent, 0, N / 2, 4000, 1));
	ASSERT_EQ(0, peer_fill(&parent, N / 2, N / 2, 4000, 1));
	ASSERT_EQ(0, peer_madvise(&parent, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_LT(N / 2, swap_out(parent.pid, parent.mem, N));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_fill(&child, 0, N / 4, 88000, 1));
	EXPECT_EQ(0, peer_bad(&parent, 0, N / 2, 4000, 1));
	EXPECT_EQ(0, peer_bad(&parent, N / 2, N / 2, 4000, 1));
	EXPECT_EQ(0, peer_bad(&child, 0, N / 4, 88000, 1));
	EXPECT_EQ(0, peer_bad(&child, N / 2, N / 2, 4000, 1));
	ASSERT_EQ(0, peer_end(&parent));
	ASSERT_LT(N / 4, swap_out(child.pid, child.mem, N));
	EXPECT_EQ(0, peer_bad(&child, 0, N / 4, 88000, 1));
	EXPECT_EQ(0, peer_bad(&child, N / 2, N / 2, 4000, 1));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, peer_bad(&child, N / 2, N / 2, 4000, 1));
	ASSERT_EQ(0, peer_end(&child));
}

/* Unmerged while out: what comes back must not be a KSM page. */
SWAP_TEST(unmerge_while_out)
{
	char *mem = mem_merged(N, 5000, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 5000, 1));
	EXPECT_EQ(0, mem_count_swapped(0, mem, N));
	mem_fill(mem, N, 99000, 1);
	EXPECT_EQ(0, mem_bad(mem, N, 99000, 1));
}

SWAP_TEST(unmerge_all_while_out)
{
	char *mem = mem_merged(N, 6000, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, mem_merged_bad(mem, N, 6000, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, 0);
	EXPECT_EQ(0, mem_merged_bad(mem, N, 6000, 1));
}

SWAP_TEST(swapoff_brings_back)
{
	char *mem = mem_merged(N, 7000, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	ASSERT_EQ(0, ksm_set("run", 1));
	ASSERT_EQ(0, swapoff("/dev/zram0"));
	ASSERT_EQ(0, ksm_set("run", 0));
	EXPECT_EQ(0, mem_count_swapped(0, mem, N));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 7000, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, 0);
	ASSERT_EQ(0, swapon("/dev/zram0", 0));
}

/* Advice to page out does no harm to pages that others also map. */
SWAP_TEST(madvise_pageout)
{
	char *mem = mem_merged(N, 8000, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_PAGEOUT));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 8000, 1));
	/* A shared page with one mapping left may go. */
	munmap(PAGE(mem, N / 2), N / 2 * PAGE_BYTES);
	ASSERT_EQ(0, madvise(mem, N / 2 * PAGE_BYTES, MADV_PAGEOUT));
	EXPECT_EQ(0, mem_bad(mem, N / 2, 8000, 1));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, mem_bad(mem, N / 2, 8000, 1));
}

/* Four times more than the limit allows, once it is not shared any more. */
SWAP_TEST(unmerge_under_a_limit)
{
	const size_t n = 8192;
	char *mem = mem_map(n);
	size_t i;

	for (i = 0; i < n; i += 32)
		mem_fill(PAGE(mem, i), 32, 9000, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(32, n - 32, 0);
	ASSERT_EQ(0, file_write(CGROUP "/memory.max", "8M"));
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(0, mem, n));
	EXPECT_LT(n / 2, mem_count_swapped(0, mem, n));
	for (i = 0; i < n; i += 32)
		EXPECT_EQ(0, mem_bad(PAGE(mem, i), 32, 9000, 1));
}

/* Reclaim, faults and ksmd all at once. */
SWAP_TEST(thrashing)
{
	const size_t n = 4096;
	char *mem = mem_map(n);
	double end;
	size_t i;

	for (i = 0; i < n; i += 64)
		mem_fill(PAGE(mem, i), 64, 10000 + (i & 256), 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, file_write(CGROUP "/memory.max", "8M"));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	end = seconds_now() + 5;
	while (seconds_now() < end) {
		file_write(CGROUP "/memory.reclaim", "4M");
		for (i = 0; i < n; i += 64) {
			ASSERT_EQ(0, mem_bad(PAGE(mem, i), 64, 10000 + (i & 256), 1));
			mem_fill(PAGE(mem, i), 8, 10000 + (i & 256), 1);
		}
	}
	ASSERT_EQ(0, ksm_set("run", 0));
	for (i = 0; i < n; i += 64)
		EXPECT_EQ(0, mem_bad(PAGE(mem, i), 64, 10000 + (i & 256), 1));
}

/* One of two pages that come back is the page, the other gets a copy: counted. */
SWAP_TEST(copies_at_swap_in_are_counted)
{
	char *mem = mem_merged(N, 11000, 1);
	long before = file_read_key("/proc/vmstat", "ksm_swpin_copy");

	ASSERT_NE(NULL, mem);
	ASSERT_LE(0, before);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 11000, 1));
	EXPECT_LT(before, file_read_key("/proc/vmstat", "ksm_swpin_copy"));
	TH_LOG("%ld copies", file_read_key("/proc/vmstat", "ksm_swpin_copy") - before);
}

/*
 * Pages that are clean, and not in the swap cache: if a child that shares them
 * frees them by MADV_FREE, the parent still has them.
 */
#define EXPECT_NO_CHILDS(p, seed, step) do { \
	struct peer *p_ = (p), child_; \
	ASSERT_EQ(0, peer_fork(p_, &child_)); \
	ASSERT_EQ(0, peer_madvise(&child_, 0, N, MADV_FREE)); \
	EXPECT_EQ(0, peer_end(&child_)); \
	/* What is marked takes effect when the batches of the CPUs are drained. */ \
	ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "1")); \
	ASSERT_EQ(0, peer_madvise(p_, 0, N, MADV_PAGEOUT)); \
	EXPECT_EQ(0, peer_bad(p_, 0, N, seed, step)); \
	EXPECT_EQ(0, peer_end(p_)); \
} while (0)

/* A process never wrote to the copy that unmerging made for it. */
SWAP_TEST(unmerged_copies_are_no_childs_to_free)
{
	struct peer p;

	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 4000, 0));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_UNMERGEABLE));
	EXPECT_NO_CHILDS(&p, 4000, 0);
}

/* Nor did it write to a page since it came back from swap. */
SWAP_TEST(pages_from_swap_are_no_childs_to_free)
{
	struct peer p;

	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 5000, 1));
	/* On the LRU lists, from the batches of the CPUs */
	ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "1"));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_PAGEOUT));
	EXPECT_LT(N / 2, mem_count_swapped(p.pid, p.mem, N));
	ASSERT_EQ(0, peer_bad(&p, 0, N, 5000, 1));
	ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "1"));
	EXPECT_NO_CHILDS(&p, 5000, 1);
}

/* Pages that can be compressed; otherwise zswap would pass them on. */
static void compressible_page(char *page, uint64_t seed)
{
	page_fill(page, seed);
	memset(page + PAGE_BYTES / 4, (char)seed, PAGE_BYTES - PAGE_BYTES / 4);
}

static size_t compressible_bad(const char *mem, size_t pages, uint64_t seed)
{
	static char want[PAGE_BYTES];
	size_t bad = 0, i;

	for (i = 0; i < pages; i++) {
		compressible_page(want, seed + i);
		bad += !!memcmp(want, PAGE(mem, i), PAGE_BYTES);
	}
	return bad;
}

/* Two equal halves, merged; NULL if that failed. */
static char *compressible_merged(uint64_t seed)
{
	char *mem = mem_map(N);
	size_t i;

	for (i = 0; i < N; i++)
		compressible_page(PAGE(mem, i), seed + i % (N / 2));
	if (madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE) || ksm_settle() ||
	    mem_count_ksm(0, mem, N) != N)
		return NULL;
	return mem;
}

static long zswap_stored(void)
{
	return file_read_key("/proc/vmstat", "zswpout");
}

/* Compressed memory in front of swap: it stores one page for all sharers. */
SWAP_TEST(through_zswap)
{
	long before = zswap_stored();
	char *mem;

	if (before < 0 || file_write(ZSWAP, "Y"))
		SKIP(return, "no zswap");
	mem = compressible_merged(9000);
	ASSERT_NE(NULL, mem);
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	EXPECT_LT(before + N / 8, zswap_stored());
	/* Written, read, and discarded while it is there. */
	compressible_page(mem, 9500);
	EXPECT_EQ(0, compressible_bad(mem, 1, 9500));
	EXPECT_EQ(0, madvise(PAGE(mem, 1), PAGE_BYTES, MADV_DONTNEED));
	EXPECT_EQ(0, compressible_bad(PAGE(mem, 2), N / 2 - 2, 9002));
	EXPECT_EQ(0, compressible_bad(PAGE(mem, N / 2), N / 2, 9000));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2 - 2, N / 2 - 2, 3);
	EXPECT_EQ(0, compressible_bad(PAGE(mem, 2), N / 2 - 2, 9002));
	EXPECT_EQ(0, compressible_bad(PAGE(mem, N / 2), N / 2, 9000));
}

/* Out and in again, while being scanned. */
SWAP_TEST(through_zswap_while_scanned)
{
	char *mem;
	int round;

	if (zswap_stored() < 0 || file_write(ZSWAP, "Y"))
		SKIP(return, "no zswap");
	mem = compressible_merged(9000);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 5; round++) {
		file_write(CGROUP "/memory.reclaim", "16M");
		ASSERT_EQ(0, compressible_bad(mem, N / 2, 9000));
		ASSERT_EQ(0, compressible_bad(PAGE(mem, N / 2), N / 2, 9000));
	}
	ASSERT_EQ(0, ksm_set("run", 0));
	/* swapoff takes from zswap what it holds. */
	ASSERT_LT(N / 2, swap_out(0, mem, N));
	ASSERT_EQ(0, swapoff(SWAP_DEVICE));
	EXPECT_EQ(0, mem_count_swapped(0, mem, N));
	EXPECT_EQ(0, compressible_bad(mem, N / 2, 9000));
	EXPECT_EQ(0, compressible_bad(PAGE(mem, N / 2), N / 2, 9000));
	ASSERT_EQ(0, swap_start());
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, 0);
}

TEST_HARNESS_MAIN
