// SPDX-License-Identifier: GPL-2.0
/* Who may request what to be merged, and the mappings that never are. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define N 16

/* The first mapping with this name, such as "[vdso]". */
static char *named_vma(const char *name, size_t *pages)
{
	unsigned long start, end;
	char *found = NULL;
	char line[512];
	FILE *f;

	f = fopen("/proc/self/maps", "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		if (!strstr(line, name) || sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		found = (char *)start;
		*pages = (end - start) / PAGE_BYTES;
	}
	if (f)
		fclose(f);
	return found;
}

static long advise(pid_t pid, char *mem, size_t pages, int advice)
{
	struct iovec iov = { mem, pages * PAGE_BYTES };
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	long ret;

	if (pidfd < 0)
		return -errno;
	ret = syscall(SYS_process_madvise, pidfd, &iov, 1UL, advice, 0);
	ret = ret < 0 ? -errno : ret;
	close(pidfd);
	return ret;
}

/*
 * process_madvise() can neither request merging nor undo it, unless the process asks
 * for itself, on a kernel that takes any advice from it.
 */
KSM_TEST(process_madvise_merging)
{
	char *mem = mem_merged(N, 10, 0);
	struct peer p;
	long ret;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, peer_start(&p, N));
	EXPECT_EQ(-EINVAL, advise(p.pid, p.mem, N, MADV_MERGEABLE));
	EXPECT_EQ(-EINVAL, advise(p.pid, p.mem, N, MADV_UNMERGEABLE));
	ret = advise(getpid(), mem, N, MADV_UNMERGEABLE);
	ASSERT_TRUE(ret == -EINVAL || ret == N * PAGE_BYTES);
	EXPECT_EQ(ret < 0, vma_has_flag(mem, "mg"));
	EXPECT_EQ(ret < 0 ? N : 0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(ret, advise(getpid(), mem, N, MADV_MERGEABLE));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	EXPECT_EQ(0, mem_bad(mem, N, 10, 0));
	ASSERT_EQ(0, peer_end(&p));
}

/* Advice that it can give, for merged memory of another process. */
KSM_TEST(process_madvise_of_merged_memory)
{
	static const int advice[] = { MADV_COLD, MADV_WILLNEED, MADV_PAGEOUT };
	struct peer p;
	char *mem;
	size_t i;
	long ret;

	ASSERT_EQ(0, peer_start(&p, N));
	mem = mem_merged(N, 20, 0);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, peer_fill(&p, 0, N, 20, 0));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 1, 0);
	for (i = 0; i < 3; i++) {
		ret = advise(p.pid, p.mem, N, advice[i]);
		EXPECT_TRUE(ret == N * PAGE_BYTES || ret == -EINVAL || ret == -EBADF)
			TH_LOG("advice %d: %ld", advice[i], ret);
		EXPECT_EQ(0, peer_bad(&p, 0, N, 20, 0));
		EXPECT_EQ(0, mem_bad(mem, N, 20, 0));
	}
	EXPECT_EQ(N * PAGE_BYTES, advise(p.pid, p.mem, N, MADV_COLD));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 1, 0);
	ASSERT_EQ(0, peer_end(&p));
}

/* Advice succeeds, has no effect, and can be taken back. */
static bool is_ignored(void *at, size_t pages)
{
	return !madvise(at, pages * PAGE_BYTES, MADV_MERGEABLE) && !vma_has_flag(at, "mg") &&
	       !madvise(at, pages * PAGE_BYTES, MADV_UNMERGEABLE);
}

KSM_TEST(shared_mappings_are_ignored)
{
	int secret = syscall(SYS_memfd_secret, 0);
	int fd = memfd_create("shared", 0);
	char *mem;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, N * PAGE_BYTES));
	mem = mmap(NULL, N * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_TRUE(is_ignored(mem, N));
	/* A read-only mapping is shared just as much. */
	mem = mmap(NULL, N * PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_TRUE(is_ignored(mem, N));
	if (secret < 0)
		return;
	ASSERT_EQ(0, ftruncate(secret, N * PAGE_BYTES));
	mem = mmap(NULL, N * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	ASSERT_NE(MAP_FAILED, mem);
	mem_fill(mem, N, 30, 0);
	EXPECT_TRUE(is_ignored(mem, N));
	ASSERT_NE(NULL, mem_merged(N, 30, 0));
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 30, 0));
}

