// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of reaping. Included by reap.c. */
#include "fixture.h"
#include "mm_fixture.h"

/* An mm is dropped only once, see ksm_reap_all(). */
static void reap_lets_go_once(struct kunit *test)
{
	struct ksm_mm_slot *slot = ksm_slot_alloc(&init_mm);
	struct ksm_parting parting = { };

	KUNIT_ASSERT_NOT_NULL(test, slot);
	slot->slot.mm = NULL;
	mmdrop(&init_mm);
	slot->gone = true;
	down_write(&ksm_gate);
	spin_lock(&ksm_registry.lock);
	list_add_tail(&slot->slot.mm_node, &ksm_registry.gone);
	spin_unlock(&ksm_registry.lock);
	reap_let_go(slot, &parting);
	KUNIT_EXPECT_EQ(test, parting.nr, 0);
	KUNIT_EXPECT_LE(test, ksm_reap_wait(), (long)HELD_MIN);
	reap_free(slot);
	ksm_gate_open();
}

#define TEST_CHUNKS	(3 * KSM_RELEASE_CHUNKS)

/* Off all lists but that of slots to free; nothing is mapped. */
static struct ksm_mm_slot *gone_slot(struct kunit *test, unsigned int chunks)
{
	struct vm_area_struct *vma = test_vma(test, 0, chunks * KSM_CHUNK_PAGES, 0);
	struct ksm_mm_slot *slot = ksm_slot_alloc(&init_mm);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, slot);
	slot->slot.mm = NULL;
	mmdrop(&init_mm);
	slot->gone = true;
	for (i = 0; i < chunks; i++)
		KUNIT_ASSERT_NOT_NULL(test, ksm_chunk_make(slot, i * KSM_CHUNK_SPAN,
							   vma, NULL));
	spin_lock(&ksm_registry.lock);
	list_add_tail(&slot->slot.mm_node, &ksm_registry.gone);
	spin_unlock(&ksm_registry.lock);
	return slot;
}

/* One pass over all that is gone. Returns how many slots are left. */
static size_t reap_pass(long *credit)
{
	struct ksm_parting parting = { };

	while (ksm_reap(&parting, credit))
		;
	return list_count_nodes(&ksm_registry.gone);
}

/* Where searches were long, the rest waits until that is paid; others do not. */
static void reap_waits_for_pay(struct kunit *test)
{
	/* More than a piece may take: it ends behind the first chunk. */
	const unsigned int steps = 4096, usual = KSM_CHUNK_PAGES * STEPS_A_PAGE;
	const long cost = (steps - usual) / KSM_STEPS_A_READ;
	struct ksm_parting parting = { };
	struct ksm_mm_slot *slot;
	unsigned long cursor;
	long credit = 0;

	down_write(&ksm_gate);
	slot = gone_slot(test, TEST_CHUNKS);
	atomic_set(&slot->debt, steps);
	KUNIT_EXPECT_TRUE(test, ksm_reap(&parting, &credit));
	KUNIT_EXPECT_EQ(test, credit, -cost);
	cursor = slot->cursor;
	KUNIT_EXPECT_NE(test, cursor, 0);
	gone_slot(test, TEST_CHUNKS);
	KUNIT_EXPECT_EQ(test, reap_pass(&credit), 1);
	KUNIT_EXPECT_EQ(test, slot->cursor, cursor);
	KUNIT_EXPECT_EQ(test, credit, -cost);
	KUNIT_EXPECT_EQ(test, reap_pass(&credit), 1);
	credit = 0;
	KUNIT_EXPECT_EQ(test, reap_pass(&credit), 0);
	ksm_gate_open();
}

/* What the search for a few children takes is no reason to wait. */
static void reap_goes_on_as_usual(struct kunit *test)
{
	long credit = -1;

	down_write(&ksm_gate);
	atomic_set(&gone_slot(test, TEST_CHUNKS)->debt,
		   3 * KSM_CHUNK_PAGES * STEPS_A_PAGE);
	KUNIT_EXPECT_EQ(test, reap_pass(&credit), 0);
	KUNIT_EXPECT_EQ(test, credit, -1);
	ksm_gate_open();
}

static struct kunit_case reap_cases[] = {
	KUNIT_CASE(reap_lets_go_once),
	KUNIT_CASE(reap_waits_for_pay),
	KUNIT_CASE(reap_goes_on_as_usual),
	{}
};

static struct kunit_suite reap_suite = {
	.name = "ksm_reap",
	.test_cases = reap_cases,
};

kunit_test_suite(reap_suite);
