// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the verifying walk: each violation is made, has to be told, and
 * is undone. Included by verify.c.
 */
#include <linux/highmem.h>

#include "../../internal.h"
#include "fixture.h"
#include "mm_fixture.h"

#define TEST_START	(64UL << 20)
#define TEST_PAGES	KSM_CHUNK_PAGES
/* Pages, all of one chunk: four of a content, two of another... */
#define TEST_CHAINED	0U
#define TEST_SHARED	4U
/* ...and four that are like no other. */
#define TEST_UNIQUE	6U
#define TEST_FREE	10U

/**
 * struct verify_test - an mm with a KSM page, a chain, and unshared pages
 * @mm: the mm
 * @scan: the state of a worker, which is the test
 * @slot: the mm's
 * @chunk: of its pages
 * @verify: the last walk
 * @sharing: max_page_sharing before the test
 */
struct verify_test {
	struct mm_struct *mm;
	struct ksm_scan *scan;
	struct ksm_mm_slot *slot;
	struct ksm_chunk *chunk;
	struct ksm_verify *verify;
	unsigned int sharing;
};

static u64 test_content(unsigned int page)
{
	return page < TEST_SHARED ? 1 : page < TEST_UNIQUE ? 2 : page;
}

static int verify_test_init(struct kunit *test)
{
	struct verify_test *vt = kunit_kzalloc(test, sizeof(*vt), GFP_KERNEL);
	unsigned int i;

	if (!vt || !ksm_registry_idle())
		return -EBUSY;
	if (!ksm_fingerprint_ready())
		kunit_skip(test, "the random number generator is not initialized");
	vt->scan = ksm_scan_alloc();
	if (!vt->scan)
		return -ENOMEM;
	vt->sharing = ksm_settings.max_page_sharing;
	ksm_settings.max_page_sharing = 2;
	vt->mm = test_mm(test);
	test->priv = vt;
	test_mm_map(test, vt->mm, TEST_START, TEST_PAGES);
	for (i = 0; i < TEST_FREE; i++)
		test_mm_fill(test, vt->mm, TEST_START + i * PAGE_SIZE,
			     test_content(i));
	for (i = 0; i < 4; i++)
		test_mm_scan(test, vt->scan);
	down_write(&ksm_gate);
	vt->slot = ksm_slot_next(NULL);
	vt->chunk = ksm_chunk_find(vt->slot, TEST_START);
	ksm_slot_next(vt->slot);
	up_write(&ksm_gate);
	KUNIT_EXPECT_NOT_NULL(test, vt->chunk);
	return vt->chunk ? 0 : -ENOENT;
}

static void verify_test_exit(struct kunit *test)
{
	struct verify_test *vt = test->priv;

	if (!vt)
		return;
	if (vt->verify)
		verify_free(vt->verify);
	mmput(vt->mm);
	down_write(&ksm_gate);
	test_reap();
	ksm_stable_sweep(false);
	up_write(&ksm_gate);
	ksm_scan_free(vt->scan);
	ksm_reset_full_scans();
	ksm_settings.max_page_sharing = vt->sharing;
	KUNIT_EXPECT_EQ(test, ksm_metadata_bytes(), 0);
}

static struct ksm_verify *walk(struct kunit *test)
{
	struct verify_test *vt = test->priv;

	if (vt->verify)
		verify_free(vt->verify);
	vt->verify = verify_alloc();
	KUNIT_ASSERT_NOT_NULL(test, vt->verify);
	KUNIT_EXPECT_EQ(test, verify_all(vt->verify), 0);
	return vt->verify;
}

/* Nothing is told: what a test has made wrong it has undone. */
static void expect_ok(struct kunit *test)
{
	struct ksm_verify *verify = walk(test);

	KUNIT_EXPECT_EQ(test, verify->violations, 0);
	KUNIT_EXPECT_STREQ(test, seq_buf_str(&verify->text), "");
}

/* Does the last walk tell this? */
static void expect_told(struct kunit *test, const char *what)
{
	struct verify_test *vt = test->priv;
	const char *told = seq_buf_str(&vt->verify->text);

	KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(told, what),
				  "not told: %stold:\n%s", what, told);
}

