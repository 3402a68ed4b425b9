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

static void model_left(struct unstable_model *model, struct ksm_rmap_item *item)
{
	unsigned int i;

	for (i = 0; model->item[i] != item; i++)
		;
	model->in_tree[i] = false;
	model->of_key[key_number(ksm_item_key(item))]--;
	model->total--;
}

static bool is_in_tree(struct ksm_rmap_item *item)
{
	return ksm_item_state(item) == KSM_ITEM_UNSTABLE;
}

/* All others of the key are taken out. Their owners find them taken. */
static unsigned int model_meet(struct kunit *test, struct unstable_model *model,
			       unsigned int i, unsigned int n,
			       struct ksm_rmap_item *row[KSM_SAME_KEY_MAX])
{
	struct ksm_rmap_item *item = model->item[i];
	unsigned int nr, k;

	ksm_item_set_key(item, nth_key(n));
	nr = ksm_unstable_meet(item, row);
	KUNIT_ASSERT_EQ(test, nr, model->of_key[n]);
	KUNIT_ASSERT_EQ(test, is_in_tree(item), !nr);
	if (!nr)
		model_joined(model, i, n);
	for (k = 0; k < nr; k++) {
		KUNIT_ASSERT_PTR_NE(test, row[k], item);
		KUNIT_ASSERT_EQ(test, ksm_item_key(row[k]), nth_key(n));
		KUNIT_ASSERT_EQ(test, ksm_item_state(row[k]), KSM_ITEM_CLAIMED);
		KUNIT_ASSERT_FALSE(test, ksm_unstable_remove(row[k]));
		model_left(model, row[k]);
	}
	return nr;
}

static void model_returned(struct unstable_model *model,
			   struct ksm_rmap_item *item, unsigned int n)
{
	unsigned int i;

	for (i = 0; model->item[i] != item; i++)
		;
	if (is_in_tree(item))
		model_joined(model, i, n);
}

/* Page @i, with key @n, meets those of its key, and equals none of them. */
static void model_join(struct kunit *test, struct unstable_model *model,
		       unsigned int i, unsigned int n)
{
	struct ksm_rmap_item *row[KSM_SAME_KEY_MAX];
	unsigned int nr = model_meet(test, model, i, n, row), k;

	if (!nr)
		return;
	ksm_unstable_put_back(nth_key(n), row, nr, model->item[i]);
	for (k = 0; k < nr; k++)
		model_returned(model, row[k], n);
	model_returned(model, model->item[i], n);
	KUNIT_ASSERT_EQ(test, model->of_key[n], min(nr + 1, KSM_SAME_KEY_MAX));
	KUNIT_ASSERT_TRUE(test, model->in_tree[i]);
}

/* It equals one of them, and both become a KSM page. */
static void model_match(struct kunit *test, struct unstable_model *model,
			unsigned int i, unsigned int n)
{
	struct ksm_rmap_item *row[KSM_SAME_KEY_MAX], *matched;
	unsigned int nr = model_meet(test, model, i, n, row), k;

	if (!nr)
		return;
	matched = row[i % nr];
	row[i % nr] = NULL;
	ksm_item_set_state(matched, KSM_ITEM_SEEN);
	ksm_unstable_put_back(nth_key(n), row, nr, NULL);
	for (k = 0; k < nr; k++)
		if (row[k])
			model_returned(model, row[k], n);
	KUNIT_ASSERT_EQ(test, model->of_key[n], nr - 1);
	KUNIT_ASSERT_FALSE(test, model->in_tree[i]);
}

