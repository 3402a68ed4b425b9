// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of merging when the page in its hands is not what it was any
 * more: moments that no program can bring about. Included by merge.c.
 */
#include <linux/workqueue.h>

#include "../promote.h"
#include "../registry.h"
#include "../rmap_item.h"
#include "../sweep.h"
#include "mm_fixture.h"

#define TEST_START	(64UL << 20)
/* One page at the beginning of each of two chunks, and one beside the first. */
#define TEST_FAR	(TEST_START + KSM_CHUNK_SPAN)
#define TEST_BESIDE	(TEST_START + PAGE_SIZE)

/* Somebody turned it into something else between the look-up and the lock. */
static void lock_what_is_not_private(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, ksm_lock_private(page, NULL), -ENOENT);
	KUNIT_EXPECT_FALSE(test, PageLocked(page));
	__free_page(page);
}

static void lock_what_is_locked(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	lock_page(page);
	KUNIT_EXPECT_EQ(test, ksm_lock_private(page, NULL), -EAGAIN);
	KUNIT_EXPECT_TRUE(test, PageLocked(page));
	unlock_page(page);
	__free_page(page);
}

/**
 * struct merge_test - pages of an mm, and their items in the test's hands
 * @mm: the mm
 * @vma: its VMA
 * @slot: its slot
 * @left: what was found after the item of a mapping was given away
 */
struct merge_test {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	struct ksm_mm_slot *slot;
	bool left;
};

static struct ksm_rmap_item *test_item_at(struct kunit *test, unsigned long addr)
{
	struct merge_test *mt = test->priv;
	struct ksm_chunk *chunk = ksm_chunk_make(mt->slot, addr, mt->vma, NULL);
	struct ksm_rmap_item *item;
	struct page *page;

	KUNIT_ASSERT_NOT_NULL(test, chunk);
	item = &chunk->item[(addr - chunk->start) >> PAGE_SHIFT];
	page = ksm_get_page(mt->vma, addr);
	KUNIT_ASSERT_NOT_NULL(test, page);
	ksm_item_track(item);
	ksm_count_tracked(mt->mm, 1);
	ksm_item_set_key(item, ksm_key(ksm_fingerprint(page, NULL),
				       ksm_scope(page)));
	put_page(page);
	return item;
}

/* Promoting and merging run with the gate and the mm locked. */
static int merge_test_begin(struct kunit *test, const unsigned long *addr,
			    unsigned int nr)
{
	struct merge_test *mt = kunit_kzalloc(test, sizeof(*mt), GFP_KERNEL);

	if (!mt || !ksm_registry_idle())
		return -EBUSY;
	test->priv = mt;
	mt->mm = test_mm(test);
	test_mm_map(test, mt->mm, TEST_START, 2 * KSM_CHUNK_PAGES);
	while (nr--)
		test_mm_fill(test, mt->mm, addr[nr], 0x1234);
	lru_add_drain_all();
	down_write(&ksm_gate);
	mt->slot = ksm_slot_next(NULL);
	mmap_read_lock(mt->mm);
	mt->vma = ksm_find_vma(mt->mm, TEST_START);
	return mt->vma && mt->slot ? 0 : -EFAULT;
}

static void merge_test_end(struct kunit *test)
{
	struct merge_test *mt = test->priv;

	mmap_read_unlock(mt->mm);
	ksm_slot_next(mt->slot);
	up_write(&ksm_gate);
	mmput(mt->mm);
	down_write(&ksm_gate);
	test_reap();
	ksm_stable_sweep(false);
	up_write(&ksm_gate);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_shared), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.rmap_items), 0);
	KUNIT_EXPECT_EQ(test, ksm_metadata_bytes(), 0);
}

/* Shares, and then at once does what the owner of the window may do. */
static int share_and_forget(struct ksm_mapping_set *set, struct ksm_mapping *map)
{
	struct kunit *test = kunit_get_current_test();
	struct merge_test *mt = test->priv;
	struct ksm_chunk *chunk = ksm_item_chunk(map->item);
	int err;

	kunit_deactivate_static_stub(test, merge_share);
	err = merge_share(set, map);
	KUNIT_EXPECT_EQ(test, err, 0);
	mt->left = ksm_item_release(map->item, KSM_RELEASE_ALWAYS);
	ksm_chunk_free_if_unused(chunk);
	return err;
}

