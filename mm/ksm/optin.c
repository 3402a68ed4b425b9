// SPDX-License-Identifier: GPL-2.0
/*
 * How programs opt in and out: a range with madvise(2), a process and its
 * children with prctl(2).
 *
 * It is VM_MERGEABLE in a VMA that lets its pages be merged. Taking it away
 * comes after all sharing in the VMA was undone, or not at all.
 */
#include <linux/mman.h>
#include <linux/sched/coredump.h>

#include "ksm.h"

/*
 * Can pages of this VMA be merged at all? Not: memory that is shared with
 * somebody by intention, that belongs to a device, whose pages are no ordinary
 * ones, or that may be dropped any time.
 */
static bool is_compatible(struct vm_area_struct *vma)
{
	vm_flags_t unfit = VM_SHARED | VM_MAYSHARE | VM_HUGETLB | VM_DROPPABLE |
			   VM_PFNMAP | VM_MIXEDMAP | VM_IO | VM_DONTEXPAND;

#ifdef VM_SAO
	unfit |= VM_SAO;	/* powerpc: order of accesses is the page's */
#endif
#ifdef VM_SPARC_ADI
	unfit |= VM_SPARC_ADI;	/* tags belong to the physical page */
#endif
	return !(vma->vm_flags & unfit) && !vma_is_dax(vma);
}

static void mark_vma(struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_MERGEABLE) && is_compatible(vma))
		vm_flags_set(vma, VM_MERGEABLE);
}

static void mark_all_vmas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma)
		mark_vma(vma);
}

static int unmark_vma(struct vm_area_struct *vma)
{
	int err = ksm_unmerge_range(vma, vma->vm_start, vma->vm_end, true);

	if (!err)
		vm_flags_clear(vma, VM_MERGEABLE);
	return err;
}

static int unmark_all_vmas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);
	int err = 0;

	for_each_vma(vmi, vma) {
		if (vma->vm_flags & VM_MERGEABLE)
			err = unmark_vma(vma);
		if (err)
			break;
	}
	return err;
}

/**
 * ksm_add_vma - a new VMA, in an mm that may have merging on for all of it
 * @vma: the VMA
 *
 * Context: mmap_lock held for writing.
 */
void ksm_add_vma(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;

	if (!test_bit(MMF_VM_MERGE_ANY, &mm->flags))
		return;

	mark_vma(vma);
	/* It may have been retired; without memory, the next VMA tries again. */
	if (!test_bit(MMF_VM_MERGEABLE, &mm->flags))
		__ksm_enter(mm);
}

/**
 * ksm_enable_merge_any - merge all that can be merged of an mm, now and later
 * @mm: the mm
 *
 * Context: mmap_lock held for writing.
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int ksm_enable_merge_any(struct mm_struct *mm)
{
	/* Also where it is on, of a fork that could not register. */
	if (!test_bit(MMF_VM_MERGEABLE, &mm->flags)) {
		int err = __ksm_enter(mm);

		if (err)
			return err;
	}
	if (!test_and_set_bit(MMF_VM_MERGE_ANY, &mm->flags))
		mark_all_vmas(mm);
	return 0;
}

/**
 * ksm_disable_merge_any - undo ksm_enable_merge_any(), and unshare all pages
 * @mm: the mm
 *
 * Context: mmap_lock held for writing; sleeps, allocates.
 * Return: 0; -ENOMEM or -ERESTARTSYS: merging stays on for all of the mm.
 */
int ksm_disable_merge_any(struct mm_struct *mm)
{
	int err;

	if (!test_bit(MMF_VM_MERGE_ANY, &mm->flags))
		return 0;

	err = unmark_all_vmas(mm);
	if (err)
		mark_all_vmas(mm);
	else
		clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
	return err;
}

/**
 * ksm_disable - have nothing merged in an mm, however it was asked for
 * @mm: the mm
 *
 * Context: mmap_lock held for writing; sleeps, allocates.
 * Return: 0, or an error and some of the mm may stay merged.
 */
int ksm_disable(struct mm_struct *mm)
{
	mmap_assert_write_locked(mm);

	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags))
		return ksm_disable_merge_any(mm);
	if (test_bit(MMF_VM_MERGEABLE, &mm->flags))
		return unmark_all_vmas(mm);
	return 0;
}

/**
 * ksm_madvise - MADV_MERGEABLE and MADV_UNMERGEABLE
 * @vma: the VMA
 * @start: first address
 * @end: address behind the last
 * @advice: which of the two
 * @vm_flags: the flags that the range will get; VM_MERGEABLE is changed here
 *
 * A VMA whose pages cannot be merged is left alone, which is no error.
 *
 * Context: mmap_lock held for writing; sleeps, allocates.
 * Return: 0, or an error and @vm_flags is unchanged.
 */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, unsigned long *vm_flags)
{
	struct mm_struct *mm = vma->vm_mm;
	int err = 0;

	if (advice == MADV_MERGEABLE) {
		if (!is_compatible(vma))
			return 0;
		/* Marked it may be already, by a fork that could not register. */
		if (!test_bit(MMF_VM_MERGEABLE, &mm->flags))
			err = __ksm_enter(mm);
		if (!err)
			*vm_flags |= VM_MERGEABLE;
	} else if (advice == MADV_UNMERGEABLE && (*vm_flags & VM_MERGEABLE)) {
		err = ksm_unmerge_range(vma, start, end, true);
		if (!err)
			*vm_flags &= ~VM_MERGEABLE;
	}
	return err;
}
EXPORT_SYMBOL_GPL(ksm_madvise);
