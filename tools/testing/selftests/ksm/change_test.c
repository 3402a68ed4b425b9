// SPDX-License-Identifier: GPL-2.0
/*
 * With smart_scan: how soon ksmd notices that an idle page has changed, in any
 * way. young_test covers what others do to accessed bits in the meantime.
 */

#include "ksm_fixture.h"

#include <fcntl.h>

#include "ksm_env.h"

/* Full scans, as Documentation/mm/ksm.rst promises; one may be under way. */
#define SEEN_WITHIN (2 + 1)
/* For a page in use; and TLBs are only flushed once a second. */
#define BUSY_WITHIN (2 + 9 + 1)
#define FLUSHED_MS 1100
#define UNSEEN_WITHIN (64 + 2 + 1)
/* A page that comes this much later is late, not lost. */
#define LATE 8

#define SAME 1
#define OTHER 2
#define DISTANCE 600	/* pages; not of one page table */

/* A page of one content, and one of another that will become equal. */
static char *idle_pair(void)
{
	char *mem = mem_map(DISTANCE + 1);
	char *b = PAGE(mem, DISTANCE);

	page_fill(mem, SAME);
	page_fill(b, OTHER);
	if (ksm_set("smart_scan", 1) || ksm_set("sleep_millisecs", 20) ||
	    madvise(mem, (DISTANCE + 1) * PAGE_BYTES, MADV_MERGEABLE) ||
	    ksm_scans(4) || ksm_read("pages_unshared") != 2)
		return NULL;
	return b;
}

/*
 * Returns after how many full scans the page was last seen unmerged, or -1 if
 * it never becomes anything else. If it is merged while nobody looks, because
 * the machine is busy, it cannot be shown to be late.
 */
static long scans_until_merged(const char *page, long limit, bool in_use)
{
	long first = ksm_read("full_scans"), scans, unmerged = 0;
	bool merged;

	/* If few scans are allowed, none may pass between two looks. */
	ksm_set("sleep_millisecs", limit > BUSY_WITHIN ? 20 : 150);
	ksm_set("run", 1);
	for (;;) {
		sleep_ms(1);
		if (in_use)
			(void)__atomic_load_n(page, __ATOMIC_RELAXED);
		scans = ksm_read("full_scans") - first;
		merged = page_is_ksm(0, page);
		if (merged || scans > limit + LATE)
			break;
		unmerged = scans;
	}
	ksm_set("run", 0);
	printf("# %s after %ld to %ld full scans\n", merged ? "merged" : "not merged",
	       unmerged, scans);
	return merged ? unmerged : -1;
}

#define EXPECT_MERGED_AS(page, limit, in_use) do { \
	const char *page_ = (page); \
	long limit_ = (limit), scans_ = scans_until_merged(page_, limit_, in_use); \
	EXPECT_LE(0, scans_); \
	EXPECT_GT(limit_, scans_); \
	EXPECT_EQ(-1, page_diff(page_, SAME)); \
} while (0)

#define EXPECT_MERGED(page, limit) EXPECT_MERGED_AS(page, limit, false)

/* Reaches the page without its PTE, as a debugger does. */
static bool write_as_debugger(char *page, uint64_t seed)
{
	static char content[PAGE_BYTES];
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	bool done;

	page_fill(content, seed);
	done = fd >= 0 && pwrite(fd, content, PAGE_BYTES, (off_t)(uintptr_t)page) ==
				  (ssize_t)PAGE_BYTES;
	close(fd);
	return done;
}

KSM_TEST(by_a_write)
{
	char *b = idle_pair();

	ASSERT_NE(NULL, b);
	page_fill(b, SAME);
	EXPECT_MERGED(b, SEEN_WITHIN);
}

/*
 * The CPU has the page in its TLB when the accessed bit is cleared. A scan that
 * is stopped in between leaves it there. Then the next access to the page shows
 * the write.
 */
KSM_TEST(by_a_write_again_and_again)
{
	char *b = idle_pair();
	int i;

	ASSERT_NE(NULL, b);
	for (i = 0; i < 8; i++) {
		page_fill(b, 100 + i);
		ASSERT_EQ(0, ksm_scans(0));
	}
	page_fill(b, SAME);
	sleep_ms(FLUSHED_MS);
	EXPECT_MERGED_AS(b, BUSY_WITHIN, true);
}

KSM_TEST(by_a_write_after_fork)
{
	char *b = idle_pair();
	pid_t pid;

	ASSERT_NE(NULL, b);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		pause();
		_exit(0);
	}
	page_fill(b, SAME);
	EXPECT_MERGED(b, SEEN_WITHIN);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
}

KSM_TEST(by_swap_and_back)
{
	char *b = idle_pair();

	ASSERT_NE(NULL, b);
	if (swap_start())
		SKIP(return, "no swap");
	/* On the LRU lists, from the batch of whatever CPU it is in */
	ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "1"));
	ASSERT_EQ(0, madvise(b, PAGE_BYTES, MADV_PAGEOUT));
	EXPECT_EQ(1, mem_count_swapped(0, b, 1));
	page_fill(b, SAME);
	EXPECT_MERGED(b, SEEN_WITHIN);
	EXPECT_EQ(0, swap_stop());
}

KSM_TEST(by_migration)
{
	char *b = idle_pair();
	int node;

	ASSERT_NE(NULL, b);
	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes");
	node = node_of(b);
	ASSERT_LE(0, node);
	ASSERT_TRUE(write_as_debugger(b, SAME));
	ASSERT_EQ(1, move_to_node(0, b, 1, !node));
	EXPECT_MERGED(b, SEEN_WITHIN);
}

KSM_TEST(by_ptrace)
{
	char *b = idle_pair();

	ASSERT_NE(NULL, b);
	ASSERT_TRUE(write_as_debugger(b, SAME));
	EXPECT_MERGED(b, UNSEEN_WITHIN);
}

/* Through pins, as a device does; while they exist, the page is not merged. */
KSM_TEST(by_a_device)
{
	char *b = idle_pair();
	char content[PAGE_BYTES];
	int from = memfd_create("content", MFD_CLOEXEC);
	struct ring ring;

	ASSERT_NE(NULL, b);
	if (ring_open(&ring))
		SKIP(return, "no io_uring");
	page_fill(content, SAME);
	ASSERT_EQ((ssize_t)PAGE_BYTES, pwrite(from, content, PAGE_BYTES, 0));
	ASSERT_EQ(0, ring_register(&ring, b, PAGE_BYTES));
	ASSERT_EQ(0, ksm_scans(4));
	ASSERT_LE(0, ring_read_fixed(&ring, from, b, PAGE_BYTES));
	ASSERT_EQ(0, ksm_scans(4));
	EXPECT_FALSE(page_is_ksm(0, b));
	ASSERT_EQ(0, ring_unregister(&ring));
	EXPECT_MERGED(b, UNSEEN_WITHIN);
	close(ring.fd);
	close(from);
}

TEST_HARNESS_MAIN
