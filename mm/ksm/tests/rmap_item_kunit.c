// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of the rmap_item chunks. Included by rmap_item.c. */
#include "fixture.h"

static void chunk_addresses(struct kunit *test)
{
	struct ksm_mm_slot *slot = test_slot(test);
	unsigned long base = 16 * KSM_CHUNK_SPAN;
	struct vm_area_struct *vma = test_vma(test, base, 64, 7);
	unsigned long addr;

	for (addr = base; addr < vma->vm_end; addr += PAGE_SIZE) {
		struct ksm_rmap_item *item = test_item(test, slot, vma, addr,
						       0);

		KUNIT_EXPECT_EQ(test, ksm_item_address(item), addr);
		KUNIT_EXPECT_PTR_EQ(test, ksm_item_mm(item), slot->slot.mm);
		KUNIT_EXPECT_PTR_EQ(test, ksm_item_chunk(item),
				    ksm_chunk_find(slot, addr));
		KUNIT_EXPECT_EQ(test, ksm_item_chunk(item)->pgoff +
				ksm_item_place(item),
				linear_anon_page_index(vma, addr));
	}
	KUNIT_EXPECT_EQ(test, slot->slot.mm->ksm_rmap_items, 64);
	KUNIT_EXPECT_TRUE(test, test_release(slot, 0, ULONG_MAX,
					     KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_EQ(test, slot->slot.mm->ksm_rmap_items, 0);
	KUNIT_EXPECT_TRUE(test, xa_empty(&slot->chunks));
}

/* The place in a chunk must survive whatever the rest of the tag becomes. */
static void chunk_tags(struct kunit *test)
{
	struct ksm_mm_slot *slot = test_slot(test);
	struct vm_area_struct *vma = test_vma(test, 0, KSM_CHUNK_PAGES, 0);
	static const u64 keys[] = { 0, 1, KSM_PLACE_MASK, KSM_PLACE_MASK + 1,
				    U64_MAX, 0x0123456789abcdefULL };
	unsigned int i, place;

	for (place = 0; place < KSM_CHUNK_PAGES; place++) {
		unsigned long addr = (unsigned long)place << PAGE_SHIFT;
		struct ksm_rmap_item *item = test_item(test, slot, vma, addr,
						       0);

		for (i = 0; i < ARRAY_SIZE(keys); i++) {
			ksm_item_set_key(item, keys[i]);
			KUNIT_EXPECT_EQ(test, ksm_item_place(item), place);
			KUNIT_EXPECT_EQ(test, ksm_item_key(item),
					keys[i] & ~KSM_PLACE_MASK);
		}
	}
	test_release(slot, 0, ULONG_MAX, KSM_RELEASE_ALWAYS);
}

#define TEST_HELD_SCANS	1000

/* Items that others need forever are checked less and less often, but forever. */
static void chunk_waits(struct kunit *test)
{
	struct ksm_mm_slot *slot = test_slot(test);
	struct vm_area_struct *vma = test_vma(test, 0, KSM_CHUNK_PAGES, 0);
	struct ksm_chunk *chunk = ksm_item_chunk(test_item(test, slot, vma, 0, 0));
	unsigned int end = slot->scan + TEST_HELD_SCANS, asked = 0, last = 0;

	for (; slot->scan != end; slot->scan++) {
		if (ksm_chunk_waits(chunk))
			continue;
		if (asked)
			KUNIT_EXPECT_LE(test, slot->scan - last, KSM_HELD_MAX);
		last = slot->scan;
		asked++;
		ksm_chunk_hold(chunk);
		/* It is the turn of the other items of the chunk, too. */
		KUNIT_EXPECT_FALSE(test, ksm_chunk_waits(chunk));
		ksm_chunk_hold(chunk);
	}
	KUNIT_EXPECT_GT(test, asked, TEST_HELD_SCANS / KSM_HELD_MAX);
	KUNIT_EXPECT_LT(test, asked, TEST_HELD_SCANS / KSM_HELD_MAX + 8);

	/* If nobody has needed any for long, it is as if nobody ever had. */
	slot->scan += 2 * KSM_HELD_MAX;
	ksm_chunk_hold(chunk);
	slot->scan++;
	KUNIT_EXPECT_FALSE(test, ksm_chunk_waits(chunk));
	slot->scan = 0;
	test_release(slot, 0, ULONG_MAX, KSM_RELEASE_ALWAYS);
}

/* A chunk that others needed lately is skipped, but only if the caller wants that. */
static void chunk_left_alone(struct kunit *test)
{
	struct ksm_mm_slot *slot = test_slot(test);
	struct vm_area_struct *vma = test_vma(test, 0, 1, 0);
	struct ksm_rmap_item *item = test_item(test, slot, vma, 0, 0);
	struct ksm_forget forget = {
		.last = ULONG_MAX,
		.how = KSM_RELEASE_ALWAYS,
		.chunks = KSM_RELEASE_CHUNKS,
		.waits = true,
	};

	ksm_item_chunk(item)->held_until = slot->scan + 3;
	ksm_item_chunk(item)->held_for = 1;
	KUNIT_EXPECT_TRUE(test, ksm_chunks_release(slot, &forget));
	KUNIT_EXPECT_EQ(test, forget.freed, 0);
	KUNIT_EXPECT_EQ(test, forget.chunks, KSM_RELEASE_CHUNKS);
	forget.waits = false;
	KUNIT_EXPECT_TRUE(test, ksm_chunks_release(slot, &forget));
	KUNIT_EXPECT_EQ(test, forget.freed, 1);
	KUNIT_EXPECT_TRUE(test, xa_empty(&slot->chunks));
}

/* Ends of the address space, and ranges that end inside a chunk. */
static void chunk_edges(struct kunit *test)
{
	struct ksm_mm_slot *slot = test_slot(test);
	unsigned long top = ULONG_MAX & PAGE_MASK;
	struct vm_area_struct *low = test_vma(test, 0, 3, 100);
	struct vm_area_struct *high = test_vma(test, top - 2 * PAGE_SIZE, 2, 5);
	struct ksm_rmap_item *first, *last;

	first = test_item(test, slot, low, 0, 0);
	test_item(test, slot, low, 2 * PAGE_SIZE, 0);
	last = test_item(test, slot, high, top - PAGE_SIZE, 0);
	KUNIT_EXPECT_EQ(test, ksm_item_address(last), top - PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, ksm_item_chunk(last)->pgoff +
			ksm_item_place(last), 6);

	/* One page of the chunk: the other stays, and so does the chunk. */
	KUNIT_EXPECT_FALSE(test, test_release(slot, 0, PAGE_SIZE - 1,
					      KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_EQ(test, ksm_item_state(first), KSM_ITEM_FREE);
	KUNIT_EXPECT_EQ(test, slot->slot.mm->ksm_rmap_items, 2);
	KUNIT_EXPECT_TRUE(test, test_release(slot, PAGE_SIZE,
					     KSM_CHUNK_SPAN - 1,
					     KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_NULL(test, ksm_chunk_find(slot, 0));
	KUNIT_EXPECT_NOT_NULL(test, ksm_chunk_find(slot, top));
	KUNIT_EXPECT_TRUE(test, test_release(slot, KSM_CHUNK_SPAN, ULONG_MAX,
					     KSM_RELEASE_ALWAYS));
}

/* The very last page of all, and one item of a chunk whose first has no index. */
static void chunk_wraps(struct kunit *test)
{
	struct ksm_mm_slot *slot = test_slot(test);
	unsigned long top = ULONG_MAX & PAGE_MASK, addr = 5 * PAGE_SIZE;
	struct vm_area_struct *low = test_vma(test, addr, 1, 2);
	struct vm_area_struct *high = test_vma(test, top, 1, ULONG_MAX >> PAGE_SHIFT);
	struct ksm_rmap_item *item = test_item(test, slot, low, addr, 0);
	struct ksm_rmap_item *last = test_item(test, slot, high, top, 0);

	KUNIT_EXPECT_EQ(test, ksm_item_chunk(item)->pgoff + ksm_item_place(item), 2);
	KUNIT_EXPECT_EQ(test, ksm_item_address(item), addr);
	KUNIT_EXPECT_EQ(test, ksm_item_place(last), KSM_CHUNK_PAGES - 1);
	KUNIT_EXPECT_EQ(test, ksm_item_address(last), top);
	KUNIT_EXPECT_EQ(test, ksm_item_chunk(last)->pgoff + ksm_item_place(last),
			ULONG_MAX >> PAGE_SHIFT);
	KUNIT_EXPECT_PTR_EQ(test, ksm_chunk_find(slot, ULONG_MAX),
			    ksm_item_chunk(last));

	/* Up to the page before it, and then only the last byte of that page. */
	KUNIT_EXPECT_FALSE(test, test_release(slot, 0, top - 1,
					      KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_EQ(test, ksm_item_state(last), KSM_ITEM_SEEN);
	KUNIT_EXPECT_NULL(test, ksm_chunk_find(slot, addr));
	KUNIT_EXPECT_TRUE(test, test_release(slot, top, ULONG_MAX,
					     KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_TRUE(test, xa_empty(&slot->chunks));
}

/* A claimed item belongs to somebody else: release has to leave it. */
static void chunk_claimed(struct kunit *test)
{
	struct ksm_mm_slot *slot = test_slot(test);
	struct vm_area_struct *vma = test_vma(test, 0, 1, 0);
	struct ksm_rmap_item *item = test_item(test, slot, vma, 0, 0);

	ksm_item_set_state(item, KSM_ITEM_CLAIMED);
	KUNIT_EXPECT_FALSE(test, test_release(slot, 0, ULONG_MAX,
					      KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_EQ(test, ksm_item_state(item), KSM_ITEM_CLAIMED);
	ksm_item_set_state(item, KSM_ITEM_SEEN);
	KUNIT_EXPECT_TRUE(test, test_release(slot, 0, ULONG_MAX,
					     KSM_RELEASE_ALWAYS));
}

/* The target: 40 bytes a tracked page. */
static void chunk_size(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_64BIT))
		kunit_skip(test, "the figure is for 64 bits");
	KUNIT_EXPECT_EQ(test, sizeof(struct ksm_rmap_item), 32);
	KUNIT_EXPECT_LE(test, sizeof(struct ksm_chunk), 40 * KSM_CHUNK_PAGES);
	KUNIT_EXPECT_EQ(test, sizeof(struct ksm_stable_node), 64);
}

static struct kunit_case chunk_cases[] = {
	KUNIT_CASE(chunk_addresses),
	KUNIT_CASE(chunk_tags),
	KUNIT_CASE(chunk_waits),
	KUNIT_CASE(chunk_left_alone),
	KUNIT_CASE(chunk_edges),
	KUNIT_CASE(chunk_wraps),
	KUNIT_CASE(chunk_claimed),
	KUNIT_CASE(chunk_size),
	{}
};

static struct kunit_suite chunk_suite = {
	.name = "ksm_rmap_item",
	.test_cases = chunk_cases,
};

kunit_test_suite(chunk_suite);
