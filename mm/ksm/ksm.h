/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of mm/ksm share among themselves: types, counters, the lock
 * order, and the functions that each file offers to the others.
 *
 * Lock order, outermost first:
 *
 *	ksm_gate			rwsem: workers shared, rebuilders exclusive
 *	  mm->mmap_lock (read)		at most one mm's, a second by trylock alone
 *	    folio lock			a second one by trylock alone
 *	      page-table lock
 *
 * Leaves: ksm_shard.lock and the registry's lock.  Nothing sleeps under them
 * and neither of the two is taken under the other.  A shard's lock nests in
 * any of the above.
 *
 * Ownership of rmap_items: a worker owns the windows that it was handed, and
 * with a window every chunk and rmap_item in it (struct ksm_chunk says which
 * fields).  Others meet an item through a tree, and then the state of the item
 * decides, see enum ksm_item_state.
 */
#ifndef _MM_KSM_KSM_H
#define _MM_KSM_KSM_H

#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/hash.h>
#include <linux/ksm.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mm_types.h>
#include <linux/prefetch.h>
#include <linux/rbtree.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "../mm_slot.h"

struct anon_vma;
struct ksm_stable_node;

/* ------------------------------------------------------------ rmap_items */

#define KSM_CHUNK_SHIFT		4
#define KSM_CHUNK_PAGES		16U	/* 1 << KSM_CHUNK_SHIFT */
#define KSM_CHUNK_SPAN		(PAGE_SIZE << KSM_CHUNK_SHIFT)
#define KSM_CHUNK_MASK		(~(KSM_CHUNK_SPAN - 1))
/* The low bits of a tag hold the item's place in its chunk. */
#define KSM_PLACE_MASK		((u64)KSM_CHUNK_PAGES - 1)

/**
 * enum ksm_item_state - where an rmap_item stands, and who may move it on
 * @KSM_ITEM_FREE: nothing is known of the page. The window's owner alone.
 * @KSM_ITEM_SEEN: its key is known, it is in no tree. The owner alone.
 * @KSM_ITEM_UNSTABLE: in the unstable tree. Leaves it under the shard's lock.
 * @KSM_ITEM_CLAIMED: somebody took it out of a tree and is working on it. Only
 *	the claimer moves it on; its chunk, slot and mm_struct stay until then.
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

/* Beside the state: the item's pgoff does not follow from ksm_chunk.pgoff. */
#define KSM_ITEM_ODD_PGOFF	0x80
#define KSM_ITEM_STATE_MASK	0x07

/**
 * struct ksm_rmap_item - what is known of one page of an address space
 * @node: link in the unstable tree while %KSM_ITEM_UNSTABLE
 * @link: link on a stable node's list while %KSM_ITEM_STABLE
 * @anon_vma: covers every mapping of the KSM page that stems from this one;
 *	holds a reference while %KSM_ITEM_STABLE
 * @tag: %KSM_ITEM_STABLE: the stable node; else the key that the page had when
 *	it was read last. The low bits are the item's place in its chunk.
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
 * @pgoff: linear page index of @start in the VMA that it was made for. An item
 *	of a page that is indexed otherwise has %KSM_ITEM_ODD_PGOFF. Constant.
 * @note: %KSM_ITEM_STABLE: number of the node's shard, changed under the locks
 *	of the state; else a tag of the page frame seen last, which the owner
 *	changes while %KSM_ITEM_SEEN, and may read as a hint at any time
 * @state: enum ksm_item_state and flags, an item each. Read without a lock;
 *	who may change it is said there.
 * @age: visits since the page was last seen to change. The owner's.
 * @item: the items
 *
 * Found by @start through ksm_mm_slot.chunks. Freed by the window's owner once
 * all states are %KSM_ITEM_FREE.
 */
struct ksm_chunk {
	struct ksm_mm_slot *slot;
	unsigned long start;
	pgoff_t pgoff;
	u16 note[KSM_CHUNK_PAGES];
	u8 state[KSM_CHUNK_PAGES];
	u8 age[KSM_CHUNK_PAGES];
	struct ksm_rmap_item item[KSM_CHUNK_PAGES];
};

