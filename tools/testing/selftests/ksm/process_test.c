// SPDX-License-Identifier: GPL-2.0
/* Merging over fork, exec and exit. */

#include "ksm_fixture.h"
#include "ksm_env.h"

#define N 16

static int merged_peer(struct peer *p, uint64_t seed, uint64_t step)
{
	int err = peer_start(p, N);

	if (!err)
		err = peer_fill(p, 0, N, seed, step);
	if (!err)
		err = peer_madvise(p, 0, N, MADV_MERGEABLE);
	return err ? err : ksm_settle();
}

KSM_TEST(fork_child_shares)
{
	struct peer parent, child;

	ASSERT_EQ(0, merged_peer(&parent, 10, 0));
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, peer_fork(&parent, &child));
	EXPECT_EQ(page_pfn(parent.pid, parent.mem), page_pfn(child.pid, child.mem));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 10, 0));
	/* The child is registered on its own, and its mappings are counted. */
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 1, 0);

	ASSERT_EQ(0, peer_fill(&child, 0, 4, 20, 1));
	ASSERT_EQ(0, peer_fill(&parent, 4, 4, 30, 1));
	EXPECT_EQ(0, peer_bad(&parent, 0, 4, 10, 0));
	EXPECT_EQ(0, peer_bad(&parent, 4, 4, 30, 1));
	EXPECT_EQ(0, peer_bad(&parent, 8, N - 8, 10, 0));
	EXPECT_EQ(0, peer_bad(&child, 0, 4, 20, 1));
	EXPECT_EQ(0, peer_bad(&child, 4, N - 4, 10, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 8 - 1, 8);
	ASSERT_EQ(0, peer_end(&child));
	EXPECT_EQ(0, peer_bad(&parent, 8, N - 8, 10, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 4 - 1, 4);
	ASSERT_EQ(0, peer_end(&parent));
}

KSM_TEST(fork_parent_exits_first)
{
	struct peer parent, child;

	ASSERT_EQ(0, merged_peer(&parent, 40, 0));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_end(&parent));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 40, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, mem_count_ksm(child.pid, child.mem, N));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 40, 0));
	ASSERT_EQ(0, peer_fill(&child, 0, 1, 41, 0));
	EXPECT_EQ(0, peer_bad(&child, 0, 1, 41, 0));
	EXPECT_EQ(0, peer_bad(&child, 1, N - 1, 40, 0));
	ASSERT_EQ(0, peer_madvise(&child, 0, N, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(child.pid, child.mem, N));
	EXPECT_EQ(0, peer_bad(&child, 1, N - 1, 40, 0));
	ASSERT_EQ(0, peer_end(&child));
}

/* Fork shares memory that was never merged, which is no reason to unshare it. */
KSM_TEST(fork_of_unmerged_memory)
{
	struct peer parent, child;

	ASSERT_EQ(0, merged_peer(&parent, 50, 1));
	ASSERT_COUNTERS(0, 0, N);
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(page_pfn(parent.pid, parent.mem), page_pfn(child.pid, child.mem));
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 50, 1));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 50, 1));
	ASSERT_EQ(0, peer_fill(&child, 0, N, 90, 1));
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 50, 1));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 90, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(0, 0, 2 * N);
	ASSERT_EQ(0, peer_end(&child));
	ASSERT_EQ(0, peer_end(&parent));
}

/*
 * A child shares pages with a parent that offers none. What the child merges of
 * them is merged for the child alone: the parent's pages stay as they were.
 */
KSM_TEST(fork_child_merges_and_exits)
{
	struct peer parent, child;
	char *mem;

	ASSERT_EQ(0, peer_start(&parent, N));
	ASSERT_EQ(0, peer_fill(&parent, 0, N, 55, 0));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_madvise(&child, 0, N, MADV_MERGEABLE));
	/* Memory that can still be scanned when the child has gone. */
	mem = mem_map(1);
	page_fill(mem, 57);
	ASSERT_EQ(0, madvise(mem, PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 1);
	EXPECT_EQ(N, mem_count_ksm(child.pid, child.mem, N));
	EXPECT_EQ(0, mem_count_ksm(parent.pid, parent.mem, N));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 55, 0));
	ASSERT_EQ(0, peer_end(&child));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(0, 0, 1);
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 55, 0));
	/* They are found where they are mapped, and so they can move. */
	if (two_nodes()) {
		EXPECT_EQ(N, move_to_node(parent.pid, parent.mem, N, 1));
		EXPECT_EQ(N, move_to_node(parent.pid, parent.mem, N, 0));
	}
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 55, 0));
	ASSERT_EQ(0, peer_end(&parent));
}

