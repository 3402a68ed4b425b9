/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is known of an mm: its slot, the slot's chunks, and the chunks'
 * rmap_items, with the way from one to the next.
 *
 * The owner of an address makes and frees the chunk that contains it, and
 * changes those fields of the chunk and of its rmap_items that are marked as
 * the owner's. The owner is
 *
 * - the worker whose window contains the address (struct ksm_window);
 * - the holder of an exclusive ksm_gate that keeps the slot by ksm_slot_next():
 *   workers keep their windows meanwhile, but do nothing with them;
 * - for a slot that is off the list (ksm_mm_slot.gone), the reaper: ksmd, with
 *   the gate held, when nobody uses the slot any more.
 *
 * Others reach an item only through a tree. Then the item's state decides who
 * may move it on, see enum ksm_item_state.
 */
#ifndef _MM_KSM_SLOT_H
#define _MM_KSM_SLOT_H

#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/rbtree.h>
#include <linux/xarray.h>

#include "../mm_slot.h"
#include "compat.h"
#include "ksm.h"

struct anon_vma;
struct ksm_stable_node;
struct mem_cgroup;

#define KSM_CHUNK_SHIFT		4
#define KSM_CHUNK_PAGES		16U	/* 1 << KSM_CHUNK_SHIFT */
#define KSM_CHUNK_SPAN		(PAGE_SIZE << KSM_CHUNK_SHIFT)
#define KSM_CHUNK_MASK		(~(KSM_CHUNK_SPAN - 1))
/* The low bits of a tag hold the item's place in its chunk. */
#define KSM_PLACE_MASK		((u64)KSM_CHUNK_PAGES - 1)

/**
 * enum ksm_item_state - what becomes of an rmap_item, and who may move it on
 * @KSM_ITEM_FREE: nothing is known of the page. Only the owner moves it on.
 * @KSM_ITEM_SEEN: its key is known, it is in no tree. Only the owner moves it
 *	on.
 * @KSM_ITEM_UNSTABLE: in the unstable tree. Leaves it under the shard's lock.
 * @KSM_ITEM_CLAIMED: somebody took it out of a tree and is working on it. Only
 *	the claimer moves it on; until then its chunk and slot stay. So does the
 *	mm_struct if it was in the unstable tree, see ksm_item_mm().
 * @KSM_ITEM_STABLE: on a stable node's list. Leaves it under the shard's lock
 *	and, as long as the KSM page lives, under that page's folio lock.
 */
enum ksm_item_state {
	KSM_ITEM_FREE,
	KSM_ITEM_SEEN,
	KSM_ITEM_UNSTABLE,
	KSM_ITEM_CLAIMED,
	KSM_ITEM_STABLE,
};

/* Flag beside the state: the item's pgoff does not follow from ksm_chunk.pgoff. */
#define KSM_ITEM_ODD_PGOFF	0x80
/*
 * Flag beside %KSM_ITEM_SEEN: the same page, mapped elsewhere since a fork, is in the
 * unstable tree. There is nothing to merge, so only a few visits look again.
 */
#define KSM_ITEM_SAME		0x40
#define KSM_ITEM_STATE_MASK	0x07

/**
 * struct ksm_rmap_item - what is known of one page of an address space
 * @node: link in the unstable tree while %KSM_ITEM_UNSTABLE
 * @link: link on a stable node's list while %KSM_ITEM_STABLE
 * @anon_vma: covers every mapping of the KSM page that stems from this one;
 *	holds a reference while %KSM_ITEM_STABLE
 * @tag: the stable node if %KSM_ITEM_STABLE; else the key that the page had
 *	when it was last read. The low bits are the item's place in its chunk.
 */
struct ksm_rmap_item {
	union {
		struct rb_node node;
		struct {
			struct hlist_node link;
			struct anon_vma *anon_vma;
		};
	};
	u64 tag;
};

/**
 * struct ksm_chunk - the rmap_items of consecutive pages of one mm
 * @slot: the mm's slot, which outlives the chunk. Constant.
 * @start: address of the first page, a multiple of %KSM_CHUNK_SPAN. Constant.
 * @pgoff: linear page index of @start in the VMA that the chunk was made for.
 *	If the index of a page differs, its item has %KSM_ITEM_ODD_PGOFF.
 *	Constant.
 * @note: a tag of the page frame seen last. The owner changes it while
 *	%KSM_ITEM_SEEN, and may read it as a hint at any time
 * @state: enum ksm_item_state and flags, one for each item. Read without a
 *	lock; the enum says who may change it.
 * @age: visits since the page was last seen to change or to be accessed. The
 *	owner's.
 * @busy: how far visits have backed off from a page that is accessed all the
 *	time, see ksm_page_visit(). The owner's.
 * @held_until: the full scan that next asks about items that do not share any
 *	more but have to stay, see ksm_chunk_waits(). The owner's.
 * @held_for: full scans since they were last asked about. The owner's.
 * @item: the items
 *
 * Found by @start through ksm_mm_slot.chunks. The owner frees it once all
 * states are %KSM_ITEM_FREE.
 */
