// SPDX-License-Identifier: GPL-2.0
/*
 * The rmap_items of one mm: chunks of items for consecutive pages, look-up by
 * address, and release.
 *
 * The mm, the address and the index stand once in a chunk and not in each
 * item, which keeps an item to 32 bytes and four more for its state.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "ksm.h"

static struct kmem_cache *chunk_cache;

static unsigned long chunk_index(unsigned long addr)
{
	return addr >> (PAGE_SHIFT + KSM_CHUNK_SHIFT);
}

/**
 * ksm_chunk_find - the chunk of an address
 * @slot: the mm
 * @addr: any address, in a window of the caller
 *
 * Return: the chunk, or NULL.
 */
struct ksm_chunk *ksm_chunk_find(struct ksm_mm_slot *slot, unsigned long addr)
{
	return xa_load(&slot->chunks, chunk_index(addr));
}

/**
 * ksm_chunk_make - the chunk of an address, made if there is none
 * @slot: the mm
 * @addr: any address, in a window of the caller
 * @vma: the VMA that @addr lies in
 *
 * Context: mmap_lock held; sleeps.
 * Return: the chunk, or NULL without memory: to be retried in the next scan.
 */
struct ksm_chunk *ksm_chunk_make(struct ksm_mm_slot *slot, unsigned long addr,
				 struct vm_area_struct *vma)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN;
	struct ksm_chunk *chunk = ksm_chunk_find(slot, addr);
	unsigned int place;

	BUILD_BUG_ON(KSM_CHUNK_PAGES != 1U << KSM_CHUNK_SHIFT);
	if (chunk)
		return chunk;

	chunk = kmem_cache_zalloc(chunk_cache, gfp);
	if (!chunk)
		return NULL;

	chunk->slot = slot;
	chunk->start = addr & KSM_CHUNK_MASK;
	/* May wrap where the VMA begins inside the chunk, and back again. */
	chunk->pgoff = linear_page_index(vma, addr) -
		       ((addr - chunk->start) >> PAGE_SHIFT);
	for (place = 0; place < KSM_CHUNK_PAGES; place++)
		chunk->item[place].tag = place;

	if (xa_is_err(xa_store(&slot->chunks, chunk_index(addr), chunk, gfp))) {
		kmem_cache_free(chunk_cache, chunk);
		return NULL;
	}
	atomic_long_inc(&ksm_counters.chunks);
	return chunk;
}

/**
 * ksm_chunk_free_if_unused - free a chunk of which nothing is left
 * @chunk: the chunk, in a window of the caller
 */
void ksm_chunk_free_if_unused(struct ksm_chunk *chunk)
{
	BUILD_BUG_ON(KSM_ITEM_FREE);
	/* Others may change a state, but neither from nor to that of free. */
	if (data_race(memchr_inv(chunk->state, KSM_ITEM_FREE,
				 sizeof(chunk->state))))
		return;

	xa_erase(&chunk->slot->chunks, chunk_index(chunk->start));
	atomic_long_dec(&ksm_counters.chunks);
	kmem_cache_free(chunk_cache, chunk);
}

/**
 * ksm_count_tracked - count rmap_items that are in use
 * @mm: their mm
 * @items: how many more; may be negative
 */
void ksm_count_tracked(struct mm_struct *mm, long items)
{
	atomic_long_add(items, &ksm_counters.rmap_items);
	ksm_mm_count(&mm->ksm_rmap_items, items);
}

/**
 * ksm_item_track - begin to keep track of a page
 * @item: its item, free until now
 *
 * The caller calls ksm_count_tracked(), before the item can be released.
 */
void ksm_item_track(struct ksm_rmap_item *item)
{
	VM_WARN_ON_ONCE(ksm_item_state(item) != KSM_ITEM_FREE);
	ksm_item_set_key(item, 0);
	ksm_item_set_state(item, KSM_ITEM_SEEN);
}

