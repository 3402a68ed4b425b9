// SPDX-License-Identifier: GPL-2.0
/*
 * Merging: write-protect a page, compare it, and map a KSM page in its place.
 *
 * This file keeps the promise that no byte changes under a process: a page is
 * mapped in another one's place only after both were compared in full, while no
 * PTE and nobody else could write to either.
 *
 * TLBs are flushed once for all pages of a set that are protected, and once for
 * all that are replaced. Until the second flush, a CPU may go on reading a page
 * that was replaced. It sees the same content as long as nobody writes to that
 * page or frees it, which nobody may do while we have a reference.
 */
#include <kunit/static_stub.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>	/* flush_tlb_range() */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/page-flags.h>
#include <linux/rmap.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <asm/tlbflush.h>
#include <trace/events/ksm.h>

#include "../internal.h"
#include "key.h"
#include "merge.h"
#include "node.h"
#include "page.h"
#include "rmap.h"
#include "rmap_item.h"
#include "sharer.h"
#include "slot.h"
#include "stable.h"

/* -------------------------------------------- secondary MMUs, page tables */

/* Notifies once for mappings that follow each other. */
static void merge_notify(struct ksm_mapping_set *set,
			 void (*tell)(struct mmu_notifier_range *range))
{
	struct ksm_mapping *map = set->map, *end = map + set->nr;
	struct mmu_notifier_range range;
	unsigned long first, next;

	while (map < end) {
		first = map->addr;
		next = first;
		for (; map < end && map->addr == next; map++)
			next += PAGE_SIZE;
		/*
		 * The start calls this itself, but not for a range that is not
		 * kept.
		 */
		mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR,
					MMU_NOTIFIER_RANGE_BLOCKABLE,
					set->vma->vm_mm, first, next);
		tell(&range);
	}
}

/**
 * ksm_notify_start - keep secondary MMUs away from the pages of a set
 * @set: the set
 *
 * Context: sleeps.
 */
void ksm_notify_start(struct ksm_mapping_set *set)
{
	merge_notify(set, mmu_notifier_invalidate_range_start);
}

/**
 * ksm_notify_end - let secondary MMUs map the pages again
 * @set: the set
 *
 * Context: sleeps.
 */
void ksm_notify_end(struct ksm_mapping_set *set)
{
	merge_notify(set, mmu_notifier_invalidate_range_end);
}

static pte_t *merge_lock_pte(struct ksm_mapping_set *set,
			     struct ksm_mapping *map, spinlock_t **ptl)
{
	struct mm_struct *mm = set->vma->vm_mm;

	if (!set->pmd)
		set->pmd = mm_find_pmd(mm, map->addr);
	if (!set->pmd)
		return NULL;
	return pte_offset_map_lock(mm, set->pmd, map->addr, ptl);
}

static pte_t *merge_pte_of(struct ksm_mapping_set *set, struct ksm_mapping *map,
			   pte_t *first)
{
	return first + ((map->addr - set->map->addr) >> PAGE_SHIFT);
}

/* ------------------------------------------------------------- protecting */

/**
 * ksm_unknown_references - count references to a page that are not known
 * @folio: the page; each mapping, and the swap cache for each of its pages, have one
 *	that is
 *
 * The owner of such a reference may write to the page, and no PTE can stop it.
 *
 * Return: how many, including the caller's; only a hint unless the page is
 *	protected.
 */
int ksm_unknown_references(struct folio *folio)
{
	return folio_ref_count(folio) - folio_mapcount(folio) -
	       (folio_test_swapcache(folio) ? folio_nr_pages(folio) : 0);
}

/* Clears a PTE that somebody may write through. */
static void merge_clear_pte(struct vm_area_struct *vma, struct ksm_mapping *map,
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
	flush_cache_page(vma, map->addr, page_to_pfn(map->page));
	map->pte = ptep_get_and_clear(vma->vm_mm, map->addr, ptep);
	map->cleared = true;
}

/* Puts the PTE back: without the right to write, or as it was. */
static void merge_restore_pte(struct vm_area_struct *vma,
			      struct ksm_mapping *map, pte_t *ptep)
{
	struct folio *folio = page_folio(map->page);

