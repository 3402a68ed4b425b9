// SPDX-License-Identifier: GPL-2.0
/*
 * Merging: write-protect a page, compare it, and map a KSM page in its place;
 * or make it a KSM page itself.
 *
 * This is where the promise is kept that no byte changes under a process:
 * nothing is mapped in a page's place unless both were compared in full while
 * no PTE and nobody else could write to either.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/memremap.h>
#include <linux/mmu_notifier.h>
#include <linux/page-flags.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <asm/tlbflush.h>
#include <trace/events/ksm.h>

#include "../internal.h"
#include "ksm.h"

/**
 * struct mapping - one PTE and the private page that it maps
 * @vma: the VMA; the mm's mmap_lock is held for reading
 * @addr: the address
 * @page: the page, locked, a reference held
 * @own: it is our own, not the caller's
 * @pmd: leads to the page table; it stays, what is there may change
 * @pte: the PTE as protect() left it
 */
struct mapping {
	struct vm_area_struct *vma;
	unsigned long addr;
	struct page *page;
	bool own;
	pmd_t *pmd;
	pte_t pte;
};

/**
 * ksm_scope - with whom may this page share?
 * @page: the page
 *
 * Return: a number; pages of equal numbers may share.
 */
unsigned int ksm_scope(struct page *page)
{
	return READ_ONCE(ksm_settings.merge_across_nodes) ? 0 :
							    page_to_nid(page);
}

/**
 * ksm_find_vma - the VMA of an address, if its pages may be merged
 * @mm: the mm
 * @addr: the address
 *
 * Context: mmap_lock held.
 * Return: the VMA, or NULL.
 */
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	if (ksm_mm_exiting(mm))
		return NULL;
	vma = vma_lookup(mm, addr);
	if (!vma || !(vma->vm_flags & VM_MERGEABLE) || !vma->anon_vma)
		return NULL;
	return vma;
}

/**
 * ksm_get_page - get the anonymous page that is mapped at an address
 * @vma: the VMA
 * @addr: the address
 *
 * Context: mmap_lock held.
 * Return: the page with a reference, or NULL.
 */
struct page *ksm_get_page(struct vm_area_struct *vma, unsigned long addr)
{
	struct page *page = NULL;
	struct folio_walk fw;
	struct folio *folio;

	folio = folio_walk_start(&fw, vma, addr, 0);
	if (!folio)
		return NULL;
	if (fw.page && folio_test_anon(folio) && !folio_is_zone_device(folio) &&
	    !PageHWPoison(fw.page)) {
		page = fw.page;
		folio_get(folio);
	}
	folio_walk_end(&fw, vma);
	return page;
}

/*
 * Locks a page that is to be merged, and splits the huge page that it is part
 * of. Never waits: a page that is busy is left for another visit.
 */
static int lock_private(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (!folio_trylock(folio))
		return -EAGAIN;
	/* Afterwards it is @page's own folio that is locked. */
	if (folio_test_large(folio) && split_huge_page(page)) {
		folio_unlock(folio);
		return -EAGAIN;
	}
	folio = page_folio(page);
	if (!folio_test_anon(folio) || folio_test_ksm(folio)) {
		folio_unlock(folio);
		return -ENOENT;
	}
	return 0;
}

static pte_t *lock_pte(struct mapping *map, spinlock_t **ptl)
{
	struct mm_struct *mm = map->vma->vm_mm;

	if (!map->pmd)
		map->pmd = mm_find_pmd(mm, map->addr);
	if (!map->pmd)
		return NULL;
	return pte_offset_map_lock(mm, map->pmd, map->addr, ptl);
}

/* Returns false if there is no page, or none that could be merged. */
static bool mapping_begin(struct mapping *map, struct vm_area_struct *vma,
			  struct ksm_rmap_item *item, struct page *page)
{
	*map = (struct mapping){
		.vma = vma,
		.addr = ksm_item_address(item),
		.page = page,
		.own = !page,
	};
	if (map->own)
		map->page = ksm_get_page(vma, map->addr);
	return map->page && !PageKsm(map->page);
}

static void mapping_end(struct mapping *map)
{
	if (map->own && map->page)
		put_page(map->page);
}