/* An item is given away once it shares a page. KASAN reports any later access. */
static void merge_gives_item_away(struct kunit *test)
{
	static const unsigned long addr[] = { TEST_START, TEST_FAR };
	struct ksm_rmap_item *item;
	struct merge_test *mt;
	struct folio *kfolio;
	int err;

	KUNIT_ASSERT_EQ(test, merge_test_begin(test, addr, 2), 0);
	mt = test->priv;
	err = ksm_promote(mt->vma, test_item_at(test, TEST_START), &kfolio);
	KUNIT_ASSERT_EQ(test, err, 0);
	item = test_item_at(test, TEST_FAR);
	kunit_activate_static_stub(test, merge_share, share_and_forget);
	KUNIT_EXPECT_EQ(test, ksm_merge_with(mt->vma, item, NULL, kfolio), 0);
	KUNIT_EXPECT_TRUE(test, mt->left);
	KUNIT_EXPECT_NULL(test, ksm_chunk_find(mt->slot, TEST_FAR));
	folio_put(kfolio);
	mmap_read_unlock(mt->mm);
	KUNIT_EXPECT_TRUE(test, test_mm_holds(test, mt->mm, TEST_FAR, 0x1234));
	mmap_read_lock(mt->mm);
	merge_test_end(test);
}

/* A page that nobody came to share is an ordinary page again, in its place. */
static void demote_what_is_alone(struct kunit *test)
{
	static const unsigned long addr[] = { TEST_START, TEST_BESIDE };
	struct ksm_rmap_item *item, *other;
	struct merge_test *mt;
	struct folio *kfolio;
	pgoff_t index;

	KUNIT_ASSERT_EQ(test, merge_test_begin(test, addr, 2), 0);
	mt = test->priv;
	item = test_item_at(test, TEST_START);
	KUNIT_ASSERT_EQ(test, ksm_promote(mt->vma, item, &kfolio), 0);
	index = linear_anon_page_index(mt->vma, TEST_START);
	KUNIT_EXPECT_TRUE(test, folio_test_ksm(kfolio));
	ksm_demote(kfolio, item);
	KUNIT_EXPECT_FALSE(test, folio_test_ksm(kfolio));
	KUNIT_EXPECT_TRUE(test, folio_test_anon(kfolio));
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(kfolio), mt->vma->anon_vma);
	KUNIT_EXPECT_EQ(test, kfolio->index, index);
	KUNIT_EXPECT_EQ(test, ksm_item_state(item), KSM_ITEM_SEEN);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.nodes), 0);
	folio_put(kfolio);

	/* A page that is shared stays what it is. */
	ksm_item_set_key(item, 0);
	ksm_item_release(item, KSM_RELEASE_ALWAYS);
	item = test_item_at(test, TEST_START);
	KUNIT_ASSERT_EQ(test, ksm_promote(mt->vma, item, &kfolio), 0);
	other = test_item_at(test, TEST_BESIDE);
	KUNIT_EXPECT_EQ(test, ksm_merge_with(mt->vma, other, NULL, kfolio), 0);
	ksm_demote(kfolio, item);
	KUNIT_EXPECT_TRUE(test, folio_test_ksm(kfolio));
	KUNIT_EXPECT_EQ(test, ksm_item_state(item), KSM_ITEM_STABLE);
	folio_put(kfolio);
	merge_test_end(test);
}

/* Protects the page at %TEST_START. Returns whether its PTE was cleared for that. */
static bool protect_anew(struct kunit *test)
{
	struct merge_test *mt = test->priv;
	struct ksm_mapping map = {
		.addr = TEST_START,
		.page = ksm_get_page(mt->vma, TEST_START),
	};
	struct ksm_mapping_set set = { .vma = mt->vma, .map = &map, .nr = 1 };

	KUNIT_ASSERT_NOT_NULL(test, map.page);
	lock_page(map.page);
	ksm_protect(&set);
	unlock_page(map.page);
	KUNIT_EXPECT_EQ(test, map.err, 0);
	KUNIT_EXPECT_FALSE(test, pte_write(map.pte));
	KUNIT_EXPECT_FALSE(test, PageAnonExclusive(map.page));
	put_page(map.page);
	return map.cleared;
}

/*
 * A PTE that is read-only and clean need not be cleared, unless a TLB may still let
 * somebody write, or GUP-fast may.
 */
static void protect_what_seems_protected(struct kunit *test)
{
	static const unsigned long addr[] = { TEST_START };
	struct merge_test *mt;
	struct page *page;

	KUNIT_ASSERT_EQ(test, merge_test_begin(test, addr, 1), 0);
	mt = test->priv;
	KUNIT_EXPECT_TRUE(test, protect_anew(test));
	KUNIT_EXPECT_FALSE(test, protect_anew(test));
	inc_tlb_flush_pending(mt->mm);
	KUNIT_EXPECT_TRUE(test, protect_anew(test));
	dec_tlb_flush_pending(mt->mm);
	KUNIT_EXPECT_FALSE(test, protect_anew(test));
	page = ksm_get_page(mt->vma, TEST_START);
	KUNIT_ASSERT_NOT_NULL(test, page);
	SetPageAnonExclusive(page);
	put_page(page);
	KUNIT_EXPECT_TRUE(test, protect_anew(test));
	KUNIT_EXPECT_FALSE(test, protect_anew(test));
	merge_test_end(test);
}

