// SPDX-License-Identifier: GPL-2.0
/* Sharing is undone wholly, and nothing but the sharing, by each of its ways. */

#include "ksm_fixture.h"

/* More than are unshared at a time */
#define N 80

/* Half of the pages are of one content, the others in pairs. */
static void fill(char *mem)
{
	mem_fill(mem, N / 2, 300, 0);
	mem_fill(PAGE(mem, N / 2), N / 4, 400, 1);
	mem_fill(PAGE(mem, N / 2 + N / 4), N / 4, 400, 1);
}

static size_t bad(const char *mem)
{
	return mem_bad(mem, N / 2, 300, 0) +
	       mem_bad(PAGE(mem, N / 2), N / 4, 400, 1) +
	       mem_bad(PAGE(mem, N / 2 + N / 4), N / 4, 400, 1);
}

static bool all_have_own_page(const char *mem)
{
	uint64_t pfn[N];
	size_t i, k;

	if (mem_count_ksm(0, mem, N))
		return false;
	for (i = 0; i < N; i++) {
		pfn[i] = page_pfn(0, PAGE(mem, i));
		if (!pfn[i] || pfn_mapcount(pfn[i]) != 1)
			return false;
		for (k = 0; k < i; k++)
			if (pfn[k] == pfn[i])
				return false;
	}
	return true;
}

KSM_TEST(by_madvise)
{
	char *mem = mem_map(N);

	fill(mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1 + N / 4, N / 2 - 1 + N / 4, 0);
	ASSERT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	EXPECT_TRUE(all_have_own_page(mem));
	EXPECT_EQ(0, bad(mem));
	/* Not merged again, as nobody asks for it. */
	ASSERT_EQ(0, ksm_set("run", 1));
	sleep_ms(200);
	ASSERT_EQ(0, ksm_set("run", 0));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, bad(mem));
}

KSM_TEST(by_prctl)
{
	char *mem = mem_map(N);

	fill(mem);
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, ksm_scans(4));
	ASSERT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, bad(mem));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	EXPECT_TRUE(all_have_own_page(mem));
	EXPECT_EQ(0, bad(mem));
	ASSERT_EQ(0, ksm_set("run", 1));
	sleep_ms(200);
	ASSERT_EQ(0, ksm_set("run", 0));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	ASSERT_COUNTERS(0, 0, 0);
}

KSM_TEST(by_run)
{
	char *mem = mem_map(N);

	fill(mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(N, mem_count_ksm(0, mem, N));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(2, ksm_read("run"));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, ksm_read("pages_volatile"));
	EXPECT_TRUE(all_have_own_page(mem));
	EXPECT_EQ(0, bad(mem));
	/* The area stays registered for the next run. */
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1 + N / 4, N / 2 - 1 + N / 4, 0);
	EXPECT_EQ(0, bad(mem));
}

KSM_TEST(by_run_in_many_processes)
{
	struct peer p[3];
	size_t i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_start(&p[i], N));
		ASSERT_EQ(0, peer_fill(&p[i], 0, N, 100, 1));
		ASSERT_EQ(0, peer_madvise(&p[i], 0, N, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, 2 * N, 0);
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_COUNTERS(0, 0, 0);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, mem_count_ksm(p[i].pid, p[i].mem, N));
		EXPECT_EQ(0, peer_bad(&p[i], 0, N, 100, 1));
		EXPECT_EQ(0, peer_fill(&p[i], 0, 1, 200 + i, 0));
	}
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, peer_bad(&p[i], 0, 1, 200 + i, 0));
		EXPECT_EQ(0, peer_end(&p[i]));
	}
}

/* While ksmd scans: it must neither be waited for nor merge again after. */
KSM_TEST(by_madvise_while_scanning)
{
	char *mem = mem_map(N);
	int round;

	fill(mem);
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 30; round++) {
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
		sleep_ms(round);
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
		ASSERT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, bad(mem));
	}
}

KSM_TEST(by_run_while_merging)
{
	char *mem = mem_map(N);
	int round;

	fill(mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, ksm_set("run", 1));
		sleep_ms(round);
		ASSERT_EQ(0, ksm_set("run", 2));
		ASSERT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, ksm_read("pages_shared"));
		ASSERT_EQ(0, ksm_read("pages_sharing"));
		ASSERT_EQ(0, bad(mem));
	}
}

KSM_TEST(part_of_an_area)
{
	char *mem = mem_map(N);

	mem_fill(mem, N, 310, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, madvise(PAGE(mem, 8), 8 * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(8, mem_count_ksm(0, mem, 8));
	EXPECT_EQ(0, mem_count_ksm(0, PAGE(mem, 8), 8));
	EXPECT_EQ(N - 16, mem_count_ksm(0, PAGE(mem, 16), N - 16));
	EXPECT_EQ(0, mem_bad(mem, N, 310, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 8 - 1, 0);
	ASSERT_EQ(0, madvise(PAGE(mem, 8), 8 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 310, 0));
}

KSM_TEST(of_one_process_only)
{
	struct peer a, b;

	ASSERT_EQ(0, peer_start(&a, N));
	ASSERT_EQ(0, peer_start(&b, N));
	ASSERT_EQ(0, peer_fill(&a, 0, N, 320, 0));
	ASSERT_EQ(0, peer_fill(&b, 0, N, 320, 0));
	ASSERT_EQ(0, peer_madvise(&a, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&b, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 1, 0);
	ASSERT_EQ(0, peer_madvise(&a, 0, N, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(a.pid, a.mem, N));
	EXPECT_EQ(N, mem_count_ksm(b.pid, b.mem, N));
	EXPECT_EQ(0, peer_bad(&a, 0, N, 320, 0));
	EXPECT_EQ(0, peer_bad(&b, 0, N, 320, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, peer_end(&b));
	EXPECT_EQ(0, peer_bad(&a, 0, N, 320, 0));
	ASSERT_EQ(0, peer_end(&a));
}

/* Also where the process itself may not write, or not even read. */
KSM_TEST(of_protected_memory)
{
	static const int prot[] = { PROT_READ, PROT_NONE };
	size_t i;

	for (i = 0; i < 2; i++) {
		char *mem = mem_map(N);

		fill(mem);
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_EQ(0, ksm_settle());
		ASSERT_EQ(N, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, mprotect(mem, N * PAGE_BYTES, prot[i]));
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
		EXPECT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, mprotect(mem, N * PAGE_BYTES, PROT_READ));
		EXPECT_EQ(0, mem_count_ksm(0, mem, N));
		EXPECT_EQ(0, bad(mem));
		munmap(mem, N * PAGE_BYTES);
	}
}

TEST_HARNESS_MAIN