static inline unsigned int ksm_item_place(const struct ksm_rmap_item *item)
{
	/* The place is constant, the rest of the tag may be changing. */
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

/* Does not touch the item, which is in another cache line than the states. */
static inline u8 ksm_state_at(const struct ksm_chunk *chunk, unsigned int place)
{
	/* What is then read of the item is not older, see ksm_item_set_state(). */
	return smp_load_acquire(&chunk->state[place]) & KSM_ITEM_STATE_MASK;
}

static inline u8 ksm_item_state(struct ksm_rmap_item *item)
{
	return ksm_state_at(ksm_item_chunk(item), ksm_item_place(item));
}

static inline void ksm_item_set_state(struct ksm_rmap_item *item, u8 state)
{
	/* After all that was written to the item: the state gives it away. */
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

/* Only to compare with, unless the state is held %KSM_ITEM_STABLE. */
static inline struct ksm_stable_node *
ksm_item_node(const struct ksm_rmap_item *item)
{
	return (struct ksm_stable_node *)(unsigned long)
		(READ_ONCE(item->tag) & ~KSM_PLACE_MASK);
}

static inline struct mm_struct *ksm_item_mm(struct ksm_rmap_item *item);

/**
 * enum ksm_release - when an rmap_item may leave its KSM page
 * @KSM_RELEASE_IF_STALE: once the page was freed
 * @KSM_RELEASE_IF_UNNEEDED: or if no other mapping is found by this item alone
 * @KSM_RELEASE_ALWAYS: in any case; all sharing is being undone
 */
enum ksm_release {
	KSM_RELEASE_IF_STALE,
	KSM_RELEASE_IF_UNNEEDED,
	KSM_RELEASE_ALWAYS,
};

struct ksm_chunk *ksm_chunk_find(struct ksm_mm_slot *slot, unsigned long addr);
struct ksm_chunk *ksm_chunk_make(struct ksm_mm_slot *slot, unsigned long addr,
				 struct vm_area_struct *vma);
void ksm_chunk_free_if_unused(struct ksm_chunk *chunk);
bool ksm_chunks_release(struct ksm_mm_slot *slot, unsigned long first,
			unsigned long last, enum ksm_release how);
bool ksm_item_release(struct ksm_rmap_item *item, enum ksm_release how);
void ksm_forget_keys(void);
void ksm_item_track(struct ksm_rmap_item *item);
void ksm_count_tracked(struct mm_struct *mm, long items);
unsigned long ksm_metadata_bytes(void);
int __init ksm_rmap_item_init(void);

/* -------------------------------------------------------------- registry */

/**
 * struct ksm_mm_slot - a registered mm
 * @slot: hash and list links and the mm, of which it holds an mm_count.
 *	The links belong to the registry's lock.
 * @chunks: struct ksm_chunk by address / %KSM_CHUNK_SPAN; entries belong to
 *	the owners of the windows they lie in
 * @cursor: where the next window of this full scan starts. Registry's lock.
 * @users: windows handed out. The slot stays while there are any. Registry's
 *	lock.
 * @round: of ksm_slot_next(). Registry's lock.
 * @gone: off the list of mms to scan, to be freed. Registry's lock.
 * @tlb_stale: accessed bits were cleared of which TLBs may not know
 */
struct ksm_mm_slot {
	struct mm_slot slot;
	struct xarray chunks;
	unsigned long cursor;
	unsigned int users;
	unsigned int round;
	bool gone;
	bool tlb_stale;
};

static inline struct mm_struct *ksm_item_mm(struct ksm_rmap_item *item)
{
	return ksm_item_chunk(item)->slot->slot.mm;
}

/**
 * struct ksm_window - the piece of one mm that one worker scans
 * @slot: the mm, NULL when the worker has no window
 * @next: what comes next, moves from the window's start towards @last
 * @first: nothing was mapped before this address when the window was planned
 * @last: last address, inclusive
 * @final: no window of this mm follows in this full scan
 *
 * The start and @last + 1 are multiples of %KSM_CHUNK_SPAN. A window includes
 * the hole before it, where rmap_items of what was unmapped may be left.
 */
struct ksm_window {
	struct ksm_mm_slot *slot;
	unsigned long next;
	unsigned long first;
	unsigned long last;
	bool final;
};

/* Address space of one window; holes before its first page table excluded. */
#define KSM_WINDOW_SPAN		max(8UL << 20, KSM_CHUNK_SPAN)

int ksm_window_get(struct ksm_window *window, bool begin);
bool ksm_window_available(void);
bool ksm_window_put(struct ksm_window *window);
void ksm_window_abandon(struct ksm_window *window);
void ksm_slot_retire_if_unused(struct ksm_window *window);
bool ksm_registry_idle(void);
bool ksm_reap_pending(void);
bool ksm_reap_held(void);
void ksm_reap(bool all);
struct ksm_mm_slot *ksm_slot_next(struct ksm_mm_slot *prev);
unsigned long ksm_full_scans(void);
void ksm_reset_full_scans(void);
int __init ksm_registry_init(void);

/*
 * After ksm_exit() nobody may touch the page tables of an mm: test this under
 * its mmap_lock.
 */
static inline bool ksm_mm_exiting(struct mm_struct *mm)
{
	return !atomic_read(&mm->mm_users);
}

/* ----------------------------------------------------------- fingerprint */

u64 ksm_fingerprint(struct page *page, struct page *next);
u64 ksm_key(u64 fingerprint, unsigned int scope);
bool ksm_is_zero_key(u64 key, unsigned int scope);
bool ksm_pages_equal(struct page *a, struct page *b);
void __init ksm_fingerprint_init(void);

/* What tells page frames apart, most of the time. */
static inline u16 ksm_frame_tag(unsigned long pfn)
{
	return hash_long(pfn, 16);
}

/* Is it the page frame that was read last? Rarely true although it is not. */
static inline bool ksm_same_frame(struct ksm_chunk *chunk, unsigned int place,
				  unsigned long pfn)
{
	return READ_ONCE(chunk->note[place]) == ksm_frame_tag(pfn);
}

/* The item is in a window of the caller, and %KSM_ITEM_SEEN. */
static inline void ksm_note_frame(struct ksm_chunk *chunk, unsigned int place,
				  unsigned long pfn)
{
	WRITE_ONCE(chunk->note[place], ksm_frame_tag(pfn));
}

/*
 * Reading a page costs a hundred times what looking at its accessed bit does,
 * but there are writes that no accessed bit tells of: through a reference that
 * get_user_pages() took, or by a CPU, or a guest, that goes by an old TLB
 * entry. So an idle page is re-read on its 32nd visit, and then on every 64th.
 */
#define KSM_REREAD_VISITS	64

/**
 * ksm_page_unread - can this visit to a page do without reading it?
 * @chunk: the chunk of its item, which has a key
 * @place: and the item's place there
 * @pfn: the page frame that is mapped now
 * @young: it was accessed since the last visit
 *
 * Counts the visit.
 *
 * Context: the item is in a window of the caller.
 */
static inline bool ksm_page_unread(struct ksm_chunk *chunk, unsigned int place,
				   unsigned long pfn, bool young)
{
	u8 *age = &chunk->age[place];

	if (young || !ksm_same_frame(chunk, place, pfn)) {
		*age = 0;
		return false;
	}
	/* Wraps around to a multiple of the period, which is no change. */
	++*age;
	BUILD_BUG_ON((U8_MAX + 1) % KSM_REREAD_VISITS);
	return *age % KSM_REREAD_VISITS != KSM_REREAD_VISITS / 2;
}

/* Begin to count visits anew. The item is in a window of the caller. */
static inline void ksm_page_changed(struct ksm_chunk *chunk, unsigned int place)
{
	chunk->age[place] = 0;
}

/* ----------------------------------------------------------------- trees */

/* As many as make a shard two cache lines of 64 bytes. */
#define KSM_SHARD_TREES		14U

/**
 * struct ksm_shard - one of the forest's parts
 * @lock: leaf. Protects the trees, the nodes in them and their lists
 * @inserts: counts what is put into @stable
 * @stable: struct ksm_stable_node by key
 * @unstable: struct ksm_rmap_item by key. There are many more of these than of
 *	KSM pages, and each is put into a tree once: so several trees, which are
 *	low
 *
 * The top bits of a key pick its shard, those below its unstable tree. Shards
 * are so many that two workers rarely want one at a time.
 */
struct ksm_shard {
	spinlock_t lock;	/* the trees, the nodes in them, their lists */
	unsigned int inserts;
	struct rb_root stable;
	struct rb_root unstable[KSM_SHARD_TREES];
} __aligned(16 * sizeof(void *));

extern struct ksm_shard *ksm_shards;
extern unsigned int ksm_shard_bits;

static inline unsigned int ksm_shard_number(u64 key)
{
	return key >> (64 - ksm_shard_bits);
}

static inline struct ksm_shard *ksm_shard_of(u64 key)
{
	return &ksm_shards[ksm_shard_number(key)];
}

static inline struct rb_root *ksm_unstable_root(struct ksm_shard *shard, u64 key)
{
	/* As a fraction: the bits that follow those of the shard's number. */
	u64 fraction = key << ksm_shard_bits >> 32;

	return &shard->unstable[fraction * KSM_SHARD_TREES >> 32];
}

/* A look-up of this key comes soon: fetch what it begins with. */
static inline void ksm_shard_soon(u64 key)
{
	prefetch(ksm_shard_of(key));
}

/* And what it goes on with. */
static inline void ksm_unstable_soon(u64 key)
{
	/* The address alone is used, which needs no lock. */
	prefetch(data_race(ksm_unstable_root(ksm_shard_of(key), key)->rb_node));
}

/*
 * Different pages of one key are possible, and a look-up goes through all of
 * them; this many at the most, so that nobody can build a slow tree.
 */
#define KSM_SAME_KEY_MAX	8

/**
 * enum ksm_node_kind - what a stable node stands for
 * @KSM_NODE_PAGE: a KSM page, in the tree itself
 * @KSM_NODE_DUP: a KSM page, one of several of its content, on a chain
 * @KSM_NODE_CHAIN: no page: the tree's entry for its dups
 */
enum ksm_node_kind {
	KSM_NODE_PAGE,
	KSM_NODE_DUP,
	KSM_NODE_CHAIN,
};

/**
 * struct ksm_stable_node - a KSM page, or the chain of several of one content
 * @rb: link in the stable tree; not for a dup
 * @dup: link on the chain's @dups: those with room for sharers first
 * @items: the rmap_items that share the page. Changed under the shard's lock
 *	and, while the page lives, its folio lock; either suffices to read.
 * @kpfn: the KSM page. Holds no reference to it: the page lives as long as it
 *	is mapped or in the swap cache, and points back here through
 *	folio->mapping. Where it does not, the node is stale.
 * @dups: the chain's dups
 * @key: content and scope, the order of the tree. Changes in ksm_stable_rehome()
 *	alone, under the folio lock.
 * @chain: a dup's chain
 * @pruned: jiffies when the chain was last rid of stale dups
 * @sharers: length of @items
 * @scope: who may share; part of @key, kept to be compared exactly
 * @kind: enum ksm_node_kind
 *
 * All under the shard's lock unless said otherwise. A node is freed under the
 * shard's lock once it is stale, or with its page locked and detached from it.
 */
struct ksm_stable_node {
	union {
		struct rb_node rb;
		struct list_head dup;
	};
	union {
		struct {
			struct hlist_head items;
			unsigned long kpfn;
		};
		struct list_head dups;
	};
	u64 key;
	union {
		struct ksm_stable_node *chain;
		unsigned long pruned;
	};
	unsigned int sharers;
	u16 scope;
	u8 kind;
};

/**
 * struct ksm_stable_hits - KSM pages found by key
 * @folio: the pages, with a reference each
 * @room: whether it had room for another sharer
 * @nr: how many
 * @inserts: ksm_shard.inserts at that time
 */
struct ksm_stable_hits {
	struct folio *folio[KSM_SAME_KEY_MAX];
	bool room[KSM_SAME_KEY_MAX];
	unsigned int nr;
	unsigned int inserts;
};

static inline struct ksm_stable_node *ksm_folio_node(const struct folio *folio)
{
	unsigned long mapping = (unsigned long)READ_ONCE(folio->mapping);

	if ((mapping & PAGE_MAPPING_FLAGS) != PAGE_MAPPING_KSM)
		return NULL;
	return (struct ksm_stable_node *)(mapping & ~PAGE_MAPPING_FLAGS);
}

struct ksm_stable_node *ksm_stable_alloc(void);
void ksm_stable_free(struct ksm_stable_node *node);
void ksm_stable_find(u64 key, u16 scope, bool with_full,
		     struct ksm_stable_hits *hits);
void ksm_stable_hits_put(struct ksm_stable_hits *hits);
bool ksm_stable_has_room(struct folio *folio);
void ksm_stable_link(struct folio *folio, struct ksm_rmap_item *item,
		     struct anon_vma *anon_vma, bool odd_pgoff);
bool ksm_stable_unlink(struct ksm_rmap_item *item, enum ksm_release how);
bool ksm_stable_insert(struct ksm_stable_node *node, struct folio *folio,
		       struct folio *peer, struct ksm_stable_node **spare,
		       unsigned int inserts);
void ksm_stable_rehome(struct folio *folio);
void ksm_stable_moved(struct folio *to, struct folio *from);
int ksm_stable_remove_all(void);
bool ksm_stable_unswept(void);
void ksm_stable_sweep(void);
void ksm_stable_remove_frames(unsigned long first, unsigned long end);
int __init ksm_stable_init(void);
int __init ksm_forest_init(void);

bool ksm_unstable_insert(struct ksm_rmap_item *item);
bool ksm_unstable_remove(struct ksm_rmap_item *item);
struct ksm_rmap_item *ksm_unstable_meet(struct ksm_rmap_item *item);
void ksm_unstable_clear(void);

/* ----------------------------------------------------------------- merge */

struct page *ksm_get_page(struct vm_area_struct *vma, unsigned long addr);
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr);
unsigned int ksm_scope(struct page *page);
int ksm_merge_with(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page, struct folio *kfolio);
int ksm_merge_zero(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page);
int ksm_promote(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		struct folio **kfolio);
int ksm_adopt(struct vm_area_struct *vma, struct ksm_rmap_item *item,
	      struct folio *kfolio);

/* -------------------------------------------- scan, match, rmap, unmerge */

struct ksm_scan;

struct ksm_scan *ksm_scan_alloc(void);
void ksm_scan_free(struct ksm_scan *scan);
bool ksm_scan_window(struct ksm_scan *scan, struct ksm_window *window,
		     unsigned long *budget);

void ksm_scan_flush(struct ksm_scan *scan);

bool ksm_item_is_needed(struct folio *folio, struct ksm_rmap_item *item);

int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool lock_vma);
int ksm_unmerge_all(void);

