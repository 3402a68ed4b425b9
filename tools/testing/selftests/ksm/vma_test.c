// SPDX-License-Identifier: GPL-2.0
/* Merged memory under the calls that change mappings; what is never merged. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>

#ifndef MADV_FREE
#define MADV_FREE 8
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif

#define N 32

static size_t mem_count_present(const char *mem, size_t pages)
{
	size_t n = 0;
	size_t i;

	for (i = 0; i < pages; i++)
		n += !!page_pfn(0, PAGE(mem, i));
	return n;
}

KSM_TEST(mremap_moves_them)
{
	char *mem = mem_merged(N, 10, 0);
	uint64_t pfn;
	char *to;

	ASSERT_NE(NULL, mem);
	pfn = page_pfn(0, mem);
	to = mmap(NULL, N * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	to = mremap(mem, N * PAGE_BYTES, N * PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_NE(MAP_FAILED, to);
	EXPECT_EQ(0, mem_bad(to, N, 10, 0));
	EXPECT_TRUE(vma_has_flag(to, "mg"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	/* Whether moved or merged anew, they are one page. */
	EXPECT_EQ(page_pfn(0, to), page_pfn(0, PAGE(to, N - 1)));
	EXPECT_EQ(N, mem_count_ksm(0, to, N));
	EXPECT_NE(0, pfn);
	page_fill(to, 11);
	EXPECT_EQ(-1, page_diff(to, 11));
	EXPECT_EQ(0, mem_bad(PAGE(to, 1), N - 1, 10, 0));
}

KSM_TEST(mremap_part_shrink_and_grow)
{
	char *mem = mem_merged(N, 20, 0);
	char *to;

	ASSERT_NE(NULL, mem);
	/* Moves the second half to the place of new memory. */
	to = mmap(NULL, N * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mremap(PAGE(mem, N / 2), N / 2 * PAGE_BYTES, N / 2 * PAGE_BYTES,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0, mem_bad(mem, N / 2, 20, 0));
	EXPECT_EQ(0, mem_bad(to, N / 2, 20, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(mem, mremap(mem, N / 2 * PAGE_BYTES, N / 4 * PAGE_BYTES, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - N / 4 - 1, 0);
	mem = mremap(mem, N / 4 * PAGE_BYTES, N * PAGE_BYTES, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_EQ(0, mem_bad(mem, N / 4, 20, 0));
	mem_fill(PAGE(mem, N / 4), 3 * N / 4, 20, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N + N / 2 - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 20, 0));
}

KSM_TEST(mremap_leaves_an_empty_mapping)
{
	char *mem = mem_merged(N, 30, 0);
	char *to;

	ASSERT_NE(NULL, mem);
	to = mremap(mem, N * PAGE_BYTES, N * PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	ASSERT_NE(MAP_FAILED, to);
	EXPECT_EQ(0, mem_bad(to, N, 30, 0));
	EXPECT_EQ(0, mem_bad(mem, N, 0, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(to, N, 30, 0));
}

KSM_TEST(mprotect_in_pieces)
{
	char *mem = mem_merged(N, 40, 0);
	size_t i;

	ASSERT_NE(NULL, mem);
	for (i = 0; i < N; i += 4)
		ASSERT_EQ(0, mprotect(PAGE(mem, i), PAGE_BYTES, PROT_READ));
	EXPECT_EQ(0, mem_bad(mem, N, 40, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	/* Writable again: the shared pages must not have become so. */
	ASSERT_EQ(0, mprotect(mem, N * PAGE_BYTES, PROT_NONE));
	ASSERT_EQ(0, mprotect(mem, N * PAGE_BYTES, PROT_READ | PROT_WRITE));
	page_fill(PAGE(mem, 4), 41);
	EXPECT_EQ(0, mem_bad(mem, 4, 40, 0));
	EXPECT_EQ(-1, page_diff(PAGE(mem, 4), 41));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 5), N - 5, 40, 0));
}

KSM_TEST(munmap_in_pieces)
{
	char *mem = mem_merged(N, 50, 0);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, munmap(PAGE(mem, 4), 4 * PAGE_BYTES));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 4 - 1, 0);
	ASSERT_EQ(0, munmap(PAGE(mem, 16), 16 * PAGE_BYTES));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 20 - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, 4, 50, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 8), 8, 50, 0));
	/* Other memory at the old place is independent. */
	ASSERT_EQ(PAGE(mem, 4), mmap(PAGE(mem, 4), 4 * PAGE_BYTES, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	mem_fill(PAGE(mem, 4), 4, 51, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 20 - 1, 0);
	EXPECT_EQ(0, mem_bad(PAGE(mem, 4), 4, 51, 0));
	EXPECT_EQ(0, mem_bad(mem, 4, 50, 0));
}

KSM_TEST(discarded_pages)
{
	char *mem = mem_merged(N, 60, 0);
	size_t i, gone = 0;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, 8 * PAGE_BYTES, MADV_DONTNEED));
	EXPECT_EQ(0, mem_bad(mem, 8, 0, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 8), N - 8, 60, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 8 - 1, 0);
	/* Lazily freed: each page is either what it was, or empty. */
	ASSERT_EQ(0, madvise(PAGE(mem, 8), 8 * PAGE_BYTES, MADV_FREE));
	ASSERT_EQ(0, ksm_settle());
	for (i = 8; i < 16; i++) {
		if (page_diff(PAGE(mem, i), 60) == -1)
			continue;
		EXPECT_EQ(-1, page_diff(PAGE(mem, i), 0));
		gone++;
	}
	EXPECT_EQ(0, mem_bad(PAGE(mem, 16), N - 16, 60, 0));
	mem_fill(mem, 16, 60, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 60, 0));
	TH_LOG("%zu pages freed lazily", gone);
}

