// SPDX-License-Identifier: GPL-2.0
/*
 * Reaping: ksmd frees what is known of the pages of exited mms, whether it
 * scans or not. What their children need is kept, and checked again later.
 */
#include <linux/jiffies.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>

#include "reap.h"
#include "registry.h"
#include "rmap_item.h"

/* All of these belong to the registry's lock. */
static unsigned long held_next;	/* when to look at held slots, jiffies */
static unsigned long held_soonest;	/* and then, as this pass knows so far */
static unsigned int passes;	/* over gone and held slots; tells passes apart */
static bool reap_under_way;	/* this pass is not complete */

/*
 * Wait at least and at most this long before looking at what others need. Or
 * look after one full scan at first, then after twice as many each time.
 */
#define HELD_MIN	((unsigned long)HZ / 4)
#define HELD_MAX	(16UL * HZ)

/**
 * ksm_reap_pending - are there slots of exited mms that can be freed?
 */
bool ksm_reap_pending(void)
{
	return READ_ONCE(ksm_registry.reap_wanted) || READ_ONCE(reap_under_way);
}

/**
 * ksm_reap_held - are there slots of exited mms?
 */
bool ksm_reap_held(void)
{
	/* A hint: the callers ask again. */
	return !data_race(list_empty(&ksm_registry.gone) &&
			  list_empty(&ksm_registry.held));
}

/*
 * Are the pages of an exited mm unmapped? Until then, reverse mapping needs
 * what the slot holds. exit_mmap() clears the tree of VMAs last of all, after
 * unmapping them. MMF_OOM_SKIP is no proof: the OOM reaper also sets it when it
 * gives up.
 */
static bool reap_is_unmapped(struct ksm_mm_slot *slot)
{
	/* In an exiting mm it does not change for any other reason. */
	if (slot->slot.mm && rcu_access_pointer(slot->slot.mm->mm_mt.ma_root))
		return false;
	/*
	 * Later looks at page tables and anon_vmas have to see them unmapped,
	 * too.
	 */
	smp_rmb();
	return true;
}

/* The next slot of a list that was not in this pass; may begin a new pass. */
static struct ksm_mm_slot *reap_next(struct list_head *list, unsigned int pass)
{
	struct ksm_mm_slot *slot;

	lockdep_assert_held(&ksm_registry.lock);
	slot = list_first_entry_or_null(list, struct ksm_mm_slot, slot.mm_node);
	return slot && slot->pass != pass ? slot : NULL;
}

/* Done with the slot for this pass. */
static void reap_pass_over(struct ksm_mm_slot *slot, struct list_head *to,
			   unsigned int pass)
{
	lockdep_assert_held(&ksm_registry.lock);
	slot->pass = pass;
	list_move_tail(&slot->slot.mm_node, to);
}

/* Steps for each page of a chunk that need no pay: the page was scanned for that. */
#define STEPS_A_PAGE	16

/**
 * struct reap_cost - what a piece cost, in pages to read
 * @chunks: to go through them
 * @searches: to find out that others need pages, beyond what that usually takes
 */
struct reap_cost {
	unsigned long chunks;
	unsigned long searches;
};

/*
 * Releases a piece of what a gone slot that nobody has a window of has. Returns
 * whether it was the last one.
 */
static bool reap_piece(struct ksm_mm_slot *slot, unsigned int chunks,
		       struct reap_cost *cost)
{
	struct ksm_forget forget = {
		.next = slot->cursor,
		.last = ULONG_MAX,
		.how = KSM_RELEASE_IF_UNNEEDED,
		.chunks = chunks,
	};
	bool done = ksm_chunks_release(slot, &forget);
	unsigned long steps, usual;

	slot->cursor = done ? 0 : forget.next;
	slot->busy |= forget.busy;
	slot->freed |= forget.freed;
	chunks -= forget.chunks;
	steps = atomic_xchg(&slot->debt, 0);
	usual = min_t(unsigned long, steps,
		      chunks * KSM_CHUNK_PAGES * STEPS_A_PAGE);
	cost->chunks = 1 + chunks * KSM_READS_A_CHUNK + usual / KSM_STEPS_A_READ;
	cost->searches = (steps - usual) / KSM_STEPS_A_READ;
	return done;
}

