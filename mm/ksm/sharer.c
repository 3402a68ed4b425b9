// SPDX-License-Identifier: GPL-2.0
/*
 * The rmap_items that share a KSM page: joining it, leaving it, and what
 * happens to a page that nobody shares.
 */
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <trace/events/ksm.h>

#include "ksm.h"
#include "node.h"
#include "shard.h"
#include "sharer.h"
#include "slot.h"
#include "sweep.h"

/**
 * ksm_stable_has_room - may another rmap_item share this page?
 * @folio: the page, locked
 *
 * Return: false also if it is not, or no longer, a KSM page.
 */
bool ksm_stable_has_room(struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);

	return node && !ksm_node_is_full(node);
}

/**
 * ksm_stable_link - make an rmap_item share a KSM page
 * @folio: the page, locked
 * @item: the item, in the caller's hands and in no tree
 * @anon_vma: covers the mapping; the item takes over the caller's reference
 * @odd_pgoff: the mapping's page index does not follow from the item's chunk
 */
void ksm_stable_link(struct folio *folio, struct ksm_rmap_item *item,
		     struct anon_vma *anon_vma, bool odd_pgoff)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	unsigned int place = ksm_item_place(item);
	struct ksm_shard *shard = ksm_shard_of(node->key);

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	ksm_shard_lock(shard);
	item->anon_vma = anon_vma;
	WRITE_ONCE(item->tag, (u64)(unsigned long)node | place);
	ksm_node_add_item(node, item);
	ksm_item_set_state(item, KSM_ITEM_STABLE |
			   (odd_pgoff ? KSM_ITEM_ODD_PGOFF : 0));
	ksm_shard_unlock(shard);
	/* The page is locked, which keeps the item. */
	ksm_count_merging(item, 1);
}

/*
 * Deals with a live node that has no sharers, or has lost its last one. Its
 * page is locked. No item leads to the node any more, so it is queued if it has
 * to stay.
 */
static void sharer_none_left(struct ksm_stable_node *node, struct folio *folio,
			     struct ksm_shard *shard)
{
	if (folio_mapped(folio))
		ksm_node_queue(node);
	else
		ksm_node_detach_alone(node, folio, shard);
}

/**
 * ksm_stable_leave - remove a mapping from its KSM page
 * @folio: the page, locked
 * @item: the item of the mapping; nothing happens if it does not share the page
 *
 * The item is %KSM_ITEM_SEEN afterwards, and has no key.
 */
void ksm_stable_leave(struct folio *folio, struct ksm_rmap_item *item)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_shard *shard = ksm_shard_of(node->key);

	if (ksm_item_state(item) != KSM_ITEM_STABLE)
		return;
	VM_WARN_ON_ONCE_FOLIO(ksm_item_node(item) != node, folio);
	ksm_shard_lock(shard);
	ksm_node_remove_item(node, item);
	if (!node->sharers)
		sharer_none_left(node, folio, shard);
	ksm_shard_unlock(shard);
	ksm_node_drop_item(item, 0);
}

/**
 * ksm_stable_discard - undo making a KSM page if nobody came to share it
 * @folio: the page, locked; if so, it is no KSM page afterwards
 */
void ksm_stable_discard(struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_shard *shard;

	if (!node)
		return;
	shard = ksm_shard_of(node->key);
	ksm_shard_lock(shard);
	if (!node->sharers)
		sharer_none_left(node, folio, shard);
	ksm_shard_unlock(shard);
}

/**
 * ksm_stable_discard_later - the same of a page that somebody else has locked
 * @folio: the page, a reference held
 *
 * The sweep looks whether anybody has come to share it.
 */
void ksm_stable_discard_later(struct folio *folio)
{
	struct ksm_stable_node *node;
	struct ksm_shard *shard;

	rcu_read_lock();
	node = ksm_folio_node(folio);
	if (node) {
		shard = ksm_node_lock(node);
		/* Another node's key is not older, see ksm_stable_free(). */
		smp_rmb();
		if (ksm_folio_node(folio) == node && !node->sharers)
			ksm_node_queue(node);
		ksm_shard_unlock(shard);
	}
	rcu_read_unlock();
}

