// SPDX-License-Identifier: GPL-2.0
/*
 * Stable nodes that nothing leads to: dead ones, and those that nobody shares
 * although their page is mapped, for example by a child that is not registered.
 * They are on a queue, so that no tree has to be searched for them.
 *
 * A thread that takes a node off the queue owns it as queued until the node is
 * freed, put back, or seen to be shared again. A thread that finds a stale node
 * in a tree takes it out at once, but removes only a limited number of its
 * items. If more are left, the node goes on the queue.
 */
#include <linux/mm.h>
#include <linux/sched.h>

#include "ksm.h"
#include "node.h"
#include "shard.h"
#include "sweep.h"

/*
 * Nodes that one sweep looks at and that stay; the next sweep goes on after
 * them.
 */
#define SWEEP_MAX	1024U
/* Items that the finder of a dead node removes from it. */
#define BURY_MAX	1024U

/*
 * A list from its oldest to its newest entry, linked by ksm_stable_node.next.
 * Its lock protects all of it, and nests in a shard's.
 */
static struct ksm_stable_node *oldest, **newest = &oldest;
static DEFINE_SPINLOCK(queue_lock);

/* On the queue, or taken off it for a look. */
static atomic_long_t queued_nodes;

static void sweep_queue_add(struct ksm_stable_node *node)
{
	node->next = NULL;
	spin_lock(&queue_lock);
	*newest = node;
	newest = &node->next;
	spin_unlock(&queue_lock);
}

static struct ksm_stable_node *sweep_queue_take(void)
{
	struct ksm_stable_node *node;

	spin_lock(&queue_lock);
	node = oldest;
	if (node) {
		oldest = node->next;
		if (!oldest)
			newest = &oldest;
	}
	spin_unlock(&queue_lock);
	return node;
}

/**
 * ksm_node_queue - queue a node that nobody shares and that has to stay
 * @node: the node. It may be queued already, even if it was shared since
 *
 * Context: the shard's lock held.
 */
void ksm_node_queue(struct ksm_stable_node *node)
{
	if (node->queued)
		return;
	node->queued = true;
	atomic_long_inc(&queued_nodes);
	sweep_queue_add(node);
}

/**
 * ksm_bury - free stale nodes, or leave that to the next sweep
 * @dead: the nodes; empty afterwards
 *
 * The caller may hold a folio lock or an mmap_lock, so not all of it is done
 * here.
 *
 * Context: no shard's lock held; sleeps.
 */
void ksm_bury(struct ksm_dead *dead)
{
	struct ksm_stable_node *node, *next;
	unsigned int budget = BURY_MAX;
	bool freed;

	for (node = dead->first; node; node = next) {
		next = node->next;
		do {
			freed = ksm_node_drain(node, &budget);
			cond_resched();
		} while (!freed && budget);
		if (freed)
			continue;
		atomic_long_inc(&queued_nodes);
		sweep_queue_add(node);
	}
	dead->first = NULL;
}

/*
 * A node without sharers: its page has been freed since, or is kept by somebody
 * who does not map it, as a page whose memory has failed is.
 */
static void sweep_page(struct ksm_stable_node *node, struct ksm_shard *shard)
{
	struct folio *folio = ksm_node_get_folio(node);
	struct ksm_dead dead = { };

	/* It is queued, so it is not added to the list. */
	if (folio == ERR_PTR(-ESTALE))
		ksm_node_kill_alone(node, shard, &dead);
	if (IS_ERR(folio))
		return;
	if (folio_trylock(folio)) {
		if (!folio_mapped(folio))
			ksm_node_detach_alone(node, folio, shard);
		folio_unlock(folio);
	}
	folio_put(folio);
}

/* Returns whether it is dead. Then it is in nobody else's hands. */
static bool sweep_node(struct ksm_stable_node *node)
{
	struct ksm_shard *shard = ksm_node_lock(node);
	bool dead;

	if (node->kind != KSM_NODE_DEAD && !node->sharers)
		sweep_page(node, shard);
	dead = node->kind == KSM_NODE_DEAD;
	if (!dead && node->sharers) {
		node->queued = false;
		atomic_long_dec(&queued_nodes);
	} else if (!dead) {
		sweep_queue_add(node);
	}
	ksm_shard_unlock(shard);
	return dead;
}

/* Frees a dead node, or puts it back if others are waiting. */
static void sweep_end_node(struct ksm_stable_node *node, bool all)
{
	unsigned int budget;
	bool freed;

	do {
		budget = BURY_MAX;
		freed = ksm_node_drain(node, &budget);
		cond_resched();
	} while (!freed && (all || !rwsem_is_contended(&ksm_gate)));
	if (freed)
		atomic_long_dec(&queued_nodes);
	else
		sweep_queue_add(node);
}

/**
 * ksm_stable_unswept - are there nodes for ksm_stable_sweep()?
 */
bool ksm_stable_unswept(void)
{
	return atomic_long_read(&queued_nodes);
}

/**
 * ksm_stable_sweep - free the nodes that nothing leads to any more
 * @all: look at all of them; otherwise at so few that nobody has to wait
 *
 * An rmap_item that finds its page gone removes the node. Nodes that lost their
 * items before their page are found here.
 *
 * Context: ksm_gate held, exclusively for @all; sleeps.
 */
void ksm_stable_sweep(bool all)
{
	long left = atomic_long_read(&queued_nodes);
	struct ksm_stable_node *node;
	unsigned int stayed = 0;

	/* Take each of them once: those that stay are put back. */
	while (left-- > 0) {
		if (!all && (stayed == SWEEP_MAX ||
			     rwsem_is_contended(&ksm_gate)))
			break;
		node = sweep_queue_take();
		if (!node)
			break;
		if (sweep_node(node))
			sweep_end_node(node, all);
		else
			stayed++;
		cond_resched();
	}
}

#ifdef CONFIG_KSM_VERIFY
/*
 * The first node on the queue. ksm_gate is exclusive, so the queue does not
 * change.
 */
struct ksm_stable_node *ksm_queue_first(void)
{
	return oldest;
}
#endif
