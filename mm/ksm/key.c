// SPDX-License-Identifier: GPL-2.0
/*
 * The fingerprint of a page's content, who may share it, and the key of both.
 *
 * All of these are hints: only a comparison of all bytes decides about a merge.
 * A wrong hint costs a comparison, or delays a merge by some visits.
 */
#include <kunit/static_stub.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/random.h>

#include "key.h"
#include "ksm.h"
#include "nh.h"
#include "slot.h"

#ifdef CONFIG_ARCH_SUPPORTS_INT128
#define hash_key	ksm_nh_wide_key
#define hash_page	ksm_nh_wide
#else
#define hash_key	ksm_nh_narrow_key
#define hash_page	ksm_nh_narrow
#endif

/* Constant once @ready is set. */
static struct hash_key secret __cacheline_aligned;
static u64 scope_seed __read_mostly;
static u64 zero_fingerprint __read_mostly;
static bool ready __read_mostly;

/**
 * ksm_fingerprint - hash the content of a page
 * @page: the page; the caller has a reference
 * @next: the page that is read next, with a reference; or NULL
 *
 * The CPU sees by itself that a page is read from front to end, but not which
 * page comes next: without a hint it would wait for memory a third of the time.
 *
 * Return: the fingerprint. Neither it nor the time it takes may leave the
 *	kernel.
 */
u64 ksm_fingerprint(struct page *page, struct page *next)
{
	const void *ahead = NULL;
	const void *content;
	u64 hash;

	KUNIT_STATIC_STUB_REDIRECT(ksm_fingerprint, page, next);
	if (next && !PageHighMem(next))
		ahead = page_address(next);
	content = kmap_local_page(page);
	/* A process may write to the page now. Then the hash matches no content. */
	hash = data_race(hash_page(&secret, content, ahead));
	kunmap_local(content);
	return hash;
}

/**
 * ksm_scope - which pages may this page be shared with?
 * @page: the page
 *
 * Return: a number; pages of equal numbers may share.
 */
unsigned int ksm_scope(struct page *page)
{
	KUNIT_STATIC_STUB_REDIRECT(ksm_scope, page);
	return READ_ONCE(ksm_settings.merge_across_nodes) ? 0 :
							    page_to_nid(page);
}

/**
 * ksm_key - make the key that orders the trees
 * @fingerprint: the content
 * @scope: who may share
 *
 * The scope is mixed in, so that pages with the same content in several scopes
 * are not neighbours in the tree. Mixing twice with the same scope undoes it.
 *
 * Return: the key. Its low bits are free for the place of an rmap_item, and it
 *	is never zero, which means "no key".
 */
u64 ksm_key(u64 fingerprint, unsigned int scope)
{
	u64 key = fingerprint ^ (scope * scope_seed);

	key &= ~KSM_PLACE_MASK;
	return key ? key : KSM_PLACE_MASK + 1;
}

/**
 * ksm_rekey - change the key of a content to another scope
 * @key: its key
 * @from: in this scope
 * @to: the other scope
 *
 * Return: the key there.
 */
u64 ksm_rekey(u64 key, unsigned int from, unsigned int to)
{
	return ksm_key(ksm_key(key, from), to);
}

/**
 * ksm_is_zero_key - is this the key of a page full of zeroes?
 * @key: of the page
 * @scope: of the page
 */
bool ksm_is_zero_key(u64 key, unsigned int scope)
{
	return key == ksm_key(zero_fingerprint, scope);
}

/* Collect the differences of this many words without a branch in between. */
#define WORDS_A_STEP	8U

static bool key_words_differ(const unsigned long *a, const unsigned long *b)
{
	return (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) |
	       (a[4] ^ b[4]) | (a[5] ^ b[5]) | (a[6] ^ b[6]) | (a[7] ^ b[7]);
}

/**
 * ksm_pages_equal - do two pages hold the same bytes?
 * @a: a page; the caller has a reference
 * @b: another
 *
 * memcmp() also has to find out which is greater, which is slower. With memory
 * tags, more than the bytes counts, and pages_identical() compares it.
 *
 * Return: whether they do.
 */
bool ksm_pages_equal(struct page *a, struct page *b)
{
	const unsigned long *x, *y;
	unsigned int i = 0;

	KUNIT_STATIC_STUB_REDIRECT(ksm_pages_equal, a, b);
	if (IS_ENABLED(CONFIG_ARM64_MTE)) {
		/* Where somebody can still write to them, this is only a hint. */
		return data_race(pages_identical(a, b));
	}

	x = kmap_local_page(a);
	y = kmap_local_page(b);
	while (i < PAGE_SIZE / sizeof(long)) {
		/* As above */
		if (data_race(key_words_differ(x + i, y + i)))
			break;
		i += WORDS_A_STEP;
	}
	kunmap_local(y);
	kunmap_local(x);
	return i == PAGE_SIZE / sizeof(long);
}

/**
 * ksm_fingerprint_ready - is there a key to make fingerprints with?
 */
bool ksm_fingerprint_ready(void)
{
	/* Reads of the key come after this, see key_take_secret(). */
	return smp_load_acquire(&ready);
}

/* Atomic. */
static int key_take_secret(struct notifier_block *self, unsigned long action,
			   void *arg)
{
	get_random_bytes(&secret, sizeof(secret));
	scope_seed = get_random_u64() | 1;
	zero_fingerprint = ksm_fingerprint(ZERO_PAGE(0), NULL);
	/* A reader that sees this also sees the key. */
	smp_store_release(&ready, true);
	wake_up_interruptible(&ksm_wait);
	return NOTIFY_DONE;
}

static struct notifier_block rng_ready = { .notifier_call = key_take_secret };

/*
 * The key lasts until shutdown. It comes from the random number generator once
 * that is initialized, which it usually is by now. Until then no page is read.
 */
int __init ksm_key_init(void)
{
	return execute_with_initialized_rng(&rng_ready);
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/key_kunit.c"
#include "tests/nh_kunit.c"
#endif
