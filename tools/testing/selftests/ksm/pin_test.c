// SPDX-License-Identifier: GPL-2.0
/* Memory that a device or the kernel holds on to is never shared. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "ksm_env.h"

/* A page that a pipe holds by reference has one more user than mappings. */
KSM_TEST(page_in_a_pipe)
{
	static char out[PAGE_BYTES];
	char *mem = mem_map(3);
	struct iovec iov;
	int fds[2];

	mem_fill(mem, 3, 10, 0);
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ PAGE(mem, 2), PAGE_BYTES };
	ASSERT_EQ(PAGE_BYTES, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, madvise(mem, 3 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_FALSE(page_is_ksm(0, PAGE(mem, 2)));
	EXPECT_EQ(2, mem_count_ksm(0, mem, 2));
	EXPECT_EQ(0, mem_bad(mem, 3, 10, 0));
	ASSERT_EQ(PAGE_BYTES, read(fds[0], out, PAGE_BYTES));
	EXPECT_EQ(-1, page_diff(out, 10));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2, 0);
	EXPECT_EQ(3, mem_count_ksm(0, mem, 3));
	EXPECT_EQ(0, mem_bad(mem, 3, 10, 0));
}

/* Nothing is shared with it, and no single page is made read-only for it. */
KSM_TEST(equal_to_a_page_in_a_pipe)
{
	static char out[PAGE_BYTES];
	char *mem = mem_map(2);
	struct iovec iov;
	int fds[2];

	mem_fill(mem, 2, 12, 0);
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ PAGE(mem, 1), PAGE_BYTES };
	ASSERT_EQ(PAGE_BYTES, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, madvise(mem, 2 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, mem_count_ksm(0, mem, 2));
	EXPECT_EQ(0, ksm_read("pages_shared"));
	ASSERT_EQ(PAGE_BYTES, read(fds[0], out, PAGE_BYTES));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, 0);
	EXPECT_EQ(0, mem_bad(mem, 2, 12, 0));
}

/* A file with a page of the pattern. */
static int pattern_file(uint64_t seed)
{
	static char page[PAGE_BYTES];
	int fd = memfd_create("pattern", 0);

	page_fill(page, seed);
	if (fd < 0 || pwrite(fd, page, PAGE_BYTES, 0) != PAGE_BYTES)
		return -1;
	return fd;
}

/* Pinned first, candidate for merging later: what DMA writes must be seen. */
KSM_TEST(pinned_pages_stay)
{
	char *mem = mem_map(4);
	char *pinned = PAGE(mem, 3);
	struct ring r;
	int fd, err;

	err = ring_open(&r);
	if (err == -ENOSYS)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, err);
	fd = pattern_file(21);
	ASSERT_LE(0, fd);
	mem_fill(mem, 4, 20, 0);
	ASSERT_EQ(0, ring_register(&r, pinned, PAGE_BYTES));
	ASSERT_EQ(0, madvise(mem, 4 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_FALSE(page_is_ksm(0, pinned));
	EXPECT_EQ(3, mem_count_ksm(0, mem, 3));
	EXPECT_EQ(1, ksm_read("pages_shared"));
	EXPECT_EQ(2, ksm_read("pages_sharing"));
	EXPECT_EQ(0, mem_bad(mem, 4, 20, 0));
	ASSERT_EQ(PAGE_BYTES, ring_read_fixed(&r, fd, pinned, PAGE_BYTES));
	EXPECT_EQ(-1, page_diff(pinned, 21));
	EXPECT_EQ(0, mem_bad(mem, 3, 20, 0));

	/* Equal contents once more, and free: now it may join. */
	page_fill(pinned, 20);
	ASSERT_EQ(0, ring_unregister(&r));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 3, 0);
	EXPECT_EQ(0, mem_bad(mem, 4, 20, 0));
}

