// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of scanning and matching with a fingerprint that is the same for
 * all pages: no page may change, and no visit may cost more than it should. The
 * test is the worker. Included by scan.c.
 */
#include <kunit/static_stub.h>
#include <linux/prandom.h>
#include <linux/rmap.h>

#include "../key.h"
#include "../node.h"
#include "../page.h"
#include "../promote.h"
#include "../registry.h"
#include "../rmap.h"
#include "../rmap_item.h"
#include "../shard.h"
#include "../sharer.h"
#include "../stable.h"
#include "../sweep.h"
#include "../unstable.h"
#include "mm_fixture.h"

#define TEST_START	(64UL << 20)
#define TEST_PAGES	256U

/**
 * struct match_test - a scan of an mm
 * @mm: the mm, with %TEST_PAGES pages
 * @scan: the state of a worker
 * @value: the value that each page was filled with
 * @compared: how many pages were compared
 * @away: the page that is in scope 1. All others are in scope 0
 * @asked: how often it was asked whether others need an item
 */
struct match_test {
	struct mm_struct *mm;
	struct ksm_scan *scan;
	u64 value[TEST_PAGES];
	unsigned long compared;
	struct page *away;
	unsigned int asked;
};

static u64 same_fingerprint(struct page *page, struct page *next)
{
	return 0x5a5a5a5a5a5a5a5aULL;
}

static bool count_and_compare(struct page *a, struct page *b)
{
	struct match_test *mt = kunit_get_current_test()->priv;

	mt->compared++;
	return !memcmp(page_address(a), page_address(b), PAGE_SIZE);
}

static unsigned long place_of(unsigned int i)
{
	return TEST_START + i * PAGE_SIZE;
}

static void write_page(struct kunit *test, unsigned int i, u64 value)
{
	struct match_test *mt = test->priv;

	mt->value[i] = value;
	test_mm_fill(test, mt->mm, place_of(i), value);
}

static void expect_unchanged(struct kunit *test)
{
	struct match_test *mt = test->priv;
	unsigned int i;

	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_EXPECT_TRUE_MSG(test, test_mm_holds(test, mt->mm, place_of(i),
							  mt->value[i]),
				      "page %u has changed", i);
}

static void scan_once(struct kunit *test)
{
	struct match_test *mt = test->priv;

	test_mm_scan(test, mt->scan);
}

static int match_test_init(struct kunit *test)
{
	struct match_test *mt = kunit_kzalloc(test, sizeof(*mt), GFP_KERNEL);

	if (!mt || !ksm_registry_idle())
		return -EBUSY;
	mt->scan = ksm_scan_alloc();
	if (!mt->scan)
		return -ENOMEM;
	mt->mm = test_mm(test);
	test->priv = mt;
	test_mm_map(test, mt->mm, TEST_START, TEST_PAGES);
	kunit_activate_static_stub(test, ksm_fingerprint, same_fingerprint);
	kunit_activate_static_stub(test, ksm_pages_equal, count_and_compare);
	return 0;
}

static void match_test_exit(struct kunit *test)
{
	struct match_test *mt = test->priv;

	if (!mt)
		return;
	mmput(mt->mm);
	down_write(&ksm_gate);
	test_reap();
	ksm_stable_sweep(false);
	ksm_gate_open();
	ksm_scan_free(mt->scan);
	ksm_reset_full_scans();
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_unshared), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.rmap_items), 0);
	KUNIT_EXPECT_EQ(test, ksm_metadata_bytes(), 0);
}

/*
 * As many contents as a look-up visits: the first two pages of each meet, and
 * all others find what they become, wherever they are.
 */
static void match_few_contents(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < TEST_PAGES; i++)
		write_page(test, i, i < 2 * KSM_SAME_KEY_MAX ? i / 2 + 1 :
				    i * 5 % KSM_SAME_KEY_MAX + 1);
	for (i = 0; i < 4; i++)
		scan_once(test);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared),
			KSM_SAME_KEY_MAX);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_sharing),
			TEST_PAGES - KSM_SAME_KEY_MAX);
	expect_unchanged(test);
}

/* More contents than a look-up visits */
#define CROWD	20U
#define SCANS	2000U

static unsigned int scan_until_shared(struct kunit *test, long pages)
{
	unsigned int scans;

	for (scans = 0; scans < SCANS; scans++) {
		if (atomic_long_read(&ksm_counters.pages_shared) +
		    atomic_long_read(&ksm_counters.pages_sharing) == pages)
			break;
		scan_once(test);
	}
	return scans;
}

/*
 * All other pages lie between the first two of each content, and still they
 * meet in the end. What they become is found, too, wherever it is.
 */
