/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fingerprints of what pages hold, the keys made of them that order the trees, and
 * the scope: who may share with whom.
 */
#ifndef _MM_KSM_KEY_H
#define _MM_KSM_KEY_H

#include <linux/init.h>
#include <linux/types.h>

struct page;

u64 ksm_fingerprint(struct page *page, struct page *next);
bool ksm_fingerprint_ready(void);
u64 ksm_key(u64 fingerprint, unsigned int scope);
u64 ksm_rekey(u64 key, unsigned int from, unsigned int to);
bool ksm_is_zero_key(u64 key, unsigned int scope);
bool ksm_pages_equal(struct page *a, struct page *b);
unsigned int ksm_scope(struct page *page);
int __init ksm_key_init(void);

#endif /* _MM_KSM_KEY_H */
