// SPDX-License-Identifier: GPL-2.0
/*
 * Merging: write-protect a page, compare it, and map a KSM page in its place;
 * or make it a KSM page itself.
 *
 * This is where the promise is kept that no byte changes under a process:
 * nothing is mapped in a page's place unless both were compared in full while
 * no PTE and nobody else could write to either.
 *
 * TLBs are flushed once for all pages of a set that are protected, and once for
 * all that are replaced. Until that second flush a CPU may go on reading a page
 * that was replaced: what it sees is the same, as long as nobody writes to the
 * page or frees it, and for that nobody may while we have a reference.
 */
#include <linux/highmem.h>
#include <linux/hugetlb.h>	/* flush_tlb_range() */
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
#include "merge.h"

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

/**
 * ksm_lock_private - lock a page that is to be merged
 * @page: the page; the caller has a reference
 *
 * Splits the huge page that it is part of. Never waits: a page that is busy is
 * left for another visit.
 *
 * Return: 0; -EAGAIN: it is busy; -ENOENT: it is not to be merged any more.
 */
int ksm_lock_private(struct page *page)
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

/* ------------------------------------------------ secondary MMUs, page tables */

static unsigned long address(const struct ksm_mapping *map)
{
	return ksm_item_address(map->item);
}

/* What follows one another is told of at a time. */
static void notify(struct ksm_mapping_set *set,
		   void (*tell)(struct mmu_notifier_range *range))
{
	struct ksm_mapping *map = set->map, *end = map + set->nr;
	struct mmu_notifier_range range;
	unsigned long first, next;

	while (map < end) {
		first = address(map);
		next = first;
		for (; map < end && address(map) == next; map++)
			next += PAGE_SIZE;
		/* Start says so by itself, but to a range that is not kept. */
		mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR,
					MMU_NOTIFIER_RANGE_BLOCKABLE,
					set->vma->vm_mm, first, next);
		tell(&range);
	}
}

/**
 * ksm_notify_start - keep secondary MMUs from the pages of a set
 * @set: the set
 *
 * Context: sleeps.
 */
void ksm_notify_start(struct ksm_mapping_set *set)
{
	notify(set, mmu_notifier_invalidate_range_start);
}

/**
 * ksm_notify_end - let secondary MMUs map again what is there
 * @set: the set
 *
 * Context: sleeps.
 */
void ksm_notify_end(struct ksm_mapping_set *set)
{
	notify(set, mmu_notifier_invalidate_range_end);
}

static pte_t *lock_pte(struct ksm_mapping_set *set, struct ksm_mapping *map,
		       spinlock_t **ptl)
{
	struct mm_struct *mm = set->vma->vm_mm;

	if (!set->pmd)
		set->pmd = mm_find_pmd(mm, address(map));
	if (!set->pmd)
		return NULL;
	return pte_offset_map_lock(mm, set->pmd, address(map), ptl);
}

static pte_t *pte_of(struct ksm_mapping_set *set, struct ksm_mapping *map,
		     pte_t *first)
{
	return first + ((address(map) - address(set->map)) >> PAGE_SHIFT);
}

/* ------------------------------------------------------------- protecting */

/*
 * Is anybody else using the page than those that map it, the swap cache and
 * we? They may be about to write to it, without any PTE to stop them.
 */
static bool used_elsewhere(struct folio *folio)
{
	int expected = folio_mapcount(folio) + folio_test_swapcache(folio) + 1;

	return folio_ref_count(folio) != expected;
}

/* Takes a PTE away that somebody may write by. */
static void take_away(struct vm_area_struct *vma, struct ksm_mapping *map,
		      pte_t *ptep)
{
	map->pte = ptep_get(ptep);
	if (!pte_present(map->pte) ||
	    pte_pfn(map->pte) != page_to_pfn(map->page)) {
		map->err = -EAGAIN;
		return;
	}
	if (!pte_write(map->pte) && !pte_dirty(map->pte) &&
	    !PageAnonExclusive(map->page) && !mm_tlb_flush_pending(vma->vm_mm))
		return;
	flush_cache_page(vma, address(map), page_to_pfn(map->page));
	map->pte = ptep_get_and_clear(vma->vm_mm, address(map), ptep);
	map->cleared = true;
}

