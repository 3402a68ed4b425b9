// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of the stable tree. Included by stable.c. */
#include "fixture.h"

#define TEST_NODES	96
#define TEST_SHARERS	600

struct stable_test {
	struct ksm_mm_slot *slot;
	struct vm_area_struct *vma;
	struct anon_vma anon_vma;
	struct ksm_rmap_item *item[TEST_SHARERS];
	struct folio *folio[TEST_NODES];
	struct ksm_counters before;
	unsigned int sharing;	/* max_page_sharing before the test */
};

static u64 nth_test_key(unsigned int n)
{
	return (n + 1) * 0xd1342543de82ef95ULL & ~KSM_PLACE_MASK;
}

static long since(const atomic_long_t *now, const atomic_long_t *before)
{
	return atomic_long_read(now) - atomic_long_read(before);
}

#define EXPECT_COUNT(test, st, name, value)				\
	KUNIT_EXPECT_EQ(test, since(&ksm_counters.name,			\
				    &(st)->before.name), (long)(value))

static int stable_test_init(struct kunit *test)
{
	struct stable_test *st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);
	unsigned int i;

	if (!st)
		return -ENOMEM;
	st->before = ksm_counters;
	st->sharing = ksm_settings.max_page_sharing;
	st->slot = test_slot(test);
	st->vma = test_vma(test, 0, TEST_SHARERS, 0);
	/* Never freed: the items' references are not the only ones. */
	atomic_set(&st->anon_vma.refcount, 1);
	for (i = 0; i < TEST_SHARERS; i++)
		st->item[i] = test_item(test, st->slot, st->vma, i * PAGE_SIZE,
					0);
	test->priv = st;
	return 0;
}

/* A page that is a KSM page as far as the tree can tell. */
static struct folio *add_page(struct kunit *test, struct stable_test *st,
			      unsigned int n, u64 key, u16 scope,
			      struct folio *peer)
{
	struct ksm_stable_node *node = ksm_stable_alloc(), *spare;
	struct folio *folio = folio_alloc(GFP_KERNEL, 0);
	struct ksm_shard *shard = ksm_shard_of(key);

	spare = ksm_stable_alloc();
	KUNIT_ASSERT_NOT_NULL(test, node);
	KUNIT_ASSERT_NOT_NULL(test, spare);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	node->key = key;
	node->scope = scope;
	folio_lock(folio);
	folio->mapping = (void *)&st->anon_vma + PAGE_MAPPING_ANON;
	if (peer)
		folio_lock(peer);
	/* As if something had been inserted since the look-up... */
	KUNIT_EXPECT_FALSE(test, ksm_stable_insert(node, folio, peer, &spare,
						   shard->inserts - 1));
	KUNIT_EXPECT_TRUE(test, folio_test_anon(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_ksm(folio));
	/* ...and as if not. */
	KUNIT_EXPECT_TRUE(test, ksm_stable_insert(node, folio, peer, &spare,
						  shard->inserts));
	KUNIT_EXPECT_TRUE(test, folio_test_ksm(folio));
	if (peer)
		folio_unlock(peer);
	folio_unlock(folio);
	ksm_stable_free(spare);
	st->folio[n] = folio;
	return folio;
}

static void share(struct stable_test *st, struct folio *folio, unsigned int i)
{
	get_anon_vma(&st->anon_vma);
	folio_lock(folio);
	ksm_stable_link(folio, st->item[i], &st->anon_vma, false);
	folio_unlock(folio);
}

/* As if the last mapping were gone: the mapping is reset, the page freed. */
static void free_page_of(struct folio *folio)
{
	folio->mapping = NULL;
	folio_put(folio);
}

static void stable_test_exit(struct kunit *test)
{
	struct stable_test *st = test->priv;

	if (!st)
		return;
	KUNIT_EXPECT_TRUE(test, ksm_chunks_release(st->slot, 0, ULONG_MAX,
						   KSM_RELEASE_ALWAYS));
	ksm_settings.max_page_sharing = st->sharing;
	KUNIT_EXPECT_EQ(test, atomic_read(&st->anon_vma.refcount), 1);
	EXPECT_COUNT(test, st, pages_shared, 0);
	EXPECT_COUNT(test, st, pages_sharing, 0);
	EXPECT_COUNT(test, st, chains, 0);
	EXPECT_COUNT(test, st, dups, 0);
	EXPECT_COUNT(test, st, nodes, 0);
	EXPECT_COUNT(test, st, chunks, 0);
	EXPECT_COUNT(test, st, rmap_items, 0);
}

static struct folio *find_one(struct kunit *test, u64 key, u16 scope)
{
	struct ksm_stable_hits hits;
	struct folio *folio;