/*
 * Is anybody else using the page than those that map it, the swap cache and
 * we? They may be about to write to it, without any PTE to stop them.
 */
static bool used_elsewhere(struct folio *folio)
{
	int expected = folio_mapcount(folio) + folio_test_swapcache(folio) + 1;

	return folio_ref_count(folio) != expected;
}

/* The page-table lock is held. False leaves the PTE as it was. */
static bool protect_locked(struct mapping *map, pte_t *ptep)
{
	struct vm_area_struct *vma = map->vma;
	struct folio *folio = page_folio(map->page);
	pte_t was = ptep_get(ptep);
	bool exclusive, flushed = false;

	if (!pte_present(was) || pte_pfn(was) != page_to_pfn(map->page))
		return false;

	exclusive = PageAnonExclusive(map->page);
	if (pte_write(was) || pte_dirty(was) || exclusive ||
	    mm_tlb_flush_pending(vma->vm_mm)) {
		/*
		 * GUP-fast takes no lock: it gets its reference first and then
		 * looks whether the PTE is the same. With the PTE empty and
		 * flushed, either the reference is there to be counted now, or
		 * it will not be taken.
		 */
		flush_cache_page(vma, map->addr, page_to_pfn(map->page));
		was = ptep_clear_flush(vma, map->addr, ptep);
		flushed = true;
	}
	if (used_elsewhere(folio) ||
	    (exclusive && folio_try_share_anon_rmap_pte(folio, map->page))) {
		if (flushed)
			set_pte_at(vma->vm_mm, map->addr, ptep, was);
		return false;
	}

	map->pte = was;
	if (flushed) {
		if (pte_dirty(was))
			folio_mark_dirty(folio);
		map->pte = pte_wrprotect(pte_mkclean(was));
		set_pte_at(vma->vm_mm, map->addr, ptep, map->pte);
	}
	return true;
}

/* Makes sure that nobody can write to the page. It stays so while locked. */
static int protect(struct mapping *map)
{
	spinlock_t *ptl;
	pte_t *ptep;
	bool done;

	ptep = lock_pte(map, &ptl);
	if (!ptep)
		return -EAGAIN;
	done = protect_locked(map, ptep);
	pte_unmap_unlock(ptep, ptl);
	return done ? 0 : -EAGAIN;
}

/* The PTE of @kpage that takes the place of @old, with what user space sees. */
static pte_t shared_pte(struct mapping *map, struct page *kpage, pte_t old)
{
	pgprot_t prot = map->vma->vm_page_prot;
	pte_t pte;

	if (is_zero_pfn(page_to_pfn(kpage)))
		pte = pte_mkdirty(pte_mkspecial(pfn_pte(page_to_pfn(kpage),
							prot)));
	else
		pte = mk_pte(kpage, prot);
	pte = pte_wrprotect(pte);
	/* Making a PTE dirty may have set this one, too. */
	pte = pte_soft_dirty(old) ? pte_mksoft_dirty(pte) :
				    pte_clear_soft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	return pte;
}

static void replace_locked(struct mapping *map, struct page *kpage, pte_t *ptep)
{
	struct vm_area_struct *vma = map->vma;
	struct mm_struct *mm = vma->vm_mm;
	struct folio *folio = page_folio(map->page);
	pte_t old;

	if (is_zero_pfn(page_to_pfn(kpage))) {
		ksm_map_zero_page(mm);
		dec_mm_counter(mm, MM_ANONPAGES);
	} else {
		folio_get(page_folio(kpage));
		folio_add_anon_rmap_pte(page_folio(kpage), kpage, vma,
					map->addr, RMAP_NONE);
	}

	flush_cache_page(vma, map->addr, page_to_pfn(map->page));
	old = ptep_clear_flush(vma, map->addr, ptep);
	set_pte_at(mm, map->addr, ptep, shared_pte(map, kpage, old));

	folio_remove_rmap_pte(folio, map->page, vma);
	if (!folio_mapped(folio))
		folio_free_swap(folio);
	folio_put(folio);
}

