// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of windows: each page is in exactly one window of a full scan, no
 * matter who takes, keeps and returns windows, and which mms come and go.
 * Included by window.c.
 */
#include <linux/delay.h>
#include <linux/prandom.h>

#include "mm_fixture.h"

#define TEST_MMS	6
#define TEST_WORKERS	4
#define TEST_SCANS	40

/* Neighbours in a chunk, ends of windows, separate page tables, the last page. */
static const unsigned long test_places[] = {
	8 << 20,
	(8 << 20) + 15 * PAGE_SIZE,
	(16 << 20) - PAGE_SIZE,
	16 << 20,
	(40 << 20) + 3 * PAGE_SIZE,
	(40 << 20) + 700 * PAGE_SIZE,
	1 << 30,
	0,
};

#define TEST_PLACES	ARRAY_SIZE(test_places)

static unsigned long test_place(unsigned int i)
{
	return test_places[i] ?: TASK_SIZE - PAGE_SIZE;
}

/**
 * struct test_space - an mm, and the state of its pages in this full scan
 * @mm: the mm, or NULL
 * @slot: its slot
 * @since: the full scan that it was registered in
 * @seen: how many windows had the page
 * @excused: a worker gave up before it came to the page
 */
struct test_space {
	struct mm_struct *mm;
	struct ksm_mm_slot *slot;
	unsigned long since;
	unsigned int seen[TEST_PLACES];
	bool excused[TEST_PLACES];
};

struct window_test {
	struct test_space space[TEST_MMS];
	struct ksm_window window[TEST_WORKERS];
	struct rnd_state rnd;
	unsigned long scans;
	long slots;
};

static struct ksm_mm_slot *test_lookup(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot;

	spin_lock(&ksm_registry.lock);
	slot = ksm_slot_find(mm);
	spin_unlock(&ksm_registry.lock);
	return slot;
}

static void space_make(struct kunit *test, struct test_space *space)
{
	unsigned int i;

	*space = (struct test_space){ .mm = test_mm(test) };
	for (i = 0; i < TEST_PLACES; i++) {
		test_mm_map(test, space->mm, test_place(i), 1);
		test_mm_fill(test, space->mm, test_place(i), i);
	}
	space->slot = test_lookup(space->mm);
	space->since = ksm_full_scans();
	KUNIT_ASSERT_NOT_NULL(test, space->slot);
}

static void space_exit(struct test_space *space)
{
	struct mm_struct *mm = space->mm;

	space->mm = NULL;
	space->slot = NULL;
	mmput(mm);
}

/* Frees everything that has exited; keeps out ksmd, which may be doing the same. */
static void reap_all(void)
{
	down_write(&ksm_gate);
	test_reap();
	ksm_gate_open();
}

static int window_test_init(struct kunit *test)
{
	struct window_test *rt = kunit_kzalloc(test, sizeof(*rt), GFP_KERNEL);

	if (!rt || !ksm_registry_idle())
		return -EBUSY;
	rt->slots = atomic_long_read(&ksm_counters.slots);
	prandom_seed_state(&rt->rnd, 20250401);
	test->priv = rt;
	return 0;
}

static void window_test_exit(struct kunit *test)
{
	struct window_test *rt = test->priv;

	if (!rt)
		return;
	reap_all();
	KUNIT_EXPECT_TRUE(test, ksm_registry_idle());
	KUNIT_EXPECT_EQ(test, ksm_registry.windows, 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots), rt->slots);
	ksm_reset_full_scans();
}

/* Marks the pages of a window from @first to @last as scanned, or as not. */
static void window_pages(struct window_test *rt, struct ksm_mm_slot *slot,
			 unsigned long first, unsigned long last, bool scanned)
{
	unsigned int m, i;

	for (m = 0; m < TEST_MMS; m++) {
		struct test_space *space = &rt->space[m];

		if (space->slot != slot)
			continue;
		for (i = 0; i < TEST_PLACES; i++) {
			if (test_place(i) < first || test_place(i) > last)
				continue;
			if (scanned)
				space->seen[i]++;
			else
				space->excused[i] = true;
		}
	}
}

/* At the end of a full scan, every page was in one window, and none in two. */
static void scan_check(struct kunit *test, struct window_test *rt)
{
	unsigned int m, i;

	rt->scans++;
	for (m = 0; m < TEST_MMS; m++) {
		struct test_space *space = &rt->space[m];

		for (i = 0; space->mm && i < TEST_PLACES; i++) {
			KUNIT_EXPECT_LE_MSG(test, space->seen[i], 1,
					    "%lx was scanned twice",
					    test_place(i));
			if (space->since < ksm_full_scans() - 1 &&
			    !space->excused[i])
				KUNIT_EXPECT_EQ_MSG(test, space->seen[i], 1,
						    "%lx was left out",
						    test_place(i));
			space->seen[i] = 0;
			space->excused[i] = false;
		}
	}
}

