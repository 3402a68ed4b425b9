// SPDX-License-Identifier: GPL-2.0
/*
 * The stable tree: KSM pages by content and scope, and who shares each.
 *
 * The order of the tree is that of the keys stored in its nodes; going down
 * touches no page. A node does not keep its page alive, so a node whose page
 * was unmapped everywhere becomes stale; whoever comes across it prunes it.
 *
 * A content that more mappings share than max_page_sharing allows has several
 * KSM pages. Their nodes, the dups, then hang on a chain that stands for the
 * content in the tree. A chain of one turns back into a plain node.
 */
#include <linux/jiffies.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <trace/events/ksm.h>

#include "stable.h"

static struct kmem_cache *node_cache;

static bool node_is_full(const struct ksm_stable_node *node)
{
	return node->sharers >= READ_ONCE(ksm_settings.max_page_sharing);
}

/**
 * ksm_stable_alloc - memory for a stable node
 *
 * It may dip into the reserves: the page that it is for saves more than that,
 * and waiting for reclaim here would stall merging when it is needed most.
 *
 * Return: the node, or NULL.
 */
struct ksm_stable_node *ksm_stable_alloc(void)
{
	struct ksm_stable_node *node;

	node = kmem_cache_zalloc(node_cache, GFP_KERNEL | __GFP_HIGH |
				 __GFP_NORETRY | __GFP_NOWARN);
	if (node)
		atomic_long_inc(&ksm_counters.nodes);
	return node;
}

/**
 * ksm_stable_free - free a stable node that is in no tree
 * @node: the node, or NULL
 */
void ksm_stable_free(struct ksm_stable_node *node)
{
	if (!node)
		return;
	atomic_long_dec(&ksm_counters.nodes);
	kmem_cache_free(node_cache, node);
}

/* ------------------------------------------------------- nodes in a tree */

static int key_order(const void *key, const struct rb_node *rb)
{
	u64 other = rb_entry(rb, struct ksm_stable_node, rb)->key;
	u64 mine = *(const u64 *)key;

	return mine < other ? -1 : mine > other;
}

static bool node_less(struct rb_node *a, const struct rb_node *b)
{
	return key_order(&rb_entry(a, struct ksm_stable_node, rb)->key, b) < 0;
}

static void chain_add(struct ksm_stable_node *chain,
		      struct ksm_stable_node *dup)
{
	dup->kind = KSM_NODE_DUP;
	dup->chain = chain;
	if (node_is_full(dup))
		list_add_tail(&dup->dup, &chain->dups);
	else
		list_add(&dup->dup, &chain->dups);
	atomic_long_inc(&ksm_counters.dups);
}

/* Puts a chain of all dups of its content in the place of @node. */
static void chain_begin(struct ksm_stable_node *chain,
			struct ksm_stable_node *node, struct rb_root *root)
{
	chain->kind = KSM_NODE_CHAIN;
	chain->key = node->key;
	chain->scope = node->scope;
	chain->pruned = jiffies;
	INIT_LIST_HEAD(&chain->dups);
	rb_replace_node(&node->rb, &chain->rb, root);
	atomic_long_inc(&ksm_counters.chains);
	chain_add(chain, node);
}

/* After dups have left: a chain of one or none is no chain. */
void ksm_chain_settle(struct ksm_stable_node *chain, struct rb_root *root)
{
	struct ksm_stable_node *dup;

	if (list_empty(&chain->dups)) {
		rb_erase(&chain->rb, root);
	} else if (list_is_singular(&chain->dups)) {
		dup = list_first_entry(&chain->dups, struct ksm_stable_node,
				       dup);
		list_del(&dup->dup);
		dup->kind = KSM_NODE_PAGE;
		dup->chain = NULL;
		rb_replace_node(&chain->rb, &dup->rb, root);
		atomic_long_dec(&ksm_counters.dups);
	} else {
		return;
	}
	atomic_long_dec(&ksm_counters.chains);
	ksm_stable_free(chain);
}

/* Takes a page's node out of the tree. Leaves a dup's chain to be settled. */
static void node_unlist(struct ksm_stable_node *node, struct rb_root *root)
{
	if (node->kind == KSM_NODE_DUP) {
		list_del(&node->dup);
		atomic_long_dec(&ksm_counters.dups);
	} else {
		rb_erase(&node->rb, root);
	}
}

