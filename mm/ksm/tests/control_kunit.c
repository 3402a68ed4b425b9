// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of undoing all merging while others interfere. Included by
 * control.c.
 */
#include "mm_fixture.h"

#define TEST_START	(64UL << 20)
#define TEST_NUMBER	7

/* How many mms are done; @busy is not among them. */
static unsigned int unmerged(struct kunit *test, struct mm_struct *busy)
{
	struct ksm_mm_slot *slot;
	unsigned int done = 0;

	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot)) {
		KUNIT_EXPECT_EQ(test, slot->unmerge, TEST_NUMBER);
		if (slot->slot.mm == busy)
			KUNIT_EXPECT_EQ(test, slot->unmerge_next, 0);
		else
			done += slot->unmerge_next == ULONG_MAX;
	}
	return done;
}

/* An mm whose lock is busy keeps nobody waiting, and is tried again. */
static void busy_is_left(struct kunit *test)
{
	struct mm_struct *mm = test_mm(test), *other = test_mm(test);

	test_mm_map(test, mm, TEST_START, 1);
	test_mm_map(test, other, TEST_START, 1);
	down_write(&ksm_gate);
	mmap_write_lock(mm);
	KUNIT_EXPECT_EQ(test, control_unmerge_pass(TEST_NUMBER), -EBUSY);
	mmap_write_unlock(mm);
	KUNIT_EXPECT_EQ(test, unmerged(test, mm), 1);
	KUNIT_EXPECT_EQ(test, control_unmerge_pass(TEST_NUMBER), 0);
	KUNIT_EXPECT_EQ(test, unmerged(test, NULL), 2);
	ksm_gate_open();
	mmput(mm);
	mmput(other);
	down_write(&ksm_gate);
	test_reap();
	ksm_gate_open();
}

static struct kunit_case control_cases[] = {
	KUNIT_CASE(busy_is_left),
	{}
};

static struct kunit_suite control_suite = {
	.name = "ksm_control",
	.test_cases = control_cases,
};

kunit_test_suite(control_suite);
