// SPDX-License-Identifier: GPL-2.0
/* Programs that track their memory with soft-dirty bits or userfaultfd. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "ksm_env.h"

#define N 32
#define PAGEMAP_SOFT_DIRTY (1ULL << 55)
#define PAGEMAP_UFFD_WP (1ULL << 57)

/* Protection from reads came with Linux 7.3: headers may be older. */
#ifndef UFFDIO_RWPROTECT
#define UFFD_FEATURE_RWP (1 << 17)
#define UFFDIO_REGISTER_MODE_RWP (1ULL << 3)
#define UFFD_PAGEFAULT_FLAG_RWP (1 << 3)
#define UFFDIO_RWPROTECT_MODE_RWP (1ULL << 0)
#define UFFDIO_RWPROTECT _IOWR(UFFDIO, 0x09, struct uffdio_rwprotect)

struct uffdio_rwprotect {
	struct uffdio_range range;
	uint64_t mode;
};
#endif

static size_t count_entries(const char *mem, size_t pages, uint64_t bit)
{
	size_t n = 0;
	size_t i;

	for (i = 0; i < pages; i++)
		n += !!(pagemap_entry(0, PAGE(mem, i)) & bit);
	return n;
}

static size_t soft_dirty(const char *mem, size_t pages)
{
	return count_entries(mem, pages, PAGEMAP_SOFT_DIRTY);
}

/* Soft-dirty bits of written pages: false if the kernel does not keep them. */
static bool clear_soft_dirty(const char *mem, size_t pages)
{
	return soft_dirty(mem, pages) == pages &&
	       !file_write("/proc/self/clear_refs", "4") && !soft_dirty(mem, pages);
}

/* Merging and unmerging are no writes, but a write to shared memory is one. */
KSM_TEST(soft_dirty_of_writes_alone)
{
	char *mem = mem_map(N);

	mem_fill(mem, N, 10, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	if (!clear_soft_dirty(mem, N))
		SKIP(return, "no soft-dirty bits");
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, soft_dirty(mem, N));
	page_fill(mem, 11);
	EXPECT_EQ(1, soft_dirty(mem, 1));
	EXPECT_EQ(0, soft_dirty(PAGE(mem, 1), N - 1));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, soft_dirty(PAGE(mem, 1), N - 1));
	mem_fill(PAGE(mem, N / 2), N / 2, 12, 0);
	EXPECT_EQ(N / 2, soft_dirty(PAGE(mem, N / 2), N / 2));
	EXPECT_EQ(1, soft_dirty(mem, N / 2));
}

/* Written since the last look, then merged: it still counts as written. */
KSM_TEST(soft_dirty_survives_merging)
{
	char *mem = mem_map(N);

	mem_fill(mem, N, 20, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	if (!clear_soft_dirty(mem, N))
		SKIP(return, "no soft-dirty bits");
	mem_fill(mem, N / 2, 20, 0);
	EXPECT_EQ(N / 2, soft_dirty(mem, N / 2));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N / 2, soft_dirty(mem, N / 2));
	EXPECT_EQ(0, soft_dirty(PAGE(mem, N / 2), N / 2));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(N / 2, soft_dirty(mem, N / 2));
}