/* A child that offers nothing has moved the pages it shares with its parent. */
KSM_TEST(fork_child_moves_unmerged_pages)
{
	struct peer parent, child;

	ASSERT_EQ(0, peer_start(&parent, N));
	ASSERT_EQ(0, peer_fill(&parent, 0, N, 58, 0));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_move(&child));
	ASSERT_EQ(0, peer_madvise(&parent, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, mem_count_ksm(parent.pid, parent.mem, N));
	EXPECT_EQ(0, mem_count_ksm(child.pid, child.mem, N));
	if (two_nodes()) {
		EXPECT_EQ(N, move_to_node(parent.pid, parent.mem, N, 1));
		EXPECT_EQ(N, move_to_node(child.pid, child.mem, N, 1));
	}
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 58, 0));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 58, 0));
	ASSERT_EQ(0, peer_end(&parent));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 58, 0));
	ASSERT_EQ(0, peer_end(&child));
}

/* All processes offer their memory: of each content, one page is left. */
KSM_TEST(fork_of_equal_pages_merges_all)
{
	struct peer parent, child;

	ASSERT_EQ(0, peer_start(&parent, N));
	ASSERT_EQ(0, peer_fill(&parent, 0, N, 59, 0));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_madvise(&parent, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&child, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 1, 0);
	EXPECT_EQ(page_pfn(parent.pid, parent.mem), page_pfn(child.pid, child.mem));
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 59, 0));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 59, 0));
	ASSERT_EQ(0, peer_end(&parent));
	ASSERT_EQ(0, peer_end(&child));
}

/*
 * max_page_sharing also limits what forks map, so the reverse mapping of a KSM
 * page has a bound that no program sets. The parent can merge again what it
 * writes to after that.
 */
/*
 * What a parent and its children have in common since a fork cannot be merged with
 * itself. While it is idle, that is not tried at each visit, in any of them; but
 * duplicates of it are found.
 */
KSM_TEST(common_since_fork_rests)
{
	struct peer p, child;
	char *mem;
	long before;

	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 1, 1));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_fork(&p, &child));
	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_EQ(0, ksm_read("pages_sharing"));
	before = ksm_read("pages_skipped");
	ASSERT_EQ(0, ksm_scans(8));
	/* Beside those of the parent, and a few that happen to be looked at. */
	EXPECT_LT(8 * 2 * N - N / 2, ksm_read("pages_skipped") - before);

	mem = mem_map(N);
	mem_fill(mem, N, 1, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	/* And, more seldom, the mapping of the child, too. */
	ASSERT_EQ(0, ksm_scans(33));
	ASSERT_COUNTERS(N, 2 * N, 0);
	EXPECT_EQ(0, peer_bad(&child, 0, N, 1, 1));
	EXPECT_EQ(0, peer_bad(&p, 0, N, 1, 1));
	EXPECT_EQ(0, mem_bad(mem, N, 1, 1));
	EXPECT_EQ(0, peer_end(&child));
	EXPECT_EQ(0, peer_end(&p));
}

