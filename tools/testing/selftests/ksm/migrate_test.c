// SPDX-License-Identifier: GPL-2.0
/*
 * Shared pages move: between NUMA nodes, by compaction, off a bad frame, and
 * away from memory that is removed.
 */

#include "ksm_fixture.h"

#include <sys/syscall.h>

#include "ksm_env.h"
#include "memory_block.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define N 32

static int migrate_process(pid_t pid, int from, int to)
{
	unsigned long old = 1UL << from, new = 1UL << to;

	return syscall(SYS_migrate_pages, pid, 64UL, &old, &new);
}

KSM_TEST(move_pages_of_one_process)
{
	char *mem;
	size_t i;
	int turn;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	mem = mem_map(N);
	mem_fill(mem, N / 2, 100, 1);
	mem_fill(PAGE(mem, N / 2), N / 2, 100, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, 0);
	for (turn = 0; turn < 4; turn++) {
		int node = !(turn & 1);

		EXPECT_EQ(N, move_to_node(0, mem, N, node));
		for (i = 0; i < N; i++)
			EXPECT_EQ(node, node_of(PAGE(mem, i)));
		EXPECT_EQ(N, mem_count_ksm(0, mem, N));
		EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(mem, N / 2)));
		EXPECT_EQ(0, mem_bad(mem, N / 2, 100, 1));
		EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 100, 1));
		ASSERT_EQ(0, ksm_settle());
		ASSERT_COUNTERS(N / 2, N / 2, 0);
	}
	/* Moved pages still know all their mappings: a write stays private. */
	mem_fill(mem, 4, 900, 1);
	EXPECT_EQ(0, mem_bad(mem, 4, 900, 1));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 100, 1));
}

/* A page that comes later must find the shared one where it is now. */
KSM_TEST(late_duplicate_after_move)
{
	char *mem;
	int node;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	mem = mem_map(3);
	mem_fill(mem, 2, 110, 0);
	page_fill(PAGE(mem, 2), 111);
	ASSERT_EQ(0, madvise(mem, 3 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	node = !node_of(mem);
	ASSERT_EQ(2, move_to_node(0, mem, 2, node));
	page_fill(PAGE(mem, 2), 110);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2, 0);
	EXPECT_EQ(node, node_of(PAGE(mem, 2)));
	EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(mem, 2)));
	EXPECT_EQ(0, mem_bad(mem, 3, 110, 0));
}

KSM_TEST(migrate_processes_while_scanning)
{
	struct peer p[2], child;
	int turn;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	ASSERT_EQ(0, peer_start(&p[0], N));
	ASSERT_EQ(0, peer_fill(&p[0], 0, N, 200, 1));
	ASSERT_EQ(0, peer_madvise(&p[0], 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_start(&p[1], N));
	ASSERT_EQ(0, peer_fill(&p[1], 0, N, 200, 1));
	ASSERT_EQ(0, peer_madvise(&p[1], 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, N, 0);
	ASSERT_EQ(0, peer_fork(&p[0], &child));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (turn = 0; turn < 10; turn++) {
		ASSERT_LE(0, migrate_process(p[turn % 2].pid, turn & 1, !(turn & 1)));
		ASSERT_EQ(0, peer_bad(&p[0], 0, N, 200, 1));
		ASSERT_EQ(0, peer_bad(&p[1], 0, N, 200, 1));
		ASSERT_EQ(0, peer_bad(&child, 0, N, 200, 1));
		ASSERT_EQ(0, peer_fill(&child, turn, 1, 200 + turn, 1));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, 2 * N, 0);
	EXPECT_EQ(0, peer_end(&p[0]));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 200, 1));
	EXPECT_EQ(0, peer_bad(&p[1], 0, N, 200, 1));
	EXPECT_EQ(0, peer_end(&child));
	EXPECT_EQ(0, peer_end(&p[1]));
}

KSM_TEST(nodes_stay_apart)
{
	char *mem;
	size_t i;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	mem = mem_map(N);
	ASSERT_EQ(0, ksm_set("merge_across_nodes", 0));
	ASSERT_EQ(0, bind_to_node(mem, N / 2, 0));
	ASSERT_EQ(0, bind_to_node(PAGE(mem, N / 2), N / 2, 1));
	mem_fill(mem, N, 300, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, N - 2, 0);
	for (i = 0; i < N / 2; i++) {
		EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(mem, i)));
		EXPECT_EQ(page_pfn(0, PAGE(mem, N / 2)), page_pfn(0, PAGE(mem, N / 2 + i)));
	}
	EXPECT_EQ(0, node_of(mem));
	EXPECT_EQ(1, node_of(PAGE(mem, N / 2)));
	EXPECT_EQ(0, mem_bad(mem, N, 300, 0));

	/* The setting cannot change while pages are shared. */
	EXPECT_EQ(-EBUSY, ksm_set("merge_across_nodes", 1));
	EXPECT_EQ(0, ksm_read("merge_across_nodes"));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, ksm_set("merge_across_nodes", 1));
	EXPECT_EQ(1, ksm_read("merge_across_nodes"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 300, 0));
	EXPECT_EQ(-EBUSY, ksm_set("merge_across_nodes", 0));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, ksm_set("merge_across_nodes", 0));
}

