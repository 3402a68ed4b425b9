// SPDX-License-Identifier: GPL-2.0
/*
 * The scan: goes through the page tables of a window piece by piece, and
 * collects the pages that may have changed.
 *
 * A piece is at most KSM_SCAN_BATCH pages of one page table. While its lock is
 * held pages are only collected; reading, look-ups and merging come after that.
 */
#include <linux/delay.h>
#include <linux/freezer.h>
#include <linux/mm.h>
#include <linux/memremap.h>
#include <linux/mmu_notifier.h>
#include <linux/page_idle.h>
#include <linux/pagewalk.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <asm/tlbflush.h>

#include "../internal.h"
#include "scan.h"

#define BATCH_SPAN	(PAGE_SIZE * KSM_SCAN_BATCH)
/* Visits without reading cost about as much as one with: of the budget, one. */
#define VISITS_A_READ	16
/* So many may go by before the budget, and who waits for us, are looked at. */
#define UNPAID_MAX	512

struct ksm_scan *ksm_scan_alloc(void)
{
	return kvzalloc(sizeof(struct ksm_scan), GFP_KERNEL);
}

void ksm_scan_free(struct ksm_scan *scan)
{
	kvfree(scan);
}

/* --------------------------------------- collecting, page-table lock held */

static unsigned int chunk_of(unsigned long addr)
{
	return (addr % BATCH_SPAN) / KSM_CHUNK_SPAN;
}

/* The accessed bit goes where reclaim and idle tracking look for it next. */
static void pass_on_young(struct folio *folio)
{
	folio_set_young(folio);
	folio_clear_idle(folio);
}

static void collect(struct ksm_scan *scan, struct ksm_rmap_item *item,
		    struct page *page, enum ksm_want want)
{
	struct ksm_candidate *cand = &scan->cand[scan->nr++];

	cand->item = item;
	cand->page = page;
	cand->want = want;
	cand->scope = ksm_scope(page);
	cand->shared = ksm_item_state(item) == KSM_ITEM_STABLE;
	cand->held = true;
	cand->read = false;
	cand->changed = false;
	cand->queued = false;
	get_page(page);
}

static void collect_gone(struct ksm_scan *scan, struct ksm_rmap_item *item,
			 bool swapped)
{
	if (ksm_item_state(item) == KSM_ITEM_FREE)
		return;
	scan->swapped[scan->nr_gone] = swapped;
	scan->gone[scan->nr_gone++] = item;
}

/* A KSM page is mapped at the item's address. */
static void visit_ksm_page(struct ksm_scan *scan, struct ksm_rmap_item *item,
			   struct page *page)
{
	struct ksm_stable_node *node = ksm_folio_node(page_folio(page));

	scan->visited++;
	/* Detached: everybody is being unmerged. */
	if (!node)
		return;
	/* Mapped and attached, hence alive. */
	if (ksm_item_state(item) == KSM_ITEM_STABLE &&
	    ksm_item_node(item) == node &&
	    READ_ONCE(node->scope) == ksm_scope(page))
		return;
	collect(scan, item, page, KSM_WANT_ADOPT);
}

/* Can this visit do without the page's content? */
static __always_inline bool seems_unread(struct ksm_scan *scan,
					 struct ksm_chunk *chunk,
					 unsigned int place, u8 state,
					 unsigned long pfn, bool young)
{
	return scan->smart &&
	       (state == KSM_ITEM_UNSTABLE ||
		(state == KSM_ITEM_SEEN && ksm_item_key(&chunk->item[place]))) &&
	       ksm_page_unread(chunk, place, pfn, young);
}

/* The page that an item is about is mapped. */
static void visit_page(struct ksm_scan *scan, struct ksm_rmap_item *item,
		       struct page *page, bool unread)
{
	if (PageKsm(page)) {
		visit_ksm_page(scan, item, page);
		return;
	}
	scan->visited++;
	if (ksm_item_state(item) != KSM_ITEM_CLAIMED)
		collect(scan, item, page, unread ? KSM_WANT_MATCH :
						   KSM_WANT_READ);
}

static struct page *mergeable_page(struct page *page)
{
	if (!page || is_zone_device_page(page) || !PageAnon(page) ||
	    PageHWPoison(page))
		return NULL;
	return page;
}

static void visit_present_pte(struct ksm_scan *scan, struct vm_area_struct *vma,
			      struct ksm_rmap_item *item, pte_t pte,
			      unsigned long addr, bool young, bool unread)
{
	struct page *page = vm_normal_page(vma, addr, pte);

	if (page && young)
		pass_on_young(page_folio(page));
	page = mergeable_page(page);
	if (!page) {
		collect_gone(scan, item, false);
		return;
	}
	visit_page(scan, item, page, unread);
}