/* Returns whether there was one. */
static bool worker_get(struct kunit *test, struct window_test *rt,
		       struct ksm_window *window)
{
	unsigned long scans = ksm_full_scans();
	unsigned int m;
	int err;

	down_read(&ksm_gate);
	err = ksm_window_get(window, true);
	up_read(&ksm_gate);
	/* The last mm of the scan has exited, and nobody had a window. */
	if (ksm_full_scans() != scans)
		scan_check(test, rt);
	for (m = 0; err == -ENOENT && m < TEST_MMS; m++)
		KUNIT_EXPECT_NULL(test, rt->space[m].mm);
	if (err == -EAGAIN)
		KUNIT_EXPECT_GT(test, ksm_registry.windows, 0);
	if (err)
		return false;

	KUNIT_ASSERT_EQ(test, window->next & ~KSM_CHUNK_MASK, 0);
	KUNIT_ASSERT_EQ(test, (window->last + 1) & ~KSM_CHUNK_MASK, 0);
	KUNIT_ASSERT_LT(test, window->next, window->last);
	KUNIT_ASSERT_EQ(test, window->final, window->last == ULONG_MAX);
	if (!window->final)
		KUNIT_ASSERT_LT(test, window->last - window->first,
				KSM_WINDOW_SPAN);
	return true;
}

/* All of the window was scanned. */
static void worker_put(struct kunit *test, struct window_test *rt,
		       struct ksm_window *window)
{
	window_pages(rt, window->slot, window->next, window->last, true);
	if (ksm_window_put(window))
		scan_check(test, rt);
}

/*
 * The worker gives up in the second chunk of the window. What is left is handed
 * out again, unless another window was handed out since.
 */
static void worker_abandon(struct kunit *test, struct window_test *rt,
			   struct ksm_window *window)
{
	struct ksm_mm_slot *slot = window->slot;
	unsigned long scans = ksm_full_scans(), stop = window->next;
	bool taken_back = !slot->gone &&
			  ((window->final && slot->windows) ||
			   (ksm_registry.cursor == &slot->slot.mm_node &&
			    slot->cursor == window->last + 1));

	if (!window->final)
		stop = min(window->first + KSM_CHUNK_SPAN, window->last + 1);
	if (stop > window->next)
		window_pages(rt, slot, window->next, stop - 1, true);
	if (!taken_back && stop <= window->last)
		window_pages(rt, slot, stop, window->last, false);
	window->next = stop + PAGE_SIZE;
	ksm_window_abandon(window);
	if (taken_back)
		KUNIT_EXPECT_EQ(test, slot->cursor, stop);
	if (ksm_full_scans() != scans)
		scan_check(test, rt);
}

static void window_random(struct kunit *test)
{
	struct window_test *rt = test->priv;
	unsigned int i;

	while (rt->scans < TEST_SCANS) {
		u32 rnd = prandom_u32_state(&rt->rnd);
		struct ksm_window *window = &rt->window[rnd % TEST_WORKERS];
		struct test_space *space = &rt->space[(rnd >> 8) % TEST_MMS];

		if (!window->slot)
			worker_get(test, rt, window);
		else if ((rnd >> 16) % 8)
			worker_put(test, rt, window);
		else
			worker_abandon(test, rt, window);
		if ((rnd >> 20) % 16)
			continue;
		if (space->mm)
			space_exit(space);
		else
			space_make(test, space);
	}
	for (i = 0; i < TEST_WORKERS; i++)
		if (rt->window[i].slot)
			worker_put(test, rt, &rt->window[i]);
	for (i = 0; i < TEST_MMS; i++)
		if (rt->space[i].mm)
			space_exit(&rt->space[i]);
}

