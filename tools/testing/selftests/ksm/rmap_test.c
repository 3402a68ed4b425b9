// SPDX-License-Identifier: GPL-2.0
/*
 * The reverse mapping of shared pages: all users find where they are mapped, in
 * bounded time.
 */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "ksm_env.h"
#include "lru.h"

#define N 64
#define SCRATCH 64
/*
 * What a walk, or a move with its walks, may cost in a mapping that is split, as a
 * multiple of what it costs before that. With a step for each mapping and sharer it
 * would be hundreds.
 */
#define COST_BOUND 20
/* The shortest time of so many tries is the cost. */
#define TRIES 8
#define EARLY_KILL "/proc/sys/vm/memory_failure_early_kill"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

/*
 * One anon_vma for very many mappings. Each mprotect() of every other page
 * splits a mapping. With checks of the mm at every change, this takes quadratic
 * time, so it stops when its time is up. Returns the number of mappings.
 */
static size_t split(char *mem, size_t pages, double seconds)
{
	double end = seconds_now() + seconds;
	size_t i;

	for (i = 1; i < pages; i += 2) {
		if (mprotect(PAGE(mem, i), PAGE_BYTES, PROT_READ))
			return 0;
		if (seconds_now() > end)
			break;
	}
	return i < pages ? i : pages;
}

static double cheapest_walk(uint64_t pfn)
{
	double least = 1e9;
	int i;

	for (i = 0; i < TRIES; i++) {
		double start = seconds_now();

		if (idle_set(pfn))
			return -1;
		if (seconds_now() - start < least)
			least = seconds_now() - start;
	}
	return least;
}

/* To the other node, and back; -1 if it does not move. */
static double cheapest_move(char *page)
{
	double least = 1e9;
	int i;

	for (i = 0; i < TRIES; i++) {
		int node = !node_of(page);
		double start = seconds_now();

		if (move_to_node(0, page, 1, node) != 1)
			return -1;
		if (seconds_now() - start < least)
			least = seconds_now() - start;
	}
	return least;
}

/*
 * 250 sharers in an anon_vma of 20000 mappings: each is looked up. Going
 * through all mappings for each would take five million steps.
 */
KSM_TEST(cost_in_a_split_mapping)
{
	const size_t pages = 20000, sharers = 250, step = 80;
	char *mem = mem_map(pages);
	double whole, moved = 0, seconds;
	size_t vmas, i;

	if (access(PAGE_IDLE, F_OK))
		SKIP(return, "no page_idle");
	for (i = 0; i < sharers; i++)
		page_fill(PAGE(mem, i * step), 10);
	ASSERT_EQ(0, madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, sharers - 1, 0);
	whole = cheapest_walk(page_pfn(0, mem));
	ASSERT_LT(0, whole);
	if (two_nodes()) {
		moved = cheapest_move(mem);
		ASSERT_LT(0, moved);
	}
	vmas = split(mem, pages, 20);
	ASSERT_LT(1000, vmas);
	seconds = cheapest_walk(page_pfn(0, mem));
	TH_LOG("%zu mappings, %zu sharers: %.3f ms for a walk, in one mapping %.3f ms", vmas,
	       sharers, seconds * 1e3, whole * 1e3);
	EXPECT_LE(0, seconds);
	EXPECT_GT(COST_BOUND * whole, seconds);
	for (i = 0; i < sharers; i++)
		EXPECT_EQ(-1, page_diff(PAGE(mem, i * step), 10));
	if (!two_nodes())
		return;
	seconds = cheapest_move(mem);
	TH_LOG("%.3f ms to move the page to another node, before %.3f ms", seconds * 1e3,
	       moved * 1e3);
	EXPECT_LE(0, seconds);
	EXPECT_GT(COST_BOUND * moved, seconds);
	for (i = 0; i < sharers; i++) {
		EXPECT_EQ(node_of(mem), node_of(PAGE(mem, i * step)));
		EXPECT_EQ(-1, page_diff(PAGE(mem, i * step), 10));
	}
}

