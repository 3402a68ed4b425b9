// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of the stable tree. Included by stable.c. */
#include <kunit/static_stub.h>

#include "fixture.h"

#define TEST_NODES	96
/* More than leave a dead node before it goes on the queue. */
#define TEST_SHARERS	2400

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

/* The mm of the test has no page tables that could lead to a page. */
static bool may_return(struct folio *folio, struct ksm_rmap_item *item)
{
	return true;
}

/* Every page is where its node says, whatever that is. */
static unsigned int scope_of_node(struct page *page)
{
	struct ksm_stable_node *node = ksm_folio_node(page_folio(page));

	return node ? node->scope : 0;
}

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
	kunit_activate_static_stub(test, ksm_item_may_return, may_return);
	kunit_activate_static_stub(test, ksm_scope, scope_of_node);
	return 0;
}

/* A page that the tree takes for a KSM page. */
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
	folio->mapping = (void *)&st->anon_vma + FOLIO_MAPPING_ANON;
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
	KUNIT_EXPECT_TRUE(test, test_release(st->slot, 0, ULONG_MAX,
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
	/* A freed page is stale, and a look-up frees its node. */
	for (n = 0; n < TEST_NODES; n++)
		free_page_of(st->folio[n]);
	EXPECT_COUNT(test, st, nodes, TEST_NODES);
	for (n = 0; n < TEST_NODES; n++)
		KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(n), n % 3));
	EXPECT_COUNT(test, st, nodes, 0);
}

/* Colliding fingerprints: a look-up offers all pages to compare, up to a limit. */
static void stable_collisions(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct ksm_stable_hits hits;
	unsigned int n, round;

	for (n = 0; n < 2 * KSM_SAME_KEY_MAX; n++) {
		add_page(test, st, n, nth_test_key(0), 0, NULL);
		ksm_stable_find(nth_test_key(0), 0, false, &hits);
		KUNIT_EXPECT_EQ(test, hits.nr, min(n + 1, KSM_SAME_KEY_MAX));
		KUNIT_EXPECT_EQ(test, hits.more, n >= KSM_SAME_KEY_MAX);
		ksm_stable_hits_put(&hits);
	}
	for (n = 0; n < 2 * KSM_SAME_KEY_MAX; n++)
		free_page_of(st->folio[n]);
	for (round = 0; round < 2; round++)
		KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(0), 0));
}

/* One look-up: marks the pages that it returns in @found, none of them twice. */
static void find_some(struct kunit *test, struct stable_test *st, bool *found)
{
	bool before[TEST_NODES] = { };
	struct ksm_stable_hits hits;
	unsigned int i, n;

	ksm_stable_find(nth_test_key(0), 0, false, &hits);
	KUNIT_ASSERT_EQ(test, hits.nr, KSM_SAME_KEY_MAX);
	for (i = 0; i < hits.nr; i++) {
		for (n = 0; st->folio[n] != hits.folio[i]; n++)
			;
		KUNIT_ASSERT_FALSE(test, before[n]);
		before[n] = true;
		found[n] = true;
	}
	ksm_stable_hits_put(&hits);
}

#define LOOKUPS	20000U

