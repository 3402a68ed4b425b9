/* SPDX-License-Identifier: GPL-2.0 */
/* Scanning: what a worker does with a window. */
#ifndef _MM_KSM_SCAN_H
#define _MM_KSM_SCAN_H

#include "window.h"

struct ksm_scan;

struct ksm_scan *ksm_scan_alloc(void);
void ksm_scan_free(struct ksm_scan *scan);
bool ksm_scan_window(struct ksm_scan *scan, struct ksm_window *window,
		     unsigned long *budget);

#endif /* _MM_KSM_SCAN_H */
