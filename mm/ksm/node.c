// SPDX-License-Identifier: GPL-2.0
/*
 * Stable nodes: the page of each, its place in a tree or on a chain, the list
 * of its sharers, and the end of a node.
 *
 * A node does not keep its page alive. When the page has been unmapped
 * everywhere, the node becomes stale. The first one to come across a stale node
 * takes it out of the tree. The node is dead then, and its sharers leave it one
 * by one, or a few at a time.
 *
 * If more mappings share a content than max_page_sharing allows, the content
 * has several KSM pages. Their nodes, the dups, hang on a chain, which stands
 * for the content in the tree. A chain with a single dup turns back into a
 * plain node.
 */
#include <linux/jiffies.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <trace/events/ksm.h>

#include "ksm.h"
#include "node.h"
#include "shard.h"
#include "slot.h"

static struct kmem_cache *node_cache;

/**
 * ksm_stable_alloc - memory for a stable node
 *
 * It may dip into the reserves: the page that it is for saves more than that.
 * But no memory is reclaimed for it: mmap_locks and a folio lock are held here,
 * and whoever wants these would wait as well.
 *
 * Return: the node, or NULL.
 */
struct ksm_stable_node *ksm_stable_alloc(void)
{
	struct ksm_stable_node *node;

	node = kmem_cache_zalloc(node_cache,
				 GFP_NOWAIT | __GFP_HIGH | __GFP_NOWARN);
	if (node)
		atomic_long_inc(&ksm_counters.nodes);
	return node;
}

/**
 * ksm_stable_free - free a stable node that is in no tree
 * @node: the node, or NULL
 */
void ksm_stable_free(struct ksm_stable_node *node)
{
	if (!node)
		return;
	/*
	 * Items leave the node before its memory is reused, see
	 * ksm_node_lock_of().
	 */
	smp_wmb();
	atomic_long_dec(&ksm_counters.nodes);
	kmem_cache_free(node_cache, node);
}

/* ----------------------------------------------------- in a tree, on a chain */

/**
 * ksm_chain_add - put a node on a chain
 * @chain: the chain
 * @dup: the node, in no tree
 *
 * Context: the shard's lock held.
 */
void ksm_chain_add(struct ksm_stable_node *chain, struct ksm_stable_node *dup)
{
	dup->kind = KSM_NODE_DUP;
	dup->chain = chain;
	if (ksm_node_is_full(dup))
		list_add_tail(&dup->dup, &chain->dups);
	else
		list_add(&dup->dup, &chain->dups);
	atomic_long_inc(&ksm_counters.dups);
}

/**
 * ksm_chain_begin - replace a node by a chain
 * @chain: memory for the chain of all dups of this content
 * @node: the node, the first of its dups
 * @shard: its shard
 *
 * Context: the shard's lock held.
 */
void ksm_chain_begin(struct ksm_stable_node *chain,
		     struct ksm_stable_node *node, struct ksm_shard *shard)
{
	chain->kind = KSM_NODE_CHAIN;
	chain->key = node->key;
	chain->scope = node->scope;
	chain->pruned = jiffies;
	INIT_LIST_HEAD(&chain->dups);
	rb_replace_node(&node->rb, &chain->rb, &shard->stable);
	atomic_long_inc(&ksm_counters.chains);
	ksm_chain_add(chain, node);
}

/**
 * ksm_chain_settle - end a chain that has one dup left, or none
 * @chain: the chain, which may be freed
 * @shard: its shard
 *
 * Context: the shard's lock held.
 */
