// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit test of the stable tree under random insertions, look-ups and removals,
 * against a model of it. Included by stable.c, behind stable_kunit.c.
 */
#include <linux/prandom.h>

#define MODEL_STEPS	20000
#define MODEL_ITEMS	160
#define MODEL_CONTENTS	18
#define MODEL_KEYS	6	/* three contents collide in each */
#define MODEL_PAGES	5U	/* of one content */
#define MODEL_SHARING	4

/**
 * struct stable_model - what the stable tree ought to hold
 * @live: of each page, whether it is a KSM page
 * @content: what it holds
 * @sharers: how many items share it
 * @page: of each item, the page that it shares; -1: none
 * @copies: of each content, how many KSM pages it has
 */
struct stable_model {
	bool live[TEST_NODES];
	unsigned int content[TEST_NODES];
	unsigned int sharers[TEST_NODES];
	int page[MODEL_ITEMS];
	unsigned int copies[MODEL_CONTENTS];
};

/* Two of the three contents of a key are of one scope. */
static u64 model_key(unsigned int content)
{
	return nth_test_key(content % MODEL_KEYS);
}

static u16 model_scope(unsigned int content)
{
	return content / MODEL_KEYS / 2;
}

static bool model_has_room(struct stable_model *model, unsigned int content)
{
	unsigned int n;

	for (n = 0; n < TEST_NODES; n++)
		if (model->live[n] && model->content[n] == content &&
		    model->sharers[n] < MODEL_SHARING)
			return true;
	return false;
}

static int model_page_of(struct stable_test *st, struct folio *folio)
{
	unsigned int n;

	for (n = 0; n < TEST_NODES; n++)
		if (st->folio[n] == folio)
			return n;
	return -1;
}

/* Each content of the key and scope is found once, if it has what is asked. */
static void model_find(struct kunit *test, struct stable_model *model,
		       unsigned int content, bool with_full)
{
	bool found[MODEL_CONTENTS] = { };
	struct ksm_stable_hits hits;
	unsigned int i;

	ksm_stable_find(model_key(content), model_scope(content), with_full,
			&hits);
	for (i = 0; i < hits.nr; i++) {
		int n = model_page_of(test->priv, hits.folio[i]);

		KUNIT_ASSERT_GE(test, n, 0);
		KUNIT_ASSERT_TRUE(test, model->live[n]);
		KUNIT_ASSERT_EQ(test, hits.room[i],
				model->sharers[n] < MODEL_SHARING);
		KUNIT_ASSERT_TRUE(test, with_full || hits.room[i]);
		KUNIT_ASSERT_FALSE(test, found[model->content[n]]);
		found[model->content[n]] = true;
	}
	ksm_stable_hits_put(&hits);
	for (i = 0; i < MODEL_CONTENTS; i++)
		KUNIT_ASSERT_EQ(test, found[i],
				model_key(i) == model_key(content) &&
				model_scope(i) == model_scope(content) &&
				(with_full ? model->copies[i] > 0 :
					     model_has_room(model, i)));
}

/* Another page of a content, beside those there are. */
static void model_add(struct kunit *test, struct stable_model *model,
		      unsigned int n, unsigned int content)
{
	struct stable_test *st = test->priv;
	struct folio *peer = NULL;
	unsigned int i;

	if (model->copies[content] == MODEL_PAGES)
		return;
	model_find(test, model, content, true);
	for (i = 0; i < TEST_NODES && !peer; i++)
		if (model->live[i] && model->content[i] == content)
			peer = st->folio[i];
	if (st->folio[n])
		free_page_of(st->folio[n]);
	add_page(test, st, n, model_key(content), model_scope(content), peer);
	model->live[n] = true;
	model->content[n] = content;
	model->sharers[n] = 0;
	model->copies[content]++;
}

static void model_gone(struct stable_model *model, unsigned int n)
{
	model->live[n] = false;
	model->copies[model->content[n]]--;
}

/* The page is freed under its sharers, who get to know of it when they look. */
static void model_free(struct stable_test *st, struct stable_model *model,
		       unsigned int n)
{
	unsigned int i;

	free_page_of(st->folio[n]);
	st->folio[n] = NULL;
	model_gone(model, n);
	for (i = 0; i < MODEL_ITEMS; i++)
		if (model->page[i] == (int)n)
			model->page[i] = -1;
}