/* Keeps the dups that have room at the front, where look-ups begin. */
static void dup_requeue(struct ksm_stable_node *node)
{
	if (node->kind != KSM_NODE_DUP)
		return;
	if (node_is_full(node))
		list_move_tail(&node->dup, &node->chain->dups);
	else
		list_move(&node->dup, &node->chain->dups);
}

/* ------------------------------------------------- a node and its page */

/*
 * Gets the page of a node, which the shard's lock keeps in place. A page that
 * migrates is found as well: ksm_stable_moved() has the lock, too.
 *
 * Returns the folio with a reference; -ESTALE if the page was freed; -EAGAIN
 * if it is frozen for a moment.
 */
struct folio *ksm_node_get_folio(struct ksm_stable_node *node)
{
	struct folio *folio = pfn_folio(node->kpfn);

	if (READ_ONCE(folio->mapping) != ksm_node_mapping(node))
		return ERR_PTR(-ESTALE);
	/*
	 * Migration freezes a page of the swap cache for a moment. Any other
	 * without a reference will not come back; poisoned, it would even keep
	 * its mapping for ever.
	 */
	if (!folio_try_get(folio))
		return ERR_PTR(folio_test_swapcache(folio) ? -EAGAIN : -ESTALE);
	/* It may have been freed, and be somebody else's now. */
	if (READ_ONCE(folio->mapping) != ksm_node_mapping(node)) {
		folio_put(folio);
		return ERR_PTR(-ESTALE);
	}
	return folio;
}

/*
 * Locks the page that ksm_node_get_folio() got. False, and the reference is gone,
 * if the node has another one by now: it migrated.
 */
bool ksm_node_lock_folio(struct ksm_stable_node *node, struct folio *folio)
{
	folio_lock(folio);
	if (READ_ONCE(folio->mapping) == ksm_node_mapping(node))
		return true;
	folio_unlock(folio);
	folio_put(folio);
	return false;
}

/* The counters' share of @nr items joining or leaving (then negative). */
static void count_sharers(struct ksm_stable_node *node, int nr)
{
	unsigned int before = node->sharers;
	long pages;

	node->sharers += nr;
	pages = (long)!!node->sharers - !!before;
	if (pages)
		atomic_long_add(pages, &ksm_counters.pages_shared);
	if (nr - pages)
		atomic_long_add(nr - pages, &ksm_counters.pages_sharing);
}

/*
 * Removes a stale node. Its items are put on @dropped, claimed, for
 * ksm_drop_items() to let go of once the lock is released.
 */
void ksm_node_prune(struct ksm_stable_node *node, struct rb_root *root,
		    struct hlist_head *dropped)
{
	struct ksm_rmap_item *item;
	struct hlist_node *next;

	trace_ksm_remove_ksm_page(node->kpfn);
	count_sharers(node, -(int)node->sharers);
	hlist_for_each_entry_safe(item, next, &node->items, link) {
		trace_ksm_remove_rmap_item(node->kpfn, item, ksm_item_mm(item));
		hlist_del(&item->link);
		hlist_add_head(&item->link, dropped);
		ksm_item_set_state(item, KSM_ITEM_CLAIMED);
	}
	node_unlist(node, root);
	ksm_stable_free(node);
}

/* Ends an item's membership; it is off the list, and the caller's. */
static void drop_item(struct ksm_rmap_item *item)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);

	put_anon_vma(item->anon_vma);
	ksm_mm_count(&chunk->slot->slot.mm->ksm_merging_pages, -1);
	ksm_item_set_key(item, 0);
	/* Whoever has the window may take it for that of a page frame. */
	WRITE_ONCE(chunk->note[ksm_item_place(item)], 0);
	ksm_item_set_state(item, KSM_ITEM_SEEN);
}

/* Sleeps, since an anon_vma may go with it. */
void ksm_drop_items(struct hlist_head *dropped)
{
	struct ksm_rmap_item *item;
	struct hlist_node *next;

	hlist_for_each_entry_safe(item, next, dropped, link)
		drop_item(item);
}

/* --------------------------------------------------------------- look-up */

/* Returns whether @node was pruned. */
static bool consider(struct ksm_stable_node *node, bool with_full,
		     struct rb_root *root, struct ksm_stable_hits *hits,
		     struct hlist_head *dropped)
{
	struct folio *folio;

	if (node_is_full(node) && !with_full)
		return false;
	folio = ksm_node_get_folio(node);
	if (folio == ERR_PTR(-ESTALE)) {
		ksm_node_prune(node, root, dropped);
		return true;
	}
	if (IS_ERR(folio))
		return false;
	if (folio_test_hwpoison(folio)) {
		folio_put(folio);
		return false;
	}
	hits->room[hits->nr] = !node_is_full(node);
	hits->folio[hits->nr++] = folio;
	return false;
}

