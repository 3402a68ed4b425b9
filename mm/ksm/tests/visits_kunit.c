// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what visits cost, which items they leave alone, and what secondary
 * MMUs hear of them. Included by scan.c, behind match_kunit.c.
 */
#include <linux/mmu_notifier.h>

/* As match_test_init(), but with the usual fingerprints. */
static int visits_test_init(struct kunit *test)
{
	int err = match_test_init(test);

	if (!err)
		kunit_deactivate_static_stub(test, ksm_fingerprint);
	return err;
}

/* ------------------------------------------------------------ the budget */

/* Scans a window to its end with budgets of this size. Returns the pages paid for it. */
static unsigned long visits_pay(struct kunit *test, struct ksm_window *window,
				unsigned long budget)
{
	struct match_test *mt = test->priv;
	unsigned long paid = 0, left, before, scanned;
	bool done;

	do {
		before = atomic_long_read(&ksm_counters.pages_scanned);
		left = budget;
		done = ksm_scan_window(mt->scan, window, &left);
		paid += budget - left;
		scanned = atomic_long_read(&ksm_counters.pages_scanned) - before;
		KUNIT_EXPECT_LE(test, scanned, budget);
	} while (!done && !window->spent && !window->busy);
	KUNIT_EXPECT_TRUE(test, done);
	return paid;
}

#define PAGES_PAID	100
#define DEBT_PAID	10

/* No call visits more than its budget, and the next one pays what goes beyond it. */
static void visits_keep_to_budget(struct kunit *test)
{
	struct ksm_window window = { };
	unsigned int i;

	for (i = 0; i < PAGES_PAID; i++)
		write_page(test, i, i + 1);
	lru_add_drain_all();
	down_read(&ksm_gate);
	KUNIT_ASSERT_EQ(test, ksm_window_get(&window, true), 0);
	atomic_set(&window.slot->debt, DEBT_PAID * KSM_STEPS_A_READ);
	KUNIT_EXPECT_GE(test, visits_pay(test, &window, 30), PAGES_PAID + DEBT_PAID);
	KUNIT_EXPECT_TRUE(test, ksm_window_put(&window));
	up_read(&ksm_gate);
}

#define PASSED	800UL

/*
 * VMAs without a page are passed over by the search for a window, and again by the scan
 * of the window: both cost something if the mm has many.
 */
static void visits_pay_for_vmas(struct kunit *test)
{
	struct match_test *mt = test->priv;
	struct ksm_window window = { };
	unsigned int i;

	write_page(test, 0, 1);
	for (i = 0; i < PASSED; i++)
		test_mm_map(test, mt->mm, place_of(TEST_PAGES + 2 * i + 2), 1);
	down_read(&ksm_gate);
	KUNIT_ASSERT_EQ(test, ksm_window_get(&window, true), 0);
	visits_pay(test, &window, TEST_PAGES);
	KUNIT_EXPECT_FALSE(test, window.final);
	KUNIT_EXPECT_FALSE(test, ksm_window_put(&window));
	KUNIT_ASSERT_EQ(test, ksm_window_get(&window, true), 0);
	KUNIT_EXPECT_TRUE(test, window.final);
	KUNIT_EXPECT_GE(test, visits_pay(test, &window, TEST_PAGES),
			2 * PASSED / KSM_VMAS_A_STEP / KSM_VISITS_A_READ);
	KUNIT_EXPECT_TRUE(test, ksm_window_put(&window));
	up_read(&ksm_gate);
}

/* ------------------------------------------- items that do not share any more */

/* The item of the first of two pages that were merged; that was then written to. */
static struct ksm_rmap_item *visits_left_item(struct kunit *test)
{
	struct ksm_rmap_item *item;
	unsigned int i;

	write_page(test, 0, 1);
	write_page(test, 1, 1);
	for (i = 0; i < 3; i++)
		scan_once(test);
	item = item_of(test, 0);
	KUNIT_ASSERT_EQ(test, ksm_item_state(item), KSM_ITEM_STABLE);
	write_page(test, 0, 2);
	return item;
}

/* Items that others needed lately are left alone until it is their turn. */
static void visits_leave_alone(struct kunit *test)
{
	struct ksm_rmap_item *item = visits_left_item(test);
	struct ksm_chunk *chunk = ksm_item_chunk(item);

	/* In the full scan after the next. */
	chunk->held_until = chunk->slot->scan + 3;
	chunk->held_for = 1;
	scan_once(test);
	KUNIT_EXPECT_EQ(test, ksm_item_state(item), KSM_ITEM_STABLE);
	scan_once(test);
	KUNIT_EXPECT_NE(test, ksm_item_state(item), KSM_ITEM_STABLE);
	expect_unchanged(test);
}

static bool always_returns(struct folio *folio, struct ksm_rmap_item *item)
{
	return true;
}

/* By the time the item is looked at, the KSM page may be mapped there again. */
static void visits_keep_what_returns(struct kunit *test)
{
	struct ksm_rmap_item *item = visits_left_item(test);

	kunit_activate_static_stub(test, ksm_item_may_return, always_returns);
	scan_once(test);
	KUNIT_EXPECT_EQ(test, ksm_item_state(item), KSM_ITEM_STABLE);
	kunit_deactivate_static_stub(test, ksm_item_may_return);
	scan_once(test);
	KUNIT_EXPECT_NE(test, ksm_item_state(item), KSM_ITEM_STABLE);
	expect_unchanged(test);
}