	/* A reference to a KSM page does not let its owner write. */
	if (!map->moves &&
	    (ksm_unknown_references(folio) != 1 ||
	     (PageAnonExclusive(map->page) &&
	      folio_try_share_anon_rmap_pte(folio, map->page))))
		map->err = -EAGAIN;
	if (!map->cleared)
		return;
	if (!map->err) {
		if (pte_dirty(map->pte))
			folio_mark_dirty(folio);
		map->pte = pte_wrprotect(pte_mkclean(map->pte));
	}
	set_pte_at(vma->vm_mm, map->addr, ptep, map->pte);
}

/*
 * The page-table lock is held. GUP-fast takes no lock: it takes its reference
 * first, and then checks that the PTE is still the same. Once the PTE is empty
 * and flushed, either the reference is there to be counted, or it will not be
 * kept.
 */
static void merge_protect_ptes(struct ksm_mapping_set *set, pte_t *first)
{
	struct ksm_mapping *map, *end = set->map + set->nr;
	unsigned long from = 0, to = 0;

	for (map = set->map; map < end; map++) {
		if (map->err)
			continue;
		merge_clear_pte(set->vma, map, merge_pte_of(set, map, first));
		if (!map->cleared)
			continue;
		from = to ? from : map->addr;
		to = map->addr + PAGE_SIZE;
	}
	if (to)
		flush_tlb_range(set->vma, from, to);
	for (map = set->map; map < end; map++)
		if (!map->err)
			merge_restore_pte(set->vma, map,
					  merge_pte_of(set, map, first));
}

/**
 * ksm_protect - make sure that nobody can write to the pages of a set
 * @set: the set; the err of each mapping then tells whether its page is
 *	protected. It stays protected as long as it is locked.
 *
 * Context: the pages are locked, secondary MMUs are kept out.
 */
void ksm_protect(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map;
	spinlock_t *ptl;
	pte_t *first = merge_lock_pte(set, set->map, &ptl);

	if (first) {
		merge_protect_ptes(set, first);
		pte_unmap_unlock(first, ptl);
		return;
	}
	for (map = set->map; map < set->map + set->nr; map++)
		map->err = map->err ?: -EAGAIN;
}

/* -------------------------------------------------------------- replacing */

/* The PTE of @kpage that replaces @old and keeps what user space sees of it. */
static pte_t merge_shared_pte(struct vm_area_struct *vma, struct page *kpage,
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
	/* Making a PTE dirty may have set the soft-dirty bit, too. */
	pte = pte_soft_dirty(old) ? pte_mksoft_dirty(pte) :
				    pte_clear_soft_dirty(pte);
	if (pte_uffd(old)) {
		pte = pte_mkuffd(pte);
		/* userfaultfd has to hear of the next read as well. */
		if (userfaultfd_rwp(vma))
			pte = pte_modify(pte, PAGE_NONE);
	}
	return pte;
}

static void merge_replace_pte(struct vm_area_struct *vma,
			      struct ksm_mapping *map, pte_t *ptep)
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
					map->addr, RMAP_NONE);
	}

	flush_cache_page(vma, map->addr, page_to_pfn(map->page));
	/* To be flushed together with the others. */
	old = ptep_get_and_clear(mm, map->addr, ptep);
	set_pte_at(mm, map->addr, ptep, merge_shared_pte(vma, kpage, old));

	folio_remove_rmap_pte(folio, map->page, vma);
	if (!folio_mapped(folio))
		folio_free_swap(folio);
	folio_put(folio);
}

/* Maps @kpage in the page's place, unless the PTE has changed since. */
static int merge_replace(struct ksm_mapping_set *set, struct ksm_mapping *map)
{
	spinlock_t *ptl;
	pte_t *ptep;
	bool same;

	ptep = merge_lock_pte(set, map, &ptl);
	if (!ptep)
		return -EAGAIN;
	/* Reads in the meantime do not matter. */
	same = pte_same(pte_mkyoung(ptep_get(ptep)), pte_mkyoung(map->pte));
	if (same)
		merge_replace_pte(set->vma, map, ptep);
	pte_unmap_unlock(ptep, ptl);
	return same ? 0 : -EAGAIN;
}