static struct ksm_stable_node *node_of(struct verify_test *vt, unsigned int page)
{
	return ksm_item_node(&vt->chunk->item[page]);
}

static struct page *page_of(struct verify_test *vt, unsigned int page)
{
	return pfn_to_page(node_of(vt, page)->kpfn);
}

static void verify_nothing(struct kunit *test)
{
	struct verify_test *vt = test->priv;

	down_write(&ksm_gate);
	expect_ok(test);
	KUNIT_EXPECT_EQ(test, vt->verify->slots, 1);
	KUNIT_EXPECT_EQ(test, vt->verify->gone, 0);
	KUNIT_EXPECT_EQ(test, vt->verify->chunks, 1);
	KUNIT_EXPECT_EQ(test, vt->verify->items, TEST_FREE);
	KUNIT_EXPECT_EQ(test, vt->verify->stable, TEST_UNIQUE);
	KUNIT_EXPECT_EQ(test, vt->verify->in_trees, TEST_FREE - TEST_UNIQUE);
	KUNIT_EXPECT_EQ(test, vt->verify->nodes, 4);
	KUNIT_EXPECT_EQ(test, vt->verify->chains, 1);
	KUNIT_EXPECT_EQ(test, vt->verify->dups, 2);
	KUNIT_EXPECT_EQ(test, vt->verify->shared, 3);
	KUNIT_EXPECT_EQ(test, vt->verify->sharers, TEST_UNIQUE);
	KUNIT_EXPECT_EQ(test, vt->verify->mappings, TEST_UNIQUE);
	KUNIT_EXPECT_EQ(test, vt->verify->stale, 0);
	KUNIT_EXPECT_EQ(test, vt->verify->misplaced, 0);
	KUNIT_EXPECT_EQ(test, vt->verify->unsettled, 0);
	up_write(&ksm_gate);
}

/* The mm exits: what is known of it is found until it is freed. */
static void verify_exited(struct kunit *test)
{
	struct verify_test *vt = test->priv;

	down_write(&ksm_gate);
	__ksm_exit(vt->mm);
	expect_ok(test);
	KUNIT_EXPECT_EQ(test, vt->verify->slots, 1);
	KUNIT_EXPECT_EQ(test, vt->verify->gone, 1);
	KUNIT_EXPECT_EQ(test, vt->verify->items, TEST_FREE);
	up_write(&ksm_gate);
}

static void change_counters(long by)
{
	atomic_long_add(by, &ksm_counters.pages_shared);
	atomic_long_add(by, &ksm_counters.pages_sharing);
	atomic_long_add(by, &ksm_counters.pages_unshared);
	atomic_long_add(by, &ksm_counters.rmap_items);
	atomic_long_add(by, &ksm_counters.chains);
	atomic_long_add(by, &ksm_counters.dups);
	atomic_long_add(by, &ksm_counters.nodes);
	atomic_long_add(by, &ksm_counters.chunks);
	atomic_long_add(by, &ksm_counters.slots);
}

static void verify_wrong_counters(struct kunit *test)
{
	struct verify_test *vt = test->priv;

	down_write(&ksm_gate);
	change_counters(1);
	vt->mm->ksm_rmap_items++;
	vt->mm->ksm_merging_pages++;
	walk(test);
	change_counters(-1);
	vt->mm->ksm_rmap_items--;
	vt->mm->ksm_merging_pages--;
	expect_told(test, "counter pages_shared is 4, counted 3\n");
	expect_told(test, "counter pages_sharing is 4, counted 3\n");
	expect_told(test, "counter pages_unshared is 5, counted 4\n");
	expect_told(test, "counter rmap_items is 11, counted 10\n");
	expect_told(test, "counter chains is 2, counted 1\n");
	expect_told(test, "counter dups is 3, counted 2\n");
	expect_told(test, "counter nodes is 5, counted 4\n");
	expect_told(test, "counter chunks is 2, counted 1\n");
	expect_told(test, "counter slots is 2, counted 1\n");
	expect_told(test, "an mm: ksm_rmap_items is 11, counted 10\n");
	expect_told(test, "an mm: ksm_merging_pages is 7, counted 6\n");
	KUNIT_EXPECT_EQ(test, vt->verify->violations, 11);
	expect_ok(test);
	up_write(&ksm_gate);
}