static void match_crowd(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < 2 * CROWD; i++)
		write_page(test, i, i % CROWD + 1);
	KUNIT_EXPECT_LT(test, scan_until_shared(test, 2 * CROWD), SCANS);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), CROWD);
	for (; i < 3 * CROWD; i++)
		write_page(test, i, i % CROWD + 1);
	KUNIT_EXPECT_LT(test, scan_until_shared(test, 3 * CROWD), SCANS);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), CROWD);
	expect_unchanged(test);
}

/* A visit compares with this many KSM pages, and as many others, at most. */
#define MOST_COMPARED	(4 * KSM_SAME_KEY_MAX)

/* Hardly any two pages are alike, and they are written to all the time. */
static void match_many_contents(struct kunit *test)
{
	struct match_test *mt = test->priv;
	struct rnd_state rnd;
	unsigned int i, scan;

	prandom_seed_state(&rnd, 20250402);
	for (i = 0; i < TEST_PAGES; i++)
		write_page(test, i, i + 1);
	for (scan = 0; scan < 6; scan++) {
		mt->compared = 0;
		scan_once(test);
		KUNIT_EXPECT_LE(test, mt->compared, TEST_PAGES * MOST_COMPARED);
		expect_unchanged(test);
		for (i = 0; i < 16; i++)
			write_page(test, prandom_u32_state(&rnd) % TEST_PAGES,
				   prandom_u32_state(&rnd) % TEST_PAGES);
	}
	KUNIT_EXPECT_GT(test, mt->compared, 0);
}

static struct ksm_rmap_item *item_of(struct kunit *test, unsigned int i)
{
	struct match_test *mt = test->priv;
	struct ksm_chunk *chunk = ksm_chunk_find(mt->scan->collect.slot, place_of(i));

	KUNIT_ASSERT_NOT_NULL(test, chunk);
	return &chunk->item[(place_of(i) % KSM_CHUNK_SPAN) >> PAGE_SHIFT];
}

/* A worker that is late to make a KSM page of a content finds the existing one. */
static void promote_too_late(struct kunit *test)
{
	struct match_test *mt = test->priv;
	struct ksm_rmap_item *item;
	struct vm_area_struct *vma;
	struct folio *kfolio;
	struct page *first;
	unsigned int i;
	int err;

	for (i = 0; i < 3; i++)
		write_page(test, i, i / 2 + 1);
	for (i = 0; i < 3; i++)
		scan_once(test);
	item = item_of(test, 2);
	KUNIT_ASSERT_TRUE(test, ksm_unstable_remove(item));
	write_page(test, 2, 1);

	down_read(&ksm_gate);
	mmap_read_lock(mt->mm);
	vma = ksm_find_vma(mt->mm, place_of(2));
	err = vma ? ksm_promote(vma, item, &kfolio) : -EFAULT;
	first = vma ? ksm_get_page(vma, place_of(0)) : NULL;
	KUNIT_EXPECT_EQ(test, err, 0);
	if (!err) {
		KUNIT_EXPECT_PTR_EQ(test, &kfolio->page, first);
		folio_put(kfolio);
	}
	if (first)
		put_page(first);
	mmap_read_unlock(mt->mm);
	up_read(&ksm_gate);

	KUNIT_EXPECT_EQ(test, ksm_item_state(item), KSM_ITEM_STABLE);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_sharing), 2);
	expect_unchanged(test);
}

static struct page *page_at(struct kunit *test, unsigned int i)
{
	struct match_test *mt = test->priv;
	struct vm_area_struct *vma;
	struct page *page = NULL;

	mmap_read_lock(mt->mm);
	vma = ksm_find_vma(mt->mm, place_of(i));
	if (vma)
		page = ksm_get_page(vma, place_of(i));
	mmap_read_unlock(mt->mm);
	KUNIT_ASSERT_NOT_NULL(test, page);
	return page;
}

/* A page that has candidates, none of which is equal, is left as it is. */
static void match_unprotected(struct kunit *test)
{
	struct page *page;
	unsigned int i;

	for (i = 0; i < 6; i++)
		write_page(test, i, i / 2 + 1);
	KUNIT_EXPECT_LT(test, scan_until_shared(test, 6), SCANS);
	write_page(test, i, i);
	for (i = 0; i < 3; i++)
		scan_once(test);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 3);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_unshared), 1);
	page = page_at(test, 6);
	KUNIT_EXPECT_TRUE(test, PageAnonExclusive(page));
	put_page(page);
	expect_unchanged(test);
}

#define ALIKE	(3 * KSM_MERGE_BATCH)

