// SPDX-License-Identifier: GPL-2.0
/*
 * Races that KSM has had, or could have: each test has the two sides of one
 * meet as often as it can for some seconds, with several workers, and knows
 * every byte that should be there.
 *
 * KSM_RACE_SECONDS: length of each (3); KSM_RACE_SEED: the course of it.
 */

#include "ksm_fixture.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "ksm_env.h"
#include "memory_block.h"
#include "sides.h"

#define N 128
#define WORKERS 4
#define MOVE_ALL (1 << 2)

#define RACE_TEST(name) TEST_F_TIMEOUT(race, name, KSM_TEST_SECONDS)

FIXTURE(race) {
	KSM_FIXTURE_STATE;
};

/* Flat out, with few sharers to a page, so that there are chains, too. */
FIXTURE_SETUP(race)
{
	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("max_page_sharing", 8));
	if (ksm_has("scan_threads"))
		ASSERT_EQ(0, ksm_set("scan_threads", WORKERS));
}

FIXTURE_TEARDOWN_PARENT(race)
{
	KSM_FIXTURE_TEARDOWN();
	/* Of those that have any. */
	cgroup_stop();
	swap_stop();
}

static uint64_t draw(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 33) % below;
}

/* Pages that writes took from KSM: proof that there was something to race for. */
static long copies(void)
{
	return file_read_key("/proc/vmstat", "cow_ksm");
}

static void finish(struct __test_metadata *_metadata, struct side *sides, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		pthread_join(sides[i].thread, NULL);
		EXPECT_EQ(0, sides[i].bad)
			TH_LOG("side %d", i);
		EXPECT_LT(0, sides[i].turns)
			TH_LOG("side %d", i);
	}
	EXPECT_EQ(0, ksm_set("run", 0));
}

/* The race of these sides, with merging going on. */
static void race(struct __test_metadata *_metadata, struct side *sides, int n)
{
	long before = copies();
	int i;

	ASSERT_EQ(0, sides_start(sides, n));
	sides_run_out();
	finish(_metadata, sides, n);
	for (i = 0; i < n; i++)
		TH_LOG("side %d: %zu turns", i, sides[i].turns);
	TH_LOG("up to %ld pages sharing, %ld copied", sides_most_merged(), copies() - before);
	EXPECT_LT(0, sides_most_merged());
}

static char *offer(size_t pages, uint64_t seed, uint64_t step)
{
	char *mem = mem_map(pages);

	if (!mem)
		abort();
	mem_fill(mem, pages, seed, step);
	if (madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE))
		abort();
	return mem;
}

/* Counts a page that does not hold what it should. */
static void check(struct side *side, size_t first, size_t count, uint64_t seed, uint64_t step)
{
	side->bad += mem_bad(PAGE(side->mem, first), count, seed, step);
}

static long merged_here(void)
{
	return file_read_long("/proc/self/ksm_merging_pages");
}

/* ------------------------------------------------------ exit against scan */

static void *reader(void *mem)
{
	for (;;)
		if (mem_bad(mem, N, 1000, 1))
			_exit(1);
	return NULL;
}

/* Some end by themselves, and some, with a thread at work, are killed. */
static void live_and_die(uint64_t random)
{
	char *mem = offer(N, 1000, 1);
	bool threads = draw(&random, 2);
	pthread_t thread;

	if (threads)
		pthread_create(&thread, NULL, reader, mem);
	if (!draw(&random, 3))
		sides_await_merging(merged_here);
	else
		sleep_ms(draw(&random, 40));
	if (mem_bad(mem, N, 1000, 1))
		_exit(1);
	if (!threads && draw(&random, 2))
		munmap(mem, N / 2 * PAGE_BYTES);
	_exit(0);
}

static void breed(struct side *side)
{
	pid_t pid[3];
	int status;
	size_t i;

	for (i = 0; i < 3; i++) {
		side->random += i;
		pid[i] = fork();
		if (pid[i] == 0)
			live_and_die(side->random);
	}
	sleep_ms(draw(&side->random, 30));
	kill(pid[0], SIGKILL);
	for (i = 0; i < 3; i++) {
		waitpid(pid[i], &status, 0);
		side->bad += status && !(i == 0 && WIFSIGNALED(status));
	}
}

RACE_TEST(exit_against_scan)
{
	struct side sides[] = { SIDE(breed), SIDE(breed) };
	char *mem = offer(N, 1000, 1);

	race(_metadata, sides, 2);
	EXPECT_EQ(0, mem_bad(mem, N, 1000, 1));
}

/* ----------------------------------------------------- unmap against merge */

