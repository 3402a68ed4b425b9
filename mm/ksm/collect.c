// SPDX-License-Identifier: GPL-2.0
/*
 * Collecting: goes through the page tables of a window piece by piece, and
 * finds the pages that may have changed.
 *
 * A piece is at most KSM_BATCH_PAGES pages of one page table. Under its lock,
 * pages are only collected; reading, look-ups and merging come later.
 */
#include <linux/memcontrol.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/swap.h>

#include "../internal.h"
#include "collect.h"
#include "key.h"
#include "node.h"
#include "rmap_item.h"
#include "visit.h"
#include "window.h"

#define BATCH_SPAN	(PAGE_SIZE * KSM_BATCH_PAGES)
/* Visits to make at most before looking at the budget and at waiting threads. */
#define UNPAID_MAX	512
/* Aging should look at a page table if one page in this many was accessed. */
#define DENSE		8

/* ------------------------------------------------- page-table lock held */

static unsigned int collect_chunk_nr(unsigned long addr)
{
	return (addr % BATCH_SPAN) / KSM_CHUNK_SPAN;
}

static void collect_page(struct ksm_collect *collect,
			 struct ksm_rmap_item *item, struct page *page,
			 enum ksm_want want)
{
	struct ksm_batch *batch = collect->batch;
	struct ksm_candidate *cand = &batch->cand[batch->nr++];

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
	/*
	 * Perhaps it waits on some CPU to be put on an LRU list, with one more
	 * reference.
	 */
	if (!PageLRU(page))
		ksm_want_drain();
}

/*
 * Its page is no KSM page any more, or one that it should not share, but it was
 * needed by others lately.
 */
static bool collect_has_to_stay(struct ksm_rmap_item *item, u8 state)
{
	return state == KSM_ITEM_STABLE && ksm_chunk_waits(ksm_item_chunk(item));
}

static void collect_gone(struct ksm_collect *collect, struct ksm_rmap_item *item)
{
	struct ksm_batch *batch = collect->batch;
	u8 state = ksm_item_state(item);

	if (state == KSM_ITEM_FREE)
		return;
	if (collect_has_to_stay(item, state))
		collect->unpaid++;
	else
		batch->gone[batch->nr_gone++] = item;
}

/* Does the item share the page, and are both where they should be? */
static bool collect_shares_well(struct vm_area_struct *vma,
				struct ksm_rmap_item *item, struct page *page,
				struct ksm_stable_node *node)
{
	return ksm_item_state(item) == KSM_ITEM_STABLE &&
	       ksm_item_node(item) == node &&
	       READ_ONCE(node->scope) == ksm_scope(page) &&
	       ksm_item_fits(vma, item);
}

/* A KSM page is mapped at the item's address. */
static void collect_ksm_page(struct ksm_collect *collect,
			     struct vm_area_struct *vma,
			     struct ksm_rmap_item *item, struct page *page)
{
	struct ksm_stable_node *node;

	collect->visited++;
	/* Another worker may be turning it back into an ordinary page. */
	rcu_read_lock();
	node = ksm_folio_node(page_folio(page));
	/* Detached: everybody is being unmerged. */
	if (node && !collect_shares_well(vma, item, page, node) &&
	    !collect_has_to_stay(item, ksm_item_state(item)))
		collect_page(collect, item, page, KSM_WANT_ADOPT);
	rcu_read_unlock();
}

/* Can this visit do without the page's content? */
static __always_inline enum ksm_visit
collect_how(struct ksm_collect *collect, struct ksm_chunk *chunk,
	    unsigned int place, u8 state, unsigned long pfn, bool accessed)
{
	if (!collect->smart)
		return KSM_VISIT_READ;
	if (state != KSM_ITEM_UNSTABLE &&
	    (state != KSM_ITEM_SEEN || !ksm_item_key(&chunk->item[place])))
		return KSM_VISIT_READ;
	/* Where accessed bits tell nothing, treat every page as in use. */
	return ksm_page_visit(chunk, place, pfn, accessed || !collect->young.on);
}

