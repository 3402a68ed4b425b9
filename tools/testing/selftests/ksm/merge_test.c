// SPDX-License-Identifier: GPL-2.0
/* Identical pages are merged, others are not, and a write stays private. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/uio.h>

KSM_TEST(identical_pages_share_one)
{
	const size_t n = 8;
	char *mem = mem_map(n);
	uint64_t pfn;
	size_t i;

	ASSERT_NE(NULL, mem);
	mem_fill(mem, n, 11, 0);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, n - 1, 0);
	pfn = page_pfn(0, mem);
	ASSERT_NE(0, pfn);
	for (i = 0; i < n; i++)
		EXPECT_EQ(pfn, page_pfn(0, PAGE(mem, i)));
	EXPECT_EQ(n, mem_count_ksm(0, mem, n));
	EXPECT_EQ(n, pfn_mapcount(pfn));
	EXPECT_EQ(0, mem_bad(mem, n, 11, 0));
}

KSM_TEST(smart_scan_merges_too)
{
	const size_t n = 64;
	char *mem = mem_map(n);

	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	mem_fill(mem, n / 2, 500, 1);
	mem_fill(PAGE(mem, n / 2), n / 2, 500, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(n / 2, n / 2, 0);
	EXPECT_EQ(n, mem_count_ksm(0, mem, n));
	EXPECT_EQ(0, mem_bad(mem, n / 2, 500, 1));
	EXPECT_EQ(0, mem_bad(PAGE(mem, n / 2), n / 2, 500, 1));
}

KSM_TEST(different_pages_stay)
{
	const size_t n = 64;
	char *mem = mem_map(n);

	mem_fill(mem, n, 1000, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(0, 0, n);
	EXPECT_EQ(0, mem_count_ksm(0, mem, n));
	EXPECT_EQ(0, mem_bad(mem, n, 1000, 1));
}

/* Two are alike; one differs in its first byte alone, one in its last. */
KSM_TEST(one_byte_differs)
{
	char *mem = mem_map(4);

	mem_fill(mem, 4, 21, 0);
	PAGE(mem, 2)[0] ^= 1;
	PAGE(mem, 3)[PAGE_BYTES - 1] ^= 1;
	ASSERT_EQ(0, madvise(mem, 4 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, 2);
	EXPECT_EQ(page_pfn(0, mem), page_pfn(0, PAGE(mem, 1)));
	EXPECT_FALSE(page_is_ksm(0, PAGE(mem, 2)));
	EXPECT_FALSE(page_is_ksm(0, PAGE(mem, 3)));
	EXPECT_EQ(0, mem_bad(mem, 2, 21, 0));
	EXPECT_EQ(0, page_diff(PAGE(mem, 2), 21));
	EXPECT_EQ(PAGE_BYTES - 1, page_diff(PAGE(mem, 3), 21));
	PAGE(mem, 2)[0] ^= 1;
	PAGE(mem, 3)[PAGE_BYTES - 1] ^= 1;
	EXPECT_EQ(0, mem_bad(mem, 4, 21, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 3, 0);
	EXPECT_EQ(0, mem_bad(mem, 4, 21, 0));
}

/* Many pages that differ in one byte each, so that long prefixes are alike. */
KSM_TEST(nearly_identical)
{
	const size_t n = 128;
	char *mem = mem_map(n);
	size_t i;

	mem_fill(mem, n, 31, 0);
	for (i = 0; i < n; i++)
		PAGE(mem, i)[PAGE_BYTES - 1] += 1 + i / 2;
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(n / 2, n / 2, 0);
	for (i = 0; i < n; i += 2) {
		EXPECT_EQ(page_pfn(0, PAGE(mem, i)), page_pfn(0, PAGE(mem, i + 1)));
		EXPECT_EQ(PAGE_BYTES - 1, page_diff(PAGE(mem, i), 31));
	}
	for (i = 0; i < n; i++)
		PAGE(mem, i)[PAGE_BYTES - 1] -= 1 + i / 2;
	EXPECT_EQ(0, mem_bad(mem, n, 31, 0));
}

KSM_TEST(two_processes)
{
	const size_t n = 32;
	struct peer a, b;
	size_t i;

	ASSERT_EQ(0, peer_start(&a, n));
	ASSERT_EQ(0, peer_start(&b, n));
	ASSERT_EQ(0, peer_fill(&a, 0, n, 7000, 1));
	ASSERT_EQ(0, peer_fill(&b, 0, n, 7000, 1));
	ASSERT_EQ(0, peer_madvise(&a, 0, n, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&b, 0, n, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(n, n, 0);
	for (i = 0; i < n; i++)
		EXPECT_EQ(page_pfn(a.pid, PAGE(a.mem, i)), page_pfn(b.pid, PAGE(b.mem, i)));

	/* Each writes some; the other one does not see it. */
	ASSERT_EQ(0, peer_fill(&a, 0, 4, 1, 1));
	ASSERT_EQ(0, peer_fill(&b, 4, 4, 90, 1));
	EXPECT_EQ(0, peer_bad(&a, 0, 4, 1, 1));
	EXPECT_EQ(0, peer_bad(&a, 4, n - 4, 7004, 1));
	EXPECT_EQ(0, peer_bad(&b, 0, 4, 7000, 1));
	EXPECT_EQ(0, peer_bad(&b, 4, 4, 90, 1));
	EXPECT_EQ(0, peer_bad(&b, 8, n - 8, 7008, 1));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, peer_bad(&a, 4, n - 4, 7004, 1));
	EXPECT_EQ(0, peer_bad(&b, 8, n - 8, 7008, 1));
	EXPECT_EQ(0, peer_end(&a));
	EXPECT_EQ(0, peer_bad(&b, 8, n - 8, 7008, 1));
	EXPECT_EQ(0, peer_end(&b));
}

KSM_TEST(many_processes)
{
	const size_t n = 64, peers = 6;
	struct peer p[6];
	size_t i;

	for (i = 0; i < peers; i++) {
		ASSERT_EQ(0, peer_start(&p[i], n));
		ASSERT_EQ(0, peer_fill(&p[i], 0, n, 40000, 1));
		ASSERT_EQ(0, peer_madvise(&p[i], 0, n, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(n, n * (peers - 1), 0);
	for (i = 0; i < peers; i++) {
		EXPECT_EQ(n, mem_count_ksm(p[i].pid, p[i].mem, n));
		EXPECT_EQ(0, peer_bad(&p[i], 0, n, 40000, 1));
	}
	for (i = 0; i < peers; i++)
		EXPECT_EQ(0, i & 1 ? peer_end(&p[i]) : -SIGKILL - peer_kill(&p[i]));
}

/* A page that comes later joins the page that is shared already. */
KSM_TEST(late_duplicate_joins)
{
	char *mem = mem_map(3);
	uint64_t pfn;

	mem_fill(mem, 2, 77, 0);
	page_fill(PAGE(mem, 2), 78);
	ASSERT_EQ(0, madvise(mem, 3 * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 1, 1);
	pfn = page_pfn(0, mem);
	page_fill(PAGE(mem, 2), 77);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 2, 0);
	EXPECT_EQ(pfn, page_pfn(0, PAGE(mem, 2)));
	EXPECT_EQ(0, mem_bad(mem, 3, 77, 0));
}

/* Every way to write: a store, a system call's copy, another's hand. */
KSM_TEST(write_is_private)
{
	const size_t n = 6;
	char *mem = mem_map(n);
	struct iovec local, remote;
	long cow, copied;
	int fds[2], fd;
	char byte = 99;

	mem_fill(mem, n, 55, 0);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, n - 1, 0);
	cow = file_read_key("/proc/vmstat", "cow_ksm");

	PAGE(mem, 0)[0] = byte;
	PAGE(mem, 1)[PAGE_BYTES - 1] = byte;
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(1, write(fds[1], &byte, 1));
	ASSERT_EQ(1, read(fds[0], PAGE(mem, 2) + 100, 1));
	local = (struct iovec){ &byte, 1 };
	remote = (struct iovec){ PAGE(mem, 3) + 200, 1 };
	copied = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	/* Without CONFIG_CROSS_MEMORY_ATTACH a store does instead. */
	if (copied < 0 && errno == ENOSYS)
		PAGE(mem, 3)[200] = byte;
	else
		ASSERT_EQ(1, copied);
	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pwrite(fd, &byte, 1, (uintptr_t)PAGE(mem, 4) + 300));

	EXPECT_EQ(cow + 5, file_read_key("/proc/vmstat", "cow_ksm"));
	EXPECT_EQ(byte, PAGE(mem, 0)[0]);
	EXPECT_EQ(byte, PAGE(mem, 1)[PAGE_BYTES - 1]);
	EXPECT_EQ(byte, PAGE(mem, 2)[100]);
	EXPECT_EQ(byte, PAGE(mem, 3)[200]);
	EXPECT_EQ(byte, PAGE(mem, 4)[300]);
	EXPECT_EQ(0, page_diff(PAGE(mem, 0), 55));
	EXPECT_EQ(PAGE_BYTES - 1, page_diff(PAGE(mem, 1), 55));
	EXPECT_EQ(100, page_diff(PAGE(mem, 2), 55));
	EXPECT_EQ(200, page_diff(PAGE(mem, 3), 55));
	EXPECT_EQ(300, page_diff(PAGE(mem, 4), 55));
	EXPECT_EQ(-1, page_diff(PAGE(mem, 5), 55));
	EXPECT_EQ(1, mem_count_ksm(0, mem, n));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, 0, 5);
	EXPECT_EQ(-1, page_diff(PAGE(mem, 5), 55));
}

KSM_TEST(write_and_merge_again)
{
	const size_t n = 16;
	char *mem = mem_map(n);
	int round;

	mem_fill(mem, n, 60, 0);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	for (round = 0; round < 5; round++) {
		ASSERT_EQ(0, ksm_settle());
		ASSERT_EQ(n, mem_count_ksm(0, mem, n));
		ASSERT_EQ(0, mem_bad(mem, n, 60 + round, 0));
		/* At least one of them leaves, then all follow. */
		page_fill(PAGE(mem, round), 60 + round + 1);
		ASSERT_EQ(0, ksm_scans(1));
		ASSERT_EQ(-1, page_diff(PAGE(mem, round), 60 + round + 1));
		ASSERT_EQ(-1, page_diff(PAGE(mem, n - 1), 60 + round));
		mem_fill(mem, n, 60 + round + 1, 0);
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, n - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, n, 65, 0));
}

KSM_TEST(read_only_memory)
{
	const size_t n = 4;
	char *mem = mem_map(n);

	mem_fill(mem, n, 70, 0);
	ASSERT_EQ(0, mprotect(mem, n * PAGE_BYTES, PROT_READ));
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, n - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, n, 70, 0));
	ASSERT_EQ(0, mprotect(mem, n * PAGE_BYTES, PROT_READ | PROT_WRITE));
	mem[5] ^= 1;
	EXPECT_EQ(5, page_diff(mem, 70));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), n - 1, 70, 0));
}