static void verify_wrong_sharers(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_stable_node *node = node_of(vt, TEST_SHARED);

	down_write(&ksm_gate);
	node->sharers++;
	vt->chunk->state[TEST_SHARED + 1] = KSM_ITEM_SEEN;
	ksm_settings.max_page_sharing = 1;
	walk(test);
	ksm_settings.max_page_sharing = 2;
	vt->chunk->state[TEST_SHARED + 1] = KSM_ITEM_STABLE;
	node->sharers--;
	expect_told(test, "has 3 sharers, counted 2\n");
	expect_told(test, "sharer at 4005000 has state 1\n");
	expect_told(test, "2 sharers, max_page_sharing is 1\n");
	expect_told(test, "5 stable items, 6 on the lists of nodes\n");
	expect_ok(test);
	up_write(&ksm_gate);
}

/* A page that nobody shares has to be on the queue, and any other may be. */
static void verify_wrong_queue(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_stable_node *node = node_of(vt, TEST_SHARED);

	down_write(&ksm_gate);
	node->sharers = 0;
	walk(test);
	node->sharers = 2;
	expect_told(test, "has 0 sharers, counted 2\n");
	expect_told(test, "has no sharers, and nothing leads to it\n");
	ksm_node_queue(node);
	expect_ok(test);
	node->queued = false;
	walk(test);
	node->queued = true;
	expect_told(test, "on the queue, but not queued\n");
	KUNIT_EXPECT_EQ(test, vt->verify->violations, 1);
	KUNIT_EXPECT_TRUE(test, ksm_stable_unswept());
	ksm_stable_sweep(true);
	KUNIT_EXPECT_FALSE(test, ksm_stable_unswept());
	KUNIT_EXPECT_FALSE(test, node->queued);
	expect_ok(test);
	up_write(&ksm_gate);
}

/* A page that is gone: its sharers are found as long as they have not left it. */
static void verify_dead(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_stable_node *node = node_of(vt, TEST_SHARED);
	struct ksm_shard *shard = ksm_shard_of(node->key);
	struct page *page = page_of(vt, TEST_SHARED);
	struct folio *folio = page_folio(page);
	struct ksm_dead dead = { };

	down_write(&ksm_gate);
	folio_lock(folio);
	ksm_shard_lock(shard);
	/* As if queued, so that nobody frees it. */
	ksm_node_queue(node);
	ksm_node_kill_alone(node, shard, &dead);
	WRITE_ONCE(folio->mapping, (void *)FOLIO_MAPPING_KSM);
	ksm_shard_unlock(shard);
	folio_unlock(folio);
	KUNIT_EXPECT_NULL(test, dead.first);
	expect_ok(test);
	KUNIT_EXPECT_EQ(test, vt->verify->nodes, 4);
	KUNIT_EXPECT_EQ(test, vt->verify->shared, 3);
	KUNIT_EXPECT_EQ(test, vt->verify->mappings, TEST_SHARED);
	ksm_stable_sweep(true);
	expect_ok(test);
	KUNIT_EXPECT_EQ(test, vt->verify->nodes, 3);
	KUNIT_EXPECT_EQ(test, vt->verify->stable, TEST_SHARED);
	up_write(&ksm_gate);
}

/* A sharer that no list leads to; then one on the list of another page. */
static void verify_wrong_list(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_rmap_item *item = &vt->chunk->item[TEST_SHARED];
	struct ksm_stable_node *node = node_of(vt, TEST_SHARED);

	down_write(&ksm_gate);
	hlist_del(&item->link);
	walk(test);
	expect_told(test, "has 2 sharers, counted 1\n");
	expect_told(test, "2 mappings, 1 found, 2 sharers\n");
	expect_told(test, "6 stable items, 5 on the lists of nodes\n");
	hlist_add_head(&item->link, &node_of(vt, TEST_CHAINED)->items);
	walk(test);
	expect_told(test, "sharer at 4004000 is of another node\n");
	expect_told(test, "has 2 sharers, counted 3\n");
	hlist_del(&item->link);
	hlist_add_head(&item->link, &node->items);
	expect_ok(test);
	up_write(&ksm_gate);
}