static void chain_prune(struct ksm_stable_node *chain, struct rb_root *root,
			struct hlist_head *dropped)
{
	unsigned long delay = msecs_to_jiffies(READ_ONCE(ksm_settings.prune_millisecs));
	struct ksm_stable_node *dup, *prev;
	unsigned int visited = 0;
	struct folio *folio;

	if (time_before(jiffies, chain->pruned + delay))
		return;

	chain->pruned = jiffies;
	list_for_each_entry_safe_reverse(dup, prev, &chain->dups, dup) {
		folio = ksm_node_get_folio(dup);
		if (folio == ERR_PTR(-ESTALE))
			ksm_node_prune(dup, root, dropped);
		else if (!IS_ERR(folio))
			folio_put(folio);
		if (++visited == KSM_PRUNE_MAX)
			break;
	}
}

/* One of the chain's pages is enough: they are all alike. */
static void consider_chain(struct ksm_stable_node *chain, bool with_full,
			   struct rb_root *root, struct ksm_stable_hits *hits,
			   struct hlist_head *dropped)
{
	struct ksm_stable_node *dup, *next;
	unsigned int had = hits->nr, visited = 0;

	chain_prune(chain, root, dropped);
	list_for_each_entry_safe(dup, next, &chain->dups, dup) {
		/* Those with room come first. */
		if (node_is_full(dup) && !with_full)
			break;
		consider(dup, with_full, root, hits, dropped);
		if (hits->nr > had || ++visited == KSM_SAME_KEY_MAX)
			break;
	}
	ksm_chain_settle(chain, root);
}

/**
 * ksm_stable_find - find the KSM pages of a key
 * @key: content and scope
 * @scope: the scope
 * @with_full: also those that have no room for another sharer
 * @hits: filled in; to be put with ksm_stable_hits_put()
 *
 * What is found need not have the content looked for: compare.
 *
 * Context: no KSM page's folio lock held; sleeps.
 */
void ksm_stable_find(u64 key, u16 scope, bool with_full,
		     struct ksm_stable_hits *hits)
{
	struct ksm_shard *shard = ksm_shard_of(key);
	struct rb_root *root = &shard->stable;
	struct rb_node *rb, *next;
	struct ksm_stable_node *node;
	unsigned int visited = 0;
	HLIST_HEAD(dropped);

	hits->nr = 0;
	/*
	 * Most keys are in no tree, and to who wants a page to share an
	 * outdated answer is as good.
	 */
	if (!with_full && !data_race(READ_ONCE(root->rb_node)))
		return;

	spin_lock(&shard->lock);
	hits->inserts = shard->inserts;
	for (rb = rb_find_first(&key, root, key_order);
	     rb && visited < KSM_SAME_KEY_MAX; rb = next, visited++) {
		next = rb_next_match(&key, rb, key_order);
		node = rb_entry(rb, struct ksm_stable_node, rb);
		if (node->scope != scope)
			continue;
		if (node->kind == KSM_NODE_CHAIN)
			consider_chain(node, with_full, root, hits, &dropped);
		else
			consider(node, with_full, root, hits, &dropped);
	}
	spin_unlock(&shard->lock);
	ksm_drop_items(&dropped);
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

/* --------------------------------------------------------- joining, leaving */

/**
 * ksm_stable_has_room - may another rmap_item share this page?
 * @folio: the page, locked
 *
 * Return: false also if it is no KSM page (any more).
 */
bool ksm_stable_has_room(struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);

	return node && !node_is_full(node);
}

/**
 * ksm_stable_link - an rmap_item shares a KSM page from now on
 * @folio: the page, locked
 * @item: the item, in the caller's hands and in no tree
 * @anon_vma: covers the mapping; the caller's reference goes to the item
 * @odd_pgoff: the mapping's page index does not follow from the item's chunk
 */
void ksm_stable_link(struct folio *folio, struct ksm_rmap_item *item,
		     struct anon_vma *anon_vma, bool odd_pgoff)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	unsigned int place = ksm_item_place(item);
	struct ksm_shard *shard = ksm_shard_of(node->key);

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	spin_lock(&shard->lock);
	item->anon_vma = anon_vma;
	WRITE_ONCE(item->tag, (u64)(unsigned long)node | place);
	WRITE_ONCE(chunk->note[place], ksm_shard_number(node->key));
	hlist_add_head(&item->link, &node->items);
	count_sharers(node, 1);
	dup_requeue(node);
	ksm_item_set_state(item, KSM_ITEM_STABLE |
			   (odd_pgoff ? KSM_ITEM_ODD_PGOFF : 0));
	spin_unlock(&shard->lock);
	ksm_mm_count(&chunk->slot->slot.mm->ksm_merging_pages, 1);
}

