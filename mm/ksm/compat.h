/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KSM uses the names of Linux 7.3. This header gives them to Linux 6.12, where
 * they are called otherwise or take other arguments. It has nothing but names:
 * if the two kernels differ in more than that, the code says so.
 */
#ifndef _MM_KSM_COMPAT_H
#define _MM_KSM_COMPAT_H

#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/ksm.h>		/* mm_flags_test() */
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/swap.h>		/* swapops.h needs it */
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#ifdef FOLIO_MAPPING_KSM

#include <linux/folio_batch.h>
#include <linux/leafops.h>

#else /* Linux 6.12 */

#include <linux/pagevec.h>

/* Folios and mms */
#define FOLIO_MAPPING_ANON	PAGE_MAPPING_ANON
#define FOLIO_MAPPING_KSM	PAGE_MAPPING_KSM
#define FOLIO_MAPPING_FLAGS	PAGE_MAPPING_FLAGS

#define mm_flags_set(flag, mm)		set_bit(flag, &(mm)->flags)
#define mm_flags_clear(flag, mm)	clear_bit(flag, &(mm)->flags)
#define mm_flags_test_and_set(flag, mm)	test_and_set_bit(flag, &(mm)->flags)

/* Flags of VMAs: all of them are in one word. */
#define vma_flags_t			vm_flags_t
#define VMA_MERGEABLE_BIT		VM_MERGEABLE
#define vma_flags_to_legacy(flags)	(flags)
#define vma_flags_set(flags, flag)	(*(flags) |= (flag))

static inline bool file_is_dax(const struct file *file)
{
	return file && IS_DAX(file->f_mapping->host);
}

/* Reverse mapping: anonymous pages go by the index of the file there. */
#define linear_anon_page_index	linear_page_index
#define vma_set_anon_pgoff(vma, pgoff)	((vma)->vm_pgoff = (pgoff))
#define anon_rmap_tree_foreach(avc, anon_vma, first, last) \
	anon_vma_interval_tree_foreach(avc, &(anon_vma)->rb_root, first, last)

/* PTEs that are not present; softleaf_from_pte() is there already. */
#define softleaf_is_migration	is_migration_entry
#define softleaf_is_swap(entry)	(!non_swap_entry(entry))
#define softleaf_to_folio	pfn_swap_entry_folio

/* userfaultfd: write protection is all that the bit stands for. */
#define pte_uffd		pte_uffd_wp
#define pte_mkuffd		pte_mkuffd_wp
static inline bool userfaultfd_rwp(struct vm_area_struct *vma)
{
	return false;
}

/* Memory and time. Other macros call this one by the old arguments. */
#undef vma_alloc_folio
#define vma_alloc_folio(gfp, order, vma, addr, ...) \
	alloc_hooks(vma_alloc_folio_noprof(gfp, order, vma, addr, false))
#define alloc_pages_bulk_mempolicy	alloc_pages_bulk_array_mempolicy
#define alloc_pages_bulk_node		alloc_pages_bulk_array_node
#define usleep_range_idle	usleep_idle_range

#endif /* FOLIO_MAPPING_KSM */

#endif /* _MM_KSM_COMPAT_H */