/**
 * ksm_item_release - forget a page
 * @item: its item, in a window of the caller
 * @how: when it may leave its KSM page, if it has one
 *
 * Context: sleeps; may lock a folio.
 * Return: true, or false if it has to stay for now: somebody else is at work
 *	on it, or forks of the mapping depend on it.
 */
bool ksm_item_release(struct ksm_rmap_item *item, enum ksm_release how)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	unsigned int place = ksm_item_place(item);

	switch (ksm_item_state(item)) {
	case KSM_ITEM_FREE:
		return true;
	case KSM_ITEM_UNSTABLE:
		if (!ksm_unstable_remove(item))
			return false;
		break;
	case KSM_ITEM_STABLE:
		if (!ksm_stable_unlink(item, how))
			return false;
		break;
	case KSM_ITEM_CLAIMED:
		return false;
	}
	VM_WARN_ON_ONCE(ksm_item_state(item) != KSM_ITEM_SEEN);
	chunk->age[place] = 0;
	chunk->note[place] = 0;
	ksm_item_set_state(item, KSM_ITEM_FREE);
	ksm_count_tracked(ksm_item_mm(item), -1);
	return true;
}

/**
 * ksm_chunks_release - forget a range of pages
 * @slot: the mm
 * @first: first address
 * @last: last address, inclusive
 * @how: see ksm_item_release()
 *
 * Context: all of the range is in windows of the caller; sleeps.
 * Return: true if nothing of the chunks that the range touches is left.
 */
bool ksm_chunks_release(struct ksm_mm_slot *slot, unsigned long first,
			unsigned long last, enum ksm_release how)
{
	struct ksm_chunk *chunk;
	unsigned long index;

	xa_for_each_range(&slot->chunks, index, chunk, chunk_index(first),
			  chunk_index(last)) {
		unsigned int place;

		for (place = 0; place < KSM_CHUNK_PAGES; place++) {
			unsigned long addr = chunk->start +
					     ((unsigned long)place << PAGE_SHIFT);

			if (addr < first || addr > last)
				continue;
			ksm_item_release(&chunk->item[place], how);
		}
		ksm_chunk_free_if_unused(chunk);
		cond_resched();
	}
	index = chunk_index(first);
	return !xa_find(&slot->chunks, &index, chunk_index(last), XA_PRESENT);
}

/**
 * ksm_forget_keys - have all pages read again that are in no tree
 *
 * Their keys are of a scope that is no more.
 *
 * Context: ksm_gate held exclusively; sleeps.
 */
void ksm_forget_keys(void)
{
	struct ksm_mm_slot *slot;
	struct ksm_chunk *chunk;
	unsigned long index;
	unsigned int place;

	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot)) {
		xa_for_each(&slot->chunks, index, chunk) {
			for (place = 0; place < KSM_CHUNK_PAGES; place++) {
				struct ksm_rmap_item *item = &chunk->item[place];

				if (ksm_item_state(item) == KSM_ITEM_SEEN)
					ksm_item_set_key(item, 0);
			}
			cond_resched();
		}
	}
}

/**
 * ksm_metadata_bytes - memory that KSM spends on what it knows
 *
 * Return: bytes of all chunks, stable nodes and slots. What the slab allocator
 *	and the XArray add is not in it: below two per cent of a full chunk.
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
 * Return: bytes of the pages that it shares, its zero pages included, less its
 *	part of the metadata; negative where that is more.
 */
long ksm_process_profit(struct mm_struct *mm)
{
	long pages = READ_ONCE(mm->ksm_merging_pages) + mm_ksm_zero_pages(mm);
	long metadata = READ_ONCE(mm->ksm_rmap_items) *
			(sizeof(struct ksm_chunk) / KSM_CHUNK_PAGES);

	return pages * (long)PAGE_SIZE - metadata;
}
#endif

int __init ksm_rmap_item_init(void)
{
	chunk_cache = KMEM_CACHE(ksm_chunk, 0);
	return chunk_cache ? 0 : -ENOMEM;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/rmap_item_kunit.c"
#endif
