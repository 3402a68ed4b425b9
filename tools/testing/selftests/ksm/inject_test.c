// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of a call may fail: then there is an error, nothing is half
 * done, and the call succeeds when there is memory again. Each test repeats a
 * call, in which first the first allocation fails, then the second, and so on,
 * until none is left that could.
 */

#include "ksm_fixture.h"

#include "inject.h"
#include "ksm_env.h"

#define N 64
/* The kernel's names of its caches. */
#define SLOTS "ksm_mm_slot"

#define INJECT_TEST(name) TEST_F_TIMEOUT(inject, name, KSM_TEST_SECONDS)

FIXTURE(inject) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(inject)
{
	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	if (!inject_available())
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	ASSERT_EQ(0, inject_start());
}

FIXTURE_TEARDOWN_PARENT(inject)
{
	if (!inject_available())
		return;
	inject_stop();
	KSM_FIXTURE_TEARDOWN();
	/* Where a test had them. */
	cgroup_stop();
	swap_stop();
}

/* After the first ones, of which each is another, most are alike. */
static int next(int n)
{
	return n < 24 ? n + 1 : n + 7;
}

/* Workers get into each other's way now and then, and come again. */
static bool becomes_ksm(const char *mem, size_t pages)
{
	int i;

	for (i = 0; i < 10; i++) {
		if (ksm_scans(2))
			return false;
		if (mem_count_ksm(0, mem, pages) == pages)
			return true;
	}
	return false;
}

/* What a child found, as its exit status. */
#define FAILED 1
#define MORE 2
#define WRONG 100

static int wait_status(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A new process: the first advice registers it. */
static int advise_with_failure(int n)
{
	char *mem = mem_map(N);
	int ret, err;
	bool more;

	mem_fill(mem, N, n, 0);
	fail_nth(0, n);
	ret = madvise(mem + PAGE_BYTES, (N - 2) * PAGE_BYTES, MADV_MERGEABLE);
	err = errno;
	more = fail_did_happen(0);
	if (ret && err != ENOMEM && err != EAGAIN)
		return WRONG;
	if (ret && vma_has_flag(PAGE(mem, 1), "mg"))
		return WRONG + 1;
	if (mem_bad(mem, N, n, 0) || madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE) ||
	    !becomes_ksm(mem, N) || mem_bad(mem, N, n, 0))
		return WRONG + 2;
	return (ret ? FAILED : 0) | (more ? MORE : 0);
}

INJECT_TEST(madvise_mergeable)
{
	int n, status = MORE, failed = 0;

	for (n = 1; status & MORE && n < 100; n++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(advise_with_failure(n));
		status = wait_status(pid);
		ASSERT_LE(0, status);
		ASSERT_GT(WRONG, status);
		failed += status & FAILED;
	}
	TH_LOG("%d failures to register", failed);
	EXPECT_FALSE(status & MORE);
	EXPECT_LT(0, failed);
}

INJECT_TEST(prctl_on)
{
	int ret = -1, n, failed = 0;

	for (n = 1; ret && n < 100; n++) {
		int err;

		fail_nth(0, n);
		ret = prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
		err = errno;
		fail_did_happen(0);
		if (ret) {
			ASSERT_EQ(ENOMEM, err);
			ASSERT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
			failed++;
		}
	}
	TH_LOG("%d failures to register", failed);
	EXPECT_EQ(0, ret);
	EXPECT_LT(0, failed);
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
}

/* A child that cannot be registered lives on without merging, and may ask. */
static int after_fork(char *mem)
{
	size_t bad = mem_bad(mem, N, 40, 0);

	page_fill(mem, 41);
	bad += page_diff(mem, 41) >= 0;
	page_fill(mem, 40);
	/* Its pages are shared by the fork; as for a new one of its own: */
	if (bad || ksm_scans(3) || page_is_ksm(0, mem))
		return WRONG;
	if (madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE) || !becomes_ksm(mem, N))
		return WRONG + 1;
	return mem_bad(mem, N, 40, 0) ? WRONG + 2 : 0;
}

