// SPDX-License-Identifier: GPL-2.0
/*
 * The mmap_lock of the mm that a worker scans. No worker waits for one forever,
 * or keeps it from others for long.
 */
#include <linux/delay.h>
#include <linux/sched.h>

#include "mm_lock.h"

/* A writer that was woken needs this long to start running, us. */
#define WRITER_WAKES	20

/*
 * Waits a little for the lock of an mm. Returns false if it was waited for often
 * enough: whoever keeps a lock busy has its memory wait, and not that of others. A scan
 * of another mm, which looks for partners here, leaves some waits for this mm's own.
 */
static bool mm_lock_wait(struct ksm_mm_lock *lock, struct ksm_mm_slot *slot)
{
	int keep = slot == lock->slot ? 0 : KSM_MM_PATIENCE;

	if (!lock->patience || atomic_read(&slot->patience) <= keep)
		return false;
	lock->patience--;
	atomic_dec(&slot->patience);
	usleep_range_idle(WRITER_WAKES, 2 * WRITER_WAKES);
	return true;
}

/**
 * ksm_mm_lock_other - lock an mm, unless that takes long
 * @lock: the worker's, with its patience
 * @slot: the slot of the mm, which stays meanwhile
 * @mm: the mm
 * @patience: what is to be left of the worker's
 *
 * Return: whether its mmap_lock is held for reading now.
 */
bool ksm_mm_lock_other(struct ksm_mm_lock *lock, struct ksm_mm_slot *slot,
		       struct mm_struct *mm, unsigned int patience)
{
	while (!mmap_read_trylock(mm))
		if (lock->patience <= patience || !mm_lock_wait(lock, slot))
			return false;
	return true;
}

/**
 * ksm_mm_give_way - let others take the mmap_lock, and the CPU
 * @lock: the worker's
 *
 * A thread that unlocks and locks again takes the lock away from a writer that
 * was woken but does not run yet. So wait until the writer has had it. But if
 * writers never stop coming, the memory of other mms must not wait as well.
 *
 * Context: mmap_lock held for reading; sleeps.
 * Return: whether it is held again.
 */
bool ksm_mm_give_way(struct ksm_mm_lock *lock)
{
	ksm_mm_unlock(lock);
	cond_resched();
	while (mmap_lock_is_contended(lock->mm) && mm_lock_wait(lock, lock->slot))
		;
	return ksm_mm_lock(lock);
}