static void verify_wrong_scope(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_stable_node *node = node_of(vt, TEST_SHARED);

	down_write(&ksm_gate);
	node->scope = 5;
	walk(test);
	node->scope = 0;
	expect_told(test, "its content has another key, in scope 5\n");
	KUNIT_EXPECT_EQ(test, vt->verify->misplaced, 1);
	KUNIT_EXPECT_EQ(test, vt->verify->violations, 1);
	expect_ok(test);
	up_write(&ksm_gate);
}

static void change_content(struct page *page)
{
	u8 *content = kmap_local_page(page);

	content[PAGE_SIZE / 2] ^= 1;
	kunmap_local(content);
}

static void verify_wrong_page(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct page *page = page_of(vt, TEST_SHARED);

	down_write(&ksm_gate);
	change_content(page);
	set_bit(PG_anon_exclusive, folio_flags(page_folio(page), 0));
	walk(test);
	clear_bit(PG_anon_exclusive, folio_flags(page_folio(page), 0));
	change_content(page);
	expect_told(test, "its content has another key, in scope 0\n");
	expect_told(test, "is exclusive to a process\n");
	expect_ok(test);
	up_write(&ksm_gate);
}

/* Not told to those that count PTEs that can be written by. */
static void change_pte(struct vm_area_struct *vma, unsigned long addr, bool write)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);
	pte_t *ptep, pte;
	spinlock_t *ptl; /* of the page table */

	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	pte = ptep_get(ptep);
	set_pte(ptep, write ? pte_mkwrite_novma(pte) : pte_wrprotect(pte));
	pte_unmap_unlock(ptep, ptl);
}

static void verify_wrong_mapping(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	unsigned long addr = TEST_START + TEST_SHARED * PAGE_SIZE;
	struct vm_area_struct *vma;

	down_write(&ksm_gate);
	mmap_write_lock(vt->mm);
	vma = vma_lookup(vt->mm, addr);
	vm_flags_clear(vma, VM_MERGEABLE);
	change_pte(vma, addr, true);
	walk(test);
	change_pte(vma, addr, false);
	vm_flags_set(vma, VM_MERGEABLE);
	mmap_write_unlock(vt->mm);
	expect_told(test, "can be written to at 4004000\n");
	expect_told(test, "which is not mergeable\n");
	/* Of each of the three pages one address */
	KUNIT_EXPECT_EQ(test, vt->verify->violations, 4);
	expect_ok(test);
	up_write(&ksm_gate);
}

static void verify_wrong_chain(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_stable_node *chain = node_of(vt, TEST_CHAINED)->chain;
	struct ksm_stable_node *first, *last;

	down_write(&ksm_gate);
	KUNIT_ASSERT_EQ(test, node_of(vt, TEST_CHAINED)->kind, KSM_NODE_DUP);
	first = list_first_entry(&chain->dups, struct ksm_stable_node, dup);
	last = list_last_entry(&chain->dups, struct ksm_stable_node, dup);
	last->key ^= KSM_PLACE_MASK + 1;
	first->kind = KSM_NODE_PAGE;
	last->sharers--;
	walk(test);
	last->sharers++;
	first->kind = KSM_NODE_DUP;
	last->key ^= KSM_PLACE_MASK + 1;
	expect_told(test, "on a chain, but not its dup\n");
	expect_told(test, "on the chain of another key\n");
	expect_told(test, "a dup with room is behind a full one\n");

	list_del(&last->dup);
	first->chain = NULL;
	walk(test);
	first->chain = chain;
	list_add_tail(&last->dup, &chain->dups);
	expect_told(test, "has 1 dups\n");
	expect_told(test, "on a chain, but not its dup\n");
	expect_told(test, "counter dups is 2, counted 1\n");
	expect_ok(test);
	up_write(&ksm_gate);
}

/* Puts a node that has no page any more behind all others of a shard. */
static struct ksm_stable_node *add_stray(struct ksm_shard *shard, u64 key)
{
	struct ksm_stable_node *node = ksm_stable_alloc();
	struct rb_node **link = &shard->stable.rb_node, *parent = NULL;

