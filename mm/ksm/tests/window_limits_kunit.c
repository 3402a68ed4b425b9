// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what a full scan gives up on: an mm that is busy, or that
 * never ends. Included by window.c, after window_kunit.c.
 */

/* Memory that runs ahead of the cursor, one page at a time. */
static unsigned long run_ahead(struct kunit *test, struct mm_struct *mm,
			       unsigned long addr)
{
	test_mm_map(test, mm, addr + KSM_WINDOW_SPAN, 1);
	test_mm_fill(test, mm, addr + KSM_WINDOW_SPAN, 1);
	return addr + KSM_WINDOW_SPAN;
}

/*
 * A process maps memory ahead of the cursor, as fast as the cursor moves, and
 * unmaps it behind. The full scan still ends, and the next one goes on there.
 */
static void window_ends(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct mm_struct *mm = test_mm(test);
	unsigned long addr = test_place(0), scans = ksm_full_scans(), next;
	struct ksm_window window = { };
	unsigned int nr;

	test_mm_map(test, mm, addr, 1);
	test_mm_fill(test, mm, addr, 1);
	for (nr = 0; nr < 4 * KSM_WINDOWS_SPARE && ksm_full_scans() == scans; nr++) {
		next = run_ahead(test, mm, addr);
		KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
		kthread_use_mm(mm);
		KUNIT_EXPECT_EQ(test, vm_munmap(addr, PAGE_SIZE), 0);
		kthread_unuse_mm(mm);
		addr = next;
		ksm_window_put(&window);
	}
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), scans + 1);
	KUNIT_EXPECT_GE(test, nr, KSM_WINDOWS_SPARE);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	KUNIT_EXPECT_GT(test, window.next, addr - 2 * KSM_WINDOW_SPAN);
	ksm_window_put(&window);
	mmput(mm);
}

/* A window that is meant to be the last one has an end, too. */
static void window_final_ends(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_scan *scan = ksm_scan_alloc();
	struct mm_struct *mm = test_mm(test);
	unsigned long addr = test_place(0), budget;
	struct ksm_window window = { };
	unsigned int nr = 0;
	bool done = false;

	KUNIT_ASSERT_NOT_NULL(test, scan);
	test_mm_map(test, mm, addr, 1);
	test_mm_fill(test, mm, addr, 1);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	KUNIT_EXPECT_TRUE(test, window.final);
	/* Not because of what the mm may cost. */
	atomic_long_set(&window.slot->pages, LONG_MAX);
	down_read(&ksm_gate);
	while (!done && !window.spent && ++nr < KSM_WINDOW_WORK) {
		addr = run_ahead(test, mm, addr);
		budget = 1;
		done = ksm_scan_window(scan, &window, &budget);
	}
	KUNIT_EXPECT_FALSE(test, done);
	KUNIT_EXPECT_TRUE(test, window.spent);
	/* The rest is for another window. */
	ksm_window_abandon(&window);
	up_read(&ksm_gate);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	KUNIT_EXPECT_LE(test, window.next, addr);
	KUNIT_EXPECT_GT(test, window.next, test_place(0));
	ksm_window_put(&window);
	mmput(mm);
	ksm_scan_free(scan);
}

/* The rest of an mm that has had all of its windows is for the next full scan. */
static void window_final_waits(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct mm_struct *mm = test_mm(test);
	unsigned long next = test_place(0) + KSM_CHUNK_SPAN, scans = ksm_full_scans();
	struct ksm_window window = { };

	test_mm_map(test, mm, test_place(0), 1);
	test_mm_fill(test, mm, test_place(0), 1);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	KUNIT_EXPECT_TRUE(test, window.final);
	window.slot->windows = 0;
	window.next = next;
	ksm_window_abandon(&window);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), scans + 1);
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	KUNIT_EXPECT_EQ(test, window.next, next);
	ksm_window_put(&window);
	mmput(mm);
}

