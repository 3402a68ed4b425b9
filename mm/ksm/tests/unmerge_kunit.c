// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of unsharing where the address space changes meanwhile, at moments
 * that no program can bring about. Included by unmerge.c.
 */
#include <kunit/test-bug.h>

#include "mm_fixture.h"

#define TEST_START	(64UL << 20)

/**
 * struct unmerge_test - a page to unshare
 * @mm: its mm, with this page and no page table
 * @found: the state of unsharing
 * @answer: what a fault there gives
 * @faults: how many there were
 */
struct unmerge_test {
	struct mm_struct *mm;
	struct unshare found;
	vm_fault_t answer;
	unsigned int faults;
};

static int unmerge_test_init(struct kunit *test)
{
	struct unmerge_test *ut = kunit_kzalloc(test, sizeof(*ut), GFP_KERNEL);

	if (!ut)
		return -ENOMEM;
	ut->mm = test_mm(test);
	test->priv = ut;
	test_mm_map(test, ut->mm, TEST_START, 1);
	mmap_read_lock(ut->mm);
	ut->found.vma = vma_lookup(ut->mm, TEST_START);
	mmap_read_unlock(ut->mm);
	ut->found.next = TEST_START;
	return ut->found.vma ? 0 : -EFAULT;
}

static void unmerge_test_exit(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;

	if (!ut)
		return;
	mmput(ut->mm);
	down_write(&ksm_gate);
	ksm_reap(false);
	up_write(&ksm_gate);
}

/* Nothing can be replaced, and the place is looked at once more. */
static void page_table_is_gone(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;

	ut->found.batch[0].addr = TEST_START;
	ut->found.nr = 1;
	ut->found.next = TEST_START + PAGE_SIZE;
	mmap_read_lock(ut->mm);
	replace_batch(&ut->found);
	mmap_read_unlock(ut->mm);
	KUNIT_EXPECT_EQ(test, ut->found.next, TEST_START);
	put_batch(&ut->found);
	KUNIT_EXPECT_EQ(test, ut->found.nr, 0);
}

static vm_fault_t answer_fault(struct vm_fault *vmf)
{
	struct unmerge_test *ut = kunit_get_current_test()->priv;

	ut->faults++;
	return ut->answer;
}

static const struct vm_operations_struct answer_ops = {
	.fault = answer_fault,
};

static int wait_with(struct kunit *test, vm_fault_t answer)
{
	struct unmerge_test *ut = test->priv;
	int err;

	ut->answer = answer;
	mmap_read_lock(ut->mm);
	ut->found.vma->vm_ops = &answer_ops;
	err = wait_for_migration(&ut->found);
	ut->found.vma->vm_ops = NULL;
	mmap_read_unlock(ut->mm);
	KUNIT_EXPECT_EQ(test, ut->faults, 1);
	return err;
}

/* A file was truncated there: no page, but no error of whoever unmerges. */
static void wait_for_what_was_truncated(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;

	KUNIT_EXPECT_EQ(test, wait_with(test, VM_FAULT_SIGBUS), 0);
	KUNIT_EXPECT_EQ(test, ut->found.next, TEST_START + PAGE_SIZE);
}

static void wait_without_memory(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;

	KUNIT_EXPECT_EQ(test, wait_with(test, VM_FAULT_OOM), -ENOMEM);
	KUNIT_EXPECT_EQ(test, ut->found.next, TEST_START);
}

/* Nor is it one that the page was in memory that has failed. */
static void wait_for_what_has_failed(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;

	KUNIT_EXPECT_EQ(test, wait_with(test, VM_FAULT_HWPOISON), 0);
	KUNIT_EXPECT_EQ(test, ut->found.next, TEST_START + PAGE_SIZE);
}

static struct kunit_case unmerge_cases[] = {
	KUNIT_CASE(page_table_is_gone),
	KUNIT_CASE(wait_for_what_was_truncated),
	KUNIT_CASE(wait_without_memory),
	KUNIT_CASE(wait_for_what_has_failed),
	{}
};

static struct kunit_suite unmerge_suite = {
	.name = "ksm_unmerge",
	.init = unmerge_test_init,
	.exit = unmerge_test_exit,
	.test_cases = unmerge_cases,
};

kunit_test_suite(unmerge_suite);
