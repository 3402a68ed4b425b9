/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is left of mms that have exited.
 */
#ifndef _MM_KSM_REAP_H
#define _MM_KSM_REAP_H

#include "slot.h"

#define KSM_PARTING_MAX	16

/**
 * struct ksm_parting - mms to drop, for ksm_part()
 * @mm: the mms
 * @nr: how many
 */
struct ksm_parting {
	struct mm_struct *mm[KSM_PARTING_MAX];
	unsigned int nr;
};

bool ksm_reap_pending(void);
bool ksm_reap_held(void);
long ksm_reap_wait(void);
bool ksm_reap(struct ksm_parting *parting, long *credit);
unsigned long ksm_reap_again(unsigned long most);
void ksm_part(struct ksm_parting *parting);
int ksm_reap_all(void);

#endif /* _MM_KSM_REAP_H */
