// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of processes: finding one by its address, and locking it for a merge.
 */
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>

#include "../internal.h"
#include "page.h"
#include "slot.h"
#include "split.h"

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
 * ksm_lock_private - lock a page for a merge
 * @page: the page; the caller has a reference
 * @item: its item, in the caller's hands
 *
 * Splits the huge page that it is part of, and keeps the pages of zeroes in it.
 * Never waits: a page that is busy is left for another visit.
 *
 * Return: 0; -EAGAIN: it is busy, or part of a huge page that must not be split
 *	for so little; -ENOENT: it must not be merged any more.
 */
int ksm_lock_private(struct page *page, struct ksm_rmap_item *item)
{
	struct folio *folio = page_folio(page);
	bool is_huge;

	if (folio_test_pmd_mappable(folio) && !ksm_split_add_twin(item))
		return -EAGAIN;
	if (!folio_trylock(folio))
		return -EAGAIN;
	is_huge = folio_test_pmd_mappable(folio);
	/* Afterwards, @page's own folio is the one that is locked. */
	if (folio_test_large(folio) && split_huge_page_keep_zeroes(page)) {
		folio_unlock(folio);
		return -EAGAIN;
	}
	if (is_huge)
		ksm_split_done(item);
	folio = page_folio(page);
	if (!folio_test_anon(folio) || folio_test_ksm(folio)) {
		folio_unlock(folio);
		return -ENOENT;
	}
	return 0;
}
