/* SPDX-License-Identifier: GPL-2.0 */
/* Which huge pages may be taken apart. */
#ifndef _MM_KSM_SPLIT_H
#define _MM_KSM_SPLIT_H

#include "slot.h"

bool ksm_split_add_twin(struct ksm_rmap_item *item);
void ksm_split_done(struct ksm_rmap_item *item);

#endif /* _MM_KSM_SPLIT_H */
