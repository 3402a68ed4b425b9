/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reverse mapping of KSM pages for the rest of mm/ksm. <linux/ksm.h> has what
 * the rest of mm calls.
 */
#ifndef _MM_KSM_RMAP_H
#define _MM_KSM_RMAP_H

#include "slot.h"

struct folio;

int ksm_item_is_needed(struct folio *folio, struct ksm_rmap_item *item);
bool ksm_item_may_return(struct folio *folio, struct ksm_rmap_item *item);

#endif /* _MM_KSM_RMAP_H */
