// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of an mm: the slot of an mm, the slot's chunks of rmap_items
 * for consecutive pages, and the item of a page.
 *
 * The mm, the address and the index are kept once per chunk, not in each item.
 * This keeps an item to 32 bytes and four more for its state.
 */
#include <linux/hashtable.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "ksm.h"
#include "slot.h"

static struct kmem_cache *slot_cache;
static struct kmem_cache *chunk_cache;

#define SLOT_HASH_BITS 10
/* Protected by the registry's lock. */
static DEFINE_HASHTABLE(slot_hash, SLOT_HASH_BITS);

/* ------------------------------------------------------------------ slots */

/**
 * ksm_slot_alloc - make the slot of an mm
 * @mm: the mm
 *
 * Return: the slot, which holds a reference to mm_count, is on no list and
 *	cannot be found yet; or NULL.
 */
struct ksm_mm_slot *ksm_slot_alloc(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot = mm_slot_alloc(slot_cache);

	if (!slot)
		return NULL;
	atomic_long_inc(&ksm_counters.slots);
	/* Charge its nodes as the chunks are charged. */
	xa_init_flags(&slot->chunks, XA_FLAGS_ACCOUNT);
	mmgrab(mm);
	slot->slot.mm = mm;
	return slot;
}

/**
 * ksm_slot_free - free a slot
 * @slot: the slot, which is on no list and is empty
 */
void ksm_slot_free(struct ksm_mm_slot *slot)
{
	VM_WARN_ON_ONCE(!xa_empty(&slot->chunks) || slot->users);
	if (slot->slot.mm)
		mmdrop(slot->slot.mm);
	mm_slot_free(slot_cache, slot);
	atomic_long_dec(&ksm_counters.slots);
}

/**
 * ksm_slot_hash - let a slot be found by its mm
 * @slot: the slot
 * @mm: the mm
 *
 * Context: the registry's lock held.
 */
void ksm_slot_hash(struct ksm_mm_slot *slot, struct mm_struct *mm)
{
	struct mm_slot *link = &slot->slot;

	mm_slot_insert(slot_hash, mm, link);
}

/**
 * ksm_slot_unhash - do not let a slot be found any more
 * @slot: the slot
 *
 * Context: the registry's lock held.
 */
void ksm_slot_unhash(struct ksm_mm_slot *slot)
{
	hash_del(&slot->slot.hash);
}

/**
 * ksm_slot_find - the slot of an mm
 * @mm: the mm
 *
 * Context: the registry's lock held.
 * Return: the slot, or NULL if the mm is not registered.
 */
struct ksm_mm_slot *ksm_slot_find(struct mm_struct *mm)
{
	struct mm_slot *link = mm_slot_lookup(slot_hash, mm);

	return link ? mm_slot_entry(link, struct ksm_mm_slot, slot) : NULL;
}

/**
 * ksm_find_vma - the VMA of an address, if its pages may be merged
 * @mm: the mm
 * @addr: the address
 *
 * Context: mmap_lock held.
 * Return: the VMA, or NULL.
 */
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	if (ksm_mm_exiting(mm))
		return NULL;
	vma = vma_lookup(mm, addr);
	if (!vma || !(vma->vm_flags & VM_MERGEABLE) || !vma->anon_vma)
		return NULL;
	return vma;
}

/* ----------------------------------------------------------------- chunks */

/**
 * ksm_chunk_find - the chunk of an address
 * @slot: the mm
 * @addr: any address that the caller owns
 *
 * Return: the chunk, or NULL.
 */
struct ksm_chunk *ksm_chunk_find(struct ksm_mm_slot *slot, unsigned long addr)
{
	return xa_load(&slot->chunks, ksm_chunk_index(addr));
}

/* Use no reserves for it, and reclaim nobody's memory. */
#define CHUNK_GFP	(GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN)

static struct ksm_chunk *chunk_alloc(struct ksm_mm_slot *slot,
				     unsigned long addr,
				     struct vm_area_struct *vma)
{
	struct ksm_chunk *chunk = kmem_cache_zalloc(chunk_cache, CHUNK_GFP);
	unsigned int place;

	BUILD_BUG_ON(KSM_CHUNK_PAGES != 1U << KSM_CHUNK_SHIFT);
	if (!chunk)
		return NULL;

	chunk->slot = slot;
	chunk->start = addr & KSM_CHUNK_MASK;
	/* May wrap if the VMA begins inside the chunk, and wraps back. */
	chunk->pgoff = linear_anon_page_index(vma, addr) -
		       ((addr - chunk->start) >> PAGE_SHIFT);
	for (place = 0; place < KSM_CHUNK_PAGES; place++)
		chunk->item[place].tag = place;

	if (xa_is_err(xa_store(&slot->chunks, ksm_chunk_index(addr), chunk,
			       CHUNK_GFP))) {
		kmem_cache_free(chunk_cache, chunk);
		return NULL;
	}
	atomic_long_inc(&ksm_counters.chunks);
	return chunk;
}