/* However many collide, each is found in the end, and stale ones are freed. */
static void stable_crowd(struct kunit *test)
{
	struct stable_test *st = test->priv;
	bool found[TEST_NODES] = { };
	unsigned int n, round;

	for (n = 0; n < TEST_NODES; n++)
		add_page(test, st, n, nth_test_key(0), 0, NULL);
	for (round = 0; round < LOOKUPS; round++) {
		find_some(test, st, found);
		if (!memchr_inv(found, true, sizeof(found)))
			break;
	}
	KUNIT_EXPECT_LT(test, round, LOOKUPS);
	/* No look-up visits more nodes than it may. */
	KUNIT_EXPECT_GE(test, round, TEST_NODES / KSM_SAME_KEY_MAX - 1);
	for (n = 0; n < TEST_NODES; n++)
		free_page_of(st->folio[n]);
	for (round = 0; round < TEST_NODES; round++)
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

	KUNIT_EXPECT_FALSE(test, ksm_item_unlink(st->item[0],
						 KSM_RELEASE_IF_GONE));
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_TRUE(test, ksm_item_unlink(st->item[i],
							KSM_RELEASE_IF_UNNEEDED));
		KUNIT_EXPECT_EQ(test, ksm_item_state(st->item[i]),
				KSM_ITEM_SEEN);
	}
	EXPECT_COUNT(test, st, pages_sharing, 5);
	/* Its page is gone: the first to notice takes all other sharers along. */
	free_page_of(folio);
	KUNIT_EXPECT_TRUE(test, ksm_item_unlink(st->item[5],
						KSM_RELEASE_IF_GONE));
	for (i = 4; i < 10; i++)
		KUNIT_EXPECT_EQ(test, ksm_item_state(st->item[i]),
				KSM_ITEM_SEEN);
	KUNIT_EXPECT_EQ(test, st->slot->slot.mm->ksm_merging_pages, 0);
}

/* Without sharers and mappings, a page in the swap cache is dropped. */
static void stable_last_sharer(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *folio = add_page(test, st, 0, nth_test_key(0), 0, NULL);

	share(st, folio, 0);
	KUNIT_EXPECT_TRUE(test, ksm_item_unlink(st->item[0],
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

	/* A dup that was full, and has room again, is found again. */
	find_one(test, key, 0);
	share(st, find_one(test, key, 0), 42);
	share(st, find_one(test, key, 0), 43);
	KUNIT_EXPECT_NULL(test, find_one(test, key, 0));
	ksm_item_unlink(st->item[0], KSM_RELEASE_IF_UNNEEDED);
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, key, 0), st->folio[0]);

	/* Only one is left: there is no chain any more. */
	for (i = 1; i < n; i++)
		free_page_of(st->folio[i]);
	for (i = 0; i < 44; i++)
		if (ksm_item_state(st->item[i]) == KSM_ITEM_STABLE)
			ksm_item_unlink(st->item[i], KSM_RELEASE_IF_GONE);
	EXPECT_COUNT(test, st, chains, 0);
	EXPECT_COUNT(test, st, dups, 0);
	EXPECT_COUNT(test, st, nodes, 1);
	EXPECT_COUNT(test, st, pages_sharing, 2);
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, key, 0), st->folio[0]);
	free_page_of(st->folio[0]);
}

/* ksmd prunes a chain when it comes by, but not more often than allowed. */
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
	KUNIT_EXPECT_TRUE(test, ksm_item_unlink(st->item[0],
						KSM_RELEASE_IF_UNNEEDED));
	free_page_of(to);
}

/* Page frames that went offline are dropped without being read. */
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
	ksm_item_unlink(st->item[0], KSM_RELEASE_ALWAYS);
	KUNIT_EXPECT_EQ(test, ksm_stable_remove_all(), 0);
	for (n = 0; n < 16; n++)
		free_page_of(st->folio[n]);
}

/* As if an unknown child mapped it. */
static void set_mapped(struct folio *folio, bool mapped)
{
	atomic_set(&folio->_mapcount, mapped ? 0 : -1);
}

/* The page loses its last sharer, but not its last mapping. */
static void leave_mapped(struct kunit *test, struct stable_test *st,
			 unsigned int n)
{
	set_mapped(st->folio[n], true);
	share(st, st->folio[n], 0);
	folio_lock(st->folio[n]);
	ksm_stable_leave(st->folio[n], st->item[0]);
	folio_unlock(st->folio[n]);
}

static void unmap_and_free(struct stable_test *st, unsigned int n)
{
	set_mapped(st->folio[n], false);
	free_page_of(st->folio[n]);
}

