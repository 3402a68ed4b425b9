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
 * @faults: page faults that reached the VMA
 */
struct unmerge_test {
	struct mm_struct *mm;
	struct unshare found;
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
	test_reap();
	ksm_gate_open();
}

/* Nothing can be replaced, and the place is looked at once more. */
static void page_table_is_gone(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;

	ut->found.batch[0].addr = TEST_START;
	ut->found.nr = 1;
	ut->found.next = TEST_START + PAGE_SIZE;
	mmap_read_lock(ut->mm);
	unmerge_replace(&ut->found);
	mmap_read_unlock(ut->mm);
	KUNIT_EXPECT_EQ(test, ut->found.next, TEST_START);
	unmerge_put_batch(&ut->found);
	KUNIT_EXPECT_EQ(test, ut->found.nr, 0);
}

static vm_fault_t count_fault(struct vm_fault *vmf)
{
	struct unmerge_test *ut = kunit_get_current_test()->priv;

	ut->faults++;
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct count_ops = {
	.fault = count_fault,
};

/* Whoever serves the file may take as long as they like: nothing is read from it. */
static void wait_for_what_has_gone(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;

	mmap_read_lock(ut->mm);
	ut->found.vma->vm_ops = &count_ops;
	unmerge_wait(&ut->found);
	ut->found.vma->vm_ops = NULL;
	mmap_read_unlock(ut->mm);
	KUNIT_EXPECT_EQ(test, ut->faults, 0);
	KUNIT_EXPECT_EQ(test, ut->found.next, TEST_START);
}

/* The caller learns how far this came, and can go on there. */
static void part_tells_where(struct kunit *test)
{
	struct unmerge_test *ut = test->priv;
	unsigned long start = 0;

	test_mm_fill(test, ut->mm, TEST_START, 1);
	KUNIT_EXPECT_EQ(test, ksm_unmerge_part(ut->mm, &start, ULONG_MAX, false), 0);
	KUNIT_EXPECT_EQ(test, start, TEST_START + PAGE_SIZE);
}

static struct kunit_case unmerge_cases[] = {
	KUNIT_CASE(page_table_is_gone),
	KUNIT_CASE(wait_for_what_has_gone),
	KUNIT_CASE(part_tells_where),
	{}
};

static struct kunit_suite unmerge_suite = {
	.name = "ksm_unmerge",
	.init = unmerge_test_init,
	.exit = unmerge_test_exit,
	.test_cases = unmerge_cases,
};

kunit_test_suite(unmerge_suite);
