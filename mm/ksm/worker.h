/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The threads that scan.
 */
#ifndef _MM_KSM_WORKER_H
#define _MM_KSM_WORKER_H

#include <linux/init.h>

#define KSM_THREADS_MAX	256U

int ksm_workers_set(unsigned int threads);
int __init ksm_workers_init(void);

#endif /* _MM_KSM_WORKER_H */