	ksm_stable_find(key, scope, false, &hits);
	KUNIT_EXPECT_LE(test, hits.nr, 1);
	folio = hits.nr ? hits.folio[0] : NULL;
	ksm_stable_hits_put(&hits);
	return folio;
}

static void stable_find(struct kunit *test)
{
	struct stable_test *st = test->priv;
	unsigned int n;

	for (n = 0; n < TEST_NODES; n++)
		add_page(test, st, n, nth_test_key(n), n % 3, NULL);
	for (n = 0; n < TEST_NODES; n++) {
		KUNIT_EXPECT_PTR_EQ(test, find_one(test, nth_test_key(n), n % 3),
				    st->folio[n]);
		KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(n),
						 n % 3 + 1));
		KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(n) ^ BIT(9),
						 n % 3));
	}
	/* A freed page is stale, and whoever looks for it frees the node. */
	for (n = 0; n < TEST_NODES; n++)
		free_page_of(st->folio[n]);
	EXPECT_COUNT(test, st, nodes, TEST_NODES);
	for (n = 0; n < TEST_NODES; n++)
		KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(n), n % 3));
	EXPECT_COUNT(test, st, nodes, 0);
}

/* Colliding fingerprints: all are offered for comparison, up to a limit. */
static void stable_collisions(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct ksm_stable_hits hits;
	unsigned int n, round;

	for (n = 0; n < 2 * KSM_SAME_KEY_MAX; n++) {
		add_page(test, st, n, nth_test_key(0), 0, NULL);
		ksm_stable_find(nth_test_key(0), 0, false, &hits);
		KUNIT_EXPECT_EQ(test, hits.nr, min(n + 1, KSM_SAME_KEY_MAX));
		ksm_stable_hits_put(&hits);
	}
	for (n = 0; n < 2 * KSM_SAME_KEY_MAX; n++)
		free_page_of(st->folio[n]);
	for (round = 0; round < 2; round++)
		KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(0), 0));
}

static void stable_sharers(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *folio = add_page(test, st, 0, nth_test_key(0), 0, NULL);
	unsigned int i;

	for (i = 0; i < 10; i++)
		share(st, folio, i);
	EXPECT_COUNT(test, st, pages_shared, 1);
	EXPECT_COUNT(test, st, pages_sharing, 9);
	KUNIT_EXPECT_EQ(test, st->slot->slot.mm->ksm_merging_pages, 10);
	KUNIT_EXPECT_EQ(test, atomic_read(&st->anon_vma.refcount), 11);

	KUNIT_EXPECT_FALSE(test, ksm_stable_unlink(st->item[0],
						   KSM_RELEASE_IF_STALE));
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_TRUE(test, ksm_stable_unlink(st->item[i],
							  KSM_RELEASE_IF_UNNEEDED));
		KUNIT_EXPECT_EQ(test, ksm_item_state(st->item[i]),
				KSM_ITEM_SEEN);
	}
	EXPECT_COUNT(test, st, pages_sharing, 5);
	/* Gone with its page: the first who notices takes all others along. */
	free_page_of(folio);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unlink(st->item[5],
						  KSM_RELEASE_IF_STALE));
	for (i = 4; i < 10; i++)
		KUNIT_EXPECT_EQ(test, ksm_item_state(st->item[i]),
				KSM_ITEM_SEEN);
	KUNIT_EXPECT_EQ(test, st->slot->slot.mm->ksm_merging_pages, 0);
}

