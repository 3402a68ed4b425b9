/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A walk through all that KSM knows, which reports contradictions within that
 * or with the page tables: what its parts share.
 */
#ifndef _MM_KSM_VERIFY_H
#define _MM_KSM_VERIFY_H

#include <linux/seq_buf.h>

#include "key.h"
#include "ksm.h"
#include "node.h"
#include "registry.h"
#include "shard.h"
#include "slot.h"
#include "sweep.h"

/* Beyond this many violations, only their number is reported. */
#define KSM_VERIFY_LINES	100U
#define KSM_VERIFY_BYTES	(KSM_VERIFY_LINES * 160)

/**
 * struct ksm_verify_mapping - where a KSM page is mapped
 * @mm: the mm, only for comparison; NULL: none
 * @addr: the address
 */
struct ksm_verify_mapping {
	struct mm_struct *mm;
	unsigned long addr;
};

/**
 * struct ksm_verify - results of a walk
 * @text: the violations, one per line, as many as are reported
 * @violations: how many there are
 * @found: a hash table of the mappings of one page
 * @room: its size, a power of two; 0: none so far
 * @slots: mm_slots
 * @gone: of these, of mms that have exited
 * @chunks: chunks
 * @items: rmap_items that are not free
 * @stable: of these, %KSM_ITEM_STABLE
 * @unstable: of these, %KSM_ITEM_UNSTABLE
 * @in_trees: rmap_items in unstable trees
 * @nodes: stable nodes, with the chains
 * @chains: of these, chains
 * @dups: and dups
 * @shared: nodes with sharers
 * @sharers: rmap_items on the lists of nodes
 * @stale: nodes whose page was freed, and that nobody has found since
 * @misplaced: nodes whose page has migrated to another scope and has not been
 *	visited since
 * @mappings: of all KSM pages
 * @unsettled: pages that were being mapped or unmapped at each look
 */
struct ksm_verify {
	struct seq_buf text;
	unsigned int violations;
	struct ksm_verify_mapping *found;
	unsigned int room;
	unsigned long slots;
	unsigned long gone;
	unsigned long chunks;
	unsigned long items;
	unsigned long stable;
	unsigned long unstable;
	unsigned long in_trees;
	unsigned long nodes;
	unsigned long chains;
	unsigned long dups;
	unsigned long shared;
	unsigned long sharers;
	unsigned long stale;
	unsigned long misplaced;
	unsigned long mappings;
	unsigned long unsettled;
};

__printf(2, 3)
void ksm_verify_fail(struct ksm_verify *verify, const char *format, ...);
int ksm_verify_mappings(struct ksm_verify *verify, struct ksm_stable_node *node);
int ksm_verify_stable(struct ksm_verify *verify);
int ksm_verify_unstable(struct ksm_verify *verify);
int ksm_verify_slots(struct ksm_verify *verify);

#endif /* _MM_KSM_VERIFY_H */