void ksm_chain_settle(struct ksm_stable_node *chain, struct ksm_shard *shard)
{
	struct ksm_stable_node *dup;

	if (list_empty(&chain->dups)) {
		rb_erase(&chain->rb, &shard->stable);
	} else if (list_is_singular(&chain->dups)) {
		dup = list_first_entry(&chain->dups, struct ksm_stable_node,
				       dup);
		list_del(&dup->dup);
		dup->kind = KSM_NODE_PAGE;
		rb_replace_node(&chain->rb, &dup->rb, &shard->stable);
		atomic_long_dec(&ksm_counters.dups);
	} else {
		return;
	}
	atomic_long_dec(&ksm_counters.chains);
	ksm_stable_free(chain);
}

/* Takes a page's node out of the tree. The caller settles the chain of a dup. */
static void node_unlist(struct ksm_stable_node *node, struct ksm_shard *shard)
{
	if (node->kind == KSM_NODE_DUP) {
		list_del(&node->dup);
		atomic_long_dec(&ksm_counters.dups);
	} else {
		rb_erase(&node->rb, &shard->stable);
	}
}

/**
 * ksm_node_unlist_alone - take a page's node out of the tree
 * @node: the node; if it is a dup, its chain is settled
 * @shard: its shard
 *
 * Context: the shard's lock held.
 */
void ksm_node_unlist_alone(struct ksm_stable_node *node,
			   struct ksm_shard *shard)
{
	struct ksm_stable_node *chain = NULL;

	if (node->kind == KSM_NODE_DUP)
		chain = node->chain;
	node_unlist(node, shard);
	if (chain)
		ksm_chain_settle(chain, shard);
}

/**
 * ksm_node_end - end a node that is in no tree and has no sharers
 * @node: the node
 *
 * Context: the shard's lock held.
 */
void ksm_node_end(struct ksm_stable_node *node)
{
	node->kind = KSM_NODE_DEAD;
	if (!node->queued)
		ksm_stable_free(node);
}

/* Keeps the dups that have room at the front, where look-ups begin. */
static void node_requeue_dup(struct ksm_stable_node *node)
{
	if (node->kind != KSM_NODE_DUP)
		return;
	if (ksm_node_is_full(node))
		list_move_tail(&node->dup, &node->chain->dups);
	else
		list_move(&node->dup, &node->chain->dups);
}

/* ------------------------------------------------------- a node and its page */

/**
 * ksm_node_get_folio - get the page of a node
 * @node: the node
 *
 * This also finds a page that migrates: ksm_stable_moved() takes the lock, too.
 *
 * Context: the shard's lock held, which keeps the page in place.
 * Return: the folio with a reference; -ESTALE if the page was freed; -EAGAIN if
 *	it is frozen for a moment.
 */
struct folio *ksm_node_get_folio(struct ksm_stable_node *node)
{
	struct folio *folio = pfn_folio(node->kpfn);

	if (READ_ONCE(folio->mapping) != ksm_node_mapping(node))
		return ERR_PTR(-ESTALE);
	/*
	 * Migration freezes a page of the swap cache for a moment. Any other
	 * page without a reference will not come back. A poisoned one would
	 * even keep its mapping forever.
	 */
	if (!folio_try_get(folio))
		return ERR_PTR(folio_test_swapcache(folio) ? -EAGAIN : -ESTALE);
	/* It may have been freed, and belong to somebody else now. */
	if (READ_ONCE(folio->mapping) != ksm_node_mapping(node)) {
		folio_put(folio);
		return ERR_PTR(-ESTALE);
	}
	return folio;
}

/*
 * A KSM page's lock is held for as long as it takes to change a PTE and a list.
 * Workers that meet at a popular page would spend more time on falling asleep
 * and being woken than on that.
 */
#define LOCK_SPINS	256

/**
 * ksm_lock_kpage - lock a KSM page, unless that takes long
 * @folio: the page; the caller has a reference
 *
 * Reclaim and migration keep a page locked while they look for its mappings. How
 * long that takes is up to those who share the page. Nobody who holds an mmap_lock
 * or the gate waits for it, since others would wait for them.
 *
 * Context: may be scheduled away.
 * Return: whether it is locked.
 */
