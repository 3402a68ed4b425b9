/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Accessed bits: the pages of a piece that were accessed since the last visit.
 * The fields of a worker's state belong to young.c; collect.c and scan.c read
 * some.
 */
#ifndef _MM_KSM_YOUNG_H
#define _MM_KSM_YOUNG_H

#include <linux/mmzone.h>

#include "batch.h"

/**
 * struct ksm_young - what a worker knows of accessed bits
 * @on: look at accessed bits: the setting says so, and the CPU sets them
 * @cleared: some were cleared in this step, by us or, unseen, by others
 * @secondary: pages of each chunk that a secondary MMU accessed, one bit each
 * @unasked: pages of each chunk that have to be read, as secondary MMUs were not
 *	asked about them; likewise. Nothing is known for reclaim
 * @marked: chunks in which others cleared accessed bits, one bit each
 * @huge_start: address of the huge page that the next three are about. It may
 *	have been split since
 * @huge_fresh: its own bits have yet to be looked at
 * @huge_accessed: it was accessed
 * @huge_read: it has to be read, for that or for another reason
 * @lru: pages that were made young, and have yet to be counted
 *
 * @on is valid for a window; @cleared for a step, and scan.c resets it.
 *	@secondary, @unasked, @marked and @lru are valid for a piece. What is known of a
 *	huge page is valid for all its pieces, up to the end of the window.
 */
struct ksm_young {
	bool on;
	bool cleared;
	u16 secondary[KSM_BATCH_CHUNKS];
	u16 unasked[KSM_BATCH_CHUNKS];
	unsigned long marked;
	unsigned long huge_start;
	bool huge_fresh;
	bool huge_accessed;
	bool huge_read;
#ifdef CONFIG_LRU_GEN
	struct lru_gen_mm_walk lru;
#endif
};

void ksm_young_forget_huge(struct ksm_young *young);
void ksm_young_ask(struct ksm_young *young, struct ksm_chunk *chunk,
		   unsigned int nr, unsigned long addr, unsigned long end);
void ksm_young_ask_huge(struct ksm_young *young, struct ksm_mm_slot *slot,
			unsigned long addr);
void ksm_young_take_marks(struct ksm_young *young, struct ksm_chunk **chunk,
			  pte_t *ptep, unsigned long addr, unsigned long end);
bool ksm_young_huge(struct ksm_young *young, struct vm_area_struct *vma,
		    pmd_t *pmd, struct folio *folio, unsigned long addr);
void ksm_young_pass_on(struct ksm_young *young, struct folio *folio,
		       pmd_t *pmd);
void ksm_young_end(struct ksm_young *young);

/* Was this page, which was not huge then, part of a huge page before? */
static inline bool ksm_young_was_huge(const struct ksm_young *young,
				      unsigned long addr)
{
	return young->huge_start == (addr & PMD_MASK) && young->huge_read;
}

#endif /* _MM_KSM_YOUNG_H */