/*
 * Removes a live node that nobody shares and nothing maps; its page is locked.
 * Leaves its chain to be settled.
 */
void ksm_node_detach(struct ksm_stable_node *node, struct folio *folio,
		     struct rb_root *root)
{
	trace_ksm_remove_ksm_page(node->kpfn);
	WRITE_ONCE(folio->mapping, (void *)PAGE_MAPPING_KSM);
	node_unlist(node, root);
	ksm_stable_free(node);
}

void ksm_node_detach_alone(struct ksm_stable_node *node, struct folio *folio,
			   struct rb_root *root)
{
	struct ksm_stable_node *chain = NULL;

	if (node->kind == KSM_NODE_DUP)
		chain = node->chain;
	ksm_node_detach(node, folio, root);
	if (chain)
		ksm_chain_settle(chain, root);
}

/*
 * Takes @item off the list of the node whose page is @folio, which is locked.
 * Returns whether it could.
 */
static bool unlink_live(struct ksm_stable_node *node, struct folio *folio,
			struct ksm_rmap_item *item, enum ksm_release how)
{
	struct ksm_shard *shard = ksm_shard_of(node->key);

	if (how == KSM_RELEASE_IF_STALE)
		return false;
	if (how == KSM_RELEASE_IF_UNNEEDED && ksm_item_is_needed(folio, item))
		return false;

	trace_ksm_remove_rmap_item(node->kpfn, item, ksm_item_mm(item));
	spin_lock(&shard->lock);
	hlist_del(&item->link);
	ksm_item_set_state(item, KSM_ITEM_CLAIMED);
	count_sharers(node, -1);
	if (!node->sharers && !folio_mapped(folio))
		ksm_node_detach_alone(node, folio, &shard->stable);
	else
		dup_requeue(node);
	spin_unlock(&shard->lock);
	drop_item(item);
	return true;
}

void ksm_node_prune_alone(struct ksm_stable_node *node, struct rb_root *root,
			  struct hlist_head *dropped)
{
	struct ksm_stable_node *chain = NULL;

	if (node->kind == KSM_NODE_DUP)
		chain = node->chain;
	ksm_node_prune(node, root, dropped);
	if (chain)
		ksm_chain_settle(chain, root);
}

/**
 * ksm_stable_unlink - an rmap_item does not share its KSM page any more
 * @item: the item, in a window of the caller; stable a moment ago
 * @how: when it may leave
 *
 * Context: no folio lock held; sleeps.
 * Return: true and the item is %KSM_ITEM_SEEN and has no key; or false, it has
 *	to stay for now.
 */
bool ksm_stable_unlink(struct ksm_rmap_item *item, enum ksm_release how)
{
	u16 *note = &ksm_item_chunk(item)->note[ksm_item_place(item)];
	struct ksm_stable_node *node;
	struct ksm_shard *shard;
	struct folio *folio;
	HLIST_HEAD(dropped);
	unsigned int number;
	bool unlinked;

again:
	number = READ_ONCE(*note);
	shard = &ksm_shards[number];
	spin_lock(&shard->lock);
	if (ksm_item_state(item) != KSM_ITEM_STABLE) {
		/* Pruned; and if not yet dropped, somebody is about to. */
		spin_unlock(&shard->lock);
		return ksm_item_state(item) == KSM_ITEM_SEEN;
	}
	if (READ_ONCE(*note) != number) {
		spin_unlock(&shard->lock);
		goto again;
	}
	/* On the list and under the lock: the node cannot go away. */
	node = ksm_item_node(item);
	folio = ksm_node_get_folio(node);
	if (folio == ERR_PTR(-ESTALE)) {
		ksm_node_prune_alone(node, &shard->stable, &dropped);
		spin_unlock(&shard->lock);
		ksm_drop_items(&dropped);
		return true;
	}
	spin_unlock(&shard->lock);
	if (IS_ERR(folio)) {
		cond_resched();
		goto again;
	}

	if (!ksm_node_lock_folio(node, folio))
		goto again;
	unlinked = unlink_live(node, folio, item, how);
	folio_unlock(folio);
	folio_put(folio);
	return unlinked;
}

