// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing is lost: many rounds of what allocates pages and frees them. When a
 * test is over, the fixture finds leaks (leaks.h): an anonymous page at once,
 * an object of reverse mapping that is lost in each round, and any other page
 * that is lost with each merged page, as the rounds merge more pages than it
 * tolerates.
 */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/uio.h>

#define ROUNDS 40
#define SLOW_ROUNDS 12
/* In pairs that are alike */
#define PAGES 16

/* A leak leaves pages with a reference that nobody maps, as here. */
KSM_TEST(one_page_is_noticed)
{
	struct memory_use before, kept, after;
	struct iovec iov = { .iov_len = PAGE_BYTES };
	int ends[2], tries = 10;

	/* Others may allocate or free a page just then. */
	do {
		iov.iov_base = mem_map(1);
		ASSERT_NE(NULL, iov.iov_base);
		page_fill(iov.iov_base, 5);
		ASSERT_EQ(0, pipe(ends));
		memory_use_now(&before);
		ASSERT_EQ(PAGE_BYTES, vmsplice(ends[1], &iov, 1, 0));
		ASSERT_EQ(0, munmap(iov.iov_base, PAGE_BYTES));
		memory_use_now(&kept);
		close(ends[0]);
		close(ends[1]);
		memory_use_now(&after);
	} while ((kept.stray != before.stray + 1 || after.stray != before.stray) && --tries);
	EXPECT_EQ(before.stray + 1, kept.stray);
	EXPECT_EQ(before.stray, after.stray);
}

static char *merged_anew(char *mem, unsigned int round)
{
	mem_fill(mem, PAGES / 2, 1000 + round * PAGES, 1);
	mem_fill(PAGE(mem, PAGES / 2), PAGES / 2, 1000 + round * PAGES, 1);
	return ksm_scans(2) ? NULL : mem;
}

/* Each page is written, and belongs to its owner again. */
KSM_TEST(written_round_by_round)
{
	char *mem = mem_map(PAGES);
	unsigned int i;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
	for (i = 0; i < ROUNDS; i++)
		ASSERT_NE(NULL, merged_anew(mem, i));
	EXPECT_EQ(PAGES, mem_count_ksm(0, mem, PAGES));
}

KSM_TEST(unmerged_round_by_round)
{
	char *mem = mem_map(PAGES);
	unsigned int i;

	ASSERT_NE(NULL, mem);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_NE(NULL, merged_anew(mem, i));
		if (i == 0)
			EXPECT_EQ(PAGES, mem_count_ksm(0, mem, PAGES));
		ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_UNMERGEABLE));
		ASSERT_EQ(0, mem_count_ksm(0, mem, PAGES));
	}
}

KSM_TEST(all_unmerged_round_by_round)
{
	char *mem = mem_map(PAGES);
	unsigned int i;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_NE(NULL, merged_anew(mem, i));
		ASSERT_EQ(0, ksm_set("run", 2));
		ASSERT_EQ(0, mem_count_ksm(0, mem, PAGES));
	}
}

KSM_TEST(unmapped_round_by_round)
{
	unsigned int i;
	char *mem;

	for (i = 0; i < ROUNDS; i++) {
		mem = mem_map(PAGES);
		ASSERT_NE(NULL, mem);
		ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_NE(NULL, merged_anew(mem, i));
		ASSERT_EQ(0, munmap(mem, PAGES * PAGE_BYTES));
	}
}

KSM_TEST(zeroes_round_by_round)
{
	char *mem = mem_map(PAGES);
	unsigned int i;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(mem, PAGES * PAGE_BYTES, MADV_MERGEABLE));
	for (i = 0; i < ROUNDS; i++) {
		mem_fill(mem, PAGES, 1 + i, 1);
		mem_fill(mem, PAGES, 0, 0);
		ASSERT_EQ(0, ksm_scans(2));
	}
	EXPECT_EQ(PAGES, mem_count_zero_page(0, mem, PAGES));
}

/* Each takes a process, so there are fewer rounds, with more in them. */
KSM_TEST(exits_round_by_round)
{
	struct peer peer;
	unsigned int i;

	for (i = 0; i < SLOW_ROUNDS; i++) {
		ASSERT_EQ(0, peer_start(&peer, 8 * PAGES));
		ASSERT_EQ(0, peer_fill(&peer, 0, 4 * PAGES, 1000 + i, 1));
		ASSERT_EQ(0, peer_fill(&peer, 4 * PAGES, 4 * PAGES, 1000 + i, 1));
		ASSERT_EQ(0, peer_madvise(&peer, 0, 8 * PAGES, MADV_MERGEABLE));
		ASSERT_EQ(0, ksm_scans(2));
		ASSERT_EQ(0, peer_bad(&peer, 0, 4 * PAGES, 1000 + i, 1));
		ASSERT_EQ(0, i % 2 ? peer_end(&peer) : peer_kill(&peer) == -SIGKILL ? 0 : -1);
	}
}

TEST_HARNESS_MAIN
