/* SPDX-License-Identifier: GPL-2.0 */
/* Matching: from a batch to merges. */
#ifndef _MM_KSM_MATCH_H
#define _MM_KSM_MATCH_H

#include "batch.h"
#include "merge.h"
#include "mm_lock.h"

/**
 * struct ksm_match - a worker's state of matching
 * @lock: the mmap_lock of the mm that is scanned. Constant
 * @batch: what is matched. Constant
 * @tracked: items that are in use now, and have not been counted yet
 * @nr_queue: length of @queue and @queued
 * @queue: pages that have a shared duplicate, to be merged together
 * @queued: their candidates
 * @merged: pages that were replaced, to be freed
 *
 * Everything that is not constant belongs to one call of ksm_match_batch(), and
 * is empty between calls. Entries of the queue hold references to KSM pages;
 * the queue is emptied before the mmap_lock may be dropped.
 */
struct ksm_match {
	struct ksm_mm_lock *lock;
	struct ksm_batch *batch;
	unsigned long tracked;
	unsigned int nr_queue;
	struct ksm_mapping queue[KSM_MERGE_BATCH];
	struct ksm_candidate *queued[KSM_MERGE_BATCH];
	struct folio_batch merged;
};

void ksm_match_batch(struct ksm_match *match);

#endif /* _MM_KSM_MATCH_H */