/* A page that is rewritten all the time is not worth merging. */
KSM_TEST(volatile_pages_wait)
{
	const size_t n = 16;
	char *mem = mem_map(n);
	struct ksm_counters c;
	uint64_t stamp = 1;
	bool seen = false;
	int tries;
	size_t i;

	/* Between two scans there must be time to write. */
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 150));
	mem_fill(mem, n, 80, 1);
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	for (tries = 0; tries < 60 && !seen; tries++) {
		long goal = ksm_read("full_scans") + 5;

		ASSERT_EQ(0, ksm_set("run", 1));
		while (ksm_read("full_scans") < goal)
			for (i = 0; i < n * 64; i++)
				*(uint64_t *)PAGE(mem, i % n) = stamp++;
		ASSERT_EQ(0, ksm_set("run", 0));
		ksm_counters(&c);
		ASSERT_EQ(0, c.shared);
		ASSERT_EQ(0, c.sharing);
		seen = c.volatiles == (long)n && c.unshared == 0;
	}
	ksm_counters_print("while written", &c);
	EXPECT_TRUE(seen);
	EXPECT_EQ(0, mem_count_ksm(0, mem, n));
	/* At rest they are ordinary candidates again. */
	mem_fill(mem, n, 81, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, n - 1, 0);
	EXPECT_EQ(0, mem_bad(mem, n, 81, 0));
}

