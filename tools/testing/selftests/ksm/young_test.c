// SPDX-License-Identifier: GPL-2.0
/*
 * Accessed bits, which ksmd shares with others: reclaim learns what ksmd
 * clears, and what others clear does not hide a write from ksmd.
 */

#include "ksm_fixture.h"

#include <pthread.h>
#include <sched.h>

#include "ksm_env.h"
#include "lru.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define HUGE_PAGES 512UL
#define HUGE_BYTES (HUGE_PAGES * PAGE_BYTES)

/* Full scans within which a write is noticed, see Documentation/mm/ksm.rst. */
#define SEEN_WITHIN 3
/*
 * ... and so slowly that a few scans are far from the 32 after which all is
 * read.
 */
#define SLOWLY 100

#define SAME 1
#define OTHER 2

FIXTURE(young) {
	KSM_FIXTURE_STATE;
};

FIXTURE_VARIANT(young) {
	bool generations;
};

FIXTURE_VARIANT_ADD(young, two_lists) {
	.generations = false,
};

FIXTURE_VARIANT_ADD(young, generations) {
	.generations = true,
};

FIXTURE_SETUP(young)
{
	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	if (swap_start() || cgroup_start())
		SKIP(return, "no swap or no memory cgroups");
	if (variant->generations && lru_gen_start())
		SKIP(return, "no multi-generational LRU");
	ASSERT_EQ(0, cgroup_enter(0));
}

FIXTURE_TEARDOWN_PARENT(young)
{
	if (variant->generations)
		lru_gen_stop();
	KSM_FIXTURE_TEARDOWN();
	EXPECT_EQ(0, swap_stop());
	cgroup_stop();
}

#define YOUNG_TEST(name) TEST_F_TIMEOUT(young, name, KSM_TEST_SECONDS)

