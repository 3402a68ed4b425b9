/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The registry: the mms that take part. Only window.c and reap.c use the lists
 * and the cursor.
 */
#ifndef _MM_KSM_REGISTRY_H
#define _MM_KSM_REGISTRY_H

#include <linux/list.h>
#include <linux/spinlock.h>

#include "ksm.h"
#include "slot.h"

/* Windows that an mm may have in excess of what its memory asks for. */
#define KSM_WINDOWS_SPARE	64
/* Pages that an mm may cost beyond those that its memory asks for. */
#define KSM_PAGES_SPARE		1024

/**
 * struct ksm_registry - the mms that take part, and the progress of the full scan
 * @lock: a leaf. Protects the rest, and what struct ksm_mm_slot says
 * @slots: of mms to scan
 * @gone: of mms that have exited, to be freed
 * @held: of exited mms that were dropped, with what others need
 * @cursor: the link of the slot that windows are handed out from; &@slots
 *	between full scans
 * @windows: how many are handed out
 * @under_way: a full scan has begun and is not complete
 * @scan: number of the full scan; tells them apart
 * @full_scans: how many were completed
 * @reap_wanted: some of @gone may be free to go now
 */
struct ksm_registry {
	spinlock_t lock;	/* the rest, and what struct ksm_mm_slot says */
	struct list_head slots;
	struct list_head gone;
	struct list_head held;
	struct list_head *cursor;
	unsigned int windows;
	bool under_way;
	unsigned int scan;
	unsigned long full_scans;
	bool reap_wanted;
};

extern struct ksm_registry ksm_registry;

static inline struct ksm_mm_slot *ksm_slot_of(struct list_head *link)
{
	return list_entry(link, struct ksm_mm_slot, slot.mm_node);
}

void ksm_cursor_advance(void);
void ksm_registry_unlist(struct ksm_mm_slot *slot);
void ksm_registry_requeue(struct ksm_mm_slot *slot);
void ksm_reap_soon(void);

struct ksm_mm_slot *ksm_slot_spare(struct mm_struct *mm);
void ksm_slot_unspare(struct ksm_mm_slot *slot);
bool ksm_registry_idle(void);
struct ksm_mm_slot *ksm_slot_next(struct ksm_mm_slot *prev);
struct ksm_mm_slot *ksm_gone_slot_next(struct ksm_mm_slot *prev);
unsigned long ksm_full_scans(void);
void ksm_reset_full_scans(void);

#endif /* _MM_KSM_REGISTRY_H */