/* An mm with nothing left to merge leaves with its last window. */
static void window_retires(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_window window = { };
	struct mm_struct *mm = test_mm(test);
	struct ksm_chunk *chunk;

	test_mm_map(test, mm, test_place(0), 1);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	KUNIT_EXPECT_TRUE(test, window.final);
	mmap_read_lock(mm);
	chunk = ksm_chunk_make(window.slot, test_place(0),
			       find_vma(mm, test_place(0)), NULL);
	KUNIT_ASSERT_NOT_NULL(test, chunk);
	/* It still has a mergeable mapping, */
	ksm_slot_retire_if_unused(&window);
	KUNIT_EXPECT_TRUE(test, mm_flags_test(MMF_VM_MERGEABLE, mm));
	mmap_read_unlock(mm);
	kthread_use_mm(mm);
	KUNIT_EXPECT_EQ(test, vm_munmap(test_place(0), PAGE_SIZE), 0);
	kthread_unuse_mm(mm);
	mmap_read_lock(mm);
	/* ...or something is known of its pages, */
	ksm_slot_retire_if_unused(&window);
	KUNIT_EXPECT_TRUE(test, mm_flags_test(MMF_VM_MERGEABLE, mm));
	ksm_chunk_free_if_unused(chunk);
	/* ...or nothing. */
	ksm_slot_retire_if_unused(&window);
	KUNIT_EXPECT_FALSE(test, mm_flags_test(MMF_VM_MERGEABLE, mm));
	mmap_read_unlock(mm);
	KUNIT_EXPECT_NULL(test, test_lookup(mm));
	KUNIT_EXPECT_TRUE(test, ksm_window_put(&window));
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots), rt->slots);

	/* It is back with its next mapping. */
	test_mm_map(test, mm, test_place(0), 1);
	KUNIT_EXPECT_NOT_NULL(test, test_lookup(mm));
	mmput(mm);
	KUNIT_EXPECT_TRUE(test, ksm_registry_idle());
}

/* Takes all windows of the only mm, and returns how many there are. */
static unsigned int windows_of(struct kunit *test, struct window_test *rt,
			       struct ksm_window *window)
{
	unsigned int nr = 0;

	do
		KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window[nr]));
	while (!window[nr++].final && nr < TEST_WORKERS);
	KUNIT_ASSERT_TRUE(test, window[nr - 1].final);
	KUNIT_ASSERT_GT(test, nr, 1);
	return nr;
}

/* A full scan that clears accessed bits; the first window comes back last. */
static void windows_cleared(struct kunit *test, struct window_test *rt,
			    struct ksm_mm_slot *slot)
{
	struct ksm_window *window = rt->window;
	unsigned int nr = windows_of(test, rt, window);

	while (nr--) {
		slot->tlb_stale = true;
		worker_put(test, rt, &window[nr]);
		if (nr)
			KUNIT_EXPECT_TRUE(test, slot->tlb_stale);
	}
}

/* TLBs are flushed when all bits were cleared, but only once in a while. */
static void window_flushes(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct mm_struct *mm = test_mm(test);
	struct ksm_mm_slot *slot;

	test_mm_map(test, mm, test_place(0), 1);
	test_mm_map(test, mm, test_place(3), 1);
	test_mm_fill(test, mm, test_place(0), 1);
	test_mm_fill(test, mm, test_place(3), 1);
	slot = test_lookup(mm);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	windows_cleared(test, rt, slot);
	KUNIT_EXPECT_FALSE(test, slot->tlb_stale);
	KUNIT_EXPECT_NE(test, slot->tlb_flushed, 0);
	/* The pause is not over, even if this test takes long. */
	slot->tlb_flushed = (jiffies + 60 * HZ) ?: 1;
	windows_cleared(test, rt, slot);
	KUNIT_EXPECT_TRUE(test, slot->tlb_stale);
	slot->tlb_flushed = (jiffies - FLUSH_PAUSE) ?: 1;
	windows_cleared(test, rt, slot);
	KUNIT_EXPECT_FALSE(test, slot->tlb_stale);
	mmput(mm);
}

/* Whoever is asked drains, once in a full scan, also while others have windows. */
static void window_drains_once(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_window window = { };

	space_make(test, &rt->space[0]);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	ksm_registry.scan++;
	ksm_want_drain();
	ksm_scan_drain();
	KUNIT_EXPECT_FALSE(test, drain_wanted);
	ksm_want_drain();
	ksm_scan_drain();
	KUNIT_EXPECT_TRUE(test, drain_wanted);
	ksm_registry.scan++;
	ksm_scan_drain();
	KUNIT_EXPECT_FALSE(test, drain_wanted);
	ksm_registry.scan -= 2;
	ksm_window_put(&window);
	space_exit(&rt->space[0]);
	reap_all();
}

/* While another worker has a window of an exited mm, the mm is not freed. */
static void window_holds_gone(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_window window = { };

	space_make(test, &rt->space[0]);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	space_exit(&rt->space[0]);
	KUNIT_EXPECT_TRUE(test, ksm_reap_held());
	reap_all();
	KUNIT_EXPECT_TRUE(test, ksm_reap_held());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots),
			rt->slots + 1);
	ksm_window_put(&window);
	reap_all();
	KUNIT_EXPECT_FALSE(test, ksm_reap_held());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots), rt->slots);
}

