/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Breaking sharing.
 */
#ifndef _MM_KSM_UNMERGE_H
#define _MM_KSM_UNMERGE_H

#include <linux/types.h>

struct mm_struct;
struct vm_area_struct;

int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool restarts);
int ksm_unmerge_part(struct mm_struct *mm, unsigned long *start,
		     unsigned long end, bool patient);

#endif /* _MM_KSM_UNMERGE_H */
