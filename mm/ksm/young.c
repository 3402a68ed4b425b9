// SPDX-License-Identifier: GPL-2.0
/*
 * Accessed bits, of page tables and of secondary MMUs (KVM's guests). KSM is
 * not alone in clearing them: it passes on to reclaim what it found, and others
 * leave marks for KSM.
 *
 * A mark stands for a chunk. The marks of a page table are a word of its
 * descriptor that is otherwise unused, under the page table's lock; looking at
 * them costs nothing. A huge page that a PMD maps has a flag in the page.
 */
#include <linux/bits.h>
#include <linux/hugetlb.h>
#include <linux/jiffies.h>
#include <linux/ksm_young.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/page_idle.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/coredump.h>

#include "visit.h"
#include "young.h"

/*
 * Some machines use that word for other things, or put several page tables into
 * one page; and larger tables would need more than a word. There, clearing by
 * others goes unnoticed until the page's regular turn to be read.
 */
#define MARKS_KEPT	((IS_ENABLED(CONFIG_X86_64) || \
			  IS_ENABLED(CONFIG_ARM64)) && \
			 PTRS_PER_PTE / KSM_CHUNK_PAGES <= BITS_PER_LONG)

/*
 * In the flags of the first tail page, where the head's flags mean nothing.
 * Freeing or splitting the huge page clears it.
 */
#define PG_ksm_marked	PG_owner_priv_1

/* ---------------------------------------------------- marks, set by others */

/* A new page table may have any marks, but the pages in it are new to us, too. */
static unsigned long *young_table_marks(pte_t *ptep)
{
	return &virt_to_ptdesc(ptep)->pt_index;
}

/* Does KSM scan the mm? Otherwise other users may need the descriptor. */
static bool young_is_scanned(struct vm_area_struct *vma)
{
	return mm_flags_test(MMF_VM_MERGEABLE, vma->vm_mm) &&
	       !is_vm_hugetlb_page(vma);
}

/**
 * ksm_ptes_young_cleared - tell KSM that accessed bits were cleared
 * @vma: the VMA
 * @ptep: the first PTE
 * @nr: number of consecutive PTEs
 *
 * Context: the page table's lock is held.
 */
void ksm_ptes_young_cleared(struct vm_area_struct *vma, pte_t *ptep,
			    unsigned int nr)
{
	unsigned int first = offset_in_page(ptep) / sizeof(*ptep);

	if (MARKS_KEPT && young_is_scanned(vma))
		*young_table_marks(ptep) |= GENMASK((first + nr - 1) / KSM_CHUNK_PAGES,
					      first / KSM_CHUNK_PAGES);
}

/**
 * ksm_pmd_young_cleared - tell KSM that a huge page's accessed bit was cleared
 * @vma: the VMA, or another one of the mm
 * @pmdp: what maps the huge page
 *
 * Context: the PMD's lock is held.
 */
void ksm_pmd_young_cleared(struct vm_area_struct *vma, pmd_t *pmdp)
{
	pmd_t pmd = pmdp_get(pmdp);
	struct folio *folio;

	if (!pmd_present(pmd) || !pmd_trans_huge(pmd) || !young_is_scanned(vma))
		return;
	folio = pmd_folio(pmd);
	if (folio_test_anon(folio))
		set_bit(PG_ksm_marked, &folio->_flags_1);
}

/* ----------------------------------------------------- marks, taken by KSM */

/* Lets pages of the chunk outside this piece be read at their next visit. */
static void young_keep_for_rest(struct ksm_chunk *chunk, unsigned long addr,
				unsigned long end)
{
	unsigned int place;

	for (place = 0; place < KSM_CHUNK_PAGES; place++) {
		unsigned long at = chunk->start + place * PAGE_SIZE;

		if (at < addr || at >= end)
			ksm_page_read_next(chunk, place);
	}
}

/**
 * ksm_young_take_marks - find the chunks in which others cleared accessed bits
 * @young: the worker's; sets @young->marked
 * @chunk: the chunks of the piece, or NULLs
 * @ptep: the piece's first PTE
 * @addr: start of the piece
 * @end: end of the piece
 *
 * Context: the page table's lock is held; a window of the caller contains the
 *	chunks.
 */