/* Idle means idle for all of them. */
KSM_TEST(page_idle)
{
	struct peer p[2];
	uint64_t pfn[2];
	int i;

	if (access(PAGE_IDLE, F_OK))
		SKIP(return, "no page_idle");
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, peer_start(&p[i], SCRATCH + 2));
		ASSERT_EQ(0, peer_fill(&p[i], 0, SCRATCH, 5, 0));
		ASSERT_EQ(0, peer_fill(&p[i], SCRATCH, 2, 20, 1));
		ASSERT_EQ(0, peer_madvise(&p[i], SCRATCH, 2, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, 2, 0);
	for (i = 0; i < 2; i++) {
		pfn[i] = page_pfn(p[0].pid, PAGE(p[0].mem, SCRATCH + i));
		ASSERT_EQ(pfn[i], page_pfn(p[1].pid, PAGE(p[1].mem, SCRATCH + i)));
		ASSERT_EQ(0, idle_set(pfn[i]));
		EXPECT_EQ(1, idle_get(pfn[i]));
	}
	/* Unmapping this much flushes its TLBs, so that the access is marked. */
	ASSERT_EQ(0, peer_munmap(&p[1], 0, SCRATCH));
	EXPECT_EQ(0, peer_bad(&p[1], SCRATCH + 1, 1, 21, 0));
	EXPECT_EQ(1, idle_get(pfn[0]));
	EXPECT_EQ(0, idle_get(pfn[1]));
	ASSERT_EQ(0, idle_set(pfn[1]));
	EXPECT_EQ(1, idle_get(pfn[1]));
	ASSERT_EQ(0, peer_munmap(&p[0], 0, SCRATCH));
	EXPECT_EQ(0, peer_bad(&p[0], SCRATCH, 2, 20, 1));
	EXPECT_EQ(0, idle_get(pfn[0]));
	EXPECT_EQ(0, idle_get(pfn[1]));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, peer_end(&p[i]));
}