/* A shared page moves to a node that has one with its content: one of two twins. */
KSM_TEST(move_to_the_other_nodes_twin)
{
	struct ksm_counters c;
	char *mem;
	size_t i;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	mem = mem_map(N);
	ASSERT_EQ(0, ksm_set("merge_across_nodes", 0));
	ASSERT_EQ(0, bind_to_node(mem, N / 2, 0));
	ASSERT_EQ(0, bind_to_node(PAGE(mem, N / 2), N / 2, 1));
	mem_fill(mem, N, 400, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, N - 2, 0);
	EXPECT_EQ(N / 2, move_to_node(0, mem, N / 2, 1));
	EXPECT_EQ(0, mem_bad(mem, N, 400, 0));
	ASSERT_EQ(0, ksm_settle());
	/* The base may leave a chain of two. */
	ksm_counters(&c);
	ksm_counters_print("twins", &c);
	EXPECT_EQ(N, c.shared + c.sharing);
	EXPECT_GE(ksm_has("metadata_bytes") ? 1 : 2, c.shared);
	for (i = 0; i < N; i++)
		EXPECT_EQ(1, node_of(PAGE(mem, i)));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N / 2) + mem_count_ksm(0, PAGE(mem, N / 2), N / 2));
	EXPECT_EQ(0, mem_bad(mem, N, 400, 0));
	/*
	 * New pages go to the node they are bound to, and the old twins are
	 * gone.
	 */
	mem_fill(mem, N, 401, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, N - 2, 0);
	mem_fill(PAGE(mem, 1), N - 1, 400, 0);
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(-1, page_diff(mem, 401));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N - 1, 400, 0));
}

/* Moved to an empty node, then joined there by a page of that node. */
KSM_TEST(move_and_be_found)
{
	char *mem;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	mem = mem_map(3);
	ASSERT_EQ(0, ksm_set("merge_across_nodes", 0));
	ASSERT_EQ(0, bind_to_node(mem, 2, 0));
	ASSERT_EQ(0, bind_to_node(PAGE(mem, 2), 1, 1));
	mem_fill(mem, 3, 410, 0);
	ASSERT_EQ(0, madvise(mem, 3 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, 1);
	EXPECT_EQ(2, move_to_node(0, mem, 2, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2, 0);
	EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(mem, 2)));
	EXPECT_EQ(0, mem_bad(mem, 3, 410, 0));
}

/* A page that has left its node does not attract the pages of that node. */
KSM_TEST(move_and_be_left)
{
	char *low, *high;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	/* The newcomer is below, so that it is scanned first. */
	low = mem_map(4);
	ASSERT_NE(NULL, low);
	high = PAGE(low, 1);
	ASSERT_EQ(0, ksm_set("merge_across_nodes", 0));
	ASSERT_EQ(0, bind_to_node(low, 4, 0));
	mem_fill(high, 3, 420, 0);
	ASSERT_EQ(0, madvise(low, 4 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2, 0);
	EXPECT_EQ(3, move_to_node(0, high, 3, 1));
	page_fill(low, 420);
	ASSERT_EQ(0, node_of(low));
	ASSERT_EQ(0, ksm_scans(1));
	EXPECT_EQ(0, node_of(low));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, node_of(low));
	EXPECT_EQ(1, node_of(high));
	ASSERT_COUNTERS(1, 2, 1);
	EXPECT_EQ(0, mem_bad(low, 4, 420, 0));
}