void ksm_young_take_marks(struct ksm_young *young, struct ksm_chunk **chunk,
			  pte_t *ptep, unsigned long addr, unsigned long end)
{
	unsigned int first = pte_index(addr) / KSM_CHUNK_PAGES;
	unsigned int last = pte_index(end - 1) / KSM_CHUNK_PAGES;
	unsigned long found, *marks;
	unsigned int nr;

	young->marked = 0;
	if (!MARKS_KEPT || !young->on)
		return;
	marks = young_table_marks(ptep);
	found = *marks & GENMASK(last, first);
	if (!found)
		return;
	*marks &= ~found;
	/* Others do not flush the TLB either, which hides later writes. */
	young->cleared = true;
	young->marked = found >> round_down(first, KSM_BATCH_CHUNKS);
	for_each_set_bit(nr, &young->marked, KSM_BATCH_CHUNKS)
		if (chunk[nr])
			young_keep_for_rest(chunk[nr], addr, end);
}

/* ---------------------------------------------------------- secondary MMUs */

/*
 * A few microseconds are usual for an answer. But an mm may have many VMs, and each of
 * them many memory slots that all lead to the same pages. What answers take beyond
 * ASK_USUAL is added up, and what they take less is taken back. Once that makes
 * ASK_TOO_LONG, the mm is not asked for ASK_PAUSE times as long: that costs little then,
 * and the mm's pages have to be read meanwhile. A single answer counts for a third at
 * most, as something else may have run, unless it takes ASK_NO_ACCIDENT. All in ns.
 */
#define ASK_USUAL	((IS_ENABLED(CONFIG_KASAN) ? 250 : 30) * NSEC_PER_USEC)
#define ASK_TOO_LONG	((IS_ENABLED(CONFIG_KASAN) ? 60 : 15) * NSEC_PER_MSEC)
#define ASK_NO_ACCIDENT	(4 * ASK_TOO_LONG)
#define ASK_PAUSE	64

static bool young_ask_secondary(struct mm_struct *mm, unsigned long start,
				unsigned long end)
{
#ifdef CONFIG_MMU_NOTIFIER
	return mmu_notifier_clear_young(mm, start, end);
#else
	return false;
#endif
}

static bool young_is_slow_to_ask(struct ksm_mm_slot *slot)
{
	unsigned long after = READ_ONCE(slot->ask_after);

	if (!after)
		return false;
	if (time_before(jiffies, after))
		return true;
	/* Or it would be ahead again once jiffies have wrapped. */
	WRITE_ONCE(slot->ask_after, 0);
	return false;
}

/* Asks, and notes whether that takes too long. */
static bool young_ask_timed(struct ksm_mm_slot *slot, unsigned long start,
			    unsigned long end)
{
	u64 begin = local_clock();
	bool accessed = young_ask_secondary(slot->slot.mm, start, end);
	s64 took = local_clock() - begin, sum = READ_ONCE(slot->slow_asks);

	if (likely(took <= ASK_USUAL && !sum))
		return accessed;
	if (took < ASK_NO_ACCIDENT)
		sum += min_t(s64, took - ASK_USUAL, ASK_TOO_LONG / 3);
	else
		sum += took;
	if (sum >= ASK_TOO_LONG) {
		/* 0 stands for something else. */
		WRITE_ONCE(slot->ask_after,
			   (jiffies + nsecs_to_jiffies(max(took, sum) * ASK_PAUSE)) | 1);
		sum = 0;
	}
	WRITE_ONCE(slot->slow_asks, max(sum, 0));
	cond_resched();
	return accessed;
}

/* Visits for which a page that was accessed makes us ask about each of its chunk. */
#define LATELY	KSM_BUSY_VISITS

static bool young_lately_accessed(const struct ksm_chunk *chunk)
{
	unsigned int i;

	for (i = 0; i < KSM_CHUNK_PAGES; i++)
		if (chunk->age[i] < LATELY &&
		    ksm_state_at(chunk, i) == KSM_ITEM_UNSTABLE)
			return true;
	return false;
}

/**
 * ksm_young_ask - ask secondary MMUs about the pages of a chunk
 * @young: the worker's; sets @young->secondary and @young->unasked
 * @chunk: the chunk, or NULL
 * @nr: its place in the piece
 * @addr: the first page
 * @end: the end of the last one
 *
 * Asking about all pages at once costs no more than asking about one. But if
 * one of them was accessed, the answer is that all of them were, both for our
 * reading and for reclaim. So ask about each page if some were accessed lately.
 *
 * Context: mmap_lock held; a window of the caller contains the chunk.
 */