/* Is this visit done, without a look at the item or at struct page? */
static __always_inline bool collect_skips(struct ksm_chunk *chunk, unsigned int place,
					  enum ksm_visit visit, u8 state)
{
	if (visit != KSM_VISIT_IDLE)
		return visit == KSM_VISIT_BUSY;
	return state == KSM_ITEM_UNSTABLE ||
	       ((READ_ONCE(chunk->state[place]) & KSM_ITEM_SAME) &&
		!ksm_same_again(chunk, place));
}

/* A page that is no KSM page is mapped at the item's address. */
static void collect_private_page(struct ksm_collect *collect,
				 struct ksm_rmap_item *item, struct page *page,
				 enum ksm_visit visit)
{
	u8 state = ksm_item_state(item);

	if (collect_has_to_stay(item, state)) {
		collect->unpaid++;
		return;
	}
	collect->visited++;
	if (state != KSM_ITEM_CLAIMED)
		collect_page(collect, item, page,
			     visit == KSM_VISIT_IDLE ? KSM_WANT_MATCH :
						       KSM_WANT_READ);
}

static struct page *collect_mergeable(struct page *page)
{
	if (!page || is_zone_device_page(page) || !PageAnon(page) ||
	    PageHWPoison(page))
		return NULL;
	return page;
}

static void collect_present_pte(struct ksm_collect *collect,
				struct vm_area_struct *vma,
				struct ksm_rmap_item *item, pte_t pte,
				unsigned long addr, enum ksm_visit visit)
{
	struct page *page = collect_mergeable(vm_normal_page(vma, addr, pte));

	if (!page) {
		/* A file's, for example: there may be as many as there are addresses. */
		collect->unpaid++;
		collect_gone(collect, item);
		return;
	}
	if (folio_test_ksm(page_folio(page)))
		collect_ksm_page(collect, vma, item, page);
	else
		collect_private_page(collect, item, page, visit);
}

/* Does the accessed bit of a PTE that maps this page show changes? */
static bool collect_bit_tells(struct page *page)
{
	return PageAnon(page) && !folio_test_ksm(page_folio(page));
}

/*
 * Was the page accessed? @dense: the PMD, if many of its pages were. Bits that
 * tell us nothing are left to others who use them.
 */
static bool collect_accessed(struct ksm_collect *collect,
			     struct vm_area_struct *vma, pte_t *ptep, pte_t pte,
			     unsigned long addr, pmd_t *dense)
{
	struct ksm_young *young = &collect->young;
	unsigned int place = (addr % KSM_CHUNK_SPAN) >> PAGE_SHIFT;
	bool secondary = young->secondary[collect_chunk_nr(addr)] & BIT(place);
	struct page *page;

	if (!young->on || !(pte_young(pte) || secondary))
		return false;
	page = vm_normal_page(vma, addr, pte);
	if (!page)
		return false;
	if (pte_young(pte) && collect_bit_tells(page)) {
		ptep_test_and_clear_young(vma, addr, ptep);
		/* An old TLB entry for reading still shows the same content. */
		if (pte_write(pte))
			young->cleared = true;
	} else if (!secondary) {
		return false;
	}
	ksm_young_pass_on(young, page_folio(page), dense);
	return true;
}

static void collect_pte(struct ksm_collect *collect, struct vm_area_struct *vma,
			pte_t *ptep, pte_t pte, unsigned long addr,
			pmd_t *dense)
{
	struct ksm_chunk *chunk = collect->chunk[collect_chunk_nr(addr)];
	unsigned int place = (addr % KSM_CHUNK_SPAN) >> PAGE_SHIFT;
	struct ksm_rmap_item *item;
	enum ksm_visit visit;
	bool accessed;
	u8 state;

	if (!chunk)
		return;
	item = &chunk->item[place];
	if (!pte_present(pte)) {
		collect_gone(collect, item);
		return;
	}
	accessed = collect_accessed(collect, vma, ptep, pte, addr, dense) ||
		   collect->young.marked & BIT(collect_chunk_nr(addr)) ||
		   collect->young.unasked[collect_chunk_nr(addr)] & BIT(place);
	state = ksm_state_at(chunk, place);
	visit = collect_how(collect, chunk, place, state, pte_pfn(pte), accessed);
	/* Most visits end here. */
	if (collect_skips(chunk, place, visit, state))
		collect->skipped++;
	else
		collect_present_pte(collect, vma, item, pte, addr, visit);
}