/* Also with the zero page. */
KSM_TEST(soft_dirty_survives_zero_merging)
{
	char *mem = mem_map(N);

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem_fill(mem, N, 1, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	if (!clear_soft_dirty(mem, N))
		SKIP(return, "no soft-dirty bits");
	mem_fill(mem, N, 0, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(N, mem_count_zero_page(0, mem, N));
	EXPECT_EQ(N, soft_dirty(mem, N));
}

static void *touch(void *arg)
{
	char *page = arg;

	page[5] ^= 1;
	return NULL;
}

/* A write to a protected page must be reported, and happen after the answer. */
static bool write_notifies(int fd, char *page)
{
	uint64_t flags = 0;
	pthread_t thread;
	uintptr_t at;
	bool told;

	if (pthread_create(&thread, NULL, touch, page))
		return false;
	at = uffd_event(fd, 5000, &flags);
	told = at == (uintptr_t)page && flags & UFFD_PAGEFAULT_FLAG_WP;
	uffd_protect(fd, page, 1, false);
	pthread_join(thread, NULL);
	return told;
}

KSM_TEST(uffd_protection_of_shared_pages)
{
	char *mem = mem_merged(N, 30, 0);
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);

	ASSERT_NE(NULL, mem);
	if (fd < 0)
		SKIP(return, "no userfaultfd with write protection");
	ASSERT_EQ(0, uffd_register(fd, mem, N, UFFDIO_REGISTER_MODE_WP));
	ASSERT_EQ(0, uffd_protect(fd, mem, N, true));
	EXPECT_EQ(N, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_EQ(N, mem_count_ksm(0, mem, N));
	EXPECT_TRUE(write_notifies(fd, PAGE(mem, 3)));
	EXPECT_EQ(5, page_diff(PAGE(mem, 3), 30));
	EXPECT_EQ(N - 1, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 4), N - 4, 30, 0));
	/* Unmerged, still protected. */
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(N - 1, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(write_notifies(fd, PAGE(mem, 9)));
	EXPECT_EQ(5, page_diff(PAGE(mem, 9), 30));
	/* Given up: an ordinary write. */
	ASSERT_EQ(0, uffd_protect(fd, mem, N, false));
	mem[5] ^= 1;
	EXPECT_EQ(5, page_diff(mem, 30));
	close(fd);
}

KSM_TEST(uffd_protection_survives_merging)
{
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	char *mem = mem_map(N);

	if (fd < 0)
		SKIP(return, "no userfaultfd with write protection");
	mem_fill(mem, N, 40, 0);
	ASSERT_EQ(0, uffd_register(fd, mem, N, UFFDIO_REGISTER_MODE_WP));
	ASSERT_EQ(0, uffd_protect(fd, mem, N / 2, true));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	/* An engine may leave protected pages alone, but not unprotect them. */
	EXPECT_EQ(N / 2, count_entries(mem, N / 2, PAGEMAP_UFFD_WP));
	EXPECT_EQ(0, count_entries(PAGE(mem, N / 2), N / 2, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(write_notifies(fd, PAGE(mem, 3)));
	EXPECT_EQ(5, page_diff(PAGE(mem, 3), 40));
	PAGE(mem, N - 1)[5] ^= 1;
	EXPECT_EQ(0, mem_bad(PAGE(mem, 4), N - 5, 40, 0));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(N / 2 - 1, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(write_notifies(fd, PAGE(mem, 5)));
	close(fd);
}

/* The zero page is no exception. */
KSM_TEST(uffd_protection_survives_zero_merging)
{
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	char *mem = mem_map(N);

	if (fd < 0)
		SKIP(return, "no userfaultfd with write protection");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem_fill(mem, N, 1, 0);
	mem_fill(mem, N, 0, 0);
	ASSERT_EQ(0, uffd_register(fd, mem, N, UFFDIO_REGISTER_MODE_WP));
	ASSERT_EQ(0, uffd_protect(fd, mem, N, true));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(write_notifies(fd, mem));
	EXPECT_EQ(5, page_diff(mem, 0));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_zero_page(0, mem, N));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N - 1, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(write_notifies(fd, PAGE(mem, 1)));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 2), N - 2, 0, 0));
	close(fd);
}

static int protect_from_reads(int fd, char *mem, size_t pages, bool on)
{
	struct uffdio_rwprotect rwp = {
		.range = { (uintptr_t)mem, pages * PAGE_BYTES },
		.mode = on ? UFFDIO_RWPROTECT_MODE_RWP : 0,
	};

	return ioctl(fd, UFFDIO_RWPROTECT, &rwp) ? -errno : 0;
}

static void *look_at(void *page)
{
	return (void *)(uintptr_t)__atomic_load_n((unsigned char *)page, __ATOMIC_RELAXED);
}

/* A read of a protected page must be told of, and happen after the answer. */
static bool read_notifies(int fd, char *page, uint64_t seed)
{
	uint64_t flags = 0;
	pthread_t thread;
	uintptr_t at;
	bool told;

	if (pthread_create(&thread, NULL, look_at, page))
		return false;
	at = uffd_event(fd, 5000, &flags);
	told = at == (uintptr_t)page && flags & UFFD_PAGEFAULT_FLAG_RWP;
	protect_from_reads(fd, page, 1, false);
	pthread_join(thread, NULL);
	return told && page_diff(page, seed) == -1;
}

/* Of pages with this content, the first half is protected and then all are merged. */
static int merge_protected_from_reads(int fd, char *mem, uint64_t seed)
{
	int err;

	mem_fill(mem, N, seed ? seed : 1, 0);
	mem_fill(mem, N, seed, 0);
	err = uffd_register(fd, mem, N, UFFDIO_REGISTER_MODE_RWP);
	if (!err)
		err = protect_from_reads(fd, mem, N / 2, true);
	if (!err && madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE))
		err = -errno;
	return err ? err : ksm_settle();
}