/* The kernel's own: VM_PFNMAP, VM_IO, VM_DONTEXPAND. */
KSM_TEST(special_mappings_are_ignored)
{
	static const char *const name[] = { "[vvar", "[vdso]" };
	size_t pages, i;
	char *at;

	for (i = 0; i < 2; i++) {
		at = named_vma(name[i], &pages);
		ASSERT_NE(NULL, at);
		EXPECT_TRUE(is_ignored(at, pages))
			TH_LOG("%s", name[i]);
	}
	/* Nor for the whole process. */
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	for (i = 0; i < 2; i++)
		EXPECT_FALSE(vma_has_flag(named_vma(name[i], &pages), "mg"));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
}

KSM_TEST(droppable_memory_is_ignored)
{
	char *mem = mmap(NULL, N * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		SKIP(return, "no droppable memory");
	mem_fill(mem, N, 40, 0);
	EXPECT_TRUE(vma_has_flag(mem, "dp"));
	EXPECT_TRUE(is_ignored(mem, N));
	ASSERT_NE(NULL, mem_merged(N, 40, 0));
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
}

KSM_TEST(hugetlb_memory_is_ignored)
{
	const char *knob = "/proc/sys/vm/nr_hugepages";
	const size_t pages = 2 * 512;
	long was = file_read_long(knob);
	char *mem;

	if (was < 0 || file_write(knob, "2"))
		SKIP(return, "no huge pages");
	mem = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (mem != MAP_FAILED) {
		mem_fill(mem, pages, 50, 0);
		EXPECT_TRUE(is_ignored(mem, pages));
		ASSERT_NE(NULL, mem_merged(N, 50, 0));
		ASSERT_COUNTERS(1, N - 1, 0);
		EXPECT_EQ(0, mem_bad(mem, pages, 50, 0));
		munmap(mem, pages * PAGE_BYTES);
	}
	EXPECT_EQ(0, file_write_long(knob, was));
	if (mem == MAP_FAILED)
		SKIP(return, "no memory for huge pages");
}

/* Advice splits a mapping, and taking it back joins the parts again. */
KSM_TEST(mappings_split_and_unite)
{
	char *mem = mem_map(N);
	size_t i;

	mem_fill(mem, N, 60, 0);
	ASSERT_EQ(1, mem_count_vmas(mem, N));
	ASSERT_EQ(0, madvise(PAGE(mem, 4), 4 * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(3, mem_count_vmas(mem, N));
	EXPECT_FALSE(vma_has_flag(PAGE(mem, 3), "mg"));
	EXPECT_TRUE(vma_has_flag(PAGE(mem, 4), "mg"));
	EXPECT_FALSE(vma_has_flag(PAGE(mem, 8), "mg"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 3, 0);
	ASSERT_EQ(0, madvise(PAGE(mem, 4), 2 * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(3, mem_count_vmas(mem, N));
	EXPECT_EQ(0, mem_count_ksm(0, mem, 6));
	ASSERT_EQ(0, madvise(PAGE(mem, 6), 2 * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(1, mem_count_vmas(mem, N));
	for (i = 0; i < N; i += 2)
		ASSERT_EQ(0, madvise(PAGE(mem, i), PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(N, mem_count_vmas(mem, N));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 1, 0);
	/* The rest joins them, and nothing that was merged is undone. */
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(1, mem_count_vmas(mem, N));
	EXPECT_EQ(N / 2, ksm_read("pages_shared") + ksm_read("pages_sharing"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 60, 0));
}

/* Offering one's memory takes no privilege. */
KSM_TEST(without_privilege)
{
	char *mem = mem_map(N);
	int status;
	pid_t pid;

	mem_fill(mem, N, 70, 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(65534) || setuid(65534))
			_exit(1);
		if (madvise(mem, N / 2 * PAGE_BYTES, MADV_MERGEABLE) ||
		    madvise(mem, N / 2 * PAGE_BYTES, MADV_UNMERGEABLE))
			_exit(2);
		if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) ||
		    prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) != 1)
			_exit(3);
		_exit(prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0) ? 4 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