/* Shared first, pinned later: the pin must get a page of its own. */
KSM_TEST(pinning_unshares)
{
	char *mem = mem_map(4);
	struct ring r;
	int fd, err;

	err = ring_open(&r);
	if (err == -ENOSYS)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, err);
	fd = pattern_file(31);
	ASSERT_LE(0, fd);
	mem_fill(mem, 4, 30, 0);
	ASSERT_EQ(0, madvise(mem, 4 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(4, mem_count_ksm(0, mem, 4));
	ASSERT_EQ(0, ring_register(&r, mem, PAGE_BYTES));
	EXPECT_FALSE(page_is_ksm(0, mem));
	ASSERT_EQ(0, ksm_scans(3));
	ASSERT_EQ(PAGE_BYTES, ring_read_fixed(&r, fd, mem, PAGE_BYTES));
	EXPECT_EQ(-1, page_diff(mem, 31));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), 3, 30, 0));
	ASSERT_EQ(0, ksm_scans(3));
	EXPECT_FALSE(page_is_ksm(0, mem));
	EXPECT_EQ(-1, page_diff(mem, 31));
	ASSERT_EQ(0, ring_unregister(&r));
}

/*
 * Pins come and go while ksmd runs; each read must arrive where it was
 * requested.
 */
KSM_TEST(pins_against_a_running_scan)
{
	char *mem = mem_map(8);
	struct ring r;
	int fd, err, i;

	err = ring_open(&r);
	if (err == -ENOSYS)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, err);
	fd = pattern_file(41);
	ASSERT_LE(0, fd);
	mem_fill(mem, 8, 40, 0);
	ASSERT_EQ(0, madvise(mem, 8 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (i = 0; i < 60; i++) {
		char *page = PAGE(mem, i % 8);

		ASSERT_EQ(0, ring_register(&r, page, PAGE_BYTES));
		sleep_ms(i % 5);
		ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
		ASSERT_EQ(PAGE_BYTES, ring_read_fixed(&r, fd, page, PAGE_BYTES));
		ASSERT_EQ(-1, page_diff(page, 41));
		page_fill(page, 40);
		ASSERT_EQ(0, ring_unregister(&r));
		ASSERT_EQ(0, mem_bad(mem, 8, 40, 0));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 7, 0);
	EXPECT_EQ(0, mem_bad(mem, 8, 40, 0));
}

/* A loop device over a memfd with the pattern; its own thread does the reads. */
static int loop_start(size_t pages, uint64_t seed)
{
	int file = memfd_create("loop", MFD_CLOEXEC);
	char *mem = mem_map(pages);
	int loop;

	mem_fill(mem, pages, seed, 1);
	if (write(file, mem, pages * PAGE_BYTES) != (ssize_t)(pages * PAGE_BYTES))
		return -errno;
	munmap(mem, pages * PAGE_BYTES);
	loop = loop_open(file);
	close(file);
	return loop;
}

/* Reads by DMA are in flight while the pages look mergeable. */
KSM_TEST(direct_reads_in_flight)
{
	const size_t n = 64;
	double end = seconds_now() + 4;
	char *mem = mem_map(n);
	int loop = loop_start(n, 500);
	int reads = 0;
	size_t i;

	if (loop < 0)
		SKIP(return, "no loop device");
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	while (seconds_now() < end) {
		/* All equal, and at rest long enough to be merged now and then. */
		mem_fill(mem, n, 9, 0);
		sleep_ms(reads % 12);
		for (i = 0; i < n; i += 16, reads++)
			ASSERT_EQ(16 * PAGE_BYTES, pread(loop, PAGE(mem, i), 16 * PAGE_BYTES,
							 i * PAGE_BYTES));
		ASSERT_EQ(0, mem_bad(mem, n, 500, 1));
	}
	TH_LOG("%d reads", reads);
	EXPECT_EQ(0, loop_close(loop));
	/* The device has to write what is read here. */
	mem_fill(mem, n, 9, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, n - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, n, 9, 0));
}

TEST_HARNESS_MAIN