/* The mm of an item pays for the search for others that need it. */
static void visits_pay_for_search(struct kunit *test)
{
	struct ksm_rmap_item *item = visits_left_item(test);
	struct ksm_mm_slot *slot = ksm_item_chunk(item)->slot;

	down_read(&ksm_gate);
	atomic_set(&slot->debt, 0);
	KUNIT_EXPECT_TRUE(test, ksm_item_unlink(item, KSM_RELEASE_IF_UNNEEDED));
	KUNIT_EXPECT_GT(test, atomic_read(&slot->debt), 0);
	up_read(&ksm_gate);
	scan_once(test);
	expect_unchanged(test);
}

/* ---------------------------------------------------------- secondary MMUs */

#ifdef CONFIG_MMU_NOTIFIER
/**
 * struct visits_told - what a secondary MMU has heard
 * @notifier: the one that is called
 * @other: an mm that must not be locked meanwhile, or NULL
 * @pages: how many pages it had to let go
 * @locked: how often @other was locked at that time
 */
struct visits_told {
	struct mmu_notifier notifier;
	struct mm_struct *other;
	unsigned long pages;
	unsigned long locked;
};

static int visits_told_start(struct mmu_notifier *notifier,
			     const struct mmu_notifier_range *range)
{
	struct visits_told *told = container_of(notifier, struct visits_told, notifier);

	if (range->event != MMU_NOTIFY_CLEAR)
		return 0;
	told->pages += (range->end - range->start) >> PAGE_SHIFT;
	told->locked += told->other && rwsem_is_locked(&told->other->mmap_lock);
	return 0;
}

static const struct mmu_notifier_ops visits_told_ops = {
	.invalidate_range_start = visits_told_start,
};

static struct visits_told *visits_listen(struct kunit *test, struct mm_struct *mm,
					 struct mm_struct *other)
{
	struct visits_told *told = kunit_kzalloc(test, sizeof(*told), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, told);
	told->notifier.ops = &visits_told_ops;
	told->other = other;
	KUNIT_ASSERT_EQ(test, mmu_notifier_register(&told->notifier, mm), 0);
	return told;
}

#define GAPPED	64

/* It hears of each page that is merged, also if others lie between them. */
static void visits_tell_of_gaps(struct kunit *test)
{
	struct match_test *mt = test->priv;
	struct visits_told *told = visits_listen(test, mt->mm, NULL);
	unsigned int i;

	for (i = 0; i < GAPPED; i++)
		write_page(test, i, i % 2 ? 100 + i : 1);
	told->pages = 0;
	KUNIT_EXPECT_LT(test, scan_until_shared(test, GAPPED / 2), SCANS);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 1);
	KUNIT_EXPECT_GE(test, told->pages, GAPPED / 2);
	mmu_notifier_unregister(&told->notifier, mt->mm);
	expect_unchanged(test);
}

/* No mmap_lock is held while a secondary MMU of another mm is told. */
static void visits_release_partner(struct kunit *test)
{
	struct match_test *mt = test->priv;
	struct mm_struct *mm = test_mm(test);
	struct visits_told *told[] = {
		visits_listen(test, mt->mm, mm),
		visits_listen(test, mm, mt->mm),
	};
	unsigned int i;

	test_mm_map(test, mm, TEST_START, 1);
	test_mm_fill(test, mm, TEST_START, 1);
	write_page(test, 0, 1);
	for (i = 0; i < ARRAY_SIZE(told); i++) {
		told[i]->pages = 0;
		told[i]->locked = 0;
	}
	KUNIT_EXPECT_LT(test, scan_until_shared(test, 2), SCANS);
	for (i = 0; i < ARRAY_SIZE(told); i++) {
		KUNIT_EXPECT_GT(test, told[i]->pages, 0);
		KUNIT_EXPECT_EQ(test, told[i]->locked, 0);
		mmu_notifier_unregister(&told[i]->notifier, i ? mm : mt->mm);
	}
	KUNIT_EXPECT_TRUE(test, test_mm_holds(test, mm, TEST_START, 1));
	mmput(mm);
	expect_unchanged(test);
}
#endif

static struct kunit_case visits_cases[] = {
	KUNIT_CASE(visits_keep_to_budget),
	KUNIT_CASE(visits_pay_for_vmas),
	KUNIT_CASE(visits_leave_alone),
	KUNIT_CASE(visits_keep_what_returns),
	KUNIT_CASE(visits_pay_for_search),
#ifdef CONFIG_MMU_NOTIFIER
	KUNIT_CASE(visits_tell_of_gaps),
	KUNIT_CASE(visits_release_partner),
#endif
	{}
};

static struct kunit_suite visits_suite = {
	.name = "ksm_visits",
	.init = visits_test_init,
	.exit = match_test_exit,
	.test_cases = visits_cases,
};

kunit_test_suite(visits_suite);
