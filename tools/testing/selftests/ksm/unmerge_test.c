// SPDX-License-Identifier: GPL-2.0
/*
 * Sharing is undone completely, and nothing but the sharing, in each of its
 * ways.
 */

#include "ksm_fixture.h"

#include <pthread.h>

#include "ksm_env.h"

/* More than are unshared at a time */
#define N 80

/* Half of the pages are of one content, the others in pairs. */
static void fill(char *mem)
{
	mem_fill(mem, N / 2, 300, 0);
	mem_fill(PAGE(mem, N / 2), N / 4, 400, 1);
	mem_fill(PAGE(mem, N / 2 + N / 4), N / 4, 400, 1);
}

static size_t bad(const char *mem)
{
	return mem_bad(mem, N / 2, 300, 0) +
	       mem_bad(PAGE(mem, N / 2), N / 4, 400, 1) +
	       mem_bad(PAGE(mem, N / 2 + N / 4), N / 4, 400, 1);
}

static bool all_have_own_page(const char *mem)
{
	uint64_t pfn[N];
	size_t i, k;

	if (mem_count_ksm(0, mem, N))
		return false;
	for (i = 0; i < N; i++) {
		pfn[i] = page_pfn(0, PAGE(mem, i));
		if (!pfn[i] || pfn_mapcount(pfn[i]) != 1)
			return false;
		for (k = 0; k < i; k++)
			if (pfn[k] == pfn[i])
				return false;
	}
	return true;
}

/* A page with one of the contents of fill() */
static char *one_more(void)
{
	char *page = mem_map(1);

	page_fill(page, 300);
	return page;
}

KSM_TEST(by_madvise)
{
	char *mem = mem_map(N), *other = one_more();

	fill(mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1 + N / 4, N / 2 - 1 + N / 4, 0);
	ASSERT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	EXPECT_TRUE(all_have_own_page(mem));
	EXPECT_EQ(0, bad(mem));
	/* It is not merged again, as nobody has asked for it; other memory is scanned. */
	ASSERT_EQ(0, madvise(other, PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(3));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	ASSERT_COUNTERS(0, 0, 1);
	EXPECT_EQ(0, bad(mem));
}

KSM_TEST(by_prctl)
{
	char *mem = mem_map(N), *other = one_more();

	fill(mem);
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, ksm_scans(4));
	ASSERT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, bad(mem));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	EXPECT_TRUE(all_have_own_page(mem));
	EXPECT_EQ(0, bad(mem));
	ASSERT_EQ(0, madvise(other, PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(3));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	ASSERT_COUNTERS(0, 0, 1);
}

KSM_TEST(by_run)
{
	char *mem = mem_map(N);

	fill(mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(N, mem_count_ksm(0, mem, N));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(2, ksm_read("run"));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, ksm_read("pages_volatile"));
	EXPECT_TRUE(all_have_own_page(mem));
	EXPECT_EQ(0, bad(mem));
	/* The area stays registered for the next run. */
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1 + N / 4, N / 2 - 1 + N / 4, 0);
	EXPECT_EQ(0, bad(mem));
}

KSM_TEST(by_run_in_many_processes)
{
	struct peer p[3];
	size_t i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_start(&p[i], N));
		ASSERT_EQ(0, peer_fill(&p[i], 0, N, 100, 1));
		ASSERT_EQ(0, peer_madvise(&p[i], 0, N, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, 2 * N, 0);
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_COUNTERS(0, 0, 0);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, mem_count_ksm(p[i].pid, p[i].mem, N));
		EXPECT_EQ(0, peer_bad(&p[i], 0, N, 100, 1));
		EXPECT_EQ(0, peer_fill(&p[i], 0, 1, 200 + i, 0));
	}
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, peer_bad(&p[i], 0, 1, 200 + i, 0));
		EXPECT_EQ(0, peer_end(&p[i]));
	}
}

/* While ksmd scans: it must neither delay this nor merge again afterwards. */
KSM_TEST(by_madvise_while_scanning)
{
	char *mem = mem_map(N);
	int round;

	fill(mem);
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 30; round++) {
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
		sleep_ms(round);
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
		ASSERT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, bad(mem));
	}
}

