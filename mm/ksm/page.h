/* SPDX-License-Identifier: GPL-2.0 */
/* Pages of processes that may be merged: finding and locking them. */
#ifndef _MM_KSM_PAGE_H
#define _MM_KSM_PAGE_H

#include "slot.h"

struct page *ksm_get_page(struct vm_area_struct *vma, unsigned long addr);
int ksm_lock_private(struct page *page, struct ksm_rmap_item *item);

#endif /* _MM_KSM_PAGE_H */
