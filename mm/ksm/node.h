/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A stable node: its page, its place in a tree or on a chain, its sharers.
 */
#ifndef _MM_KSM_NODE_H
#define _MM_KSM_NODE_H

#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/page-flags.h>
#include <linux/rbtree.h>

#include "ksm.h"
#include "shard.h"
#include "slot.h"

/**
 * enum ksm_node_kind - what a stable node stands for
 * @KSM_NODE_PAGE: a KSM page, in the tree itself
 * @KSM_NODE_DUP: a KSM page, one of several of its content, on a chain
 * @KSM_NODE_CHAIN: no page: the tree's entry for its dups
 * @KSM_NODE_DEAD: no page any more, in no tree. The owner of a queued node
 *	frees it, once its last rmap_item has left it
 */
enum ksm_node_kind {
	KSM_NODE_PAGE,
	KSM_NODE_DUP,
	KSM_NODE_CHAIN,
	KSM_NODE_DEAD,
};

/**
 * struct ksm_stable_node - a KSM page, or the chain of several of one content
 * @rb: link in the stable tree; not for a dup
 * @dup: link on the chain's @dups: those with room for sharers first
 * @chain: a dup's chain
 * @items: the rmap_items that share the page. Changed under the shard's lock
 *	and, while the page lives, its folio lock; either is enough to read.
 * @kpfn: the KSM page. The node holds no reference to it: the page lives as
 *	long as it is mapped or in the swap cache, and points back here through
 *	folio->mapping. If it does not, the node is stale.
 * @dups: the chain's dups
 * @key: content and scope; orders the tree and selects the shard. Changes only
 *	in ksm_stable_rehome(), under the folio lock.
 * @next: the next queued node. Belongs to the owner of this queued node
 * @pruned: jiffies when stale dups were last removed from the chain
 * @sharers: length of @items
 * @scope: who may share; part of @key, kept for an exact comparison
 * @kind: enum ksm_node_kind
 * @queued: on the queue of ksm_stable_sweep(), or in the hands of ksm_bury(),
 *	the owner. Until that ends, nobody else frees the node. A node in a tree
 *	is queued while nobody shares it; it need not be while its first sharer
 *	is about to come.
 *
 * All under the shard's lock unless stated otherwise. A node is freed under the
 * shard's lock with its page locked and detached from it; or, if it is queued,
 * once it is dead and has no sharers. Its memory remains that of a node until
 * the end of the RCU read section after that.
 */
struct ksm_stable_node {
	union {
		struct rb_node rb;
		struct {
			struct list_head dup;
			struct ksm_stable_node *chain;
		};
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
		struct ksm_stable_node *next;
		unsigned long pruned;
	};
	unsigned int sharers;
	u16 scope;
	u8 kind;
	bool queued;
};

static inline struct ksm_stable_node *ksm_folio_node(const struct folio *folio)
{
	unsigned long mapping = (unsigned long)READ_ONCE(folio->mapping);

	if ((mapping & FOLIO_MAPPING_FLAGS) != FOLIO_MAPPING_KSM)
		return NULL;
	return (struct ksm_stable_node *)(mapping & ~FOLIO_MAPPING_FLAGS);
}

static inline void *ksm_node_mapping(const struct ksm_stable_node *node)
{
	return (void *)((unsigned long)node | FOLIO_MAPPING_KSM);
}

/**
 * struct ksm_dead - nodes that were found stale, for ksm_bury()
 * @first: the first of them
 */
struct ksm_dead {
	struct ksm_stable_node *first;
};

static inline bool ksm_node_is_full(const struct ksm_stable_node *node)
{
	return node->sharers >= READ_ONCE(ksm_settings.max_page_sharing);
}

struct ksm_stable_node *ksm_stable_alloc(void);
void ksm_stable_free(struct ksm_stable_node *node);

void ksm_chain_add(struct ksm_stable_node *chain, struct ksm_stable_node *dup);
void ksm_chain_begin(struct ksm_stable_node *chain,
		     struct ksm_stable_node *node, struct ksm_shard *shard);
void ksm_chain_settle(struct ksm_stable_node *chain, struct ksm_shard *shard);
void ksm_node_unlist_alone(struct ksm_stable_node *node,
			   struct ksm_shard *shard);
void ksm_node_end(struct ksm_stable_node *node);

struct folio *ksm_node_get_folio(struct ksm_stable_node *node);
bool ksm_lock_kpage(struct folio *folio);
int ksm_node_lock_folio(struct ksm_stable_node *node, struct folio *folio,
			bool waits);
struct folio *ksm_node_get_locked(struct ksm_stable_node *node,
				  struct ksm_shard *shard, struct ksm_dead *dead,
				  bool waits);
void ksm_stable_moved(struct folio *to, struct folio *from);

void ksm_node_add_item(struct ksm_stable_node *node, struct ksm_rmap_item *item);
void ksm_node_remove_item(struct ksm_stable_node *node,
			  struct ksm_rmap_item *item);
void ksm_node_drop_item(struct ksm_rmap_item *item, u64 key);

void ksm_node_detach_alone(struct ksm_stable_node *node, struct folio *folio,
			   struct ksm_shard *shard);
void ksm_node_kill(struct ksm_stable_node *node, struct ksm_shard *shard,
		   struct ksm_dead *dead);
void ksm_node_kill_alone(struct ksm_stable_node *node, struct ksm_shard *shard,
			 struct ksm_dead *dead);
struct ksm_shard *ksm_node_lock(struct ksm_stable_node *node);
struct ksm_stable_node *ksm_node_lock_of(struct ksm_rmap_item *item,
					 struct ksm_shard **locked);
bool ksm_node_drain(struct ksm_stable_node *node, unsigned int *budget);

int __init ksm_node_init(void);

#endif /* _MM_KSM_NODE_H */