/* Puts it back: without the right to write, or as it was. */
static void put_back(struct vm_area_struct *vma, struct ksm_mapping *map,
		     pte_t *ptep)
{
	struct folio *folio = page_folio(map->page);

	if (used_elsewhere(folio) ||
	    (PageAnonExclusive(map->page) &&
	     folio_try_share_anon_rmap_pte(folio, map->page)))
		map->err = -EAGAIN;
	if (!map->cleared)
		return;
	if (!map->err) {
		if (pte_dirty(map->pte))
			folio_mark_dirty(folio);
		map->pte = pte_wrprotect(pte_mkclean(map->pte));
	}
	set_pte_at(vma->vm_mm, address(map), ptep, map->pte);
}

/*
 * The page-table lock is held. GUP-fast takes no lock: it gets its reference
 * first and then looks whether the PTE is the same. With the PTE empty and
 * flushed, either the reference is there to be counted now, or it will not be
 * taken.
 */
static void protect_locked(struct ksm_mapping_set *set, pte_t *first)
{
	struct ksm_mapping *map, *end = set->map + set->nr;
	unsigned long from = 0, to = 0;

	for (map = set->map; map < end; map++) {
		if (map->err)
			continue;
		take_away(set->vma, map, pte_of(set, map, first));
		if (!map->cleared)
			continue;
		from = to ? from : address(map);
		to = address(map) + PAGE_SIZE;
	}
	if (to)
		flush_tlb_range(set->vma, from, to);
	for (map = set->map; map < end; map++)
		if (!map->err)
			put_back(set->vma, map, pte_of(set, map, first));
}

/**
 * ksm_protect - make sure that nobody can write to the pages of a set
 * @set: the set; whether a page is protected is then told by its err. It stays
 *	so as long as the page is locked.
 *
 * Context: the pages are locked, secondary MMUs are shut out.
 */
void ksm_protect(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map;
	spinlock_t *ptl;
	pte_t *first = lock_pte(set, set->map, &ptl);

	if (first) {
		protect_locked(set, first);
		pte_unmap_unlock(first, ptl);
		return;
	}
	for (map = set->map; map < set->map + set->nr; map++)
		map->err = map->err ?: -EAGAIN;
}

/* -------------------------------------------------------------- replacing */

