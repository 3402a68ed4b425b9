/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Making KSM pages, and noting where one is mapped.
 */
#ifndef _MM_KSM_PROMOTE_H
#define _MM_KSM_PROMOTE_H

#include "slot.h"

int ksm_promote(struct vm_area_struct *vma, struct ksm_rmap_item *item,
		struct folio **kfolio);
void ksm_demote(struct folio *kfolio, const struct ksm_rmap_item *item);
int ksm_adopt(struct vm_area_struct *vma, struct ksm_rmap_item *item,
	      struct folio *kfolio);

#endif /* _MM_KSM_PROMOTE_H */
