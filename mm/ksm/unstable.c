// SPDX-License-Identifier: GPL-2.0
/*
 * The unstable tree: pages that did not change for a while and have no
 * duplicate yet, by content and scope.
 *
 * What a page holds may change at any time, its key in the tree does not. So
 * the order cannot rot, and the tree is never rebuilt: an rmap_item leaves it
 * when its page is found to be changed, merged or gone. An entry that is not
 * true any more costs whoever finds it a comparison.
 */
#include "ksm.h"

static int key_order(const void *key, const struct rb_node *rb)
{
	u64 other = ksm_item_key(rb_entry(rb, struct ksm_rmap_item, node));
	u64 mine = *(const u64 *)key;

	return mine < other ? -1 : mine > other;
}

static bool item_less(struct rb_node *a, const struct rb_node *b)
{
	u64 key = ksm_item_key(rb_entry(a, struct ksm_rmap_item, node));

	return key_order(&key, b) < 0;
}

static void inserted(struct ksm_rmap_item *item)
{
	ksm_item_set_state(item, KSM_ITEM_UNSTABLE);
	atomic_long_inc(&ksm_counters.pages_unshared);
}

/**
 * ksm_unstable_insert - wait for a duplicate of this page
 * @item: its item, %KSM_ITEM_SEEN, in a window of the caller, with its key set
 *
 * Return: true; or false, there are enough pages of this key already.
 */
bool ksm_unstable_insert(struct ksm_rmap_item *item)
{
	u64 key = ksm_item_key(item);
	struct ksm_shard *shard = ksm_shard_of(key);
	struct rb_root *root = ksm_unstable_root(shard, key);
	unsigned int same = 0;
	struct rb_node *rb;
	bool room;

	spin_lock(&shard->lock);
	rb_for_each(rb, &key, root, key_order)
		if (++same == KSM_SAME_KEY_MAX)
			break;
	room = same < KSM_SAME_KEY_MAX;
	if (room) {
		rb_add(&item->node, root, item_less);
		inserted(item);
	}
	spin_unlock(&shard->lock);
	return room;
}

static void take_out(struct rb_root *root, struct ksm_rmap_item *item, u8 state)
{
	rb_erase(&item->node, root);
	atomic_long_dec(&ksm_counters.pages_unshared);
	ksm_item_set_state(item, state);
}

/**
 * ksm_unstable_remove - a page changed, or went away
 * @item: its item, in a window of the caller; unstable a moment ago
 *
 * Return: true and the item is %KSM_ITEM_SEEN; false if it was claimed.
 */
bool ksm_unstable_remove(struct ksm_rmap_item *item)
{
	u64 key = ksm_item_key(item);
	struct ksm_shard *shard = ksm_shard_of(key);
	bool still_there;

	spin_lock(&shard->lock);
	still_there = ksm_item_state(item) == KSM_ITEM_UNSTABLE;
	if (still_there)
		take_out(ksm_unstable_root(shard, key), item, KSM_ITEM_SEEN);
	spin_unlock(&shard->lock);
	return still_there;
}

static int item_order(struct rb_node *node, const struct rb_node *rb)
{
	u64 key = ksm_item_key(rb_entry(node, struct ksm_rmap_item, node));

	return key_order(&key, rb);
}

/**
 * ksm_unstable_meet - take a page of the same key out of the tree, or wait for
 *	one in it
 * @item: as for ksm_unstable_insert()
 *
 * It is one step: else two workers could miss each other, and leave two equal
 * pages in the tree, of which neither looks for the other any more.
 *
 * Return: another item of the key, %KSM_ITEM_CLAIMED by the caller; or NULL,
 *	@item was inserted.
 */
struct ksm_rmap_item *ksm_unstable_meet(struct ksm_rmap_item *item)
{
	u64 key = ksm_item_key(item);
	struct ksm_shard *shard = ksm_shard_of(key);
	struct rb_root *root = ksm_unstable_root(shard, key);
	struct ksm_rmap_item *other = NULL;
	struct rb_node *rb;

	spin_lock(&shard->lock);
	rb = rb_find_add(&item->node, root, item_order);
	if (rb) {
		other = rb_entry(rb, struct ksm_rmap_item, node);
		take_out(root, other, KSM_ITEM_CLAIMED);
	} else {
		inserted(item);
	}
	spin_unlock(&shard->lock);
	return other;
}

/**
 * ksm_unstable_clear - empty the tree
 *
 * Context: ksm_gate held exclusively.
 */
void ksm_unstable_clear(void)
{
	struct ksm_rmap_item *item;
	unsigned int number, tree;
	struct rb_node *rb;

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		struct ksm_shard *shard = &ksm_shards[number];

		spin_lock(&shard->lock);
		for (tree = 0; tree < KSM_SHARD_TREES; tree++) {
			struct rb_root *root = &shard->unstable[tree];

			while ((rb = rb_first(root))) {
				item = rb_entry(rb, struct ksm_rmap_item, node);
				take_out(root, item, KSM_ITEM_SEEN);
			}
		}
		spin_unlock(&shard->lock);
		cond_resched();
	}
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/unstable_kunit.c"
#endif
