// SPDX-License-Identifier: GPL-2.0
/*
 * Making KSM pages: out of the page itself if nobody else maps it, else out of
 * a copy. Also notes where a KSM page is mapped without having been merged
 * there.
 */
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <trace/events/ksm.h>

#include "../internal.h"
#include "key.h"
#include "ksm.h"
#include "merge.h"
#include "node.h"
#include "page.h"
#include "promote.h"
#include "rmap.h"
#include "rmap_item.h"
#include "sharer.h"
#include "slot.h"
#include "stable.h"

/*
 * Looks for KSM pages with the same content. When a candidate has come this
 * far, there are none, except those that are full, and those that other workers
 * have made in the meantime. Returns one that has room, with a reference. Sets
 * @peer to one that is full, with a reference, so that a dup of it can be made.
 */
static struct folio *promote_find_twin(struct ksm_stable_hits *hits,
				       struct page *page, struct folio **peer)
{
	unsigned int i;

	*peer = NULL;
	for (i = 0; i < hits->nr; i++) {
		struct folio *folio = hits->folio[i];

		if (!ksm_pages_equal(page, &folio->page))
			continue;
		if (hits->room[i])
			return folio;
		*peer = folio;
	}
	return NULL;
}

static bool promote_reserve(struct ksm_stable_node **spare)
{
	*spare = ksm_stable_alloc();
	return *spare;
}

/*
 * The page is locked, nobody can write to it, and its content has the node's
 * key. Returns NULL if it is a KSM page now, and @node its node; an equal KSM
 * page that exists already, with a reference; or an error.
 */
static struct folio *promote_make_ksm(struct folio *folio,
				      struct ksm_stable_node *node)
{
	struct ksm_stable_node *spare = NULL;
	struct ksm_stable_hits hits;
	struct folio *peer, *twin;
	bool inserted = false;

	do {
		ksm_stable_find(node->key, node->scope, true, &hits);
		twin = promote_find_twin(&hits, &folio->page, &peer);
		if (twin)
			folio_get(twin);
		else if (peer && !spare && !promote_reserve(&spare))
			twin = ERR_PTR(-ENOMEM);
		else if (peer && !folio_trylock(peer))
			twin = ERR_PTR(-EAGAIN);
		if (!twin) {
			inserted = ksm_stable_insert(node, folio, peer, &spare,
						     hits.inserts);
			if (peer)
				folio_unlock(peer);
		}
		ksm_stable_hits_put(&hits);
	} while (!inserted && !twin);
	/* Reclaim would drop a clean page instead of swapping it out. */
	if (inserted)
		folio_mark_dirty(folio);
	ksm_stable_free(spare);
	return twin;
}

static struct ksm_stable_node *promote_new_node(struct page *page, u64 key)
{
	struct ksm_stable_node *node = ksm_stable_alloc();

	if (node) {
		node->key = key;
		node->scope = ksm_scope(page);
	}
	return node;
}

/* ------------------------------------------------------- where the page is */

/* Protects the page, and makes sure that it still has the node's key. */
static int promote_protect(struct ksm_mapping_set *set,
			   struct ksm_stable_node *node)
{
	struct ksm_mapping *map = set->map;

	ksm_notify_start(set);
	ksm_protect(set);
	ksm_notify_end(set);
	if (map->err)
		return map->err;
	ksm_sync_content(set->vma, map);
	return ksm_key(ksm_fingerprint(map->page, NULL), node->scope) ==
	       node->key ? 0 : -ENOENT;
}

/*
 * The page is locked, and mapped only here. Returns as promote_make_ksm(); the
 * item shares the KSM page then.
 *
 * While the page and the mm are locked, no other mapping can come up: a fork
 * needs the lock of the mm, and a swap-in the lock of the page.
 */
static struct folio *promote_locked(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map = set->map;
	struct folio *folio = page_folio(map->page), *twin;
	struct ksm_stable_node *node;
	int err;

	node = promote_new_node(map->page, ksm_item_key(map->item));
	if (!node)
		return ERR_PTR(-ENOMEM);
	err = promote_protect(set, node);
	twin = err ? ERR_PTR(err) : promote_make_ksm(folio, node);
	if (twin)
		ksm_stable_free(node);
	else
		ksm_link_item(set->vma, map->item, folio, set->vma->anon_vma);
	/* A merge with a twin is traced there. */
	if (IS_ERR_OR_NULL(twin))
		trace_ksm_merge_with_ksm_page(NULL, page_to_pfn(map->page),
					      map->item, set->vma->vm_mm,
					      PTR_ERR_OR_ZERO(twin));
	return twin;
}

/* ------------------------------------------------------------ a copy of it */

/*
 * Allocates on the same node, and charges the owner of the page. But do not
 * reclaim anybody's memory for it: pages that are shared for other reasons can
 * wait.
 */