bool ksm_lock_kpage(struct folio *folio)
{
	unsigned int spins;

	for (spins = 0; spins < LOCK_SPINS; spins++) {
		if (!folio_test_locked(folio) && folio_trylock(folio))
			return true;
		cpu_relax();
		/* Whoever wants this CPU may be the one that has the lock. */
		cond_resched();
	}
	return false;
}

/**
 * ksm_node_lock_folio - lock the page of a node
 * @node: the node
 * @folio: what ksm_node_get_folio() got
 * @waits: for as long as that takes; else see ksm_lock_kpage()
 *
 * Context: the shard's lock not held; sleeps if it @waits.
 * Return: 0, and it is locked. If not, the reference is gone. -EAGAIN: the node has
 *	another page by now, to which this one migrated; -EBUSY: somebody else has
 *	it locked.
 */
int ksm_node_lock_folio(struct ksm_stable_node *node, struct folio *folio,
			bool waits)
{
	int err = -EAGAIN;

	if (waits) {
		folio_lock(folio);
	} else if (!ksm_lock_kpage(folio)) {
		err = -EBUSY;
		goto put;
	}
	if (READ_ONCE(folio->mapping) == ksm_node_mapping(node))
		return 0;
	folio_unlock(folio);
put:
	folio_put(folio);
	return err;
}

/**
 * ksm_node_get_locked - get the page of a node and lock it, or kill a stale node
 * @node: the node
 * @shard: its shard, locked; not locked afterwards
 * @dead: where a stale node is added, for ksm_bury()
 * @waits: as for ksm_node_lock_folio()
 *
 * Context: sleeps.
 * Return: the folio, locked, with a reference; -ESTALE if the page was freed, and
 *	the node is dead; -EAGAIN if the caller has to try again, and to find the
 *	node again if nothing keeps it; -EBUSY if somebody else has it locked.
 */
struct folio *ksm_node_get_locked(struct ksm_stable_node *node,
				  struct ksm_shard *shard, struct ksm_dead *dead,
				  bool waits)
{
	struct folio *folio = ksm_node_get_folio(node);
	int err;

	if (folio == ERR_PTR(-ESTALE))
		ksm_node_kill_alone(node, shard, dead);
	ksm_shard_unlock(shard);
	if (folio == ERR_PTR(-EAGAIN))
		cond_resched();
	if (IS_ERR(folio))
		return folio;
	err = ksm_node_lock_folio(node, folio, waits);
	return err ? ERR_PTR(err) : folio;
}

/**
 * ksm_stable_moved - a KSM page has migrated to another page frame
 * @to: the new folio, locked; its mapping is that of @from
 * @from: the old one, locked
 */
void ksm_stable_moved(struct folio *to, struct folio *from)
{
	struct ksm_stable_node *node = ksm_folio_node(from);
	struct ksm_shard *shard;

	if (!node)
		return;

	shard = ksm_shard_of(node->key);
	ksm_shard_lock(shard);
	VM_WARN_ON_ONCE_FOLIO(node->kpfn != folio_pfn(from), from);
	node->kpfn = folio_pfn(to);
	/*
	 * Not earlier, or ksm_node_get_folio() would think that the node is
	 * stale.
	 */
	WRITE_ONCE(from->mapping, (void *)FOLIO_MAPPING_KSM);
	ksm_shard_unlock(shard);
}

/* -------------------------------------------------- a node and who shares it */

/* Updates the counters for @nr items that join, or leave if it is negative. */
static void node_count_sharers(struct ksm_stable_node *node, int nr)
{
	unsigned int before = node->sharers;
	long pages;

	node->sharers += nr;
	pages = (long)!!node->sharers - !!before;
	if (pages)
		atomic_long_add(pages, &ksm_counters.pages_shared);
	if (nr - pages)
		atomic_long_add(nr - pages, &ksm_counters.pages_sharing);
}