/* --------------------------------------------------------------- advisor */

/**
 * enum ksm_advisor_mode - who sets pages_to_scan
 * @KSM_ADVISOR_NONE: the user
 * @KSM_ADVISOR_SCAN_TIME: the advisor, for full scans of a given length
 */
enum ksm_advisor_mode { KSM_ADVISOR_NONE, KSM_ADVISOR_SCAN_TIME };

void ksm_advisor_restart(void);
void ksm_advisor_account(unsigned long pages, u64 cpu);
void ksm_advisor_set_mode(enum ksm_advisor_mode mode);
int ksm_advisor_set_pages(unsigned int pages);

/* --------------------------------------------------------------- workers */

#define KSM_THREADS_MAX	256U

int ksm_workers_set(unsigned int threads);
int __init ksm_workers_init(void);

/* ------------------------------------------------ settings and counters */

#define KSM_RUN_STOP		0
#define KSM_RUN_MERGE		1
#define KSM_RUN_UNMERGE		2

/**
 * struct ksm_settings - what user space sets through sysfs
 * @run: %KSM_RUN_STOP, %KSM_RUN_MERGE or %KSM_RUN_UNMERGE
 * @pages_to_scan: budget of all workers between two sleeps, pages. Written
 *	under the advisor's lock
 * @sleep_millisecs: length of such a sleep
 * @scan_threads: how many workers there are; 1 to %KSM_THREADS_MAX
 * @max_page_sharing: most rmap_items of one KSM page; ksm_gate exclusive
 * @merge_across_nodes: NUMA nodes share with each other; ksm_gate exclusive
 * @use_zero_pages: map the kernel's zero page for pages full of zeroes
 * @smart_scan: do not re-read pages that seem unchanged
 * @prune_millisecs: least time between two prunings of a chain
 * @advisor: enum ksm_advisor_mode
 * @advisor_max_cpu: most CPU time of all workers, per cent of one CPU
 * @advisor_target_scan_time: of a full scan, s; at least 1
 * @advisor_min_pages_to_scan: lower limit of the advisor's pages_to_scan
 * @advisor_max_pages_to_scan: upper limit, which wins
 *
 * Written under ksm_control, read anywhere with READ_ONCE().
 */