/* While they are compared another one joins, which nobody compares with them. */
static void model_miss(struct kunit *test, struct unstable_model *model,
		       unsigned int i, unsigned int n)
{
	struct ksm_rmap_item *row[KSM_SAME_KEY_MAX], *none[KSM_SAME_KEY_MAX];
	unsigned int nr = model_meet(test, model, i, n, row), other, k;

	for (other = 0; other < TEST_PAGES; other++)
		if (other != i &&
		    ksm_item_state(model->item[other]) == KSM_ITEM_SEEN)
			break;
	if (!nr || other == TEST_PAGES) {
		ksm_unstable_put_back(nth_key(n), row, nr, NULL);
		for (k = 0; k < nr; k++)
			model_returned(model, row[k], n);
		return;
	}
	KUNIT_ASSERT_EQ(test, model_meet(test, model, other, n, none), 0);
	ksm_unstable_put_back(nth_key(n), row, nr, model->item[i]);
	KUNIT_ASSERT_EQ(test, ksm_item_state(model->item[i]), KSM_ITEM_SEEN);
	for (k = 0; k < nr; k++) {
		KUNIT_ASSERT_EQ(test, ksm_item_state(row[k]), KSM_ITEM_SEEN);
		KUNIT_ASSERT_EQ(test, ksm_item_key(row[k]), nth_key(n));
	}
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

		if (!model->in_tree[i] && step % 8 == 1) {
			model_miss(test, model, i, n);
		} else if (!model->in_tree[i] && step % 8 == 2) {
			model_match(test, model, i, n);
		} else if (!model->in_tree[i]) {
			model_join(test, model, i, n);
		} else if (step % 4 == 3) {
			KUNIT_ASSERT_TRUE(test,
					  ksm_unstable_remove(model->item[i]));
			model_left(model, model->item[i]);
		}
		if (step % 1000 == 0)
			model_check(test, model);
	}
	model_check(test, model);
	KUNIT_EXPECT_TRUE(test, test_release(model->slot, 0, ULONG_MAX,
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
		model_join(test, model, i, 0);
	KUNIT_EXPECT_EQ(test, model->total, KSM_SAME_KEY_MAX);
	model_check(test, model);
	/* Each of them is met. */
	for (i = 0; i < TEST_PAGES && model->total; i++)
		if (!model->in_tree[i])
			model_match(test, model, i, 0);
	KUNIT_EXPECT_EQ(test, model->total, 0);
	model_check(test, model);
	test_release(model->slot, 0, ULONG_MAX, KSM_RELEASE_ALWAYS);
}

/* Does page @i meet @twin on this visit? */
static bool meets(struct unstable_model *model, unsigned int i,
		  struct ksm_rmap_item *twin)
{
	struct ksm_rmap_item *row[KSM_SAME_KEY_MAX];
	struct ksm_rmap_item *item = model->item[i];
	unsigned int nr, k;
	bool met = false;

	if (is_in_tree(item))
		return false;
	nr = ksm_unstable_meet(item, row);
	for (k = 0; k < nr; k++)
		met |= row[k] == twin;
	if (nr)
		ksm_unstable_put_back(nth_key(0), row, nr, item);
	return met;
}

#define CROWD	64U
#define SCANS	5000U

/*
 * Two pages are equal, and between them, in the order of the scan, are many of
 * their key that are not: in the end they meet. That takes some 50 scans.
 */
static void unstable_crowd(struct kunit *test)
{
	struct unstable_model *model = model_make(test);
	unsigned int i, scan;
	bool met = false;

	for (i = 0; i < CROWD; i++)
		ksm_item_set_key(model->item[i], nth_key(0));
	for (scan = 0; scan < SCANS && !met; scan++) {
		for (i = 0; i < CROWD; i++)
			if (i % (CROWD / 2))
				meets(model, i, NULL);
			else
				met |= meets(model, i,
					     model->item[CROWD / 2 - i]);
		cond_resched();
	}
	KUNIT_EXPECT_TRUE(test, met);
	test_release(model->slot, 0, ULONG_MAX, KSM_RELEASE_ALWAYS);
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
	KUNIT_CASE(unstable_crowd),
	{}
};

static struct kunit_suite unstable_suite = {
	.name = "ksm_unstable",
	.test_cases = unstable_cases,
};

kunit_test_suite(unstable_suite);