/* Its node has no page any more: lets go of it, and of nothing else. */
static void sharer_leave_dead(struct ksm_stable_node *node,
			      struct ksm_rmap_item *item,
			      struct ksm_shard *shard)
{
	ksm_node_remove_item(node, item);
	ksm_shard_unlock(shard);
	ksm_node_drop_item(item, 0);
}

/**
 * ksm_stable_lock_page - lock the KSM page that an rmap_item shares
 * @item: the item, whose owner the caller is; stable a moment ago
 * @waits: as for ksm_node_lock_folio(); no mmap_lock is held then
 *
 * An item whose page turns out to be gone leaves its node.
 *
 * Context: no folio lock held; sleeps.
 * Return: the page, locked, with a reference: the item shares it until it is
 *	unlocked. NULL: it has none; it is %KSM_ITEM_SEEN then, and has no key; or
 *	somebody is about to make it so. -EBUSY: somebody else has the page locked.
 */
struct folio *ksm_stable_lock_page(struct ksm_rmap_item *item, bool waits)
{
	struct ksm_stable_node *node;
	struct ksm_shard *shard;
	struct folio *folio;
	struct ksm_dead dead = { };

	for (;;) {
		node = ksm_node_lock_of(item, &shard);
		/*
		 * It left a dead node. If it is not dropped yet, somebody is
		 * about to do so.
		 */
		if (!node)
			return NULL;
		if (node->kind == KSM_NODE_DEAD) {
			sharer_leave_dead(node, item, shard);
			return NULL;
		}
		/* On the list and under the lock: the node cannot go away. */
		folio = ksm_node_get_locked(node, shard, &dead, waits);
		if (!IS_ERR(folio) || folio == ERR_PTR(-EBUSY))
			return folio;
		ksm_bury(&dead);
	}
}

/**
 * ksm_stable_refit - a sharer's mapping is now in another VMA than before
 * @folio: the KSM page, locked
 * @item: the sharer
 * @anon_vma: covers the mapping; the item takes over the caller's reference
 * @odd_pgoff: as for ksm_stable_link()
 */
void ksm_stable_refit(struct folio *folio, struct ksm_rmap_item *item,
		      struct anon_vma *anon_vma, bool odd_pgoff)
{
	struct ksm_shard *shard = ksm_shard_of(ksm_folio_node(folio)->key);
	struct anon_vma *before = item->anon_vma;

	ksm_shard_lock(shard);
	WRITE_ONCE(item->anon_vma, anon_vma);
	ksm_item_set_state(item, KSM_ITEM_STABLE |
			   (odd_pgoff ? KSM_ITEM_ODD_PGOFF : 0));
	ksm_shard_unlock(shard);
	put_anon_vma(before);
}

/**
 * ksm_stable_demote - turn a KSM page back into an ordinary one
 * @folio: the page, locked
 * @item: do not look at it unless it turns out to be the only sharer
 *
 * This is possible if the page has a single mapping left, in the place of its
 * only sharer, because that is what its index and anon_vma will say. The item keeps
 * the key: its next visit looks for a duplicate again.
 *
 * Return: whether it is an ordinary page now.
 */
bool ksm_stable_demote(struct folio *folio, const struct ksm_rmap_item *item)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_rmap_item *sharer;
	struct ksm_shard *shard;
	struct ksm_chunk *chunk;
	unsigned int place;
	u64 key;

	if (!node || node->sharers != 1 || folio_mapcount(folio) != 1)
		return false;
	sharer = hlist_entry(node->items.first, struct ksm_rmap_item, link);
	if (sharer != item)
		return false;
	chunk = ksm_item_chunk(sharer);
	place = ksm_item_place(sharer);
	if (READ_ONCE(chunk->state[place]) & KSM_ITEM_ODD_PGOFF)
		return false;

	key = node->key;
	shard = ksm_shard_of(key);
	ksm_shard_lock(shard);
	ksm_node_remove_item(node, sharer);
	trace_ksm_remove_ksm_page(node->kpfn);
	ksm_node_unlist_alone(node, shard);
	folio->index = chunk->pgoff + place;
	WRITE_ONCE(folio->mapping, (void *)((unsigned long)sharer->anon_vma |
					    FOLIO_MAPPING_ANON));
	ksm_node_end(node);
	ksm_shard_unlock(shard);
	ksm_node_drop_item(sharer, key);
	return true;
}