/* Maps @kpage, whose content was compared, unless the PTE has changed since. */
static int replace(struct mapping *map, struct page *kpage)
{
	spinlock_t *ptl;
	pte_t *ptep;
	bool same;

	ptep = lock_pte(map, &ptl);
	if (!ptep)
		return -EAGAIN;
	/* That it was read meanwhile does not matter. */
	same = pte_same(pte_mkyoung(ptep_get(ptep)), pte_mkyoung(map->pte));
	if (same)
		replace_locked(map, kpage, ptep);
	pte_unmap_unlock(ptep, ptl);
	return same ? 0 : -EAGAIN;
}

/*
 * Where caches go by address, what a process wrote may not be seen from here
 * yet, and what was read here before may be seen still. That made a hint wrong;
 * now it counts.
 */
static void sync_content(struct mapping *map)
{
	flush_anon_page(map->vma, map->page, map->addr);
	flush_dcache_page(map->page);
}

static bool has_odd_pgoff(struct vm_area_struct *vma,
			  struct ksm_rmap_item *item)
{
	return linear_page_index(vma, ksm_item_address(item)) !=
	       ksm_item_chunk(item)->pgoff + ksm_item_place(item);
}

/* @kfolio is locked, and the PTE of @item maps it. */
static void link_item(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		      struct folio *kfolio, struct anon_vma *anon_vma)
{
	get_anon_vma(anon_vma);
	ksm_stable_link(kfolio, item, anon_vma, has_odd_pgoff(vma, item));
}

/* What takes a huge page apart has to be certain, as far as one can be. */
static bool worth_splitting(struct page *page, struct page *kpage)
{
	return !PageTransCompound(page) || ksm_pages_equal(page, kpage);
}

/*
 * A KSM page's lock is held for as long as it takes to change a PTE and a list.
 * Workers that meet at a popular page would spend more time on falling asleep
 * and being woken than on that. Others may keep it for longer, and are waited
 * for where the page to be replaced is not kept from its users meanwhile.
 */
#define LOCK_SPINS	256
#define LOCK_WAITS	3

static bool spin_for_lock(struct folio *kfolio)
{
	unsigned int spins;

	for (spins = 0; spins < LOCK_SPINS; spins++) {
		if (!folio_test_locked(kfolio) && folio_trylock(kfolio))
			return true;
		cpu_relax();
	}
	return false;
}

/*
 * Maps @kfolio, which equals the page, and makes the item one of its sharers.
 * Returns -EBUSY if somebody has it locked.
 */
static int share_with(struct mapping *map, struct ksm_rmap_item *item,
		      struct folio *kfolio)
{
	int err = -EAGAIN;

	if (!spin_for_lock(kfolio))
		return -EBUSY;
	if (ksm_stable_has_room(kfolio) &&
	    ksm_folio_node(kfolio)->scope == ksm_scope(map->page)) {
		/*
		 * Its last sharer may have declared it free (MADV_FREE), in
		 * which case reclaim would drop it; the new one has not.
		 */
		folio_mark_dirty(kfolio);
		err = replace(map, &kfolio->page);
	}
	if (!err)
		link_item(map->vma, item, kfolio, map->vma->anon_vma);
	folio_unlock(kfolio);
	return err;
}

/*
 * Protects, compares and replaces. Secondary MMUs are shut out all the way
 * through, so that they need not be told twice. What a KSM page holds does not
 * change as long as there is a reference: it need not be locked to be compared.
 */
static int substitute(struct mapping *map, struct ksm_rmap_item *item,
		      struct page *kpage)
{
	struct mmu_notifier_range range;
	int err;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, map->vma->vm_mm,
				map->addr, map->addr + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	err = protect(map);
	if (!err) {
		sync_content(map);
		if (!ksm_pages_equal(map->page, kpage))
			err = -ENOENT;
	}
	if (!err)
		err = is_zero_pfn(page_to_pfn(kpage)) ? replace(map, kpage) :
			share_with(map, item, page_folio(kpage));
	mmu_notifier_invalidate_range_end(&range);
	return err;
}

/* Maps @kpage, a KSM page or the zero page, in the place of an equal page. */
static int merge(struct mapping *map, struct ksm_rmap_item *item,
		 struct page *kpage)
{
	int err;

	if (!worth_splitting(map->page, kpage))
		return -ENOENT;
	err = lock_private(map->page);
	if (err)
		return err;
	err = substitute(map, item, kpage);
	folio_unlock(page_folio(map->page));
	return err;
}

