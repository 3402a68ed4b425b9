// SPDX-License-Identifier: GPL-2.0
/*
 * No program makes others wait: KSM holds no lock for long, whatever is mapped,
 * and however often it is forked, shared and released; see holds.h. Meanwhile,
 * settings are answered at once.
 */

#include "ksm_fixture.h"

#include <pthread.h>

#include "holds.h"
#include "ksm_env.h"

#define TRIES 3

#define BOUND_TEST(name) TEST_F_TIMEOUT(bound, name, 2 * KSM_TEST_SECONDS)

FIXTURE(bound) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(bound)
{
	if (!ksm_testable() || !holds_there())
		SKIP(return, "needs CONFIG_KSM_HOLDS");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	/* Something to scan, even when a test has unmapped its memory. */
	ASSERT_EQ(0, madvise(mem_map(1), PAGE_BYTES, MADV_MERGEABLE));
}

FIXTURE_TEARDOWN_PARENT(bound)
{
	KSM_FIXTURE_TEARDOWN();
}

/* ----------------------------------------------------------------- forks */

#define CHILDREN 2000
#define FORK_PAGES 64

struct family {
	char *mem;
	pid_t child[CHILDREN];
	int nr;
};

static int fork_children(struct family *f)
{
	for (f->nr = 0; f->nr < CHILDREN; f->nr++) {
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		f->child[f->nr] = pid;
	}
	return 0;
}

static void end_children(struct family *f)
{
	int i;

	for (i = 0; i < f->nr; i++)
		kill(f->child[i], SIGKILL);
	for (i = 0; i < f->nr; i++)
		waitpid(f->child[i], NULL, 0);
	f->nr = 0;
}

/* Pages that share one KSM page, in a process and in each of its many children. */
static int have_children(struct family *f)
{
	int err;

	mem_fill(f->mem, FORK_PAGES, 7, 0);
	err = ksm_scans(3);
	return err ? err : fork_children(f);
}

/* The parent leaves them, before any child was scanned, or after all were. */
static int leave_forks(void *arg)
{
	struct family *f = arg;
	int err;

	err = have_children(f);
	mem_fill(f->mem, FORK_PAGES / 4, 100, 1);
	if (!err)
		err = ksm_scans(2);
	mem_fill(PAGE(f->mem, FORK_PAGES / 4), FORK_PAGES / 4, 200, 1);
	if (!err)
		err = ksm_scans(2);
	/* Finally all of them exit while ksmd works. */
	ksm_set("run", 1);
	end_children(f);
	return err ? err : ksm_scans(2);
}