static void visit_pte(struct ksm_scan *scan, struct vm_area_struct *vma,
		      pte_t *ptep, pte_t pte, unsigned long addr)
{
	struct ksm_chunk *chunk = scan->chunk[chunk_of(addr)];
	unsigned int place = (addr % KSM_CHUNK_SPAN) >> PAGE_SHIFT;
	struct ksm_rmap_item *item;
	bool young, unread;
	u8 state;

	if (!chunk)
		return;
	item = &chunk->item[place];
	if (!pte_present(pte)) {
		collect_gone(scan, item, !pte_none(pte));
		return;
	}
	young = scan->smart && (pte_young(pte) || scan->young[chunk_of(addr)]);
	if (scan->smart && pte_young(pte)) {
		ptep_test_and_clear_young(vma, addr, ptep);
		scan->cleared = true;
	}
	state = ksm_state_at(chunk, place);
	unread = seems_unread(scan, chunk, place, state, pte_pfn(pte), young);
	/* Most of all visits end here, without a look at item or struct page. */
	if (unread && state == KSM_ITEM_UNSTABLE)
		scan->skipped++;
	else
		visit_present_pte(scan, vma, item, pte, addr, young, unread);
}

static bool collect_ptes(struct ksm_scan *scan, struct vm_area_struct *vma,
			 pmd_t *pmd, unsigned long addr, unsigned long end)
{
	unsigned int i, nr = (end - addr) >> PAGE_SHIFT;
	spinlock_t *ptl;
	pte_t *ptep;

	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!ptep)
		return false;
	/* First all of them: clearing one bit may clear a whole group's. */
	for (i = 0; i < nr; i++)
		scan->pte[i] = ptep_get(ptep + i);
	for (i = 0; i < nr; i++)
		visit_pte(scan, vma, ptep + i, scan->pte[i],
			  addr + i * PAGE_SIZE);
	pte_unmap_unlock(ptep, ptl);
	return true;
}

/* One accessed bit for all of a huge page, which is visited in pieces. */
static bool huge_page_young(struct ksm_scan *scan, struct vm_area_struct *vma,
			    pmd_t *pmd, struct folio *folio, unsigned long addr)
{
	unsigned long start = addr & HPAGE_PMD_MASK;

	if (!scan->smart)
		return true;
	if (scan->huge_start != start) {
		scan->huge_start = start;
		scan->huge_young = pmdp_test_and_clear_young(vma, start, pmd);
		if (scan->huge_young) {
			scan->cleared = true;
			pass_on_young(folio);
		}
	}
	return scan->huge_young || scan->young[chunk_of(addr)];
}

static void visit_huge(struct ksm_scan *scan, struct ksm_chunk *chunk,
		       unsigned int place, struct page *page, bool young)
{
	u8 state = ksm_state_at(chunk, place);
	bool unread = seems_unread(scan, chunk, place, state, page_to_pfn(page),
				   young);

	if (unread && state == KSM_ITEM_UNSTABLE)
		scan->skipped++;
	else
		visit_page(scan, &chunk->item[place], page, unread);
}

/* Returns false if there is no huge page (any more). */
static bool collect_huge(struct ksm_scan *scan, struct vm_area_struct *vma,
			 pmd_t *pmd, unsigned long addr, unsigned long end)
{
	spinlock_t *ptl = pmd_trans_huge_lock(pmd, vma);
	struct page *page = NULL;

	if (!ptl)
		return false;
	if (pmd_present(pmdp_get(pmd)))
		page = vm_normal_page_pmd(vma, addr & HPAGE_PMD_MASK,
					  pmdp_get(pmd));
	page = mergeable_page(page);
	for (; page && addr < end; addr += PAGE_SIZE) {
		struct ksm_chunk *chunk = scan->chunk[chunk_of(addr)];
		unsigned long nr = (addr & ~HPAGE_PMD_MASK) >> PAGE_SHIFT;

		if (chunk && !PageHWPoison(page + nr))
			visit_huge(scan, chunk,
				   (addr % KSM_CHUNK_SPAN) >> PAGE_SHIFT,
				   page + nr,
				   huge_page_young(scan, vma, pmd,
						   page_folio(page), addr));
	}
	spin_unlock(ptl);
	return true;
}

/* ----------------------------------------- preparing, nothing but mmap_lock */

/* Which chunks of the piece have a page in them, a bit each. */
static unsigned long chunks_needed(pmd_t *pmd, unsigned long addr,
				   unsigned long end)
{
	pmd_t entry = pmdp_get_lockless(pmd);
	unsigned long needed = 0;
	pte_t *start, *ptep;

	if (pmd_trans_huge(entry))
		return is_huge_zero_pmd(entry) ? 0 : ~0UL;
	start = pte_offset_map(pmd, addr);
	if (!start)
		return 0;
	for (ptep = start; addr < end; ptep++, addr += PAGE_SIZE) {
		pte_t pte = ptep_get_lockless(ptep);

		if (pte_present(pte) && !is_zero_pfn(pte_pfn(pte)))
			needed |= BIT(chunk_of(addr));
	}
	pte_unmap(start);
	return needed;
}