KSM_TEST(locked_memory)
{
	char *mem = mem_map(N);

	ASSERT_EQ(0, mlock(mem, N * PAGE_BYTES));
	mem_fill(mem, N, 70, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 70, 0));
	page_fill(mem, 71);
	ASSERT_EQ(0, munlock(mem, N * PAGE_BYTES));
	EXPECT_EQ(-1, page_diff(mem, 71));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N - 1, 70, 0));
}

/* Advice on memory that cannot be merged succeeds, and has no effect. */
KSM_TEST(shared_and_huge_mappings_are_ignored)
{
	char *shared, *huge;

	shared = mmap(NULL, N * PAGE_BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	mem_fill(shared, N, 80, 0);
	EXPECT_EQ(0, madvise(shared, N * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_FALSE(vma_has_flag(shared, "mg"));
	huge = mmap(NULL, 2UL << 20, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	if (huge != MAP_FAILED) {
		EXPECT_EQ(0, madvise(huge, 2UL << 20, MADV_MERGEABLE));
		EXPECT_FALSE(vma_has_flag(huge, "mg"));
	}
	/* Something mergeable beside, so that there is a scan. */
	ASSERT_NE(NULL, mem_merged(N, 81, 0));
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, mem_count_ksm(0, shared, N));
	EXPECT_EQ(0, mem_bad(shared, N, 80, 0));
}

/* A private file mapping: the file's pages stay, written copies are merged. */
KSM_TEST(private_file_mapping)
{
	static char page[PAGE_BYTES];
	char *mem;
	int fd, i;

	fd = memfd_create("file", 0);
	ASSERT_LE(0, fd);
	page_fill(page, 90);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(PAGE_BYTES, write(fd, page, PAGE_BYTES));
	mem = mmap(NULL, 4 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_EQ(0, mem_bad(mem, 4, 90, 0));
	mem_fill(PAGE(mem, 2), 2, 91, 0);
	EXPECT_EQ(0, madvise(mem, 4 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, 0);
	EXPECT_FALSE(page_is_ksm(0, mem));
	EXPECT_EQ(2, mem_count_ksm(0, PAGE(mem, 2), 2));
	EXPECT_EQ(0, mem_bad(mem, 2, 90, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 2), 2, 91, 0));
}

KSM_TEST(madvise_errors)
{
	char *mem = mem_map(N);

	EXPECT_EQ(-1, madvise(mem + 1, PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(mem, -PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, madvise(mem, 0, MADV_MERGEABLE));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	/* Never mergeable: fine to take back all the same. */
	EXPECT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	/* A gap is an error, but what lies around it is done. */
	ASSERT_EQ(0, munmap(PAGE(mem, 8), 8 * PAGE_BYTES));
	mem_fill(mem, 8, 5, 0);
	mem_fill(PAGE(mem, 16), N - 16, 5, 0);
	EXPECT_EQ(-1, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	EXPECT_TRUE(vma_has_flag(PAGE(mem, 16), "mg"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 8 - 1, 0);
	EXPECT_EQ(-1, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, mem_count_ksm(0, mem, 8));
	EXPECT_EQ(0, mem_count_ksm(0, PAGE(mem, 16), N - 16));
	EXPECT_EQ(0, mem_bad(mem, 8, 5, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 16), N - 16, 5, 0));
}

static long locked_kb(void)
{
	return file_read_key("/proc/self/status", "VmLck");
}

/* Merging does not weaken what mlock() promised. */
KSM_TEST(locked_memory_stays_locked)
{
	char *mem = mem_merged(N, 72, 0);
	long before = locked_kb();

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, mlock(mem, N * PAGE_BYTES));
	EXPECT_EQ(before + (long)(N * PAGE_BYTES / 1024), locked_kb());
	EXPECT_TRUE(vma_has_flag(mem, "lo"));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(vma_has_flag(mem, "lo"));
	EXPECT_TRUE(vma_has_flag(mem, "mg"));
	EXPECT_EQ(before + (long)(N * PAGE_BYTES / 1024), locked_kb());
	page_fill(mem, 73);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(vma_has_flag(mem, "lo"));
	EXPECT_EQ(before + (long)(N * PAGE_BYTES / 1024), locked_kb());
	/* Every one of them is present. */
	EXPECT_EQ(N, mem_count_present(mem, N));
	ASSERT_EQ(0, munlock(mem, N * PAGE_BYTES));
	EXPECT_EQ(before, locked_kb());
	EXPECT_EQ(-1, page_diff(mem, 73));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N - 1, 72, 0));
}

/* Advice about reclaim changes no content and undoes no sharing. */
KSM_TEST(cold_memory)
{
	char *mem = mem_merged(N, 74, 1);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_COLD));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 74, 1));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_PAGEOUT));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 74, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, 0);
}