void ksm_young_ask(struct ksm_young *young, struct ksm_chunk *chunk,
		   unsigned int nr, unsigned long addr, unsigned long end)
{
	unsigned long at, step = end - addr;
	struct ksm_mm_slot *slot;

	young->secondary[nr] = 0;
	young->unasked[nr] = 0;
	if (!young->on || !chunk)
		return;
	slot = chunk->slot;
	if (!mm_has_notifiers(slot->slot.mm))
		return;
	if (young_lately_accessed(chunk))
		step = PAGE_SIZE;
	for (at = addr; at < end; at += step) {
		u16 pages = GENMASK((at + step - 1 - chunk->start) >> PAGE_SHIFT,
				    (at - chunk->start) >> PAGE_SHIFT);

		if (young_is_slow_to_ask(slot))
			young->unasked[nr] |= pages;
		else if (young_ask_timed(slot, at, at + step))
			young->secondary[nr] |= pages;
	}
}

/* -------------------------------------------------------------- huge pages */

/**
 * ksm_young_forget_huge - what follows is not the rest of a huge page
 * @young: the worker's
 */
void ksm_young_forget_huge(struct ksm_young *young)
{
	young->huge_start = ~0UL;
	young->huge_read = false;
}

/**
 * ksm_young_ask_huge - ask secondary MMUs about a huge page, once
 * @young: the worker's
 * @slot: the mm
 * @addr: a page of it
 *
 * A huge page is visited in pieces, but has one accessed bit, here and in
 * secondary MMUs. The first piece looks at it, and clears it for all pieces.
 *
 * Context: mmap_lock held.
 */
void ksm_young_ask_huge(struct ksm_young *young, struct ksm_mm_slot *slot,
			unsigned long addr)
{
	unsigned long start = addr & PMD_MASK;
	bool slow;

	/*
	 * If it is split before we visit it, this still counts:
	 * ksm_young_was_huge().
	 */
	memset(young->secondary, 0, sizeof(young->secondary));
	memset(young->unasked, 0, sizeof(young->unasked));
	if (!young->on || young->huge_start == start)
		return;
	slow = young_is_slow_to_ask(slot);
	young->huge_start = start;
	young->huge_fresh = addr == start;
	young->huge_accessed = young->huge_fresh && !slow &&
			       young_ask_timed(slot, start, start + PMD_SIZE);
	/* Somebody else had the beginning, and knows what the bits were. */
	young->huge_read = !young->huge_fresh || slow || young->huge_accessed;
}

/**
 * ksm_young_huge - does a huge page have to be read?
 * @young: the worker's
 * @vma: the VMA
 * @pmd: the PMD that maps it
 * @folio: the huge page
 * @addr: a page of it
 *
 * Context: the PMD's lock is held.
 */
bool ksm_young_huge(struct ksm_young *young, struct vm_area_struct *vma,
		    pmd_t *pmd, struct folio *folio, unsigned long addr)
{
	unsigned long start = addr & PMD_MASK;

	/* It became a huge page after we asked about it, or there are none. */
	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) || !young->on ||
	    young->huge_start != start)
		return true;
	if (!young->huge_fresh)
		return young->huge_read;
	young->huge_fresh = false;
	/* As for a PTE, do not clear a bit that tells us nothing. */
	if (folio_test_anon(folio) &&
	    pmdp_test_and_clear_young(vma, start, pmd)) {
		if (pmd_write(pmdp_get(pmd)))
			young->cleared = true;
		young->huge_accessed = true;
	}
	if (young->huge_accessed)
		ksm_young_pass_on(young, folio, pmd);
	if (test_bit(PG_ksm_marked, &folio->_flags_1) &&
	    test_and_clear_bit(PG_ksm_marked, &folio->_flags_1)) {
		young->cleared = true;
		young->huge_read = true;
	}
	young->huge_read |= young->huge_accessed;
	return young->huge_read;
}

/* ----------------------------------------------------------------- reclaim */

/**
 * ksm_young_pass_on - report an accessed page to reclaim and idle tracking
 * @young: the worker's
 * @folio: the page; its accessed bit has been cleared where they would look
 * @pmd: a page table in which many pages were accessed, or NULL
 *
 * Context: the page table's lock is held, and rcu_read_lock() until
 *	ksm_young_end().
 */
void ksm_young_pass_on(struct ksm_young *young, struct folio *folio, pmd_t *pmd)
{
	folio_clear_idle(folio);
#ifdef CONFIG_LRU_GEN
	/* It is in the youngest generation then, and the flag would count twice. */
	if (lru_gen_note_young(&young->lru, folio, pmd))
		return;
#endif
	folio_set_young(folio);
}

/**
 * ksm_young_end - finish after all pages of a piece were passed on
 * @young: the worker's
 *
 * Context: the rcu_read_lock() of ksm_young_pass_on().
 */
void ksm_young_end(struct ksm_young *young)
{
#ifdef CONFIG_LRU_GEN
	lru_gen_note_end(&young->lru);
#endif
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/young_kunit.c"
#endif