/* A search pays for the VMAs that it passes over; some are free, once for each mm. */
static void window_searches_cost(struct kunit *test)
{
	struct window_probe probe = { .vmas = 2 * VMAS_FREE };

	KUNIT_EXPECT_EQ(test, window_probe_steps(&probe, 0),
			VMAS_FREE / KSM_VMAS_A_STEP);
	KUNIT_EXPECT_EQ(test, window_probe_steps(&probe, PAGE_SIZE),
			2 * VMAS_FREE / KSM_VMAS_A_STEP);
	probe.vmas = VMAS_FREE;
	KUNIT_EXPECT_EQ(test, window_probe_steps(&probe, 0), 0);
}

#define LEAVERS 3

/* If the mm that a walk is at exits, the walk still goes on to the next one. */
static void window_visits_leaver(struct kunit *test)
{
	struct window_test *rt = test->priv;
	unsigned int m, i, nr = 0;
	struct ksm_mm_slot *slot;

	for (m = 0; m < LEAVERS; m++)
		space_make(test, &rt->space[m]);
	down_write(&ksm_gate);
	for (slot = ksm_slot_next(NULL); slot && nr <= LEAVERS; slot = ksm_slot_next(slot)) {
		slot->unmerge++;
		for (i = 0; nr == 1 && i < LEAVERS; i++)
			if (rt->space[i].slot == slot)
				space_exit(&rt->space[i]);
		nr++;
	}
	ksm_gate_open();
	KUNIT_EXPECT_EQ(test, nr, LEAVERS);
	for (m = 0; m < LEAVERS; m++) {
		if (!rt->space[m].mm)
			continue;
		KUNIT_EXPECT_EQ(test, rt->space[m].slot->unmerge, 1);
		space_exit(&rt->space[m]);
	}
}

/* A walk through all mms meets each once, even if some change places. */
static void window_visits_all(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_window window = { };
	struct ksm_mm_slot *slot;
	unsigned int m, nr = 0;

	for (m = 0; m < TEST_MMS; m++)
		space_make(test, &rt->space[m]);
	do
		KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	while (!window.final && (ksm_window_put(&window), true));
	down_write(&ksm_gate);
	for (slot = ksm_slot_next(NULL); slot; slot = ksm_slot_next(slot)) {
		/*
		 * The mm of the window moves to the end, and another one goes
		 * away.
		 */
		if (!nr++)
			ksm_window_abandon(&window);
		if (nr == 2)
			space_exit(&rt->space[TEST_MMS - 1]);
		slot->unmerge++;
	}
	ksm_gate_open();
	for (m = 0; m < TEST_MMS - 1; m++) {
		KUNIT_EXPECT_EQ(test, rt->space[m].slot->unmerge, 1);
		space_exit(&rt->space[m]);
	}
}

/* Takes the rest of the full scan, without waiting for busy mms. */
static unsigned int take_all(struct kunit *test, struct ksm_mm_slot *slot)
{
	struct ksm_window window = { };
	unsigned int windows = 0;
	bool completed = false;
	int err = 0;

	while (!completed && !err) {
		err = ksm_window_get(&window, true);
		if (err)
			break;
		windows += window.slot == slot;
		completed = ksm_window_put(&window);
	}
	KUNIT_EXPECT_EQ(test, err, completed ? 0 : -EBUSY);
	return windows;
}

/*
 * An mm whose mmap_lock is busy waits until all others have had their turn.
 * Then it is asked again, until its lock is free.
 */