/* Grown in its place: the new part is empty, mergeable, and joins. */
KSM_TEST(mremap_grows_in_place)
{
	char *mem = mmap(NULL, 2 * N * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, munmap(PAGE(mem, N), N * PAGE_BYTES));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_NOHUGEPAGE));
	mem_fill(mem, N, 76, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(mem, mremap(mem, N * PAGE_BYTES, 2 * N * PAGE_BYTES, 0));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(vma_has_flag(PAGE(mem, 2 * N - 1), "mg"));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N), N, 0, 0));
	mem_fill(PAGE(mem, N), N, 76, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2 * N - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, 2 * N, 76, 0));
}

static void on_alarm(int sig)
{
}

#define SEVERAL_FIRST fewer_if_slow(4096)
#define SEVERAL (SEVERAL_FIRST + N)

/* Moves two mappings at once, both merged, with a signal each millisecond; an error. */
static int move_several(char *mem, char *to)
{
	const struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { };
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
	char *ret;
	int err;

	if (mprotect(mem, SEVERAL * PAGE_BYTES, PROT_READ | PROT_WRITE))
		return -errno;
	mem_fill(mem, SEVERAL_FIRST, 90, 0);
	mem_fill(PAGE(mem, SEVERAL_FIRST), N, 91, 0);
	if (mprotect(PAGE(mem, SEVERAL_FIRST), N * PAGE_BYTES, PROT_READ) ||
	    madvise(mem, SEVERAL * PAGE_BYTES, MADV_MERGEABLE))
		return -errno;
	if (ksm_settle() || mem_count_ksm(0, mem, SEVERAL) != SEVERAL)
		return -EAGAIN;
	setitimer(ITIMER_REAL, &often, NULL);
	ret = mremap(mem, SEVERAL * PAGE_BYTES, SEVERAL * PAGE_BYTES, flags, to);
	err = errno;
	setitimer(ITIMER_REAL, &never, NULL);
	return ret == to ? 0 : -err;
}

/*
 * A call that is interrupted when it has moved some of them starts again, and takes what
 * it has left there for the rest.
 */
KSM_TEST(mremap_of_several_under_signals)
{
	const struct sigaction by_alarm = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	char *mem = mem_map(SEVERAL), *to = mem_map(SEVERAL);
	int round;

	ASSERT_EQ(0, sigaction(SIGALRM, &by_alarm, NULL));
	for (round = 0; round < 4; round++) {
		int err = move_several(mem, to);

		if (err == -EFAULT && !mem_bad(mem, SEVERAL_FIRST, 90, 0))
			SKIP(return, "mremap moves one mapping at a time");
		ASSERT_EQ(0, err);
		ASSERT_EQ(0, mem_bad(to, SEVERAL_FIRST, 90, 0));
		EXPECT_EQ(0, mem_bad(PAGE(to, SEVERAL_FIRST), N, 91, 0));
		EXPECT_EQ(0, mem_bad(mem, SEVERAL, 0, 0));
	}
}

#define PMEM "/dev/pmem0"
#define DAX "/tmp/ksm-test-dax"

/* A file that is mapped straight from persistent memory: its fd, or -1. */
static int dax_open(const char **why)
{
	*why = "no " PMEM ": boot with memmap=64M!1G";
	if (access(PMEM, F_OK))
		return -1;
	*why = "no mkfs.ext2";
	if (system("mkfs.ext2 -q -F -b 4096 " PMEM))
		return -1;
	*why = "cannot mount with DAX";
	mkdir(DAX, 0700);
	if (mount(PMEM, DAX, "ext2", 0, "dax"))
		return -1;
	*why = "cannot create a file";
	return open(DAX "/file", O_RDWR | O_CREAT | O_TRUNC, 0600);
}

