// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what merging does when the page in its hands is not what it
 * was any more: moments that no program can bring about. Included by merge.c.
 */
#include <kunit/test.h>

/* Somebody has made something else of it between the look-up and the lock. */
static void lock_what_is_not_private(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, ksm_lock_private(page), -ENOENT);
	KUNIT_EXPECT_FALSE(test, PageLocked(page));
	__free_page(page);
}

static void lock_what_is_locked(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	lock_page(page);
	KUNIT_EXPECT_EQ(test, ksm_lock_private(page), -EAGAIN);
	KUNIT_EXPECT_TRUE(test, PageLocked(page));
	unlock_page(page);
	__free_page(page);
}

static struct kunit_case merge_cases[] = {
	KUNIT_CASE(lock_what_is_not_private),
	KUNIT_CASE(lock_what_is_locked),
	{}
};

static struct kunit_suite merge_suite = {
	.name = "ksm_merge",
	.test_cases = merge_cases,
};

kunit_test_suite(merge_suite);
