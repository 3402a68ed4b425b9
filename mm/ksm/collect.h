/* SPDX-License-Identifier: GPL-2.0 */
/* Collecting: from the page tables of a window to a batch. */
#ifndef _MM_KSM_COLLECT_H
#define _MM_KSM_COLLECT_H

#include "batch.h"
#include "young.h"

/**
 * struct ksm_collect - a worker's state of collecting
 * @slot: the mm that is scanned
 * @batch: filled by ksm_collect(). Constant
 * @smart: skip reading pages that seem unchanged or are in use
 * @young: what is known of accessed bits
 * @most: pages to visit in one step at most
 * @pos: everything before this address in the window has been dealt with
 * @visited: pages looked at
 * @skipped: others that were looked at and needed no more
 * @unpaid: visits without reading, as are pieces without a page to scan
 * @holes: empty entries of page tables that were passed over
 * @chunk: chunks of the piece
 * @pte: the PTEs of the piece
 *
 * @slot and @smart are of a window. @pos and @most are of a step, from
 * ksm_collect() to ksm_collect_end(), and so are @chunk and @pte. The four
 * counters add up until scan.c charges them to the budget and takes them back.
 * young.h says how long @young is true.
 */
struct ksm_collect {
	struct ksm_mm_slot *slot;
	struct ksm_batch *batch;
	bool smart;
	struct ksm_young young;
	unsigned int most;
	unsigned long pos;
	unsigned long visited;
	unsigned long skipped;
	unsigned long unpaid;
	unsigned long holes;
	struct ksm_chunk *chunk[KSM_BATCH_CHUNKS];
	pte_t pte[KSM_BATCH_PAGES];
};

void ksm_collect_window(struct ksm_collect *collect, struct ksm_mm_slot *slot);
bool ksm_collect(struct ksm_collect *collect, unsigned long last);
void ksm_collect_end(struct ksm_collect *collect);

#endif /* _MM_KSM_COLLECT_H */