/* With nobody left and nothing mapped, a page in the swap cache is let go. */
static void stable_last_sharer(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *folio = add_page(test, st, 0, nth_test_key(0), 0, NULL);

	share(st, folio, 0);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unlink(st->item[0],
						  KSM_RELEASE_IF_UNNEEDED));
	EXPECT_COUNT(test, st, nodes, 0);
	KUNIT_EXPECT_NULL(test, ksm_folio_node(folio));
	free_page_of(folio);
}

static void stable_chains(struct kunit *test)
{
	struct stable_test *st = test->priv;
	u64 key = nth_test_key(0);
	struct folio *folio, *peer = NULL;
	unsigned int i, n = 0;

	ksm_settings.max_page_sharing = 4;
	for (i = 0; i < 42; i++) {
		folio = find_one(test, key, 0);
		if (!folio) {
			peer = add_page(test, st, n++, key, 0, peer);
			folio = peer;
		}
		share(st, folio, i);
	}
	KUNIT_EXPECT_EQ(test, n, 11);
	EXPECT_COUNT(test, st, pages_shared, 11);
	EXPECT_COUNT(test, st, pages_sharing, 31);
	EXPECT_COUNT(test, st, chains, 1);
	EXPECT_COUNT(test, st, dups, 11);
	EXPECT_COUNT(test, st, nodes, 12);

	/* Room in a dup that was full is found again. */
	find_one(test, key, 0);
	share(st, find_one(test, key, 0), 42);
	share(st, find_one(test, key, 0), 43);
	KUNIT_EXPECT_NULL(test, find_one(test, key, 0));
	ksm_stable_unlink(st->item[0], KSM_RELEASE_IF_UNNEEDED);
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, key, 0), st->folio[0]);

	/* Down to one: no chain any more. */
	for (i = 1; i < n; i++)
		free_page_of(st->folio[i]);
	for (i = 0; i < 44; i++)
		if (ksm_item_state(st->item[i]) == KSM_ITEM_STABLE)
			ksm_stable_unlink(st->item[i], KSM_RELEASE_IF_STALE);
	EXPECT_COUNT(test, st, chains, 0);
	EXPECT_COUNT(test, st, dups, 0);
	EXPECT_COUNT(test, st, nodes, 1);
	EXPECT_COUNT(test, st, pages_sharing, 2);
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, key, 0), st->folio[0]);
	free_page_of(st->folio[0]);
}

/* ksmd prunes a chain as it comes by, but not more often than it may. */
static void stable_prune(struct kunit *test)
{
	unsigned int delay = ksm_settings.prune_millisecs;
	struct stable_test *st = test->priv;
	u64 key = nth_test_key(7);
	struct folio *peer = NULL;
	unsigned int n;

	ksm_settings.max_page_sharing = 2;
	ksm_settings.prune_millisecs = 1000000;
	for (n = 0; n < 20; n++) {
		peer = add_page(test, st, n, key, 0, peer);
		share(st, peer, 2 * n);
		share(st, peer, 2 * n + 1);
	}
	for (n = 5; n < 15; n++)
		free_page_of(st->folio[n]);
	KUNIT_EXPECT_NULL(test, find_one(test, key, 0));
	EXPECT_COUNT(test, st, dups, 20);
	ksm_settings.prune_millisecs = 0;
	KUNIT_EXPECT_NULL(test, find_one(test, key, 0));
	EXPECT_COUNT(test, st, dups, 10);
	EXPECT_COUNT(test, st, pages_shared, 10);
	ksm_settings.prune_millisecs = delay;
	for (n = 0; n < 20; n++)
		if (n < 5 || n >= 15)
			free_page_of(st->folio[n]);
}