KSM_TEST(forks_within_the_limit)
{
	const long most = N / 2;
	struct peer parent, child;
	struct ksm_counters c;

	ASSERT_EQ(0, ksm_set("max_page_sharing", most));
	ASSERT_EQ(0, merged_peer(&parent, 70, 0));
	ASSERT_COUNTERS(2, N - 2, 0);
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	ksm_counters_print("forked", &c);
	EXPECT_EQ(2 * N, c.shared + c.sharing);
	/* None has more sharers than allowed; the base has no limit here. */
	if (ksm_has("metadata_bytes"))
		EXPECT_EQ(2 * N / most, c.shared);
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 70, 0));
	ASSERT_EQ(0, peer_fill(&parent, 0, N, 71, 0));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, mem_count_ksm(parent.pid, parent.mem, N));
	EXPECT_EQ(N, mem_count_ksm(child.pid, child.mem, N));
	ASSERT_COUNTERS(4, 2 * N - 4, 0);
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 71, 0));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 70, 0));
	ASSERT_EQ(0, peer_end(&parent));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, peer_bad(&child, 0, N, 70, 0));
	ASSERT_EQ(0, peer_end(&child));
}

KSM_TEST(unmerge_in_fork_child_only)
{
	struct peer parent, child;

	ASSERT_EQ(0, merged_peer(&parent, 60, 0));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	ASSERT_EQ(0, peer_madvise(&child, 0, N, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(child.pid, child.mem, N));
	EXPECT_EQ(N, mem_count_ksm(parent.pid, parent.mem, N));
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 60, 0));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 60, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, peer_end(&child));
	ASSERT_EQ(0, peer_end(&parent));
}

/* Forked directly, many at once, while ksmd runs. */
KSM_TEST(fork_storm)
{
	char *mem = mem_map(N);
	int i, status;

	mem_fill(mem, N / 2, 70, 0);
	mem_fill(PAGE(mem, N / 2), N / 2, 700, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (i = 0; i < 60; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (pid == 0) {
			size_t bad = mem_bad(mem, N / 2, 70, 0);

			page_fill(mem, i + 1);
			sleep_ms(i % 7);
			bad += page_diff(mem, i + 1) >= 0;
			bad += mem_bad(PAGE(mem, N / 2), N / 2, 700, 1);
			_exit(bad ? 1 : 0);
		}
		if (i % 3 == 2)
			page_fill(PAGE(mem, i % (N / 2)), 70);
	}
	for (i = 0; i < 60; i++) {
		ASSERT_LT(0, wait(&status));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, mem_bad(mem, N / 2, 70, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 700, 1));
}

KSM_TEST(prctl_arguments)
{
	unsigned long arg[5];
	int i;

	/* Only the second value of "set" may differ from 0. */
	for (i = 2; i < 6; i++) {
		memset(arg, 0, sizeof(arg));
		arg[i - 2] = 1;
		EXPECT_EQ(-1, prctl(PR_GET_MEMORY_MERGE, arg[0], arg[1], arg[2], arg[3]))
			TH_LOG("argument %d", i);
		EXPECT_EQ(EINVAL, errno);
		if (i == 2)
			continue;
		EXPECT_EQ(-1, prctl(PR_SET_MEMORY_MERGE, 1, arg[1], arg[2], arg[3]))
			TH_LOG("argument %d", i);
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, prctl(PR_SET_MEMORY_MERGE, 0, arg[1], arg[2], arg[3]));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	/* Off when it was never on, on twice, off twice: all fine. */
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	/* Anything but 0 is "on". */
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 2, 0, 0, 0));
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
}

static char *page_align(char *p)
{
	return (char *)(((uintptr_t)p + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1));
}

