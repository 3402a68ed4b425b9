/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A stable node and its page: what stable.c, which works on one, and forest.c,
 * which goes through all, have in common. All with the shard's lock held,
 * unless said otherwise.
 */
#ifndef _MM_KSM_STABLE_H
#define _MM_KSM_STABLE_H

#include "ksm.h"

/* Dups of a chain that are looked at without letting go of the lock. */
#define KSM_PRUNE_MAX	256

static inline void *ksm_node_mapping(const struct ksm_stable_node *node)
{
	return (void *)((unsigned long)node | PAGE_MAPPING_KSM);
}

struct folio *ksm_node_get_folio(struct ksm_stable_node *node);
void ksm_node_prune(struct ksm_stable_node *node, struct rb_root *root,
		    struct hlist_head *dropped);
void ksm_node_prune_alone(struct ksm_stable_node *node, struct rb_root *root,
			  struct hlist_head *dropped);
void ksm_chain_settle(struct ksm_stable_node *chain, struct rb_root *root);
/* With the page locked, too. */
void ksm_node_detach(struct ksm_stable_node *node, struct folio *folio,
		     struct rb_root *root);
void ksm_node_detach_alone(struct ksm_stable_node *node, struct folio *folio,
			   struct rb_root *root);

/* These two without: they sleep. */
bool ksm_node_lock_folio(struct ksm_stable_node *node, struct folio *folio);
void ksm_drop_items(struct hlist_head *dropped);

#endif /* _MM_KSM_STABLE_H */
