/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The advisor: how much to scan.
 */
#ifndef _MM_KSM_ADVISOR_H
#define _MM_KSM_ADVISOR_H

#include <linux/types.h>

/**
 * enum ksm_advisor_mode - who sets pages_to_scan
 * @KSM_ADVISOR_NONE: the user
 * @KSM_ADVISOR_SCAN_TIME: the advisor, for full scans of a given length
 */
enum ksm_advisor_mode { KSM_ADVISOR_NONE, KSM_ADVISOR_SCAN_TIME };

void ksm_advisor_restart(void);
void ksm_advisor_account(unsigned long pages, u64 cpu);
void ksm_advisor_set_mode(enum ksm_advisor_mode mode);
int ksm_advisor_set_pages(unsigned int pages);

#endif /* _MM_KSM_ADVISOR_H */
