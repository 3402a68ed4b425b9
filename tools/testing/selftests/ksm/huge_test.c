// SPDX-License-Identifier: GPL-2.0
/* Pages of huge pages are merged, and the huge page's other pages survive. */

#include "ksm_fixture.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_PAGES 512
#define HUGE_BYTES (HUGE_PAGES * PAGE_BYTES)

/* Aligned memory of so many huge pages, each filled; NULL if not huge. */
static char *huge_map(size_t count, uint64_t seed, uint64_t step)
{
	char *raw = mmap(NULL, (count + 1) * HUGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem;
	size_t i;

	if (raw == MAP_FAILED)
		return NULL;
	mem = (char *)(((uintptr_t)raw + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (madvise(mem, count * HUGE_BYTES, MADV_HUGEPAGE))
		return NULL;
	for (i = 0; i < count; i++) {
		mem_fill(mem + i * HUGE_BYTES, HUGE_PAGES, seed, step);
		if (!(pfn_flags(page_pfn(0, mem + i * HUGE_BYTES)) & KPAGE_THP))
			return NULL;
	}
	return mem;
}

KSM_TEST(identical_huge_pages)
{
	char *mem = huge_map(2, 1000, 1);
	size_t i;

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, madvise(mem, 2 * HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(HUGE_PAGES, HUGE_PAGES, 0);
	EXPECT_EQ(2 * HUGE_PAGES, mem_count_ksm(0, mem, 2 * HUGE_PAGES));
	for (i = 0; i < HUGE_PAGES; i += 17)
		EXPECT_EQ(page_pfn(0, PAGE(mem, i)), page_pfn(0, PAGE(mem, i + HUGE_PAGES)));
	EXPECT_EQ(0, mem_bad(mem, HUGE_PAGES, 1000, 1));
	EXPECT_EQ(0, mem_bad(mem + HUGE_BYTES, HUGE_PAGES, 1000, 1));
	mem_fill(mem, 8, 5, 1);
	EXPECT_EQ(0, mem_bad(mem, 8, 5, 1));
	EXPECT_EQ(0, mem_bad(mem + HUGE_BYTES, HUGE_PAGES, 1000, 1));
	ASSERT_EQ(0, madvise(mem, 2 * HUGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 8), HUGE_PAGES - 8, 1008, 1));
	EXPECT_EQ(0, mem_bad(mem + HUGE_BYTES, HUGE_PAGES, 1000, 1));
}

/* One huge page whose pages are all alike. */
KSM_TEST(alike_within_a_huge_page)
{
	char *mem = huge_map(1, 2000, 0);

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, ksm_set("max_page_sharing", 1024));
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, HUGE_PAGES - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, HUGE_PAGES, 2000, 0));
	mem[HUGE_BYTES - 1] ^= 1;
	EXPECT_EQ(0, mem_bad(mem, HUGE_PAGES - 1, 2000, 0));
	EXPECT_EQ(PAGE_BYTES - 1, page_diff(PAGE(mem, HUGE_PAGES - 1), 2000));
}

/* A small page has a twin inside a huge page. */
KSM_TEST(small_page_like_a_piece)
{
	char *huge = huge_map(1, 3000, 1);
	char *mem = mem_map(1);

	if (!huge)
		SKIP(return, "no transparent huge pages");
	page_fill(mem, 3123);
	ASSERT_EQ(0, madvise(mem, PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(huge, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, HUGE_PAGES - 1);
	EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(huge, 123)));
	EXPECT_EQ(-1, page_diff(mem, 3123));
	EXPECT_EQ(0, mem_bad(huge, HUGE_PAGES, 3000, 1));
}

KSM_TEST(zero_filled_huge_page)
{
	char *mem = huge_map(1, 0, 0);

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	/* Splitting maps empty pages to the zero page, too: then it is not KSM's. */
	EXPECT_GE(HUGE_PAGES, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(HUGE_PAGES, mem_count_zero_page(0, mem, HUGE_PAGES));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, mem_bad(mem, HUGE_PAGES, 0, 0));
}

/* Writers at work while their huge pages are taken apart and merged. */
KSM_TEST(written_while_split)
{
	char *mem = huge_map(4, 4000, 1);
	int round, i;

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, madvise(mem, 4 * HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 4; round++) {
		for (i = 0; i < 4; i++) {
			mem_fill(mem + i * HUGE_BYTES, HUGE_PAGES / 2, 4000 + round, 1);
			ASSERT_EQ(0, mem_bad(mem + i * HUGE_BYTES, HUGE_PAGES / 2,
					     4000 + round, 1));
		}
	}
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, mem_bad(mem + i * HUGE_BYTES + HUGE_BYTES / 2, HUGE_PAGES / 2,
				     4000 + HUGE_PAGES / 2, 1));
}