static struct folio *promote_copy_page(struct vm_area_struct *vma, struct page *page,
				       unsigned long addr)
{
	gfp_t gfp = (GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM) |
		    __GFP_THISNODE | __GFP_NOWARN;
	struct folio *copy = __folio_alloc_node(gfp, 0, page_to_nid(page));

	if (!copy)
		return ERR_PTR(-ENOMEM);
	if (mem_cgroup_charge(copy, vma->vm_mm, GFP_NOWAIT | __GFP_NOWARN)) {
		folio_put(copy);
		return ERR_PTR(-ENOMEM);
	}
	if (copy_mc_user_highpage(&copy->page, page, addr, vma)) {
		folio_put(copy);
		return ERR_PTR(-ENOENT);
	}
	__folio_set_swapbacked(copy);
	__folio_mark_uptodate(copy);
	return copy;
}

/*
 * Makes a KSM page out of a copy. Returns it, or an equal one that exists
 * already, with a reference; or an error. It may have no sharer yet, see
 * promote_put_unshared().
 */
static struct folio *promote_copy(struct vm_area_struct *vma, struct page *page,
				  unsigned long addr, u64 key)
{
	struct folio *copy = promote_copy_page(vma, page, addr), *twin;
	struct ksm_stable_node *node;

	if (IS_ERR(copy))
		return copy;
	node = promote_new_node(&copy->page, key);
	if (!node) {
		twin = ERR_PTR(-ENOMEM);
	} else if (ksm_key(ksm_fingerprint(&copy->page, NULL), node->scope) != key) {
		twin = ERR_PTR(-ENOENT);
	} else {
		folio_lock(copy);
		twin = promote_make_ksm(copy, node);
		folio_unlock(copy);
	}
	if (!twin) {
		folio_add_lru(copy);
		return copy;
	}
	ksm_stable_free(node);
	folio_put(copy);
	return twin;
}

/* Drops a KSM page that may have found a sharer, or none. */
static void promote_put_unshared(struct folio *kfolio)
{
	if (ksm_lock_kpage(kfolio)) {
		ksm_stable_discard(kfolio);
		folio_unlock(kfolio);
	} else {
		ksm_stable_discard_later(kfolio);
	}
	folio_put(kfolio);
}

/*
 * Promotes a page that is in the caller's hands. Returns as promote_make_ksm(),
 * but if the page is also mapped elsewhere, a copy becomes the KSM page: nobody
 * knows whether the other mappings can be found, or may be merged at all.
 */
static struct folio *promote_page(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map = set->map;
	struct folio *folio, *twin;
	int err;

	if (folio_test_ksm(page_folio(map->page)))
		return ERR_PTR(-ENOENT);
	err = ksm_lock_private(map->page, map->item);
	if (err)
		return ERR_PTR(err);
	folio = page_folio(map->page);
	if (folio_mapcount(folio) == 1) {
		twin = promote_locked(set);
		folio_unlock(folio);
		return twin;
	}
	folio_unlock(folio);
	return promote_copy(set->vma, map->page, map->addr,
			    ksm_item_key(map->item));
}

/**
 * ksm_promote - make a page a KSM page
 * @vma: the VMA of the page
 * @item: the page's item, with its key, in the caller's hands and in no tree
 * @kfolio: on success, the page, with a reference; or another one, which was
 *	made out of it or by somebody faster, and which @item's page was merged
 *	with
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps, allocates.
 * Return: 0 and the item is %KSM_ITEM_STABLE; -ENOENT: the page has another key
 *	now; -EAGAIN: something was in the way; -ENOMEM.
 */
int ksm_promote(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		struct folio **kfolio)
{
	struct ksm_mapping map = {
		.item = item,
		.addr = ksm_item_address(item),
	};
	struct ksm_mapping_set set = { .vma = vma, .map = &map, .nr = 1 };
	struct folio *twin;
	int err;

	map.page = ksm_get_page(vma, map.addr);
	if (!map.page)
		return -ENOENT;
	twin = promote_page(&set);
	err = PTR_ERR_OR_ZERO(twin);
	if (!twin) {
		*kfolio = page_folio(map.page);
		return 0;
	}
	if (!err) {
		err = ksm_merge_with(vma, item, map.page, twin);
		if (err)
			promote_put_unshared(twin);
		else
			*kfolio = twin;
	}
	put_page(map.page);
	return err;
}

/**
 * ksm_demote - undo the promotion of a page that nobody came to share
 * @kfolio: the KSM page, with a reference
 * @item: the item that it was promoted for, which may be gone by now
 *
 * It would be of no use, and impose a copy on whoever writes to it. If somebody
 * else has it locked, it stays one all the same, as a page does whose other sharers
 * have left it: the next of its like joins it.
 *
 * Context: no folio lock held; sleeps.
 */
void ksm_demote(struct folio *kfolio, const struct ksm_rmap_item *item)
{
	if (!ksm_lock_kpage(kfolio))
		return;
	ksm_stable_demote(kfolio, item);
	folio_unlock(kfolio);
}