static bool collect_ptes(struct ksm_collect *collect,
			 struct vm_area_struct *vma, pmd_t *pmd,
			 unsigned long addr, unsigned long end)
{
	unsigned int i, nr = (end - addr) >> PAGE_SHIFT, accessed = 0;
	spinlock_t *ptl;
	pte_t *ptep;

	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!ptep)
		return false;
	/* Look at all of them first: clearing one bit may clear a whole group's. */
	for (i = 0; i < nr; i++) {
		pte_t pte = ptep_get(ptep + i);

		collect->pte[i] = pte;
		accessed += pte_present(pte) && pte_young(pte);
	}
	ksm_young_take_marks(&collect->young, collect->chunk, ptep, addr, end);
	if (ksm_young_was_huge(&collect->young, addr))
		collect->young.marked = ~0UL;
	for (i = 0; i < nr; i++)
		collect_pte(collect, vma, ptep + i, collect->pte[i],
			    addr + i * PAGE_SIZE,
			    accessed * DENSE >= nr ? pmd : NULL);
	pte_unmap_unlock(ptep, ptl);
	return true;
}

static void collect_huge_part(struct ksm_collect *collect,
			      struct ksm_chunk *chunk, unsigned int place,
			      struct page *page, bool accessed)
{
	u8 state = ksm_state_at(chunk, place);
	enum ksm_visit visit = collect_how(collect, chunk, place, state,
					   page_to_pfn(page), accessed);

	if (collect_skips(chunk, place, visit, state))
		collect->skipped++;
	else
		collect_private_page(collect, &chunk->item[place], page, visit);
}

/* Returns false if there is no huge page (any more). */
static bool collect_huge(struct ksm_collect *collect,
			 struct vm_area_struct *vma, pmd_t *pmd,
			 unsigned long addr, unsigned long end)
{
	spinlock_t *ptl = pmd_trans_huge_lock(pmd, vma);
	struct page *page = NULL;
	bool accessed = false;

	if (!ptl)
		return false;
	if (pmd_present(pmdp_get(pmd)))
		page = vm_normal_page_pmd(vma, addr & HPAGE_PMD_MASK,
					  pmdp_get(pmd));
	/* Also for a huge page of a file: secondary MMUs were asked about it. */
	if (page)
		accessed = ksm_young_huge(&collect->young, vma, pmd,
					  page_folio(page), addr);
	page = collect_mergeable(page);
	for (; page && addr < end; addr += PAGE_SIZE) {
		struct ksm_chunk *chunk = collect->chunk[collect_chunk_nr(addr)];
		unsigned long nr = (addr & ~HPAGE_PMD_MASK) >> PAGE_SHIFT;

		if (chunk && !PageHWPoison(page + nr))
			collect_huge_part(collect, chunk,
					  (addr % KSM_CHUNK_SPAN) >> PAGE_SHIFT,
					  page + nr, accessed);
	}
	spin_unlock(ptl);
	return true;
}

/* --------------------------------------------- nothing but the mmap_lock */

/* Which chunks of the piece contain a page, one bit each. */
static unsigned long collect_chunks_needed(pmd_t *pmd, unsigned long addr,
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
			needed |= BIT(collect_chunk_nr(addr));
	}
	pte_unmap(start);
	return needed;
}

/* The only parts of the chunk that most visits use. */
static void collect_prefetch(struct ksm_chunk *chunk)
{
	prefetch(chunk->note);
	prefetch(&chunk->age[KSM_CHUNK_PAGES - 1]);
}

