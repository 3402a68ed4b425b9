// SPDX-License-Identifier: GPL-2.0
/* max_page_sharing: how many mappings a shared page may have, and its twins. */

#include "ksm_fixture.h"

/* The most mappings any of these pages has, and how many pages there are. */
static long most_mappings(const char *mem, size_t pages, size_t *distinct)
{
	uint64_t seen[64];
	long most = 0;
	size_t i, k;

	*distinct = 0;
	for (i = 0; i < pages; i++) {
		uint64_t pfn = page_pfn(0, PAGE(mem, i));
		long count = pfn_mapcount(pfn);

		most = count > most ? count : most;
		for (k = 0; k < *distinct && seen[k] != pfn; k++)
			;
		if (k == *distinct && k < 64)
			seen[(*distinct)++] = pfn;
	}
	return most;
}

KSM_TEST(limit_is_kept)
{
	const size_t n = 40;
	struct ksm_counters c;
	char *mem = mem_map(n);
	size_t distinct;

	ASSERT_EQ(0, ksm_set("max_page_sharing", 4));
	mem_fill(mem, n, 10, 0);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	ksm_counters_print("limit 4", &c);
	EXPECT_EQ(n / 4, c.shared);
	EXPECT_EQ(n - n / 4, c.sharing);
	EXPECT_EQ(1, c.chains);
	EXPECT_EQ(n / 4, c.dups);
	EXPECT_EQ(4, most_mappings(mem, n, &distinct));
	EXPECT_EQ(n / 4, distinct);
	EXPECT_EQ(n, mem_count_ksm(0, mem, n));
	EXPECT_EQ(0, mem_bad(mem, n, 10, 0));
	/* Every twin is broken and found like any shared page. */
	mem_fill(mem, 2, 20, 1);
	EXPECT_EQ(0, mem_bad(PAGE(mem, 2), n - 2, 10, 0));
	mem_fill(mem, 2, 10, 0);
	ASSERT_EQ(0, ksm_settle());
	EXPECT_GE(4, most_mappings(mem, n, &distinct));
	EXPECT_EQ(n, mem_count_ksm(0, mem, n));
	EXPECT_EQ(0, mem_bad(mem, n, 10, 0));
	/* And all of it goes by run=2. */
	ASSERT_EQ(0, ksm_set("run", 2));
	ksm_counters(&c);
	EXPECT_EQ(0, c.shared + c.sharing + c.chains + c.dups);
	EXPECT_EQ(0, mem_count_ksm(0, mem, n));
	EXPECT_EQ(0, mem_bad(mem, n, 10, 0));
}

KSM_TEST(smallest_limit)
{
	const size_t n = 32;
	struct ksm_counters c;
	char *mem = mem_map(n);
	size_t distinct;

	ASSERT_EQ(0, ksm_set("max_page_sharing", 2));
	mem_fill(mem, n, 30, 0);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	ksm_counters_print("limit 2", &c);
	EXPECT_EQ(n / 2, c.shared);
	EXPECT_EQ(n / 2, c.sharing);
	EXPECT_EQ(1, c.chains);
	EXPECT_EQ(n / 2, c.dups);
	EXPECT_EQ(2, most_mappings(mem, n, &distinct));
	EXPECT_EQ(n / 2, distinct);
	EXPECT_EQ(0, mem_bad(mem, n, 30, 0));
}