/**
 * ksm_node_add_item - an rmap_item joins a node
 * @node: the node
 * @item: the item; the caller sets its state
 *
 * Context: the shard's lock held, and that of the page.
 */
void ksm_node_add_item(struct ksm_stable_node *node, struct ksm_rmap_item *item)
{
	hlist_add_head(&item->link, &node->items);
	node_count_sharers(node, 1);
	node_requeue_dup(node);
}

/* Takes an item off the list of its node. It belongs to the caller then. */
static void node_unlist_item(struct ksm_stable_node *node,
			     struct ksm_rmap_item *item)
{
	trace_ksm_remove_rmap_item(node->kpfn, item, ksm_item_mm(item));
	hlist_del(&item->link);
	ksm_item_set_state(item, KSM_ITEM_CLAIMED);
}

/**
 * ksm_node_remove_item - an rmap_item leaves its node
 * @node: the node
 * @item: the item; to be followed by ksm_node_drop_item()
 *
 * Context: the shard's lock held, and that of the page, if there is one.
 */
void ksm_node_remove_item(struct ksm_stable_node *node,
			  struct ksm_rmap_item *item)
{
	node_unlist_item(node, item);
	node_count_sharers(node, -1);
	node_requeue_dup(node);
}

/**
 * ksm_node_drop_item - end an item's membership
 * @item: the item, which is on no list any more; %KSM_ITEM_SEEN afterwards
 * @key: its key then, or 0: it has none
 *
 * Context: sleeps: an anon_vma may be freed.
 */
void ksm_node_drop_item(struct ksm_rmap_item *item, u64 key)
{
	put_anon_vma(item->anon_vma);
	ksm_count_merging(item, -1);
	ksm_item_set_key(item, key);
	ksm_item_set_state(item, KSM_ITEM_SEEN);
}

/**
 * ksm_node_detach_alone - remove a live node that is neither shared nor mapped
 * @node: the node
 * @folio: its page, locked
 * @shard: its shard
 *
 * Context: the shard's lock held.
 */
void ksm_node_detach_alone(struct ksm_stable_node *node, struct folio *folio,
			   struct ksm_shard *shard)
{
	trace_ksm_remove_ksm_page(node->kpfn);
	WRITE_ONCE(folio->mapping, (void *)FOLIO_MAPPING_KSM);
	ksm_node_unlist_alone(node, shard);
	ksm_node_end(node);
}

/**
 * ksm_node_kill - take a stale node out of the tree
 * @node: the node, however many items it has; if it is a dup, the caller has to
 *	settle its chain
 * @shard: its shard
 * @dead: list to which it is added, for ksm_bury()
 *
 * The items stay stable, and leave the node under the lock of the same shard.
 *
 * Context: the shard's lock held.
 */
void ksm_node_kill(struct ksm_stable_node *node, struct ksm_shard *shard,
		   struct ksm_dead *dead)
{
	ksm_shard_step(shard);
	trace_ksm_remove_ksm_page(node->kpfn);
	node_unlist(node, shard);
	node->kind = KSM_NODE_DEAD;
	/* If it is queued, its owner will see that it is dead. */
	if (node->queued)
		return;
	node->queued = true;
	node->next = dead->first;
	dead->first = node;
}

/**
 * ksm_node_kill_alone - as ksm_node_kill(), and settle the chain of a dup
 * @node: the node
 * @shard: its shard
 * @dead: list to which it is added, for ksm_bury()
 *
 * Context: the shard's lock held.
 */
void ksm_node_kill_alone(struct ksm_stable_node *node, struct ksm_shard *shard,
			 struct ksm_dead *dead)
{
	struct ksm_stable_node *chain = NULL;

	if (node->kind == KSM_NODE_DUP)
		chain = node->chain;
	ksm_node_kill(node, shard, dead);
	if (chain)
		ksm_chain_settle(chain, shard);
}

