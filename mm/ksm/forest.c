// SPDX-License-Identifier: GPL-2.0
/*
 * The forest of shards, and what goes through all of its stable trees: to
 * empty them, to sweep out what is left over, and to drop page frames that are
 * no more.
 */
#include <linux/log2.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "stable.h"

struct ksm_shard *ksm_shards __ro_after_init;
unsigned int ksm_shard_bits __ro_after_init;

/* Returns -EBUSY if the node has to stay. ksm_gate is exclusive. */
static int remove_node(struct ksm_stable_node *node, struct ksm_shard *shard,
		       struct hlist_head *dropped)
{
	struct folio *folio;
	int err = -EBUSY;

again:
	spin_lock(&shard->lock);
	folio = ksm_node_get_folio(node);
	if (folio == ERR_PTR(-ESTALE)) {
		ksm_node_prune_alone(node, &shard->stable, dropped);
		spin_unlock(&shard->lock);
		return 0;
	}
	spin_unlock(&shard->lock);
	if (IS_ERR(folio)) {
		cond_resched();
		goto again;
	}

	if (!ksm_node_lock_folio(node, folio))
		goto again;
	/*
	 * Mapped, for all that was unmerged: by an mm between ksm_exit() and
	 * the end of its page tables, or by a child that is not registered.
	 */
	if (!node->sharers && !folio_mapped(folio)) {
		spin_lock(&shard->lock);
		ksm_node_detach_alone(node, folio, &shard->stable);
		spin_unlock(&shard->lock);
		err = 0;
	}
	folio_unlock(folio);
	folio_put(folio);
	return err;
}

static int remove_nodes(struct ksm_shard *shard, struct ksm_stable_node *node,
			struct hlist_head *dropped)
{
	struct ksm_stable_node *dup, *next;
	unsigned int left;
	int err = 0;

	if (node->kind != KSM_NODE_CHAIN)
		return remove_node(node, shard, dropped);

	/*
	 * The chain is gone with its last dup but one, which is in the tree
	 * itself then and does not lead on to a next dup any more.
	 */
	left = list_count_nodes(&node->dups);
	dup = list_first_entry(&node->dups, struct ksm_stable_node, dup);
	for (; left; left--, dup = next) {
		next = left > 1 ? list_next_entry(dup, dup) : NULL;
		if (remove_node(dup, shard, dropped))
			err = -EBUSY;
	}
	return err;
}

/**
 * ksm_stable_remove_all - empty the stable tree after all was unmerged
 *
 * Context: ksm_gate held exclusively; sleeps.
 * Return: 0, or -EBUSY if KSM pages are mapped still.
 */
int ksm_stable_remove_all(void)
{
	unsigned int number;
	HLIST_HEAD(dropped);
	int err = 0;

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		struct ksm_shard *shard = &ksm_shards[number];
		struct rb_node *rb, *next;

		/* Exclusive: the tree changes by our own hand alone. */
		for (rb = rb_first(&shard->stable); rb; rb = next) {
			next = rb_next(rb);
			if (remove_nodes(shard, rb_entry(rb, struct ksm_stable_node, rb),
					 &dropped))
				err = -EBUSY;
			cond_resched();
		}
	}
	ksm_drop_items(&dropped);
	return err;
}

struct frames {
	unsigned long first;
	unsigned long end;	/* the one behind the last */
};

typedef void visit_fn(struct ksm_stable_node *node, struct rb_root *root,
		      struct hlist_head *dropped, const struct frames *frames);

/* All that stands in a tree itself, with the shard's lock held. */
static void visit_nodes(visit_fn *visit, const struct frames *frames)
{
	unsigned int number;
	HLIST_HEAD(dropped);

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		struct ksm_shard *shard = &ksm_shards[number];
		struct rb_node *rb, *next;

		spin_lock(&shard->lock);
		for (rb = rb_first(&shard->stable); rb; rb = next) {
			next = rb_next(rb);
			visit(rb_entry(rb, struct ksm_stable_node, rb),
			      &shard->stable, &dropped, frames);
		}
		spin_unlock(&shard->lock);
		cond_resched();
	}
	ksm_drop_items(&dropped);
}

