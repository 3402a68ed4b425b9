/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stable tree: finding KSM pages, and inserting them.
 */
#ifndef _MM_KSM_STABLE_H
#define _MM_KSM_STABLE_H

#include "node.h"

/**
 * struct ksm_stable_hits - KSM pages found by key
 * @folio: the pages, with a reference each
 * @room: whether each had room for another sharer
 * @nr: how many
 * @more: there are more nodes of the key than a look-up goes through
 * @inserts: ksm_shard.inserts at that time
 * @moved: for the look-up itself: a page in another scope than its node, with a
 *	reference; or NULL
 */
struct ksm_stable_hits {
	struct folio *folio[KSM_SAME_KEY_MAX];
	bool room[KSM_SAME_KEY_MAX];
	unsigned int nr;
	bool more;
	unsigned int inserts;
	struct folio *moved;
};

void ksm_stable_find(u64 key, u16 scope, bool with_full,
		     struct ksm_stable_hits *hits);
void ksm_stable_hits_put(struct ksm_stable_hits *hits);
bool ksm_stable_insert(struct ksm_stable_node *node, struct folio *folio,
		       struct folio *peer, struct ksm_stable_node **spare,
		       unsigned int inserts);
void ksm_stable_rehome(struct folio *folio);

#endif /* _MM_KSM_STABLE_H */
