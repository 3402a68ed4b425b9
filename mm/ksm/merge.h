/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A page in the hands of who merges: what merge.c, which maps KSM pages in the
 * place of others, and promote.c, which makes them, have in common.
 */
#ifndef _MM_KSM_MERGE_H
#define _MM_KSM_MERGE_H

#include "ksm.h"

/**
 * struct ksm_mapping - one PTE and the private page that it maps
 * @item: the page's item, in the caller's hands and in no tree
 * @page: the page, a reference held; locked while @err is 0
 * @kpage: what is to take its place, equal as far as is known: a KSM page, with
 *	a reference, or the zero page
 * @pte: the PTE as ksm_protect() left it
 * @cleared: the PTE was taken away, to be put back under the same lock
 * @err: 0 as long as nothing is in the way; then -EAGAIN: something is, perhaps
 *	not for long; -EBUSY: somebody has @kpage locked; -ENOENT: they are not
 *	equal, or @kpage has no room for another sharer
 */
struct ksm_mapping {
	struct ksm_rmap_item *item;
	struct page *page;
	struct page *kpage;
	pte_t pte;
	bool cleared;
	int err;
};

/* Pages that are locked, and shut off from who writes to them, at a time. */
#define KSM_MERGE_BATCH	16U

/**
 * struct ksm_mapping_set - mappings of one page table
 * @vma: the VMA of all; its mmap_lock is held for reading
 * @pmd: leads to the page table; it stays, what is there may change
 * @map: the mappings, by address
 * @nr: how many
 */
struct ksm_mapping_set {
	struct vm_area_struct *vma;
	pmd_t *pmd;
	struct ksm_mapping *map;
	unsigned int nr;
};

int ksm_lock_private(struct page *page);
void ksm_notify_start(struct ksm_mapping_set *set);
void ksm_notify_end(struct ksm_mapping_set *set);
void ksm_protect(struct ksm_mapping_set *set);
void ksm_sync_content(struct vm_area_struct *vma, struct ksm_mapping *map);
bool ksm_has_odd_pgoff(struct vm_area_struct *vma, struct ksm_rmap_item *item);
void ksm_link_item(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		   struct folio *kfolio, struct anon_vma *anon_vma);
void ksm_merge_set(struct ksm_mapping_set *set);
void ksm_trace_merge(struct vm_area_struct *vma, struct ksm_mapping *map);

#endif /* _MM_KSM_MERGE_H */