/*
 * A node without sharers: its page has gone since, see remove_node(), or is kept
 * by somebody who does not map it, as one that has failed is.
 */
static void sweep_page(struct ksm_stable_node *node, struct rb_root *root,
		       struct hlist_head *dropped)
{
	struct folio *folio = ksm_node_get_folio(node);

	if (folio == ERR_PTR(-ESTALE))
		ksm_node_prune(node, root, dropped);
	if (IS_ERR(folio))
		return;
	if (folio_trylock(folio)) {
		if (!folio_mapped(folio))
			ksm_node_detach(node, folio, root);
		folio_unlock(folio);
	}
	folio_put(folio);
}

static void sweep_node(struct ksm_stable_node *node, struct rb_root *root,
		       struct hlist_head *dropped, const struct frames *unused)
{
	struct ksm_stable_node *dup, *next;
	unsigned int visited = 0;

	if (node->kind != KSM_NODE_CHAIN) {
		if (!node->sharers)
			sweep_page(node, root, dropped);
		return;
	}
	/* Those without sharers came to the front when they lost the last. */
	list_for_each_entry_safe(dup, next, &node->dups, dup) {
		if (!dup->sharers)
			sweep_page(dup, root, dropped);
		if (++visited == KSM_PRUNE_MAX)
			break;
	}
	ksm_chain_settle(node, root);
}

/**
 * ksm_stable_unswept - are there nodes for ksm_stable_sweep()?
 */
bool ksm_stable_unswept(void)
{
	return atomic_long_read(&ksm_counters.nodes) !=
	       atomic_long_read(&ksm_counters.pages_shared) +
	       atomic_long_read(&ksm_counters.chains);
}

/**
 * ksm_stable_sweep - free the nodes that nothing leads to any more
 *
 * An rmap_item that finds its page gone takes the node with it. A node that
 * lost its items before its page, when all sharing was undone, is found here.
 *
 * Context: ksm_gate held; sleeps.
 */
void ksm_stable_sweep(void)
{
	if (ksm_stable_unswept())
		visit_nodes(sweep_node, NULL);
}

static bool is_of(const struct frames *frames, unsigned long pfn)
{
	return pfn >= frames->first && pfn < frames->end;
}

static void prune_frames(struct ksm_stable_node *node, struct rb_root *root,
			 struct hlist_head *dropped, const struct frames *gone)
{
	struct ksm_stable_node *dup, *next;

	if (node->kind == KSM_NODE_CHAIN) {
		list_for_each_entry_safe(dup, next, &node->dups, dup)
			if (is_of(gone, dup->kpfn))
				ksm_node_prune(dup, root, dropped);
		ksm_chain_settle(node, root);
	} else if (is_of(gone, node->kpfn)) {
		ksm_node_prune(node, root, dropped);
	}
}

/**
 * ksm_stable_remove_frames - page frames are gone from the system
 * @first: the first of them
 * @end: the one behind the last
 *
 * All nodes that still refer to them are stale, but their struct pages may not
 * be looked at to tell.
 *
 * Context: ksm_gate held exclusively; sleeps.
 */
void ksm_stable_remove_frames(unsigned long first, unsigned long end)
{
	struct frames gone = { .first = first, .end = end };

	visit_nodes(prune_frames, &gone);
}

/*
 * A shard for 16 pages: up to 4 GiB, its trees then have one level or two, and
 * the shards take eight bytes a page. rmap_items have 16 bits for the number.
 */
static unsigned int __init shard_bits(void)
{
	unsigned long shards = totalram_pages() / 16;

	return clamp_t(unsigned int, order_base_2(shards + 1), 6, 16);
}

int __init ksm_forest_init(void)
{
	unsigned int number, tree;

	ksm_shard_bits = shard_bits();
	ksm_shards = kvcalloc(1U << ksm_shard_bits, sizeof(*ksm_shards),
			      GFP_KERNEL);
	if (!ksm_shards)
		return -ENOMEM;

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		spin_lock_init(&ksm_shards[number].lock);
		ksm_shards[number].stable = RB_ROOT;
		for (tree = 0; tree < KSM_SHARD_TREES; tree++)
			ksm_shards[number].unstable[tree] = RB_ROOT;
	}
	return 0;
}
