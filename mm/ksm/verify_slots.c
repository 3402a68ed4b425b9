// SPDX-License-Identifier: GPL-2.0
/* The verifying walk through mm_slots, their chunks and rmap_items. */
#include <linux/delay.h>
#include <linux/sched/signal.h>

#include "verify.h"

/**
 * struct slot_count - what the chunks of one mm have
 * @items: rmap_items that are not free
 * @stable: of these, %KSM_ITEM_STABLE
 */
struct slot_count {
	unsigned long items;
	unsigned long stable;
};

static void verify_item(struct ksm_verify *verify, struct ksm_chunk *chunk,
			unsigned int place, struct slot_count *count)
{
	unsigned long addr = chunk->start + place * PAGE_SIZE;

	if (ksm_item_place(&chunk->item[place]) != place) {
		ksm_verify_fail(verify, "item at %lx: has place %u, is at %u",
				addr, ksm_item_place(&chunk->item[place]),
				place);
		return;
	}
	switch (ksm_state_at(chunk, place)) {
	case KSM_ITEM_FREE:
		return;
	case KSM_ITEM_SEEN:
		break;
	case KSM_ITEM_UNSTABLE:
		verify->unstable++;
		break;
	case KSM_ITEM_STABLE:
		count->stable++;
		break;
	case KSM_ITEM_CLAIMED:
		ksm_verify_fail(verify, "item at %lx: claimed by nobody", addr);
		break;
	default:
		ksm_verify_fail(verify, "item at %lx: has state %u", addr,
				ksm_state_at(chunk, place));
	}
	count->items++;
}

static void verify_chunk(struct ksm_verify *verify, struct ksm_mm_slot *slot,
			 struct ksm_chunk *chunk, unsigned long index,
			 struct slot_count *count)
{
	unsigned long before = count->items;
	unsigned int place;

	verify->chunks++;
	if (chunk->slot != slot)
		ksm_verify_fail(verify, "chunk %lx: of another slot", chunk->start);
	if (chunk->start != index * KSM_CHUNK_SPAN)
		ksm_verify_fail(verify, "chunk %lx: found by the address %lx",
				chunk->start, index * KSM_CHUNK_SPAN);
	for (place = 0; place < KSM_CHUNK_PAGES; place++)
		verify_item(verify, chunk, place, count);
	if (count->items == before)
		ksm_verify_fail(verify, "chunk %lx: all of it is free",
				chunk->start);
}

static int verify_slot(struct ksm_verify *verify, struct ksm_mm_slot *slot)
{
	/* The gate keeps the mm in place. */
	struct mm_struct *mm = slot->slot.mm;
	struct slot_count count = { };
	struct ksm_chunk *chunk;
	unsigned long index;

	xa_for_each(&slot->chunks, index, chunk) {
		verify_chunk(verify, slot, chunk, index, &count);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	verify->slots++;
	verify->items += count.items;
	verify->stable += count.stable;
	if (!mm)
		return 0;
	if (READ_ONCE(mm->ksm_rmap_items) != count.items)
		ksm_verify_fail(verify, "an mm: ksm_rmap_items is %lu, counted %lu",
				mm->ksm_rmap_items, count.items);
	if (READ_ONCE(mm->ksm_merging_pages) != count.stable)
		ksm_verify_fail(verify, "an mm: ksm_merging_pages is %lu, counted %lu",
				mm->ksm_merging_pages, count.stable);
	return 0;
}

/* ksm_slot_next() keeps slots that are registered, the gate keeps the others. */
static int verify_each_slot(struct ksm_verify *verify)
{
	struct ksm_mm_slot *slot;
	int err = 0;

	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot))
		err = err ?: verify_slot(verify, slot);
	for (slot = ksm_gone_slot_next(NULL); slot && !err;
	     slot = ksm_gone_slot_next(slot)) {
		err = verify_slot(verify, slot);
		verify->gone++;
		cond_resched();
	}
	return err;
}

static unsigned long slots_counted(void)
{
	struct ksm_mm_slot *slot;
	unsigned long slots = 0;

	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot))
		slots++;
	for (slot = ksm_gone_slot_next(NULL); slot; slot = ksm_gone_slot_next(slot))
		slots++;
	return slots;
}

#define SLOT_TRIES	20

/*
 * Processes register and exit all the time. While they do, their slot is
 * counted before it is on a list, and after it has left the lists.
 */
static void verify_slot_counter(struct ksm_verify *verify)
{
	unsigned long slots = verify->slots;
	unsigned int try;
	long counter;

	for (try = 0; try < SLOT_TRIES; try++) {
		counter = atomic_long_read(&ksm_counters.slots);
		if (counter == slots)
			return;
		usleep_range(500, 1000);
		slots = slots_counted();
	}
	ksm_verify_fail(verify, "counter slots is %ld, counted %lu", counter,
			slots);
}

/**
 * ksm_verify_slots - verify what is known of each mm
 * @verify: the walk
 *
 * Context: ksm_gate held exclusively; sleeps.
 * Return: 0, or -EINTR if killed.
 */
int ksm_verify_slots(struct ksm_verify *verify)
{
	int err = verify_each_slot(verify);

	if (!err)
		verify_slot_counter(verify);
	return err;
}