/* Takes the slot off its list, and frees it. */
static void reap_free(struct ksm_mm_slot *slot)
{
	spin_lock(&ksm_registry.lock);
	list_del(&slot->slot.mm_node);
	spin_unlock(&ksm_registry.lock);
	ksm_slot_free(slot);
}

static void reap_hold(struct ksm_mm_slot *slot, unsigned long interval)
{
	slot->interval = interval;
	slot->due = jiffies + interval;
	slot->scan = READ_ONCE(ksm_registry.scan);
}

/* A look that has begun goes on. */
static bool reap_is_due(struct ksm_mm_slot *slot)
{
	return slot->cursor || time_after_eq(jiffies, slot->due) ||
	       READ_ONCE(ksm_registry.scan) - slot->scan >= slot->interval / HELD_MIN;
}

/*
 * Only mappings of others need what is left of an exited mm. Keep the slot, but
 * not the mm: there may be any number of those.
 */
static void reap_let_go(struct ksm_mm_slot *slot, struct ksm_parting *parting)
{
	/* The mm may be gone already, if ksm_reap_all() was interrupted. */
	if (slot->slot.mm)
		parting->mm[parting->nr++] = slot->slot.mm;
	WRITE_ONCE(slot->slot.mm, NULL);
	spin_lock(&ksm_registry.lock);
	reap_hold(slot, HELD_MIN);
	if (list_empty(&ksm_registry.held) || time_before(slot->due, held_next))
		WRITE_ONCE(held_next, slot->due);
	/* The current pass does not get to it. */
	if (time_before(slot->due, held_soonest))
		held_soonest = slot->due;
	list_move_tail(&slot->slot.mm_node, &ksm_registry.held);
	spin_unlock(&ksm_registry.lock);
}

/**
 * ksm_reap - free a piece of what is known of mms that have exited lately
 * @parting: mms that nothing is known of any more but what others need; the
 *	caller has ksm_part() let them go
 * @credit: pages to read that searches for children's mappings may cost; gets
 *	less by what they did. Where it is negative, slots that needed long searches
 *	are passed over.
 *
 * Goes through each slot once after all of its pages were unmapped; more often
 * if others work on its items. Then no item is in the unstable tree, nor will
 * be. If another mm maps the KSM page of an item by a fork, the item is
 * %KSM_ITEM_STABLE: it and the slot are left for ksm_reap_again().
 *
 * Context: ksm_gate held by ksmd, or exclusively by anybody. Sleeps.
 * Return: whether there is more to do right now.
 */
bool ksm_reap(struct ksm_parting *parting, long *credit)
{
	static unsigned int pass;
	static bool again;
	struct ksm_mm_slot *slot;
	struct reap_cost cost;
	bool done;

	spin_lock(&ksm_registry.lock);
	if (!reap_under_way) {
		WRITE_ONCE(ksm_registry.reap_wanted, false);
		again = false;
		pass = ++passes;
	}
	slot = reap_next(&ksm_registry.gone, pass);
	/* Without windows and off the list, nobody else gets to the slot. */
	if (slot && (slot->users || !reap_is_unmapped(slot) ||
		     (slot->costly && *credit < 0))) {
		/* Its last window is told of; unmapping and credit are not. */
		again |= !slot->users;
		reap_pass_over(slot, &ksm_registry.gone, pass);
		slot = NULL;
	}
	done = !slot && !reap_next(&ksm_registry.gone, pass);
	WRITE_ONCE(reap_under_way, !done);
	spin_unlock(&ksm_registry.lock);
	if (done && again)
		ksm_reap_soon();
	if (!slot)
		return !done;

	done = reap_piece(slot, KSM_RELEASE_CHUNKS, &cost);
	*credit -= cost.searches;
	slot->costly = cost.searches;
	if (!done)
		return true;
	if (xa_empty(&slot->chunks)) {
		reap_free(slot);
	} else if (!slot->busy) {
		reap_let_go(slot, parting);
	} else {
		slot->busy = false;
		spin_lock(&ksm_registry.lock);
		again = true;
		reap_pass_over(slot, &ksm_registry.gone, pass);
		spin_unlock(&ksm_registry.lock);
	}
	return parting->nr < KSM_PARTING_MAX;
}

/**
 * ksm_part - drop mms
 * @parting: from ksm_reap(), empty afterwards
 *
 * Context: sleeps. Better called without ksm_gate.
 */