/* Neither merging nor unmerging makes a page readable that is to be told of. */
KSM_TEST(uffd_protection_from_reads_survives)
{
	int fd = uffd_open(UFFD_FEATURE_RWP);
	char *mem = mem_map(N);

	if (fd < 0)
		SKIP(return, "no userfaultfd with protection from reads");
	ASSERT_EQ(0, merge_protected_from_reads(fd, mem, 45));
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N / 2, count_entries(mem, N / 2, PAGEMAP_UFFD_WP));
	EXPECT_EQ(0, count_entries(PAGE(mem, N / 2), N / 2, PAGEMAP_UFFD_WP));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 45, 0));
	EXPECT_TRUE(read_notifies(fd, PAGE(mem, 3), 45));
	EXPECT_TRUE(page_is_ksm(0, PAGE(mem, 3)));
	PAGE(mem, 3)[5] ^= 1;
	EXPECT_EQ(5, page_diff(PAGE(mem, 3), 45));
	/* Protected once they are shared */
	ASSERT_EQ(0, protect_from_reads(fd, PAGE(mem, N - 2), 2, true));
	EXPECT_TRUE(read_notifies(fd, PAGE(mem, N - 1), 45));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(N / 2, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(read_notifies(fd, PAGE(mem, 4), 45));
	EXPECT_TRUE(read_notifies(fd, PAGE(mem, N - 2), 45));
	/* Unmerged by the program itself, which is told of no read of its own making. */
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(N / 2 - 2, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(read_notifies(fd, PAGE(mem, 5), 45));
	/* Given up: an ordinary read. */
	ASSERT_EQ(0, protect_from_reads(fd, mem, N, false));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 4), N - 4, 45, 0));
	close(fd);
}

/* The zero page is no exception. */
KSM_TEST(uffd_protection_from_reads_survives_zero)
{
	int fd = uffd_open(UFFD_FEATURE_RWP);
	char *mem = mem_map(N);

	if (fd < 0)
		SKIP(return, "no userfaultfd with protection from reads");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, merge_protected_from_reads(fd, mem, 0));
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N / 2, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 0, 0));
	EXPECT_TRUE(read_notifies(fd, PAGE(mem, 1), 0));
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N / 2 - 1, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_TRUE(read_notifies(fd, PAGE(mem, 2), 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 0, 0));
	close(fd);
}

/* ---------------------------------------- PAGEMAP_SCAN, as CRIU and Wine use it */

/* How many pages of the range have all of these properties; -errno. */
static long scan_pages(char *mem, size_t pages, uint64_t which, uint64_t flags)
{
	struct page_region found[2 * N];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = flags,
		.start = (uintptr_t)mem,
		.end = (uintptr_t)PAGE(mem, pages),
		.vec = (uintptr_t)found,
		.vec_len = 2 * N,
		.category_mask = which,
		.return_mask = which,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int i, n = ioctl(fd, PAGEMAP_SCAN, &arg);
	long count = n < 0 ? -errno : 0;

	close(fd);
	for (i = 0; i < n; i++)
		count += (found[i].end - found[i].start) / PAGE_BYTES;
	return count;
}

static long written(char *mem, size_t pages)
{
	return scan_pages(mem, pages, PAGE_IS_WRITTEN, PM_SCAN_CHECK_WPASYNC);
}

/* Takes the number of pages that were written to since the last time. */
static long take_written(char *mem, size_t pages)
{
	return scan_pages(mem, pages, PAGE_IS_WRITTEN,
			  PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC);
}