static void stable_sweep(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *peer = NULL;
	unsigned int n;

	for (n = 0; n < 6; n++)
		peer = add_page(test, st, n, nth_test_key(0), 0, peer);
	/* A node that is about to be shared is not swept. */
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
	for (n = 0; n < 5; n++)
		leave_mapped(test, st, n);
	share(st, peer, 0);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unswept());
	/* They stay as long as they are mapped. */
	ksm_stable_sweep(false);
	EXPECT_COUNT(test, st, nodes, 7);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unswept());
	for (n = 0; n < 5; n++)
		unmap_and_free(st, n);
	ksm_stable_sweep(false);
	EXPECT_COUNT(test, st, nodes, 1);
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, nth_test_key(0), 0), peer);
	free_page_of(peer);
	ksm_item_unlink(st->item[0], KSM_RELEASE_ALWAYS);
	EXPECT_COUNT(test, st, nodes, 0);

	/* Somebody keeps the page, who does not map it. */
	peer = add_page(test, st, 6, nth_test_key(6), 0, NULL);
	leave_mapped(test, st, 6);
	set_mapped(peer, false);
	ksm_stable_sweep(false);
	EXPECT_COUNT(test, st, nodes, 0);
	KUNIT_EXPECT_NULL(test, ksm_folio_node(peer));
	free_page_of(peer);
}

/* It is on the queue, and that is the sweep's business: whatever happens to it. */
static void stable_queued(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *folio = add_page(test, st, 0, nth_test_key(0), 0, NULL);

	/* Shared again, and left again. */
	leave_mapped(test, st, 0);
	leave_mapped(test, st, 0);
	share(st, folio, 1);
	ksm_stable_sweep(false);
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, nth_test_key(0), 0), folio);
	KUNIT_EXPECT_TRUE(test, ksm_item_unlink(st->item[1],
						KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_TRUE(test, ksm_stable_unswept());

	/* Let go of by somebody else, who leaves its memory to the sweep. */
	set_mapped(folio, false);
	folio_lock(folio);
	ksm_stable_discard(folio);
	folio_unlock(folio);
	KUNIT_EXPECT_NULL(test, ksm_folio_node(folio));
	KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(0), 0));
	EXPECT_COUNT(test, st, nodes, 1);
	ksm_stable_sweep(false);
	EXPECT_COUNT(test, st, nodes, 0);
	free_page_of(folio);

	/* Found to be stale by a look-up. */
	add_page(test, st, 1, nth_test_key(1), 0, NULL);
	leave_mapped(test, st, 1);
	unmap_and_free(st, 1);
	KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(1), 0));
	EXPECT_COUNT(test, st, nodes, 1);
	ksm_stable_sweep(false);
	EXPECT_COUNT(test, st, nodes, 0);
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
}

/* Somebody has it locked when its maker lets go of it: the sweep sees to it. */
static void stable_discard_later(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *folio = add_page(test, st, 0, nth_test_key(0), 0, NULL);

	lock_page(&folio->page);
	ksm_stable_discard_later(folio);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unswept());
	ksm_stable_sweep(false);
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, nth_test_key(0), 0), folio);
	unlock_page(&folio->page);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unswept());
	ksm_stable_sweep(false);
	KUNIT_EXPECT_NULL(test, ksm_folio_node(folio));
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
	EXPECT_COUNT(test, st, nodes, 0);

	/* It is no KSM page any more; and one that is shared is left alone. */
	ksm_stable_discard_later(folio);
	free_page_of(folio);
	folio = add_page(test, st, 1, nth_test_key(1), 0, NULL);
	share(st, folio, 0);
	ksm_stable_discard_later(folio);
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
	KUNIT_EXPECT_TRUE(test, ksm_item_unlink(st->item[0], KSM_RELEASE_ALWAYS));
	free_page_of(folio);
}

/* Locks are held where nodes are allocated: memory is not to be waited for there. */
static void stable_alloc_at_once(struct kunit *test)
{
	struct ksm_stable_node *node[64];
	unsigned int i;

	if (!IS_ENABLED(CONFIG_DEBUG_ATOMIC_SLEEP) || test_taint(TAINT_WARN))
		kunit_skip(test, "nothing would tell of waiting");
	/* Whoever says that it may sleep now is reported, and taints the kernel. */
	non_block_start();
	for (i = 0; i < ARRAY_SIZE(node); i++)
		node[i] = ksm_stable_alloc();
	non_block_end();
	KUNIT_EXPECT_FALSE(test, test_taint(TAINT_WARN));
	for (i = 0; i < ARRAY_SIZE(node); i++) {
		KUNIT_EXPECT_NOT_NULL(test, node[i]);
		ksm_stable_free(node[i]);
	}
}

