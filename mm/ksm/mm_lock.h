/* SPDX-License-Identifier: GPL-2.0 */
/* The mmap_lock of the mm that a worker scans, which others need as well. */
#ifndef _MM_KSM_MM_LOCK_H
#define _MM_KSM_MM_LOCK_H

#include <linux/mmap_lock.h>
#include <linux/sched.h>

#include "slot.h"

/*
 * So often may a worker wait in a batch, a short time each. In a full scan all of them
 * may do so twice as often for an mm, and once more for so many of its pages.
 */
#define KSM_MM_PATIENCE		50U
#define KSM_PAGES_A_WAIT	64

/**
 * struct ksm_mm_lock - what a worker has of an mmap_lock
 * @slot: the mm of its window, which keeps the slot, and so the mm_struct
 * @mm: that mm_struct
 * @held: the lock is held for reading. Where it is lost, what depends on it is
 *	not done: the pages are visited again in the next scan
 * @patience: how often the worker may still wait for a lock, in this batch. Each
 *	mm has a limit of its own beside it, see struct ksm_mm_slot
 *
 * scan.c sets @slot and @mm for a window and @patience for a batch.
 */
struct ksm_mm_lock {
	struct ksm_mm_slot *slot;
	struct mm_struct *mm;
	bool held;
	unsigned int patience;
};

bool ksm_mm_lock_other(struct ksm_mm_lock *lock, struct ksm_mm_slot *slot,
		       struct mm_struct *mm, unsigned int patience);
bool ksm_mm_give_way(struct ksm_mm_lock *lock);

/* Returns false if it would take long. */
static inline bool ksm_mm_lock(struct ksm_mm_lock *lock)
{
	if (!lock->held)
		lock->held = ksm_mm_lock_other(lock, lock->slot, lock->mm, 0);
	return lock->held;
}

static inline void ksm_mm_unlock(struct ksm_mm_lock *lock)
{
	if (lock->held)
		mmap_read_unlock(lock->mm);
	lock->held = false;
}

/* Returns NULL also if the mmap_lock was lost. */
static inline struct vm_area_struct *ksm_mm_find_vma(struct ksm_mm_lock *lock,
						     unsigned long addr)
{
	return lock->held ? ksm_find_vma(lock->mm, addr) : NULL;
}

/* Does anybody wait for the lock, or for the CPU? */
static inline bool ksm_mm_is_wanted(struct ksm_mm_lock *lock)
{
	return mmap_lock_is_contended(lock->mm) || need_resched();
}

#endif /* _MM_KSM_MM_LOCK_H */