/**
 * ksm_sync_content - let the kernel see what processes have written
 * @vma: the VMA
 * @map: one of its mappings
 *
 * Where caches go by virtual address, the kernel may not see yet what a process
 * wrote, and may still see what it read before. For a hint that does not
 * matter, but here it does.
 */
void ksm_sync_content(struct vm_area_struct *vma, struct ksm_mapping *map)
{
	flush_anon_page(vma, map->page, map->addr);
	flush_dcache_page(map->page);
}

/**
 * ksm_link_item - make an item one of the sharers of a KSM page
 * @vma: the VMA of the item
 * @item: the item, whose PTE maps the page
 * @kfolio: the KSM page, locked
 * @anon_vma: covers the mapping and those that stem from it
 */
void ksm_link_item(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct folio *kfolio, struct anon_vma *anon_vma)
{
	get_anon_vma(anon_vma);
	ksm_stable_link(kfolio, item, anon_vma, ksm_has_odd_pgoff(vma, item));
}

/*
 * May another mapping share this KSM page? It is locked. Since it was found its
 * memory may have failed, or it has moved to another node: it is not to attract
 * anybody there, and the next visit to one who shares it will see to that.
 */
static bool merge_may_join(struct folio *kfolio, struct page *page)
{
	unsigned int scope = ksm_scope(page);

	return ksm_stable_has_room(kfolio) && !folio_test_hwpoison(kfolio) &&
	       ksm_folio_node(kfolio)->scope == scope &&
	       ksm_scope(&kfolio->page) == scope;
}

/* Maps a KSM page that equals the page, and makes the item share it. */
static int merge_share(struct ksm_mapping_set *set, struct ksm_mapping *map)
{
	struct folio *kfolio = page_folio(map->kpage);
	int err = -ENOENT;

	KUNIT_STATIC_STUB_REDIRECT(merge_share, set, map);
	if (!ksm_lock_kpage(kfolio))
		return -EBUSY;
	if (merge_may_join(kfolio, map->page)) {
		/*
		 * Its last sharer may have freed it by MADV_FREE, and reclaim
		 * would drop it then. The new sharer has not.
		 */
		folio_mark_dirty(kfolio);
		err = merge_replace(set, map);
	}
	if (!err) {
		/* Both are locked, so nobody sees the mapping without an item. */
		if (map->moves)
			ksm_stable_leave(page_folio(map->page), map->item);
		ksm_link_item(set->vma, map->item, kfolio, set->vma->anon_vma);
	}
	folio_unlock(kfolio);
	return err;
}

/*
 * Compares and replaces. The content of a KSM page does not change as long as
 * there is a reference, so it need not be locked to be compared.
 */
static int merge_substitute_one(struct ksm_mapping_set *set,
				struct ksm_mapping *map)
{
	ksm_sync_content(set->vma, map);
	if (!ksm_pages_equal(map->page, map->kpage))
		return -ENOENT;
	if (is_zero_pfn(page_to_pfn(map->kpage)))
		return merge_replace(set, map);
	return merge_share(set, map);
}

/*
 * Keeps secondary MMUs out from start to end, so that they are notified only
 * once.
 */
static void merge_substitute(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map, *end = set->map + set->nr;
	struct mm_struct *mm = set->vma->vm_mm;
	unsigned long from = 0, to = 0;

	ksm_notify_start(set);
	ksm_protect(set);
	/*
	 * Tell others, who see the new PTEs, that TLBs may still hold the old
	 * ones.
	 */
	inc_tlb_flush_pending(mm);
	for (map = set->map; map < end; map++) {
		if (map->err)
			continue;
		map->err = merge_substitute_one(set, map);
		if (map->err)
			continue;
		from = to ? from : map->addr;
		to = map->addr + PAGE_SIZE;
	}
	if (to)
		flush_tlb_range(set->vma, from, to);
	dec_tlb_flush_pending(mm);
	ksm_notify_end(set);
}

/* Before a huge page is split, be as certain as possible that it is worth it. */
static bool merge_worth_splitting(struct page *page, struct page *kpage)
{
	return !folio_test_large(page_folio(page)) || ksm_pages_equal(page, kpage);
}

