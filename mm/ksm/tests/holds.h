/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Times how long KSM holds locks. With CONFIG_KSM_HOLDS every file of mm/ksm is
 * compiled as if it began by including this one, which wraps what takes locks
 * and what releases them. So the files themselves contain nothing for it.
 *
 * Some locks are held for long by threads that ask again and again whether
 * others want them, and release them then. For these the time from one question
 * to the next counts, as that is how long others may have to wait.
 */
#ifndef _MM_KSM_TESTS_HOLDS_H
#define _MM_KSM_TESTS_HOLDS_H

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>

#include "../../internal.h"

/**
 * enum ksm_hold - what is held
 * @KSM_HOLD_GATE: ksm_gate
 * @KSM_HOLD_MMAP: mmap_locks
 * @KSM_HOLD_FOLIO: locks of folios
 * @KSM_HOLD_ANON_VMA: locks of anon_vmas
 */
enum ksm_hold {
	KSM_HOLD_GATE,
	KSM_HOLD_MMAP,
	KSM_HOLD_FOLIO,
	KSM_HOLD_ANON_VMA,
};

extern bool ksm_holds_timed;

void ksm_hold_begin(enum ksm_hold what, const char *where);
void ksm_hold_end(enum ksm_hold what, const char *where);
void ksm_hold_renew(enum ksm_hold what, const char *where);
u64 ksm_hold_clock(void);
void ksm_hold_exempt(u64 since);

/* Was the lock taken? */
static inline bool ksm_hold_if(enum ksm_hold what, bool locked,
			       const char *where)
{
	if (locked && READ_ONCE(ksm_holds_timed))
		ksm_hold_begin(what, where);
	return locked;
}

/* The same for functions that return 0 or an error. */
static inline int ksm_hold_unless(enum ksm_hold what, int err,
				  const char *where)
{
	ksm_hold_if(what, !err, where);
	return err;
}

/* Call this before unlocking: a waiter may run at once. */
static inline void ksm_hold_ends(enum ksm_hold what, const char *where)
{
	if (READ_ONCE(ksm_holds_timed))
		ksm_hold_end(what, where);
}

/* Does anybody wait for it? */
static inline bool ksm_hold_asked(enum ksm_hold what, bool contended,
				  const char *where)
{
	if (!contended && READ_ONCE(ksm_holds_timed))
		ksm_hold_renew(what, where);
	return contended;
}

#define KSM_HOLD_LOCK(what, lock) do {					\
	lock;								\
	ksm_hold_if(what, true, __func__);				\
} while (0)

#define KSM_HOLD_UNLOCK(what, unlock) do {				\
	ksm_hold_ends(what, __func__);					\
	unlock;								\
} while (0)

/* Only the gate is locked by name. All others have their own functions. */
#define down_read_trylock(sem) \
	ksm_hold_if(KSM_HOLD_GATE, down_read_trylock(sem), __func__)
#define down_read(sem) \
	KSM_HOLD_LOCK(KSM_HOLD_GATE, down_read(sem))
#define up_read(sem) \
	KSM_HOLD_UNLOCK(KSM_HOLD_GATE, up_read(sem))
#define rwsem_is_contended(sem) \
	ksm_hold_asked(KSM_HOLD_GATE, rwsem_is_contended(sem), __func__)

#define mmap_read_trylock(mm) \
	ksm_hold_if(KSM_HOLD_MMAP, mmap_read_trylock(mm), __func__)
#define mmap_read_lock_killable(mm) \
	ksm_hold_unless(KSM_HOLD_MMAP, mmap_read_lock_killable(mm), __func__)
#define mmap_read_unlock(mm) \
	KSM_HOLD_UNLOCK(KSM_HOLD_MMAP, mmap_read_unlock(mm))
#define mmap_write_lock(mm) \
	KSM_HOLD_LOCK(KSM_HOLD_MMAP, mmap_write_lock(mm))
#define mmap_write_unlock(mm) \
	KSM_HOLD_UNLOCK(KSM_HOLD_MMAP, mmap_write_unlock(mm))
#define mmap_lock_is_contended(mm) \
	ksm_hold_asked(KSM_HOLD_MMAP, mmap_lock_is_contended(mm), __func__)

#define folio_lock(folio) \
	KSM_HOLD_LOCK(KSM_HOLD_FOLIO, folio_lock(folio))
#define folio_trylock(folio) \
	ksm_hold_if(KSM_HOLD_FOLIO, folio_trylock(folio), __func__)
#define folio_unlock(folio) \
	KSM_HOLD_UNLOCK(KSM_HOLD_FOLIO, folio_unlock(folio))

#define anon_vma_lock_read(anon_vma) \
	KSM_HOLD_LOCK(KSM_HOLD_ANON_VMA, anon_vma_lock_read(anon_vma))
#define anon_vma_trylock_read(anon_vma) \
	ksm_hold_if(KSM_HOLD_ANON_VMA, anon_vma_trylock_read(anon_vma), __func__)
#define anon_vma_unlock_read(anon_vma) \
	KSM_HOLD_UNLOCK(KSM_HOLD_ANON_VMA, anon_vma_unlock_read(anon_vma))

/* This is the base's: it unmaps the huge page from everybody. */
#define split_huge_page_keep_zeroes(page) ({				\
	u64 __since = ksm_hold_clock();					\
	int __err = split_huge_page_keep_zeroes(page);			\
									\
	ksm_hold_exempt(__since);					\
	__err;								\
})

#endif /* _MM_KSM_TESTS_HOLDS_H */
