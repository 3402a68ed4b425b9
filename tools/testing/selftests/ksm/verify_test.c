// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel finds when it verifies KSM: everything that exists, and
 * nothing wrong, even while everything moves. The kernel's unit tests show that
 * it notices what is wrong.
 */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "ksm_env.h"
#include "verify.h"

#define N 64
#define VERIFY_FILE "/sys/kernel/debug/ksm/verify"

FIXTURE(verify) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(verify)
{
	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	if (!verify_there())
		SKIP(return, "needs CONFIG_KSM_VERIFY");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
}

FIXTURE_TEARDOWN_PARENT(verify)
{
	if (!verify_there())
		return;
	KSM_FIXTURE_TEARDOWN();
	/* One test has these. */
	cgroup_stop();
	swap_stop();
}

#define VERIFY_TEST(name) TEST_F_TIMEOUT(verify, name, KSM_TEST_SECONDS)

VERIFY_TEST(file)
{
	struct stat status;
	char c;
	int fd;

	ASSERT_EQ(0, lstat(VERIFY_FILE, &status));
	EXPECT_EQ(S_IFREG | 0400, status.st_mode);
	EXPECT_NE(0, file_write(VERIFY_FILE, "1"));
	/* Read by one byte at a time it is the same. */
	fd = open(VERIFY_FILE, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, read(fd, &c, 1));
	EXPECT_EQ('c', c);
	ASSERT_EQ(1, read(fd, &c, 1));
	EXPECT_EQ('o', c);
	close(fd);
	EXPECT_EQ(0, verify_now());
}

VERIFY_TEST(nothing)
{
	EXPECT_EQ(0, verify_figure("items"));
	EXPECT_EQ(0, verify_figure("nodes"));
	EXPECT_EQ(0, verify_figure("mappings"));
	EXPECT_EQ(-ENOENT, verify_figure("item"));
}

VERIFY_TEST(merged)
{
	char *mem = mem_map(N);

	mem_fill(mem, N / 2, 100, 0);
	mem_fill(PAGE(mem, N / 2), N / 4, 200, 0);
	mem_fill(PAGE(mem, N * 3 / 4), N / 4, 300, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("max_page_sharing", N / 4));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(1, verify_figure("slots"));
	EXPECT_EQ(0, verify_figure("gone"));
	EXPECT_EQ(N, verify_figure("items"));
	EXPECT_EQ(N * 3 / 4, verify_figure("stable"));
	EXPECT_EQ(N * 3 / 4, verify_figure("sharers"));
	EXPECT_EQ(N * 3 / 4, verify_figure("mappings"));
	EXPECT_EQ(N / 4, verify_figure("unstable"));
	/* One content has two pages and a chain, the other a page. */
	EXPECT_EQ(3, verify_figure("shared"));
	EXPECT_EQ(1, verify_figure("chains"));
	EXPECT_EQ(2, verify_figure("dups"));
	EXPECT_EQ(4, verify_figure("nodes"));
	EXPECT_EQ(0, verify_figure("stale"));
	EXPECT_EQ(0, verify_figure("unsettled"));

	/*
	 * A page that was written to is not mapped there any more, but its item
	 * remains.
	 */
	mem_fill(mem, N / 2, 400, 1);
	EXPECT_EQ(N / 4, verify_figure("mappings"));
	EXPECT_EQ(N * 3 / 4, verify_figure("sharers"));
	EXPECT_EQ(2, verify_figure("stale"));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N / 4, verify_figure("sharers"));
	EXPECT_EQ(0, verify_figure("stale"));
	EXPECT_EQ(1, verify_figure("nodes"));
}

