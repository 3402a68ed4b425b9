// SPDX-License-Identifier: GPL-2.0
/*
 * The fingerprint of a page's content, and whether a page can have changed
 * since it was read last.
 *
 * Both are hints: what is merged is decided by comparing bytes alone. A wrong
 * hint costs a comparison, or delays a merge by some visits.
 */
#include <kunit/static_stub.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/prefetch.h>
#include <linux/random.h>
#include <linux/xxhash.h>

#include "ksm.h"

/* Per boot, so that colliding pages cannot be prepared beforehand. */
static u64 seed __ro_after_init;
static u64 scope_seed __ro_after_init;
static u64 zero_fingerprint __ro_after_init;

/* So much is hashed while as much of the next page is on its way. */
#define HASH_STEP	1024U

static void prefetch_step(const void *content)
{
	unsigned int line;

#pragma GCC unroll 16
	for (line = 0; line < HASH_STEP; line += L1_CACHE_BYTES)
		prefetch(content + line);
}

/**
 * ksm_fingerprint - hash the content of a page
 * @page: the page; the caller has a reference
 * @next: the page whose turn comes next, with a reference; or NULL
 *
 * The CPU sees by itself that a page is read from front to end, but not which
 * one is next: a third of the time it would wait for memory.
 *
 * Return: the fingerprint. It must not leave the kernel, nor may its time.
 */
u64 ksm_fingerprint(struct page *page, struct page *next)
{
	const void *ahead = NULL;
	struct xxh64_state hash;
	unsigned int at;
	void *content;

	KUNIT_STATIC_STUB_REDIRECT(ksm_fingerprint, page, next);
	if (next && !PageHighMem(next))
		ahead = page_address(next);
	xxh64_reset(&hash, seed);
	content = kmap_local_page(page);
	for (at = 0; at < PAGE_SIZE; at += HASH_STEP) {
		if (ahead)
			prefetch_step(ahead + at);
		/* Who maps the page may write to it; it is that of no content. */
		data_race(xxh64_update(&hash, content + at, HASH_STEP));
	}
	kunmap_local(content);
	return xxh64_digest(&hash);
}

/**
 * ksm_key - what orders the trees: a fingerprint and who may share it
 * @fingerprint: the content
 * @scope: who may share
 *
 * The scope is mixed in, so that pages of one content in several scopes are
 * not neighbours in the tree. Mixing twice with the same scope undoes it.
 *
 * Return: the key; its low bits are free for the place of an rmap_item, and it
 *	is never zero, which stands for no key.
 */
u64 ksm_key(u64 fingerprint, unsigned int scope)
{
	u64 key = fingerprint ^ (scope * scope_seed);

	key &= ~KSM_PLACE_MASK;
	return key ? key : KSM_PLACE_MASK + 1;
}

/**
 * ksm_is_zero_key - does this look like a page full of zeroes?
 * @key: of the page
 * @scope: of the page
 */
bool ksm_is_zero_key(u64 key, unsigned int scope)
{
	return key == ksm_key(zero_fingerprint, scope);
}

/* Of so many words differences are collected, without a branch in between. */
#define WORDS_A_STEP	8U

static bool words_differ(const unsigned long *a, const unsigned long *b)
{
	return (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) |
	       (a[4] ^ b[4]) | (a[5] ^ b[5]) | (a[6] ^ b[6]) | (a[7] ^ b[7]);
}

/**
 * ksm_pages_equal - do two pages hold the same bytes?
 * @a: a page; the caller has a reference
 * @b: another
 *
 * memcmp() has to find out which is greater, and cannot be as fast. With memory
 * tags more than the bytes has to be compared, which pages_identical() does.
 *
 * Return: whether they do.
 */
bool ksm_pages_equal(struct page *a, struct page *b)
{
	const unsigned long *x, *y;
	unsigned int i = 0;

	KUNIT_STATIC_STUB_REDIRECT(ksm_pages_equal, a, b);
	if (IS_ENABLED(CONFIG_ARM64_MTE)) {
		/* Where somebody can write to them still, it is but a hint. */
		return data_race(pages_identical(a, b));
	}

	x = kmap_local_page(a);
	y = kmap_local_page(b);
	while (i < PAGE_SIZE / sizeof(long)) {
		/* As above */
		if (data_race(words_differ(x + i, y + i)))
			break;
		i += WORDS_A_STEP;
	}
	kunmap_local(y);
	kunmap_local(x);
	return i == PAGE_SIZE / sizeof(long);
}

void __init ksm_fingerprint_init(void)
{
	seed = get_random_u64();
	scope_seed = get_random_u64() | 1;
	zero_fingerprint = ksm_fingerprint(ZERO_PAGE(0), NULL);
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/fingerprint_kunit.c"
#endif
