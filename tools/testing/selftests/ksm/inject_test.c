// SPDX-License-Identifier: GPL-2.0
/* Every allocation may fail: then there is an error, and nothing half done. */

#include "ksm_fixture.h"

#include <dirent.h>
#include <fcntl.h>

#define N 64
#define DEBUGFS "/sys/kernel/debug/"

static bool have_injection(void)
{
	return !access("/proc/self/fail-nth", W_OK) &&
	       !access(DEBUGFS "failslab/verbose", W_OK);
}

/* Only tasks that ask for it fail, in all their allocations, and silently. */
static int inject_setup(void)
{
	static const struct {
		const char *file;
		const char *value;
	} set[] = {
		{ "failslab/verbose", "0" },
		{ "failslab/task-filter", "Y" },
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/probability", "0" },
		{ "failslab/interval", "1" },
		{ "failslab/times", "-1" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/task-filter", "Y" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/probability", "0" },
		{ "fail_page_alloc/interval", "1" },
		{ "fail_page_alloc/times", "-1" },
	};
	char path[128];
	size_t i;
	int err = 0;

	for (i = 0; i < sizeof(set) / sizeof(set[0]) && !err; i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s", set[i].file);
		err = file_write(path, set[i].value);
		/* One of the two kinds of failure may be left out. */
		if (err == -ENOENT && strncmp(set[i].file, "failslab", 8))
			err = 0;
	}
	return err;
}

static int fail_fd = -1;

/* The n-th allocation from here on fails. */
static void fail_from_now(int n)
{
	char text[16];

	if (fail_fd < 0)
		fail_fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	snprintf(text, sizeof(text), "%d", n);
	if (pwrite(fail_fd, text, strlen(text), 0) < 0)
		abort();
}

/* Ends it; true if a failure was due and did happen. */
static bool fail_did_happen(void)
{
	char text[16] = "";
	bool done;

	if (pread(fail_fd, text, sizeof(text) - 1, 0) <= 0)
		abort();
	done = atoi(text) == 0;
	if (pwrite(fail_fd, "0", 1, 0) != 1)
		abort();
	return done;
}

KSM_TEST(madvise_mergeable)
{
	bool more = true;
	int n, failed = 0;

	if (!have_injection())
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, inject_setup());
	for (n = 1; more && n < 100; n++) {
		pid_t pid = fork();
		int status;

		/* A new process each time: the first advice registers it. */
		if (pid == 0) {
			char *mem = mem_map(N);
			int ret, err;

			mem_fill(mem, N, n, 0);
			fail_from_now(n);
			ret = madvise(mem + PAGE_BYTES, (N - 2) * PAGE_BYTES, MADV_MERGEABLE);
			err = errno;
			more = fail_did_happen();
			if (ret && err != ENOMEM && err != EAGAIN)
				_exit(100);
			if (mem_bad(mem, N, n, 0) ||
			    madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE) || ksm_scans(3) ||
			    mem_count_ksm(0, mem, N) != N || mem_bad(mem, N, n, 0))
				_exit(101);
			_exit((more ? 1 : 0) | (ret ? 2 : 0));
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		ASSERT_GT(4, WEXITSTATUS(status));
		more = WEXITSTATUS(status) & 1;
		failed += !!(WEXITSTATUS(status) & 2);
	}
	TH_LOG("%d failures to register", failed);
	EXPECT_FALSE(more);
	EXPECT_LT(0, failed);
}

KSM_TEST(prctl_merge)
{
	bool more = true;
	int n, failed = 0;

	if (!have_injection())
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, inject_setup());
	for (n = 1; more && n < 100; n++) {
		int ret, err;

		fail_from_now(n);
		ret = prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
		err = errno;
		more = fail_did_happen();
		if (ret) {
			ASSERT_EQ(ENOMEM, err);
			ASSERT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
			failed++;
		}
		if (!ret)
			break;
	}
	TH_LOG("%d failures to register", failed);
	EXPECT_LT(0, failed);
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
}