/**
 * ksm_chunk_make - the chunk of an address, made if there is none
 * @slot: the mm
 * @addr: any address that the caller owns
 * @vma: the VMA that @addr is in
 * @memcg: the memory cgroup to charge, with a reference; or NULL to charge none
 *
 * Context: mmap_lock held; does not sleep: reclaim would keep the worker in a
 *	cgroup that is short of memory, and make all others wait.
 * Return: the chunk, or NULL without memory, or with a cgroup at its limit: the
 *	next scan tries again.
 */
struct ksm_chunk *ksm_chunk_make(struct ksm_mm_slot *slot, unsigned long addr,
				 struct vm_area_struct *vma,
				 struct mem_cgroup *memcg)
{
	struct ksm_chunk *chunk = ksm_chunk_find(slot, addr);
	struct mem_cgroup *before;

	ksm_assert_owner(slot);
	if (chunk)
		return chunk;

	before = set_active_memcg(memcg);
	chunk = chunk_alloc(slot, addr, vma);
	set_active_memcg(before);
	return chunk;
}

/**
 * ksm_chunk_free_if_unused - free a chunk if all of its items are free
 * @chunk: the chunk, owned by the caller
 */
void ksm_chunk_free_if_unused(struct ksm_chunk *chunk)
{
	BUILD_BUG_ON(KSM_ITEM_FREE);
	ksm_assert_owner(chunk->slot);
	/* Others may change a state, but neither from nor to KSM_ITEM_FREE. */
	if (data_race(memchr_inv(chunk->state, KSM_ITEM_FREE,
				 sizeof(chunk->state))))
		return;

	xa_erase(&chunk->slot->chunks, ksm_chunk_index(chunk->start));
	atomic_long_dec(&ksm_counters.chunks);
	kmem_cache_free(chunk_cache, chunk);
}

/**
 * ksm_has_odd_pgoff - does a page's index not follow from its chunk?
 * @vma: the VMA of the page
 * @item: its item
 */
bool ksm_has_odd_pgoff(struct vm_area_struct *vma, struct ksm_rmap_item *item)
{
	return linear_anon_page_index(vma, ksm_item_address(item)) !=
	       ksm_item_chunk(item)->pgoff + ksm_item_place(item);
}

/**
 * ksm_item_fits - does reverse mapping still find the VMA through an item?
 * @vma: the VMA that its address is in
 * @item: the item, %KSM_ITEM_STABLE
 *
 * If the caller does not own the item, and the page is not locked, the answer
 * is a hint.
 */
bool ksm_item_fits(struct vm_area_struct *vma, struct ksm_rmap_item *item)
{
	u8 state = READ_ONCE(ksm_item_chunk(item)->state[ksm_item_place(item)]);

	return READ_ONCE(item->anon_vma) == vma->anon_vma &&
	       ((state & KSM_ITEM_ODD_PGOFF) || !ksm_has_odd_pgoff(vma, item));
}

/* Changes a counter in struct mm_struct. */
static void slot_count(unsigned long *count, long change)
{
	unsigned long old = READ_ONCE(*count);

	while (!try_cmpxchg(count, &old, old + change))
		;
}

/**
 * ksm_count_tracked - count rmap_items that are in use
 * @mm: their mm; NULL if it was dropped
 * @items: how many more; may be negative
 */
void ksm_count_tracked(struct mm_struct *mm, long items)
{
	atomic_long_add(items, &ksm_counters.rmap_items);
	if (mm)
		slot_count(&mm->ksm_rmap_items, items);
}

/**
 * ksm_count_merging - count the rmap_items of an mm that share a KSM page
 * @item: an item that begins or stops sharing a page
 * @items: 1 or -1
 */
void ksm_count_merging(struct ksm_rmap_item *item, long items)
{
	struct mm_struct *mm;

	/* The reaper may be dropping it right now. */
	rcu_read_lock();
	mm = ksm_item_mm(item);
	if (mm)
		slot_count(&mm->ksm_merging_pages, items);
	rcu_read_unlock();
}

/**
 * ksm_item_track - begin to keep track of a page
 * @item: its item, free until now
 *
 * The caller calls ksm_count_tracked() before the item can be released.
 */
void ksm_item_track(struct ksm_rmap_item *item)
{
	VM_WARN_ON_ONCE(ksm_item_state(item) != KSM_ITEM_FREE);
	ksm_item_set_key(item, 0);
	ksm_item_set_state(item, KSM_ITEM_SEEN);
}

int __init ksm_slot_init(void)
{
	slot_cache = KMEM_CACHE(ksm_mm_slot, 0);
	chunk_cache = KMEM_CACHE(ksm_chunk, 0);
	return slot_cache && chunk_cache ? 0 : -ENOMEM;
}
