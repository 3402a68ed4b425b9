// SPDX-License-Identifier: GPL-2.0
/*
 * The verifying walk through the trees: order, links, lists of sharers, and
 * what leads to them.
 */
#include <linux/sched/signal.h>

#include "verify.h"

/* ----------------------------------------------------------- stable trees */

static void verify_sharer(struct ksm_verify *verify, struct ksm_stable_node *node,
			  struct ksm_rmap_item *item)
{
	unsigned long addr = ksm_item_address(item);

	if (ksm_item_state(item) != KSM_ITEM_STABLE)
		ksm_verify_fail(verify, "page %lx: sharer at %lx has state %u",
				node->kpfn, addr, ksm_item_state(item));
	if (ksm_item_node(item) != node)
		ksm_verify_fail(verify, "page %lx: sharer at %lx is of another node",
				node->kpfn, addr);
}

static int verify_sharers(struct ksm_verify *verify, struct ksm_stable_node *node)
{
	struct ksm_rmap_item *item;
	unsigned int sharers = 0;

	hlist_for_each_entry(item, &node->items, link) {
		verify_sharer(verify, node, item);
		sharers++;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	if (sharers != node->sharers)
		ksm_verify_fail(verify, "page %lx: has %u sharers, counted %u",
				node->kpfn, node->sharers, sharers);
	if (sharers > ksm_settings.max_page_sharing)
		ksm_verify_fail(verify, "page %lx: %u sharers, max_page_sharing is %u",
				node->kpfn, sharers,
				ksm_settings.max_page_sharing);
	verify->shared += !!sharers;
	verify->sharers += sharers;
	return 0;
}

static int verify_page(struct ksm_verify *verify, struct ksm_stable_node *node)
{
	int err = verify_sharers(verify, node);

	verify->nodes++;
	if (!node->sharers && !node->queued)
		ksm_verify_fail(verify, "page %lx: has no sharers, and nothing leads to it",
				node->kpfn);
	if (!err)
		err = ksm_verify_mappings(verify, node);
	cond_resched();
	return err;
}

static void verify_dup(struct ksm_verify *verify, struct ksm_stable_node *chain,
		       struct ksm_stable_node *dup)
{
	if (dup->kind != KSM_NODE_DUP || dup->chain != chain)
		ksm_verify_fail(verify, "page %lx: on a chain, but not its dup",
				dup->kpfn);
	if (dup->key != chain->key || dup->scope != chain->scope)
		ksm_verify_fail(verify, "page %lx: on the chain of another key",
				dup->kpfn);
}

static int verify_chain(struct ksm_verify *verify, struct ksm_stable_node *chain)
{
	unsigned int max = ksm_settings.max_page_sharing, dups = 0;
	struct ksm_stable_node *dup;
	bool room = true;
	int err;

	list_for_each_entry(dup, &chain->dups, dup) {
		verify_dup(verify, chain, dup);
		if (!room && dup->sharers < max)
			ksm_verify_fail(verify, "page %lx: a dup with room is behind a full one",
					dup->kpfn);
		room = dup->sharers < max;
		err = verify_page(verify, dup);
		if (err)
			return err;
		dups++;
	}
	if (dups < 2)
		ksm_verify_fail(verify, "chain %llx: has %u dups", chain->key,
				dups);
	verify->nodes++;
	verify->chains++;
	verify->dups += dups;
	return 0;
}

static int verify_stable_tree(struct ksm_verify *verify, struct ksm_shard *shard)
{
	struct ksm_stable_node *node;
	struct rb_node *rb;
	u64 last = 0;
	int err = 0;

	for (rb = rb_first(&shard->stable); rb && !err; rb = rb_next(rb)) {
		node = rb_entry(rb, struct ksm_stable_node, rb);
		if (ksm_shard_of(node->key) != shard)
			ksm_verify_fail(verify, "node %llx: in the tree of another shard",
					node->key);
		if (node->key < last)
			ksm_verify_fail(verify, "node %llx: behind %llx in the tree",
					node->key, last);
		last = node->key;
		if (node->kind == KSM_NODE_CHAIN) {
			err = verify_chain(verify, node);
			continue;
		}
		if (node->kind != KSM_NODE_PAGE)
			ksm_verify_fail(verify, "node %llx: in the tree, of kind %u",
					node->key, node->kind);
		err = verify_page(verify, node);
	}
	return err;
}

/* Nodes that are in a tree were seen there. */
static int verify_queue(struct ksm_verify *verify)
{
	struct ksm_stable_node *node;
	int err = 0;

	for (node = ksm_queue_first(); node && !err; node = node->next) {
		if (!node->queued)
			ksm_verify_fail(verify, "node %llx: on the queue, but not queued",
					node->key);
		if (node->kind == KSM_NODE_DEAD) {
			verify->nodes++;
			err = verify_sharers(verify, node);
		}
		cond_resched();
	}
	return err;
}

/**
 * ksm_verify_stable - verify the stable trees, and the KSM pages in them
 * @verify: the walk
 *
 * Context: ksm_gate held exclusively; sleeps.
 * Return: 0; -EINTR if killed; -ENOMEM.
 */
int ksm_verify_stable(struct ksm_verify *verify)
{
	unsigned int number;
	int err = 0;

	for (number = 0; number < 1U << ksm_shard_bits && !err; number++) {
		err = verify_stable_tree(verify, &ksm_shards[number]);
		cond_resched();
	}
	return err ?: verify_queue(verify);
}

/* --------------------------------------------------------- unstable trees */

static void verify_waiting(struct ksm_verify *verify, struct ksm_rmap_item *item,
			   struct ksm_shard *shard, struct rb_root *root)
{
	u64 key = ksm_item_key(item);

	if (ksm_shard_of(key) != shard || ksm_unstable_root(shard, key) != root)
		ksm_verify_fail(verify, "item at %lx: in another key's tree",
				ksm_item_address(item));
	if (ksm_item_state(item) != KSM_ITEM_UNSTABLE)
		ksm_verify_fail(verify, "item at %lx: in a tree, with state %u",
				ksm_item_address(item), ksm_item_state(item));
	verify->in_trees++;
}

static int verify_unstable_tree(struct ksm_verify *verify,
				struct ksm_shard *shard, struct rb_root *root)
{
	struct rb_node *rb;
	u64 last = 0, key;

	for (rb = rb_first(root); rb; rb = rb_next(rb)) {
		struct ksm_rmap_item *item =
			rb_entry(rb, struct ksm_rmap_item, node);

		verify_waiting(verify, item, shard, root);
		key = ksm_item_key(item);
		if (key < last)
			ksm_verify_fail(verify, "item at %lx: %llx is behind %llx in its tree",
					ksm_item_address(item), key, last);
		last = key;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/**
 * ksm_verify_unstable - verify the unstable trees
 * @verify: the walk
 *
 * Context: ksm_gate held exclusively; sleeps.
 * Return: 0, or -EINTR if killed.
 */
int ksm_verify_unstable(struct ksm_verify *verify)
{
	unsigned int number, tree;
	int err = 0;

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		struct ksm_shard *shard = &ksm_shards[number];

		for (tree = 0; tree < KSM_SHARD_TREES && !err; tree++)
			err = verify_unstable_tree(verify, shard,
						   &shard->unstable[tree]);
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}