/* May a mapping leave its KSM page, which is locked? Not if forks are found by its item. */
static bool merge_may_leave(struct ksm_mapping *map)
{
	struct folio *folio = page_folio(map->page);

	if (!ksm_folio_node(folio))
		return false;
	return ksm_item_state(map->item) != KSM_ITEM_STABLE ||
	       !ksm_item_must_stay(folio, map->item);
}

/* Locks a KSM page that a mapping leaves. */
static int merge_lock_to_leave(struct ksm_mapping *map)
{
	struct folio *folio = page_folio(map->page);

	if (!folio_trylock(folio))
		return -EAGAIN;
	if (merge_may_leave(map))
		return 0;
	folio_unlock(folio);
	return -ENOENT;
}

static int merge_lock_one(struct ksm_mapping *map)
{
	if (map->moves)
		return merge_lock_to_leave(map);
	if (folio_test_ksm(page_folio(map->page)) ||
	    !merge_worth_splitting(map->page, map->kpage))
		return -ENOENT;
	return ksm_lock_private(map->page, map->item);
}

/**
 * ksm_trace_merge - trace the result of a merge
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
 * @set: the pages; if there are several, none was split from a huge page
 *
 * The err of each tells what has become of it: if that is 0, the item is
 * %KSM_ITEM_STABLE, or its state is unchanged if the zero page took the place.
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 */
void ksm_merge_set(struct ksm_mapping_set *set)
{
	struct ksm_mapping *map, *end = set->map + set->nr;
	bool locked[KSM_MERGE_BATCH], any = false;

	for (map = set->map; map < end; map++) {
		map->err = merge_lock_one(map);
		map->cleared = false;
		locked[map - set->map] = !map->err;
		any |= !map->err;
	}
	if (any)
		merge_substitute(set);
	for (map = set->map; map < end; map++)
		if (locked[map - set->map])
			folio_unlock(page_folio(map->page));
}

/* As ksm_merge_with(), for a KSM page or the zero page. */
static int merge_one(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		     struct page *page, struct page *kpage, bool moves)
{
	struct ksm_mapping map = {
		.item = item,
		.addr = ksm_item_address(item),
		.page = page,
		.kpage = kpage,
		.moves = moves,
	};
	struct ksm_mapping_set set = { .vma = vma, .map = &map, .nr = 1 };

	if (!page)
		map.page = ksm_get_page(vma, map.addr);
	if (!map.page)
		return -ENOENT;
	ksm_merge_set(&set);
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
 * @page: the page, with a reference; NULL: look it up
 * @kfolio: the KSM page, a reference held
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 * Return: 0 and the item is %KSM_ITEM_STABLE; -ENOENT: the pages are not equal,
 *	or @kfolio is full; -EAGAIN: something was in the way, perhaps not for
 *	long.
 */
int ksm_merge_with(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page, struct folio *kfolio)
{
	return merge_one(vma, item, page, &kfolio->page, false);
}

/**
 * ksm_move - make a mapping share another KSM page of the same content
 * @vma: the VMA
 * @item: the item of the address: it shares @page, or is in no tree
 * @page: the KSM page that is mapped there, with a reference
 * @kfolio: the other one, a reference held
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 * Return: as ksm_merge_with(); also -ENOENT if forks are found only through
 *	@item.
 */
int ksm_move(struct vm_area_struct *vma, struct ksm_rmap_item *item,
	     struct page *page, struct folio *kfolio)
{
	return merge_one(vma, item, page, &kfolio->page, true);
}

/**
 * ksm_merge_zero - map the zero page in the place of a page full of zeroes
 * @vma: the VMA of the page
 * @item: the page's item, in the caller's hands and in no tree
 * @page: as for ksm_merge_with()
 *
 * Context: mmap_lock held for reading; no folio lock held; sleeps.
 * Return: as ksm_merge_with(), but the item's state does not change.
 */
int ksm_merge_zero(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page)
{
	if (mm_forbids_zeropage(vma->vm_mm))
		return -ENOENT;
	return merge_one(vma, item, page, ZERO_PAGE(ksm_item_address(item)),
			 false);
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/merge_kunit.c"
#endif