/* Old mappings, too: the stack, and the heap that brk() moves. */
KSM_TEST(prctl_covers_stack_and_heap)
{
	char on_stack[(N + 1) * PAGE_BYTES];
	char *stack = page_align(on_stack);
	char *heap = page_align(sbrk(0));
	char *more, *advised = mem_map(N);

	ASSERT_NE((void *)-1, sbrk((N + 1) * PAGE_BYTES));
	mem_fill(stack, N, 40, 1);
	mem_fill(heap, N, 40, 1);
	ASSERT_EQ(0, madvise(advised, N * PAGE_BYTES, MADV_MERGEABLE));
	mem_fill(advised, N, 40, 1);
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_TRUE(vma_has_flag(stack, "mg"));
	EXPECT_TRUE(vma_has_flag(heap, "mg"));
	more = page_align(sbrk(0));
	ASSERT_NE((void *)-1, sbrk((N + 1) * PAGE_BYTES));
	mem_fill(more, N, 40, 1);
	EXPECT_TRUE(vma_has_flag(more, "mg"));
	ASSERT_EQ(0, ksm_scans(5));
	EXPECT_EQ(N, mem_count_ksm(0, stack, N));
	EXPECT_EQ(N, mem_count_ksm(0, heap, N));
	EXPECT_EQ(N, mem_count_ksm(0, more, N));
	EXPECT_EQ(page_pfn(0, stack), page_pfn(0, more));
	EXPECT_EQ(0, mem_bad(stack, N, 40, 1));
	mem_fill(stack, 2, 4, 1);
	EXPECT_EQ(0, mem_bad(heap, N, 40, 1));
	/* This switches off everything, including what madvise() asked for. */
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_FALSE(vma_has_flag(advised, "mg"));
	EXPECT_FALSE(vma_has_flag(stack, "mg"));
	EXPECT_EQ(0, mem_count_ksm(0, stack, N) + mem_count_ksm(0, heap, N) +
		  mem_count_ksm(0, more, N) + mem_count_ksm(0, advised, N));
	EXPECT_EQ(0, mem_bad(stack, 2, 4, 1));
	EXPECT_EQ(0, mem_bad(PAGE(stack, 2), N - 2, 42, 1));
	EXPECT_EQ(0, mem_bad(heap, N, 40, 1) + mem_bad(more, N, 40, 1));
}

/* There may be only so many mappings: those side by side are to be one. */
KSM_TEST(prctl_keeps_neighbours_together)
{
	const size_t pages = 64;
	char *mem = mem_map(pages);
	char *heap;
	size_t i;

	ASSERT_EQ(0, munmap(mem, pages * PAGE_BYTES));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	for (i = 0; i < pages; i++)
		ASSERT_EQ(PAGE(mem, i), mmap(PAGE(mem, i), PAGE_BYTES, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
					     -1, 0));
	EXPECT_EQ(1, mem_count_vmas(mem, pages));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	heap = page_align(sbrk(0));
	for (i = 0; i < pages; i++)
		ASSERT_NE((void *)-1, sbrk(PAGE_BYTES));
	EXPECT_EQ(1, mem_count_vmas(heap, pages - 1));
	EXPECT_TRUE(vma_has_flag(heap, "mg"));
	/* What cannot be merged does not become part of what can. */
	ASSERT_EQ(PAGE(mem, 1), mmap(PAGE(mem, 1), PAGE_BYTES, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(3, mem_count_vmas(mem, pages));
	EXPECT_FALSE(vma_has_flag(PAGE(mem, 1), "mg"));
	mem_fill(mem, pages, 60, 0);
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_EQ(pages - 1, mem_count_ksm(0, mem, pages));
	EXPECT_EQ(0, mem_bad(mem, pages, 60, 0));
}

KSM_TEST(prctl_covers_new_mappings_and_children)
{
	struct peer p, child;
	char *mem;

	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	mem = mem_map(N);
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	mem_fill(mem, N, 80, 1);
	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(1, peer_prctl(&p, PR_GET_MEMORY_MERGE, 0));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 80, 1));
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_EQ(page_pfn(0, mem), page_pfn(p.pid, p.mem));
	EXPECT_EQ(N, mem_count_ksm(p.pid, p.mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 80, 1));
	EXPECT_EQ(0, peer_bad(&p, 0, N, 80, 1));
	ASSERT_EQ(0, peer_fork(&p, &child));
	ASSERT_EQ(1, peer_prctl(&child, PR_GET_MEMORY_MERGE, 0));
	/* Off in the one, still on in the others. */
	ASSERT_EQ(0, peer_prctl(&p, PR_SET_MEMORY_MERGE, 0));
	EXPECT_EQ(0, mem_count_ksm(p.pid, p.mem, N));
	EXPECT_EQ(N, mem_count_ksm(child.pid, child.mem, N));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, peer_bad(&p, 0, N, 80, 1));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 80, 1));
	ASSERT_EQ(0, peer_end(&child));
	ASSERT_EQ(0, peer_end(&p));
}