/* While pages of an exited mm are mapped, what is known of them is kept. */
static void window_holds_mapped(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_window window = { };
	struct mm_struct *mm;

	space_make(test, &rt->space[0]);
	mm = rt->space[0].mm;
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	/*
	 * The state between ksm_exit() and exit_mmap(), which are called one by
	 * one.
	 */
	__ksm_exit(mm);
	ksm_window_put(&window);
	reap_all();
	KUNIT_EXPECT_TRUE(test, ksm_reap_held());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots),
			rt->slots + 1);
	/* The OOM reaper could not reach it, and looks for another victim. */
	mm_flags_set(MMF_OOM_SKIP, mm);
	reap_all();
	KUNIT_EXPECT_TRUE(test, ksm_reap_held());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots),
			rt->slots + 1);
	space_exit(&rt->space[0]);
	reap_all();
	KUNIT_EXPECT_FALSE(test, ksm_reap_held());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots), rt->slots);
}

/* An mm that never had a VMA has nothing to unmap. */
static void window_frees_empty(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct mm_struct *mm = test_mm(test);
	struct ksm_window window = { };

	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	mmput(mm);
	KUNIT_EXPECT_TRUE(test, ksm_reap_held());
	ksm_window_put(&window);
	reap_all();
	KUNIT_EXPECT_FALSE(test, ksm_reap_held());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.slots), rt->slots);
}

/* ------------------------------------------------------ workers in earnest */

static atomic_t threads_seen[TEST_MMS][TEST_PLACES];

static void thread_counts(struct window_test *rt, struct ksm_window *window)
{
	unsigned int m, i;

	for (m = 0; m < TEST_MMS; m++)
		for (i = 0; i < TEST_PLACES; i++)
			if (rt->space[m].slot == window->slot &&
			    test_place(i) >= window->next &&
			    test_place(i) <= window->last)
				atomic_inc(&threads_seen[m][i]);
}

static int window_taker(void *arg)
{
	struct window_test *rt = arg;
	struct ksm_window window = { };

	while (!kthread_should_stop()) {
		int err;

		down_read(&ksm_gate);
		err = ksm_window_get(&window, true);
		up_read(&ksm_gate);
		if (err) {
			usleep_range(50, 100);
			continue;
		}
		thread_counts(rt, &window);
		cond_resched();
		ksm_window_put(&window);
	}
	return 0;
}

/* Finishes the full scan that the threads were at when they stopped. */
static void finish_scan(struct window_test *rt)
{
	struct ksm_window window = { };

	while (ksm_registry.under_way && !ksm_window_get(&window, true)) {
		thread_counts(rt, &window);
		ksm_window_put(&window);
	}
}

static void window_threads(struct kunit *test)
{
	struct task_struct *thread[TEST_WORKERS];
	struct window_test *rt = test->priv;
	unsigned int i, m;

	ksm_reset_full_scans();
	for (m = 0; m < TEST_MMS; m++)
		space_make(test, &rt->space[m]);
	memset(threads_seen, 0, sizeof(threads_seen));
	for (i = 0; i < TEST_WORKERS; i++) {
		thread[i] = kthread_run(window_taker, rt, "ksm_kunit/%u", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(thread[i]));
	}
	/* Meanwhile others come and go, wherever the cursor is. */
	while (ksm_full_scans() < TEST_SCANS) {
		struct mm_struct *mm = test_mm(test);

		test_mm_map(test, mm, test_place(0), 1);
		test_mm_fill(test, mm, test_place(0), 1);
		mmput(mm);
	}
	for (i = 0; i < TEST_WORKERS; i++)
		kthread_stop(thread[i]);
	finish_scan(rt);
	for (m = 0; m < TEST_MMS; m++) {
		for (i = 0; i < TEST_PLACES; i++)
			KUNIT_EXPECT_EQ(test, atomic_read(&threads_seen[m][i]),
					ksm_full_scans());
		space_exit(&rt->space[m]);
	}
}

static struct kunit_case window_cases[] = {
	KUNIT_CASE(window_random),
	KUNIT_CASE(window_retires),
	KUNIT_CASE(window_flushes),
	KUNIT_CASE(window_drains_once),
	KUNIT_CASE(window_holds_gone),
	KUNIT_CASE(window_holds_mapped),
	KUNIT_CASE(window_frees_empty),
	KUNIT_CASE(window_threads),
	{}
};

static struct kunit_suite window_suite = {
	.name = "ksm_window",
	.init = window_test_init,
	.exit = window_test_exit,
	.test_cases = window_cases,
};

kunit_test_suite(window_suite);
