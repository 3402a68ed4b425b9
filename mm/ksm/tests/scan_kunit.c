// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what a full scan spends on one mm: that it is charged, and that
 * there is an end to it. The test is the worker. Included by scan.c, behind
 * match_kunit.c.
 */
#include <linux/file.h>
#include <linux/shmem_fs.h>

/**
 * struct scan_test - a scan of an mm
 * @mm: the mm, empty as yet
 * @scan: the state of a worker
 */
struct scan_test {
	struct mm_struct *mm;
	struct ksm_scan *scan;
};

static int scan_test_init(struct kunit *test)
{
	struct scan_test *st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);

	if (!st || !ksm_registry_idle())
		return -EBUSY;
	st->scan = ksm_scan_alloc();
	if (!st->scan)
		return -ENOMEM;
	st->mm = test_mm(test);
	test->priv = st;
	ksm_reset_full_scans();
	return 0;
}

static void scan_test_exit(struct kunit *test)
{
	struct scan_test *st = test->priv;

	if (!st)
		return;
	mmput(st->mm);
	down_write(&ksm_gate);
	test_reap();
	ksm_stable_sweep(false);
	ksm_gate_open();
	ksm_scan_free(st->scan);
	ksm_reset_full_scans();
	KUNIT_EXPECT_TRUE(test, ksm_registry_idle());
	KUNIT_EXPECT_EQ(test, ksm_metadata_bytes(), 0);
}

/* A whole full scan. Returns what it has cost, in pages. */
static unsigned long scan_cost(struct kunit *test)
{
	unsigned long left = LONG_MAX, scans = ksm_full_scans();
	struct scan_test *st = test->priv;
	struct ksm_window window = { };

	lru_add_drain_all();
	down_read(&ksm_gate);
	while (ksm_full_scans() == scans && !ksm_window_get(&window, true)) {
		while (!ksm_scan_window(st->scan, &window, &left) && !window.spent)
			;
		if (window.spent)
			ksm_window_abandon(&window);
		else
			ksm_window_put(&window);
	}
	up_read(&ksm_gate);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), scans + 1);
	return LONG_MAX - left;
}

/* So many page tables, each with one entry. */
#define SCAN_TABLES	16UL

/* Empty entries of page tables cost less than the pages that the tables take. */
static void scan_holes(struct kunit *test)
{
	struct scan_test *st = test->priv;
	unsigned long at = PUD_SIZE, entries = SCAN_TABLES * PTRS_PER_PMD, cost, i;

	kthread_use_mm(st->mm);
	KUNIT_EXPECT_EQ(test, vm_mmap(NULL, at, SCAN_TABLES * PUD_SIZE,
				      PROT_READ | PROT_WRITE, MAP_PRIVATE |
				      MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, 0), at);
	kthread_unuse_mm(st->mm);
	for (i = 0; i < SCAN_TABLES; i++)
		test_mm_fill(test, st->mm, at + i * PUD_SIZE, i + 1);
	cost = scan_cost(test);
	/* The visits and the windows come on top. */
	KUNIT_EXPECT_GE(test, cost, entries / 150);
	KUNIT_EXPECT_LE(test, cost, entries / 128 + 4 * SCAN_TABLES);
}

/* Pages of a file that is mapped privately, of which one was written to */
#define SCAN_FILE	1024UL

static void scan_map_file(struct kunit *test, unsigned long at)
{
	static vma_flags_t no_flags;
	struct file *file = shmem_kernel_file_setup("ksm", SCAN_FILE * PAGE_SIZE,
						    no_flags);
	struct scan_test *st = test->priv;
	unsigned long ret, i;
	u8 byte;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	kthread_use_mm(st->mm);
	ret = vm_mmap(file, at, SCAN_FILE * PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_FIXED, 0);
	for (i = 0; ret == at && i < SCAN_FILE; i++)
		if (get_user(byte, (u8 __user *)(at + i * PAGE_SIZE)))
			ret = 0;
	kthread_unuse_mm(st->mm);
	fput(file);
	KUNIT_ASSERT_EQ(test, ret, at);
	test_mm_fill(test, st->mm, at, 1);
}

/* It takes as long to pass over such a page as to visit one of another kind. */
static void scan_files(struct kunit *test)
{
	struct scan_test *st = test->priv;
	unsigned long cost;

	scan_map_file(test, PUD_SIZE);
	KUNIT_ASSERT_EQ(test, get_mm_counter_sum(st->mm, MM_SHMEMPAGES), SCAN_FILE - 1);
	cost = scan_cost(test);
	KUNIT_EXPECT_GE(test, cost, (SCAN_FILE - 1) / KSM_VISITS_A_READ);
	KUNIT_EXPECT_LE(test, cost, 2 * SCAN_FILE / KSM_VISITS_A_READ);
	/* Nor does it use up what the mm may cost. */
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ksm_counters.rmap_items), 1);
}

static void scan_map(struct kunit *test, unsigned long addr, unsigned int pages)
{
	struct scan_test *st = test->priv;
	unsigned int i;

	test_mm_map(test, st->mm, addr, pages);
	for (i = 0; i < pages; i++)
		test_mm_fill(test, st->mm, addr + i * PAGE_SIZE, addr + i);
}

