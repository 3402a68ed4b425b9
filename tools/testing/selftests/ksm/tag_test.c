// SPDX-License-Identifier: GPL-2.0
/*
 * Memory with tags (arm64's MTE). Tags are part of a page's content, and
 * neither merging nor unsharing may change them.
 */

#include "ksm_fixture.h"

#ifdef __aarch64__
#include <sys/auxv.h>

#ifndef PROT_MTE
#define PROT_MTE 0x20
#endif
#ifndef HWCAP2_MTE
#define HWCAP2_MTE (1 << 18)
#endif
#define TAGS ".arch armv8.5-a+memtag\n\t"
#define TAG_SHIFT 56
#define GRANULE 16UL

#define N 16

/* All of the page's granules get the tag. */
static void set_tags(char *page, unsigned long tag)
{
	size_t i;

	for (i = 0; i < PAGE_BYTES; i += GRANULE) {
		char *tagged = (char *)((uintptr_t)(page + i) | tag << TAG_SHIFT);

		asm volatile(TAGS "stg %0, [%0]" : : "r"(tagged) : "memory");
	}
}

static bool has_tags(const char *page, unsigned long tag)
{
	size_t i;

	for (i = 0; i < PAGE_BYTES; i += GRANULE) {
		const char *tagged = page + i;

		asm volatile(TAGS "ldg %0, [%0]" : "+r"(tagged) : : "memory");
		if ((uintptr_t)tagged >> TAG_SHIFT != tag)
			return false;
	}
	return true;
}

/* Counts pages that do not have the expected tag. */
static size_t bad_tags(const char *mem, size_t pages, unsigned long first, unsigned long step)
{
	size_t bad = 0;
	size_t i;

	for (i = 0; i < pages; i++)
		bad += !has_tags(PAGE(mem, i), (first + i * step) & 15);
	return bad;
}

static bool tagged_memory(char *mem, size_t pages)
{
	return (getauxval(AT_HWCAP2) & HWCAP2_MTE) &&
	       !mprotect(mem, pages * PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_MTE);
}

/* Equal bytes with unequal tags are no duplicates. */
KSM_TEST(tags_are_content)
{
	char *mem = mem_map(N);
	size_t i;

	if (!tagged_memory(mem, N))
		SKIP(return, "no memory tagging");
	mem_fill(mem, N, 10, 0);
	for (i = 0; i < N; i++)
		set_tags(PAGE(mem, i), i);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, bad_tags(mem, N, 0, 1));
	EXPECT_EQ(0, mem_bad(mem, N, 10, 0));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, bad_tags(mem, N, 0, 1));
}

/* Pages without tags merge beside pages with the same bytes and tags. */
KSM_TEST(tagged_beside_untagged)
{
	char *mem = mem_map(2 * N);
	size_t i;

	if (!tagged_memory(mem, N))
		SKIP(return, "no memory tagging");
	mem_fill(mem, 2 * N, 20, 0);
	for (i = 0; i < N; i++)
		set_tags(PAGE(mem, i), 5);
	ASSERT_EQ(0, madvise(mem, 2 * N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, mem_count_ksm(0, PAGE(mem, N), N));
	EXPECT_EQ(0, bad_tags(mem, N, 5, 0));
	EXPECT_EQ(0, mem_bad(mem, 2 * N, 20, 0));
	/* A write to either leaves the other as it is. */
	mem_fill(PAGE(mem, N), N, 21, 0);
	mem_fill(mem, N, 22, 0);
	EXPECT_EQ(0, bad_tags(mem, N, 5, 0));
	EXPECT_EQ(0, mem_bad(mem, N, 22, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N), N, 21, 0));
}

/* A process that tags a merged page gets a tagged copy, and nobody else does. */
KSM_TEST(tagged_after_merging)
{
	char *mem = mem_map(N);

	mem_fill(mem, N, 30, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	if (!tagged_memory(mem, N))
		SKIP(return, "no memory tagging");
	set_tags(mem, 7);
	EXPECT_TRUE(has_tags(mem, 7));
	EXPECT_EQ(0, bad_tags(PAGE(mem, 1), N - 1, 0, 0));
	EXPECT_EQ(0, mem_bad(mem, N, 30, 0));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(has_tags(mem, 7));
	EXPECT_EQ(0, bad_tags(PAGE(mem, 1), N - 1, 0, 0));
	EXPECT_EQ(0, mem_bad(mem, N, 30, 0));
}
#else
KSM_TEST(tags)
{
	SKIP(return, "arm64 alone has memory tags");
}
#endif

TEST_HARNESS_MAIN
