// SPDX-License-Identifier: GPL-2.0
/*
 * Making a page a KSM page, where it is: protected, registered in the stable
 * tree, and with its item as the first of its sharers. And noting where one is
 * mapped that was not merged there.
 */
#include <linux/mm.h>
#include <linux/rmap.h>
#include <trace/events/ksm.h>

#include "../internal.h"
#include "merge.h"

/*
 * Looks for KSM pages of the same content. There are none when a candidate has
 * come this far, but for those that are full, and what other workers have made
 * meanwhile. One that has room is returned, with a reference; of one that is
 * full @peer gets one, for a dup to be made of it.
 */
static struct folio *find_twin(struct ksm_stable_hits *hits, struct page *page,
			       struct folio **peer)
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

static bool reserve(struct ksm_stable_node **spare)
{
	*spare = ksm_stable_alloc();
	return *spare;
}

/*
 * The page is locked and protected, and its content is that of the key. Returns
 * NULL and it is a KSM page; or an equal one that there is, with a reference;
 * or an error.
 */
static struct folio *make_ksm(struct ksm_mapping_set *set,
			      struct ksm_stable_node *node)
{
	struct ksm_mapping *map = set->map;
	struct folio *folio = page_folio(map->page), *peer, *twin;
	struct ksm_stable_node *spare = NULL;
	struct ksm_stable_hits hits;
	bool inserted = false;
	/*
	 * Not that of the VMA: if a fork has left the page mapped in several
	 * mms, this one covers them all.
	 */
	struct anon_vma *anon_vma = folio_anon_vma(folio);

	do {
		ksm_stable_find(node->key, node->scope, true, &hits);
		twin = find_twin(&hits, map->page, &peer);
		if (twin)
			folio_get(twin);
		else if (peer && !spare && !reserve(&spare))
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

	if (inserted) {
		/* A clean page would be dropped by reclaim, not swapped out. */
		folio_mark_dirty(folio);
		get_anon_vma(anon_vma);
		ksm_stable_link(folio, map->item, anon_vma,
				ksm_has_odd_pgoff(set->vma, map->item));
	}
	ksm_stable_free(spare);
	return twin;
}

/* Protects the page, and makes sure that it has the item's key. */
static int protect_content(struct ksm_mapping_set *set, unsigned int scope)
{
	struct ksm_mapping *map = set->map;

	ksm_notify_start(set);
	ksm_protect(set);
	ksm_notify_end(set);
	if (map->err)
		return map->err;
	ksm_sync_content(set->vma, map);
	return ksm_key(ksm_fingerprint(map->page, NULL), scope) ==
	       ksm_item_key(map->item) ? 0 : -ENOENT;
}

/* The page is locked. As make_ksm(). */
static struct folio *promote_locked(struct ksm_mapping_set *set)
{
	struct ksm_stable_node *node = ksm_stable_alloc();
	struct ksm_mapping *map = set->map;
	struct folio *twin;
	int err;

	if (!node)
		return ERR_PTR(-ENOMEM);
	node->key = ksm_item_key(map->item);
	node->scope = ksm_scope(map->page);
	err = protect_content(set, node->scope);
	twin = err ? ERR_PTR(err) : make_ksm(set, node);
	if (twin)
		ksm_stable_free(node);
	/* Merging with a twin tells of itself. */
	if (IS_ERR_OR_NULL(twin))
		trace_ksm_merge_with_ksm_page(NULL, page_to_pfn(map->page),
					      map->item, set->vma->vm_mm,
					      PTR_ERR_OR_ZERO(twin));
	return twin;
}

/**
 * ksm_promote - make a page a KSM page
 * @vma: the VMA of the page
 * @item: the page's item, with its key, in the caller's hands and in no tree
 * @kfolio: on success the page, with a reference; or another one, if somebody
 *	has been faster: then @item's page was merged with that
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps, allocates.
 * Return: 0 and the item is %KSM_ITEM_STABLE; -ENOENT: the page has another
 *	key now; -EAGAIN: something was in the way; -ENOMEM.
 */
int ksm_promote(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		struct folio **kfolio)
{
	struct ksm_mapping map = { .item = item };
	struct ksm_mapping_set set = { .vma = vma, .map = &map, .nr = 1 };
	struct folio *twin;
	int err = -ENOENT;

	map.page = ksm_get_page(vma, ksm_item_address(item));
	if (!map.page)
		return err;
	if (!PageKsm(map.page))
		err = ksm_lock_private(map.page);
	if (err)
		goto end;
	twin = promote_locked(&set);
	folio_unlock(page_folio(map.page));
	err = PTR_ERR_OR_ZERO(twin);
	if (err)
		goto end;

	if (!twin) {
		*kfolio = page_folio(map.page);
		return 0;
	}
	err = ksm_merge_with(vma, item, map.page, twin);
	if (err)
		folio_put(twin);
	else
		*kfolio = twin;
end:
	put_page(map.page);
	return err;
}

/**
 * ksm_adopt - note that a KSM page is mapped here, too
 * @vma: the VMA
 * @item: the item of the address, in the caller's hands and in no tree
 * @kfolio: the KSM page, a reference held
 *
 * A fork or a swap-in mapped it. It counts as a sharer even where that makes
 * more of them than max_page_sharing: mapped it is anyway.
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 * Return: 0 and the item is %KSM_ITEM_STABLE, or -ENOENT.
 */
int ksm_adopt(struct vm_area_struct *vma, struct ksm_rmap_item *item,
	      struct folio *kfolio)
{
	struct page *page;
	int err = -ENOENT;

	folio_lock(kfolio);
	page = ksm_get_page(vma, ksm_item_address(item));
	if (page == &kfolio->page && ksm_folio_node(kfolio)) {
		ksm_link_item(vma, item, kfolio, vma->anon_vma);
		err = 0;
	}
	if (page)
		put_page(page);
	folio_unlock(kfolio);
	return err;
}
