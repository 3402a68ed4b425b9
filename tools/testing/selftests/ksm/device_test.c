// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of devices that the CPU cannot read, as that of a GPU: KSM pages do not
 * go there, and what is there is no candidate until it comes back.
 */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <linux/types.h>
#include <sys/ioctl.h>

#define N 32
#define DEVICE "/dev/hmm_dmirror0"

/* As lib/test_hmm_uapi.h, which no package installs, has them. */
struct mirror_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define MIRROR_TO_DEVICE	_IOWR('H', 0x02, struct mirror_cmd)
#define MIRROR_SNAPSHOT		_IOWR('H', 0x04, struct mirror_cmd)
#define MIRROR_IN_DEVICE	0x20

FIXTURE(device) {
	KSM_FIXTURE_STATE;
	int fd;
};

FIXTURE_SETUP(device)
{
	self->fd = -1;
	if (!ksm_testable() || access(DEVICE, F_OK))
		SKIP(return, "needs root and CONFIG_TEST_HMM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	self->fd = open(DEVICE, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN_PARENT(device)
{
	KSM_FIXTURE_TEARDOWN();
}

#define DEVICE_TEST(name) TEST_F_TIMEOUT(device, name, 240)

/*
 * Asks the device to take these pages. It says ENOENT when it did not get all of
 * them, whatever the reason.
 */
static int device_take(int fd, char *mem, size_t pages)
{
	static char copy[N * PAGE_BYTES];
	struct mirror_cmd cmd = {
		.addr = (uintptr_t)mem, .ptr = (uintptr_t)copy, .npages = pages,
	};

	return ioctl(fd, MIRROR_TO_DEVICE, &cmd) && errno != ENOENT ? -errno : 0;
}

/* How many of the pages the device has. */
static int device_has(int fd, char *mem, size_t pages)
{
	unsigned char where[N] = { 0 };
	struct mirror_cmd cmd = {
		.addr = (uintptr_t)mem, .ptr = (uintptr_t)where, .npages = pages,
	};
	size_t i, found = 0;

	if (ioctl(fd, MIRROR_SNAPSHOT, &cmd))
		return -errno;
	for (i = 0; i < pages; i++)
		found += (where[i] & ~0xf) == MIRROR_IN_DEVICE;
	return found;
}

/* Pages that share stay, with all who share them; another finds them. */
DEVICE_TEST(merged_pages_stay)
{
	char *mem = mem_merged(N, 1, 1);
	char *other = mem_map(N);
	uint64_t pfn;

	ASSERT_NE(NULL, mem);
	ASSERT_COUNTERS(N, N, 0);
	pfn = page_pfn(0, mem);
	ASSERT_EQ(0, device_take(self->fd, mem, N));
	EXPECT_EQ(0, device_has(self->fd, mem, N));
	EXPECT_EQ(0, device_has(self->fd, PAGE(mem, N), N));
	EXPECT_EQ(pfn, page_pfn(0, mem));
	ASSERT_COUNTERS(N, N, 0);

	mem_fill(other, N, 1, 1);
	ASSERT_EQ(0, madvise(other, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, 2 * N, 0);
	EXPECT_EQ(0, mem_merged_bad(mem, N, 1, 1));
	EXPECT_EQ(0, mem_bad(other, N, 1, 1));
}

/* Pages that ksmd knows go to the device, and merge after they have come back. */
DEVICE_TEST(known_pages_come_back)
{
	char *mem = mem_map(N);
	char *other = mem_map(N);

	mem_fill(mem, N, 1, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(3));
	ASSERT_COUNTERS(0, 0, N);
	ASSERT_EQ(0, device_take(self->fd, mem, N));
	ASSERT_EQ(N, device_has(self->fd, mem, N));

	mem_fill(other, N, 1, 1);
	ASSERT_EQ(0, madvise(other, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(3));
	/* The device has them still: ksmd reads nothing there. */
	EXPECT_EQ(N, device_has(self->fd, mem, N));
	EXPECT_EQ(0, ksm_read("pages_sharing"));
	/* Reading brings them back. */
	EXPECT_EQ(0, mem_bad(mem, N, 1, 1));
	EXPECT_EQ(0, device_has(self->fd, mem, N));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N, N, 0);
	EXPECT_EQ(0, mem_bad(mem, N, 1, 1));
	EXPECT_EQ(0, mem_bad(other, N, 1, 1));
}

/* Sharing ends by a write, then the device may have the page. */
DEVICE_TEST(written_pages_go)
{
	char *mem = mem_merged(N, 1, 1);

	ASSERT_NE(NULL, mem);
	mem_fill(mem, N, 1, 1);
	ASSERT_EQ(0, device_take(self->fd, mem, N));
	EXPECT_EQ(N, device_has(self->fd, mem, N));
	ASSERT_EQ(0, ksm_scans(2));
	EXPECT_EQ(0, mem_merged_bad(mem, N, 1, 1));
}

TEST_HARNESS_MAIN