	if (!node)
		return NULL;
	node->key = key;
	while (*link) {
		parent = *link;
		link = &parent->rb_right;
	}
	rb_link_node(&node->rb, parent, link);
	rb_insert_color(&node->rb, &shard->stable);
	return node;
}

static void remove_stray(struct ksm_shard *shard, struct ksm_stable_node *node)
{
	rb_erase(&node->rb, &shard->stable);
	ksm_stable_free(node);
}

static void verify_wrong_node(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_stable_node *stray, *node = node_of(vt, TEST_SHARED);
	struct ksm_shard *shard = ksm_shard_of(node->key);

	down_write(&ksm_gate);
	/* Is the last one of its shard, but the least */
	stray = add_stray(shard, node->key & (~0ULL << (64 - ksm_shard_bits)));
	KUNIT_ASSERT_NOT_NULL(test, stray);
	stray->kind = KSM_NODE_DUP;
	walk(test);
	expect_told(test, "in the tree, of kind 1\n");
	expect_told(test, " in the tree\n");
	expect_told(test, "has no sharers, and nothing leads to it\n");
	KUNIT_EXPECT_EQ(test, vt->verify->violations, 3);
	KUNIT_EXPECT_EQ(test, vt->verify->stale, 1);
	stray->kind = KSM_NODE_PAGE;
	stray->key = ~stray->key;
	walk(test);
	remove_stray(shard, stray);
	expect_told(test, "in the tree of another shard\n");
	expect_ok(test);
	up_write(&ksm_gate);
}

static void verify_wrong_waiting(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_rmap_item *item = &vt->chunk->item[TEST_UNIQUE];
	u64 key = ksm_item_key(item);
	struct ksm_shard *shard = ksm_shard_of(key);
	struct rb_root *root = ksm_unstable_root(shard, key);

	down_write(&ksm_gate);
	/* Alone in its tree, most likely */
	ksm_item_set_key(item, ~key);
	vt->chunk->state[TEST_UNIQUE] = KSM_ITEM_SEEN;
	walk(test);
	vt->chunk->state[TEST_UNIQUE] = KSM_ITEM_UNSTABLE;
	ksm_item_set_key(item, key);
	expect_told(test, "item at 4006000: in another key's tree\n");
	expect_told(test, "item at 4006000: in a tree, with state 1\n");
	expect_told(test, "3 unstable items, 4 in the trees\n");

	/* Two that no tree leads to */
	rb_erase(&item->node, root);
	item = &vt->chunk->item[TEST_UNIQUE + 1];
	rb_erase(&item->node, ksm_unstable_root(ksm_shard_of(ksm_item_key(item)),
						ksm_item_key(item)));
	vt->chunk->state[TEST_UNIQUE + 1] = KSM_ITEM_CLAIMED;
	walk(test);
	expect_told(test, "item at 4007000: claimed by nobody\n");
	expect_told(test, "3 unstable items, 2 in the trees\n");
	expect_told(test, "counter pages_unshared is 4, counted 2\n");
	atomic_long_sub(2, &ksm_counters.pages_unshared);
	vt->chunk->state[TEST_UNIQUE] = KSM_ITEM_SEEN;
	vt->chunk->state[TEST_UNIQUE + 1] = KSM_ITEM_SEEN;
	expect_ok(test);
	up_write(&ksm_gate);
}

/* Two of one tree, in the wrong order. */
static void verify_wrong_order(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_rmap_item *item = &vt->chunk->item[TEST_UNIQUE];
	struct ksm_rmap_item *other = &vt->chunk->item[TEST_UNIQUE + 1];
	u64 key = ksm_item_key(item) | (KSM_PLACE_MASK + 1);
	struct rb_root *root = ksm_unstable_root(ksm_shard_of(key), key);
	struct ksm_rmap_item *row[KSM_SAME_KEY_MAX];

	down_write(&ksm_gate);
	KUNIT_EXPECT_TRUE(test, ksm_unstable_remove(item));
	KUNIT_EXPECT_TRUE(test, ksm_unstable_remove(other));
	ksm_item_set_key(item, key);
	ksm_item_set_key(other, key);
	KUNIT_EXPECT_EQ(test, ksm_unstable_meet(item, row), 0);
	KUNIT_EXPECT_EQ(test, ksm_unstable_meet(other, row), 1);
	ksm_unstable_put_back(key, row, 1, other);
	KUNIT_EXPECT_PTR_EQ(test, rb_next(&item->node), &other->node);
	expect_ok(test);
	ksm_item_set_key(other, key ^ (KSM_PLACE_MASK + 1));
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_root(ksm_shard_of(key), key), root);
	walk(test);
	ksm_item_set_key(other, key);
	expect_told(test, "item at 4007000: ");
	expect_told(test, " in its tree\n");
	expect_ok(test);
	up_write(&ksm_gate);
}