/* This many huge pages, or as much memory in small ones; NULL if that fails. */
static char *map_either(size_t count, bool huge, uint64_t seed)
{
	char *mem = mem_map((count + 1) * HUGE_PAGES);

	mem = (char *)(((uintptr_t)mem + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (madvise(mem, count * HUGE_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		return NULL;
	mem_fill(mem, count * HUGE_PAGES, seed, 1);
	if (huge && !(pfn_flags(page_pfn(0, mem)) & KPAGE_THP))
		return NULL;
	/* khugepaged would undo what ksmd does, if it happens to come by; what is huge stays so. */
	if (huge && madvise(mem, count * HUGE_BYTES, MADV_NOHUGEPAGE))
		return NULL;
	return madvise(mem, count * HUGE_BYTES, MADV_MERGEABLE) ? NULL : mem;
}

/* Reads each of the pages. */
static void use(const char *mem, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		(void)__atomic_load_n(PAGE(mem, i), __ATOMIC_RELAXED);
}

/* ------------------------------------------------------ what others clear */

/* Idle memory, and two pages of it, far from each other and from the start. */
#define PAIR_SEED 1000
#define AT_A 21
#define AT_B (HUGE_PAGES + 484)

static char *idle_memory(bool huge)
{
	char *mem = map_either(2, huge, PAIR_SEED);

	if (!mem || ksm_set("sleep_millisecs", 20) || ksm_scans(4) ||
	    ksm_read("pages_unshared") != 2 * HUGE_PAGES)
		return NULL;
	return mem;
}

enum other { IDLE_TRACKING, CLEAR_REFS, COLD, DAMON_LOOKS, AGING };

/* Until DAMON has been there: it marks what it has looked at as idle. */
static int await_damon(const char *page)
{
	double end = seconds_now() + 120;

	while (!(pfn_flags(head_of(page_pfn(0, page))) & KPAGE_IDLE)) {
		if (seconds_now() > end)
			return -ETIMEDOUT;
		sleep_ms(5);
	}
	return 0;
}

static int others_clear(enum other other, char *page)
{
	int err, err2;

	switch (other) {
	case IDLE_TRACKING:
		return idle_set_all(page, 1);
	case CLEAR_REFS:
		return file_write("/proc/self/clear_refs", "1");
	case COLD:
		/* A huge page is split if a part of it has to be cold. */
		page = (char *)((uintptr_t)page & ~(HUGE_BYTES - 1));
		return madvise(page, HUGE_BYTES, MADV_COLD) ? -errno : 0;
	case DAMON_LOOKS:
		err = damon_watch(page, 1);
		err = err ? err : await_damon(page);
		err2 = damon_stop();
		return err ? err : err2;
	case AGING:
		return lru_gen_age();
	}
	return -EINVAL;
}

/* A write happens, then somebody clears the accessed bit, and then ksmd does. */
static void write_is_noticed(struct __test_metadata *_metadata, enum other other, bool huge)
{
	char *mem = idle_memory(huge);
	int err;

	if (!mem && huge)
		SKIP(return, "no transparent huge pages");
	ASSERT_NE(NULL, mem);
	page_fill(PAGE(mem, AT_B), PAIR_SEED + AT_A);
	err = others_clear(other, PAGE(mem, AT_B));
	if (err == -ENOENT)
		SKIP(return, "nobody here does this");
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, ksm_set("sleep_millisecs", SLOWLY));
	ASSERT_EQ(0, ksm_scans(SEEN_WITHIN));
	EXPECT_TRUE(page_is_ksm(0, PAGE(mem, AT_B)));
	EXPECT_EQ(-1, page_diff(PAGE(mem, AT_B), PAIR_SEED + AT_A));
}

YOUNG_TEST(write_seen_by_idle_tracking)
{
	write_is_noticed(_metadata, IDLE_TRACKING, false);
}

YOUNG_TEST(write_to_huge_page_seen_by_idle_tracking)
{
	write_is_noticed(_metadata, IDLE_TRACKING, true);
}

YOUNG_TEST(write_seen_by_clear_refs)
{
	write_is_noticed(_metadata, CLEAR_REFS, false);
}

YOUNG_TEST(write_to_huge_page_seen_by_clear_refs)
{
	write_is_noticed(_metadata, CLEAR_REFS, true);
}

YOUNG_TEST(write_seen_by_madvise_cold)
{
	write_is_noticed(_metadata, COLD, false);
}

YOUNG_TEST(write_to_huge_page_seen_by_madvise_cold)
{
	write_is_noticed(_metadata, COLD, true);
}

YOUNG_TEST(write_seen_by_damon)
{
	write_is_noticed(_metadata, DAMON_LOOKS, false);
}

YOUNG_TEST(write_to_huge_page_seen_by_damon)
{
	write_is_noticed(_metadata, DAMON_LOOKS, true);
}

YOUNG_TEST(write_seen_by_aging)
{
	if (!variant->generations)
		SKIP(return, "there are no generations");
	write_is_noticed(_metadata, AGING, false);
}

YOUNG_TEST(write_to_huge_page_seen_by_aging)
{
	if (!variant->generations)
		SKIP(return, "there are no generations");
	write_is_noticed(_metadata, AGING, true);
}

/* The budget may end within a chunk: what others clear there affects both parts. */
YOUNG_TEST(writes_to_both_parts_of_a_chunk)
{
	char *mem, *parts;

	if (access(PAGE_IDLE, F_OK))
		SKIP(return, "no page_idle");
	mem = idle_memory(false);
	ASSERT_NE(NULL, mem);
	parts = PAGE(mem, AT_B & ~15UL);
	page_fill(PAGE(parts, 4), PAIR_SEED + AT_A);
	page_fill(PAGE(parts, 12), PAIR_SEED + AT_A + 100);
	ASSERT_EQ(0, idle_set_all(parts, 16));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 20));
	ASSERT_EQ(0, ksm_set("pages_to_scan", 8));
	ASSERT_EQ(0, ksm_scans(SEEN_WITHIN));
	EXPECT_TRUE(page_is_ksm(0, PAGE(parts, 4)));
	EXPECT_TRUE(page_is_ksm(0, PAGE(parts, 12)));
}

/*
 * The cost for ksmd: if others see only one page of a mapping in use, the rest
 * of the mapping is not read again.
 */
YOUNG_TEST(others_do_not_make_ksmd_read_all)
{
	long scanned, skipped, read;
	int scans;
	char *mem;

	if (access(PAGE_IDLE, F_OK))
		SKIP(return, "no page_idle");
	mem = idle_memory(false);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_scans(2));
	(void)__atomic_load_n(PAGE(mem, AT_B), __ATOMIC_RELAXED);
	ASSERT_EQ(0, idle_set_all(mem, 2 * HUGE_PAGES));
	scanned = ksm_read("pages_scanned");
	skipped = ksm_read("pages_skipped");
	/* After many more scans all is read again. */
	for (scans = 0; scans <= SEEN_WITHIN; scans++)
		ASSERT_EQ(0, ksm_one_scan());
	read = ksm_read("pages_scanned") - scanned;
	skipped = ksm_read("pages_skipped") - skipped;
	printf("# %ld pages read, %ld not\n", read, skipped);
	EXPECT_LE(1, read);
	EXPECT_GE(16, read);
	EXPECT_LE(2 * HUGE_PAGES, skipped);
}

/* ------------------------------------------------------- memory in use */