static bool secondary_young(struct mm_struct *mm, unsigned long start,
			    unsigned long end)
{
#ifdef CONFIG_MMU_NOTIFIER
	return mmu_notifier_clear_young(mm, start, end);
#else
	return false;
#endif
}

/* What most visits have to do with, and nothing else of the chunk. */
static void fetch_notes(struct ksm_chunk *chunk)
{
	prefetch(chunk->note);
	prefetch(&chunk->age[KSM_CHUNK_PAGES - 1]);
}

/*
 * Makes the chunks of the piece, and asks secondary MMUs about each: a look
 * into those costs as much for a range as for a page.
 */
static void prepare(struct ksm_scan *scan, struct vm_area_struct *vma,
		    pmd_t *pmd, unsigned long addr, unsigned long end)
{
	unsigned long next, needed = 0;
	bool know = false;

	for (; addr < end; addr = next) {
		struct ksm_chunk *chunk = ksm_chunk_find(scan->slot, addr);
		unsigned int nr = chunk_of(addr);

		next = min(end, (addr & KSM_CHUNK_MASK) + KSM_CHUNK_SPAN);
		if (!chunk && !know) {
			needed = chunks_needed(pmd, addr, end);
			know = true;
		}
		if (!chunk && needed & BIT(nr))
			chunk = ksm_chunk_make(scan->slot, addr, vma);
		if (chunk)
			fetch_notes(chunk);
		scan->chunk[nr] = chunk;
		scan->young[nr] = scan->smart && chunk &&
				  secondary_young(vma->vm_mm, addr, next);
	}
}

/* Nothing may have been found in some of those that were made. */
static void put_chunks(struct ksm_scan *scan)
{
	unsigned int i;

	for (i = 0; i < KSM_SCAN_CHUNKS; i++) {
		if (scan->chunk[i])
			ksm_chunk_free_if_unused(scan->chunk[i]);
		scan->chunk[i] = NULL;
	}
}

static void forget(struct ksm_scan *scan, unsigned long first,
		   unsigned long last)
{
	if (!xa_empty(&scan->slot->chunks))
		ksm_chunks_release(scan->slot, first, last,
				   KSM_RELEASE_IF_UNNEEDED);
}

static void scan_piece(struct ksm_scan *scan, struct vm_area_struct *vma,
		       pmd_t *pmd, unsigned long addr, unsigned long end)
{
	pmd_t entry = pmdp_get_lockless(pmd);

	if (pmd_none(entry)) {
		forget(scan, addr, end - 1);
		return;
	}
	/* A huge page that is migrating will be back. */
	if (!pmd_present(entry))
		return;
	prepare(scan, vma, pmd, addr, end);
	if (!collect_huge(scan, vma, pmd, addr, end))
		collect_ptes(scan, vma, pmd, addr, end);
}

static int scan_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		    struct mm_walk *walk)
{
	struct ksm_scan *scan = walk->private;
	unsigned long next;

	if (addr > scan->pos)
		forget(scan, scan->pos, addr - 1);
	for (; addr < end; addr = next) {
		next = (addr & ~(BATCH_SPAN - 1)) + BATCH_SPAN;
		next = min3(next, end, addr + PAGE_SIZE *
			    min_t(unsigned long, scan->left, KSM_SCAN_BATCH));
		scan_piece(scan, walk->vma, pmd, addr, next);
		scan->pos = next;
		if (scan->nr || scan->nr_gone || scan->visited || scan->skipped)
			return 1;
		put_chunks(scan);
		/* Page tables of other pages cost time, too. */
		if (++scan->unpaid >= UNPAID_MAX)
			return 1;
	}
	return 0;
}

static const struct mm_walk_ops scan_ops = {
	.pmd_entry = scan_pmd,
	.walk_lock = PGWALK_RDLOCK,
};

/* ---------------------------------------------------------------- windows */

static void account(struct ksm_scan *scan)
{
	unsigned long cost;

	scan->unpaid += scan->skipped;
	cost = scan->visited + scan->unpaid / VISITS_A_READ;
	scan->unpaid %= VISITS_A_READ;
	scan->left -= min(scan->left, cost);
	atomic_long_add(scan->visited, &ksm_counters.pages_scanned);
	if (scan->skipped)
		atomic_long_add(scan->skipped, &ksm_counters.pages_skipped);
	scan->visited = 0;
	scan->skipped = 0;
}

/*
 * Scans up to the next piece that something was found in. The mmap_lock is
 * held. Returns whether this was the end of the window.
 */