/* The middle goes, and comes back with the same content. */
static void unmap_and_map(struct side *side)
{
	size_t first = draw(&side->random, N), count = 1 + draw(&side->random, N - first);
	char *at = PAGE(side->mem, first);

	switch (draw(&side->random, 4)) {
	case 0:
		munmap(at, count * PAGE_BYTES);
		if (mmap(at, count * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
			abort();
		madvise(at, count * PAGE_BYTES, MADV_NOHUGEPAGE);
		break;
	case 1:
		madvise(at, count * PAGE_BYTES, MADV_DONTNEED);
		break;
	case 2:
		/* Away and back; not if there is more than one mapping by now. */
		if (mremap(at, count * PAGE_BYTES, count * PAGE_BYTES,
			   MREMAP_MAYMOVE | MREMAP_FIXED, PAGE(side->mem, 2 * N)) == MAP_FAILED)
			break;
		if (mremap(PAGE(side->mem, 2 * N), count * PAGE_BYTES, count * PAGE_BYTES,
			   MREMAP_MAYMOVE | MREMAP_FIXED, at) != at)
			abort();
		break;
	default:
		mprotect(at, count * PAGE_BYTES, PROT_NONE);
		mprotect(at, count * PAGE_BYTES, PROT_READ | PROT_WRITE);
	}
	mem_fill(at, count, 2000 + first, 1);
	madvise(at, count * PAGE_BYTES, MADV_MERGEABLE);
	sleep_ms(draw(&side->random, 4));
	check(side, 0, N, 2000, 1);
}

RACE_TEST(unmap_against_merge)
{
	struct side sides[3];
	int i;

	for (i = 0; i < 3; i++) {
		char *room = mem_map(3 * N);

		mem_fill(room, N, 2000, 1);
		ASSERT_EQ(0, madvise(room, N * PAGE_BYTES, MADV_MERGEABLE));
		sides[i] = (struct side){ .turn = unmap_and_map, .mem = room };
	}
	race(_metadata, sides, 3);
}

/* ------------------------------------------------------ fork against merge */

/* Writes as a child and as a parent, at the time that pages are replaced. */
static void fork_and_write(struct side *side)
{
	size_t i = draw(&side->random, N);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		check(side, 0, N, 3000, 1);
		page_fill(PAGE(side->mem, i), 3);
		sleep_ms(draw(&side->random, 8));
		side->bad += page_diff(PAGE(side->mem, i), 3) >= 0;
		check(side, i + 1, N - i - 1, 3001 + i, 1);
		_exit(side->bad ? 1 : 0);
	}
	page_fill(PAGE(side->mem, N - 1 - i), 3000 + N - 1 - i);
	if (waitpid(pid, &status, 0) != pid || status)
		side->bad++;
	check(side, 0, N, 3000, 1);
}

/* Pages with two contents in turn: merged, written to, merged again. */
static void rewrite(struct side *side)
{
	size_t i = draw(&side->random, N / 4);

	check(side, i, 1, 3000 + i, 0);
	page_fill(PAGE(side->mem, i), 3500 + i);
	sleep_ms(draw(&side->random, 4));
	check(side, i, 1, 3500 + i, 0);
	page_fill(PAGE(side->mem, i), 3000 + i);
}

RACE_TEST(fork_against_merge)
{
	struct side sides[] = { SIDE(fork_and_write), SIDE(fork_and_write), SIDE(rewrite) };
	int i;

	for (i = 0; i < 3; i++)
		sides[i].mem = offer(N, 3000, 1);
	race(_metadata, sides, 3);
}

/* -------------------------------------------------- reading against replacing */

#define WATCHED 16

/*
 * Reads all the time, and does nothing else that would have its CPU forget what
 * it knows of page tables.
 */
static void watch(struct side *side)
{
	uint64_t expected = *(uint64_t *)PAGE(side->mem, WATCHED);
	size_t i;

	if (!side->turns)
		cpu_stay_on(1);
	for (i = 0; i < 1000 * WATCHED; i++)
		side->bad += __atomic_load_n((uint64_t *)PAGE(side->mem, i % WATCHED),
					     __ATOMIC_RELAXED) != expected;
}

/* Has the pages merged again, and fills what is freed then with something else. */
static void renew(struct side *side)
{
	char *other;
	int tries;

	if (!side->turns)
		cpu_stay_on(0);
	mem_fill(side->mem, WATCHED, 6000, 0);
	for (tries = 0; tries < 50 && mem_count_ksm(0, side->mem, WATCHED) < WATCHED; tries++)
		sleep_ms(1);
	sleep_ms(1);
	other = mem_map(4 * WATCHED);
	mem_fill(other, 4 * WATCHED, 6500, 1);
	munmap(other, 4 * WATCHED * PAGE_BYTES);
}

/* A page that was replaced is not another's before all CPUs know. */
RACE_TEST(reading_against_replacing)
{
	struct side sides[] = { SIDE(watch), SIDE(renew) };
	char *mem;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	/* The last page stays as it is, for comparison. */
	mem = offer(WATCHED + 1, 6000, 0);
	sides[0].mem = mem;
	sides[1].mem = mem;
	race(_metadata, sides, 2);
	EXPECT_EQ(0, mem_bad(mem, WATCHED + 1, 6000, 0));
}

/* ------------------------------------------------ migration against look-up */

/* Shared pages go to and fro, with all who share them. */
static void move(struct side *side)
{
	int to[N], status[N];
	void *page[N];
	size_t i;

	for (i = 0; i < N; i++) {
		page[i] = PAGE(side->mem, i);
		to[i] = (side->turns + i / (N / 2)) % 2;
	}
	syscall(SYS_move_pages, 0, (unsigned long)N, page, to, status, MOVE_ALL);
	check(side, 0, N, 4000, 1);
}

static void compact(struct side *side)
{
	file_write("/proc/sys/vm/compact_memory", "1");
	sleep_ms(50);
}

/* New duplicates, for which the shared pages are looked up. */
static void duplicate(struct side *side)
{
	size_t first = draw(&side->random, N);

	madvise(PAGE(side->mem, first), (N - first) * PAGE_BYTES, MADV_DONTNEED);
	mem_fill(PAGE(side->mem, first), N - first, 4000 + first, 1);
	sleep_ms(draw(&side->random, 6));
	check(side, 0, N, 4000, 1);
}

RACE_TEST(migration_against_lookup)
{
	struct side sides[] = { SIDE(duplicate), SIDE(duplicate), SIDE(compact), SIDE(move) };
	int i;

	for (i = 0; i < 4; i++)
		sides[i].mem = offer(N, 4000, 1);
	race(_metadata, sides, two_nodes() ? 4 : 3);
}

/* Here, too, pages change the tree's scope as they go. */
RACE_TEST(migration_against_lookup_by_node)
{
	struct side sides[] = { SIDE(duplicate), SIDE(duplicate), SIDE(move), SIDE(move) };
	int i;

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	ASSERT_EQ(0, ksm_set("merge_across_nodes", 0));
	for (i = 0; i < 4; i++)
		sides[i].mem = offer(N, 4000, 1);
	race(_metadata, sides, 4);
}

/* -------------------------------------------------- freeing against look-up */

/*
 * Few contents, of which each is shared by two or three pages for a short time:
 * the last of them goes while others ask for it.
 */
static void come_and_go(struct side *side)
{
	size_t i = draw(&side->random, 8);

	page_fill(PAGE(side->mem, i), 5000 + i);
	page_fill(PAGE(side->mem, i + 8), 5000 + i);
	if (!draw(&side->random, 8))
		sides_await_merging(sides_merged);
	sleep_ms(draw(&side->random, 3));
	check(side, i, 1, 5000 + i, 0);
	if (draw(&side->random, 2))
		madvise(PAGE(side->mem, i), PAGE_BYTES, MADV_DONTNEED);
	else
		page_fill(PAGE(side->mem, i), ++side->random);
	check(side, i + 8, 1, 5000 + i, 0);
	madvise(PAGE(side->mem, i + 8), PAGE_BYTES, MADV_DONTNEED);
}

RACE_TEST(freeing_against_lookup)
{
	struct side sides[3];
	int i;

	for (i = 0; i < 3; i++) {
		sides[i] = (struct side){ .turn = come_and_go, .mem = mem_map(16) };
		ASSERT_EQ(0, madvise(sides[i].mem, 16 * PAGE_BYTES, MADV_MERGEABLE));
	}
	race(_metadata, sides, 3);
}

/* --------------------------------------------------- prctl against madvise */

static void switch_all(struct side *side)
{
	bool on = draw(&side->random, 2);

	if (!on && draw(&side->random, 2))
		sides_await_merging(merged_here);
	if (prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0))
		side->bad++;
	if (prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) != on)
		side->bad++;
	sleep_ms(draw(&side->random, 6));
}

