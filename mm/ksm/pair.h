/* SPDX-License-Identifier: GPL-2.0 */
/* Merging a candidate with another page, which may be of another mm. */
#ifndef _MM_KSM_PAIR_H
#define _MM_KSM_PAIR_H

#include "batch.h"
#include "mm_lock.h"

struct page *ksm_candidate_page(struct ksm_mm_lock *lock,
				struct ksm_candidate *cand);
enum ksm_fate ksm_candidate_merge(struct ksm_mm_lock *lock,
				  struct ksm_candidate *cand,
				  struct folio *kfolio);
enum ksm_fate ksm_pair_merge(struct ksm_mm_lock *lock,
			     struct ksm_candidate *cand,
			     struct ksm_rmap_item **partner);

/* Converts the error of merging a page with a shared one. */
static inline enum ksm_fate ksm_fate_of(int err)
{
	switch (err) {
	case 0:
		return KSM_FATE_MERGED;
	case -EAGAIN:
		return KSM_FATE_BUSY;
	default:
		return KSM_FATE_UNEQUAL;
	}
}

#endif /* _MM_KSM_PAIR_H */