/* What has no duplicate is read in place, and stays huge. */
KSM_TEST(nothing_is_split_without_a_match)
{
	char *mem = huge_map(2, 5000, 1);
	long splits, i;

	if (!mem)
		SKIP(return, "no transparent huge pages");
	mem_fill(mem + HUGE_BYTES, HUGE_PAGES, 6000, 1);
	splits = file_read_key("/proc/vmstat", "thp_split_pmd");
	ASSERT_EQ(0, madvise(mem, 2 * HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(0, 0, 2 * HUGE_PAGES);
	EXPECT_EQ(splits, file_read_key("/proc/vmstat", "thp_split_pmd"));
	for (i = 0; i < 2 * HUGE_PAGES; i += HUGE_PAGES / 2)
		EXPECT_TRUE(pfn_flags(page_pfn(0, PAGE(mem, i))) & KPAGE_THP);
	/* Only the one with a duplicate is taken apart. */
	page_fill(PAGE(mem, 7), 8);
	page_fill(PAGE(mem, 300), 8);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, 2 * HUGE_PAGES - 2);
	EXPECT_EQ(page_pfn(0, PAGE(mem, 7)), page_pfn(0, PAGE(mem, 300)));
	EXPECT_FALSE(pfn_flags(page_pfn(0, PAGE(mem, 8))) & KPAGE_THP);
	EXPECT_TRUE(pfn_flags(page_pfn(0, PAGE(mem, HUGE_PAGES))) & KPAGE_THP);
	EXPECT_EQ(splits + 1, file_read_key("/proc/vmstat", "thp_split_pmd"));
	EXPECT_EQ(0, mem_bad(mem, 7, 5000, 1));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 301), HUGE_PAGES - 301, 5301, 1));
	EXPECT_EQ(0, mem_bad(mem + HUGE_BYTES, HUGE_PAGES, 6000, 1));
}

/* Small pages become a huge one, and it is scanned and merged like any other. */
KSM_TEST(collapsed_while_scanned)
{
	char *mem = huge_map(1, 7000, 1);
	int round, collapsed = 0;
	struct ksm_counters c;

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 20; round++) {
		/* Two pages alike, so that it is split; then none. */
		page_fill(PAGE(mem, round), 7100);
		sleep_ms(20);
		page_fill(PAGE(mem, round), 7000 + round);
		collapsed += !madvise(mem, HUGE_BYTES, MADV_COLLAPSE);
		ASSERT_EQ(0, mem_bad(mem, HUGE_PAGES, 7000, 1));
	}
	/* ksmd may have kept it from succeeding each time, but only ksmd. */
	ASSERT_EQ(0, ksm_set("run", 0));
	for (round = 0; round < 50 && !collapsed; round++)
		collapsed += !madvise(mem, HUGE_BYTES, MADV_COLLAPSE);
	TH_LOG("collapsed %d times", collapsed);
	EXPECT_LT(0, collapsed);
	ASSERT_EQ(0, ksm_settle());
	/* A page that was shared for a while may be a KSM page still. */
	ksm_counters(&c);
	EXPECT_EQ(0, c.sharing);
	EXPECT_EQ(HUGE_PAGES, c.shared + c.unshared);
	/* Merged pages, too, may be made one huge page again. */
	page_fill(PAGE(mem, 9), 7100);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, HUGE_PAGES - 2);
	if (!madvise(mem, HUGE_BYTES, MADV_COLLAPSE))
		EXPECT_EQ(0, mem_count_ksm(0, mem, HUGE_PAGES));
	EXPECT_EQ(-1, page_diff(PAGE(mem, 9), 7100));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 10), HUGE_PAGES - 10, 7010, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, HUGE_PAGES - 2);
}

#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"

/* khugepaged at its fastest. */
static const struct {
	const char *name;
	long fast;
} knobs[] = {
	{ "scan_sleep_millisecs", 1 },
	{ "alloc_sleep_millisecs", 1 },
	{ "pages_to_scan", 100000 },
	{ "max_ptes_none", HUGE_PAGES - 1 },
	{ "max_ptes_shared", HUGE_PAGES - 1 },
};

#define KNOBS (sizeof(knobs) / sizeof(knobs[0]))

static int khugepaged_set(const char *name, long value)
{
	char path[128];

	snprintf(path, sizeof(path), KHUGEPAGED "%s", name);
	return file_write_long(path, value);
}