static void window_defers(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_mm_slot *busy, *other;
	unsigned int all;

	ksm_reset_full_scans();
	space_make(test, &rt->space[0]);
	space_make(test, &rt->space[1]);
	busy = ksm_slot_of(ksm_registry.slots.next);
	other = ksm_slot_of(ksm_registry.slots.prev);
	KUNIT_ASSERT_PTR_NE(test, busy, other);
	down_read(&ksm_gate);
	all = take_all(test, other);
	KUNIT_EXPECT_GT(test, all, 1);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 1);

	mmap_write_lock(busy->slot.mm);
	KUNIT_EXPECT_EQ(test, take_all(test, other), all);
	/* The wait does not end because this test itself takes long. */
	busy_until = jiffies + 60 * HZ;
	KUNIT_EXPECT_EQ(test, take_all(test, busy), 0);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 1);
	mmap_write_unlock(busy->slot.mm);
	KUNIT_EXPECT_EQ(test, take_all(test, busy), all);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 2);
	up_read(&ksm_gate);
	space_exit(&rt->space[0]);
	space_exit(&rt->space[1]);
}

/* But not forever: a full scan ends, and the next one goes on there. */
static void window_gives_up(struct kunit *test)
{
	struct window_test *rt = test->priv;
	struct ksm_window window = { };
	struct ksm_mm_slot *slot;
	unsigned int waits = 0;
	unsigned long from;
	int err;

	ksm_reset_full_scans();
	space_make(test, &rt->space[0]);
	slot = rt->space[0].slot;
	KUNIT_ASSERT_TRUE(test, worker_get(test, rt, &window));
	ksm_window_put(&window);
	from = slot->cursor;
	KUNIT_EXPECT_NE(test, from, 0);

	down_read(&ksm_gate);
	mmap_write_lock(slot->slot.mm);
	while ((err = ksm_window_get(&window, true)) == -EBUSY &&
	       waits++ < jiffies_to_msecs(BUSY_WAIT_MAX) + 10)
		usleep_range(1000, 2000);
	mmap_write_unlock(slot->slot.mm);
	KUNIT_EXPECT_EQ(test, err, -ENOENT);
	KUNIT_EXPECT_GT(test, waits, 0);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 1);

	KUNIT_EXPECT_EQ(test, ksm_window_get(&window, true), 0);
	KUNIT_EXPECT_EQ(test, window.next, from);
	up_read(&ksm_gate);
	ksm_window_put(&window);
	space_exit(&rt->space[0]);
}

/* However many are busy, others do not wait while each of them is asked. */
static void window_busy_crowd(struct kunit *test)
{
	struct mm_struct *mm[2 * TRIES_MAX + 1];
	struct ksm_window window = { };
	struct ksm_mm_slot *slot;
	unsigned int i, asked = 0;
	int err;

	ksm_reset_full_scans();
	for (i = 0; i < ARRAY_SIZE(mm); i++)
		mm[i] = test_mm(test);
	down_read(&ksm_gate);
	/* More locks than it can keep in mind. */
	lockdep_off();
	for (i = 0; i < ARRAY_SIZE(mm); i++)
		mmap_write_lock(mm[i]);
	err = ksm_window_get(&window, true);
	for (i = 0; i < ARRAY_SIZE(mm); i++)
		mmap_write_unlock(mm[i]);
	lockdep_on();
	up_read(&ksm_gate);
	KUNIT_EXPECT_EQ(test, err, -EBUSY);
	list_for_each_entry(slot, &ksm_registry.slots, slot.mm_node)
		asked += slot->deferred;
	KUNIT_EXPECT_EQ(test, asked, TRIES_MAX);
	for (i = 0; i < ARRAY_SIZE(mm); i++)
		mmput(mm[i]);
}

static struct kunit_case window_limits_cases[] = {
	KUNIT_CASE(window_busy_crowd),
	KUNIT_CASE(window_ends),
	KUNIT_CASE(window_final_ends),
	KUNIT_CASE(window_final_waits),
	KUNIT_CASE(window_searches_cost),
	KUNIT_CASE(window_visits_leaver),
	KUNIT_CASE(window_visits_all),
	KUNIT_CASE(window_defers),
	KUNIT_CASE(window_gives_up),
	{}
};

static struct kunit_suite window_limits_suite = {
	.name = "ksm_window_limits",
	.init = window_test_init,
	.exit = window_test_exit,
	.test_cases = window_limits_cases,
};

kunit_test_suite(window_limits_suite);
