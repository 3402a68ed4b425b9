// SPDX-License-Identifier: GPL-2.0
/* Programs that track their memory with soft-dirty bits or userfaultfd. */

#include "ksm_fixture.h"

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "ksm_env.h"

#define N 32
#define PAGEMAP_SOFT_DIRTY (1ULL << 55)
#define PAGEMAP_UFFD_WP (1ULL << 57)

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

/* Of pages that were written to: false where such bits are not kept. */
static bool clear_soft_dirty(const char *mem, size_t pages)
{
	return soft_dirty(mem, pages) == pages &&
	       !file_write("/proc/self/clear_refs", "4") && !soft_dirty(mem, pages);
}

/* To merge and to unmerge is no write, but a write to shared memory is one. */
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

/* Written since the last look, then merged: it was written all the same. */
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

/* A write to a protected page must be told of, and happen after the answer. */
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

/* What is not there yet is nobody's to fill in but the program's. */
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
