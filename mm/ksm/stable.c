// SPDX-License-Identifier: GPL-2.0
/*
 * The stable tree: KSM pages by content and scope.
 *
 * The keys stored in the nodes order the tree; a look-up touches no page.
 */
#include <linux/jiffies.h>
#include <linux/random.h>
#include <linux/rmap.h>
#include <linux/sched.h>

#include "key.h"
#include "ksm.h"
#include "node.h"
#include "shard.h"
#include "stable.h"
#include "sweep.h"

static int stable_order(const void *key, const struct rb_node *rb)
{
	u64 other = rb_entry(rb, struct ksm_stable_node, rb)->key;
	u64 mine = *(const u64 *)key;

	return mine < other ? -1 : mine > other;
}

static bool stable_less(struct rb_node *a, const struct rb_node *b)
{
	return stable_order(&rb_entry(a, struct ksm_stable_node, rb)->key, b) < 0;
}

/* --------------------------------------------------------------- look-up */

/*
 * A page that has moved to another scope than its node's attracts nobody until it
 * is put in its place: at a visit to one of its sharers, or by stable_end_moved().
 */
static void stable_consider(struct ksm_stable_node *node, bool with_full,
			    struct ksm_shard *shard, struct ksm_stable_hits *hits,
			    struct ksm_dead *dead)
{
	struct folio *folio;

	ksm_shard_step(shard);
	if (ksm_node_is_full(node) && !with_full)
		return;
	folio = ksm_node_get_folio(node);
	if (folio == ERR_PTR(-ESTALE))
		ksm_node_kill(node, shard, dead);
	if (IS_ERR(folio))
		return;
	if (folio_test_hwpoison(folio) || ksm_scope(&folio->page) != node->scope) {
		if (hits->moved || folio_test_hwpoison(folio))
			folio_put(folio);
		else
			hits->moved = folio;
		return;
	}
	hits->room[hits->nr] = !ksm_node_is_full(node);
	hits->folio[hits->nr++] = folio;
}

/* Dups to look at without releasing the lock, for each of the chains of a key. */
#define PRUNE_MAX	64U

static void stable_prune_chain(struct ksm_stable_node *chain,
			       struct ksm_shard *shard, struct ksm_dead *dead)
{
	unsigned long delay = msecs_to_jiffies(READ_ONCE(ksm_settings.prune_millisecs));
	struct ksm_stable_node *dup, *prev;
	unsigned int visited = 0;
	struct folio *folio;

	if (time_before(jiffies, chain->pruned + delay))
		return;

	chain->pruned = jiffies;
	list_for_each_entry_safe_reverse(dup, prev, &chain->dups, dup) {
		ksm_shard_step(shard);
		folio = ksm_node_get_folio(dup);
		if (folio == ERR_PTR(-ESTALE))
			ksm_node_kill(dup, shard, dead);
		else if (!IS_ERR(folio))
			folio_put(folio);
		if (++visited == PRUNE_MAX)
			break;
	}
}

/* One of the chain's pages is enough, as they all have the same content. */
static void stable_consider_chain(struct ksm_stable_node *chain, bool with_full,
				  struct ksm_shard *shard, struct ksm_stable_hits *hits,
				  struct ksm_dead *dead)
{
	struct ksm_stable_node *dup, *next;
	unsigned int had = hits->nr, visited = 0;

	stable_prune_chain(chain, shard, dead);
	list_for_each_entry_safe(dup, next, &chain->dups, dup) {
		/* Dups with room come first. */
		if (ksm_node_is_full(dup) && !with_full)
			break;
		stable_consider(dup, with_full, shard, hits, dead);
		if (hits->nr > had)
			break;
		if (++visited == KSM_SAME_KEY_MAX) {
			hits->more = true;
			break;
		}
	}
	ksm_chain_settle(chain, shard);
}

/*
 * Where a look-up starts: at the first node of the key, or at a random one if
 * there are more than it visits. It does not use a cursor that every look-up
 * moves: with one, somebody could make others see the same nodes every time.
 */
static struct rb_node *stable_row_start(struct rb_root *root, const u64 *key,
					struct rb_node *first)
{
	struct rb_node *rb = root->rb_node, *start = first;
	u32 turns = get_random_u32();

