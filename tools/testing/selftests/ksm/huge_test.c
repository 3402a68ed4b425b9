// SPDX-License-Identifier: GPL-2.0
/* Pages of huge pages are merged, and the huge page's other pages survive. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/uio.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_PAGES 512
#define HUGE_BYTES (HUGE_PAGES * PAGE_BYTES)

/*
 * Aligned memory of this many huge pages, filled; NULL if not huge. khugepaged
 * must leave it alone: it comes by every ten seconds, and where ksmd has split
 * a huge page it collapses it again, including pages that were merged.
 */
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
	return madvise(mem, count * HUGE_BYTES, MADV_NOHUGEPAGE) ? NULL : mem;
}

/* Makes it a huge page again; khugepaged does not, see above. */
static int collapse_once(char *mem)
{
	int err = madvise(mem, HUGE_BYTES, MADV_HUGEPAGE);

	err = err ? err : madvise(mem, HUGE_BYTES, MADV_COLLAPSE);
	return madvise(mem, HUGE_BYTES, MADV_NOHUGEPAGE) ? -1 : err;
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

/*
 * A huge page that cannot be split, as a device or a pipe has one of its pages,
 * stands between two areas of the same contents. These merge all the same.
 */
KSM_TEST(one_in_use_hides_nothing)
{
	char *huge = huge_map(3, 3000, 1);
	char *before = huge, *in_use = huge + HUGE_BYTES, *after = huge + 2 * HUGE_BYTES;
	struct iovec page = { .iov_len = PAGE_BYTES };
	int fd[2];

	if (!huge)
		SKIP(return, "no transparent huge pages");
	/* Their neighbours have small pages. */
	ASSERT_EQ(0, munmap(before, HUGE_BYTES));
	ASSERT_EQ(before, mmap(before, HUGE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, munmap(after, HUGE_BYTES));
	ASSERT_EQ(after, mmap(after, HUGE_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, madvise(before, 3 * HUGE_BYTES, MADV_NOHUGEPAGE));
	mem_fill(before, HUGE_PAGES, 3000, 1);
	mem_fill(after, HUGE_PAGES, 3000, 1);
	ASSERT_EQ(0, pipe(fd));
	page.iov_base = in_use;
	ASSERT_EQ(PAGE_BYTES, vmsplice(fd[1], &page, 1, 0));

	ASSERT_EQ(0, madvise(before, 3 * HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_EQ(HUGE_PAGES, mem_count_ksm(0, before, HUGE_PAGES));
	EXPECT_EQ(HUGE_PAGES, mem_count_ksm(0, after, HUGE_PAGES));
	EXPECT_EQ(page_pfn(0, before), page_pfn(0, after));
	EXPECT_EQ(0, mem_count_ksm(0, in_use, HUGE_PAGES));
	EXPECT_EQ(0, mem_bad(in_use, HUGE_PAGES, 3000, 1));

	/* It follows once nobody else has it. */
	close(fd[0]);
	close(fd[1]);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(HUGE_PAGES, 2 * HUGE_PAGES, 0);
	EXPECT_EQ(0, mem_bad(in_use, HUGE_PAGES, 3000, 1));
}

/*
 * One page is found and the huge page is split for it; then the others are
 * found.
 */
KSM_TEST(zero_filled_huge_page)
{
	char *mem = huge_map(1, 0, 0);

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(HUGE_PAGES, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(HUGE_PAGES, mem_count_zero_page(0, mem, HUGE_PAGES));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, mem_bad(mem, HUGE_PAGES, 0, 0));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, mem_count_zero_page(0, mem, HUGE_PAGES));
	EXPECT_EQ(0, mem_bad(mem, HUGE_PAGES, 0, 0));
}

#define TWINS 2
#define ZEROES (HUGE_PAGES - TWINS)

/* Empty but for its first pages, for whose sake it is split. */
static char *mostly_empty(uint64_t seed)
{
	char *mem = huge_map(1, 0, 0);

	if (mem)
		mem_fill(mem, TWINS, seed, 0);
	return mem;
}

/* Without use_zero_pages, splitting maps no zero page either. */
KSM_TEST(zeroes_stay_when_split)
{
	char *mem = mostly_empty(8000);

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, ksm_set("max_page_sharing", 1024));
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, mem_count_zero_page(0, mem, HUGE_PAGES));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	ASSERT_COUNTERS(2, HUGE_PAGES - 2, 0);
	EXPECT_EQ(0, mem_bad(PAGE(mem, TWINS), ZEROES, 0, 0));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, HUGE_PAGES));
	EXPECT_EQ(0, mem_count_zero_page(0, mem, HUGE_PAGES));
	EXPECT_EQ(0, mem_bad(mem, TWINS, 8000, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, TWINS), ZEROES, 0, 0));
}

/* With it, each is counted, and comes back. */
KSM_TEST(zeroes_are_counted_when_split)
{
	char *mem = mostly_empty(8000);

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(ZEROES, mem_count_zero_page(0, mem, HUGE_PAGES));
	EXPECT_EQ(ZEROES, ksm_read("ksm_zero_pages"));
	ASSERT_COUNTERS(1, TWINS - 1, 0);
	PAGE(mem, TWINS)[7] = 1;
	EXPECT_EQ(ZEROES - 1, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, mem_count_zero_page(0, mem, HUGE_PAGES));
	EXPECT_EQ(0, mem_bad(PAGE(mem, TWINS + 1), ZEROES - 1, 0, 0));
}

/*
 * A process that shares the huge page since a fork, and offers nothing, loses
 * nothing.
 */