/* The test below runs this program again: it merges without madvise(). */
static int after_exec(void)
{
	char *mem;

	if (prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) != 1)
		return 10;
	mem = mem_map(N);
	mem_fill(mem, N, 90, 0);
	if (!vma_has_flag(mem, "mg"))
		return 11;
	if (ksm_scans(4))
		return 12;
	if (mem_count_ksm(0, mem, N) != N || page_pfn(0, mem) != page_pfn(0, PAGE(mem, N - 1)))
		return 13;
	if (mem_bad(mem, N, 90, 0))
		return 14;
	if (prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0) || mem_count_ksm(0, mem, N))
		return 15;
	return mem_bad(mem, N, 90, 0) ? 16 : 0;
}

KSM_TEST(exec_keeps_prctl)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (pid == 0) {
		char *mem = mem_map(N);

		/* Merged memory that exec throws away. */
		mem_fill(mem, N, 95, 0);
		if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) || ksm_scans(3))
			_exit(1);
		execl("/proc/self/exe", "process_test", "after-exec", NULL);
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

/* Killed in the middle of everything; the fixture's teardown looks for traces. */
KSM_TEST(killed_while_merging)
{
	struct peer p[4];
	int round, i;

	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 8; round++) {
		for (i = 0; i < 4; i++) {
			ASSERT_EQ(0, peer_start(&p[i], 256));
			ASSERT_EQ(0, peer_fill(&p[i], 0, 256, 1000, 1));
			ASSERT_EQ(0, peer_madvise(&p[i], 0, 256, MADV_MERGEABLE));
		}
		sleep_ms(5 * round);
		for (i = 0; i < 4; i++)
			ASSERT_EQ(-SIGKILL, peer_kill(&p[i]));
	}
}

#define HEIRS_MAX 100

/* What a child needs of an exited parent is not the whole mm. */
KSM_TEST(an_heir_keeps_no_mm)
{
	struct peer parent[HEIRS_MAX], child[HEIRS_MAX];
	const int heirs = fewer_if_slow(HEIRS_MAX);
	long before, both, after;
	double end;
	int i;

	before = slab_objects("mm_struct");
	if (before <= 0 || !ksm_has("metadata_bytes"))
		SKIP(return, "mm_structs cannot be counted here");
	for (i = 0; i < heirs; i++) {
		ASSERT_EQ(0, peer_start(&parent[i], N));
		ASSERT_EQ(0, peer_fill(&parent[i], 0, N, 60, 0));
		ASSERT_EQ(0, peer_madvise(&parent[i], 0, N, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	/* ksmd is stopped, so no child has had its turn when its parent exits. */
	for (i = 0; i < heirs; i++)
		ASSERT_EQ(0, peer_fork(&parent[i], &child[i]));
	both = slab_objects("mm_struct");
	for (i = 0; i < heirs; i++)
		ASSERT_EQ(0, peer_end(&parent[i]));
	end = seconds_now() + 120;
	do {
		sleep_ms(100);
		after = slab_objects("mm_struct");
	} while (after > both - heirs / 2 && seconds_now() < end);
	TH_LOG("mm_structs: %ld, then %ld, then %ld", before, both, after);
	EXPECT_GE(both - heirs / 2, after);
	if (verify_there())
		EXPECT_EQ(heirs, verify_figure("gone"));
	for (i = 0; i < heirs; i++) {
		EXPECT_EQ(0, peer_bad(&child[i], 0, N, 60, 0));
		ASSERT_EQ(0, peer_end(&child[i]));
	}
}

KSM_TEST(exit_leaves_the_others)
{
	struct peer p[4];
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, merged_peer(&p[i], 2000, 1));
	ASSERT_COUNTERS(N, 3 * N, 0);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_end(&p[i]));
		ASSERT_EQ(0, ksm_settle());
		ASSERT_COUNTERS(N, (2 - i) * N, 0);
		EXPECT_EQ(0, peer_bad(&p[3], 0, N, 2000, 1));
	}
	ASSERT_EQ(0, peer_end(&p[3]));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "after-exec"))
		return after_exec();
	return test_harness_run(argc, argv);
}
