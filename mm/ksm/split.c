// SPDX-License-Identifier: GPL-2.0
/*
 * Which huge pages may be split for the sake of pages that have a twin.
 *
 * khugepaged builds huge pages where ksmd splits them, and neither knows of the
 * other, so both could go on forever. If ksmd left such memory to khugepaged,
 * one planted twin could keep a huge page broken. So ksmd backs off: each split
 * at an address doubles the number of pages with a twin that the next split
 * there needs, until some time has passed.
 */
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/spinlock.h>

#include "registry.h"
#include "slot.h"
#include "split.h"

/* How often the number is doubled; at most to half of a huge page. */
#define TIMES_MAX	8U
#define PAGES_MAX	(PMD_SIZE / PAGE_SIZE / 2)
/* Each such period without a split undoes one doubling. */
#define REST		(60 * HZ)
/* This many periods undo all of them. */
#define RESTS_MAX	(2 * TIMES_MAX)

/**
 * struct split_record - what is known of the splits at one place
 * @mm: ksm_mm_slot.split_id
 * @range: address / %PMD_SIZE
 * @when: jiffies when a huge page was last split there
 * @scan: the full scan that @wanted belongs to
 * @wanted: pages of it that were found to have a twin
 * @last: the last of these, as its place in the huge page
 * @times: how often one was split
 */
struct split_record {
	u64 mm;
	unsigned long range;
	unsigned long when;
	unsigned long scan;
	unsigned int wanted;
	unsigned int last;
	unsigned int times;
};

/*
 * If another place takes over a record, its next split counts as the first.
 * This is rare: by default, khugepaged takes a second to collapse a huge page.
 */
#define RECORDS_SHIFT	9
static struct split_record records[1 << RECORDS_SHIFT];
/* Protects records, and ksm_mm_slot.split_id. A leaf. */
static DEFINE_SPINLOCK(records_lock);

static struct split_record *split_record_of(struct ksm_mm_slot *slot,
					    unsigned long range)
{
	static u64 last_id;

	if (!slot->split_id)
		slot->split_id = ++last_id;
	return &records[hash_64(slot->split_id + ((u64)range << 32),
				RECORDS_SHIFT)];
}

static bool split_is_about(const struct split_record *record,
			   struct ksm_mm_slot *slot, unsigned long range)
{
	return record->mm == slot->split_id && record->range == range &&
	       (jiffies - record->when) / REST < RESTS_MAX;
}

/* How many pages with a twin a split needs. */
static unsigned int split_pages_needed(const struct split_record *record)
{
	unsigned long rests = (jiffies - record->when) / REST;

	if (rests >= record->times)
		return 1;
	return min(1UL << (record->times - rests), PAGES_MAX);
}

/**
 * ksm_split_add_twin - count a page that was found to have a twin
 * @item: its item, in the caller's hands
 *
 * Context: any but interrupts.
 * Return: whether enough pages around it have one to split the huge page.
 */
bool ksm_split_add_twin(struct ksm_rmap_item *item)
{
	struct ksm_mm_slot *slot = ksm_item_chunk(item)->slot;
	unsigned long addr = ksm_item_address(item), scan = ksm_full_scans();
	unsigned int place = (addr % PMD_SIZE) / PAGE_SIZE;
	struct split_record *record;
	bool enough = true;

	spin_lock(&records_lock);
	record = split_record_of(slot, addr / PMD_SIZE);
	if (split_is_about(record, slot, addr / PMD_SIZE)) {
		if (record->scan != scan)
			record->wanted = 0;
		record->scan = scan;
		/* A twin is added when it is found, and again when it is merged. */
		if (!record->wanted || record->last != place)
			record->wanted++;
		record->last = place;
		enough = record->wanted >= split_pages_needed(record);
	}
	spin_unlock(&records_lock);
	return enough;
}

/**
 * ksm_split_done - remember that a huge page was split
 * @item: the item of the page that was taken out of it
 *
 * Context: any but interrupts.
 */
void ksm_split_done(struct ksm_rmap_item *item)
{
	struct ksm_mm_slot *slot = ksm_item_chunk(item)->slot;
	unsigned long range = ksm_item_address(item) / PMD_SIZE;
	struct split_record *record;

	spin_lock(&records_lock);
	record = split_record_of(slot, range);
	if (!split_is_about(record, slot, range))
		*record = (struct split_record){
			.mm = slot->split_id,
			.range = range,
		};
	record->times = min(record->times + 1, TIMES_MAX);
	record->when = jiffies;
	record->wanted = 0;
	spin_unlock(&records_lock);
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/split_kunit.c"
#endif
