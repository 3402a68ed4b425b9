// SPDX-License-Identifier: GPL-2.0
/*
 * The unstable tree: pages that did not change for a while and have no
 * duplicate yet, by content and scope.
 *
 * A page's content may change at any time, but its key in the tree does not. So
 * the order stays intact, and the tree is never rebuilt. An rmap_item leaves it
 * when its page is found changed, merged or gone. An outdated entry costs its
 * finder a comparison.
 *
 * The pages with the same key form a row of at most KSM_SAME_KEY_MAX. A page
 * that joins a row has been compared with all others in it, so no two are
 * equal.
 */
#include <linux/random.h>

#include "ksm.h"
#include "shard.h"
#include "slot.h"
#include "unstable.h"

static int unstable_order(const void *key, const struct rb_node *rb)
{
	u64 other = ksm_item_key(rb_entry(rb, struct ksm_rmap_item, node));
	u64 mine = *(const u64 *)key;

	return mine < other ? -1 : mine > other;
}

static bool unstable_less(struct rb_node *a, const struct rb_node *b)
{
	u64 key = ksm_item_key(rb_entry(a, struct ksm_rmap_item, node));

	return unstable_order(&key, b) < 0;
}

static int unstable_item_order(struct rb_node *node, const struct rb_node *rb)
{
	u64 key = ksm_item_key(rb_entry(node, struct ksm_rmap_item, node));

	return unstable_order(&key, rb);
}

static void unstable_joined(struct ksm_rmap_item *item)
{
	ksm_item_set_state(item, KSM_ITEM_UNSTABLE);
	atomic_long_inc(&ksm_counters.pages_unshared);
}

/* Inserts an item behind the others with its key. */
static void unstable_join(struct rb_root *root, struct ksm_rmap_item *item)
{
	rb_add(&item->node, root, unstable_less);
	unstable_joined(item);
}

static void unstable_take_out(struct rb_root *root, struct ksm_rmap_item *item,
			      u8 state)
{
	rb_erase(&item->node, root);
	atomic_long_dec(&ksm_counters.pages_unshared);
	ksm_item_set_state(item, state);
}

/**
 * ksm_unstable_remove - a page changed, or went away
 * @item: its item, owned by the caller; it was unstable a moment ago
 *
 * Return: true and the item is %KSM_ITEM_SEEN; false if it was claimed.
 */
bool ksm_unstable_remove(struct ksm_rmap_item *item)
{
	u64 key = ksm_item_key(item);
	struct ksm_shard *shard = ksm_shard_of(key);
	bool still_there;

	ksm_shard_lock(shard);
	still_there = ksm_item_state(item) == KSM_ITEM_UNSTABLE;
	if (still_there)
		unstable_take_out(ksm_unstable_root(shard, key), item, KSM_ITEM_SEEN);
	ksm_shard_unlock(shard);
	return still_there;
}

/**
 * ksm_unstable_meet - take out pages of the same key, or join the tree
 * @item: its item, %KSM_ITEM_SEEN, with its key set; owned by the caller
 * @row: filled in with the other items of the key, %KSM_ITEM_CLAIMED by the
 *	caller, for ksm_unstable_put_back()
 *
 * This is one step. Otherwise two workers could miss each other, and leave two
 * equal pages in the tree, neither of which looks for the other any more.
 *
 * Return: length of @row; 0 if @item was inserted.
 */
unsigned int ksm_unstable_meet(struct ksm_rmap_item *item,
			       struct ksm_rmap_item *row[KSM_SAME_KEY_MAX])
{
	u64 key = ksm_item_key(item);
	struct ksm_shard *shard = ksm_shard_of(key);
	struct rb_root *root = ksm_unstable_root(shard, key);
	struct rb_node *rb, *next;
	unsigned int nr = 0;