/* The PTE of @kpage that takes the place of @old, with what user space sees. */
static pte_t shared_pte(struct vm_area_struct *vma, struct page *kpage,
			pte_t old)
{
	pgprot_t prot = vma->vm_page_prot;
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

static void replace_locked(struct vm_area_struct *vma, struct ksm_mapping *map,
			   pte_t *ptep)
{
	struct folio *folio = page_folio(map->page);
	struct mm_struct *mm = vma->vm_mm;
	struct page *kpage = map->kpage;
	pte_t old;

	if (is_zero_pfn(page_to_pfn(kpage))) {
		ksm_map_zero_page(mm);
		dec_mm_counter(mm, MM_ANONPAGES);
	} else {
		folio_get(page_folio(kpage));
		folio_add_anon_rmap_pte(page_folio(kpage), kpage, vma,
					address(map), RMAP_NONE);
	}

	flush_cache_page(vma, address(map), page_to_pfn(map->page));
	/* To be flushed with the others. */
	old = ptep_get_and_clear(mm, address(map), ptep);
	set_pte_at(mm, address(map), ptep, shared_pte(vma, kpage, old));

	folio_remove_rmap_pte(folio, map->page, vma);
	if (!folio_mapped(folio))
		folio_free_swap(folio);
	folio_put(folio);
}

/* Maps what was compared in the page's place, unless the PTE has changed since. */
static int replace(struct ksm_mapping_set *set, struct ksm_mapping *map)
{
	spinlock_t *ptl;
	pte_t *ptep;
	bool same;

	ptep = lock_pte(set, map, &ptl);
	if (!ptep)
		return -EAGAIN;
	/* That it was read meanwhile does not matter. */
	same = pte_same(pte_mkyoung(ptep_get(ptep)), pte_mkyoung(map->pte));
	if (same)
		replace_locked(set->vma, map, ptep);
	pte_unmap_unlock(ptep, ptl);
	return same ? 0 : -EAGAIN;
}

/**
 * ksm_sync_content - have the kernel see what processes have written
 * @vma: the VMA
 * @map: one of its mappings
 *
 * Where caches go by address, what a process wrote may not be seen from here
 * yet, and what was read here before may be seen still. That made a hint wrong;
 * now it counts.
 */
void ksm_sync_content(struct vm_area_struct *vma, struct ksm_mapping *map)
{
	flush_anon_page(vma, map->page, address(map));
	flush_dcache_page(map->page);
}

/**
 * ksm_has_odd_pgoff - does the index of a page not follow from its chunk?
 * @vma: the VMA of the page
 * @item: its item
 */
bool ksm_has_odd_pgoff(struct vm_area_struct *vma, struct ksm_rmap_item *item)
{
	return linear_page_index(vma, ksm_item_address(item)) !=
	       ksm_item_chunk(item)->pgoff + ksm_item_place(item);
}

/**
 * ksm_link_item - make an item one of the sharers of a KSM page
 * @vma: the VMA of the item
 * @item: the item, whose PTE maps the page
 * @kfolio: the KSM page, locked
 * @anon_vma: covers the mapping, and those that stem from it
 */
void ksm_link_item(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct folio *kfolio, struct anon_vma *anon_vma)
{
	get_anon_vma(anon_vma);
	ksm_stable_link(kfolio, item, anon_vma, ksm_has_odd_pgoff(vma, item));
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

/* Maps a KSM page, which equals the page, and makes the item one of its sharers. */
static int share_with(struct ksm_mapping_set *set, struct ksm_mapping *map)
{
	struct folio *kfolio = page_folio(map->kpage);
	int err = -EAGAIN;

	if (!spin_for_lock(kfolio))
		return -EBUSY;
	/* Its memory may have failed since it was found: not to be used again. */
	if (!ksm_stable_has_room(kfolio) || folio_test_hwpoison(kfolio)) {
		err = -ENOENT;
	} else if (ksm_folio_node(kfolio)->scope == ksm_scope(map->page)) {
		/*
		 * Its last sharer may have declared it free (MADV_FREE), in
		 * which case reclaim would drop it; the new one has not.
		 */
		folio_mark_dirty(kfolio);
		err = replace(set, map);
	}
	if (!err)
		ksm_link_item(set->vma, map->item, kfolio, set->vma->anon_vma);
	folio_unlock(kfolio);
	return err;
}

/*
 * Compares and replaces. What a KSM page holds does not change as long as there
 * is a reference: it need not be locked to be compared.
 */
static int substitute_one(struct ksm_mapping_set *set, struct ksm_mapping *map)
{
	ksm_sync_content(set->vma, map);
	if (!ksm_pages_equal(map->page, map->kpage))
		return -ENOENT;
	if (is_zero_pfn(page_to_pfn(map->kpage)))
		return replace(set, map);
	return share_with(set, map);
}

/*
 * Secondary MMUs are shut out all the way through, so that they need not be told
 * twice.
 */
static void substitute(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map, *end = set->map + set->nr;
	struct mm_struct *mm = set->vma->vm_mm;
	unsigned long from = 0, to = 0;

	ksm_notify_start(set);
	ksm_protect(set);
	/* Others, who see the new PTEs, are told that TLBs may have the old. */
	inc_tlb_flush_pending(mm);
	for (map = set->map; map < end; map++) {
		if (map->err)
			continue;
		map->err = substitute_one(set, map);
		if (map->err)
			continue;
		from = to ? from : address(map);
		to = address(map) + PAGE_SIZE;
	}
	if (to)
		flush_tlb_range(set->vma, from, to);
	dec_tlb_flush_pending(mm);
	ksm_notify_end(set);
}

/* What takes a huge page apart has to be certain, as far as one can be. */
static bool worth_splitting(struct page *page, struct page *kpage)
{
	return !PageTransCompound(page) || ksm_pages_equal(page, kpage);
}

static int lock_one(struct ksm_mapping *map)
{
	if (PageKsm(map->page) || !worth_splitting(map->page, map->kpage))
		return -ENOENT;
	return ksm_lock_private(map->page);
}

/**
 * ksm_trace_merge - tell who traces what has become of a merge
 * @vma: the VMA
 * @map: the mapping, with its err
 */
void ksm_trace_merge(struct vm_area_struct *vma, struct ksm_mapping *map)
{
	unsigned long pfn = page_to_pfn(map->kpage);

	if (is_zero_pfn(pfn))
		trace_ksm_merge_one_page(pfn, map->item, vma->vm_mm, map->err);
	else
		trace_ksm_merge_with_ksm_page(map->kpage, pfn, map->item,
					      vma->vm_mm, map->err);
}

/**
 * ksm_merge_set - map other pages in the places of equal ones
 * @set: the pages, of which none was split from a huge page if there are several
 *
 * What has become of each is told by its err: where that is 0, the item is
 * %KSM_ITEM_STABLE, or its state is as it was if the zero page took the place.
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 */
void ksm_merge_set(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map, *end = set->map + set->nr;
	bool locked[KSM_MERGE_BATCH], any = false;

	for (map = set->map; map < end; map++) {
		map->err = lock_one(map);
		map->cleared = false;
		locked[map - set->map] = !map->err;
		any |= !map->err;
	}
	if (any)
		substitute(set);
	for (map = set->map; map < end; map++)
		if (locked[map - set->map])
			folio_unlock(page_folio(map->page));
}

/* As ksm_merge_with(), with a KSM page or the zero page. */
static int merge_one(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		     struct page *page, struct page *kpage)
{
	struct ksm_mapping map = { .item = item, .page = page, .kpage = kpage };
	struct ksm_mapping_set set = { .vma = vma, .map = &map, .nr = 1 };
	unsigned int waits;

	if (!page)
		map.page = ksm_get_page(vma, address(&map));
	if (!map.page)
		return -ENOENT;
	ksm_merge_set(&set);
	for (waits = 0; map.err == -EBUSY && waits < LOCK_WAITS; waits++) {
		folio_wait_locked(page_folio(kpage));
		ksm_merge_set(&set);
	}
	if (map.err == -EBUSY)
		map.err = -EAGAIN;
	ksm_trace_merge(vma, &map);
	if (!page)
		put_page(map.page);
	return map.err;
}

/**
 * ksm_merge_with - map a KSM page in the place of an equal one
 * @vma: the VMA of the page
 * @item: the page's item, in the caller's hands and in no tree
 * @page: the page, with a reference; NULL: to be looked up
 * @kfolio: the KSM page, a reference held
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 * Return: 0 and the item is %KSM_ITEM_STABLE; -ENOENT: they are not equal, or
 *	@kfolio is full; -EAGAIN: something was in the way, perhaps not for long.
 */
int ksm_merge_with(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page, struct folio *kfolio)
{
	return merge_one(vma, item, page, &kfolio->page);
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
	if (mm_forbids_zeropage(vma->vm_mm))
		return -ENOENT;
	return merge_one(vma, item, page, ZERO_PAGE(ksm_item_address(item)));
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/merge_kunit.c"
#endif