VERIFY_TEST(forked)
{
	struct peer parent, child;

	ASSERT_EQ(0, peer_start(&parent, N));
	ASSERT_EQ(0, peer_fill(&parent, 0, N, 500, 0));
	ASSERT_EQ(0, peer_madvise(&parent, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, verify_figure("mappings"));
	/*
	 * A child is found through the items of its parent before it has its
	 * own,
	 */
	ASSERT_EQ(0, peer_fork(&parent, &child));
	EXPECT_EQ(2, verify_figure("slots"));
	EXPECT_EQ(N, verify_figure("sharers"));
	EXPECT_EQ(2 * N, verify_figure("mappings"));
	/* and when these are those of an exited mm. */
	ASSERT_EQ(0, peer_end(&parent));
	EXPECT_EQ(N, verify_figure("mappings"));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(1, verify_figure("slots"));
	EXPECT_EQ(N, verify_figure("sharers"));
	EXPECT_EQ(N, verify_figure("mappings"));
	ASSERT_EQ(0, peer_end(&child));
}

VERIFY_TEST(moved)
{
	char *mem = mem_map(N);

	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	ASSERT_EQ(0, ksm_set("merge_across_nodes", 0));
	ASSERT_EQ(0, bind_to_node(mem, N, 0));
	mem_fill(mem, N / 2, 600, 1);
	mem_fill(PAGE(mem, N / 2), N / 2, 600, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N / 2, verify_figure("shared"));
	EXPECT_EQ(N, verify_figure("mappings"));
	EXPECT_EQ(0, verify_figure("misplaced"));
	/* That a page is on another node is noticed at the next visit. */
	ASSERT_EQ(N, move_to_node(0, mem, N, 1));
	EXPECT_EQ(N / 2, verify_figure("misplaced"));
	EXPECT_EQ(N, verify_figure("mappings"));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, verify_figure("misplaced"));
	EXPECT_EQ(N, verify_figure("mappings"));
}

VERIFY_TEST(swapped)
{
	char *mem = mem_map(N);
	int err;

	err = swap_start();
	if (!err)
		err = cgroup_start();
	if (!err)
		err = cgroup_enter(0);
	if (err)
		SKIP(return, "no swap on zram, or no memory cgroup: %s", strerror(-err));
	mem_fill(mem, N / 2, 700, 1);
	mem_fill(PAGE(mem, N / 2), N / 2, 700, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(N, swap_out(0, mem, N));
	EXPECT_EQ(0, verify_figure("mappings"));
	EXPECT_EQ(N, verify_figure("sharers"));
	EXPECT_EQ(0, mem_bad(mem, N / 2, 700, 1));
	EXPECT_EQ(0, verify_now());
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 700, 1));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, verify_figure("mappings"));
	EXPECT_EQ(N, verify_figure("sharers"));
}

/* Writes to shared memory, discards some, forks, exits: until it is killed. */
static void disturb(char *mem, unsigned int seed)
{
	for (;;) {
		size_t page = rand_r(&seed) % N;

		switch (rand_r(&seed) % 8) {
		case 0:
			madvise(PAGE(mem, page), PAGE_BYTES, MADV_DONTNEED);
			break;
		case 1:
			madvise(mem, N * PAGE_BYTES,
				seed & 256 ? MADV_UNMERGEABLE : MADV_MERGEABLE);
			break;
		case 2:
			if (!fork()) {
				page_fill(PAGE(mem, page), 801);
				sleep_ms(seed % 50);
				_exit(0);
			}
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
			break;
		default:
			page_fill(PAGE(mem, page), 800 + rand_r(&seed) % 3);
		}
	}
}

/* Nothing is wrong at any time, not only at rest. */
VERIFY_TEST(disturbed)
{
	double end = seconds_now() + 8;
	char *mem = mem_map(N);
	pid_t pid[3];
	int err = 0;
	int i;

	mem_fill(mem, N, 800, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("max_page_sharing", 1000));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (i = 0; i < 3; i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i])
			disturb(mem, i);
	}
	for (i = 0; !err && seconds_now() < end; i++)
		err = verify_now();
	EXPECT_EQ(0, err);
	printf("# %d times\n", i);
	for (i = 0; i < 3; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	ASSERT_EQ(0, ksm_set("run", 0));
	EXPECT_EQ(0, mem_bad(mem, N, 800, 0));
}

TEST_HARNESS_MAIN