struct ksm_chunk {
	struct ksm_mm_slot *slot;
	unsigned long start;
	pgoff_t pgoff;
	u16 note[KSM_CHUNK_PAGES];
	u8 state[KSM_CHUNK_PAGES];
	u8 age[KSM_CHUNK_PAGES];
	u8 busy[KSM_CHUNK_PAGES];
	u32 held_until;
	u8 held_for;
	struct ksm_rmap_item item[KSM_CHUNK_PAGES];
};

/* The index of an address's chunk in ksm_mm_slot.chunks. */
static inline unsigned long ksm_chunk_index(unsigned long addr)
{
	return addr >> (PAGE_SHIFT + KSM_CHUNK_SHIFT);
}

static inline unsigned int ksm_item_place(const struct ksm_rmap_item *item)
{
	/* The place is constant, but the rest of the tag may be changing. */
	return READ_ONCE(item->tag) & KSM_PLACE_MASK;
}

static inline struct ksm_chunk *ksm_item_chunk(struct ksm_rmap_item *item)
{
	return container_of(item - ksm_item_place(item), struct ksm_chunk,
			    item[0]);
}

static inline unsigned long ksm_item_address(struct ksm_rmap_item *item)
{
	return ksm_item_chunk(item)->start +
	       ((unsigned long)ksm_item_place(item) << PAGE_SHIFT);
}

/* Does not touch the item, which is not in the cache line of the states. */
static inline u8 ksm_state_at(const struct ksm_chunk *chunk, unsigned int place)
{
	/* Later reads of the item are not older, see ksm_item_set_state(). */
	return smp_load_acquire(&chunk->state[place]) & KSM_ITEM_STATE_MASK;
}

static inline u8 ksm_item_state(struct ksm_rmap_item *item)
{
	return ksm_state_at(ksm_item_chunk(item), ksm_item_place(item));
}

static inline void ksm_item_set_state(struct ksm_rmap_item *item, u8 state)
{
	/* After all writes to the item: its state lets others have it. */
	smp_store_release(&ksm_item_chunk(item)->state[ksm_item_place(item)],
			  state);
}

static inline u64 ksm_item_key(const struct ksm_rmap_item *item)
{
	return READ_ONCE(item->tag) & ~KSM_PLACE_MASK;
}

static inline void ksm_item_set_key(struct ksm_rmap_item *item, u64 key)
{
	WRITE_ONCE(item->tag, (key & ~KSM_PLACE_MASK) | ksm_item_place(item));
}

/* Only for comparison, unless the state is kept %KSM_ITEM_STABLE. */
static inline struct ksm_stable_node *
ksm_item_node(const struct ksm_rmap_item *item)
{
	return (struct ksm_stable_node *)(unsigned long)
		(READ_ONCE(item->tag) & ~KSM_PLACE_MASK);
}

/**
 * struct ksm_mm_slot - a registered mm
 * @slot: hash and list links, and the mm, with a reference to its mm_count. The
 *	registry's lock protects the links. The mm becomes NULL when the slot is
 *	only kept for mappings of others, see ksm_reap().
 * @chunks: struct ksm_chunk by address / %KSM_CHUNK_SPAN; an entry belongs to
 *	the owner of its addresses
 * @cursor: where the next window of this full scan starts; ULONG_MAX if there
 *	is none. Registry's lock. Once @gone: where the reaper goes on
 * @users: windows handed out, and other users. The slot stays while there are
 *	any. Registry's lock.
 * @spared: how many of @users want nothing to be merged, see ksm_slot_spare().
 *	Registry's lock.
 * @round: of ksm_slot_next(). Registry's lock.
 * @unmerge: number of the ksm_unmerge_slots() that @unmerge_next is of. Belongs to
 *	whoever has closed the gate
 * @unmerge_next: where that goes on; ULONG_MAX: it is done with this mm
 * @scan: number of the full scan that @cursor, @windows, @pages and @deferred
 *	are of. Registry's lock. Once @gone: of that in which the reaper looked last
 * @windows: how many more this full scan hands out. Registry's lock.
 * @pages: how much more this full scan may cost here, in pages of a budget. Below
 *	0 by what was at work when it ended. Set under the registry's lock while no
 *	window is handed out; whoever scans a window takes off what that costs
 * @patience: how often workers may still wait for its mmap_lock until the cursor
 *	comes to it in the next full scan, also those that scan others. Below 0 by
 *	what several do at once. Set under the registry's lock
 * @deferred: its mmap_lock was busy in that scan, others went first. Registry's
 *	lock.
 * @resume: the full scan left it at @cursor, to go on there in the next one.
 *	Registry's lock.
 * @gone: off the list of mms to scan, to be freed. Registry's lock.
 * @busy: the reaper's pass has met items that others are at work on
 * @freed: and items that it could free
 * @costly: to find out what others need of it takes more than usual; the reaper's
 * @tlb_stale: accessed bits were cleared of which TLBs may not know. The owner
 *	of a window sets it; it is cleared under the registry's lock while nobody
 *	has a window
 * @pass: the reaper's last pass that the slot was in
 * @interval: time between the reaper's looks at what is left, jiffies
 * @due: when it looks again, jiffies
 * @split_id: tells apart mms whose huge pages were split. A lock of split.c.
 * @tlb_flushed: when the TLBs were last made to know, jiffies; 0: never.
 *	Registry's lock.
 * @slow_asks: how much longer than usual secondary MMUs took to answer, ns. A hint, of
 *	whoever has a window
 * @ask_after: to ask secondary MMUs took too long; not before this, jiffies; 0:
 *	whenever. A hint, of whoever has a window
 * @debt: steps that were taken for items of this mm, and that the budget of
 *	whoever scans it has yet to be charged for
 */