static void stable_migration(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *from = add_page(test, st, 0, nth_test_key(3), 0, NULL);
	struct folio *to = folio_alloc(GFP_KERNEL, 0);

	KUNIT_ASSERT_NOT_NULL(test, to);
	share(st, from, 0);
	share(st, from, 1);
	folio_lock(from);
	folio_lock(to);
	to->mapping = from->mapping;
	ksm_stable_moved(to, from);
	folio_unlock(to);
	folio_unlock(from);
	free_page_of(from);
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, nth_test_key(3), 0), to);
	EXPECT_COUNT(test, st, pages_sharing, 1);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unlink(st->item[0],
						  KSM_RELEASE_IF_UNNEEDED));
	free_page_of(to);
}

/* Page frames that went offline are dropped without being looked at. */
static void stable_offline(struct kunit *test)
{
	struct stable_test *st = test->priv;
	unsigned long pfn;
	unsigned int n;

	for (n = 0; n < 16; n++) {
		add_page(test, st, n, nth_test_key(n), 0, NULL);
		share(st, st->folio[n], n);
	}
	pfn = folio_pfn(st->folio[3]);
	ksm_stable_remove_frames(pfn, pfn + 1);
	EXPECT_COUNT(test, st, nodes, 15);
	KUNIT_EXPECT_EQ(test, ksm_item_state(st->item[3]), KSM_ITEM_SEEN);
	KUNIT_EXPECT_EQ(test, ksm_item_state(st->item[4]), KSM_ITEM_STABLE);
	for (n = 0; n < 16; n++)
		free_page_of(st->folio[n]);
}

static void stable_remove(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *peer = NULL;
	unsigned int n;

	for (n = 0; n < 8; n++)
		peer = add_page(test, st, n, nth_test_key(0), 0, peer);
	for (; n < 16; n++)
		add_page(test, st, n, nth_test_key(n), 0, NULL);
	share(st, st->folio[9], 0);
	KUNIT_EXPECT_EQ(test, ksm_stable_remove_all(), -EBUSY);
	EXPECT_COUNT(test, st, nodes, 1);
	ksm_stable_unlink(st->item[0], KSM_RELEASE_ALWAYS);
	KUNIT_EXPECT_EQ(test, ksm_stable_remove_all(), 0);
	for (n = 0; n < 16; n++)
		free_page_of(st->folio[n]);
}

static void stable_sweep(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *peer = NULL;
	unsigned int n;

	for (n = 0; n < 6; n++)
		peer = add_page(test, st, n, nth_test_key(0), 0, peer);
	share(st, peer, 0);
	for (n = 0; n < 5; n++)
		free_page_of(st->folio[n]);
	ksm_stable_sweep();
	EXPECT_COUNT(test, st, nodes, 1);
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, nth_test_key(0), 0), peer);
	free_page_of(peer);
	ksm_stable_unlink(st->item[0], KSM_RELEASE_ALWAYS);
	EXPECT_COUNT(test, st, nodes, 0);

	/* Somebody keeps the page, who does not map it. */
	peer = add_page(test, st, 6, nth_test_key(6), 0, NULL);
	ksm_stable_sweep();
	EXPECT_COUNT(test, st, nodes, 0);
	KUNIT_EXPECT_NULL(test, ksm_folio_node(peer));
	free_page_of(peer);
}

static struct kunit_case stable_cases[] = {
	KUNIT_CASE(stable_find),
	KUNIT_CASE(stable_collisions),
	KUNIT_CASE(stable_sharers),
	KUNIT_CASE(stable_last_sharer),
	KUNIT_CASE(stable_chains),
	KUNIT_CASE(stable_prune),
	KUNIT_CASE(stable_migration),
	KUNIT_CASE(stable_offline),
	KUNIT_CASE(stable_remove),
	KUNIT_CASE(stable_sweep),
	{}
};

static struct kunit_suite stable_suite = {
	.name = "ksm_stable",
	.init = stable_test_init,
	.exit = stable_test_exit,
	.test_cases = stable_cases,
};

kunit_test_suite(stable_suite);
