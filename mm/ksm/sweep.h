/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stable nodes that nothing leads to, which wait on a queue.
 */
#ifndef _MM_KSM_SWEEP_H
#define _MM_KSM_SWEEP_H

#include "node.h"

void ksm_node_queue(struct ksm_stable_node *node);
void ksm_bury(struct ksm_dead *dead);
bool ksm_stable_unswept(void);
void ksm_stable_sweep(bool all);

#ifdef CONFIG_KSM_VERIFY
struct ksm_stable_node *ksm_queue_first(void);
#endif

#endif /* _MM_KSM_SWEEP_H */