static void advise(struct side *side)
{
	size_t first = draw(&side->random, N), count = 1 + draw(&side->random, N - first);
	int advice = draw(&side->random, 2) ? MADV_MERGEABLE : MADV_UNMERGEABLE;

	if (advice == MADV_UNMERGEABLE && draw(&side->random, 2))
		sides_await_merging(merged_here);
	if (madvise(PAGE(side->mem, first), count * PAGE_BYTES, advice))
		side->bad++;
	check(side, first, count, 6000 + first, 1);
}

/* New mappings are marked when all of the process is. */
static void map_new(struct side *side)
{
	char *mem = mem_map(N);

	mem_fill(mem, N, 6000, 1);
	sleep_ms(draw(&side->random, 8));
	side->bad += mem_bad(mem, N, 6000, 1);
	munmap(mem - PAGE_BYTES, (N + 2) * PAGE_BYTES);
}

RACE_TEST(prctl_against_madvise)
{
	struct side sides[] = { SIDE(switch_all), SIDE(advise), SIDE(advise), SIDE(map_new) };
	char *other = offer(N, 6000, 1);
	int i;

	for (i = 0; i < 4; i++)
		sides[i].mem = offer(N, 6000, 1);
	race(_metadata, sides, 4);
	/* Off is off, whoever had the last word. */
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, mem_count_ksm(0, other, N));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, mem_count_ksm(0, sides[i].mem, N));
		EXPECT_FALSE(vma_has_flag(sides[i].mem, "mg"));
		EXPECT_EQ(0, mem_bad(sides[i].mem, N, 6000, 1));
	}
}