	ksm_shard_lock(shard);
	/* Usually there is none. */
	if (!rb_find_add(&item->node, root, unstable_item_order)) {
		unstable_joined(item);
		ksm_shard_unlock(shard);
		return 0;
	}
	for (rb = rb_find_first(&key, root, unstable_order);
	     rb && nr < KSM_SAME_KEY_MAX; rb = next) {
		ksm_shard_step(shard);
		next = rb_next_match(&key, rb, unstable_order);
		row[nr] = rb_entry(rb, struct ksm_rmap_item, node);
		unstable_take_out(root, row[nr++], KSM_ITEM_CLAIMED);
	}
	ksm_shard_unlock(shard);
	return nr;
}

/*
 * Which page of a full row makes room, see ksm_unstable_put_back(): the first
 * one three times out of four, and each of the others a quarter as often as the
 * one before it.
 */
static unsigned int unstable_place_to_take(void)
{
	return min(__ffs(get_random_u32() | BIT(31)) / 2, KSM_SAME_KEY_MAX - 1);
}

static bool unstable_has_key(struct rb_root *root, u64 key)
{
	return rb_find(&key, root, unstable_order);
}

/**
 * ksm_unstable_put_back - put back a row that was compared with a page
 * @key: the key of all
 * @row: from ksm_unstable_meet(), in that order; NULL for items that the caller
 *	has no more
 * @nr: its length
 * @item: as for ksm_unstable_meet(), if it equals none of them; or NULL
 *
 * If others have joined the tree meanwhile, they were compared with none of
 * these, so all of these stay out. Each looks for others of its key again at
 * its next visit.
 *
 * A full row must not keep its place forever, or two other pages that are equal
 * would never meet. So @item takes the place of one in the row, which will look
 * again later. If that were a random one, the whole row would soon be replaced
 * when many pages look, and two pages with many visits in between would not
 * meet either. This way some places change all the time and others hardly ever,
 * which suits any distance.
 */
void ksm_unstable_put_back(u64 key, struct ksm_rmap_item **row, unsigned int nr,
			   struct ksm_rmap_item *item)
{
	struct ksm_shard *shard = ksm_shard_of(key);
	struct rb_root *root = ksm_unstable_root(shard, key);
	unsigned int i, left = 0, takes = KSM_SAME_KEY_MAX;
	bool leave_out;

	for (i = 0; i < nr; i++)
		left += !!row[i];
	if (!left && !item)
		return;
	if (item && left == KSM_SAME_KEY_MAX)
		takes = unstable_place_to_take();

	ksm_shard_lock(shard);
	leave_out = unstable_has_key(root, key);
	for (i = 0; i < nr; i++) {
		if (!row[i])
			continue;
		if (leave_out || i == takes)
			ksm_item_set_state(row[i], KSM_ITEM_SEEN);
		else
			unstable_join(root, row[i]);
		if (i == takes && !leave_out)
			unstable_join(root, item);
	}
	if (item && !leave_out && takes == KSM_SAME_KEY_MAX)
		unstable_join(root, item);
	ksm_shard_unlock(shard);
}

/* Items that leave a tree without releasing the lock in between. */
#define CLEAR_MAX	256U

/* Returns whether the tree is empty. */
static bool unstable_clear_some(struct ksm_shard *shard, struct rb_root *root)
{
	struct ksm_rmap_item *item;
	unsigned int nr = 0;
	struct rb_node *rb;

	ksm_shard_lock(shard);
	while ((rb = rb_first(root)) && nr < CLEAR_MAX) {
		ksm_shard_step(shard);
		item = rb_entry(rb, struct ksm_rmap_item, node);
		unstable_take_out(root, item, KSM_ITEM_SEEN);
		nr++;
	}
	ksm_shard_unlock(shard);
	return !rb;
}

/**
 * ksm_unstable_clear - empty the tree
 *
 * Context: ksm_gate held exclusively; sleeps.
 */
void ksm_unstable_clear(void)
{
	unsigned int number, tree;

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		struct ksm_shard *shard = &ksm_shards[number];

		for (tree = 0; tree < KSM_SHARD_TREES; tree++)
			while (!unstable_clear_some(shard, &shard->unstable[tree]))
				cond_resched();
		cond_resched();
	}
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/unstable_kunit.c"
#endif