/* Uses only the high half of the key, which any machine reads atomically. */
static struct ksm_shard *node_shard(struct ksm_stable_node *node)
{
	/* It may be turning into another node now: the callers check again. */
	return ksm_shard_of(data_race(READ_ONCE(node->key)));
}

/**
 * ksm_node_lock - lock the shard that a node is in, even if it moves
 * @node: the node; the caller makes sure that it is not freed
 *
 * Return: the shard, locked.
 */
struct ksm_shard *ksm_node_lock(struct ksm_stable_node *node)
{
	struct ksm_shard *shard;

	for (;;) {
		shard = node_shard(node);
		ksm_shard_lock(shard);
		if (node_shard(node) == shard)
			return shard;
		ksm_shard_unlock(shard);
	}
}

/**
 * ksm_node_lock_of - lock the shard of the node that an item is on
 * @item: the item
 * @locked: the shard
 *
 * Until the lock is taken, the node may leave the shard, or be freed, or even
 * become another node. But an item that is stable now has been stable all the
 * time, and this has been its node, which can no longer leave the shard. So
 * check the state last.
 *
 * Return: the node; or NULL if the item is on none any more, and nothing is
 *	locked.
 */
struct ksm_stable_node *ksm_node_lock_of(struct ksm_rmap_item *item,
					 struct ksm_shard **locked)
{
	struct ksm_stable_node *node = NULL;
	struct ksm_shard *shard;

	rcu_read_lock();
	while (ksm_item_state(item) == KSM_ITEM_STABLE) {
		node = ksm_item_node(item);
		/* Just dropped: its state will show that in a moment. */
		if (!node)
			continue;
		shard = node_shard(node);
		ksm_shard_lock(shard);
		if (node_shard(node) == shard) {
			/*
			 * Another node's key is not older, see
			 * ksm_stable_free().
			 */
			smp_rmb();
			if (ksm_item_state(item) == KSM_ITEM_STABLE) {
				*locked = shard;
				break;
			}
		}
		ksm_shard_unlock(shard);
		node = NULL;
	}
	rcu_read_unlock();
	return node;
}

/* Items that leave a dead node without releasing the lock in between. */
#define DRAIN_MAX	64U

/**
 * ksm_node_drain - remove a few items from a dead node
 * @node: the node, which the caller has queued
 * @budget: how many may leave; reduced by those that did
 *
 * Context: sleeps.
 * Return: true if none is left and the node was freed.
 */
bool ksm_node_drain(struct ksm_stable_node *node, unsigned int *budget)
{
	struct ksm_shard *shard = ksm_node_lock(node);
	unsigned int nr = 0, most = min(*budget, DRAIN_MAX);
	struct ksm_rmap_item *item;
	struct hlist_node *next;
	HLIST_HEAD(dropped);
	bool empty;

	hlist_for_each_entry_safe(item, next, &node->items, link) {
		if (nr == most)
			break;
		ksm_shard_step(shard);
		node_unlist_item(node, item);
		hlist_add_head(&item->link, &dropped);
		nr++;
	}
	node_count_sharers(node, -(int)nr);
	empty = hlist_empty(&node->items);
	ksm_shard_unlock(shard);

	*budget -= nr;
	hlist_for_each_entry_safe(item, next, &dropped, link)
		ksm_node_drop_item(item, 0);
	if (empty)
		ksm_stable_free(node);
	return empty;
}

int __init ksm_node_init(void)
{
	/*
	 * The tag of an rmap_item keeps the item's place in the low bits. A
	 * scan looks at the node of a mapped page without any lock.
	 */
	node_cache = kmem_cache_create("ksm_stable_node",
				       sizeof(struct ksm_stable_node),
				       max_t(size_t, KSM_CHUNK_PAGES,
					     __alignof__(struct ksm_stable_node)),
				       SLAB_TYPESAFE_BY_RCU, NULL);
	return node_cache ? 0 : -ENOMEM;
}
