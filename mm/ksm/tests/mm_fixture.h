/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Real address spaces for the tests of what goes through page tables: an mm
 * that is registered, with memory in it, and that nobody runs in.
 */
#ifndef _MM_KSM_TESTS_MM_FIXTURE_H
#define _MM_KSM_TESTS_MM_FIXTURE_H

#include <kunit/test.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "../ksm.h"

/* To be given back with mmput(). */
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

/* A mergeable mapping, empty as yet. */
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

/* Writes the page at @addr: each of its words is @value. */
static inline void test_mm_fill(struct kunit *test, struct mm_struct *mm,
				unsigned long addr, u64 value)
{
	unsigned long at, left = 0;

	kthread_use_mm(mm);
	for (at = 0; at < PAGE_SIZE; at += sizeof(value))
		left += copy_to_user((void __user *)(addr + at), &value,
				     sizeof(value));
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, left, 0);
}

/* Does it hold what test_mm_fill() has written? */
static inline bool test_mm_holds(struct mm_struct *mm, unsigned long addr,
				 u64 value)
{
	bool same = true;
	unsigned long at;

	kthread_use_mm(mm);
	for (at = 0; at < PAGE_SIZE && same; at += sizeof(value)) {
		u64 is;

		same = !copy_from_user(&is, (void __user *)(addr + at),
				       sizeof(is)) && is == value;
	}
	kthread_unuse_mm(mm);
	return same;
}

#endif /* _MM_KSM_TESTS_MM_FIXTURE_H */
