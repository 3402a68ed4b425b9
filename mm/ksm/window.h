/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Windows: the pieces of mms that workers scan, each owned by one worker.
 */
#ifndef _MM_KSM_WINDOW_H
#define _MM_KSM_WINDOW_H

#include "slot.h"

/**
 * struct ksm_window - the piece of one mm that one worker scans
 * @slot: the mm, NULL when the worker has no window
 * @next: what comes next; moves from the window's start towards @last
 * @first: nothing was mapped before this address when the window was planned
 * @last: last address, inclusive
 * @final: no window of this mm follows in this full scan
 * @busy: the mmap_lock could not be had: leave it for another
 * @spent: more was found than a window, or its mm, may have: memory was mapped since
 * @work: what was found until now, about, in pages
 * @steps: how many steps it took to find the window, until they are charged
 *
 * The start and @last + 1 are multiples of %KSM_CHUNK_SPAN. A window includes
 * the hole before it, which may still have rmap_items of unmapped pages.
 */
struct ksm_window {
	struct ksm_mm_slot *slot;
	unsigned long next;
	unsigned long first;
	unsigned long last;
	bool final;
	bool busy;
	bool spent;
	unsigned long work;
	unsigned long steps;
};

/*
 * Address space of one window, not counting holes before its first page table.
 * No huge page is in two windows: it has one accessed bit, for one worker.
 */
#define KSM_WINDOW_SPAN		max3(8UL << 20, PMD_SIZE, KSM_CHUNK_SPAN)
/*
 * The final window of an mm extends to the end of the address space, so that
 * memory mapped behind its pages joins it. But this sets a limit.
 */
#define KSM_WINDOW_WORK		(2 * KSM_WINDOW_SPAN / PAGE_SIZE)

/* After this many VMAs without a find, the mmap_lock is released. */
#define KSM_VMAS_MAX		16384

int ksm_window_get(struct ksm_window *window, bool begin);
bool ksm_window_available(void);
bool ksm_window_put(struct ksm_window *window);
bool ksm_window_abandon(struct ksm_window *window);
bool ksm_window_defer(struct ksm_window *window);
void ksm_slot_retire_if_unused(struct ksm_window *window);
void ksm_want_drain(void);
void ksm_scan_drain(void);

#endif /* _MM_KSM_WINDOW_H */