static unsigned int count_state(struct stable_test *st, enum ksm_item_state state)
{
	unsigned int i, nr = 0;

	for (i = 0; i < TEST_SHARERS; i++)
		nr += ksm_item_state(st->item[i]) == state;
	return nr;
}

static struct folio *share_by_all(struct kunit *test, struct stable_test *st)
{
	struct folio *folio = add_page(test, st, 0, nth_test_key(0), 0, NULL);
	unsigned int i;

	/* Not full: look-ups that want to share it come across it. */
	ksm_settings.max_page_sharing = TEST_SHARERS + 1;
	for (i = 0; i < TEST_SHARERS; i++)
		share(st, folio, i);
	return folio;
}

/* Whoever finds a page gone that very many share takes some of them along. */
static void stable_dead(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct ksm_rmap_item **item = st->item;
	unsigned int left, i;

	free_page_of(share_by_all(test, st));
	KUNIT_EXPECT_NULL(test, find_one(test, nth_test_key(0), 0));
	left = count_state(st, KSM_ITEM_STABLE);
	KUNIT_EXPECT_GT(test, left, 0);
	KUNIT_EXPECT_LT(test, left, TEST_SHARERS);
	KUNIT_EXPECT_EQ(test, count_state(st, KSM_ITEM_SEEN), TEST_SHARERS - left);
	EXPECT_COUNT(test, st, nodes, 1);
	EXPECT_COUNT(test, st, pages_shared, 1);
	EXPECT_COUNT(test, st, pages_sharing, left - 1);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unswept());

	/* And each of those that are left leaves by itself. */
	for (i = 0; ksm_item_state(item[i]) != KSM_ITEM_STABLE; i++)
		;
	KUNIT_EXPECT_TRUE(test, ksm_item_unlink(item[i], KSM_RELEASE_IF_GONE));
	KUNIT_EXPECT_EQ(test, ksm_item_state(item[i]), KSM_ITEM_SEEN);
	KUNIT_EXPECT_EQ(test, count_state(st, KSM_ITEM_STABLE), left - 1);
	KUNIT_EXPECT_EQ(test, st->slot->slot.mm->ksm_merging_pages, left - 1);

	ksm_stable_sweep(false);
	KUNIT_EXPECT_EQ(test, count_state(st, KSM_ITEM_STABLE), 0);
	EXPECT_COUNT(test, st, nodes, 0);
	EXPECT_COUNT(test, st, pages_shared, 0);
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
}

/* As stable_dead(), and all of them leave before the sweep comes by. */
static void stable_dead_by_itself(struct kunit *test)
{
	struct stable_test *st = test->priv;
	unsigned int i;

	free_page_of(share_by_all(test, st));
	for (i = 0; i < TEST_SHARERS; i++)
		if (ksm_item_state(st->item[i]) == KSM_ITEM_STABLE)
			KUNIT_EXPECT_TRUE(test,
					  ksm_item_unlink(st->item[i],
							  KSM_RELEASE_IF_GONE));
	EXPECT_COUNT(test, st, pages_shared, 0);
	EXPECT_COUNT(test, st, nodes, 1);
	ksm_stable_sweep(false);
	EXPECT_COUNT(test, st, nodes, 0);
}

static unsigned int scope_moved(struct page *page)
{
	return 1;
}