struct ksm_settings {
	unsigned int run;
	unsigned int pages_to_scan;
	unsigned int sleep_millisecs;
	unsigned int scan_threads;
	unsigned int max_page_sharing;
	bool merge_across_nodes;
	bool use_zero_pages;
	bool smart_scan;
	unsigned int prune_millisecs;
	unsigned int advisor;
	unsigned int advisor_max_cpu;
	unsigned long advisor_target_scan_time;
	unsigned long advisor_min_pages_to_scan;
	unsigned long advisor_max_pages_to_scan;
};

/**
 * struct ksm_counters - what sysfs shows; each exact at rest
 * @pages_shared: KSM pages that at least one rmap_item shares
 * @pages_sharing: rmap_items that share them beyond the first of each
 * @pages_unshared: rmap_items in the unstable tree
 * @rmap_items: rmap_items that are not %KSM_ITEM_FREE
 * @pages_scanned: pages looked at since boot
 * @pages_skipped: of these, not read because they seemed unchanged
 * @chains: stable nodes that are chains
 * @dups: stable nodes on them
 * @nodes: stable nodes allocated, chains included
 * @chunks: chunks allocated
 * @slots: mm_slots allocated
 */
struct ksm_counters {
	atomic_long_t pages_shared;
	atomic_long_t pages_sharing;
	atomic_long_t pages_unshared;
	atomic_long_t rmap_items;
	atomic_long_t pages_scanned;
	atomic_long_t pages_skipped;
	atomic_long_t chains;
	atomic_long_t dups;
	atomic_long_t nodes;
	atomic_long_t chunks;
	atomic_long_t slots;
};

extern struct ksm_settings ksm_settings;
extern struct ksm_counters ksm_counters;
extern struct rw_semaphore ksm_gate;
extern struct mutex ksm_control;
extern struct wait_queue_head ksm_wait;

/* Part of an mm's memory that KSM maps away, in struct mm_struct. */
static inline void ksm_mm_count(unsigned long *count, long change)
{
	unsigned long old = READ_ONCE(*count);

	while (!try_cmpxchg(count, &old, old + change))
		;
}

static inline bool ksm_runs(unsigned int how)
{
	return READ_ONCE(ksm_settings.run) == how;
}

#ifdef CONFIG_SYSFS
int __init ksm_sysfs_init(void);
#else
static inline int ksm_sysfs_init(void)
{
	return 0;
}
#endif

#endif /* _MM_KSM_KSM_H */
