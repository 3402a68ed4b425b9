// SPDX-License-Identifier: GPL-2.0
/*
 * Walks through the stable trees of all shards, to empty them, or to drop page
 * frames that no longer exist.
 *
 * Both run with the gate held exclusively. Nobody else changes the trees, so no
 * lock has to be held from one node to the next.
 */
#include <linux/mm.h>
#include <linux/sched.h>

#include "forest.h"
#include "node.h"
#include "shard.h"
#include "sweep.h"

/* Returns -EBUSY if the node has to stay. ksm_gate is exclusive. */
static int forest_remove_node(struct ksm_stable_node *node,
			      struct ksm_shard *shard, struct ksm_dead *dead,
			      const void *unused)
{
	struct folio *folio;
	int err = -EBUSY;

	do {
		ksm_shard_lock(shard);
		folio = ksm_node_get_locked(node, shard, dead, true);
	} while (folio == ERR_PTR(-EAGAIN));
	if (IS_ERR(folio))
		return 0;
	/*
	 * Still mapped after all was unmerged: by an mm between ksm_exit() and
	 * the end of its page tables, or by a child that is not registered.
	 */
	if (!node->sharers) {
		ksm_shard_lock(shard);
		if (folio_mapped(folio)) {
			ksm_node_queue(node);
		} else {
			ksm_node_detach_alone(node, folio, shard);
			err = 0;
		}
		ksm_shard_unlock(shard);
	}
	folio_unlock(folio);
	folio_put(folio);
	return err;
}

/* Deals with one node. If the node is on a chain, it may go. */
typedef int forest_visit_fn(struct ksm_stable_node *node,
			    struct ksm_shard *shard, struct ksm_dead *dead,
			    const void *arg);

static int forest_visit_nodes(forest_visit_fn *visit,
			      struct ksm_stable_node *node,
			      struct ksm_shard *shard, struct ksm_dead *dead,
			      const void *arg)
{
	struct ksm_stable_node *chain = node, *dup, *next;
	int err = 0;

	if (node->kind != KSM_NODE_CHAIN)
		return visit(node, shard, dead, arg);

	dup = list_first_entry(&chain->dups, struct ksm_stable_node, dup);
	for (; dup; dup = next) {
		/*
		 * When its last dup but one leaves, the chain is freed. The
		 * last dup is in the tree itself then, and leads to no next
		 * dup.
		 */
		next = NULL;
		if (dup->kind == KSM_NODE_DUP &&
		    !list_is_last(&dup->dup, &chain->dups))
			next = list_next_entry(dup, dup);
		err = visit(dup, shard, dead, arg) ?: err;
		cond_resched();
	}
	return err;
}

/* Visits all stable nodes but chains. Returns the last error. */
static int forest_visit(forest_visit_fn *visit, const void *arg)
{
	unsigned int number;
	struct ksm_dead dead = { };
	int err = 0;

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		struct ksm_shard *shard = &ksm_shards[number];
		struct ksm_stable_node *node;
		struct rb_node *rb, *next;

		for (rb = rb_first(&shard->stable); rb; rb = next) {
			next = rb_next(rb);
			node = rb_entry(rb, struct ksm_stable_node, rb);
			err = forest_visit_nodes(visit, node, shard, &dead,
						 arg) ?: err;
			cond_resched();
		}
		ksm_bury(&dead);
		cond_resched();
	}
	return err;
}

/**
 * ksm_stable_remove_all - empty the stable tree after all was unmerged
 *
 * Context: ksm_gate held exclusively; sleeps.
 * Return: 0, or -EBUSY if some KSM pages are still mapped.
 */
int ksm_stable_remove_all(void)
{
	int err = forest_visit(forest_remove_node, NULL);

	/* Queued nodes have to go, too. */
	ksm_stable_sweep(true);
	return err;
}

struct forest_frames {
	unsigned long first;
	unsigned long end;	/* the one behind the last */
};

static int forest_remove_frame(struct ksm_stable_node *node,
			       struct ksm_shard *shard, struct ksm_dead *dead,
			       const void *arg)
{
	const struct forest_frames *gone = arg;

	ksm_shard_lock(shard);
	if (node->kpfn >= gone->first && node->kpfn < gone->end)
		ksm_node_kill_alone(node, shard, dead);
	ksm_shard_unlock(shard);
	return 0;
}

/**
 * ksm_stable_remove_frames - page frames are gone from the system
 * @first: the first of them
 * @end: the one behind the last
 *
 * All nodes that still refer to them are stale, but their struct pages may not
 * be read to find out.
 *
 * Context: ksm_gate held exclusively; sleeps.
 */
void ksm_stable_remove_frames(unsigned long first, unsigned long end)
{
	struct forest_frames gone = { .first = first, .end = end };

	forest_visit(forest_remove_frame, &gone);
}