static void scan_unmap(struct kunit *test, unsigned long addr, unsigned int pages)
{
	struct scan_test *st = test->priv;

	kthread_use_mm(st->mm);
	KUNIT_EXPECT_EQ(test, vm_munmap(addr, pages * PAGE_SIZE), 0);
	kthread_unuse_mm(st->mm);
}

static void scan_get(struct kunit *test, struct ksm_window *window)
{
	int err;

	down_read(&ksm_gate);
	err = ksm_window_get(window, true);
	up_read(&ksm_gate);
	KUNIT_ASSERT_EQ(test, err, 0);
}

/* Returns whether it was scanned to its end. */
static bool scan_it(struct kunit *test, struct ksm_window *window)
{
	struct scan_test *st = test->priv;
	unsigned long left = LONG_MAX;
	bool done;

	down_read(&ksm_gate);
	do
		done = ksm_scan_window(st->scan, window, &left);
	while (!done && !window->spent && !window->busy);
	up_read(&ksm_gate);
	return done;
}

/* Memory that runs ahead of the cursor, so much at a time; and the first of it */
#define SCAN_RUN	256UL
#define SCAN_START	(64UL << 20)

/*
 * However much a process maps before the cursor and unmaps behind: a full scan visits
 * no more than what it had, twice over, and what is to spare.
 */
static void scan_runs_ahead(struct kunit *test)
{
	long visited = atomic_long_read(&ksm_counters.pages_scanned);
	unsigned long addr = SCAN_START, stopped = 0;
	struct ksm_window window = { };

	scan_map(test, addr, SCAN_RUN);
	while (!ksm_full_scans() && addr < SCAN_START + KSM_WINDOWS_SPARE * KSM_WINDOW_SPAN) {
		scan_map(test, addr + KSM_WINDOW_SPAN, SCAN_RUN);
		scan_get(test, &window);
		if (scan_it(test, &window)) {
			scan_unmap(test, addr, SCAN_RUN);
			addr += KSM_WINDOW_SPAN;
			ksm_window_put(&window);
		} else {
			KUNIT_EXPECT_TRUE(test, window.spent);
			stopped = window.next & KSM_CHUNK_MASK;
			ksm_window_abandon(&window);
		}
	}
	visited = atomic_long_read(&ksm_counters.pages_scanned) - visited;
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 1);
	KUNIT_EXPECT_GE(test, visited, KSM_PAGES_SPARE);
	KUNIT_EXPECT_LE(test, visited, KSM_PAGES_SPARE + 5 * SCAN_RUN);
	/* The next one goes on there. */
	scan_get(test, &window);
	KUNIT_EXPECT_EQ(test, window.next, stopped);
	ksm_window_put(&window);
}

/* What several workers bring back is scanned next, from the first of it on. */
static void scan_goes_on(struct kunit *test)
{
	struct ksm_window window[2] = { };
	unsigned long stopped;

	scan_map(test, SCAN_START, SCAN_RUN);
	scan_map(test, SCAN_START + KSM_WINDOW_SPAN, 1);
	scan_map(test, SCAN_START + 2 * KSM_WINDOW_SPAN, 1);
	scan_get(test, &window[0]);
	scan_get(test, &window[1]);
	KUNIT_EXPECT_FALSE(test, window[1].final);
	atomic_long_set(&window[0].slot->pages, 1);
	KUNIT_EXPECT_FALSE(test, scan_it(test, &window[0]));
	KUNIT_EXPECT_TRUE(test, window[0].spent);
	stopped = window[0].next;
	KUNIT_EXPECT_EQ(test, stopped, SCAN_START + KSM_BATCH_PAGES * PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, scan_it(test, &window[1]));
	KUNIT_EXPECT_TRUE(test, window[1].spent);
	ksm_window_abandon(&window[1]);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 0);
	ksm_window_abandon(&window[0]);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 1);

	scan_get(test, &window[0]);
	KUNIT_EXPECT_EQ(test, window[0].next, stopped);
	KUNIT_EXPECT_TRUE(test, scan_it(test, &window[0]));
	ksm_window_put(&window[0]);
	scan_cost(test);
	/* And then from the front again. */
	scan_get(test, &window[0]);
	KUNIT_EXPECT_EQ(test, window[0].next, 0);
	ksm_window_put(&window[0]);
}

/* Pages that a process has, and pages that it gets meanwhile */
#define SCAN_HAS	(3UL * KSM_PAGES_SPARE)

/* A full scan is a scan of all that there is, also where it becomes more. */
static void scan_all_of_it(struct kunit *test)
{
	long visited = atomic_long_read(&ksm_counters.pages_scanned);
	unsigned long far = SCAN_START + (SCAN_HAS << PAGE_SHIFT) + KSM_WINDOW_SPAN;
	struct ksm_window window = { };

	scan_map(test, SCAN_START, SCAN_HAS);
	scan_get(test, &window);
	KUNIT_EXPECT_FALSE(test, window.final);
	scan_map(test, far, SCAN_HAS);
	KUNIT_EXPECT_TRUE(test, scan_it(test, &window));
	ksm_window_put(&window);
	scan_cost(test);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 1);
	visited = atomic_long_read(&ksm_counters.pages_scanned) - visited;
	KUNIT_EXPECT_EQ(test, visited, 2 * SCAN_HAS);
}