KSM_TEST(zeroes_of_a_stranger_when_split)
{
	char *mem = mostly_empty(8000);
	int ready[2], go[2], status;
	char byte = 0;
	pid_t pid;

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, pipe(ready) | pipe(go));
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	pid = fork();
	if (pid == 0) {
		int bad = madvise(mem, HUGE_BYTES, MADV_UNMERGEABLE);

		bad |= write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1;
		bad |= mem_bad(PAGE(mem, TWINS), ZEROES, 0, 0) != 0;
		_exit(bad);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(ZEROES, mem_count_zero_page(0, mem, HUGE_PAGES));
	EXPECT_EQ(ZEROES, ksm_read("ksm_zero_pages"));
	EXPECT_FALSE(pfn_flags(page_pfn(pid, mem)) & KPAGE_THP);
	EXPECT_EQ(0, mem_count_zero_page(pid, mem, HUGE_PAGES));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mem_bad(PAGE(mem, TWINS), ZEROES, 0, 0));
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
	/* Only the huge page with a duplicate is split. */
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
		collapsed += !collapse_once(mem);
		ASSERT_EQ(0, mem_bad(mem, HUGE_PAGES, 7000, 1));
	}
	/* ksmd may have prevented it each time, but only ksmd. */
	ASSERT_EQ(0, ksm_set("run", 0));
	for (round = 0; round < 50 && !collapsed; round++)
		collapsed += !collapse_once(mem);
	TH_LOG("collapsed %d times", collapsed);
	EXPECT_LT(0, collapsed);
	ASSERT_EQ(0, ksm_settle());
	/* A page that was shared for a while may be a KSM page still. */
	ksm_counters(&c);
	EXPECT_EQ(0, c.sharing);
	EXPECT_EQ(HUGE_PAGES, c.shared + c.unshared);
}

static int collapse(char *mem)
{
	int tries, err = -1;

	for (tries = 0; tries < 50 && err; tries++)
		err = collapse_once(mem);
	return err;
}

/* Merged pages can become a huge page again. Then it takes two to split it. */
KSM_TEST(collapsed_when_merged)
{
	char *mem = huge_map(1, 7000, 1);

	if (!mem)
		SKIP(return, "no transparent huge pages");
	ASSERT_EQ(0, madvise(mem, HUGE_BYTES, MADV_MERGEABLE));
	page_fill(PAGE(mem, 9), 7100);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, HUGE_PAGES - 2);
	if (!collapse(mem))
		EXPECT_EQ(0, mem_count_ksm(0, mem, HUGE_PAGES));
	EXPECT_EQ(-1, page_diff(PAGE(mem, 9), 7100));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 10), HUGE_PAGES - 10, 7010, 1));
	page_fill(PAGE(mem, 10), 7200);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, 2, HUGE_PAGES - 4);
	EXPECT_EQ(-1, page_diff(PAGE(mem, 10), 7200));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 11), HUGE_PAGES - 11, 7011, 1));
}

/* A huge page that was requested is not split again for the same page. */
KSM_TEST(left_whole_when_it_comes_back)
{
	char *huge = huge_map(1, 3000, 1);
	char *mem = mem_map(2);

	if (!huge)
		SKIP(return, "no transparent huge pages");
	page_fill(mem, 3123);
	page_fill(PAGE(mem, 1), 1);
	ASSERT_EQ(0, madvise(mem, 2 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(huge, HUGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_TRUE(page_is_ksm(0, PAGE(huge, 123)));
	ASSERT_EQ(0, collapse(huge));
	ASSERT_EQ(0, ksm_scans(6));
	EXPECT_TRUE(pfn_flags(page_pfn(0, huge)) & KPAGE_THP);
	EXPECT_FALSE(page_is_ksm(0, PAGE(huge, 123)));
	/* For two it is. */
	page_fill(PAGE(mem, 1), 3456);
	ASSERT_EQ(0, ksm_scans(6));
	EXPECT_TRUE(page_is_ksm(0, PAGE(huge, 123)));
	EXPECT_TRUE(page_is_ksm(0, PAGE(huge, 456)));
	EXPECT_EQ(0, mem_bad(huge, HUGE_PAGES, 3000, 1));
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

/* Two huge pages that are equal except for a page that nobody shares. */
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

/* khugepaged may collapse what ksmd has split, copies included, and again. */
TEST_F_TIMEOUT(khugepaged, beside_ksmd, KSM_TEST_SECONDS)
{
	long collapsed = khugepaged_get("pages_collapsed");
	char *mem = huge_map(2, 8000, 1);
	double end;

	if (!mem)
		SKIP(return, "no transparent huge pages");
	fill_alike(mem, 8000);
	ASSERT_EQ(0, madvise(mem, 2 * HUGE_BYTES, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(mem, 2 * HUGE_BYTES, MADV_MERGEABLE));
	/* Shared pages are an administrator's choice. */
	ASSERT_EQ(0, khugepaged_set("max_ptes_shared", 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(HUGE_PAGES - 1, HUGE_PAGES - 1, 2);
	EXPECT_FALSE(wait_until_huge(mem, 2));
	EXPECT_EQ(2 * (HUGE_PAGES - 1), mem_count_ksm(0, mem, 2 * HUGE_PAGES));
	ASSERT_EQ(0, khugepaged_set("max_ptes_shared", HUGE_PAGES - 1));
	EXPECT_TRUE(wait_until_huge(mem, 240));
	EXPECT_EQ(0, mem_count_ksm(0, mem, 2 * HUGE_PAGES));
	EXPECT_EQ(0, bad_alike(mem, 8000));
	/* Both at once, with a writer. */
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
