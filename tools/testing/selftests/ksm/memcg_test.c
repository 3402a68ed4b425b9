// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is charged: to whom, and what happens when unmerging needs more
 * than a limit allows.
 */

#include "ksm_fixture.h"

#include <fcntl.h>

#include "ksm_env.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define N 4096
#define CONTENTS 32
#define SEED 1000
/* Half of N pages. */
#define LIMIT "8388608"

#define MEMCG_TEST(name) TEST_F_TIMEOUT(memcg, name, KSM_TEST_SECONDS)

FIXTURE(memcg) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(memcg)
{
	int err;

	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	err = cgroup_start();
	if (err)
		SKIP(return, "no memory cgroup: %s", strerror(-err));
}

FIXTURE_TEARDOWN_PARENT(memcg)
{
	KSM_FIXTURE_TEARDOWN();
	cgroup_stop();
}

static int set_limit(const char *limit)
{
	return file_write(CGROUP "/memory.max", limit);
}

static long charged_pages(void)
{
	return file_read_long(CGROUP "/memory.current") / PAGE_BYTES;
}

/* Pages enough to matter, each content many times. */
static long fill(struct peer *p)
{
	long err = 0;
	size_t i;

	for (i = 0; i < N && !err; i += CONTENTS)
		err = peer_fill(p, i, CONTENTS, SEED, 1);
	return err;
}

static long bad(struct peer *p)
{
	long n = 0;
	size_t i;

	for (i = 0; i < N && n >= 0; i += CONTENTS) {
		long more = peer_bad(p, i, CONTENTS, SEED, 1);

		n = more < 0 ? more : n + more;
	}
	return n;
}

static int start_in_group(struct peer *p)
{
	int err = peer_start(p, N);

	if (!err)
		err = cgroup_enter(p->pid);
	return err ? err : fill(p);
}

/*
 * In the test's own process: one write sets the limit and one lifts it, as a
 * full group has no memory to open a file.
 */
static char *fill_own(void)
{
	char *mem = mem_map(N);
	size_t i;

	/*
	 * Killing it must not solve the lack of memory: there has to be an
	 * error.
	 */
	if (cgroup_enter(0) || file_write("/proc/self/oom_score_adj", "-1000"))
		return NULL;
	for (i = 0; i < N; i += CONTENTS)
		mem_fill(PAGE(mem, i), CONTENTS, SEED, 1);
	return mem;
}

static size_t bad_own(const char *mem)
{
	size_t i, n = 0;

	for (i = 0; i < N; i += CONTENTS)
		n += mem_bad(PAGE(mem, i), CONTENTS, SEED, 1);
	return n;
}

static int limit_fd(void)
{
	return open(CGROUP "/memory.max", O_WRONLY | O_CLOEXEC);
}

static bool limit_write(int fd, const char *limit)
{
	return pwrite(fd, limit, strlen(limit), 0) == (ssize_t)strlen(limit);
}

MEMCG_TEST(charges)
{
	struct peer p;
	long before;

	ASSERT_EQ(0, start_in_group(&p));
	before = charged_pages();
	TH_LOG("%ld pages charged", before);
	EXPECT_LE(N, before);
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N - CONTENTS, 0);
	TH_LOG("%ld pages when merged", charged_pages());
	EXPECT_GT(before - N + CONTENTS + 256, charged_pages());
	/* The writer pays for copies. */
	ASSERT_EQ(0, peer_fill(&p, 0, N / 2, 50000, 1));
	EXPECT_LE(N / 2, charged_pages());
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_UNMERGEABLE));
	EXPECT_LE(N, charged_pages());
	EXPECT_EQ(0, peer_bad(&p, 0, N / 2, 50000, 1));
	ASSERT_EQ(0, peer_end(&p));
}

MEMCG_TEST(madvise_without_memory)
{
	char *mem = fill_own();
	int fd = limit_fd();
	int ret, err;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N - CONTENTS, 0);
	/* From one limit to the other not even a page of stack can be had. */
	ASSERT_TRUE(limit_write(fd, "max"));
	ASSERT_TRUE(limit_write(fd, LIMIT));
	ret = madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE);
	err = errno;
	ASSERT_TRUE(limit_write(fd, "max"));
	EXPECT_EQ(0, bad_own(mem));
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(EAGAIN, err);
	EXPECT_LT(0, mem_count_ksm(0, mem, N));
	/* The earlier advice still holds. */
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N - CONTENTS, 0);
	EXPECT_EQ(0, bad_own(mem));
	EXPECT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, bad_own(mem));
}