	while (rb) {
		int order = stable_order(key, rb);

		if (!order) {
			start = rb;
			order = turns & 1 ? -1 : 1;
			turns >>= 1;
		}
		rb = order < 0 ? rb->rb_left : rb->rb_right;
	}
	return start;
}

static bool stable_has_more(const u64 *key, struct rb_node *first)
{
	unsigned int nr = 0;

	for (; first && nr <= KSM_SAME_KEY_MAX; nr++)
		first = rb_next_match(key, first, stable_order);
	return nr > KSM_SAME_KEY_MAX;
}

/*
 * Ends a look-up that may have come across a page that has moved. Where there are
 * more nodes than it goes through, such pages would hide the others: so each look-up
 * puts one of them in its place. Whoever wants full ones as well has a folio locked.
 */
static void stable_end_moved(struct ksm_stable_hits *hits, bool with_full)
{
	struct folio *folio = hits->moved;

	if (!folio)
		return;
	if (hits->more && !with_full && folio_trylock(folio)) {
		ksm_stable_rehome(folio);
		folio_unlock(folio);
	}
	folio_put(folio);
	hits->moved = NULL;
}

/**
 * ksm_stable_find - find the KSM pages of a key
 * @key: content and scope
 * @scope: the scope
 * @with_full: also those that have no room for another sharer
 * @hits: filled in; to be put with ksm_stable_hits_put()
 *
 * The pages found need not have the wanted content, so compare. If the key has
 * more than %KSM_SAME_KEY_MAX nodes, each call finds others.
 *
 * Context: sleeps; waits for no folio lock. The caller may have one, with
 *	@with_full alone.
 */
void ksm_stable_find(u64 key, u16 scope, bool with_full,
		     struct ksm_stable_hits *hits)
{
	struct ksm_shard *shard = ksm_shard_of(key);
	struct rb_root *root = &shard->stable;
	struct rb_node *first, *rb, *next;
	struct ksm_stable_node *node;
	unsigned int visited = 0;
	struct ksm_dead dead = { };

	hits->nr = 0;
	hits->more = false;
	hits->moved = NULL;
	/*
	 * Most keys are in no tree, and an outdated answer is good enough to
	 * find a page to share.
	 */
	if (!with_full && !data_race(READ_ONCE(root->rb_node)))
		return;

	ksm_shard_lock(shard);
	hits->inserts = shard->inserts;
	first = rb_find_first(&key, root, stable_order);
	hits->more = stable_has_more(&key, first);
	rb = hits->more ? stable_row_start(root, &key, first) : first;
	for (; rb && visited < KSM_SAME_KEY_MAX; rb = next, visited++) {
		next = rb_next_match(&key, rb, stable_order);
		if (!next && hits->more)
			next = first;
		node = rb_entry(rb, struct ksm_stable_node, rb);
		if (node->scope != scope)
			continue;
		if (node->kind == KSM_NODE_CHAIN)
			stable_consider_chain(node, with_full, shard, hits, &dead);
		else
			stable_consider(node, with_full, shard, hits, &dead);
	}
	ksm_shard_unlock(shard);
	ksm_bury(&dead);
	stable_end_moved(hits, with_full);
}

/**
 * ksm_stable_hits_put - let go of what ksm_stable_find() found
 * @hits: its result
 */
void ksm_stable_hits_put(struct ksm_stable_hits *hits)
{
	while (hits->nr)
		folio_put(hits->folio[--hits->nr]);
}

/* -------------------------------------------------------------- entering */

/* Puts a node into the tree, or on the chain of @peer, which is locked. */
static void stable_enter(struct ksm_stable_node *node, struct ksm_shard *shard,
			 struct folio *peer, struct ksm_stable_node **spare)
{
	struct ksm_stable_node *other = peer ? ksm_folio_node(peer) : NULL;

	lockdep_assert_held(&shard->lock);
	shard->inserts++;
	/* It may have moved to another scope between the look-up and the lock. */
	if (other && (other->key != node->key || other->scope != node->scope))
		other = NULL;
	if (other && other->kind == KSM_NODE_PAGE) {
		ksm_chain_begin(*spare, other, shard);
		*spare = NULL;
	}
	if (other)
		ksm_chain_add(other->chain, node);
	else
		rb_add(&node->rb, &shard->stable, stable_less);
}

