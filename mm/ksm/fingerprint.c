// SPDX-License-Identifier: GPL-2.0
/*
 * The fingerprint of a page's content, and whether a page can have changed
 * since it was read last.
 *
 * Both are hints: what is merged is decided by comparing bytes alone. A wrong
 * hint costs a comparison, or delays a merge by some visits.
 */
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/prefetch.h>
#include <linux/random.h>
#include <linux/xxhash.h>

#include "ksm.h"

/* Per boot, so that colliding pages cannot be prepared beforehand. */
static u64 seed __ro_after_init;
static u64 scope_seed __ro_after_init;
static u64 zero_fingerprint __ro_after_init;

#define PREFETCH_LINES	4

/**
 * ksm_fingerprint_soon - have the page's beginning in the cache by then
 * @page: the page
 *
 * The CPU sees by itself that a page is read from front to end, but not which
 * one is next.
 */
void ksm_fingerprint_soon(struct page *page)
{
	unsigned int line;

	if (PageHighMem(page))
		return;
	for (line = 0; line < PREFETCH_LINES; line++)
		prefetch(page_address(page) + line * L1_CACHE_BYTES);
}

/**
 * ksm_fingerprint - hash the content of a page
 * @page: the page; the caller has a reference
 *
 * Return: the fingerprint. It must not leave the kernel, nor may its time.
 */
u64 ksm_fingerprint(struct page *page)
{
	void *content = kmap_local_page(page);
	u64 fingerprint = xxh64(content, PAGE_SIZE, seed);

	kunmap_local(content);
	return fingerprint;
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

/* Tells page frames apart, most of the time. */
static u16 frame_tag(struct page *page)
{
	return hash_long(page_to_pfn(page), 16);
}

/**
 * ksm_same_frame - is it the page frame that was read last?
 * @chunk: the chunk of its item
 * @place: and the item's place there
 * @page: a page of the frame
 *
 * Return: whether it is; rarely true although it is not.
 */
bool ksm_same_frame(struct ksm_chunk *chunk, unsigned int place,
		    struct page *page)
{
	return READ_ONCE(chunk->note[place]) == frame_tag(page);
}

/**
 * ksm_note_frame - remember which page frame was read
 * @chunk: the chunk of its item
 * @place: and the item's place there
 * @page: a page of the frame
 *
 * Context: the item is in a window of the caller, and %KSM_ITEM_SEEN.
 */
void ksm_note_frame(struct ksm_chunk *chunk, unsigned int place,
		    struct page *page)
{
	WRITE_ONCE(chunk->note[place], frame_tag(page));
}

/*
 * Reading a page costs a hundred times what looking at its accessed bit does,
 * but there are writes that no accessed bit tells of: through a reference that
 * get_user_pages() took, or by a CPU, or a guest, that goes by an old TLB
 * entry. So an idle page is re-read on its 32nd visit, and then on every 64th.
 */
#define REREAD_VISITS	64

static bool reread_is_due(unsigned int age)
{
	return age % REREAD_VISITS == REREAD_VISITS / 2;
}

/**
 * ksm_page_unread - can this visit to a page do without reading it?
 * @chunk: the chunk of its item
 * @place: and the item's place there
 * @page: the page that is mapped now
 * @young: it was accessed since the last visit
 *
 * The item must have a key. Counts the visit.
 *
 * Context: the item is in a window of the caller.
 */
bool ksm_page_unread(struct ksm_chunk *chunk, unsigned int place,
		     struct page *page, bool young)
{
	u8 *age = &chunk->age[place];

	if (young || !ksm_same_frame(chunk, place, page)) {
		*age = 0;
		return false;
	}
	/* Saturates at a multiple of REREAD_VISITS. */
	*age = *age == U8_MAX ? U8_MAX + 1 - REREAD_VISITS : *age + 1;
	return !reread_is_due(*age);
}

/**
 * ksm_page_changed - begin to count visits anew
 * @chunk: the chunk of the item
 * @place: and the item's place there
 *
 * Context: the item is in a window of the caller.
 */
void ksm_page_changed(struct ksm_chunk *chunk, unsigned int place)
{
	chunk->age[place] = 0;
}

void __init ksm_fingerprint_init(void)
{
	seed = get_random_u64();
	scope_seed = get_random_u64() | 1;
	zero_fingerprint = ksm_fingerprint(ZERO_PAGE(0));
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/fingerprint_kunit.c"
#endif