MEMCG_TEST(prctl_without_memory)
{
	char *mem = fill_own();
	int fd = limit_fd();
	int ret, err;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(0, ksm_scans(4));
	ASSERT_EQ(N, mem_count_ksm(0, mem, N));
	/* From one limit to the other not even a page of stack can be had. */
	ASSERT_TRUE(limit_write(fd, "max"));
	ASSERT_TRUE(limit_write(fd, LIMIT));
	ret = prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
	err = errno;
	ASSERT_TRUE(limit_write(fd, "max"));
	EXPECT_EQ(0, bad_own(mem));
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(ENOMEM, err);
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	EXPECT_LT(0, mem_count_ksm(0, mem, N));
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, bad_own(mem));
}

/*
 * What was one page comes back from swap as many. A process without memory for
 * these gets an error, and what has come back is right.
 */
MEMCG_TEST(swap_in_without_memory)
{
	int swap = swap_start(), fd, ret, err;
	char *mem;

	if (swap)
		SKIP(return, "no swap on zram: %s", strerror(-swap));
	mem = fill_own();
	fd = limit_fd();
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N - CONTENTS, 0);
	ASSERT_LT(N * 3 / 4, swap_out(0, mem, N));
	/* Nor can it make room by swapping out. */
	ASSERT_EQ(0, file_write(CGROUP "/memory.swap.max", "0"));
	ASSERT_TRUE(limit_write(fd, LIMIT));
	ret = madvise(mem, N * PAGE_BYTES, MADV_POPULATE_READ);
	err = errno;
	ASSERT_TRUE(limit_write(fd, "max"));
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(ENOMEM, err);
	EXPECT_LT(0, mem_count_swapped(0, mem, N));
	EXPECT_EQ(0, bad_own(mem));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, N - CONTENTS, 0);
	EXPECT_EQ(0, bad_own(mem));
	munmap(mem, N * PAGE_BYTES);
	EXPECT_EQ(0, swap_stop());
}

/* A process that does nothing but unmerge; its wait status. */
static int unmerge_all_from(bool in_group)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (in_group && cgroup_enter(0))
			_exit(100);
		_exit(ksm_write("run", "2") ? 1 : 0);
	}
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

/*
 * A process that unmerges memory that does not fit causes the trouble, not the
 * owner of the memory, however much that is.
 */
