// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of when huge pages may be split. Included by split.c. */
#include "fixture.h"

/* More ranges than there are records. */
#define TEST_RANGES	(2 * ARRAY_SIZE(records))

/* The records are the real ones; each test leaves them as they were. */
struct split_test {
	struct ksm_mm_slot *slot;
	struct ksm_mm_slot *other;
	struct split_record before[ARRAY_SIZE(records)];
};

static int split_test_init(struct kunit *test)
{
	struct split_test *st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);

	if (!st)
		return -ENOMEM;
	st->slot = test_slot(test);
	st->other = test_slot(test);
	memcpy(st->before, records, sizeof(records));
	memset(records, 0, sizeof(records));
	test->priv = st;
	return 0;
}

static void split_test_exit(struct kunit *test)
{
	struct split_test *st = test->priv;

	if (!st)
		return;
	memcpy(records, st->before, sizeof(records));
	KUNIT_EXPECT_TRUE(test, test_release(st->slot, 0, ULONG_MAX,
					     KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_TRUE(test, test_release(st->other, 0, ULONG_MAX,
					     KSM_RELEASE_ALWAYS));
}

/* The item of a page at a place in the huge page of a range. */
static struct ksm_rmap_item *item_at(struct kunit *test,
				     struct ksm_mm_slot *slot,
				     unsigned long range, unsigned int place)
{
	unsigned long addr = range * PMD_SIZE + place * PAGE_SIZE;
	struct ksm_chunk *chunk = ksm_chunk_find(slot, addr);
	struct vm_area_struct *vma;

	if (chunk && ksm_state_at(chunk, place % KSM_CHUNK_PAGES) !=
	    KSM_ITEM_FREE)
		return &chunk->item[place % KSM_CHUNK_PAGES];
	vma = test_vma(test, range * PMD_SIZE, PMD_SIZE / PAGE_SIZE, 0);
	return test_item(test, slot, vma, addr, 0);
}

static void split_at(struct kunit *test, struct ksm_mm_slot *slot,
		     unsigned long range)
{
	ksm_split_done(item_at(test, slot, range, 0));
}

/* How many pages with a twin it takes; one more than there are if none suffices. */
static unsigned int twins_taken(struct kunit *test, struct ksm_mm_slot *slot,
				unsigned long range)
{
	unsigned int place, pages = PMD_SIZE / PAGE_SIZE;

	for (place = 0; place < pages; place++)
		if (ksm_split_add_twin(item_at(test, slot, range, place)))
			break;
	/* As if a full scan were over. */
	split_record_of(slot, range)->scan--;
	return place + 1;
}

/* As if this much time had passed. */
static void rest(struct ksm_mm_slot *slot, unsigned long range,
		 unsigned int rests)
{
	split_record_of(slot, range)->when -= rests * REST;
}

/* Where nothing was split yet, one page is enough, each time. */
static void split_first(struct kunit *test)
{
	struct split_test *st = test->priv;
	struct ksm_rmap_item *item = item_at(test, st->slot, 3, 5);

	KUNIT_EXPECT_TRUE(test, ksm_split_add_twin(item));
	KUNIT_EXPECT_TRUE(test, ksm_split_add_twin(item));
}

/* Each split doubles it, up to half of the pages. */
static void split_doubles(struct kunit *test)
{
	struct split_test *st = test->priv;
	unsigned int i, wanted = 1;

	for (i = 0; i < 2 * TIMES_MAX; i++) {
		split_at(test, st->slot, 3);
		if (i < TIMES_MAX)
			wanted = min(2 * wanted, PAGES_MAX);
		KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 3), wanted);
	}
	KUNIT_EXPECT_LE(test, wanted, PMD_SIZE / PAGE_SIZE / 2);
	/* Neighbours, and other mms at that address, are not affected. */
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 2), 1);
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 4), 1);
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->other, 3), 1);
}

/* One page is one, and what was found in the last scan may be gone. */
static void split_counts(struct kunit *test)
{
	struct split_test *st = test->priv;
	struct ksm_rmap_item *a = item_at(test, st->slot, 3, 0);
	struct ksm_rmap_item *b = item_at(test, st->slot, 3, 9);

	split_at(test, st->slot, 3);
	KUNIT_EXPECT_FALSE(test, ksm_split_add_twin(a));
	KUNIT_EXPECT_FALSE(test, ksm_split_add_twin(a));
	KUNIT_EXPECT_TRUE(test, ksm_split_add_twin(b));

	split_at(test, st->slot, 3);
	KUNIT_EXPECT_FALSE(test, ksm_split_add_twin(a));
	KUNIT_EXPECT_FALSE(test, ksm_split_add_twin(b));
	split_record_of(st->slot, 3)->scan--;
	KUNIT_EXPECT_FALSE(test, ksm_split_add_twin(a));
	KUNIT_EXPECT_FALSE(test, ksm_split_add_twin(b));
	KUNIT_EXPECT_FALSE(test, ksm_split_add_twin(item_at(test, st->slot, 3, 1)));
	KUNIT_EXPECT_TRUE(test, ksm_split_add_twin(item_at(test, st->slot, 3, 2)));
}

/* Time takes back one doubling after another, and then all is forgotten. */
static void split_forgets(struct kunit *test)
{
	struct split_test *st = test->priv;
	unsigned int i;

	for (i = 0; i < 4; i++)
		split_at(test, st->slot, 3);
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 3), 16);
	for (i = 0; i < 4; i++) {
		rest(st->slot, 3, 1);
		KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 3), 8 >> i);
	}
	rest(st->slot, 3, 1);
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 3), 1);

	/* Not for good: another split goes on from there. */
	split_at(test, st->slot, 3);
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 3), 32);
	rest(st->slot, 3, RESTS_MAX);
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 3), 1);
	split_at(test, st->slot, 3);
	KUNIT_EXPECT_EQ(test, twins_taken(test, st->slot, 3), 2);
}

/*
 * With more places than records, a place either has its own record or counts as
 * new. It never needs more pages because of others.
 */
static void split_many(struct kunit *test)
{
	struct split_test *st = test->priv;
	unsigned int i, known = 0;

	for (i = 0; i < TEST_RANGES; i++) {
		split_at(test, st->slot, i);
		split_at(test, st->slot, i);
	}
	for (i = 0; i < TEST_RANGES; i++) {
		unsigned int wanted = twins_taken(test, st->slot, i);

		KUNIT_EXPECT_TRUE(test, wanted == 4 || wanted == 1);
		known += wanted == 4;
	}
	KUNIT_EXPECT_LE(test, known, ARRAY_SIZE(records));
	/* Records are spread: most of them are in use. */
	KUNIT_EXPECT_GT(test, known, ARRAY_SIZE(records) / 2);
	/* The place that was split last has its own record. */
	split_at(test, st->slot, 0);
	KUNIT_EXPECT_GE(test, twins_taken(test, st->slot, 0), 2);
}

static struct kunit_case split_cases[] = {
	KUNIT_CASE(split_first),
	KUNIT_CASE(split_doubles),
	KUNIT_CASE(split_counts),
	KUNIT_CASE(split_forgets),
	KUNIT_CASE(split_many),
	{}
};

static struct kunit_suite split_suite = {
	.name = "ksm_split",
	.init = split_test_init,
	.exit = split_test_exit,
	.test_cases = split_cases,
};

kunit_test_suite(split_suite);