/* Hints of NUMA balancing come and go; shared pages stay where they are. */
KSM_TEST(numa_balancing)
{
	const char *knob = "/proc/sys/kernel/numa_balancing";
	const char *delay = "/sys/kernel/debug/sched/numa_balancing/scan_delay_ms";
	const char *period = "/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms";
	long was = file_read_long(knob);
	long was_delay = file_read_long(delay), was_period = file_read_long(period);
	long updates = file_read_key("/proc/vmstat", "numa_pte_updates");
	const size_t n = 1024;
	double end;
	char *mem;

	if (was < 0 || !two_nodes())
		SKIP(return, "needs NUMA balancing and two nodes");
	file_write(delay, "1");
	file_write(period, "10");
	ASSERT_EQ(0, file_write(knob, "1"));
	mem = mem_map(n);
	ASSERT_EQ(0, bind_to_node(mem, n, 1));
	mem_fill(mem, n, 30, 1);
	ASSERT_EQ(0, syscall(SYS_mbind, mem, n * PAGE_BYTES, 0, NULL, 0UL, 0));
	mem_fill(PAGE(mem, n / 2), n / 2, 30, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("run", 1));
	end = seconds_now() + 240;
	while (seconds_now() < end &&
	       (ksm_read("pages_sharing") < (long)n / 2 - 8 ||
		file_read_key("/proc/vmstat", "numa_pte_updates") <= updates))
		ASSERT_EQ(0, mem_merged_bad(mem, n, 30, 1));
	ASSERT_EQ(0, mem_merged_bad(mem, n, 30, 1));
	ASSERT_EQ(0, file_write_long(knob, was));
	file_write_long(delay, was_delay);
	file_write_long(period, was_period);
	TH_LOG("%ld page table entries made hints",
	       file_read_key("/proc/vmstat", "numa_pte_updates") - updates);
	EXPECT_LT(updates, file_read_key("/proc/vmstat", "numa_pte_updates"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(n / 2, n / 2, 0);
	EXPECT_EQ(n, mem_count_ksm(0, mem, n));
	EXPECT_EQ(0, mem_merged_bad(mem, n, 30, 1));
}

#define CONTEXT DAMON "0/contexts/0/"
#define SCHEME CONTEXT "schemes/0/"

/* Monitor this process, and count the regions that are seen in use. */
static int damon_start(void)
{
	static const struct {
		const char *file;
		const char *value;
	} set[] = {
		{ DAMON "nr_kdamonds", "1" },
		{ DAMON "0/contexts/nr_contexts", "1" },
		{ CONTEXT "operations", "vaddr" },
		{ CONTEXT "monitoring_attrs/intervals/sample_us", "5000" },
		{ CONTEXT "monitoring_attrs/intervals/aggr_us", "50000" },
		{ CONTEXT "targets/nr_targets", "1" },
		{ CONTEXT "schemes/nr_schemes", "1" },
		{ SCHEME "action", "stat" },
		{ SCHEME "access_pattern/sz/max", "4294967296" },
		{ SCHEME "access_pattern/nr_accesses/min", "1" },
		{ SCHEME "access_pattern/nr_accesses/max", "1000" },
		{ SCHEME "access_pattern/age/max", "1000000" },
	};
	size_t i;
	int err;

	for (i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
		err = file_write(set[i].file, set[i].value);
		if (err) {
			printf("# %s: %s\n", set[i].file, strerror(-err));
			return err;
		}
	}
	err = file_write_long(CONTEXT "targets/0/pid_target", getpid());
	return err ? err : file_write(DAMON "0/state", "on");
}

/* DAMON looks at accessed bits of shared pages, as of others, and does no harm. */
KSM_TEST(damon)
{
	const size_t n = 512;
	double end;
	long seen = 0;
	char *mem;

	if (access(DAMON, F_OK))
		SKIP(return, "no DAMON");
	mem = mem_merged(n, 50, 1);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, damon_start());
	ASSERT_EQ(0, ksm_set("run", 1));
	end = seconds_now() + 240;
	while (seconds_now() < end && !seen) {
		double turn = seconds_now() + 0.5;

		while (seconds_now() < turn) {
			ASSERT_EQ(0, mem_merged_bad(mem, n, 50, 1));
			ASSERT_EQ(0, forget_translations());
		}
		ASSERT_EQ(0, file_write(DAMON "0/state", "update_schemes_stats"));
		seen = file_read_long(SCHEME "stats/nr_tried");
	}
	EXPECT_EQ(0, file_write(DAMON "0/state", "off"));
	EXPECT_EQ(0, file_write(DAMON "nr_kdamonds", "0"));
	TH_LOG("%ld regions seen in use", seen);
	EXPECT_LT(0, seen);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(n / 2, n / 2, 0);
	EXPECT_EQ(0, mem_merged_bad(mem, n, 50, 1));
}

/* A broken frame: all sharers that asked for early notice get it. */
KSM_TEST(memory_failure_finds_every_sharer)
{
	long was = file_read_long(EARLY_KILL);
	struct peer p[4], child;
	long ret;
	int i;

	if (was < 0)
		SKIP(return, "no memory failure handling");
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, peer_start(&p[i], N));
		/* The last one shares all pages but the broken one. */
		ASSERT_EQ(0, peer_fill(&p[i], 0, N, 40, 1));
		if (i == 3)
			ASSERT_EQ(0, peer_fill(&p[i], 7, 1, 4, 0));
		ASSERT_EQ(0, peer_madvise(&p[i], 0, N, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, 3 * N - 1, 1);
	/* A sharer that KSM has not met yet. */
	ASSERT_EQ(0, peer_fork(&p[2], &child));
	ASSERT_EQ(0, file_write(EARLY_KILL, "1"));
	ret = peer_madvise(&p[0], 7, 1, MADV_HWPOISON);
	EXPECT_EQ(0, file_write_long(EARLY_KILL, was));
	if (ret == -EINVAL || ret == -EPERM)
		SKIP(return, "no memory failure handling");
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-SIGBUS, peer_end(&p[i]));
	EXPECT_GT(0, peer_bad(&child, 0, 1, 40, 0));
	peer_end(&child);
	EXPECT_EQ(0, peer_bad(&p[3], 0, 7, 40, 1));
	EXPECT_EQ(0, peer_bad(&p[3], 8, N - 8, 48, 1));
	EXPECT_EQ(0, peer_end(&p[3]));
}

TEST_HARNESS_MAIN
