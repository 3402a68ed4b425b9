// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of KSM's zero pages when something takes them away that programs
 * here cannot bring about: a driver that migrates memory to its device.
 */
#include <linux/highmem.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>
#include <linux/swap.h>

#include "../merge.h"
#include "../registry.h"
#include "../rmap_item.h"
#include "mm_fixture.h"

#define TEST_START	(64UL << 20)
#define TEST_PAGES	4UL

/* Maps the zero page in place of all pages of the mm, which are empty. */
static void merge_all(struct kunit *test, struct mm_struct *mm)
{
	struct ksm_window window = { };
	struct vm_area_struct *vma;
	struct ksm_chunk *chunk;
	unsigned int i;

	/* A page in the batch of a CPU has one more reference. */
	lru_add_drain_all();
	down_read(&ksm_gate);
	KUNIT_ASSERT_EQ(test, ksm_window_get(&window, true), 0);
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, TEST_START);
	KUNIT_ASSERT_NOT_NULL(test, vma);
	chunk = ksm_chunk_make(window.slot, TEST_START, vma, NULL);
	KUNIT_ASSERT_NOT_NULL(test, chunk);
	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_EXPECT_EQ(test, ksm_merge_zero(vma, &chunk->item[i], NULL),
				0);
	ksm_chunk_free_if_unused(chunk);
	mmap_read_unlock(mm);
	ksm_window_put(&window);
	up_read(&ksm_gate);
}

#ifdef CONFIG_DEVICE_MIGRATION
/* As a driver does, but the memory of its device is ordinary memory. */
static void migrate_page(struct kunit *test, struct mm_struct *mm,
			 unsigned long addr, u64 value)
{
	struct page *page = alloc_page(GFP_HIGHUSER_MOVABLE);
	unsigned long src = 0, dst = 0;
	struct migrate_vma migrate = {
		.src = &src,
		.dst = &dst,
		.start = addr,
		.end = addr + PAGE_SIZE,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	void *to;

	KUNIT_ASSERT_NOT_NULL(test, page);
	to = kmap_local_page(page);
	memset64(to, value, PAGE_SIZE / sizeof(value));
	kunmap_local(to);
	mmap_read_lock(mm);
	migrate.vma = vma_lookup(mm, addr);
	KUNIT_ASSERT_EQ(test, migrate_vma_setup(&migrate), 0);
	/* It may migrate, and there is no page. */
	KUNIT_EXPECT_EQ(test, src, MIGRATE_PFN_MIGRATE);
	lock_page(page);
	dst = migrate_pfn(page_to_pfn(page));
	migrate_vma_pages(&migrate);
	KUNIT_EXPECT_EQ(test, src, MIGRATE_PFN_MIGRATE);
	migrate_vma_finalize(&migrate);
	mmap_read_unlock(mm);
}

static void zero_page_migrates(struct kunit *test)
{
	long before = atomic_long_read(&ksm_zero_pages);
	struct mm_struct *mm = test_mm(test);
	unsigned long i;

	test_mm_map(test, mm, TEST_START, TEST_PAGES);
	for (i = 0; i < TEST_PAGES; i++)
		test_mm_fill(test, mm, TEST_START + i * PAGE_SIZE, 0);
	merge_all(test, mm);
	KUNIT_EXPECT_EQ(test, mm_ksm_zero_pages(mm), TEST_PAGES);

	migrate_page(test, mm, TEST_START + PAGE_SIZE, 7);
	KUNIT_EXPECT_EQ(test, mm_ksm_zero_pages(mm), TEST_PAGES - 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_zero_pages),
			before + TEST_PAGES - 1);
	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_EXPECT_TRUE(test, test_mm_holds(test, mm,
						      TEST_START + i * PAGE_SIZE,
						      i == 1 ? 7 : 0));
	mmput(mm);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_zero_pages), before);
}

/* A zero page that a read has mapped was never counted. */
static void others_zero_page_migrates(struct kunit *test)
{
	long before = atomic_long_read(&ksm_zero_pages);
	struct mm_struct *mm = test_mm(test);

	test_mm_map(test, mm, TEST_START, 1);
	KUNIT_EXPECT_TRUE(test, test_mm_holds(test, mm, TEST_START, 0));
	migrate_page(test, mm, TEST_START, 7);
	KUNIT_EXPECT_EQ(test, mm_ksm_zero_pages(mm), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_zero_pages), before);
	KUNIT_EXPECT_TRUE(test, test_mm_holds(test, mm, TEST_START, 7));
	mmput(mm);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_zero_pages), before);
}
#endif /* CONFIG_DEVICE_MIGRATION */

/* A writer gets its own page, and the count drops by one. */
static void zero_page_is_written(struct kunit *test)
{
	long before = atomic_long_read(&ksm_zero_pages);
	struct mm_struct *mm = test_mm(test);
	unsigned long i;

	test_mm_map(test, mm, TEST_START, TEST_PAGES);
	for (i = 0; i < TEST_PAGES; i++)
		test_mm_fill(test, mm, TEST_START + i * PAGE_SIZE, 0);
	merge_all(test, mm);
	test_mm_fill(test, mm, TEST_START, 9);
	KUNIT_EXPECT_EQ(test, mm_ksm_zero_pages(mm), TEST_PAGES - 1);
	KUNIT_EXPECT_TRUE(test, test_mm_holds(test, mm, TEST_START, 9));
	mmput(mm);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_zero_pages), before);
}

static int zero_test_init(struct kunit *test)
{
	return ksm_registry_idle() ? 0 : -EBUSY;
}

static void zero_test_exit(struct kunit *test)
{
	down_write(&ksm_gate);
	test_reap();
	up_write(&ksm_gate);
	ksm_reset_full_scans();
	KUNIT_EXPECT_EQ(test, ksm_metadata_bytes(), 0);
}

static struct kunit_case zero_cases[] = {
#ifdef CONFIG_DEVICE_MIGRATION
	KUNIT_CASE(zero_page_migrates),
	KUNIT_CASE(others_zero_page_migrates),
#endif
	KUNIT_CASE(zero_page_is_written),
	{}
};

static struct kunit_suite zero_suite = {
	.name = "ksm_zero",
	.init = zero_test_init,
	.exit = zero_test_exit,
	.test_cases = zero_cases,
};

kunit_test_suite(zero_suite);