/* Full scans within which memory that is always in use is read again. */
#define BUSY_WITHIN 9
#define BUSY_PAGES (2 * HUGE_PAGES)

/*
 * Reads or writes the pages before each of this many full scans, but not during
 * a scan.
 */
static int scans_in_use(char *mem, size_t pages, int scans, bool written)
{
	size_t i;
	int err = 0;

	for (; scans && !err; scans--) {
		err = forget_translations();
		use(mem, pages);
		for (i = 0; i < pages && written; i++)
			__atomic_add_fetch((uint64_t *)PAGE(mem, i), 1, __ATOMIC_RELAXED);
		err = err ? err : ksm_one_scan();
	}
	return err ? err : ksm_set("sleep_millisecs", SLOWLY);
}

static char *busy_memory(bool written)
{
	char *mem = idle_memory(false);

	return mem && !scans_in_use(mem, BUSY_PAGES, 30, written) ? mem : NULL;
}

static void busy_memory_is_rarely_read(struct __test_metadata *_metadata, bool written)
{
	char *mem = busy_memory(written);
	long read;

	ASSERT_NE(NULL, mem);
	read = ksm_read("pages_scanned");
	ASSERT_EQ(0, scans_in_use(mem, BUSY_PAGES, 3 * BUSY_WITHIN, written));
	read = ksm_read("pages_scanned") - read;
	printf("# in %d full scans %ld pages were read\n", 3 * BUSY_WITHIN, read);
	EXPECT_LE(2 * BUSY_PAGES, read);
	EXPECT_GE(9 * BUSY_PAGES, read);
}

YOUNG_TEST(busy_memory_is_rarely_read)
{
	busy_memory_is_rarely_read(_metadata, false);
}

YOUNG_TEST(changing_memory_is_rarely_read)
{
	busy_memory_is_rarely_read(_metadata, true);
}

YOUNG_TEST(busy_memory_is_read_when_it_rests)
{
	char *mem = busy_memory(true);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, forget_translations());
	page_fill(PAGE(mem, 3), PAIR_SEED);
	page_fill(PAGE(mem, AT_B), PAIR_SEED);
	ASSERT_EQ(0, ksm_scans(SEEN_WITHIN));
	EXPECT_TRUE(page_is_ksm(0, PAGE(mem, 3)));
	EXPECT_TRUE(page_is_ksm(0, PAGE(mem, AT_B)));
	EXPECT_EQ(-1, page_diff(PAGE(mem, 3), PAIR_SEED));
	EXPECT_EQ(-1, page_diff(PAGE(mem, AT_B), PAIR_SEED));
}

YOUNG_TEST(busy_memory_is_read_in_the_end)
{
	char *mem = busy_memory(true);

	ASSERT_NE(NULL, mem);
	page_fill(PAGE(mem, 3), PAIR_SEED);
	page_fill(PAGE(mem, AT_B), PAIR_SEED);
	/* One visit sees that it has changed, and one that it stays the same. */
	ASSERT_EQ(0, scans_in_use(mem, BUSY_PAGES, 2 * BUSY_WITHIN, false));
	EXPECT_TRUE(page_is_ksm(0, PAGE(mem, 3)));
	EXPECT_EQ(-1, page_diff(PAGE(mem, 3), PAIR_SEED));
	EXPECT_EQ(-1, page_diff(PAGE(mem, AT_B), PAIR_SEED));
}

/* TLB shootdowns of all CPUs since boot, or -1. */
static long shootdowns(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	char line[4096], *at, *end;
	long sum = -1;

	while (file && sum < 0 && fgets(line, sizeof(line), file)) {
		at = strstr(line, "TLB:");
		if (!at)
			continue;
		sum = 0;
		for (at += 4; *at && *at != '\n'; at = end) {
			sum += strtol(at, &end, 10);
			if (end == at)
				break;
		}
	}
	if (file)
		fclose(file);
	return sum;
}

