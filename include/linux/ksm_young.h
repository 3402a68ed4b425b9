/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What KSM and other users that clear accessed bits tell each other.
 *
 * KSM does not read a page that was not accessed since it last looked. All
 * other users that clear accessed bits report it by ksm_*_young_cleared(),
 * under the lock of the page table and only where a bit was set.
 */
#ifndef _LINUX_KSM_YOUNG_H
#define _LINUX_KSM_YOUNG_H

#include <linux/mm_types.h>

#ifdef CONFIG_KSM
void ksm_ptes_young_cleared(struct vm_area_struct *vma, pte_t *ptep,
			    unsigned int nr);
void ksm_pmd_young_cleared(struct vm_area_struct *vma, pmd_t *pmdp);
#else
static inline void ksm_ptes_young_cleared(struct vm_area_struct *vma,
					  pte_t *ptep, unsigned int nr)
{
}

static inline void ksm_pmd_young_cleared(struct vm_area_struct *vma,
					 pmd_t *pmdp)
{
}
#endif /* CONFIG_KSM */

#ifdef CONFIG_LRU_GEN
struct folio;
struct lru_gen_mm_walk;

/* In mm/vmscan.c, for KSM. */
bool lru_gen_note_young(struct lru_gen_mm_walk *walk, struct folio *folio,
			pmd_t *pmd);
void lru_gen_note_end(struct lru_gen_mm_walk *walk);
#endif

#endif /* _LINUX_KSM_YOUNG_H */
