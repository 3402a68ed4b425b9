/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The rmap_items that share a KSM page: how they join it, and how they leave
 * it.
 */
#ifndef _MM_KSM_SHARER_H
#define _MM_KSM_SHARER_H

#include "node.h"

bool ksm_stable_has_room(struct folio *folio);
void ksm_stable_link(struct folio *folio, struct ksm_rmap_item *item,
		     struct anon_vma *anon_vma, bool odd_pgoff);
void ksm_stable_refit(struct folio *folio, struct ksm_rmap_item *item,
		      struct anon_vma *anon_vma, bool odd_pgoff);
void ksm_stable_leave(struct folio *folio, struct ksm_rmap_item *item);
struct folio *ksm_stable_lock_page(struct ksm_rmap_item *item, bool waits);
bool ksm_stable_demote(struct folio *folio, const struct ksm_rmap_item *item);
void ksm_stable_discard(struct folio *folio);
void ksm_stable_discard_later(struct folio *folio);

#endif /* _MM_KSM_SHARER_H */