BOUND_TEST(forks)
{
	static struct family family;

	family.mem = mem_map(FORK_PAGES);
	ASSERT_EQ(0, madvise(family.mem, FORK_PAGES * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(0, holds_are_short("forks", leave_forks, &family));
	end_children(&family);
}

/* Sharing is undone in all of them. */
static int undo_forks(void *arg)
{
	struct family *f = arg;
	int err;

	err = have_children(f);
	if (!err)
		err = ksm_scans(2);
	if (!err)
		err = ksm_set("run", 2);
	end_children(f);
	return err ? err : ksm_scans(1);
}

BOUND_TEST(forks_undone)
{
	static struct family family;

	family.mem = mem_map(FORK_PAGES);
	ASSERT_EQ(0, madvise(family.mem, FORK_PAGES * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(0, holds_are_short("forks undone", undo_forks, &family));
	end_children(&family);
}

/* --------------------------------------------------- sharers, equal keys, chains */

struct equal {
	char *mem;
	size_t pages;
};

/* One content at many addresses; half of them change, the others are unmapped. */
static int share_and_leave(void *arg)
{
	struct equal *e = arg;
	size_t bytes = e->pages * PAGE_BYTES;
	int err;

	mem_fill(e->mem, e->pages, 7, 0);
	err = madvise(e->mem, bytes, MADV_MERGEABLE) ? -errno : ksm_scans(3);
	mem_fill(e->mem, e->pages / 2, 100, 1);
	if (!err)
		err = ksm_scans(2);
	/* Only what KSM knows is left of the other half. */
	if (madvise(PAGE(e->mem, e->pages / 2), bytes / 2, MADV_DONTNEED))
		return -errno;
	if (!err)
		err = ksm_scans(2);
	if (!err)
		err = madvise(e->mem, bytes, MADV_UNMERGEABLE) ? -errno : ksm_scans(1);
	return err;
}

BOUND_TEST(sharers)
{
	struct equal equal = { .pages = 65536 };

	equal.mem = mem_map(equal.pages);
	EXPECT_EQ(0, holds_are_short("sharers", share_and_leave, &equal));
}

/* Each page of the chain has two sharers. */
BOUND_TEST(chains)
{
	struct equal equal = { .pages = 16384 };

	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_EQ(0, ksm_set("max_page_sharing", 2));
	equal.mem = mem_map(equal.pages);
	EXPECT_EQ(0, holds_are_short("chains", share_and_leave, &equal));
}

/* ------------------------------------------------------------- addresses */

#define VMAS 60000
#define MOVED 16

/*
 * One VMA per page, all with the same anon_vma; and pages that were moved next
 * to each other, so that each is found only by a search through all of these.
 */
static char *many_addresses(char **moved)
{
	char *mem = mem_map(VMAS);
	size_t i;

	*moved = mem_map(MOVED);
	mem_fill(mem, VMAS, 7, 0);
	for (i = 1; i < VMAS; i += 2)
		if (mprotect(PAGE(mem, i), PAGE_BYTES, PROT_READ))
			return NULL;
	for (i = 0; i < MOVED; i++)
		if (mremap(PAGE(mem, (i * 7919 % VMAS) & ~1UL), PAGE_BYTES, PAGE_BYTES,
			   MREMAP_MAYMOVE | MREMAP_FIXED, PAGE(*moved, i)) == MAP_FAILED)
			return NULL;
	return mem;
}

static int leave_addresses(void *arg)
{
	char *moved, *mem = many_addresses(&moved);
	int err;

	if (!mem)
		return -errno;
	err = ksm_scans(3);
	mem_fill(moved, MOVED, 300, 1);
	if (!err)
		err = ksm_scans(2);
	munmap(moved, MOVED * PAGE_BYTES);
	munmap(mem, VMAS * PAGE_BYTES);
	return err ? err : ksm_scans(2);
}

BOUND_TEST(addresses)
{
	/* For all memory, as there are too many VMAs to advise each. */
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_EQ(0, holds_are_short("addresses", leave_addresses, NULL));
}

/* ----------------------------------------------------------------- holes */

/* As many VMAs without pages as possible, between two that have some. */
static int scan_empty_vmas(void *arg)
{
	char *mem = mem_map(VMAS);
	size_t i;
	int err;

	for (i = 1; i < VMAS; i += 2)
		if (mprotect(PAGE(mem, i), PAGE_BYTES, PROT_READ))
			return -errno;
	mem_fill(mem, 1, 7, 0);
	mem_fill(PAGE(mem, VMAS - 2), 1, 7, 0);
	err = ksm_scans(3);
	munmap(mem, VMAS * PAGE_BYTES);
	return err ? err : ksm_scans(1);
}

BOUND_TEST(empty_vmas)
{
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_EQ(0, holds_are_short("empty VMAs", scan_empty_vmas, NULL));
}

#define HUGE_BYTES (512 * PAGE_BYTES)
#define GIGABYTE (512 * HUGE_BYTES)

/*
 * This much address space, with nothing mapped except at its ends, but with
 * page tables all the way, which held huge pages.
 */
static char *map_hole(size_t bytes)
{
	char *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t at;

	if (mem == MAP_FAILED || madvise(mem, bytes, MADV_HUGEPAGE) ||
	    madvise(mem, bytes, MADV_MERGEABLE))
		return NULL;
	for (at = HUGE_BYTES; at < bytes; at += GIGABYTE) {
		char *huge = (char *)(((uintptr_t)mem + at) & ~(HUGE_BYTES - 1));

		*huge = 1;
		if (madvise(huge, HUGE_BYTES, MADV_DONTNEED))
			return NULL;
	}
	page_fill(mem, 7);
	page_fill(mem + bytes - PAGE_BYTES, 7);
	return mem;
}

static int scan_hole(void *arg)
{
	const size_t bytes = 1024 * GIGABYTE;
	char *mem = map_hole(bytes);
	int err;

	if (!mem)
		return -errno;
	err = ksm_scans(3);
	munmap(mem, bytes);
	return err ? err : ksm_scans(1);
}

BOUND_TEST(hole)
{
	EXPECT_EQ(0, holds_are_short("hole", scan_hole, NULL));
}

static bool mapping;

/* Wants the mmap_lock all the time. */
static void *map_and_unmap(void *arg)
{
	while (__atomic_load_n(&mapping, __ATOMIC_RELAXED)) {
		char *mem = mem_map(1);

		munmap(mem, PAGE_BYTES);
	}
	return NULL;
}

/* All sharing is undone while somebody wants to map memory. */
static int undo_hole(void *arg)
{
	const size_t bytes = 4096 * GIGABYTE;
	char *mem = map_hole(bytes);
	pthread_t thread;
	int err;

	if (!mem)
		return -errno;
	err = ksm_scans(1);
	__atomic_store_n(&mapping, true, __ATOMIC_RELAXED);
	if (!err)
		err = -pthread_create(&thread, NULL, map_and_unmap, NULL);
	if (err)
		return err;
	err = ksm_set("run", 2);
	__atomic_store_n(&mapping, false, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	munmap(mem, bytes);
	return err ? err : ksm_scans(1);
}

BOUND_TEST(hole_undone)
{
	EXPECT_EQ(0, holds_are_short("hole undone", undo_hole, NULL));
}

/* ----------------------------------------------------------------- exits */

#define SPARSE 65536
#define SPARSE_STRIDE 16

static char *map_sparse(void)
{
	return mmap(NULL, SPARSE * SPARSE_STRIDE * PAGE_BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* As much metadata as possible, and half of the pages with a twin. */
static int fill_sparse(char *mem)
{
	size_t i;

	if (madvise(mem, SPARSE * SPARSE_STRIDE * PAGE_BYTES, MADV_NOHUGEPAGE) ||
	    madvise(mem, SPARSE * SPARSE_STRIDE * PAGE_BYTES, MADV_MERGEABLE))
		return -errno;
	for (i = 0; i < SPARSE; i++)
		*(size_t *)PAGE(mem, i * SPARSE_STRIDE) = i % 4 ? i : 1;
	return 0;
}

/* A child that has all that, and waits. */
static pid_t start_big(void)
{
	int ready[2];
	char *mem;
	pid_t pid;
	char c;

	if (pipe(ready))
		return -errno;
	pid = fork();
	if (pid)
		close(ready[1]);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		mem = map_sparse();
		if (mem == MAP_FAILED || fill_sparse(mem))
			_exit(1);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (pid > 0 && read(ready[0], &c, 1) != 1) {
		kill(pid, SIGKILL);
		pid = -EPIPE;
	}
	close(ready[0]);
	return pid;
}

/* What the test's own process and others may have. */
#define METADATA_LEFT 65536

static int reaped(void)
{
	double end = seconds_now() + 60;

	while (ksm_read("metadata_bytes") > METADATA_LEFT && seconds_now() < end)
		sleep_ms(20);
	return ksm_read("metadata_bytes") > METADATA_LEFT ? -ETIMEDOUT : 0;
}

static int exit_big(void *arg)
{
	pid_t pid = start_big();
	int err;

	if (pid < 0)
		return pid;
	err = ksm_scans(3);
	ksm_set("run", 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return err ? err : reaped();
}

BOUND_TEST(exits)
{
	EXPECT_EQ(0, holds_are_short("exits", exit_big, NULL));
}

/* The same without an exit. */
static int unmap_big(void *arg)
{
	char *mem = map_sparse();
	int err;

	if (mem == MAP_FAILED)
		return -errno;
	err = fill_sparse(mem);
	if (!err)
		err = ksm_scans(3);
	munmap(mem, SPARSE * SPARSE_STRIDE * PAGE_BYTES);
	if (!err)
		err = ksm_scans(2);
	return err ? err : reaped();
}

BOUND_TEST(unmaps)
{
	EXPECT_EQ(0, holds_are_short("unmaps", unmap_big, NULL));
}

/* ------------------------------------------------- who waits for the gate */

/* A write to run has to wait for a step of the work, and not for all of it. */
#define ANSWER_SECONDS 0.03

struct answers {
	double longest;
	const char *what;
	unsigned long nr;
	unsigned long asleep;
};

static const struct {
	const char *name;
	const char *value;
} questions[] = {
	{ "run", "0" }, { "pages_to_scan", "1000" }, { "run", "1" },
	{ "sleep_millisecs", "2" }, { "pages_to_scan", "1000000" }, { "run", "0" },
	{ "smart_scan", "0" }, { "run", "1" }, { "sleep_millisecs", "1" },
};

static int ask_once(struct answers *a)
{
	size_t i;
	int err;

	for (i = 0; i < sizeof(questions) / sizeof(*questions); i++) {
		double begin = seconds_now(), took;

		err = ksm_write(questions[i].name, questions[i].value);
		if (err)
			return err;
		took = seconds_now() - begin;
		if (took > a->longest) {
			a->longest = took;
			a->what = questions[i].name;
		}
		a->asleep += task_state(pid_of("ksmd")) == 'D';
		a->nr++;
	}
	return 0;
}

/* Asks as long as something is being released. */
static int ask_meanwhile(struct answers *a)
{
	double end = seconds_now() + 60;
	int err = 0;

	memset(a, 0, sizeof(*a));
	while (!err && ksm_read("metadata_bytes") > METADATA_LEFT && seconds_now() < end)
		err = ask_once(a);
	printf("# %lu answers, the last after %.1f ms at most, of %s; ksmd waits in %lu\n",
	       a->nr, a->longest * 1e3, a->what, a->asleep);
	fflush(stdout);
	return err ? err : reaped();
}

/* Tries again if it took long: the machine may have been busy. */
static int answers_are_soon(int (*release)(void))
{
	struct answers a;
	int err = 0, i;

	for (i = 0; i < TRIES; i++) {
		err = release();
		if (!err)
			err = ask_meanwhile(&a);
		if (err)
			return err;
		if (a.nr < sizeof(questions) / sizeof(*questions))
			return -ENODATA;
		if (a.longest < ANSWER_SECONDS && a.asleep < a.nr / 2)
			return 0;
	}
	return -ETIME;
}

static int release_by_exit(void)
{
	pid_t pid = start_big();
	int err;

	if (pid < 0)
		return pid;
	err = ksm_scans(3);
	ksm_set("run", 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return err;
}

BOUND_TEST(answers_while_an_mm_is_reaped)
{
	EXPECT_EQ(0, answers_are_soon(release_by_exit));
}

static int release_by_unmap(void)
{
	char *mem = map_sparse();
	int err;

	if (mem == MAP_FAILED)
		return -errno;
	err = fill_sparse(mem);
	if (!err)
		err = ksm_scans(3);
	munmap(mem, SPARSE * SPARSE_STRIDE * PAGE_BYTES);
	ksm_set("run", 1);
	return err;
}

BOUND_TEST(answers_while_a_hole_is_forgotten)
{
	EXPECT_EQ(0, answers_are_soon(release_by_unmap));
}

TEST_HARNESS_MAIN