/**
 * ksm_merge_with - map a KSM page in the place of an equal one
 * @vma: the VMA of the page
 * @item: the page's item, in the caller's hands and in no tree
 * @page: the page, with a reference; NULL: to be looked up
 * @kfolio: the KSM page, a reference held
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 * Return: 0 and the item is %KSM_ITEM_STABLE; -ENOENT: they are not equal;
 *	-EAGAIN: something was in the way, perhaps not for long.
 */
int ksm_merge_with(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page, struct folio *kfolio)
{
	struct page *kpage = &kfolio->page;
	struct mapping map;
	unsigned int waits;
	int err = -ENOENT;

	if (mapping_begin(&map, vma, item, page)) {
		err = merge(&map, item, kpage);
		for (waits = 0; err == -EBUSY && waits < LOCK_WAITS; waits++) {
			folio_wait_locked(kfolio);
			err = merge(&map, item, kpage);
		}
		if (err == -EBUSY)
			err = -EAGAIN;
		trace_ksm_merge_with_ksm_page(kpage, page_to_pfn(kpage), item,
					      vma->vm_mm, err);
	}
	mapping_end(&map);
	return err;
}

/**
 * ksm_merge_zero - map the zero page in the place of a page full of zeroes
 * @vma: the VMA of the page
 * @item: the page's item, in the caller's hands and in no tree
 * @page: as for ksm_merge_with()
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 * Return: as ksm_merge_with(), but the item's state stays.
 */
int ksm_merge_zero(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page)
{
	struct page *zero = ZERO_PAGE(ksm_item_address(item));
	struct mapping map;
	int err = -ENOENT;

	if (mm_forbids_zeropage(vma->vm_mm))
		return err;
	if (mapping_begin(&map, vma, item, page)) {
		err = merge(&map, item, zero);
		trace_ksm_merge_one_page(page_to_pfn(zero), item, vma->vm_mm,
					 err);
	}
	mapping_end(&map);
	return err;
}

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
static struct folio *make_ksm(struct mapping *map, struct ksm_rmap_item *item,
			      struct ksm_stable_node *node)
{
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
		ksm_stable_link(folio, item, anon_vma,
				has_odd_pgoff(map->vma, item));
	}
	ksm_stable_free(spare);
	return twin;
}

/* Protects the page, and makes sure that it has the item's key. */
static int protect_content(struct mapping *map, struct ksm_rmap_item *item,
			   unsigned int scope)
{
	struct mmu_notifier_range range;
	int err;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, map->vma->vm_mm,
				map->addr, map->addr + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	err = protect(map);
	mmu_notifier_invalidate_range_end(&range);
	if (err)
		return err;
	sync_content(map);
	return ksm_key(ksm_fingerprint(map->page, NULL), scope) ==
	       ksm_item_key(item) ? 0 : -ENOENT;
}

/* The page is locked. As make_ksm(). */
static struct folio *promote_locked(struct mapping *map,
				    struct ksm_rmap_item *item)
{
	struct ksm_stable_node *node = ksm_stable_alloc();
	struct folio *twin;
	int err;

	if (!node)
		return ERR_PTR(-ENOMEM);
	node->key = ksm_item_key(item);
	node->scope = ksm_scope(map->page);
	err = protect_content(map, item, node->scope);
	twin = err ? ERR_PTR(err) : make_ksm(map, item, node);
	if (twin)
		ksm_stable_free(node);
	/* Merging with a twin tells of itself. */
	if (IS_ERR_OR_NULL(twin))
		trace_ksm_merge_with_ksm_page(NULL, page_to_pfn(map->page),
					      item, map->vma->vm_mm,
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
	struct mapping map;
	struct folio *twin;
	int err = -ENOENT;

	if (!mapping_begin(&map, vma, item, NULL))
		goto end;
	err = lock_private(map.page);
	if (err)
		goto end;
	twin = promote_locked(&map, item);
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
	mapping_end(&map);
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
		link_item(vma, item, kfolio, vma->anon_vma);
		err = 0;
	}
	if (page)
		put_page(page);
	folio_unlock(kfolio);
	return err;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/merge_kunit.c"
#endif
