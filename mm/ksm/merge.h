/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Merging: what is common to merge.c, which maps KSM pages in the place of
 * others, and promote.c, which makes KSM pages.
 */
#ifndef _MM_KSM_MERGE_H
#define _MM_KSM_MERGE_H

#include "ksm.h"
#include "slot.h"

/**
 * struct ksm_mapping - one PTE and the page that it maps
 * @item: the page's item, in the caller's hands and in no tree; or the item of
 *	a mapping that @moves. Once it shares @kpage, it belongs to the owner of
 *	its window again and may be freed, so it must not be looked at.
 * @addr: the address of the PTE
 * @page: the page, a reference held; locked while @err is 0
 * @kpage: the page to take its place, equal as far as is known: a KSM page,
 *	with a reference, or the zero page
 * @pte: the PTE as ksm_protect() left it
 * @moves: @page is a KSM page, too, and the mapping moves from it to @kpage
 * @cleared: the PTE was cleared, and is put back under the same lock
 * @err: 0 as long as nothing is in the way; then -EAGAIN: something is, perhaps
 *	not for long; -EBUSY: @kpage is locked by somebody else; -ENOENT: the
 *	pages are not equal, or @kpage has no room for another sharer
 */
struct ksm_mapping {
	struct ksm_rmap_item *item;
	unsigned long addr;
	struct page *page;
	struct page *kpage;
	pte_t pte;
	bool moves;
	bool cleared;
	int err;
};

/* Pages to lock and protect from writing at a time. */
#define KSM_MERGE_BATCH	16U

/**
 * struct ksm_mapping_set - mappings of one page table
 * @vma: the VMA of all; its mmap_lock is held for reading
 * @pmd: leads to the page table; the table stays, its entries may change
 * @map: the mappings, by address
 * @nr: how many
 */
struct ksm_mapping_set {
	struct vm_area_struct *vma;
	pmd_t *pmd;
	struct ksm_mapping *map;
	unsigned int nr;
};

void ksm_notify_start(struct ksm_mapping_set *set);
void ksm_notify_end(struct ksm_mapping_set *set);
void ksm_protect(struct ksm_mapping_set *set);
void ksm_sync_content(struct vm_area_struct *vma, struct ksm_mapping *map);
void ksm_link_item(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct folio *kfolio, struct anon_vma *anon_vma);
int ksm_unknown_references(struct folio *folio);
void ksm_merge_set(struct ksm_mapping_set *set);
void ksm_trace_merge(struct vm_area_struct *vma, struct ksm_mapping *map);

int ksm_merge_with(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page, struct folio *kfolio);
int ksm_merge_zero(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct page *page);
int ksm_move(struct vm_area_struct *vma, struct ksm_rmap_item *item,
	     struct page *page, struct folio *kfolio);

#endif /* _MM_KSM_MERGE_H */
