/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel samepage merging: what the rest of the kernel calls.
 *
 * Each function says who calls it and with which locks; the implementation is
 * in mm/ksm/, the design in Documentation/mm/ksm.rst.
 */
#ifndef __LINUX_KSM_H
#define __LINUX_KSM_H

#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>

/* Linux 6.12 has no other names for these. */
#ifndef FOLIO_MAPPING_KSM
#define vma_flags_t		vm_flags_t
#define mm_flags_test(flag, mm)	test_bit(flag, &(mm)->flags)
#endif

#ifdef CONFIG_KSM

/* madvise(2) and mremap(2); mmap_lock held for writing. */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, vm_flags_t *vm_flags);

/* madvise(2) MADV_UNMERGEABLE, ahead of the above; mmap_lock not held. */
int ksm_unmerge_ahead(struct mm_struct *mm, unsigned long start,
		      unsigned long end);

/* mmap(2) and brk(2), before each new VMA; mmap_lock held for writing. */
vma_flags_t ksm_vma_flags(struct mm_struct *mm, const struct file *file,
			  vma_flags_t vma_flags);

/* prctl(2) PR_SET_MEMORY_MERGE, and s390's KVM; mmap_lock held for writing. */
int ksm_enable_merge_any(struct mm_struct *mm);
int ksm_disable_merge_any(struct mm_struct *mm);
int ksm_disable(struct mm_struct *mm);

int __ksm_enter(struct mm_struct *mm);
void __ksm_exit(struct mm_struct *mm);

/* Reverse mapping, migration, swap-in and memory failure; folio locked. */
struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma,
				     unsigned long addr);
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc);
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio);
void collect_procs_ksm(const struct folio *folio, const struct page *page,
		       struct list_head *to_kill, int force_early);

/* For /proc: bytes that KSM saves @mm, less what it spends on it... */
long ksm_process_profit(struct mm_struct *mm);
/* ...and whether any of its memory may be merged; mmap_lock held. */
bool ksm_process_mergeable(struct mm_struct *mm);

/* Zero pages that KSM mapped, in all mms. */
extern atomic_long_t ksm_zero_pages;

/*
 * The dirty bit of its PTE tells a zero page that KSM has mapped from all
 * others, as no other user of the zero page sets that bit.
 */
static inline bool is_ksm_zero_pte(pte_t pte)
{
	return pte_dirty(pte) && is_zero_pfn(pte_pfn(pte));
}

static inline void ksm_add_zero_pages(struct mm_struct *mm, long nr)
{
	atomic_long_add(nr, &mm->ksm_zero_pages);
	atomic_long_add(nr, &ksm_zero_pages);
}

/* Call this with the page-table lock held wherever such a PTE is made... */
static inline void ksm_map_zero_page(struct mm_struct *mm)
{
	ksm_add_zero_pages(mm, 1);
}

/* ...is copied into the page tables of another mm... */
static inline void ksm_copy_zero_page(struct mm_struct *mm, pte_t pte)
{
	if (is_ksm_zero_pte(pte))
		ksm_add_zero_pages(mm, 1);
}

/* ...and where it goes away. */
static inline void ksm_might_unmap_zero_page(struct mm_struct *mm, pte_t pte)
{
	if (is_ksm_zero_pte(pte))
		ksm_add_zero_pages(mm, -1);
}

static inline long mm_ksm_zero_pages(struct mm_struct *mm)
{
	return atomic_long_read(&mm->ksm_zero_pages);
}

/* A new mm, perhaps a bytewise copy of another; nothing in it is merged. */
static inline void ksm_mm_init(struct mm_struct *mm)
{
	mm->ksm_merging_pages = 0;
	mm->ksm_rmap_items = 0;
	atomic_long_set(&mm->ksm_zero_pages, 0);
}

/*
 * fork(2), both mms locked for writing. If there is no memory to register the
 * child, it goes on without merging.
 */
static inline void ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm)
{
	if (mm_flags_test(MMF_VM_MERGEABLE, oldmm))
		__ksm_enter(mm);
}

/* execve(2), before the new mm is used; the mm locked for writing. */
static inline int ksm_execve(struct mm_struct *mm)
{
	return mm_flags_test(MMF_VM_MERGE_ANY, mm) ? __ksm_enter(mm) : 0;
}

/* The last user of @mm is gone, its page tables are about to be freed. */
static inline void ksm_exit(struct mm_struct *mm)
{
	if (mm_flags_test(MMF_VM_MERGEABLE, mm))
		__ksm_exit(mm);
}

#else /* CONFIG_KSM */

static inline int ksm_unmerge_ahead(struct mm_struct *mm, unsigned long start,
				    unsigned long end) { return 0; }
static inline int ksm_disable(struct mm_struct *mm) { return 0; }
static inline void ksm_mm_init(struct mm_struct *mm) { }
static inline void ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm) { }
static inline int ksm_execve(struct mm_struct *mm) { return 0; }
static inline void ksm_exit(struct mm_struct *mm) { }
static inline void ksm_copy_zero_page(struct mm_struct *mm, pte_t pte) { }
static inline void ksm_might_unmap_zero_page(struct mm_struct *mm, pte_t pte) { }

static inline vma_flags_t ksm_vma_flags(struct mm_struct *mm,
					const struct file *file,
					vma_flags_t vma_flags)
{
	return vma_flags;
}

static inline void collect_procs_ksm(const struct folio *folio,
				     const struct page *page,
				     struct list_head *to_kill,
				     int force_early) { }

#ifdef CONFIG_MMU
static inline void rmap_walk_ksm(struct folio *folio,
				 struct rmap_walk_control *rwc) { }
static inline void folio_migrate_ksm(struct folio *newfolio,
				     struct folio *folio) { }

static inline struct folio *ksm_might_need_to_copy(struct folio *folio,
						   struct vm_area_struct *vma,
						   unsigned long addr)
{
	return folio;
}

static inline int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, int advice,
			      vm_flags_t *vm_flags)
{
	return 0;
}
#endif /* CONFIG_MMU */

#endif /* CONFIG_KSM */

#endif /* __LINUX_KSM_H */