static bool scan_step(struct ksm_scan *scan, struct ksm_window *window)
{
	struct mm_struct *mm = ksm_scan_mm(scan);
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, window->next);
	unsigned long end;

	for_each_vma(vmi, vma)
		if ((vma->vm_flags & VM_MERGEABLE) && vma->anon_vma)
			break;
	if (!vma || vma->vm_start > window->last) {
		forget(scan, window->next, window->last);
		return true;
	}
	if (vma->vm_start > window->next) {
		forget(scan, window->next, vma->vm_start - 1);
		window->next = vma->vm_start;
	}
	end = min(vma->vm_end - 1, window->last) + 1;
	scan->pos = window->next;
	if (!walk_page_range_vma(vma, window->next, end, &scan_ops, scan)) {
		if (scan->pos < end)
			forget(scan, scan->pos, end - 1);
		scan->pos = end;
	}
	window->next = scan->pos;
	ksm_settle(scan);
	put_chunks(scan);
	account(scan);
	return window->next - 1 == window->last;
}

/*
 * A CPU that has a page in its TLB does not set an accessed bit that was
 * cleared since. That would hide writes from us for as long as it stays there;
 * so once in a full scan an mm whose bits were cleared is flushed.
 */
static void note_stale_tlb(struct ksm_scan *scan, struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;

	if (!window->final || !READ_ONCE(slot->tlb_stale))
		return;
	WRITE_ONCE(slot->tlb_stale, false);
	mmgrab(slot->slot.mm);
	scan->flush = slot->slot.mm;
}

/**
 * ksm_scan_flush - do what is left to do for an mm that was scanned to its end
 * @scan: the worker's state
 *
 * Other CPUs have to take part, and may not be there at once: so this waits
 * until the full scan was counted and the window is back.
 *
 * Context: sleeps.
 */
void ksm_scan_flush(struct ksm_scan *scan)
{
	if (!scan->flush)
		return;
	flush_tlb_mm(scan->flush);
	mmdrop(scan->flush);
	scan->flush = NULL;
}

/* A writer that was woken needs this long to get going, us. */
#define WRITER_WAKES	20
#define WRITER_TRIES	50

/**
 * ksm_scan_give_way - let others have the mmap_lock, and the CPU
 * @scan: the worker's state
 *
 * Who unlocks and locks again takes the lock from under the nose of a writer
 * that was woken and does not run yet: so wait until it had it.
 *
 * Context: mmap_lock held for reading, and again afterwards; sleeps.
 */
void ksm_scan_give_way(struct ksm_scan *scan)
{
	struct mm_struct *mm = ksm_scan_mm(scan);
	unsigned int tries;

	ksm_scan_unlock(scan);
	cond_resched();
	for (tries = 0; tries < WRITER_TRIES && mmap_lock_is_contended(mm);
	     tries++)
		usleep_idle_range(WRITER_WAKES, 2 * WRITER_WAKES);
	ksm_scan_lock(scan);
}

/* Does anybody wait for what we hold? */
static bool should_yield(struct ksm_scan *scan)
{
	return need_resched() || rwsem_is_contended(&ksm_gate) ||
	       mmap_lock_is_contended(ksm_scan_mm(scan)) || freezing(current);
}

/**
 * ksm_scan_window - scan a window, or as much of it as the budget allows
 * @scan: the worker's state
 * @window: its window; window->next moves on
 * @budget: pages to scan; what is left of it is put back
 *
 * Context: ksm_gate held shared; sleeps.
 * Return: whether the window was scanned to its end.
 */
bool ksm_scan_window(struct ksm_scan *scan, struct ksm_window *window,
		     unsigned long *budget)
{
	bool done = false;

	if (scan->slot != window->slot)
		scan->huge_start = ~0UL;
	scan->slot = window->slot;
	scan->left = *budget;
	/* Accessed bits that nobody keeps, or takes from us, are left alone. */
	scan->smart = READ_ONCE(ksm_settings.smart_scan) &&
		      IS_ENABLED(CONFIG_PAGE_IDLE_FLAG) &&
		      arch_has_hw_pte_young();
	while (!done && scan->left) {
		ksm_scan_lock(scan);
		if (ksm_mm_exiting(ksm_scan_mm(scan))) {
			done = true;
			break;
		}
		done = scan_step(scan, window);
		if (scan->cleared)
			WRITE_ONCE(window->slot->tlb_stale, true);
		scan->cleared = false;
		if (done) {
			note_stale_tlb(scan, window);
			if (window->final)
				ksm_slot_retire_if_unused(window);
		}
		if (!done && should_yield(scan)) {
			ksm_scan_give_way(scan);
			if (rwsem_is_contended(&ksm_gate) || freezing(current))
				break;
		}
	}
	ksm_scan_unlock(scan);
	if (done)
		scan->huge_start = ~0UL;
	*budget = scan->left;
	return done;
}