struct ksm_mm_slot {
	struct mm_slot slot;
	struct xarray chunks;
	unsigned long cursor;
	unsigned int users;
	unsigned int spared;
	unsigned int round;
	unsigned int unmerge;
	unsigned long unmerge_next;
	unsigned int scan;
	unsigned long windows;
	atomic_long_t pages;
	atomic_t patience;
	bool deferred;
	bool resume;
	bool gone;
	bool busy;
	bool freed;
	bool costly;
	bool tlb_stale;
	unsigned int pass;
	unsigned long interval;
	unsigned long due;
	u64 split_id;
	unsigned long tlb_flushed;
	unsigned int slow_asks;
	unsigned long ask_after;
	atomic_t debt;
};

/*
 * NULL if it has exited, and all of its own mappings are gone. For more than a
 * comparison, the caller has to own the item, or to have claimed it from the
 * unstable tree, or to hold RCU.
 */
static inline struct mm_struct *ksm_item_mm(struct ksm_rmap_item *item)
{
	return READ_ONCE(ksm_item_chunk(item)->slot->slot.mm);
}

/* A partial check: chunks of a slot without users have no owner. */
static inline void ksm_assert_owner(const struct ksm_mm_slot *slot)
{
	/* While somebody is the owner, neither becomes so. */
	VM_WARN_ON_ONCE(data_race(!slot->users && !slot->gone));
}

/* Is somebody undoing merges there? A hint, which is soon outdated. */
static inline bool ksm_slot_is_spared(const struct ksm_mm_slot *slot)
{
	return READ_ONCE(slot->spared);
}

/* Has this full scan spent on the mm what it may? Hint: others may be at it. */
static inline bool ksm_slot_is_spent(const struct ksm_mm_slot *slot)
{
	return atomic_long_read(&slot->pages) <= 0;
}

/*
 * After ksm_exit() nobody may touch the page tables of an mm: test this under
 * its mmap_lock.
 */
static inline bool ksm_mm_exiting(struct mm_struct *mm)
{
	return !atomic_read(&mm->mm_users);
}

struct ksm_mm_slot *ksm_slot_alloc(struct mm_struct *mm);
void ksm_slot_free(struct ksm_mm_slot *slot);
void ksm_slot_hash(struct ksm_mm_slot *slot, struct mm_struct *mm);
void ksm_slot_unhash(struct ksm_mm_slot *slot);
struct ksm_mm_slot *ksm_slot_find(struct mm_struct *mm);
struct ksm_chunk *ksm_chunk_find(struct ksm_mm_slot *slot, unsigned long addr);
struct ksm_chunk *ksm_chunk_make(struct ksm_mm_slot *slot, unsigned long addr,
				 struct vm_area_struct *vma,
				 struct mem_cgroup *memcg);
void ksm_chunk_free_if_unused(struct ksm_chunk *chunk);
bool ksm_has_odd_pgoff(struct vm_area_struct *vma, struct ksm_rmap_item *item);
bool ksm_item_fits(struct vm_area_struct *vma, struct ksm_rmap_item *item);
void ksm_item_track(struct ksm_rmap_item *item);
void ksm_count_tracked(struct mm_struct *mm, long items);
void ksm_count_merging(struct ksm_rmap_item *item, long items);
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr);
int __init ksm_slot_init(void);

#endif /* _MM_KSM_SLOT_H */
