/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Real address spaces for tests that go through page tables: an mm that is
 * registered and has memory, but that no thread uses.
 */
#ifndef _MM_KSM_TESTS_MM_FIXTURE_H
#define _MM_KSM_TESTS_MM_FIXTURE_H

#include <kunit/test.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "../ksm.h"
#include "../reap.h"
#include "../scan.h"
#include "../window.h"

/* Release it by mmput(). */
static inline struct mm_struct *test_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	mmap_write_lock(mm);
	KUNIT_EXPECT_EQ(test, ksm_enable_merge_any(mm), 0);
	mmap_write_unlock(mm);
	return mm;
}

/* A mergeable mapping, empty so far. */
static inline void test_mm_map(struct kunit *test, struct mm_struct *mm,
			       unsigned long addr, unsigned long pages)
{
	unsigned long ret;

	kthread_use_mm(mm);
	ret = vm_mmap(NULL, addr, pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, ret, addr);
}

/* Fills the page at @addr with @value. */
static inline void test_mm_fill(struct kunit *test, struct mm_struct *mm,
				unsigned long addr, u64 value)
{
	u64 *words = kmalloc(PAGE_SIZE, GFP_KERNEL);
	unsigned long left;

	KUNIT_ASSERT_NOT_NULL(test, words);
	memset64(words, value, PAGE_SIZE / sizeof(value));
	kthread_use_mm(mm);
	left = copy_to_user((void __user *)addr, words, PAGE_SIZE);
	kthread_unuse_mm(mm);
	kfree(words);
	KUNIT_ASSERT_EQ(test, left, 0);
}

/* Does the page hold what test_mm_fill() has written? */
static inline bool test_mm_holds(struct kunit *test, struct mm_struct *mm,
				 unsigned long addr, u64 value)
{
	u64 *words = kmalloc(PAGE_SIZE, GFP_KERNEL);
	unsigned long left;
	unsigned int i = 0;

	KUNIT_ASSERT_NOT_NULL(test, words);
	kthread_use_mm(mm);
	left = copy_from_user(words, (void __user *)addr, PAGE_SIZE);
	kthread_unuse_mm(mm);
	while (!left && i < PAGE_SIZE / sizeof(value) && words[i] == value)
		i++;
	kfree(words);
	return i == PAGE_SIZE / sizeof(value);
}

/* Frees what exited mms leave. ksm_gate is held exclusively. */
static inline void test_reap(void)
{
	struct ksm_parting parting = { };
	long credit = LONG_MAX;

	do {
		while (ksm_reap(&parting, &credit))
			;
		ksm_part(&parting);
	} while (ksm_reap_pending());
	while (ksm_reap_again(ULONG_MAX))
		;
}

/* The test does a full scan, and has all of the windows. */
static inline void test_mm_scan(struct kunit *test, struct ksm_scan *scan)
{
	struct ksm_window window = { };
	bool completed = false;

	lru_add_drain_all();
	down_read(&ksm_gate);
	while (!completed) {
		unsigned long budget = ULONG_MAX;

		if (ksm_window_get(&window, true))
			break;
		while (!ksm_scan_window(scan, &window, &budget))
			KUNIT_ASSERT_FALSE(test, window.spent);
		completed = ksm_window_put(&window);
	}
	up_read(&ksm_gate);
	KUNIT_EXPECT_TRUE(test, completed);
}

#endif /* _MM_KSM_TESTS_MM_FIXTURE_H */