/*
 * Somebody has a page locked, for longer than this test stands still where the machine
 * is busy. Only those that wait take so long.
 */
#define TEST_HOLD	(30UL * HZ)

/**
 * struct test_hold - a page that is locked until a while has passed
 * @page: the page
 * @work: unlocks it, so that a test that waits for it fails, and ends
 */
struct test_hold {
	struct page *page;
	struct delayed_work work;
};

static void end_hold(struct work_struct *work)
{
	struct test_hold *hold = container_of(work, struct test_hold, work.work);

	unlock_page(hold->page);
}

static void begin_hold(struct test_hold *hold, struct folio *folio)
{
	hold->page = &folio->page;
	lock_page(hold->page);
	INIT_DELAYED_WORK(&hold->work, end_hold);
	schedule_delayed_work(&hold->work, TEST_HOLD);
}

/* Returns whether nobody has waited so long. */
static bool was_held(struct test_hold *hold)
{
	bool held = cancel_delayed_work_sync(&hold->work);

	if (held)
		unlock_page(hold->page);
	return held;
}

/* With the mmap_lock held, none of all that needs a KSM page's lock waits for it. */
static void wait_for_no_kpage(struct kunit *test)
{
	static const unsigned long addr[] = { TEST_START, TEST_BESIDE };
	struct ksm_rmap_item *item, *other;
	struct folio *kfolio, *twin;
	struct merge_test *mt;
	struct test_hold *hold = kunit_kzalloc(test, sizeof(*hold), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, hold);
	KUNIT_ASSERT_EQ(test, merge_test_begin(test, addr, 2), 0);
	mt = test->priv;
	item = test_item_at(test, TEST_START);
	other = test_item_at(test, TEST_BESIDE);
	KUNIT_ASSERT_EQ(test, ksm_promote(mt->vma, item, &kfolio), 0);

	begin_hold(hold, kfolio);
	KUNIT_EXPECT_EQ(test, ksm_merge_with(mt->vma, other, NULL, kfolio), -EAGAIN);
	KUNIT_EXPECT_TRUE(test, was_held(hold));
	begin_hold(hold, kfolio);
	KUNIT_EXPECT_EQ(test, ksm_promote(mt->vma, other, &twin), -EAGAIN);
	KUNIT_EXPECT_TRUE(test, was_held(hold));
	KUNIT_EXPECT_EQ(test, ksm_item_state(other), KSM_ITEM_SEEN);
	begin_hold(hold, kfolio);
	KUNIT_EXPECT_EQ(test, ksm_adopt(mt->vma, item, kfolio), -EAGAIN);
	KUNIT_EXPECT_TRUE(test, was_held(hold));
	begin_hold(hold, kfolio);
	ksm_demote(kfolio, item);
	KUNIT_EXPECT_TRUE(test, was_held(hold));
	begin_hold(hold, kfolio);
	KUNIT_EXPECT_FALSE(test, ksm_item_release(item, KSM_RELEASE_IF_GONE));
	KUNIT_EXPECT_FALSE(test, ksm_item_release(item, KSM_RELEASE_IF_UNNEEDED));
	KUNIT_EXPECT_TRUE(test, was_held(hold));
	KUNIT_EXPECT_TRUE(test, folio_test_ksm(kfolio));
	KUNIT_EXPECT_EQ(test, ksm_item_state(item), KSM_ITEM_STABLE);

	/* All of it can be done later. */
	KUNIT_EXPECT_EQ(test, ksm_adopt(mt->vma, item, kfolio), 0);
	KUNIT_EXPECT_EQ(test, ksm_merge_with(mt->vma, other, NULL, kfolio), 0);
	folio_put(kfolio);
	merge_test_end(test);
}

static struct kunit_case merge_cases[] = {
	KUNIT_CASE(lock_what_is_not_private),
	KUNIT_CASE(lock_what_is_locked),
	KUNIT_CASE(merge_gives_item_away),
	KUNIT_CASE(demote_what_is_alone),
	KUNIT_CASE(wait_for_no_kpage),
	KUNIT_CASE(protect_what_seems_protected),
	{}
};

static struct kunit_suite merge_suite = {
	.name = "ksm_merge",
	.test_cases = merge_cases,
};

kunit_test_suite(merge_suite);