/* No chain before the limit is passed. */
KSM_TEST(at_the_limit_no_chain)
{
	struct ksm_counters c;
	char *mem = mem_map(16);

	ASSERT_EQ(0, ksm_set("max_page_sharing", 8));
	mem_fill(mem, 8, 40, 0);
	mem_fill(PAGE(mem, 8), 8, 41, 0);
	ASSERT_EQ(0, madvise(mem, 16 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	EXPECT_EQ(2, c.shared);
	EXPECT_EQ(14, c.sharing);
	EXPECT_EQ(0, c.chains);
	EXPECT_EQ(0, c.dups);
	EXPECT_EQ(0, mem_bad(mem, 8, 40, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 8), 8, 41, 0));
}

/* One page too many waits alone until there is a second one for a twin. */
KSM_TEST(one_over_the_limit)
{
	struct ksm_counters c;
	char *mem = mem_map(6);

	ASSERT_EQ(0, ksm_set("max_page_sharing", 4));
	mem_fill(mem, 5, 50, 0);
	page_fill(PAGE(mem, 5), 51);
	ASSERT_EQ(0, madvise(mem, 6 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 3, 2);
	page_fill(PAGE(mem, 5), 50);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, 4, 0);
	ksm_counters(&c);
	EXPECT_EQ(1, c.chains);
	EXPECT_EQ(2, c.dups);
	EXPECT_EQ(0, mem_bad(mem, 6, 50, 0));
}

KSM_TEST(limit_changes_only_when_unshared)
{
	char *mem = mem_map(4);

	mem_fill(mem, 4, 60, 0);
	ASSERT_EQ(0, madvise(mem, 4 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 3, 0);
	EXPECT_EQ(-EBUSY, ksm_set("max_page_sharing", 2));
	EXPECT_EQ(256, ksm_read("max_page_sharing"));
	/* Setting the current value is no change. */
	EXPECT_EQ(0, ksm_set("max_page_sharing", 256));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, ksm_set("max_page_sharing", 2));
	EXPECT_EQ(2, ksm_read("max_page_sharing"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, 2, 0);
	EXPECT_EQ(0, mem_bad(mem, 4, 60, 0));
}

/* Twins that lost their mappings go, and their chain with them. */
KSM_TEST(chains_are_pruned)
{
	const size_t n = 32;
	struct ksm_counters c;
	char *mem = mem_map(n);
	int round;

	ASSERT_EQ(0, ksm_set("max_page_sharing", 2));
	ASSERT_EQ(0, ksm_set("stable_node_chains_prune_millisecs", 1));
	mem_fill(mem, n, 70, 0);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	ASSERT_EQ(1, c.chains);
	ASSERT_EQ(n / 2, c.dups);
	mem_fill(mem, n - 4, 5000, 1);
	/* Pruning happens at look-ups of the content, so provoke some. */
	for (round = 0; round < 50 && c.dups > 3; round++) {
		page_fill(mem, round & 1 ? 70 : 71);
		ASSERT_EQ(0, ksm_settle());
		ksm_counters(&c);
	}
	ksm_counters_print("pruned", &c);
	EXPECT_GE(3, c.dups);
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), n - 5, 5001, 1));
	EXPECT_EQ(0, mem_bad(PAGE(mem, n - 4), 4, 70, 0));
}

/* Every change of the limit starts from nothing shared, and then holds. */
KSM_TEST(limit_lowered_and_raised)
{
	static const int limit[] = { 8, 2, 16, 3 };
	const size_t n = 48;
	struct ksm_counters c;
	char *mem = mem_map(n);
	size_t distinct, i;

	mem_fill(mem, n, 80, 0);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, ksm_set("run", 2));
		ASSERT_EQ(0, ksm_set("max_page_sharing", limit[i]));
		ASSERT_EQ(0, ksm_settle());
		ksm_counters(&c);
		EXPECT_EQ(n / limit[i], c.shared);
		EXPECT_EQ(n - n / limit[i], c.sharing);
		EXPECT_EQ(1, c.chains);
		EXPECT_EQ(n / limit[i], c.dups);
		EXPECT_EQ(limit[i], most_mappings(mem, n, &distinct));
		EXPECT_EQ(-EBUSY, ksm_set("max_page_sharing", limit[i] + 1));
	}
	EXPECT_EQ(0, mem_bad(mem, n, 80, 0));
}

/* A chain for each content, and twins of each. */
KSM_TEST(several_chains)
{
	const size_t n = 64, contents = 4;
	struct ksm_counters c;
	char *mem = mem_map(n);
	size_t i;

	ASSERT_EQ(0, ksm_set("max_page_sharing", 4));
	ASSERT_EQ(0, ksm_set("stable_node_chains_prune_millisecs", 10));
	for (i = 0; i < n; i += contents)
		mem_fill(PAGE(mem, i), contents, 90, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	EXPECT_EQ(contents, c.chains);
	EXPECT_EQ(n / 4, c.dups);
	EXPECT_EQ(n / 4, c.shared);
	/* Each chain has one page too many for one of its twins. */
	for (i = 0; i < n / 4; i++)
		page_fill(PAGE(mem, i), 1000 + i);
	ASSERT_EQ(0, ksm_settle());
	ksm_counters(&c);
	EXPECT_LE(c.chains, contents);
	EXPECT_GE(n - n / 4, c.shared + c.sharing);
	EXPECT_EQ(n / 4, c.unshared + n - n / 4 - c.shared - c.sharing);
	for (i = n / 4; i < n; i += contents)
		EXPECT_EQ(0, mem_bad(PAGE(mem, i), contents, 90, 1));
	EXPECT_EQ(0, mem_bad(mem, n / 4, 1000, 1));
}

TEST_HARNESS_MAIN
