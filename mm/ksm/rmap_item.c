// SPDX-License-Identifier: GPL-2.0
/*
 * The release of rmap_items: forgets what is known of pages, unless somebody
 * else still depends on it.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "ksm.h"
#include "node.h"
#include "rmap.h"
#include "rmap_item.h"
#include "sharer.h"
#include "slot.h"
#include "unstable.h"

/**
 * ksm_item_must_stay - does an rmap_item have to share its KSM page for others?
 * @folio: the KSM page, locked
 * @item: the item, owned by the caller
 *
 * To find out takes a search. So, if others need it, this is not asked again at each
 * visit.
 *
 * Return: whether it has to, or that cannot be told right now.
 */
bool ksm_item_must_stay(struct folio *folio, struct ksm_rmap_item *item)
{
	int needed = ksm_item_is_needed(folio, item);

	if (needed > 0)
		ksm_chunk_hold(ksm_item_chunk(item));
	return needed;
}

static bool item_may_leave(struct folio *folio, struct ksm_rmap_item *item,
			   enum ksm_release how)
{
	if (how == KSM_RELEASE_IF_GONE && ksm_item_may_return(folio, item))
		return false;
	return how == KSM_RELEASE_ALWAYS || !ksm_item_must_stay(folio, item);
}

/**
 * ksm_item_unlink - stop an rmap_item from sharing its KSM page
 * @item: the item, owned by the caller; it was stable a moment ago
 * @how: when it may leave
 *
 * An item whose KSM page somebody else has locked stays, and is to be asked about
 * again; but for %KSM_RELEASE_ALWAYS, which waits.
 *
 * Context: no folio lock held; sleeps.
 * Return: true if the item is %KSM_ITEM_SEEN and has no key now; false if it
 *	has to stay for now.
 */
bool ksm_item_unlink(struct ksm_rmap_item *item, enum ksm_release how)
{
	struct folio *folio = ksm_stable_lock_page(item,
						   how == KSM_RELEASE_ALWAYS);
	bool leaves;

	if (folio == ERR_PTR(-EBUSY))
		return false;
	if (!folio)
		return ksm_item_state(item) == KSM_ITEM_SEEN;
	leaves = item_may_leave(folio, item, how);
	if (leaves)
		ksm_stable_leave(folio, item);
	folio_unlock(folio);
	folio_put(folio);
	return leaves;
}

/**
 * ksm_item_release - forget a page
 * @item: its item, owned by the caller
 * @how: when it may leave its KSM page, if it has one
 *
 * Context: sleeps; may lock a folio.
 * Return: true, or false if it has to stay for now: somebody else is at work
 *	on it or on its KSM page, or forks of the mapping depend on it.
 */
bool ksm_item_release(struct ksm_rmap_item *item, enum ksm_release how)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	unsigned int place = ksm_item_place(item);

	ksm_assert_owner(chunk->slot);
	switch (ksm_item_state(item)) {
	case KSM_ITEM_FREE:
		return true;
	case KSM_ITEM_UNSTABLE:
		if (!ksm_unstable_remove(item))
			return false;
		break;
	case KSM_ITEM_STABLE:
		if (!ksm_item_unlink(item, how))
			return false;
		break;
	case KSM_ITEM_CLAIMED:
		return false;
	}
	VM_WARN_ON_ONCE(ksm_item_state(item) != KSM_ITEM_SEEN);
	chunk->age[place] = 0;
	chunk->busy[place] = 0;
	chunk->note[place] = 0;
	ksm_item_set_state(item, KSM_ITEM_FREE);
	ksm_count_tracked(ksm_item_mm(item), -1);
	return true;
}

static void item_release_chunk(struct ksm_chunk *chunk, struct ksm_forget *forget)
{
	unsigned int place;

	for (place = 0; place < KSM_CHUNK_PAGES; place++) {
		unsigned long addr = chunk->start +
				     ((unsigned long)place << PAGE_SHIFT);
		u8 state = ksm_state_at(chunk, place);

		if (state == KSM_ITEM_FREE || addr < forget->next ||
		    addr > forget->last)
			continue;
		if (ksm_item_release(&chunk->item[place], forget->how))
			forget->freed++;
		else if (state != KSM_ITEM_STABLE)
			forget->busy = true;
	}
	ksm_chunk_free_if_unused(chunk);
}

/* The search for forks may take longer than everything else. */
#define DEBT_MAX	1024

/* Passing over this many chunks costs as much as looking at one. */
#define CHUNKS_A_LOOK	16

/**
 * ksm_chunks_release - forget a range of pages, or a part of it
 * @slot: the mm
 * @forget: the range, and how to forget it; results are added
 *
 * Context: the caller owns all of the range; sleeps.
 * Return: true if all of the range was dealt with, though some of it may have
 *	to stay; false: go on at @forget->next.
 */
bool ksm_chunks_release(struct ksm_mm_slot *slot, struct ksm_forget *forget)
{
	struct ksm_chunk *chunk;
	unsigned long index;
	unsigned int passed = 0;
	bool enough = false;

	xa_for_each_range(&slot->chunks, index, chunk, ksm_chunk_index(forget->next),
			  ksm_chunk_index(forget->last)) {
		if (enough || !forget->chunks) {
			forget->next = max(forget->next, chunk->start);
			return false;
		}
		if (forget->waits && ksm_chunk_waits(chunk)) {
			forget->chunks -= !(++passed % CHUNKS_A_LOOK);
			continue;
		}
		forget->chunks--;
		item_release_chunk(chunk, forget);
		enough = atomic_read(&slot->debt) >= DEBT_MAX;
		cond_resched();
	}
	return true;
}

/**
 * ksm_chunks_release_all - forget all pages of an mm, even if others need them
 * @slot: the mm
 *
 * Context: ksm_gate held exclusively, all sharing is being undone; sleeps.
 * Return: 0, or -EINTR if the caller was killed.
 */
int ksm_chunks_release_all(struct ksm_mm_slot *slot)
{
	struct ksm_forget forget = {
		.last = ULONG_MAX,
		.how = KSM_RELEASE_ALWAYS,
	};

	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		forget.chunks = KSM_RELEASE_CHUNKS;
	} while (!ksm_chunks_release(slot, &forget));
	return 0;
}

/**
 * ksm_metadata_bytes - memory that KSM uses for metadata
 *
 * Return: bytes of all chunks, stable nodes and slots. The overhead of the slab
 *	allocator and of the XArray is not included: less than two per cent of a
 *	full chunk.
 */
unsigned long ksm_metadata_bytes(void)
{
	return atomic_long_read(&ksm_counters.chunks) * sizeof(struct ksm_chunk) +
	       atomic_long_read(&ksm_counters.nodes) *
	       sizeof(struct ksm_stable_node) +
	       atomic_long_read(&ksm_counters.slots) *
	       sizeof(struct ksm_mm_slot);
}

#ifdef CONFIG_PROC_FS
/**
 * ksm_process_profit - what merging gains one process
 * @mm: its mm
 *
 * Return: bytes of the pages that it shares, including its zero pages, less its
 *	part of the metadata; negative if the metadata is larger.
 */
long ksm_process_profit(struct mm_struct *mm)
{
	long pages = READ_ONCE(mm->ksm_merging_pages) + mm_ksm_zero_pages(mm);
	long metadata = READ_ONCE(mm->ksm_rmap_items) *
			(sizeof(struct ksm_chunk) / KSM_CHUNK_PAGES);

	return pages * (long)PAGE_SIZE - metadata;
}
#endif

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/rmap_item_kunit.c"
#endif