static void dax_close(int fd)
{
	if (fd >= 0)
		close(fd);
	umount2(DAX, MNT_DETACH);
	rmdir(DAX);
}

/* Pages of the file or written copies: whatever is mapped there is left alone. */
KSM_TEST(dax_file_mapping)
{
	static char page[PAGE_BYTES];
	const char *why;
	int fd = dax_open(&why), i;
	char *mem;

	if (fd < 0) {
		dax_close(fd);
		SKIP(return, "%s", why);
	}
	page_fill(page, 95);
	for (i = 0; i < N; i++)
		ASSERT_EQ(PAGE_BYTES, write(fd, page, PAGE_BYTES));
	mem = mmap(NULL, N * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_EQ(0, mem_bad(mem, N, 95, 0));
	mem_fill(PAGE(mem, N / 2), N / 2, 96, 0);
	EXPECT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	/* Something mergeable beside, so that there is a scan. */
	ASSERT_NE(NULL, mem_merged(N, 97, 0));
	ASSERT_COUNTERS(1, N - 1, 0);
	/* Nor for the whole process. */
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_FALSE(vma_has_flag(mem, "mg"));
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_bad(mem, N / 2, 95, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 96, 0));
	ASSERT_EQ(0, munmap(mem, N * PAGE_BYTES));
	dax_close(fd);
}

/* ------------------------------------------------------- protection keys */

static sigjmp_buf refusal;
static int refusal_code;	/* 0: there was none */

static void on_refusal(int signal, siginfo_t *info, void *context)
{
	refusal_code = info->si_code;
	siglongjmp(refusal, 1);
}

/* Does the key keep the page from being accessed? */
static bool refused(int key, unsigned int rights, char *page, bool write)
{
	struct sigaction action = { .sa_sigaction = on_refusal, .sa_flags = SA_SIGINFO };
	struct sigaction before;

	refusal_code = 0;
	sigaction(SIGSEGV, &action, &before);
	if (sigsetjmp(refusal, 1) == 0) {
		pkey_set(key, rights);
		if (write)
			__atomic_fetch_add(page, 0, __ATOMIC_RELAXED);
		else
			__atomic_load_n(page, __ATOMIC_RELAXED);
	}
	/* A signal handler has other rights, which the jump has kept. */
	pkey_set(key, 0);
	sigaction(SIGSEGV, &before, NULL);
	return refusal_code == SEGV_PKUERR;
}

/* Neither key allows to read it; if both do, only one allows to write. */
static bool key_holds(int key, char *page)
{
	return refused(key, PKEY_DISABLE_ACCESS, page, false) &&
	       refused(key, PKEY_DISABLE_ACCESS, page, true) &&
	       !refused(key, PKEY_DISABLE_WRITE, page, false) &&
	       refused(key, PKEY_DISABLE_WRITE, page, true);
}

/* A key belongs to the address, whatever page is there. */
KSM_TEST(protection_keys)
{
	char *mem = mem_map(2 * N), *zero = PAGE(mem, N);
	int key = pkey_alloc(0, 0);

	if (key < 0)
		SKIP(return, "no protection keys");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem_fill(mem, N, 90, 0);
	mem_fill(zero, N, 1, 0);
	mem_fill(zero, N, 0, 0);
	ASSERT_EQ(0, pkey_mprotect(mem, 2 * N * PAGE_BYTES, PROT_READ | PROT_WRITE, key));
	ASSERT_EQ(0, madvise(mem, 2 * N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	EXPECT_TRUE(key_holds(key, mem));
	EXPECT_TRUE(key_holds(key, zero));
	/* Attempts are no writes. */
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_EQ(N, mem_count_zero_page(0, zero, N));
	EXPECT_FALSE(refused(key, 0, mem, true));
	EXPECT_FALSE(refused(key, 0, zero, true));
	EXPECT_EQ(N - 1, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(key_holds(key, mem));
	EXPECT_TRUE(key_holds(key, zero));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(key_holds(key, PAGE(mem, 1)));
	EXPECT_TRUE(key_holds(key, PAGE(zero, 1)));

	/* Merged under one key, and given another. */
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(0, pkey_mprotect(mem, 2 * N * PAGE_BYTES, PROT_READ | PROT_WRITE, 0));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_FALSE(refused(key, PKEY_DISABLE_ACCESS, mem, true));
	EXPECT_FALSE(refused(key, PKEY_DISABLE_ACCESS, zero, true));
	EXPECT_EQ(0, mem_bad(mem, N, 90, 0));
	EXPECT_EQ(0, mem_bad(zero, N, 0, 0));
	pkey_free(key);
}

TEST_HARNESS_MAIN
