// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of fingerprints, keys and change detection. */
#include "fixture.h"

static struct page *test_page(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

	KUNIT_ASSERT_NOT_NULL(test, page);
	return page;
}

/* Every byte counts: the first, the last, and one in each cache line. */
static void fingerprint_bytes(struct kunit *test)
{
	struct page *page = test_page(test);
	u8 *content = page_address(page);
	u64 zero = ksm_fingerprint(page, NULL);
	unsigned int at;

	if (!ksm_fingerprint_ready()) {
		__free_page(page);
		kunit_skip(test, "the random number generator is not initialized");
	}
	KUNIT_EXPECT_TRUE(test, ksm_is_zero_key(ksm_key(zero, 3), 3));
	for (at = 0; at < PAGE_SIZE; at += 64) {
		content[at + at / 64 % 64] = 1;
		KUNIT_EXPECT_NE(test, ksm_fingerprint(page, NULL), zero);
		content[at + at / 64 % 64] = 0;
	}
	content[PAGE_SIZE - 1] = 0x80;
	KUNIT_EXPECT_NE(test, ksm_fingerprint(page, NULL), zero);
	KUNIT_EXPECT_FALSE(test, ksm_is_zero_key(ksm_key(ksm_fingerprint(page, NULL),
							 3), 3));
	content[PAGE_SIZE - 1] = 0;
	KUNIT_EXPECT_EQ(test, ksm_fingerprint(page, NULL), zero);
	__free_page(page);
}

/* As fingerprint_bytes(), for the comparison. */
static void pages_equal_bytes(struct kunit *test)
{
	struct page *a = test_page(test), *b = test_page(test);
	u8 *content = page_address(b);
	unsigned int at;

	KUNIT_EXPECT_TRUE(test, ksm_pages_equal(a, b));
	for (at = 0; at < PAGE_SIZE; at++) {
		content[at] = 0x80 >> at % 8;
		if (ksm_pages_equal(a, b) || ksm_pages_equal(b, a))
			KUNIT_FAIL(test, "byte %u was not compared", at);
		content[at] = 0;
	}
	memset(page_address(a), 0x5a, PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, ksm_pages_equal(a, b));
	copy_highpage(b, a);
	KUNIT_EXPECT_TRUE(test, ksm_pages_equal(a, b));
	__free_page(b);
	__free_page(a);
}

static void fingerprint_scopes(struct kunit *test)
{
	u64 some = 0x123456789abcdef0ULL;
	unsigned int scope;

	for (scope = 1; scope < 64; scope++) {
		KUNIT_EXPECT_NE(test, ksm_key(some, scope), ksm_key(some, 0));
		KUNIT_EXPECT_NE(test, ksm_key(some, scope),
				ksm_key(some, scope - 1));
		/* Moving a node to another scope relies on this. */
		KUNIT_EXPECT_EQ(test, ksm_key(ksm_key(some, scope), scope),
				some & ~KSM_PLACE_MASK);
	}
	KUNIT_EXPECT_NE(test, ksm_key(0, 0), 0);
}

static bool reads(struct ksm_chunk *chunk, struct page *page, bool young)
{
	return ksm_page_visit(chunk, 2, page_to_pfn(page), young) ==
	       KSM_VISIT_READ;
}

/* The documents promise how long a change can go unnoticed. */
static void visits_to_idle_page(struct kunit *test)
{
	struct ksm_chunk *chunk = kunit_kzalloc(test, sizeof(*chunk),
						GFP_KERNEL);
	struct page *page = test_page(test), *other = test_page(test);
	unsigned int visit, unread = 0, longest = 0, nr = 0;

	KUNIT_ASSERT_NOT_NULL(test, chunk);
	ksm_note_frame(chunk, 2, page_to_pfn(page));
	for (visit = 0; visit < 1600; visit++) {
		if (!reads(chunk, page, false)) {
			longest = max(longest, ++unread);
		} else {
			unread = 0;
			nr++;
		}
	}
	KUNIT_EXPECT_EQ(test, longest, KSM_REREAD_VISITS - 1);
	KUNIT_EXPECT_EQ(test, nr, 1600 / KSM_REREAD_VISITS);
	KUNIT_EXPECT_TRUE(test, reads(chunk, page, true));
	KUNIT_EXPECT_FALSE(test, reads(chunk, page, false));
	if (ksm_frame_tag(page_to_pfn(page)) !=
	    ksm_frame_tag(page_to_pfn(other)))
		KUNIT_EXPECT_TRUE(test, reads(chunk, other, false));
	__free_page(other);
	__free_page(page);
}

/* How many visits that find it accessed lie between two that read it. */
static void visits_to_busy_page(struct kunit *test)
{
	static const u8 pauses[] = { 0, 0, 0, 1, 2, 4, 8, 8, 8 };
	struct ksm_chunk *chunk = kunit_kzalloc(test, sizeof(*chunk),
						GFP_KERNEL);
	struct page *page = test_page(test);
	unsigned int i, j;

	KUNIT_ASSERT_NOT_NULL(test, chunk);
	ksm_note_frame(chunk, 2, page_to_pfn(page));
	for (i = 0; i < ARRAY_SIZE(pauses); i++) {
		for (j = 0; j < pauses[i]; j++)
			KUNIT_EXPECT_EQ(test, KSM_VISIT_BUSY,
					ksm_page_visit(chunk, 2,
						       page_to_pfn(page), true));
		KUNIT_EXPECT_TRUE(test, reads(chunk, page, true));
	}
	/* It was read after the last access. */
	KUNIT_EXPECT_FALSE(test, reads(chunk, page, false));
	__free_page(page);
}

/*
 * A page that becomes idle is read at once, if it was accessed after the last
 * read.
 */
static void visits_to_page_that_rests(struct kunit *test)
{
	struct ksm_chunk *chunk = kunit_kzalloc(test, sizeof(*chunk),
						GFP_KERNEL);
	struct page *page = test_page(test);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, chunk);
	ksm_note_frame(chunk, 2, page_to_pfn(page));
	for (i = 0; i < 100 || reads(chunk, page, true); i++)
		reads(chunk, page, true);
	KUNIT_EXPECT_TRUE(test, reads(chunk, page, false));
	KUNIT_EXPECT_FALSE(test, reads(chunk, page, false));
	/* It is in use now and then: it is not read before it is idle again. */
	KUNIT_EXPECT_FALSE(test, reads(chunk, page, true));
	KUNIT_EXPECT_TRUE(test, reads(chunk, page, false));
	for (i = 0; i < KSM_BUSY_VISITS; i++)
		KUNIT_EXPECT_FALSE(test, reads(chunk, page, false));
	/* That was long ago. */
	KUNIT_EXPECT_TRUE(test, reads(chunk, page, true));
	__free_page(page);
}

static struct kunit_case fingerprint_cases[] = {
	KUNIT_CASE(fingerprint_bytes),
	KUNIT_CASE(pages_equal_bytes),
	KUNIT_CASE(fingerprint_scopes),
	KUNIT_CASE(visits_to_idle_page),
	KUNIT_CASE(visits_to_busy_page),
	KUNIT_CASE(visits_to_page_that_rests),
	{}
};

static struct kunit_suite fingerprint_suite = {
	.name = "ksm_fingerprint",
	.test_cases = fingerprint_cases,
};

kunit_test_suite(fingerprint_suite);
