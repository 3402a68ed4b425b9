/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The unstable tree: pages without a duplicate so far.
 */
#ifndef _MM_KSM_UNSTABLE_H
#define _MM_KSM_UNSTABLE_H

#include "shard.h"
#include "slot.h"

bool ksm_unstable_remove(struct ksm_rmap_item *item);
unsigned int ksm_unstable_meet(struct ksm_rmap_item *item,
			       struct ksm_rmap_item *row[KSM_SAME_KEY_MAX]);
void ksm_unstable_put_back(u64 key, struct ksm_rmap_item **row, unsigned int nr,
			   struct ksm_rmap_item *item);
void ksm_unstable_clear(void);

#endif /* _MM_KSM_UNSTABLE_H */