static void model_share(struct kunit *test, struct stable_model *model,
			unsigned int i, unsigned int n)
{
	struct stable_test *st = test->priv;

	/* Of a page that has been freed, it may not know yet. */
	if (ksm_item_state(st->item[i]) == KSM_ITEM_STABLE)
		KUNIT_ASSERT_TRUE(test, ksm_item_unlink(st->item[i],
							KSM_RELEASE_IF_GONE));
	if (!model->live[n] || model->sharers[n] == MODEL_SHARING)
		return;
	share(st, st->folio[n], i);
	model->page[i] = n;
	model->sharers[n]++;
}

static void model_leave(struct kunit *test, struct stable_model *model,
			unsigned int i)
{
	struct stable_test *st = test->priv;
	unsigned int n = model->page[i];

	KUNIT_ASSERT_FALSE(test, ksm_item_unlink(st->item[i],
						 KSM_RELEASE_IF_GONE));
	KUNIT_ASSERT_TRUE(test, ksm_item_unlink(st->item[i],
						KSM_RELEASE_IF_UNNEEDED));
	model->page[i] = -1;
	if (!--model->sharers[n])
		model_gone(model, n);
}

/* Once look-ups have rid the tree of what is stale, all counts are exact. */
static void stable_model_check(struct kunit *test, struct stable_model *model)
{
	struct stable_test *st = test->priv;
	unsigned int i, shared = 0, items = 0, chains = 0, dups = 0, live = 0;

	for (i = 0; i < MODEL_CONTENTS; i++) {
		model_find(test, model, i, true);
		if (model->copies[i] > 1) {
			chains++;
			dups += model->copies[i];
		}
	}
	for (i = 0; i < TEST_NODES; i++) {
		live += model->live[i];
		shared += model->live[i] && model->sharers[i];
		items += model->live[i] ? model->sharers[i] : 0;
	}
	EXPECT_COUNT(test, st, pages_shared, shared);
	EXPECT_COUNT(test, st, pages_sharing, items - shared);
	EXPECT_COUNT(test, st, chains, chains);
	EXPECT_COUNT(test, st, dups, dups);
	EXPECT_COUNT(test, st, nodes, live + chains);
	for (i = 0; i < MODEL_ITEMS; i++)
		KUNIT_ASSERT_EQ(test, ksm_item_state(st->item[i]),
				model->page[i] < 0 ? KSM_ITEM_SEEN :
						     KSM_ITEM_STABLE);
}

static void stable_random(struct kunit *test)
{
	struct stable_model *model = kunit_kzalloc(test, sizeof(*model),
						   GFP_KERNEL);
	unsigned int step, delay = ksm_settings.prune_millisecs;
	struct stable_test *st = test->priv;
	struct rnd_state rnd;

	KUNIT_ASSERT_NOT_NULL(test, model);
	memset(model->page, 0xff, sizeof(model->page));
	ksm_settings.max_page_sharing = MODEL_SHARING;
	ksm_settings.prune_millisecs = 0;
	prandom_seed_state(&rnd, 20250318);
	for (step = 0; step < MODEL_STEPS; step++) {
		unsigned int i = prandom_u32_state(&rnd) % MODEL_ITEMS;
		unsigned int n = prandom_u32_state(&rnd) % TEST_NODES;
		unsigned int content = prandom_u32_state(&rnd) % MODEL_CONTENTS;

		if (!model->live[n])
			model_add(test, model, n, content);
		else if (prandom_u32_state(&rnd) % 8 == 0)
			model_free(st, model, n);
		if (model->page[i] < 0)
			model_share(test, model, i, n);
		else if (prandom_u32_state(&rnd) % 2)
			model_leave(test, model, i);
		model_find(test, model, content, step % 2);
		if (step % 1000 == 0)
			stable_model_check(test, model);
	}
	stable_model_check(test, model);
	for (step = 0; step < TEST_NODES; step++)
		if (st->folio[step])
			free_page_of(st->folio[step]);
	for (step = 0; step < MODEL_CONTENTS; step++)
		KUNIT_EXPECT_NULL(test, find_one(test, model_key(step),
						 model_scope(step)));
	ksm_settings.prune_millisecs = delay;
}

static struct kunit_case stable_random_cases[] = {
	KUNIT_CASE(stable_random),
	{}
};

static struct kunit_suite stable_random_suite = {
	.name = "ksm_stable_random",
	.init = stable_test_init,
	.exit = stable_test_exit,
	.test_cases = stable_random_cases,
};

kunit_test_suite(stable_random_suite);