/**
 * ksm_stable_insert - make a page a KSM page
 * @node: its node, with key and scope; the tree owns it from now on
 * @folio: the page, locked: anonymous and mapped read-only everywhere, or new
 * @peer: another KSM page with the same content, locked; or NULL
 * @spare: memory for a chain if there is a @peer; set to NULL when used
 * @inserts: ksm_stable_hits.inserts of the look-up that found nothing better
 *
 * Return: whether the page was inserted. If not, something else was inserted
 *	since that look-up, which has to be repeated.
 */
bool ksm_stable_insert(struct ksm_stable_node *node, struct folio *folio,
		       struct folio *peer, struct ksm_stable_node **spare,
		       unsigned int inserts)
{
	struct ksm_shard *shard = ksm_shard_of(node->key);

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	/* A copy has never been mapped. */
	VM_WARN_ON_ONCE_FOLIO(folio_test_anon(folio) &&
			      PageAnonExclusive(&folio->page), folio);

	INIT_HLIST_HEAD(&node->items);
	node->kpfn = folio_pfn(folio);
	node->kind = KSM_NODE_PAGE;

	ksm_shard_lock(shard);
	if (shard->inserts != inserts) {
		ksm_shard_unlock(shard);
		return false;
	}
	/* From here on, a scan may find the node. */
	smp_store_release(&folio->mapping, ksm_node_mapping(node));
	stable_enter(node, shard, peer, spare);
	ksm_shard_unlock(shard);
	return true;
}

/*
 * Returns a page among those found that equals @folio, with a reference, or
 * NULL.
 */
static struct folio *stable_equal_hit(struct ksm_stable_hits *hits,
				      struct folio *folio)
{
	unsigned int i;

	for (i = 0; i < hits->nr; i++)
		if (hits->folio[i] != folio &&
		    ksm_pages_equal(&hits->folio[i]->page, &folio->page))
			return hits->folio[i];
	return NULL;
}

/*
 * Puts a node that is in no tree where it belongs, beside a page with the same
 * content if there is one. Returns false if the look-up has to be repeated.
 */
static bool stable_settle(struct ksm_stable_node *node, struct folio *folio,
			  struct ksm_stable_node **spare)
{
	struct ksm_shard *shard = ksm_shard_of(node->key);
	struct ksm_stable_hits hits;
	struct folio *peer;
	bool entered;

	ksm_stable_find(node->key, node->scope, true, &hits);
	peer = stable_equal_hit(&hits, folio);
	/* It is in other hands, so leave two nodes with the same key. */
	if (peer && (!*spare || !folio_trylock(peer)))
		peer = NULL;
	ksm_shard_lock(shard);
	entered = shard->inserts == hits.inserts;
	if (entered)
		stable_enter(node, shard, peer, spare);
	ksm_shard_unlock(shard);
	if (peer)
		folio_unlock(peer);
	ksm_stable_hits_put(&hits);
	return entered;
}

/**
 * ksm_stable_rehome - move the node of a KSM page that has changed its scope
 * @folio: the page, locked
 *
 * This touches none of its items, however many there are: they find the shard
 * through the node. A thread that finds the node through an item while it is in
 * no tree waits for the folio lock.
 *
 * Context: no other folio lock held; sleeps, allocates.
 */
void ksm_stable_rehome(struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_stable_node *spare;
	unsigned int scope = ksm_scope(&folio->page);
	struct ksm_shard *shard;
	u64 key;

	if (!node || node->scope == scope)
		return;

	spare = ksm_stable_alloc();
	key = ksm_rekey(node->key, node->scope, scope);
	shard = ksm_shard_of(node->key);
	ksm_shard_lock(shard);
	ksm_node_unlist_alone(node, shard);
	node->kind = KSM_NODE_PAGE;
	/* These two are read without a lock. */
	WRITE_ONCE(node->scope, scope);
	WRITE_ONCE(node->key, key);
	ksm_shard_unlock(shard);

	while (!stable_settle(node, folio, &spare))
		cond_resched();
	ksm_stable_free(spare);
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/stable_kunit.c"
#include "tests/stable_random_kunit.c"
#endif