/* Makes the chunks of the piece, and asks secondary MMUs about its pages. */
static void collect_chunks(struct ksm_collect *collect,
			   struct vm_area_struct *vma, pmd_t *pmd,
			   unsigned long addr, unsigned long end)
{
	bool huge = pmd_trans_huge(pmdp_get_lockless(pmd)), know = false;
	unsigned long next, needed = 0;
	struct mem_cgroup *memcg = NULL;

	if (huge)
		ksm_young_ask_huge(&collect->young, collect->slot, addr);
	for (; addr < end; addr = next) {
		struct ksm_chunk *chunk = ksm_chunk_find(collect->slot, addr);
		unsigned int nr = collect_chunk_nr(addr);

		next = min(end, (addr & KSM_CHUNK_MASK) + KSM_CHUNK_SPAN);
		if (!chunk && !know) {
			needed = collect_chunks_needed(pmd, addr, end);
			know = true;
		}
		if (!chunk && needed & BIT(nr)) {
			memcg = memcg ?: get_mem_cgroup_from_mm(vma->vm_mm);
			chunk = ksm_chunk_make(collect->slot, addr, vma, memcg);
		}
		if (chunk)
			collect_prefetch(chunk);
		collect->chunk[nr] = chunk;
		if (!huge)
			ksm_young_ask(&collect->young, chunk, nr, addr, next);
	}
	mem_cgroup_put(memcg);
}

/* Some of the new chunks may have turned out to be empty. */
static void collect_put_chunks(struct ksm_collect *collect)
{
	unsigned int i;

	for (i = 0; i < KSM_BATCH_CHUNKS; i++) {
		if (collect->chunk[i])
			ksm_chunk_free_if_unused(collect->chunk[i]);
		collect->chunk[i] = NULL;
	}
}

/*
 * Nothing is mapped from collect->pos to @last: forgets what is known of pages
 * there. Returns false if that takes more steps, which start at collect->pos.
 */
static bool collect_hole(struct ksm_collect *collect, unsigned long last)
{
	struct ksm_forget forget = {
		.next = collect->pos,
		.last = last,
		.how = KSM_RELEASE_IF_UNNEEDED,
		.chunks = KSM_RELEASE_CHUNKS,
		.waits = true,
	};
	bool done;

	if (xa_empty(&collect->slot->chunks))
		return true;
	done = ksm_chunks_release(collect->slot, &forget);
	if (!done)
		collect->pos = forget.next;
	collect->unpaid += ksm_forget_visits(KSM_RELEASE_CHUNKS - forget.chunks,
					     forget.freed);
	return done;
}

static void collect_piece(struct ksm_collect *collect,
			  struct vm_area_struct *vma, pmd_t *pmd,
			  unsigned long addr, unsigned long end)
{
	pmd_t entry = pmdp_get_lockless(pmd);

	if (pmd_none(entry)) {
		BUILD_BUG_ON(KSM_BATCH_CHUNKS > KSM_RELEASE_CHUNKS);
		collect_hole(collect, end - 1);
		return;
	}
	/* A huge page that is migrating will come back. */
	if (!pmd_present(entry))
		return;
	collect_chunks(collect, vma, pmd, addr, end);
	rcu_read_lock();
	if (!collect_huge(collect, vma, pmd, addr, end))
		collect_ptes(collect, vma, pmd, addr, end);
	ksm_young_end(&collect->young);
	rcu_read_unlock();
}

/* Has so much gone by that brings nothing that others are to be looked at? */
static bool collect_was_long(struct ksm_collect *collect)
{
	return collect->unpaid + collect->holes >= UNPAID_MAX;
}

static int collect_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		       struct mm_walk *walk)
{
	struct ksm_collect *collect = walk->private;
	unsigned long next;

	if (addr > collect->pos && !collect_hole(collect, addr - 1))
		return 1;
	collect->pos = addr;
	for (; addr < end; addr = next) {
		next = (addr & ~(BATCH_SPAN - 1)) + BATCH_SPAN;
		next = min3(next, end, addr + PAGE_SIZE * collect->most);
		collect_piece(collect, walk->vma, pmd, addr, next);
		collect->pos = next;
		if (collect->batch->nr || collect->batch->nr_gone ||
		    collect->visited || collect->skipped)
			return 1;
		collect_put_chunks(collect);
		/* Page tables of other pages cost time, too. */
		collect->unpaid++;
		if (collect_was_long(collect))
			return 1;
	}
	return 0;
}