static long khugepaged_get(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), KHUGEPAGED "%s", name);
	return file_read_long(path);
}

FIXTURE(khugepaged) {
	KSM_FIXTURE_STATE;
	long was[KNOBS];
};

FIXTURE_SETUP(khugepaged)
{
	size_t i;

	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	for (i = 0; i < KNOBS; i++) {
		self->was[i] = khugepaged_get(knobs[i].name);
		if (self->was[i] < 0)
			SKIP(return, "no khugepaged");
		ASSERT_EQ(0, khugepaged_set(knobs[i].name, knobs[i].fast));
	}
}

FIXTURE_TEARDOWN_PARENT(khugepaged)
{
	size_t i;

	for (i = 0; i < KNOBS && self->was[i] >= 0; i++)
		khugepaged_set(knobs[i].name, self->was[i]);
	KSM_FIXTURE_TEARDOWN();
}

/* Two huge pages that are alike but for a page that nobody shares. */
static void fill_alike(char *mem, uint64_t seed)
{
	size_t i;

	for (i = 0; i < 2; i++) {
		mem_fill(mem + i * HUGE_BYTES, HUGE_PAGES - 1, seed, 1);
		page_fill(PAGE(mem, (i + 1) * HUGE_PAGES - 1), 9 + i);
	}
}

static size_t bad_alike(const char *mem, uint64_t seed)
{
	return mem_bad(mem, HUGE_PAGES - 1, seed, 1) +
	       mem_bad(mem + HUGE_BYTES, HUGE_PAGES - 1, seed, 1) +
	       mem_bad(PAGE(mem, HUGE_PAGES - 1), 1, 9, 0) +
	       mem_bad(PAGE(mem, 2 * HUGE_PAGES - 1), 1, 10, 0);
}

static bool is_huge(const char *mem)
{
	return pfn_flags(page_pfn(0, mem)) & KPAGE_THP;
}

/* It takes only what is written to: a page in each. */
static bool wait_until_huge(char *mem, double seconds)
{
	double end = seconds_now() + seconds;

	while (seconds_now() < end && !(is_huge(mem) && is_huge(mem + HUGE_BYTES))) {
		page_fill(PAGE(mem, HUGE_PAGES - 1), 9);
		page_fill(PAGE(mem, 2 * HUGE_PAGES - 1), 10);
		sleep_ms(20);
	}
	return is_huge(mem) && is_huge(mem + HUGE_BYTES);
}

/* What ksmd took apart khugepaged may put together, copies and all; and again. */
TEST_F_TIMEOUT(khugepaged, beside_ksmd, 240)
{
	long collapsed = khugepaged_get("pages_collapsed");
	char *mem = huge_map(2, 8000, 1);
	double end;

	if (!mem)
		SKIP(return, "no transparent huge pages");
	fill_alike(mem, 8000);
	ASSERT_EQ(0, madvise(mem, 2 * HUGE_BYTES, MADV_MERGEABLE));
	/* Shared pages are an administrator's choice. */
	ASSERT_EQ(0, khugepaged_set("max_ptes_shared", 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(HUGE_PAGES - 1, HUGE_PAGES - 1, 2);
	EXPECT_FALSE(wait_until_huge(mem, 2));
	EXPECT_EQ(2 * (HUGE_PAGES - 1), mem_count_ksm(0, mem, 2 * HUGE_PAGES));
	ASSERT_EQ(0, khugepaged_set("max_ptes_shared", HUGE_PAGES - 1));
	EXPECT_TRUE(wait_until_huge(mem, 60));
	EXPECT_EQ(0, mem_count_ksm(0, mem, 2 * HUGE_PAGES));
	EXPECT_EQ(0, bad_alike(mem, 8000));
	/* Both at once, and somebody who writes. */
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (end = seconds_now() + 6; seconds_now() < end; ) {
		page_fill(PAGE(mem, HUGE_PAGES - 1), 9);
		page_fill(PAGE(mem, HUGE_PAGES), 8000);
		ASSERT_EQ(0, bad_alike(mem, 8000));
	}
	ASSERT_EQ(0, ksm_set("run", 0));
	ASSERT_EQ(0, khugepaged_set("max_ptes_shared", 0));
	collapsed = khugepaged_get("pages_collapsed") - collapsed;
	TH_LOG("%ld huge pages", collapsed);
	EXPECT_LE(2, collapsed);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(HUGE_PAGES - 1, HUGE_PAGES - 1, 2);
	EXPECT_EQ(0, bad_alike(mem, 8000));
}

TEST_HARNESS_MAIN