void ksm_part(struct ksm_parting *parting)
{
	if (!parting->nr)
		return;
	/* See ksm_count_merging(). */
	synchronize_rcu();
	while (parting->nr)
		mmdrop(parting->mm[--parting->nr]);
}

/**
 * ksm_reap_wait - when must ksm_reap_again() be called?
 *
 * Return: jiffies from now.
 */
long ksm_reap_wait(void)
{
	/* A hint: only the reaper drops mms, and the reaper is the caller. */
	if (data_race(list_empty(&ksm_registry.held)))
		return MAX_SCHEDULE_TIMEOUT;
	return clamp_t(long, READ_ONCE(held_next) - jiffies, 0, HELD_MAX);
}

/* The mm is not involved in what is left, so this sees what has changed there. */
static unsigned long reap_look_again(struct ksm_mm_slot *slot, unsigned long most,
				     unsigned int pass)
{
	struct reap_cost cost = { .chunks = 1 };

	if (reap_is_due(slot)) {
		bool done = reap_piece(slot, clamp(most / KSM_READS_A_CHUNK, 1UL,
						   (unsigned long)KSM_RELEASE_CHUNKS),
				       &cost);

		if (!done)
			return cost.chunks + cost.searches;
		if (xa_empty(&slot->chunks)) {
			reap_free(slot);
			return cost.chunks + cost.searches;
		}
		reap_hold(slot, slot->freed ? HELD_MIN :
					min(slot->interval * 2, HELD_MAX));
		slot->freed = false;
		slot->busy = false;
	}
	spin_lock(&ksm_registry.lock);
	if (time_before(slot->due, held_soonest))
		held_soonest = slot->due;
	reap_pass_over(slot, &ksm_registry.held, pass);
	spin_unlock(&ksm_registry.lock);
	return cost.chunks + cost.searches;
}

/**
 * ksm_reap_again - check what children of exited mms still need
 * @most: roughly how much this may cost, in pages to read
 *
 * Nothing reports when they stop needing it. So look at each slot, less and
 * less often as long as nothing changes.
 *
 * Context: as ksm_reap().
 * Return: the cost; 0: there is nothing to look at for now.
 */
unsigned long ksm_reap_again(unsigned long most)
{
	static unsigned int pass;
	static bool under_way;
	static unsigned int scan;
	struct ksm_mm_slot *slot;

	if (!under_way && ksm_reap_wait() && scan == READ_ONCE(ksm_registry.scan))
		return 0;
	spin_lock(&ksm_registry.lock);
	if (!under_way) {
		pass = ++passes;
		scan = ksm_registry.scan;
		held_soonest = jiffies + HELD_MAX;
	}
	slot = reap_next(&ksm_registry.held, pass);
	under_way = slot;
	if (!slot && time_before(held_soonest, jiffies + HELD_MIN))
		held_soonest = jiffies + HELD_MIN;
	if (!slot)
		WRITE_ONCE(held_next, held_soonest);
	spin_unlock(&ksm_registry.lock);
	return slot ? reap_look_again(slot, most, pass) : 0;
}

/**
 * ksm_reap_all - free all that is known of exited mms
 *
 * Context: ksm_gate held exclusively, all sharing is being undone; sleeps.
 * Return: 0, or -EINTR if the caller was killed.
 */
int ksm_reap_all(void)
{
	struct ksm_mm_slot *slot;
	LIST_HEAD(kept);
	int err = 0;

	spin_lock(&ksm_registry.lock);
	list_splice_tail_init(&ksm_registry.held, &ksm_registry.gone);
	while (!err && !list_empty(&ksm_registry.gone)) {
		slot = ksm_slot_of(ksm_registry.gone.next);
		list_move_tail(&slot->slot.mm_node, &kept);
		spin_unlock(&ksm_registry.lock);
		err = ksm_chunks_release_all(slot);
		slot->cursor = 0;
		spin_lock(&ksm_registry.lock);
		if (err || slot->users)
			continue;
		list_del(&slot->slot.mm_node);
		spin_unlock(&ksm_registry.lock);
		ksm_slot_free(slot);
		spin_lock(&ksm_registry.lock);
	}
	/* Slots of mms that a worker has a window of, or that were not reached. */
	list_splice(&kept, &ksm_registry.gone);
	WRITE_ONCE(ksm_registry.reap_wanted, !list_empty(&ksm_registry.gone));
	spin_unlock(&ksm_registry.lock);
	return err;
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/reap_kunit.c"
#endif