MEMCG_TEST(run_without_memory_kills_the_writer)
{
	struct peer owner, other;
	int status;

	ASSERT_EQ(0, ksm_set("max_page_sharing", 4 * N));
	ASSERT_EQ(0, start_in_group(&owner));
	ASSERT_EQ(0, start_in_group(&other));
	ASSERT_EQ(0, peer_madvise(&owner, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&other, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, 2 * N - CONTENTS, 0);
	ASSERT_EQ(0, set_limit(LIMIT));
	status = unmerge_all_from(true);
	TH_LOG("wait status of the writer: %#x", status);
	EXPECT_TRUE(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL :
		    WEXITSTATUS(status) == 1);
	EXPECT_EQ(0, ksm_read("run"));
	EXPECT_LT(0, ksm_read("pages_sharing"));
	/* In a full group they could not even answer. */
	ASSERT_EQ(0, set_limit("max"));
	EXPECT_EQ(0, bad(&owner));
	EXPECT_EQ(0, bad(&other));
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(0, bad(&owner));
	EXPECT_EQ(0, bad(&other));
	ASSERT_EQ(0, peer_end(&owner));
	ASSERT_EQ(0, peer_end(&other));
}

/* From outside: then it affects only the processes in the group. */
MEMCG_TEST(run_by_somebody_outside)
{
	struct peer inside, outside;
	int status;

	ASSERT_EQ(0, ksm_set("max_page_sharing", 4 * N));
	ASSERT_EQ(0, start_in_group(&inside));
	ASSERT_EQ(0, peer_start(&outside, N));
	ASSERT_EQ(0, fill(&outside));
	ASSERT_EQ(0, peer_madvise(&inside, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&outside, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(CONTENTS, 2 * N - CONTENTS, 0);
	ASSERT_EQ(0, set_limit(LIMIT));
	status = unmerge_all_from(false);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_GE(1, WEXITSTATUS(status));
	EXPECT_EQ(-SIGKILL, peer_end(&inside));
	EXPECT_EQ(0, bad(&outside));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, mem_count_ksm(outside.pid, outside.mem, N));
	EXPECT_EQ(0, bad(&outside));
	ASSERT_EQ(0, peer_end(&outside));
}

/* A page in each chunk of 16: much metadata for little memory. */
#define SPARSE 4096UL
#define SPREAD 16

static int start_sparse(struct peer *p)
{
	int err = peer_start(p, SPARSE * SPREAD);
	size_t i;

	if (!err)
		err = cgroup_enter(p->pid);
	for (i = 0; i < SPARSE && !err; i++)
		err = peer_fill(p, i * SPREAD, 1, 90000 + i, 0);
	return err;
}

static long bad_sparse(struct peer *p)
{
	long bad = 0;
	size_t i;

	for (i = 0; i < SPARSE && bad >= 0; i++)
		bad += peer_bad(p, i * SPREAD, 1, 90000 + i, 0);
	return bad;
}

static long charged_slab(void)
{
	return file_read_key(CGROUP "/memory.stat", "slab_unreclaimable");
}

/* A process pays for what ksmd keeps about it. */
MEMCG_TEST(metadata_is_charged)
{
	long before, charged, used;
	struct peer p;
	int i;

	if (!ksm_has("metadata_bytes"))
		SKIP(return, "it is not charged here");
	ASSERT_EQ(0, start_sparse(&p));
	ASSERT_EQ(0, peer_madvise(&p, 0, p.pages, MADV_MERGEABLE));
	before = charged_slab();
	ASSERT_LE(0, before);
	ASSERT_EQ(0, ksm_scans(3));
	used = ksm_read("metadata_bytes");
	/* Statistics of a group may be some seconds old. */
	for (i = 0; i < 600 && (charged = charged_slab() - before) < used * 9 / 10; i++)
		sleep_ms(100);
	TH_LOG("%ld bytes used, %ld charged", used, charged);
	EXPECT_LT((long)SPARSE * 64, used);
	EXPECT_LE(used * 9 / 10, charged);
	ASSERT_EQ(0, peer_end(&p));
	for (i = 0; i < 600 && charged_slab() - before >= used / 4; i++)
		sleep_ms(100);
	EXPECT_GT(used / 4, charged_slab() - before);
}

static long group_stat(const char *key)
{
	return file_read_key(CGROUP "/memory.stat", key);
}

/*
 * A group at its limit has pages that are not tracked. But nobody reclaims or
 * kills because of that, and what others share does not depend on it.
 */
MEMCG_TEST(full_group_hurts_itself_alone)
{
	struct peer inside, outside;
	long full, used, scanned;
	double begin;
	char limit[32];

	if (!ksm_has("metadata_bytes"))
		SKIP(return, "it is not charged here");
	ASSERT_EQ(0, start_sparse(&inside));
	ASSERT_EQ(0, peer_start(&outside, N));
	ASSERT_EQ(0, fill(&outside));
	ASSERT_EQ(0, peer_madvise(&inside, 0, inside.pages, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&outside, 0, N, MADV_MERGEABLE));
	full = file_read_long(CGROUP "/memory.current");
	snprintf(limit, sizeof(limit), "%ld", full);
	scanned = group_stat("pgscan");
	ASSERT_EQ(0, set_limit(limit));
	begin = seconds_now();
	ASSERT_EQ(0, ksm_scans(4));
	TH_LOG("four scans took %.3f s", seconds_now() - begin);
	used = ksm_read("metadata_bytes");
	TH_LOG("%ld bytes used", used);
	EXPECT_EQ(N, mem_count_ksm(outside.pid, outside.mem, N));
	EXPECT_GE(full, file_read_long(CGROUP "/memory.current"));
	EXPECT_EQ(scanned, group_stat("pgscan"));
	EXPECT_EQ(0, file_read_key(CGROUP "/memory.events", "oom"));
	ASSERT_EQ(0, set_limit("max"));
	EXPECT_EQ(0, bad_sparse(&inside));
	EXPECT_EQ(0, bad(&outside));
	/* With room again, all is known. */
	ASSERT_EQ(0, ksm_scans(3));
	TH_LOG("%ld bytes used without a limit", ksm_read("metadata_bytes"));
	EXPECT_LT(used + (long)SPARSE * 64, ksm_read("metadata_bytes"));
	ASSERT_EQ(0, peer_end(&inside));
	ASSERT_EQ(0, peer_end(&outside));
}

TEST_HARNESS_MAIN
