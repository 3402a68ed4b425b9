// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of what secondary MMUs are asked. Included by young.c. */
#include "fixture.h"
#include "mm_fixture.h"

#ifdef CONFIG_MMU_NOTIFIER
/**
 * struct young_test - an mm with a secondary MMU
 * @notifier: it
 * @asked: how often it was asked
 * @takes: how long it takes to answer, ns
 * @accessed: address of the page that it has accessed
 * @unasked: pages that it was not asked about
 * @slot: the mm
 * @chunk: pages of it; one of them was accessed lately
 */
struct young_test {
	struct mmu_notifier notifier;
	unsigned int asked;
	u64 takes;
	unsigned long accessed;
	unsigned int unasked;
	struct ksm_mm_slot *slot;
	struct ksm_chunk *chunk;
};

/* What it returns is int in Linux 6.12, and bool in 7.3. */
static typeof(((struct mmu_notifier_ops *)NULL)->clear_young(NULL, NULL, 0, 0))
test_clear_young(struct mmu_notifier *notifier, struct mm_struct *mm, unsigned long start,
		 unsigned long end)
{
	struct young_test *yt = container_of(notifier, struct young_test, notifier);
	u64 begin = local_clock();

	yt->asked++;
	while (local_clock() - begin < yt->takes)
		cpu_relax();
	return yt->accessed >= start && yt->accessed < end;
}

static const struct mmu_notifier_ops test_ops = { .clear_young = test_clear_young };

static int young_test_init(struct kunit *test)
{
	struct young_test *yt = kunit_kzalloc(test, sizeof(*yt), GFP_KERNEL);
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, yt);
	KUNIT_ASSERT_NOT_NULL(test, mm);
	yt->notifier.ops = &test_ops;
	yt->accessed = ULONG_MAX;
	yt->slot = test_slot(test);
	yt->slot->slot.mm = mm;
	KUNIT_ASSERT_EQ(test, mmu_notifier_register(&yt->notifier, mm), 0);
	yt->chunk = ksm_chunk_make(yt->slot, 0, test_vma(test, 0, KSM_CHUNK_PAGES, 0),
				   NULL);
	KUNIT_ASSERT_NOT_NULL(test, yt->chunk);
	yt->chunk->state[1] = KSM_ITEM_UNSTABLE;
	test->priv = yt;
	return 0;
}

static void young_test_exit(struct kunit *test)
{
	struct young_test *yt = test->priv;

	if (!yt)
		return;
	yt->chunk->state[1] = KSM_ITEM_FREE;
	KUNIT_EXPECT_TRUE(test, test_release(yt->slot, 0, ULONG_MAX,
					     KSM_RELEASE_ALWAYS));
	mmu_notifier_unregister(&yt->notifier, yt->slot->slot.mm);
	mmput(yt->slot->slot.mm);
}

/* Asks about all of the chunk. Returns the pages that count as accessed. */
static unsigned int young_asks(struct young_test *yt)
{
	struct ksm_young young = { .on = true };

	ksm_young_ask(&young, yt->chunk, 0, 0, KSM_CHUNK_SPAN);
	yt->unasked = young.unasked[0];
	return young.secondary[0];
}

/* Where a page was accessed lately, each is asked about. */
static void young_asks_each(struct kunit *test)
{
	struct young_test *yt = test->priv;
	unsigned int accessed;
	int tries = 20;

	yt->accessed = 3 * PAGE_SIZE;
	/* Unless something else ran meanwhile. */
	do {
		yt->slot->ask_after = 0;
		yt->asked = 0;
		accessed = young_asks(yt);
		KUNIT_EXPECT_TRUE(test, (accessed | yt->unasked) & BIT(3));
	} while (yt->slot->ask_after && --tries);
	KUNIT_EXPECT_EQ(test, yt->asked, KSM_CHUNK_PAGES);
	do {
		yt->slot->ask_after = 0;
		accessed = young_asks(yt);
	} while (yt->slot->ask_after && --tries > 0);
	KUNIT_EXPECT_EQ(test, accessed, BIT(3));
}

/* Not where that takes long, nor again for some time. */
static void young_leaves_the_slow(struct kunit *test)
{
	struct young_test *yt = test->priv;
	const unsigned int all = GENMASK(KSM_CHUNK_PAGES - 1, 0);
	struct ksm_young young = { .on = true, .huge_start = ~0UL };
	unsigned long begin = jiffies;

	yt->takes = ASK_TOO_LONG / 2;
	/* They have to be read, but reclaim is not told that they were accessed. */
	KUNIT_EXPECT_EQ(test, young_asks(yt), 0);
	KUNIT_EXPECT_EQ(test, yt->unasked, all & ~GENMASK(2, 0));
	KUNIT_EXPECT_EQ(test, yt->asked, 3);
	KUNIT_EXPECT_TRUE(test, time_before(begin + HZ / 2, yt->slot->ask_after));
	/* The time is not over, even if this test takes long. */
	yt->slot->ask_after = (jiffies + 60 * HZ) | 1;
	KUNIT_EXPECT_EQ(test, young_asks(yt), 0);
	KUNIT_EXPECT_EQ(test, yt->unasked, all);
	KUNIT_EXPECT_EQ(test, yt->asked, 3);
	ksm_young_ask_huge(&young, yt->slot, 0);
	KUNIT_EXPECT_TRUE(test, young.huge_read);
	KUNIT_EXPECT_FALSE(test, young.huge_accessed);
	KUNIT_EXPECT_EQ(test, yt->asked, 3);

	/* The time is over. */
	yt->slot->ask_after = (jiffies - 2) | 1;
	ksm_young_forget_huge(&young);
	ksm_young_ask_huge(&young, yt->slot, 0);
	KUNIT_EXPECT_FALSE(test, young.huge_read);
	KUNIT_EXPECT_EQ(test, yt->asked, 4);
	/* One slow answer does not tell. */
	KUNIT_EXPECT_FALSE(test, young_is_slow_to_ask(yt->slot));
}

/* Nor does a quick answer in between hide what the others take. */
static void young_adds_up(struct kunit *test)
{
	struct young_test *yt = test->priv;
	struct ksm_young young = { .on = true };
	unsigned int i;

	for (i = 0; i < 9 && !yt->slot->ask_after; i++) {
		yt->takes = i % 3 == 2 ? 0 : ASK_TOO_LONG / 4;
		ksm_young_forget_huge(&young);
		ksm_young_ask_huge(&young, yt->slot, 0);
	}
	KUNIT_EXPECT_GE(test, yt->asked, 4);
	KUNIT_EXPECT_TRUE(test, young_is_slow_to_ask(yt->slot));
}

static struct kunit_case young_cases[] = {
	KUNIT_CASE(young_asks_each),
	KUNIT_CASE(young_leaves_the_slow),
	KUNIT_CASE(young_adds_up),
	{}
};

static struct kunit_suite young_suite = {
	.name = "ksm_young",
	.test_cases = young_cases,
	.init = young_test_init,
	.exit = young_test_exit,
};

kunit_test_suite(young_suite);
#endif /* CONFIG_MMU_NOTIFIER */