INJECT_TEST(fork_without_registration)
{
	char *mem = mem_map(N);
	pid_t pid;

	mem_fill(mem, N, 40, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(0, inject_only(SLOTS));
	fail_nth(0, 1);
	pid = fork();
	if (pid == 0)
		_exit(after_fork(mem));
	EXPECT_TRUE(fail_did_happen(0));
	/* It is no reason to fail. */
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(0, mem_bad(mem, N, 40, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
}

INJECT_TEST(fork_of_a_merged_process)
{
	bool more = true;
	char *mem;
	int n, failed = 0;

	mem = mem_map(N);
	mem_fill(mem, N / 2, 30, 0);
	mem_fill(PAGE(mem, N / 2), N / 2, 300, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	for (n = 1; more && n < 1000; n++) {
		int status;
		pid_t pid;

		fail_nth(0, n);
		pid = fork();
		if (pid == 0)
			_exit(mem_bad(mem, N / 2, 30, 0) ? 1 : 0);
		more = fail_did_happen(0);
		if (pid < 0) {
			failed++;
			continue;
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		/* Out of memory in its first faults may kill it, nothing else. */
		ASSERT_TRUE(status == 0 || WIFSIGNALED(status));
	}
	TH_LOG("%d of %d forks failed", failed, n);
	EXPECT_FALSE(more);
	EXPECT_LT(0, failed);
	EXPECT_EQ(0, mem_bad(mem, N / 2, 30, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 300, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 1, N / 2);
}

/*
 * Runs this program again, an allocation failing. Returns how that ended, if it
 * did not begin; what begins after all ends with AFTER_EXEC.
 */
#define AFTER_EXEC 3
#define LOADER_FAILED 127

static int exec_with_failure(int n, bool of_ours)
{
	char *mem = mem_map(N);
	int err;

	mem_fill(mem, N, 50, 0);
	fail_nth(0, n);
	execl("/proc/self/exe", "inject_test", "after-exec", NULL);
	err = errno;
	if (!fail_did_happen(0))
		return WRONG;
	/* Others have other errors for it: a file that is not there, too long a list. */
	if (of_ours && err != ENOMEM)
		return WRONG + 1;
	if (prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) != 1 || mem_bad(mem, N, 50, 0))
		return WRONG + 2;
	if (!becomes_ksm(mem, N) || mem_bad(mem, N, 50, 0))
		return WRONG + 3;
	return FAILED;
}

static int after_exec(void)
{
	fail_did_happen(0);
	return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1 ? AFTER_EXEC : WRONG + 4;
}

/* The new image is registered before the old one is gone: that can fail. */
INJECT_TEST(exec_without_registration)
{
	pid_t pid;

	ASSERT_EQ(0, inject_only(SLOTS));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	pid = fork();
	if (pid == 0)
		_exit(exec_with_failure(1, true));
	EXPECT_EQ(FAILED, wait_status(pid));
	pid = fork();
	if (pid == 0)
		_exit(exec_with_failure(2, true));
	EXPECT_EQ(AFTER_EXEC, wait_status(pid));
}

/* From the point on where the old image is gone, all that is left is to die. */
INJECT_TEST(exec)
{
	int n, status = 0, failed = 0, died = 0;

	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	for (n = 1; n < 60; n = next(n)) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(exec_with_failure(n, false));
		status = wait_status(pid);
		/* The loader of programs ends, too, when it has no memory. */
		died += status < 0 || status == LOADER_FAILED;
		ASSERT_TRUE(status < WRONG || status == LOADER_FAILED)
			TH_LOG("%d: status %d", n, status);
		failed += status == FAILED;
	}
	TH_LOG("exec failed %d times, and died %d times", failed, died);
	EXPECT_LT(0, failed);
}

/* Counts what failed, and checks that it was not done by half. */
static bool may_fail_so(int ret, int err, const char *mem)
{
	/* Documented: EAGAIN, for memory that is short for now. */
	return !ret || ((err == EAGAIN || err == ENOMEM) && vma_has_flag(mem, "mg"));
}

/* Half of it in pairs, a quarter of one content, and a quarter of zeroes. */
static void fill_mixed(char *mem)
{
	mem_fill(mem, N / 4, 10, 1);
	mem_fill(PAGE(mem, N / 4), N / 4, 10, 1);
	mem_fill(PAGE(mem, N / 2), N / 4, 9, 0);
	mem_fill(PAGE(mem, 3 * N / 4), N / 4, 0, 0);
}

static size_t bad_mixed(const char *mem)
{
	return mem_bad(mem, N / 4, 10, 1) + mem_bad(PAGE(mem, N / 4), N / 4, 10, 1) +
	       mem_bad(PAGE(mem, N / 2), N / 4, 9, 0) +
	       mem_bad(PAGE(mem, 3 * N / 4), N / 4, 0, 0);
}

static bool is_merged(const char *mem)
{
	return mem_count_ksm(0, mem, 3 * N / 4) == 3 * N / 4 &&
	       mem_count_zero_page(0, mem, N) == N / 4;
}

static bool becomes_merged(const char *mem)
{
	int i;

	for (i = 0; i < 5; i++)
		if (becomes_ksm(mem, 3 * N / 4) && is_merged(mem))
			return true;
	return false;
}

static bool is_unmerged(const char *mem)
{
	return !mem_count_ksm(0, mem, N) && !mem_count_zero_page(0, mem, N);
}

/* Without memory for the copies it must say so, and succeed when there is. */
INJECT_TEST(madvise_unmergeable)
{
	static const char * const which[] = { INJECT_ALL, INJECT_PAGES };
	int n, w, failed = 0;
	bool more;
	char *mem;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem = mem_map(N);
	fill_mixed(mem);
	for (w = 0; w < 2; w++) {
		ASSERT_EQ(0, inject_only(which[w]));
		for (n = 1, more = true; more && n < 400; n = next(n)) {
			int ret, err;

			ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
			ASSERT_TRUE(becomes_merged(mem));
			fail_nth(0, n);
			ret = madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE);
			err = errno;
			more = fail_did_happen(0);
			ASSERT_EQ(0, bad_mixed(mem));
			ASSERT_TRUE(may_fail_so(ret, err, mem));
			failed += !!ret;
			ASSERT_EQ(0, ret ? madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE) : 0);
			ASSERT_TRUE(is_unmerged(mem));
			ASSERT_EQ(0, bad_mixed(mem));
		}
		EXPECT_FALSE(more);
	}
	TH_LOG("%d failures to unmerge", failed);

	/* What fails first is tried once more, so one failure is rarely told. All are. */
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_TRUE(becomes_merged(mem));
	ASSERT_EQ(0, fail_percent(100));
	ASSERT_EQ(1, fail_allow_self(true));
	failed = madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE);
	more = errno == EAGAIN || errno == ENOMEM;
	ASSERT_EQ(1, fail_allow_self(false));
	ASSERT_EQ(0, fail_percent(0));
	EXPECT_EQ(-1, failed);
	EXPECT_TRUE(more);
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	EXPECT_EQ(0, bad_mixed(mem));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_TRUE(is_unmerged(mem));
	EXPECT_EQ(0, bad_mixed(mem));
}

/* For all of a process: then it stays merged as a whole. */
INJECT_TEST(prctl_off)
{
	int n, failed = 0;
	bool more = true;
	char *mem;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem = mem_map(N);
	fill_mixed(mem);
	for (n = 1; more && n < 1000; n = next(n)) {
		int ret, err;

		ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
		ASSERT_TRUE(becomes_merged(mem));
		fail_nth(0, n);
		ret = prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
		err = errno;
		more = fail_did_happen(0);
		ASSERT_EQ(0, bad_mixed(mem));
		ASSERT_EQ(ret ? 1 : 0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
		ASSERT_EQ(ret ? 1 : 0, vma_has_flag(mem, "mg"));
		if (ret) {
			failed++;
			ASSERT_EQ(ENOMEM, err);
			ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
		}
		ASSERT_TRUE(is_unmerged(mem));
		ASSERT_EQ(0, bad_mixed(mem));
	}
	TH_LOG("%d failures to unmerge", failed);
	EXPECT_FALSE(more);
	EXPECT_LT(N / 7, failed);
}

INJECT_TEST(run_unmerge)
{
	int n, failed = 0;
	bool more = true;
	char *mem;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem = mem_map(N);
	fill_mixed(mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	for (n = 1; more && n < 400; n = next(n)) {
		int ret;

		ASSERT_TRUE(becomes_merged(mem));
		fail_nth(0, n);
		ret = ksm_write("run", "2");
		more = fail_did_happen(0);
		ASSERT_EQ(0, bad_mixed(mem));
		if (ret) {
			failed++;
			ASSERT_EQ(-ENOMEM, ret);
			/* Nothing is merged any more, and not all is unmerged. */
			ASSERT_EQ(0, ksm_read("run"));
			ASSERT_EQ(0, ksm_set("run", 2));
		}
		ASSERT_TRUE(is_unmerged(mem));
		ASSERT_COUNTERS(0, 0, 0);
		ASSERT_EQ(0, bad_mixed(mem));
	}
	TH_LOG("%d failures to unmerge", failed);
	EXPECT_FALSE(more);
	EXPECT_LT(0, failed);
}

#define FEW 16

/* Reclaim what the group has until all of these pages are out. */
static size_t push_out(const char *mem)
{
	double end = seconds_now() + 120;
	size_t out = 0;

	while (out < FEW && seconds_now() < end) {
		file_write(CGROUP "/memory.reclaim", "16M");
		out = mem_count_swapped(0, mem, FEW);
	}
	return out;
}

/*
 * From swap the first page comes back as it is, and the others as copies of it.
 * A fault without memory for that is repeated, and nobody notices.
 */
INJECT_TEST(swap_in)
{
	bool more = true;
	char *mem;
	int n;

	if (swap_start() || cgroup_start() || cgroup_enter(0))
		SKIP(return, "no swap, or no memory cgroup");
	mem = mem_map(FEW);
	for (n = 1; more && n < 400; n = next(n)) {
		mem_fill(mem, FEW, 70, 0);
		ASSERT_EQ(0, madvise(mem, FEW * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_TRUE(becomes_ksm(mem, FEW));
		ASSERT_EQ(FEW, push_out(mem));
		fail_nth(0, n);
		EXPECT_EQ(0, mem_bad(mem, FEW, 70, 0));
		more = fail_did_happen(0);
		ASSERT_EQ(0, mem_bad(mem, FEW, 70, 0));
	}
	TH_LOG("%d rounds", n);
	EXPECT_LT(8, n);
	EXPECT_FALSE(more);
	ASSERT_EQ(0, munmap(mem, FEW * PAGE_BYTES));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "after-exec"))
		return after_exec();
	return test_harness_run(argc, argv);
}
