/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Control: changing those settings for which it is not enough to write a value.
 */
#ifndef _MM_KSM_CONTROL_H
#define _MM_KSM_CONTROL_H

#include <linux/types.h>

int ksm_control_run(unsigned int run);
int ksm_control_max_page_sharing(int value);
int ksm_control_across_nodes(bool value);

#endif /* _MM_KSM_CONTROL_H */