/* ------------------------------------------------- where one is mapped already */

/* Finds a KSM page with room that equals @kfolio. It has a reference. */
static struct folio *promote_find_other(struct folio *kfolio, u64 key, u16 scope)
{
	struct ksm_stable_hits hits;
	struct folio *other = NULL;
	unsigned int i;

	ksm_stable_find(key, scope, false, &hits);
	for (i = 0; i < hits.nr && !other; i++)
		if (hits.folio[i] != kfolio &&
		    ksm_pages_equal(&hits.folio[i]->page, &kfolio->page))
			other = hits.folio[i];
	if (other)
		folio_get(other);
	ksm_stable_hits_put(&hits);
	return other;
}

/*
 * Makes the mapping share another page of the same content, because @kfolio has
 * moved to another scope or has no room. In the first case there may be no such
 * page; then @kfolio itself moves to its new place.
 */
static int promote_adopt_elsewhere(struct vm_area_struct *vma,
				   struct ksm_rmap_item *item, struct folio *kfolio)
{
	struct ksm_stable_node *node;
	struct folio *other;
	unsigned int scope;
	bool misplaced;
	int err = 0;
	u64 key;

	if (!ksm_lock_kpage(kfolio))
		return -EAGAIN;
	node = ksm_folio_node(kfolio);
	if (!node) {
		folio_unlock(kfolio);
		return -ENOENT;
	}
	scope = ksm_scope(&kfolio->page);
	misplaced = node->scope != scope;
	key = misplaced ? ksm_rekey(node->key, node->scope, scope) : node->key;
	folio_unlock(kfolio);

	other = promote_find_other(kfolio, key, scope);
	if (!other && misplaced) {
		if (!ksm_lock_kpage(kfolio))
			return -EAGAIN;
		ksm_stable_rehome(kfolio);
		folio_unlock(kfolio);
		return 0;
	}
	if (!other)
		other = promote_copy(vma, &kfolio->page, ksm_item_address(item),
				     key);
	if (IS_ERR(other))
		return PTR_ERR(other);
	if (other != kfolio)
		err = ksm_move(vma, item, &kfolio->page, other);
	promote_put_unshared(other);
	return err;
}

/*
 * Has reverse mapping find a sharer where it is now, unless forks are found where it
 * was. The KSM page is locked.
 */
static void promote_refit(struct vm_area_struct *vma, struct ksm_rmap_item *item,
			  struct folio *kfolio)
{
	if (ksm_item_must_stay(kfolio, item))
		return;
	get_anon_vma(vma->anon_vma);
	ksm_stable_refit(kfolio, item, vma->anon_vma, ksm_has_odd_pgoff(vma, item));
}

/*
 * The KSM page is locked. Returns 0; -ENOENT: it is not mapped here any more;
 * -EXDEV: another KSM page should take its place.
 */
static int promote_adopt_locked(struct vm_area_struct *vma, struct ksm_rmap_item *item,
				struct folio *kfolio)
{
	struct page *page = ksm_get_page(vma, ksm_item_address(item));
	struct ksm_stable_node *node = ksm_folio_node(kfolio);
	bool mapped = page == &kfolio->page;

	if (page)
		put_page(page);
	if (!mapped || !node)
		return -ENOENT;
	if (ksm_item_state(item) == KSM_ITEM_SEEN) {
		if (!ksm_stable_has_room(kfolio))
			return -EXDEV;
		ksm_link_item(vma, item, kfolio, vma->anon_vma);
	} else if (ksm_item_node(item) != node) {
		return -ENOENT;
	} else if (!ksm_item_fits(vma, item)) {
		promote_refit(vma, item, kfolio);
	}
	return node->scope == ksm_scope(&kfolio->page) ? 0 : -EXDEV;
}

/**
 * ksm_adopt - note that a KSM page is mapped here, too
 * @vma: the VMA
 * @item: the item of the address: in the caller's hands and in no tree, or a
 *	sharer of the page for which something has changed
 * @kfolio: the KSM page, a reference held
 *
 * A fork or a swap-in mapped it. If it has no room for another sharer, or has
 * moved to another scope than its sharers, an equal page takes its place here.
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps, allocates.
 * Return: 0; -ENOENT: it is not mapped here any more; -ENOMEM or -EAGAIN: the
 *	mapping is unchanged, and has to be looked at again.
 */
int ksm_adopt(struct vm_area_struct *vma, struct ksm_rmap_item *item,
	      struct folio *kfolio)
{
	int err;

	if (!ksm_lock_kpage(kfolio))
		return -EAGAIN;
	err = promote_adopt_locked(vma, item, kfolio);
	folio_unlock(kfolio);
	return err == -EXDEV ? promote_adopt_elsewhere(vma, item, kfolio) : err;
}