/**
 * ksm_stable_insert - make a page a KSM page
 * @node: its node, with key and scope; owned by the tree from now on
 * @folio: the page, locked, anonymous, mapped read-only everywhere
 * @peer: another KSM page with the same content, locked; or NULL
 * @spare: memory for a chain if there is a @peer; set to NULL when used
 * @inserts: ksm_stable_hits.inserts of the look-up that found nothing better
 *
 * Return: whether the page was inserted; if not, something else was since that
 *	look-up, and it has to be repeated.
 */
bool ksm_stable_insert(struct ksm_stable_node *node, struct folio *folio,
		       struct folio *peer, struct ksm_stable_node **spare,
		       unsigned int inserts)
{
	struct ksm_shard *shard = ksm_shard_of(node->key);
	struct ksm_stable_node *other = peer ? ksm_folio_node(peer) : NULL;

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(PageAnonExclusive(&folio->page), folio);

	INIT_HLIST_HEAD(&node->items);
	node->kpfn = folio_pfn(folio);
	node->kind = KSM_NODE_PAGE;

	spin_lock(&shard->lock);
	if (shard->inserts != inserts) {
		spin_unlock(&shard->lock);
		return false;
	}
	shard->inserts++;
	/* From here on a scan may come across the node. */
	smp_store_release(&folio->mapping, ksm_node_mapping(node));
	/* It may have moved to another scope between look-up and lock. */
	if (other && (other->key != node->key || other->scope != node->scope))
		other = NULL;
	if (other && other->kind == KSM_NODE_PAGE) {
		chain_begin(*spare, other, &shard->stable);
		*spare = NULL;
	}
	if (other)
		chain_add(other->chain, node);
	else
		rb_add(&node->rb, &shard->stable, node_less);
	spin_unlock(&shard->lock);
	return true;
}

/**
 * ksm_stable_rehome - a KSM page is found to be in another scope than its node
 * @folio: the page, locked
 */
void ksm_stable_rehome(struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio), *chain = NULL;
	unsigned int scope = ksm_scope(&folio->page);
	struct ksm_rmap_item *item;
	struct ksm_shard *shard;
	u64 key;

	if (!node || node->scope == scope)
		return;

	key = ksm_key(ksm_key(node->key, node->scope), scope);
	shard = ksm_shard_of(node->key);
	spin_lock(&shard->lock);
	if (node->kind == KSM_NODE_DUP)
		chain = node->chain;
	node_unlist(node, &shard->stable);
	if (chain)
		ksm_chain_settle(chain, &shard->stable);
	hlist_for_each_entry(item, &node->items, link)
		WRITE_ONCE(ksm_item_chunk(item)->note[ksm_item_place(item)],
			   ksm_shard_number(key));
	node->kind = KSM_NODE_PAGE;
	node->chain = NULL;
	WRITE_ONCE(node->scope, scope);	/* a scan looks at it without a lock */
	node->key = key;
	spin_unlock(&shard->lock);

	/* Who finds the node through an item now has to wait for the folio. */
	shard = ksm_shard_of(key);
	spin_lock(&shard->lock);
	shard->inserts++;
	rb_add(&node->rb, &shard->stable, node_less);
	spin_unlock(&shard->lock);
}

/**
 * ksm_stable_moved - a KSM page migrates to another page frame
 * @to: the new folio, locked; its mapping is that of @from
 * @from: the old one, locked
 */
void ksm_stable_moved(struct folio *to, struct folio *from)
{
	struct ksm_stable_node *node = ksm_folio_node(from);
	struct ksm_shard *shard;

	if (!node)
		return;

	shard = ksm_shard_of(node->key);
	spin_lock(&shard->lock);
	VM_WARN_ON_ONCE_FOLIO(node->kpfn != folio_pfn(from), from);
	node->kpfn = folio_pfn(to);
	/* Not earlier, or ksm_node_get_folio() would take the node for stale. */
	WRITE_ONCE(from->mapping, (void *)PAGE_MAPPING_KSM);
	spin_unlock(&shard->lock);
}

int __init ksm_stable_init(void)
{
	/* The tag of an rmap_item has its place in the low bits. */
	node_cache = kmem_cache_create("ksm_stable_node",
				       sizeof(struct ksm_stable_node),
				       max_t(size_t, KSM_CHUNK_PAGES,
					     __alignof__(struct ksm_stable_node)),
				       0, NULL);
	return node_cache ? 0 : -ENOMEM;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/stable_kunit.c"
#include "tests/stable_random_kunit.c"
#endif