/* Without memory for the copies it must say so, and succeed when there is. */
KSM_TEST(madvise_unmergeable)
{
	char *mem;
	bool more = true;
	int n, failed = 0;

	if (!have_injection())
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, inject_setup());
	mem = mem_map(N);
	mem_fill(mem, N, 10, 0);
	for (n = 1; more && n < 400; n += n < 20 ? 1 : 17) {
		int ret, err;

		ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
		ASSERT_EQ(0, ksm_settle());
		ASSERT_EQ(N, mem_count_ksm(0, mem, N));
		fail_from_now(n);
		ret = madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE);
		err = errno;
		more = fail_did_happen();
		ASSERT_EQ(0, mem_bad(mem, N, 10, 0));
		if (ret) {
			failed++;
			/* Documented: EAGAIN, for memory that is short for now. */
			ASSERT_TRUE(err == EAGAIN || err == ENOMEM);
			ASSERT_TRUE(vma_has_flag(mem, "mg"));
			ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
		}
		ASSERT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_EQ(0, mem_bad(mem, N, 10, 0));
	}
	TH_LOG("%d failures to unmerge", failed);
	EXPECT_FALSE(more);
	EXPECT_LT(0, failed);
}

KSM_TEST(run_unmerge)
{
	bool more = true;
	char *mem;
	int n, failed = 0;

	if (!have_injection())
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, inject_setup());
	mem = mem_map(N);
	mem_fill(mem, N, 20, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	for (n = 1; more && n < 400; n += n < 20 ? 1 : 17) {
		int ret;

		ASSERT_EQ(0, ksm_settle());
		ASSERT_EQ(N, mem_count_ksm(0, mem, N));
		fail_from_now(n);
		ret = ksm_write("run", "2");
		more = fail_did_happen();
		ASSERT_EQ(0, mem_bad(mem, N, 20, 0));
		if (ret) {
			failed++;
			ASSERT_EQ(-ENOMEM, ret);
			ASSERT_EQ(0, ksm_set("run", 2));
		}
		ASSERT_EQ(0, mem_count_ksm(0, mem, N));
		ASSERT_COUNTERS(0, 0, 0);
	}
	TH_LOG("%d failures to unmerge", failed);
	EXPECT_FALSE(more);
	EXPECT_LT(0, failed);
}

KSM_TEST(fork_of_a_merged_process)
{
	bool more = true;
	char *mem;
	int n, failed = 0;

	if (!have_injection())
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, inject_setup());
	mem = mem_map(N);
	mem_fill(mem, N / 2, 30, 0);
	mem_fill(PAGE(mem, N / 2), N / 2, 300, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	for (n = 1; more && n < 1000; n++) {
		int status;
		pid_t pid;

		fail_from_now(n);
		pid = fork();
		if (pid == 0)
			_exit(mem_bad(mem, N / 2, 30, 0) ? 1 : 0);
		more = fail_did_happen();
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
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 1, N / 2);
}

/* The file that makes ksmd and its helpers fail by chance. */
static int ksmd_make_it_fail(const char *value)
{
	struct dirent *d;
	DIR *proc;
	int n = 0;

	proc = opendir("/proc");
	while (proc && (d = readdir(proc))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strncmp(name, "ksmd", 4)) {
			snprintf(path, sizeof(path), "/proc/%s/make-it-fail", d->d_name);
			n += file_write(path, value) == 0;
		}
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return n;
}

KSM_TEST(scan_short_of_memory)
{
	const size_t n = 512;
	char *mem;
	int round;

	if (!have_injection())
		SKIP(return, "no fault injection");
	ASSERT_EQ(0, inject_setup());
	mem = mem_map(n);
	ASSERT_LE(1, ksmd_make_it_fail("1"));
	for (round = 0; round < 6; round++) {
		char percent[8];

		mem_fill(mem, n / 2, 1000 + round, 1);
		mem_fill(PAGE(mem, n / 2), n / 2, 1000 + round, 1);
		ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
		snprintf(percent, sizeof(percent), "%d", 5 + 15 * round);
		ASSERT_EQ(0, file_write(DEBUGFS "failslab/probability", percent));
		file_write(DEBUGFS "fail_page_alloc/probability", percent);
		EXPECT_EQ(0, ksm_scans(6));
		ASSERT_EQ(0, file_write(DEBUGFS "failslab/probability", "0"));
		file_write(DEBUGFS "fail_page_alloc/probability", "0");
		ASSERT_EQ(0, mem_bad(mem, n / 2, 1000 + round, 1));
		ASSERT_EQ(0, mem_bad(PAGE(mem, n / 2), n / 2, 1000 + round, 1));
		/* What failed is made up for. */
		ASSERT_EQ(0, ksm_settle());
		ASSERT_COUNTERS(n / 2, n / 2, 0);
		ASSERT_EQ(0, mem_bad(mem, n / 2, 1000 + round, 1));
		ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_UNMERGEABLE));
	}
	ASSERT_LE(1, ksmd_make_it_fail("0"));
}

TEST_HARNESS_MAIN