/*
 * An mm whose lock is busy is waited for so often in a full scan and no more, though
 * it is scanned whenever its lock is free; and the next scan waits again.
 */
static void scan_patience(struct kunit *test)
{
	struct scan_test *st = test->priv;
	struct ksm_window window = { };
	struct ksm_mm_slot *slot;
	unsigned long left = LONG_MAX;
	unsigned int tries;
	int had;

	scan_map(test, SCAN_START, SCAN_RUN);
	scan_get(test, &window);
	slot = window.slot;
	had = atomic_read(&slot->patience);
	KUNIT_EXPECT_EQ(test, had, 2 * KSM_MM_PATIENCE + SCAN_RUN / KSM_PAGES_A_WAIT);
	down_read(&ksm_gate);
	mmap_write_lock(st->mm);
	for (tries = 0; tries < 4; tries++) {
		KUNIT_EXPECT_FALSE(test, ksm_scan_window(st->scan, &window, &left));
		KUNIT_EXPECT_TRUE(test, window.busy);
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&slot->patience), 0);
	KUNIT_EXPECT_EQ(test, st->scan->lock.patience, KSM_MM_PATIENCE);
	mmap_write_unlock(st->mm);
	up_read(&ksm_gate);
	KUNIT_EXPECT_TRUE(test, scan_it(test, &window));
	ksm_window_put(&window);
	KUNIT_EXPECT_EQ(test, ksm_full_scans(), 1);

	scan_get(test, &window);
	KUNIT_EXPECT_GE(test, atomic_read(&slot->patience), had);
	ksm_window_put(&window);
}

/*
 * To wait for a partner is not for the mm that is scanned to pay; nor does the partner
 * have nothing left for its own scan.
 */
static void scan_patience_with_others(struct kunit *test)
{
	struct scan_test *st = test->priv;
	struct ksm_mm_slot slot = { .patience = ATOMIC_INIT(KSM_MM_PATIENCE) };
	struct ksm_mm_slot other = { .patience = ATOMIC_INIT(KSM_MM_PATIENCE + 3) };
	struct ksm_mm_lock lock = { .slot = &slot };

	mmap_write_lock(st->mm);
	lock.patience = KSM_MM_PATIENCE;
	KUNIT_EXPECT_FALSE(test, ksm_mm_lock_other(&lock, &other, st->mm, 10));
	KUNIT_EXPECT_EQ(test, lock.patience, KSM_MM_PATIENCE - 3);
	KUNIT_EXPECT_EQ(test, atomic_read(&other.patience), KSM_MM_PATIENCE);
	atomic_set(&other.patience, 2 * KSM_MM_PATIENCE);
	KUNIT_EXPECT_FALSE(test, ksm_mm_lock_other(&lock, &other, st->mm, 10));
	KUNIT_EXPECT_EQ(test, lock.patience, 10);
	mmap_write_unlock(st->mm);
	KUNIT_EXPECT_EQ(test, atomic_read(&slot.patience), KSM_MM_PATIENCE);
	KUNIT_EXPECT_TRUE(test, ksm_mm_lock_other(&lock, &other, st->mm, 10));
	mmap_read_unlock(st->mm);
}

/*
 * What it took to find a window is charged to its mm, also where nothing comes of it;
 * and what goes beyond a budget to the next budget, not to the mm that it is spent on.
 */
static void scan_own_steps(struct kunit *test)
{
	struct scan_test *st = test->priv;
	struct ksm_window window = { };
	unsigned long left = 10;
	long pages;

	scan_map(test, SCAN_START, 1);
	scan_get(test, &window);
	pages = atomic_long_read(&window.slot->pages);
	window.steps = 100 * KSM_VISITS_A_READ;
	KUNIT_EXPECT_FALSE(test, ksm_scan_window(st->scan, &window, &left));
	KUNIT_EXPECT_EQ(test, atomic_long_read(&window.slot->pages), pages - 100);
	KUNIT_EXPECT_EQ(test, left, 0);
	left = 91;
	KUNIT_EXPECT_FALSE(test, ksm_scan_window(st->scan, &window, &left));
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&window.slot->pages), pages - 101);
	ksm_window_put(&window);
}

static struct kunit_case scan_cases[] = {
	KUNIT_CASE(scan_own_steps),
	KUNIT_CASE(scan_patience),
	KUNIT_CASE(scan_patience_with_others),
	KUNIT_CASE(scan_holes),
	KUNIT_CASE(scan_files),
	KUNIT_CASE(scan_runs_ahead),
	KUNIT_CASE(scan_goes_on),
	KUNIT_CASE(scan_all_of_it),
	{}
};

static struct kunit_suite scan_suite = {
	.name = "ksm_scan",
	.init = scan_test_init,
	.exit = scan_test_exit,
	.test_cases = scan_cases,
};

kunit_test_suite(scan_suite);
