/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of several files need: an mm_slot that is on no list, with an
 * mm that no thread uses.
 *
 * The trees are the real ones. When the tests run, at boot, nothing is
 * registered and ksmd has nothing to do. Each test leaves the trees as they
 * were.
 */
#ifndef _MM_KSM_TESTS_FIXTURE_H
#define _MM_KSM_TESTS_FIXTURE_H

#include <kunit/test.h>

#include "../../internal.h"
#include "../forest.h"
#include "../key.h"
#include "../ksm.h"
#include "../rmap.h"
#include "../rmap_item.h"
#include "../sharer.h"
#include "../slot.h"
#include "../stable.h"
#include "../sweep.h"
#include "../unstable.h"
#include "../visit.h"

static inline struct ksm_mm_slot *test_slot(struct kunit *test)
{
	struct ksm_mm_slot *slot = kunit_kzalloc(test, sizeof(*slot),
						 GFP_KERNEL);
	struct mm_struct *mm = kunit_kzalloc(test, sizeof(*mm), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_ASSERT_NOT_NULL(test, mm);
	xa_init(&slot->chunks);
	/* As if one of its windows were handed out. */
	slot->users = 1;
	slot->slot.mm = mm;
	return slot;
}

/* A VMA whose page indices begin at @pgoff. */
static inline struct vm_area_struct *test_vma(struct kunit *test,
					      unsigned long start,
					      unsigned long pages,
					      pgoff_t pgoff)
{
	struct vm_area_struct *vma = kunit_kzalloc(test, sizeof(*vma),
						   GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vma);
	vma->vm_start = start;
	vma->vm_end = start + pages * PAGE_SIZE;
	vm_flags_init(vma, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE);
	vma->vm_pgoff = pgoff;
	vma_set_anon_pgoff(vma, pgoff);
	return vma;
}

/* The item of the page at @addr, tracked, with @key. */
static inline struct ksm_rmap_item *test_item(struct kunit *test,
					      struct ksm_mm_slot *slot,
					      struct vm_area_struct *vma,
					      unsigned long addr, u64 key)
{
	struct ksm_chunk *chunk = ksm_chunk_make(slot, addr, vma, NULL);
	struct ksm_rmap_item *item;

	KUNIT_ASSERT_NOT_NULL(test, chunk);
	item = &chunk->item[(addr - chunk->start) >> PAGE_SHIFT];
	ksm_item_track(item);
	ksm_count_tracked(slot->slot.mm, 1);
	ksm_item_set_key(item, key);
	return item;
}

/* Releases chunk by chunk. Returns whether nothing is left of the range. */
static inline bool test_release(struct ksm_mm_slot *slot, unsigned long first,
				unsigned long last, enum ksm_release how)
{
	struct ksm_forget forget = { .next = first, .last = last, .how = how };
	unsigned long index = first / KSM_CHUNK_SPAN;

	do {
		forget.chunks = 1;
	} while (!ksm_chunks_release(slot, &forget));
	return !xa_find(&slot->chunks, &index, last / KSM_CHUNK_SPAN,
			XA_PRESENT);
}

#endif /* _MM_KSM_TESTS_FIXTURE_H */