/* What it is all for: the pages that were replaced are free afterwards. */
KSM_TEST(memory_is_given_back)
{
	const char *fraction = "/proc/sys/vm/percpu_pagelist_high_fraction";
	const size_t n = 8192;
	char *mem = mem_map(n);
	long before, gained;
	double end;

	/* CPUs are to keep as few free pages to themselves as they can. */
	ASSERT_EQ(0, file_write(fraction, "1000000"));
	mem_fill(mem, n, 90, 0);
	file_write("/proc/sys/vm/stat_refresh", "1");
	before = file_read_key("/proc/vmstat", "nr_free_pages");
	ASSERT_EQ(0, madvise(mem, n * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(n, mem_count_ksm(0, mem, n));
	/* Some of them may be on their way, and others take some for a while. */
	end = seconds_now() + 60;
	for (;;) {
		file_write("/proc/sys/vm/stat_refresh", "1");
		gained = file_read_key("/proc/vmstat", "nr_free_pages") - before;
		if (gained > (long)n * 7 / 8 || seconds_now() > end)
			break;
		sleep_ms(100);
	}
	EXPECT_EQ(0, file_write(fraction, "0"));
	TH_LOG("%zu pages became %ld, and %ld more are free", n, ksm_read("pages_shared"), gained);
	/* Less metadata, and what lies about nevertheless */
	EXPECT_LT((long)n * 7 / 8, gained);
	EXPECT_EQ(0, mem_bad(mem, n, 90, 0));
}

TEST_HARNESS_MAIN
