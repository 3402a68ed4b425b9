// SPDX-License-Identifier: GPL-2.0
/*
 * How programs opt in and out: a range with madvise(2), a process and its
 * children with prctl(2).
 *
 * VM_MERGEABLE in a VMA lets its pages be merged. The flag is cleared only
 * after all sharing in the VMA has been undone.
 */
#include <linux/fs.h>
#include <linux/mman.h>
#include <linux/sched/coredump.h>

#include "compat.h"
#include "ksm.h"
#include "unmerge.h"

/*
 * Can pages of this VMA be merged at all? Not if it is shared with others on
 * purpose, belongs to a device, has special pages, or may be dropped at any
 * time.
 */
static bool optin_is_compatible(const struct file *file, vm_flags_t flags)
{
	vm_flags_t unfit = VM_SHARED | VM_MAYSHARE | VM_HUGETLB | VM_DROPPABLE |
			   VM_PFNMAP | VM_MIXEDMAP | VM_IO | VM_DONTEXPAND;

#ifdef VM_SAO
	unfit |= VM_SAO;	/* powerpc: the page sets the order of accesses */
#endif
#ifdef VM_SPARC_ADI
	unfit |= VM_SPARC_ADI;	/* tags belong to the physical page */
#endif
	return !(flags & unfit) && !file_is_dax(file);
}

static void optin_mark_vma(struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_MERGEABLE) &&
	    optin_is_compatible(vma->vm_file, vma->vm_flags))
		vm_flags_set(vma, VM_MERGEABLE);
}

static void optin_mark_all(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma)
		optin_mark_vma(vma);
}

static int optin_unmark_vma(struct vm_area_struct *vma)
{
	int err = ksm_unmerge_range(vma, vma->vm_start, vma->vm_end, true);

	if (!err)
		vm_flags_clear(vma, VM_MERGEABLE);
	return err;
}

static int optin_unmark_all(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);
	int err = 0;

	for_each_vma(vmi, vma) {
		if (vma->vm_flags & VM_MERGEABLE)
			err = optin_unmark_vma(vma);
		if (err)
			break;
	}
	return err;
}

/**
 * ksm_vma_flags - the flags of a new VMA
 * @mm: the mm
 * @file: the file that is mapped, or NULL
 * @vma_flags: the flags that the VMA would have without KSM
 *
 * In an mm with merging enabled for all of it, a new VMA is mergeable if it can
 * be. It does not exist yet, and may become a part of a mergeable neighbour.
 *
 * Context: mmap_lock held for writing.
 * Return: @vma_flags, with VM_MERGEABLE if its pages may be merged.
 */
vma_flags_t ksm_vma_flags(struct mm_struct *mm, const struct file *file,
			  vma_flags_t vma_flags)
{
	if (!mm_flags_test(MMF_VM_MERGE_ANY, mm))
		return vma_flags;

	if (optin_is_compatible(file, vma_flags_to_legacy(vma_flags)))
		vma_flags_set(&vma_flags, VMA_MERGEABLE_BIT);
	/*
	 * The mm may have been retired; without memory, the next VMA tries
	 * again.
	 */
	if (!mm_flags_test(MMF_VM_MERGEABLE, mm))
		__ksm_enter(mm);
	return vma_flags;
}

/**
 * ksm_enable_merge_any - merge all of an mm that can be merged, now and later
 * @mm: the mm
 *
 * Context: mmap_lock held for writing.
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int ksm_enable_merge_any(struct mm_struct *mm)
{
	/* Also if it is enabled, but a fork could not register the mm. */
	if (!mm_flags_test(MMF_VM_MERGEABLE, mm)) {
		int err = __ksm_enter(mm);

		if (err)
			return err;
	}
	if (!mm_flags_test_and_set(MMF_VM_MERGE_ANY, mm))
		optin_mark_all(mm);
	return 0;
}

/**
 * ksm_disable_merge_any - undo ksm_enable_merge_any(), and unshare all pages
 * @mm: the mm
 *
 * Context: mmap_lock held for writing; sleeps, allocates.
 * Return: 0; -ENOMEM, -ERESTARTSYS or -EHWPOISON if merging stays enabled for all of
 *	the mm.
 */
int ksm_disable_merge_any(struct mm_struct *mm)
{
	int err;

	if (!mm_flags_test(MMF_VM_MERGE_ANY, mm))
		return 0;

	err = optin_unmark_all(mm);
	if (err)
		optin_mark_all(mm);
	else
		mm_flags_clear(MMF_VM_MERGE_ANY, mm);
	return err;
}

/**
 * ksm_disable - merge nothing in an mm, however merging was requested
 * @mm: the mm
 *
 * Context: mmap_lock held for writing; sleeps, allocates.
 * Return: 0, or an error if some of the mm may stay merged.
 */
int ksm_disable(struct mm_struct *mm)
{
	mmap_assert_write_locked(mm);

	if (mm_flags_test(MMF_VM_MERGE_ANY, mm))
		return ksm_disable_merge_any(mm);
	if (mm_flags_test(MMF_VM_MERGEABLE, mm))
		return optin_unmark_all(mm);
	return 0;
}

/**
 * ksm_madvise - MADV_MERGEABLE and MADV_UNMERGEABLE
 * @vma: the VMA
 * @start: first address
 * @end: address behind the last
 * @advice: which of the two
 * @vm_flags: the flags that the range will get; this changes VM_MERGEABLE
 *
 * A VMA whose pages cannot be merged is left alone, which is not an error.
 *
 * Context: mmap_lock held for writing; sleeps, allocates.
 * Return: 0, or an error and @vm_flags is unchanged.
 */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, vm_flags_t *vm_flags)
{
	struct mm_struct *mm = vma->vm_mm;
	int err = 0;

	if (advice == MADV_MERGEABLE) {
		if (!optin_is_compatible(vma->vm_file, vma->vm_flags))
			return 0;
		/*
		 * A VMA of a fork that could not register may have the flag
		 * already.
		 */
		if (!mm_flags_test(MMF_VM_MERGEABLE, mm))
			err = __ksm_enter(mm);
		if (!err)
			*vm_flags |= VM_MERGEABLE;
	} else if (advice == MADV_UNMERGEABLE && (*vm_flags & VM_MERGEABLE)) {
		err = ksm_unmerge_range(vma, start, end, false);
		if (!err)
			*vm_flags &= ~VM_MERGEABLE;
	}
	return err;
}
EXPORT_SYMBOL_GPL(ksm_madvise);