static void verify_wrong_chunk(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	struct ksm_mm_slot *other = kunit_kzalloc(test, sizeof(*other), GFP_KERNEL);
	struct ksm_chunk *chunk = vt->chunk, *empty;
	struct vm_area_struct *vma = test_vma(test, 0, TEST_PAGES, 0);

	down_write(&ksm_gate);
	KUNIT_ASSERT_NOT_NULL(test, other);
	other->slot.mm = vt->mm;
	KUNIT_ASSERT_PTR_EQ(test, ksm_slot_next(NULL), vt->slot);
	empty = ksm_chunk_make(vt->slot, 0, vma, NULL);
	KUNIT_ASSERT_NOT_NULL(test, empty);
	chunk->slot = other;
	/* Of a free one nobody asks, and this leads nobody astray. */
	chunk->item[TEST_FREE].tag ^= 1;
	chunk->state[TEST_FREE + 1] = KSM_ITEM_STATE_MASK;
	walk(test);
	chunk->state[TEST_FREE + 1] = KSM_ITEM_FREE;
	chunk->item[TEST_FREE].tag ^= 1;
	chunk->slot = vt->slot;
	ksm_chunk_free_if_unused(empty);
	ksm_slot_next(vt->slot);
	expect_told(test, "chunk 4000000: of another slot\n");
	expect_told(test, "item at 400a000: has place 11, is at 10\n");
	expect_told(test, "item at 400b000: has state 7\n");
	expect_told(test, "chunk 0: all of it is free\n");

	chunk->start += KSM_CHUNK_SPAN;
	walk(test);
	chunk->start -= KSM_CHUNK_SPAN;
	expect_told(test, "chunk 4010000: found by the address 4000000\n");
	expect_ok(test);
	up_write(&ksm_gate);
}

/* Of very many, the number is told. */
static void verify_many(struct kunit *test)
{
	struct verify_test *vt = test->priv;
	unsigned int i;

	down_write(&ksm_gate);
	walk(test);
	for (i = 0; i < KSM_VERIFY_LINES + 20; i++)
		ksm_verify_fail(vt->verify, "the %uth of many", i);
	KUNIT_EXPECT_EQ(test, vt->verify->violations, KSM_VERIFY_LINES + 20);
	KUNIT_EXPECT_FALSE(test, seq_buf_has_overflowed(&vt->verify->text));
	expect_told(test, "the 99th of many\n");
	KUNIT_EXPECT_NULL(test, strstr(seq_buf_str(&vt->verify->text), "the 100th"));
	up_write(&ksm_gate);
}

static struct kunit_case verify_cases[] = {
	KUNIT_CASE(verify_nothing),
	KUNIT_CASE(verify_exited),
	KUNIT_CASE(verify_wrong_counters),
	KUNIT_CASE(verify_wrong_sharers),
	KUNIT_CASE(verify_wrong_queue),
	KUNIT_CASE(verify_dead),
	KUNIT_CASE(verify_wrong_list),
	KUNIT_CASE(verify_wrong_scope),
	KUNIT_CASE(verify_wrong_page),
	KUNIT_CASE(verify_wrong_mapping),
	KUNIT_CASE(verify_wrong_chain),
	KUNIT_CASE(verify_wrong_node),
	KUNIT_CASE(verify_wrong_waiting),
	KUNIT_CASE(verify_wrong_order),
	KUNIT_CASE(verify_wrong_chunk),
	KUNIT_CASE(verify_many),
	{}
};

static struct kunit_suite verify_suite = {
	.name = "ksm_verify",
	.init = verify_test_init,
	.exit = verify_test_exit,
	.test_cases = verify_cases,
};

kunit_test_suite(verify_suite);
