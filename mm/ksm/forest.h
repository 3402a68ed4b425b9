/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Walks through all stable trees.
 */
#ifndef _MM_KSM_FOREST_H
#define _MM_KSM_FOREST_H

#include <linux/types.h>

int ksm_stable_remove_all(void);
void ksm_stable_remove_frames(unsigned long first, unsigned long end);

#endif /* _MM_KSM_FOREST_H */