static void *keep_cpu_busy(void *arg)
{
	cpu_set_t cpus;
	uint64_t *word = arg;

	CPU_ZERO(&cpus);
	CPU_SET(1, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return arg;
	for (;;) {
		pthread_testcancel();
		__atomic_add_fetch(word, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The CPUs that run a program are disturbed once a second at most. */
YOUNG_TEST(shootdowns_are_rare)
{
	char *mem = map_either(1, false, PAIR_SEED);
	long scans, before = shootdowns();
	pthread_t thread;
	void *failed;
	double begin;

	ASSERT_NE(NULL, mem);
	if (before < 0)
		SKIP(return, "nobody counts TLB shootdowns");
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 20));
	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_cpu_busy, mem));
	sleep_ms(100);
	scans = ksm_read("full_scans");
	ASSERT_EQ(0, ksm_set("run", 1));
	begin = seconds_now();
	before = shootdowns();
	for (failed = NULL; ksm_read("full_scans") < scans + 100; sleep_ms(5))
		use(mem, HUGE_PAGES);
	before = shootdowns() - before;
	ASSERT_EQ(0, ksm_set("run", 0));
	ASSERT_EQ(0, pthread_cancel(thread));
	ASSERT_EQ(0, pthread_join(thread, &failed));
	if (failed != PTHREAD_CANCELED)
		SKIP(return, "needs two CPUs");
	printf("# %ld TLB shootdowns in 100 full scans\n", before);
	/* On a busy machine the scans take longer, and more shootdowns are due. */
	EXPECT_GE(16 + 2 * (seconds_now() - begin), before);
}

/* --------------------------------------------------- what ksmd clears */

#define HOT 2	/* huge pages, or as much memory */
#define COLD_PAGES 6
#define HOT_SIZE (HOT * HUGE_PAGES)

/* Pages in use move to the youngest generation as soon as ksmd knows of them. */
static void use_makes_young(struct __test_metadata *_metadata, bool huge)
{
	char *mem = map_either(HOT + COLD_PAGES, huge, 1);
	long before, after;

	if (!mem && huge)
		SKIP(return, "no transparent huge pages");
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_scans(3));
	/* The first scan may find bits that are still set from the beginning. */
	ASSERT_EQ(0, lru_gen_age());
	ASSERT_EQ(0, ksm_scans(3));
	ASSERT_EQ(0, lru_gen_age());
	before = lru_gen_youngest();
	ASSERT_EQ(0, forget_translations());
	use(mem, HOT_SIZE);
	ASSERT_EQ(0, ksm_scans(2));
	after = lru_gen_youngest();
	printf("# %ld pages in the youngest generation, %ld once %lu were used\n", before, after,
	       HOT_SIZE);
	EXPECT_LE(0, before);
	EXPECT_LE(HOT_SIZE - HOT_SIZE / 8, after - before);
	EXPECT_GE(HOT_SIZE + HOT_SIZE / 8, after - before);
}

YOUNG_TEST(use_makes_pages_young)
{
	if (!variant->generations)
		SKIP(return, "there are no generations");
	use_makes_young(_metadata, false);
}

YOUNG_TEST(use_makes_huge_pages_young)
{
	if (!variant->generations)
		SKIP(return, "there are no generations");
	use_makes_young(_metadata, true);
}

/* Swapped pages of the hot part, when reclaim takes half of what is cold. */
static long hot_pages_reclaimed(bool scanned, bool huge)
{
	char *mem = map_either(HOT + COLD_PAGES, huge, 10000);
	size_t cold = COLD_PAGES * HUGE_PAGES;
	long reclaimed;
	int step;

	if (!mem || ksm_set("run", scanned))
		return -1;
	for (step = 0; step < 24; step++) {
		long goal = ksm_read("full_scans") + 2;

		forget_translations();
		use(mem, HOT_SIZE);
		while (scanned && ksm_read("full_scans") < goal)
			sleep_ms(1);
		/* It often reclaims less than requested: EAGAIN. */
		if (step >= 4 && mem_count_swapped(0, PAGE(mem, HOT_SIZE), cold) < cold / 2)
			file_write(CGROUP "/memory.reclaim", "512K");
	}
	ksm_set("run", 0);
	reclaimed = mem_count_swapped(0, mem, HOT_SIZE);
	printf("# ksmd %s: %ld of %lu hot, %zu of %zu cold pages reclaimed\n",
	       scanned ? "on" : "off", reclaimed, HOT_SIZE,
	       mem_count_swapped(0, PAGE(mem, HOT_SIZE), cold), cold);
	munmap(mem, (HOT + COLD_PAGES) * HUGE_BYTES);
	return reclaimed;
}

/* The tolerance that Documentation/mm/ksm.rst states: an eighth of what is hot. */
static void same_pages_stay(struct __test_metadata *_metadata, bool huge)
{
	long without = hot_pages_reclaimed(false, huge);
	long with = hot_pages_reclaimed(true, huge);

	if (huge && without < 0)
		SKIP(return, "no transparent huge pages");
	EXPECT_LE(0, without);
	EXPECT_LE(0, with);
	EXPECT_LE(with, without + HOT_SIZE / 8);
}

YOUNG_TEST(same_pages_stay)
{
	same_pages_stay(_metadata, false);
}

YOUNG_TEST(same_huge_pages_stay)
{
	same_pages_stay(_metadata, true);
}

TEST_HARNESS_MAIN