/*
 * Empty entries of upper page tables cost time, too, and there may be very many. The
 * search for the window has passed over most of them before: that is paid here, too.
 */
static int collect_pte_hole(unsigned long addr, unsigned long end, int depth,
			    struct mm_walk *walk)
{
	struct ksm_collect *collect = walk->private;

	collect->holes++;
	if (!collect_was_long(collect))
		return 0;
	if (collect_hole(collect, end - 1))
		collect->pos = end;
	return 1;
}

static const struct mm_walk_ops collect_ops = {
	.pmd_entry = collect_pmd,
	.pte_hole = collect_pte_hole,
	.walk_lock = PGWALK_RDLOCK,
};

/* Collects from collect->pos to @end, or from a part of it. */
static void collect_vma(struct ksm_collect *collect, struct vm_area_struct *vma,
			unsigned long end)
{
	if (walk_page_range_vma(vma, collect->pos, end, &collect_ops, collect))
		return;
	if (collect->pos >= end || collect_hole(collect, end - 1))
		collect->pos = end;
}

/**
 * ksm_collect_window - begin to collect from another window, or go on with one
 * @collect: the worker's state
 * @slot: the mm of the window
 */
void ksm_collect_window(struct ksm_collect *collect, struct ksm_mm_slot *slot)
{
	struct ksm_young *young = &collect->young;

	if (collect->slot != slot)
		ksm_young_forget_huge(young);
	collect->slot = slot;
	collect->smart = READ_ONCE(ksm_settings.smart_scan);
	/*
	 * Leave accessed bits alone if the CPU sets none, or if we cannot pass
	 * them on.
	 */
	young->on = collect->smart && IS_ENABLED(CONFIG_PAGE_IDLE_FLAG) &&
		    arch_has_hw_pte_young();
	collect->batch->accessed = young->on;
}

static bool collect_may_scan(struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_MERGEABLE) && vma->anon_vma;
}

/*
 * Returns the VMA at collect->pos, or the next one, if it may be scanned. After
 * very many that may not, returns one of those, to go on from. NULL if none
 * begins up to @last.
 */
static struct vm_area_struct *collect_next_vma(struct ksm_collect *collect,
					       unsigned long last)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, collect->slot->slot.mm, collect->pos);
	unsigned int vmas = 0;

	/*
	 * If the range is the whole address space, its end wraps to 0, which is
	 * right.
	 */
	for_each_vma_range(vmi, vma, last + 1)
		if (collect_may_scan(vma) || ++vmas == KSM_VMAS_MAX)
			break;
	collect->unpaid += vmas / KSM_VMAS_A_STEP;
	return vma;
}

/**
 * ksm_collect - go on to the next piece in which something is found
 * @collect: the worker's state; begins at @collect->pos, which moves on
 * @last: last address of the window, inclusive
 *
 * To be followed by ksm_collect_end(), once the batch has been dealt with.
 *
 * Context: mmap_lock held for reading.
 * Return: whether this was the end of the window.
 */
bool ksm_collect(struct ksm_collect *collect, unsigned long last)
{
	struct vm_area_struct *vma = collect_next_vma(collect, last);

	if (!vma)
		return collect_hole(collect, last);
	if (vma->vm_start > collect->pos &&
	    !collect_hole(collect, vma->vm_start - 1))
		return false;
	collect->pos = max(collect->pos, vma->vm_start);
	if (collect_may_scan(vma))
		collect_vma(collect, vma, min(vma->vm_end - 1, last) + 1);
	return collect->pos - 1 == last;
}

/**
 * ksm_collect_end - let go of what the batch was about
 * @collect: the worker's state
 *
 * Context: the batch is empty.
 */
void ksm_collect_end(struct ksm_collect *collect)
{
	collect_put_chunks(collect);
}