/* The page moves to another scope, and to another shard: its sharers find it. */
static void stable_rehome(struct kunit *test)
{
	struct stable_test *st = test->priv;
	struct folio *folio = share_by_all(test, st);
	u64 key = ksm_rekey(nth_test_key(0), 0, 1);
	unsigned int i;

	kunit_activate_static_stub(test, ksm_scope, scope_moved);
	folio_lock(folio);
	ksm_stable_rehome(folio);
	folio_unlock(folio);
	KUNIT_EXPECT_NE(test, ksm_shard_number(key),
			ksm_shard_number(nth_test_key(0)));
	KUNIT_EXPECT_EQ(test, ksm_folio_node(folio)->key, key);
	EXPECT_COUNT(test, st, pages_sharing, TEST_SHARERS - 1);
	for (i = 0; i < TEST_SHARERS / 2; i++)
		KUNIT_EXPECT_TRUE(test, ksm_item_unlink(st->item[i],
							KSM_RELEASE_ALWAYS));
	KUNIT_EXPECT_PTR_EQ(test, find_one(test, key, 1), folio);
	free_page_of(folio);
	KUNIT_EXPECT_NULL(test, find_one(test, key, 1));
	ksm_stable_sweep(true);
	EXPECT_COUNT(test, st, nodes, 0);
	KUNIT_EXPECT_EQ(test, count_state(st, KSM_ITEM_STABLE), 0);
}

/* The first page is where it was, all others have moved. */
static unsigned int scope_of_first(struct page *page)
{
	struct stable_test *st = kunit_get_current_test()->priv;

	return page != &st->folio[0]->page;
}

static bool never_equal(struct page *a, struct page *b)
{
	return false;
}

/* It is found among those, if only after each of them was met. */
static void look_past_moved(struct kunit *test, bool chain)
{
	struct stable_test *st = test->priv;
	u64 key = nth_test_key(0);
	unsigned int n, round;

	for (n = 0; n < TEST_NODES; n++)
		add_page(test, st, n, key, 0, chain && n ? st->folio[0] : NULL);
	kunit_activate_static_stub(test, ksm_scope, scope_of_first);
	kunit_activate_static_stub(test, ksm_pages_equal, never_equal);
	for (round = 0; round < TEST_NODES; round++)
		find_one(test, key, 0);
	for (round = 0; round < TEST_NODES; round++)
		KUNIT_EXPECT_PTR_EQ(test, find_one(test, key, 0), st->folio[0]);
	kunit_activate_static_stub(test, ksm_scope, scope_of_node);
	for (n = 0; n < TEST_NODES; n++)
		free_page_of(st->folio[n]);
	for (round = 0; round < TEST_NODES; round++) {
		KUNIT_EXPECT_NULL(test, find_one(test, key, 0));
		KUNIT_EXPECT_NULL(test, find_one(test, ksm_rekey(key, 0, 1), 1));
	}
	EXPECT_COUNT(test, st, nodes, 0);
}

static void stable_moved(struct kunit *test)
{
	look_past_moved(test, false);
}

static void stable_moved_chain(struct kunit *test)
{
	look_past_moved(test, true);
}

static struct kunit_case stable_cases[] = {
	KUNIT_CASE(stable_find),
	KUNIT_CASE(stable_collisions),
	KUNIT_CASE(stable_crowd),
	KUNIT_CASE(stable_sharers),
	KUNIT_CASE(stable_last_sharer),
	KUNIT_CASE(stable_chains),
	KUNIT_CASE(stable_prune),
	KUNIT_CASE(stable_migration),
	KUNIT_CASE(stable_offline),
	KUNIT_CASE(stable_remove),
	KUNIT_CASE(stable_sweep),
	KUNIT_CASE(stable_queued),
	KUNIT_CASE(stable_discard_later),
	KUNIT_CASE(stable_alloc_at_once),
	KUNIT_CASE(stable_dead),
	KUNIT_CASE(stable_dead_by_itself),
	KUNIT_CASE(stable_rehome),
	KUNIT_CASE(stable_moved),
	KUNIT_CASE(stable_moved_chain),
	{}
};

static struct kunit_suite stable_suite = {
	.name = "ksm_stable",
	.init = stable_test_init,
	.exit = stable_test_exit,
	.test_cases = stable_cases,
};

kunit_test_suite(stable_suite);