/* -------------------------------------------------- hot-remove against insert */

static uint64_t block;

/* It may be in use just then: what counts is that it came and went at all. */
static size_t removed;

static void remove_and_add(struct side *side)
{
	if (!memory_block_write(block, "offline"))
		__atomic_fetch_add(&removed, 1, __ATOMIC_RELAXED);
	sleep_ms(draw(&side->random, 20));
	memory_block_write(block, "online_movable");
	sleep_ms(draw(&side->random, 20));
}

/* Fresh frames, fresh contents, and KSM pages made of them all the time. */
static void insert(struct side *side)
{
	uint64_t content = 1 + draw(&side->random, 1000000);
	size_t half = N / 2;

	madvise(side->mem, N * PAGE_BYTES, MADV_DONTNEED);
	mem_fill(side->mem, half, content, 1);
	mem_fill(PAGE(side->mem, half), half, content, 1);
	sleep_ms(draw(&side->random, 10));
	check(side, 0, half, content, 1);
	check(side, half, half, content, 1);
}

RACE_TEST(hot_remove_against_insert)
{
	struct side sides[] = { SIDE(insert), SIDE(insert), SIDE(insert), SIDE(remove_and_add) };
	char *mem;
	int i;

	mem = memory_block_with_merged(N, 7000);
	if (!mem)
		SKIP(return, "no memory can be taken offline: boot with movablecore=");
	block = page_pfn(0, mem) / memory_block_pages();
	for (i = 0; i < 3; i++)
		sides[i].mem = offer(N, 1, 1);
	sides_need(&removed);
	race(_metadata, sides, 4);
	EXPECT_LT(0, removed);
	EXPECT_EQ(0, mem_merged_bad(mem, 2 * N, 7000, 1));
	/* Whatever came last. */
	memory_block_write(block, "online_movable");
}

/* -------------------------------------------------- reclaim against changes */

/* Locks the anon_vma, for which reclaim does not wait. */
static void split_and_unite(struct side *side)
{
	size_t first = 1 + draw(&side->random, N - 1);

	mprotect(PAGE(side->mem, first), (N - first) * PAGE_BYTES, PROT_READ);
	check(side, first, 1, 8000 + first, 1);
	mprotect(PAGE(side->mem, first), (N - first) * PAGE_BYTES, PROT_READ | PROT_WRITE);
}

static void push_out(struct side *side)
{
	file_write(CGROUP "/memory.reclaim", "1M");
	check(side, 0, N, 8000, 1);
	sleep_ms(draw(&side->random, 10));
}

RACE_TEST(reclaim_against_splitting)
{
	struct side sides[] = { SIDE(split_and_unite), SIDE(split_and_unite), SIDE(push_out) };
	int i, err = swap_start();

	if (err)
		SKIP(return, "no swap on zram: %s", strerror(-err));
	err = cgroup_start();
	if (!err)
		err = cgroup_enter(0);
	if (err)
		SKIP(return, "no memory cgroup: %s", strerror(-err));
	for (i = 0; i < 3; i++)
		sides[i].mem = offer(N, 8000, 1);
	race(_metadata, sides, 3);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, mem_bad(sides[i].mem, N, 8000, 1));
}

/* --------------------------------------------- run=2 against all the others */

static void unmerge(struct side *side)
{
	if (draw(&side->random, 2))
		sides_await_merging(sides_merged);
	sleep_ms(draw(&side->random, 60));
	if (ksm_set("run", 2))
		side->bad++;
	ksm_set("run", 1);
}

RACE_TEST(unmerge_against_all)
{
	struct side sides[] = { SIDE(unmerge), SIDE(fork_and_write), SIDE(come_and_go),
				SIDE(duplicate), SIDE(breed) };

	sides[1].mem = offer(N, 3000, 1);
	sides[2].mem = offer(16, 5000, 1);
	sides[3].mem = offer(N, 4000, 1);
	race(_metadata, sides, 5);
}

TEST_HARNESS_MAIN