/* Makes the kernel record writes to it; -errno. */
static int track(char *mem, size_t pages)
{
	int fd = uffd_open(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
	int err = fd < 0 ? fd : uffd_register(fd, mem, pages, UFFDIO_REGISTER_MODE_WP);

	return err ? err : fd;
}

/* Merging and unmerging are no writes; earlier writes stay known. */
KSM_TEST(wp_async_tells_of_writes_alone)
{
	char *mem = mem_map(2 * N), *zero = PAGE(mem, N);
	int fd = track(mem, 2 * N);

	if (fd < 0)
		SKIP(return, "no userfaultfd that notes writes");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem_fill(mem, N, 60, 0);
	mem_fill(zero, N, 1, 0);
	mem_fill(zero, N, 0, 0);
	EXPECT_EQ(2 * N, take_written(mem, 2 * N));
	EXPECT_EQ(0, written(mem, 2 * N));
	page_fill(PAGE(mem, 1), 60);
	page_fill(PAGE(zero, 1), 0);
	ASSERT_EQ(0, madvise(mem, 2 * N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, scan_pages(mem, 2 * N, PAGE_IS_PFNZERO, 0));
	EXPECT_EQ(2 * N, scan_pages(mem, 2 * N, PAGE_IS_PRESENT, 0));
	EXPECT_EQ(1, written(mem, N));
	EXPECT_EQ(1, written(zero, N));
	EXPECT_EQ(2, take_written(mem, 2 * N));
	EXPECT_EQ(0, written(mem, 2 * N));

	/* Asking, and protecting again, has unshared nothing. */
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	page_fill(PAGE(mem, 3), 61);
	PAGE(zero, 3)[9] = 1;
	EXPECT_EQ(1, written(PAGE(mem, 3), 1));
	EXPECT_EQ(1, written(mem, N));
	EXPECT_EQ(1, written(PAGE(zero, 3), 1));
	EXPECT_EQ(1, written(zero, N));
	EXPECT_EQ(N - 1, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(0, mem_count_zero_page(0, zero, N));
	EXPECT_EQ(2, take_written(mem, 2 * N));
	mem_fill(mem, N / 2, 62, 0);
	mem_fill(zero, N / 2, 63, 0);
	EXPECT_EQ(N / 2, written(mem, N / 2));
	EXPECT_EQ(N / 2, written(mem, N));
	EXPECT_EQ(N / 2, written(zero, N));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 60, 0));
	EXPECT_EQ(0, mem_bad(PAGE(zero, N / 2), N / 2, 0, 0));
	close(fd);
}

/*
 * If a protected page was discarded, or never existed, a marker in the page
 * table says so. It is no page, and neither ksmd nor unmerging may stumble over
 * it.
 */
KSM_TEST(wp_markers_are_passed_over)
{
	int file = memfd_create("ksm-test-track", 0);
	char *mem;
	int fd;

	ASSERT_EQ(0, ftruncate(file, N * PAGE_BYTES));
	mem = mmap(NULL, N * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ASSERT_NE(MAP_FAILED, mem);
	fd = track(mem, N);
	if (fd < 0)
		SKIP(return, "no userfaultfd that notes writes");
	mem_fill(mem, N - 4, 70, 0);
	EXPECT_EQ(N - 4, take_written(mem, N - 4));
	ASSERT_EQ(0, uffd_protect(fd, PAGE(mem, N - 4), 4, true));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 5, 0);
	ASSERT_EQ(0, madvise(mem, N / 2 * PAGE_BYTES, MADV_DONTNEED));
	EXPECT_EQ(N / 2 - 4, mem_count_ksm(0, mem, N));
	EXPECT_EQ(N, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_EQ(0, written(mem, N));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 5, 0);
	EXPECT_EQ(N, count_entries(mem, N, PAGEMAP_UFFD_WP));
	/* Reads return the file's content, which is protected as before. */
	EXPECT_EQ(0, mem_bad(mem, N / 4, 0, 0));
	EXPECT_EQ(N, count_entries(mem, N, PAGEMAP_UFFD_WP));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, mem_count_ksm(0, mem, N));
	EXPECT_EQ(N, count_entries(mem, N, PAGEMAP_UFFD_WP));
	EXPECT_EQ(0, written(mem, N));
	mem_fill(mem, N, 71, 0);
	EXPECT_EQ(N, written(mem, N));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(N, written(mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 71, 0));
	close(fd);
	close(file);
}

/* Only the program may fill in a page that is not there yet. */
KSM_TEST(uffd_missing_pages)
{
	struct uffdio_copy copy = { .len = PAGE_BYTES };
	char *mem = mem_map(N), *from = mem_map(1);
	int fd = uffd_open(0);
	uint64_t flags = 0;
	pthread_t thread;

	if (fd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	page_fill(from, 50);
	mem_fill(mem, N / 2, 50, 0);
	ASSERT_EQ(0, uffd_register(fd, mem, N, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 1, 0);
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 1, 0);
	EXPECT_EQ(0, uffd_event(fd, 0, &flags));
	/* A shared page that is discarded is missing again. */
	ASSERT_EQ(0, madvise(mem, PAGE_BYTES, MADV_DONTNEED));
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch, mem));
	EXPECT_EQ((uintptr_t)mem, uffd_event(fd, 5000, &flags));
	copy.dst = (uintptr_t)mem;
	copy.src = (uintptr_t)from;
	EXPECT_EQ(0, ioctl(fd, UFFDIO_COPY, &copy));
	pthread_join(thread, NULL);
	EXPECT_EQ(5, page_diff(mem, 50));
	copy.dst = (uintptr_t)PAGE(mem, N - 1);
	EXPECT_EQ(0, ioctl(fd, UFFDIO_COPY, &copy));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 1, 1);
	EXPECT_EQ(page_pfn(0, PAGE(mem, 1)), page_pfn(0, PAGE(mem, N - 1)));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N / 2 - 1, 50, 0));
	close(fd);
}

TEST_HARNESS_MAIN