/* Pages that cannot be merged together with the others are left alone. */
static void match_together(struct kunit *test)
{
	/* In turn: changed, locked by somebody, and in somebody's hands. */
	static const unsigned int odd[] = {
		2, 3, 4, KSM_MERGE_BATCH, KSM_MERGE_BATCH + 1, ALIKE - 1,
	};
	struct page *page[ARRAY_SIZE(odd)];
	unsigned int i;

	for (i = 0; i < TEST_PAGES; i++)
		write_page(test, i, i < 6 ? i / 2 + 1 : i % 3 + 1);
	for (i = 0; i < 4; i++)
		scan_once(test);
	KUNIT_ASSERT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 3);
	for (i = 0; i < ALIKE; i++)
		write_page(test, i, 1 + i % 3);
	for (i = 0; i < ARRAY_SIZE(odd); i++) {
		if (i % 3 == 0)
			write_page(test, odd[i], 1000 + i);
		page[i] = page_at(test, odd[i]);
		if (i % 3 == 1)
			lock_page(page[i]);
	}

	scan_once(test);
	for (i = 0; i < ARRAY_SIZE(odd); i++) {
		KUNIT_EXPECT_FALSE(test, folio_test_ksm(page_folio(page[i])));
		if (i % 3 == 1)
			unlock_page(page[i]);
		put_page(page[i]);
	}
	/* The two that were changed last have no duplicate. */
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared) +
			atomic_long_read(&ksm_counters.pages_sharing),
			TEST_PAGES - ARRAY_SIZE(odd));
	expect_unchanged(test);

	for (i = 0; i < 3; i++)
		scan_once(test);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared) +
			atomic_long_read(&ksm_counters.pages_sharing),
			TEST_PAGES - 2);
	expect_unchanged(test);
}

static unsigned int scope_of_test(struct page *page)
{
	struct match_test *mt = kunit_get_current_test()->priv;

	return page == mt->away;
}

static int always_needed(struct folio *folio, struct ksm_rmap_item *item)
{
	struct match_test *mt = kunit_get_current_test()->priv;

	mt->asked++;
	return 1;
}

/*
 * Those who share a page that has moved should share another one, but others need
 * their items. It is asked less and less often, but not for the last time.
 */
static void adopt_what_has_to_stay(struct kunit *test)
{
	struct match_test *mt = test->priv;
	unsigned int i;

	for (i = 0; i < 2; i++)
		write_page(test, i, 1);
	KUNIT_ASSERT_LT(test, scan_until_shared(test, 2), SCANS);
	mt->away = page_at(test, 0);
	put_page(mt->away);
	kunit_activate_static_stub(test, ksm_scope, scope_of_test);
	scan_once(test);
	for (; i < 4; i++)
		write_page(test, i, 1);
	KUNIT_ASSERT_LT(test, scan_until_shared(test, 4), SCANS);
	KUNIT_ASSERT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 2);

	mt->away = NULL;
	kunit_activate_static_stub(test, ksm_item_is_needed, always_needed);
	for (i = 0; i < 3 * KSM_HELD_MAX; i++)
		scan_once(test);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 2);
	KUNIT_EXPECT_GT(test, mt->asked, 0);
	KUNIT_EXPECT_LT(test, mt->asked, KSM_HELD_MAX);
	kunit_deactivate_static_stub(test, ksm_item_is_needed);
	for (i = 0; i <= KSM_HELD_MAX; i++)
		scan_once(test);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_sharing), 3);
	expect_unchanged(test);
}

/* While processes of its family come and go, nobody waits for their lock. */
static void family_is_not_waited_for(struct kunit *test)
{
	struct ksm_rmap_item *item;
	struct anon_vma *anon_vma;
	struct page *page;
	unsigned int i;

	for (i = 0; i < 3; i++)
		write_page(test, i, 1);
	KUNIT_ASSERT_LT(test, scan_until_shared(test, 3), SCANS);
	item = item_of(test, 0);
	anon_vma = item->anon_vma;
	page = page_at(test, 0);
	folio_lock(page_folio(page));
	anon_vma_lock_write(anon_vma);
	KUNIT_EXPECT_EQ(test, ksm_item_is_needed(page_folio(page), item), -EBUSY);
	anon_vma_unlock_write(anon_vma);
	KUNIT_EXPECT_EQ(test, ksm_item_is_needed(page_folio(page), item), 0);
	folio_unlock(page_folio(page));
	put_page(page);
	expect_unchanged(test);
}

static struct kunit_case match_cases[] = {
	KUNIT_CASE(promote_too_late),
	KUNIT_CASE(match_together),
	KUNIT_CASE(match_crowd),
	KUNIT_CASE(match_unprotected),
	KUNIT_CASE(adopt_what_has_to_stay),
	KUNIT_CASE(family_is_not_waited_for),
	KUNIT_CASE(match_few_contents),
	KUNIT_CASE(match_many_contents),
	{}
};

static struct kunit_suite match_suite = {
	.name = "ksm_match",
	.init = match_test_init,
	.exit = match_test_exit,
	.test_cases = match_cases,
};

kunit_test_suite(match_suite);
