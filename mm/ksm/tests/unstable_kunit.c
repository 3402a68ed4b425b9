// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of the unstable tree. Included by unstable.c. */
#include <linux/prandom.h>

#include "fixture.h"

#define TEST_PAGES	512
#define TEST_KEYS	96
#define TEST_STEPS	20000

struct unstable_model {
	struct ksm_mm_slot *slot;
	struct vm_area_struct *vma;
	struct ksm_rmap_item *item[TEST_PAGES];
	bool in_tree[TEST_PAGES];
	unsigned int of_key[TEST_KEYS];
	unsigned int total;
	long unshared;
};

/* Few keys, so that many are shared, spread over all shards. */
static u64 nth_key(unsigned int n)
{
	return (n + 1) * 0x9e3779b97f4a7c15ULL & ~KSM_PLACE_MASK;
}

static unsigned int key_number(u64 key)
{
	unsigned int n;

	for (n = 0; n < TEST_KEYS && nth_key(n) != key; n++)
		;
	return n;
}

static void model_joined(struct unstable_model *model, unsigned int i,
			 unsigned int n)
{
	model->in_tree[i] = true;
	model->of_key[n]++;
	model->total++;
}

static void model_insert(struct kunit *test, struct unstable_model *model,
			 unsigned int i, unsigned int n)
{
	bool room = model->of_key[n] < KSM_SAME_KEY_MAX;

	ksm_item_set_key(model->item[i], nth_key(n));
	KUNIT_ASSERT_EQ(test, ksm_unstable_insert(model->item[i]), room);
	if (room)
		model_joined(model, i, n);
}

static void model_left(struct unstable_model *model, struct ksm_rmap_item *item)
{
	unsigned int i;

	for (i = 0; model->item[i] != item; i++)
		;
	model->in_tree[i] = false;
	model->of_key[key_number(ksm_item_key(item))]--;
	model->total--;
}

/* Page @i, with key @n, meets one of its key or is inserted. */
static void model_meet(struct kunit *test, struct unstable_model *model,
		       unsigned int i, unsigned int n)
{
	struct ksm_rmap_item *item = model->item[i], *other;

	ksm_item_set_key(item, nth_key(n));
	other = ksm_unstable_meet(item);
	if (!model->of_key[n]) {
		KUNIT_ASSERT_NULL(test, other);
		KUNIT_ASSERT_EQ(test, ksm_item_state(item), KSM_ITEM_UNSTABLE);
		model_joined(model, i, n);
		return;
	}
	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_PTR_NE(test, other, item);
	KUNIT_ASSERT_EQ(test, ksm_item_state(item), KSM_ITEM_SEEN);
	KUNIT_ASSERT_EQ(test, ksm_item_key(other), nth_key(n));
	KUNIT_ASSERT_EQ(test, ksm_item_state(other), KSM_ITEM_CLAIMED);
	/* Its owner finds it taken. */
	KUNIT_ASSERT_FALSE(test, ksm_unstable_remove(other));
	ksm_item_set_state(other, KSM_ITEM_SEEN);
	model_left(model, other);
}

static void model_check(struct kunit *test, struct unstable_model *model)
{
	unsigned int i;

	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_ASSERT_EQ(test, ksm_item_state(model->item[i]),
				model->in_tree[i] ? KSM_ITEM_UNSTABLE :
						    KSM_ITEM_SEEN);
	KUNIT_ASSERT_EQ(test, atomic_long_read(&ksm_counters.pages_unshared),
			model->unshared + model->total);
}

static struct unstable_model *model_make(struct kunit *test)
{
	struct unstable_model *model = kunit_kzalloc(test, sizeof(*model),
						     GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, model);
	model->slot = test_slot(test);
	model->vma = test_vma(test, 0, TEST_PAGES, 0);
	model->unshared = atomic_long_read(&ksm_counters.pages_unshared);
	for (i = 0; i < TEST_PAGES; i++)
		model->item[i] = test_item(test, model->slot, model->vma,
					   i * PAGE_SIZE, 0);
	return model;
}

static void unstable_random(struct kunit *test)
{
	struct unstable_model *model = model_make(test);
	struct rnd_state rnd;
	unsigned int step;

	prandom_seed_state(&rnd, 20241117);
	for (step = 0; step < TEST_STEPS; step++) {
		unsigned int i = prandom_u32_state(&rnd) % TEST_PAGES;
		unsigned int n = prandom_u32_state(&rnd) % TEST_KEYS;

		if (!model->in_tree[i] && (step & 1)) {
			model_insert(test, model, i, n);
		} else if (!model->in_tree[i]) {
			model_meet(test, model, i, n);
		} else {
			KUNIT_ASSERT_TRUE(test,
					  ksm_unstable_remove(model->item[i]));
			model_left(model, model->item[i]);
		}
		if (step % 1000 == 0)
			model_check(test, model);
	}
	model_check(test, model);
	KUNIT_EXPECT_TRUE(test, ksm_chunks_release(model->slot, 0, ULONG_MAX,
						   KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.pages_unshared),
			model->unshared);
}

/* All pages of one key: the tree must not grow with their number. */
static void unstable_collisions(struct kunit *test)
{
	struct unstable_model *model = model_make(test);
	unsigned int i;

	for (i = 0; i < TEST_PAGES; i++)
		model_insert(test, model, i, 0);
	KUNIT_EXPECT_EQ(test, model->total, KSM_SAME_KEY_MAX);
	for (i = 0; i <= KSM_SAME_KEY_MAX; i++)
		model_meet(test, model, TEST_PAGES - 1, 0);
	/* All others were met, then it stays itself. */
	KUNIT_EXPECT_EQ(test, model->total, 1);
	model_check(test, model);
	ksm_chunks_release(model->slot, 0, ULONG_MAX, KSM_RELEASE_ALWAYS);
}

/* Every tree of a shard takes its part of the keys, and none is out of reach. */
static void unstable_roots(struct kunit *test)
{
	u64 shard_span = 1ULL << (64 - ksm_shard_bits);
	unsigned int used[KSM_SHARD_TREES] = { };
	struct ksm_shard *shard = ksm_shards;
	unsigned int n, tree;

	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_root(shard, 0),
			    &shard->unstable[0]);
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_root(shard, shard_span - 1),
			    &shard->unstable[KSM_SHARD_TREES - 1]);
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_root(shard, U64_MAX),
			    &shard->unstable[KSM_SHARD_TREES - 1]);
	for (n = 0; n < 100 * KSM_SHARD_TREES; n++) {
		u64 key = shard_span / (100 * KSM_SHARD_TREES) * n;

		tree = ksm_unstable_root(shard, key) - shard->unstable;
		KUNIT_ASSERT_LT(test, tree, KSM_SHARD_TREES);
		used[tree]++;
	}
	for (tree = 0; tree < KSM_SHARD_TREES; tree++) {
		KUNIT_EXPECT_GE(test, used[tree], 99);
		KUNIT_EXPECT_LE(test, used[tree], 101);
	}
}

static struct kunit_case unstable_cases[] = {
	KUNIT_CASE(unstable_roots),
	KUNIT_CASE(unstable_random),
	KUNIT_CASE(unstable_collisions),
	{}
};

static struct kunit_suite unstable_suite = {
	.name = "ksm_unstable",
	.test_cases = unstable_cases,
};

kunit_test_suite(unstable_suite);