KSM_TEST(compaction)
{
	const size_t n = 1024;
	char *mem = mem_map(n);
	char *holes = mem_map(4 * n);
	size_t i;
	int turn;

	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	/* Fill in turns, then give every other page back: fragments. */
	for (i = 0; i < n; i++) {
		page_fill(PAGE(mem, i), 500 + i % 128);
		mem_fill(PAGE(holes, 4 * i), 4, 7, 0);
	}
	for (i = 0; i < 4 * n; i += 2)
		madvise(PAGE(holes, i), PAGE_BYTES, MADV_DONTNEED);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(128, n - 128, 0);
	ASSERT_EQ(0, ksm_set("run", 1));
	for (turn = 0; turn < 3; turn++) {
		ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
		for (i = 0; i < n; i += 128)
			EXPECT_EQ(0, mem_bad(PAGE(mem, i), 128, 500, 1));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(128, n - 128, 0);
	for (i = 0; i < n; i += 128)
		EXPECT_EQ(0, mem_bad(PAGE(mem, i), 128, 500, 1));
}

/* Memory with shared pages in it is removed, as from a virtual machine. */
KSM_TEST(memory_offline)
{
	char *other = mem_map(1);
	uint64_t pfn, block;
	char *mem;

	if (!memory_block_pages())
		SKIP(return, "no memory hotplug");
	mem = memory_block_with_merged(N, 900);
	if (!mem)
		SKIP(return, "no memory can be taken offline: boot with movablecore=");
	page_fill(other, 1);
	ASSERT_EQ(0, madvise(other, PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, N, 1);
	pfn = page_pfn(0, mem);
	block = pfn / memory_block_pages();
	/* ksmd has to stand aside while it happens. */
	ASSERT_EQ(0, ksm_set("run", 1));
	ASSERT_EQ(0, memory_block_write(block, "offline"));
	EXPECT_NE(block, page_pfn(0, mem) / memory_block_pages());
	EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(mem, N)));
	EXPECT_EQ(0, mem_bad(mem, N, 900, 1));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N), N, 900, 1));
	/* The trees know the pages where they are now. */
	page_fill(other, 900);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, N + 1, 0);
	EXPECT_EQ(page_pfn(0, mem), page_pfn(0, other));
	mem_fill(mem, N / 2, 5000, 1);
	EXPECT_EQ(0, mem_bad(PAGE(mem, N), N, 900, 1));
	EXPECT_EQ(0, memory_block_write(block, "online_movable"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, N / 2 + 1, N / 2);
	EXPECT_EQ(0, mem_bad(PAGE(mem, N), N, 900, 1));
}

/* What KSM still knows of freed pages goes when their memory goes offline. */
KSM_TEST(memory_offline_is_forgotten)
{
	long nodes, there = 0;
	uint64_t block;
	char *mem;
	size_t i;

	if (!memory_block_pages())
		SKIP(return, "no memory hotplug");
	mem = memory_block_with_merged(N, 950);
	if (!mem)
		SKIP(return, "no memory can be taken offline: boot with movablecore=");
	block = page_pfn(0, mem) / memory_block_pages();
	for (i = 0; i < N; i++)
		there += page_pfn(0, PAGE(mem, i)) / memory_block_pages() == block;
	/* ksmd is stopped, so it does not notice that the pages are freed. */
	nodes = verify_there() ? verify_figure("nodes") : 0;
	ASSERT_EQ(0, munmap(mem, 2 * N * PAGE_BYTES));
	if (verify_there())
		ASSERT_EQ(nodes, verify_figure("nodes"));
	ASSERT_EQ(0, memory_block_write(block, "offline"));
	if (verify_there())
		EXPECT_EQ(nodes - there, verify_figure("nodes"));
	EXPECT_EQ(0, memory_block_write(block, "online_movable"));
}

/* The last ones: a frame that is taken out of use stays so until the next boot. */
KSM_TEST(soft_offline)
{
	char *mem = mem_map(N);
	uint64_t pfn;
	int ret;

	mem_fill(mem, N, 600, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	pfn = page_pfn(0, mem);
	ret = madvise(mem, PAGE_BYTES, MADV_SOFT_OFFLINE);
	if (ret && errno == EINVAL)
		SKIP(return, "no memory failure handling");
	ASSERT_EQ(0, ret);
	EXPECT_NE(pfn, page_pfn(0, mem));
	EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(mem, N - 1)));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 600, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 600, 0));
}

/* Hardware reports the frame as broken: its users lose it, and only it. */
KSM_TEST(memory_failure)
{
	struct peer p[3];
	long ret;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_start(&p[i], N));
		ASSERT_EQ(0, peer_fill(&p[i], 0, N, 700, 1));
		ASSERT_EQ(0, peer_madvise(&p[i], 0, N, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, 2 * N, 0);
	ret = peer_madvise(&p[0], 3, 1, MADV_HWPOISON);
	if (ret == -EINVAL || ret == -EPERM)
		SKIP(return, "no memory failure handling");
	/* It is killed at once, and the others are when they touch the page. */
	EXPECT_EQ(-EPIPE, ret);
	EXPECT_EQ(-SIGBUS, peer_end(&p[0]));
	for (i = 1; i < 3; i++) {
		EXPECT_EQ(0, peer_bad(&p[i], 0, 3, 700, 1));
		EXPECT_EQ(0, peer_bad(&p[i], 4, N - 4, 704, 1));
	}
	EXPECT_EQ(-EPIPE, peer_bad(&p[1], 3, 1, 703, 1));
	EXPECT_EQ(-SIGBUS, peer_end(&p[1]));
	/* Ordinary life goes on for the third. */
	ASSERT_EQ(0, ksm_scans(3));
	EXPECT_EQ(0, peer_fill(&p[2], 4, 4, 800, 1));
	EXPECT_EQ(0, peer_bad(&p[2], 4, 4, 800, 1));
	EXPECT_EQ(0, peer_madvise(&p[2], 4, N - 4, MADV_UNMERGEABLE));
	EXPECT_EQ(0, peer_bad(&p[2], 8, N - 8, 708, 1));
	EXPECT_EQ(0, peer_end(&p[2]));
}

TEST_HARNESS_MAIN