KSM_TEST(by_run_while_merging)
{
	char *mem = mem_map(N);
	int round;

	fill(mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, ksm_set("run", 1));
		sleep_ms(round);
		ASSERT_EQ(0, ksm_set("run", 2));
		ASSERT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, ksm_read("pages_shared"));
		ASSERT_EQ(0, ksm_read("pages_sharing"));
		ASSERT_EQ(0, bad(mem));
	}
}

KSM_TEST(part_of_an_area)
{
	char *mem = mem_map(N);

	mem_fill(mem, N, 310, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, madvise(PAGE(mem, 8), 8 * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(8, mem_count_ksm(0, mem, 8));
	EXPECT_EQ(0, mem_count_ksm(0, PAGE(mem, 8), 8));
	EXPECT_EQ(N - 16, mem_count_ksm(0, PAGE(mem, 16), N - 16));
	EXPECT_EQ(0, mem_bad(mem, N, 310, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 8 - 1, 0);
	ASSERT_EQ(0, madvise(PAGE(mem, 8), 8 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 310, 0));
}

KSM_TEST(of_one_process_only)
{
	struct peer a, b;

	ASSERT_EQ(0, peer_start(&a, N));
	ASSERT_EQ(0, peer_start(&b, N));
	ASSERT_EQ(0, peer_fill(&a, 0, N, 320, 0));
	ASSERT_EQ(0, peer_fill(&b, 0, N, 320, 0));
	ASSERT_EQ(0, peer_madvise(&a, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&b, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 1, 0);
	ASSERT_EQ(0, peer_madvise(&a, 0, N, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(a.pid, a.mem, N));
	EXPECT_EQ(N, mem_count_ksm(b.pid, b.mem, N));
	EXPECT_EQ(0, peer_bad(&a, 0, N, 320, 0));
	EXPECT_EQ(0, peer_bad(&b, 0, N, 320, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, peer_end(&b));
	EXPECT_EQ(0, peer_bad(&a, 0, N, 320, 0));
	ASSERT_EQ(0, peer_end(&a));
}

/* Also where the process itself may not write, or not even read. */
KSM_TEST(of_protected_memory)
{
	static const int prot[] = { PROT_READ, PROT_NONE };
	size_t i;

	for (i = 0; i < 2; i++) {
		char *mem = mem_map(N);

		fill(mem);
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_EQ(0, ksm_settle());
		ASSERT_EQ(N, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, mprotect(mem, N * PAGE_BYTES, prot[i]));
		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
		EXPECT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, mprotect(mem, N * PAGE_BYTES, PROT_READ));
		EXPECT_EQ(0, mem_count_ksm(0, mem, N));
		EXPECT_EQ(0, bad(mem));
		munmap(mem, N * PAGE_BYTES);
	}
}

#define CPUS_MAX 64
/* So many that undoing their merging takes a while */
#define MANY fewer_if_slow(32768)

/* Leaves little of any CPU to tasks that run only when nobody else does. */
static size_t keep_cpus_busy(pid_t *hog)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t i;

	for (i = 0; i < CPUS_MAX && i < cpus; i++) {
		hog[i] = fork();
		if (!hog[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				;
		}
	}
	return i;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* A process that sets run, if @idle when nobody else wants a CPU. */
static pid_t set_run(const char *value, bool idle)
{
	struct sched_param none = { 0 };
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (idle && sched_setscheduler(0, SCHED_IDLE, &none))
		_exit(errno);
	_exit(-ksm_write("run", value));
}

static bool comes_to_an_end(pid_t pid, int *status)
{
	double limit = seconds_now() + 120;
	pid_t ended;

	while (!(ended = waitpid(pid, status, WNOHANG)) && seconds_now() < limit)
		sleep_ms(2);
	return ended == pid;
}

static const struct {
	const char *name;
	const char *value;
} others[] = {
	{ "pages_to_scan", "1000" }, { "sleep_millisecs", "7" }, { "smart_scan", "1" },
	{ "use_zero_pages", "0" }, { "advisor_mode", "scan-time" }, { "advisor_mode", "none" },
	{ "advisor_max_cpu", "70" }, { "scan_threads", "3" }, { "scan_threads", "1" },
};

/*
 * Undoing all merging may take minutes. Meanwhile every other setting can be
 * read and changed, a process that waits for run can be killed, and so can the
 * one that undoes it; and ksmd, which has something to reap, waits without
 * being reported as hung.
 */
KSM_TEST(nobody_waits_for_run)
{
	struct peer merged, passing;
	pid_t hog[CPUS_MAX], first, second;
	size_t hogs, i;
	int status;

	if (!ksm_has("scan_threads"))
		SKIP(return, "the base's second writer cannot be killed");
	ASSERT_EQ(0, peer_start(&merged, MANY));
	ASSERT_EQ(0, peer_fill(&merged, 0, MANY, 100, 0));
	ASSERT_EQ(0, peer_madvise(&merged, 0, MANY, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(0, peer_start(&passing, N));
	ASSERT_EQ(0, peer_fill(&passing, 0, N, 200, 1));
	ASSERT_EQ(0, peer_madvise(&passing, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(2));

	hogs = keep_cpus_busy(hog);
	first = set_run("2", true);
	while (ksm_read("run") != 2 && !waitpid(first, &status, WNOHANG))
		sleep_ms(1);
	second = set_run("1", false);
	EXPECT_EQ(-SIGKILL, peer_kill(&passing));
	for (i = 0; i < sizeof(others) / sizeof(*others); i++)
		EXPECT_EQ(0, ksm_write(others[i].name, others[i].value));
	/* It learns of the exit a little later. */
	sleep_ms(200);
	EXPECT_NE('D', task_state(pid_of("ksmd")));
	EXPECT_EQ(0, waitpid(second, NULL, WNOHANG));
	kill(second, SIGTERM);
	EXPECT_TRUE(comes_to_an_end(second, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	/* All that while it was at work. */
	EXPECT_EQ(2, ksm_read("run"));
	EXPECT_EQ(0, waitpid(first, NULL, WNOHANG));
	EXPECT_LT(0, ksm_read("pages_sharing"));

	kill(first, SIGTERM);
	for (i = 0; i < hogs; i++)
		end(hog[i]);
	EXPECT_TRUE(comes_to_an_end(first, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(0, ksm_read("run"));
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, peer_bad(&merged, 0, MANY, 100, 0));
	EXPECT_EQ(0, peer_end(&merged));
}

/* Takes long to copy: many pages, with few contents. */
#define LONG fewer_if_slow(16384)
#define LONG_CONTENTS 64

static char *map_long(void)
{
	char *mem = mem_map(LONG);
	size_t i;

	for (i = 0; i < LONG; i += LONG_CONTENTS)
		mem_fill(PAGE(mem, i), LONG_CONTENTS, 700, 1);
	return mem;
}

static size_t bad_long(const char *mem)
{
	size_t i, n = 0;

	for (i = 0; i < LONG; i += LONG_CONTENTS)
		n += mem_bad(PAGE(mem, i), LONG_CONTENTS, 700, 1);
	return n;
}

/* Another thread that maps and unmaps all the time, and its longest wait. */
struct mapper {
	pthread_t thread;
	bool stop;
	double longest;
	long rounds;
};

static void *map_and_unmap(void *arg)
{
	struct mapper *m = arg;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		double begin = seconds_now(), took;
		void *page = mmap(NULL, PAGE_BYTES, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		munmap(page, PAGE_BYTES);
		took = seconds_now() - begin;
		if (took > m->longest)
			m->longest = took;
		m->rounds++;
		usleep(200);
	}
	return NULL;
}

/* How long the thread had to wait at the most, as a part of all the time from @begin on. */
static double part_waited(struct mapper *m, double begin)
{
	double took = seconds_now() - begin;

	__atomic_store_n(&m->stop, true, __ATOMIC_RELAXED);
	pthread_join(m->thread, NULL);
	printf("# took %.3f s, and mmap() meanwhile %.3f s at the most, of %ld times\n",
	       took, m->longest, m->rounds);
	return m->longest / took;
}

/* Offers memory for which undoing takes a while, and has all of it merged. */
static bool merge_long(char *mem)
{
	return !madvise(mem, LONG * PAGE_BYTES, MADV_MERGEABLE) && !ksm_settle() &&
	       mem_count_ksm(0, mem, LONG) == LONG;
}

static int undo_by_madvise(char *mem)
{
	return madvise(mem, LONG * PAGE_BYTES, MADV_UNMERGEABLE);
}

static int undo_by_madvise_while_scanning(char *mem)
{
	if (ksm_set("sleep_millisecs", 0) || ksm_set("run", 1))
		return -1;
	return undo_by_madvise(mem);
}

static int undo_by_run(char *mem)
{
	return ksm_set("run", 2);
}

/*
 * Is a thread that maps memory kept waiting for a small part of the time that
 * @undo takes? A busy machine can only make it wait longer, so one of a few tries
 * has to show it; a lock held all the way shows in each of them.
 */
static bool lets_others_map(char *mem, int (*undo)(char *mem))
{
	int tries;

	for (tries = 0; tries < 10; tries++) {
		struct mapper mapper = { };
		double begin;
		int error;

		if (!merge_long(mem) ||
		    pthread_create(&mapper.thread, NULL, map_and_unmap, &mapper))
			return false;
		begin = seconds_now();
		error = undo(mem);
		if (part_waited(&mapper, begin) < 0.25)
			return !error;
		if (error)
			return false;
	}
	return false;
}

/* A thread that maps memory waits for a small part of the work, not for all of it. */
KSM_TEST(by_madvise_lets_others_map)
{
	char *mem = map_long();

	ASSERT_NE(NULL, mem);
	EXPECT_TRUE(lets_others_map(mem, undo_by_madvise));
	EXPECT_EQ(0, mem_count_ksm(0, mem, LONG));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	EXPECT_EQ(0, bad_long(mem));
}

/* The same while ksmd could merge again what was just unshared. */
KSM_TEST(by_madvise_lets_others_map_while_scanning)
{
	char *mem = map_long();

	ASSERT_NE(NULL, mem);
	EXPECT_TRUE(lets_others_map(mem, undo_by_madvise_while_scanning));
	EXPECT_EQ(0, mem_count_ksm(0, mem, LONG));
	EXPECT_EQ(0, bad_long(mem));
	/* Offered again, it is merged again. */
	ASSERT_TRUE(merge_long(mem));
	EXPECT_EQ(0, bad_long(mem));
}

KSM_TEST(by_run_lets_others_map)
{
	char *mem = map_long();

	ASSERT_NE(NULL, mem);
	EXPECT_TRUE(lets_others_map(mem, undo_by_run));
	EXPECT_EQ(0, mem_count_ksm(0, mem, LONG));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, bad_long(mem));
}

/* ------------------------------------------------- a CPU that reads all the time */

#define WATCHED 16
#define ROUNDS 8

/* What a thread on another CPU reads, again and again. */
struct watcher {
	pthread_t thread;
	const char *mem;
	unsigned long rounds;
	uint64_t seen[WATCHED];
	bool stop;
};

/* Does nothing else, so that its CPU keeps what it has in its TLB. */
static void *watch(void *arg)
{
	struct watcher *w = arg;
	size_t i;

	cpu_stay_on(1);
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < WATCHED; i++)
			__atomic_store_n(&w->seen[i],
					 __atomic_load_n((const uint64_t *)PAGE(w->mem, i),
							 __ATOMIC_RELAXED), __ATOMIC_RELAXED);
		__atomic_add_fetch(&w->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Until it has read everything at least once since this was called. */
static void await_watcher(struct watcher *w)
{
	unsigned long before = __atomic_load_n(&w->rounds, __ATOMIC_ACQUIRE);

	while (__atomic_load_n(&w->rounds, __ATOMIC_ACQUIRE) - before < 2)
		sleep_ms(1);
}

/* Once sharing is undone, all CPUs see the copies, and all writes to them. */
KSM_TEST(other_cpus_see_the_copies)
{
	static struct watcher w;
	char *mem = mem_map(WATCHED);
	uint64_t round;
	size_t i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	cpu_stay_on(0);
	mem_fill(mem, WATCHED, 900, 0);
	w.mem = mem;
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, watch, &w));
	for (round = 1; round <= ROUNDS; round++) {
		mem_fill(mem, WATCHED, 900, 0);
		ASSERT_EQ(0, madvise(mem, WATCHED * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_EQ(0, ksm_settle());
		ASSERT_EQ(WATCHED, mem_count_ksm(0, mem, WATCHED));
		await_watcher(&w);
		ASSERT_EQ(0, madvise(mem, WATCHED * PAGE_BYTES, MADV_UNMERGEABLE));
		for (i = 0; i < WATCHED; i++)
			__atomic_store_n((uint64_t *)PAGE(mem, i), round, __ATOMIC_RELAXED);
		await_watcher(&w);
		for (i = 0; i < WATCHED; i++)
			EXPECT_EQ(round, __atomic_load_n(&w.seen[i], __ATOMIC_RELAXED));
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(w.thread, NULL));
}

TEST_HARNESS_MAIN
