// SPDX-License-Identifier: GPL-2.0
/* What a process is told about itself, and what a scan costs. */

#include "ksm_fixture.h"

#define N 64

static long own_stat(pid_t pid, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid);
	return file_read_key(path, key);
}

static long own_merging(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", pid);
	return file_read_long(path);
}

KSM_TEST(process_counters)
{
	struct peer a, b;
	long profit;

	ASSERT_EQ(0, peer_start(&a, N));
	ASSERT_EQ(0, peer_start(&b, N));
	EXPECT_EQ(0, own_merging(a.pid));
	EXPECT_EQ(0, own_stat(a.pid, "ksm_rmap_items"));
	/* Half of each is common; the rest is its own. */
	ASSERT_EQ(0, peer_fill(&a, 0, N / 2, 100, 1));
	ASSERT_EQ(0, peer_fill(&a, N / 2, N / 2, 10000, 1));
	ASSERT_EQ(0, peer_fill(&b, 0, N / 2, 100, 1));
	ASSERT_EQ(0, peer_fill(&b, N / 2, N / 2, 20000, 1));
	ASSERT_EQ(0, peer_madvise(&a, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, peer_madvise(&b, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(N / 2, N / 2, N);
	EXPECT_EQ(N / 2, own_merging(a.pid));
	EXPECT_EQ(N / 2, own_merging(b.pid));
	EXPECT_EQ(N / 2, own_stat(a.pid, "ksm_merging_pages"));
	EXPECT_EQ(0, own_stat(a.pid, "ksm_zero_pages"));
	EXPECT_EQ(N, own_stat(a.pid, "ksm_rmap_items"));
	EXPECT_EQ(0, own_merging(getpid()));
	/* Saved memory less what is spent on N pages. */
	profit = own_stat(a.pid, "ksm_process_profit");
	EXPECT_LT(0, profit);
	EXPECT_GT(N / 2 * (long)PAGE_BYTES, profit);
	EXPECT_LT(0, ksm_read("general_profit"));
	EXPECT_GT(N / 2 * (long)PAGE_BYTES, ksm_read("general_profit"));

	ASSERT_EQ(0, peer_fill(&a, 0, 4, 7, 1));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N / 2 - 4, own_merging(a.pid));
	EXPECT_EQ(N / 2, own_merging(b.pid));
	ASSERT_EQ(0, peer_madvise(&b, 0, N, MADV_UNMERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, own_merging(b.pid));
	EXPECT_EQ(0, own_stat(b.pid, "ksm_rmap_items"));
	EXPECT_EQ(0, peer_bad(&a, 4, N / 2 - 4, 104, 1));
	EXPECT_EQ(0, peer_bad(&b, 0, N / 2, 100, 1));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, own_merging(a.pid));
	EXPECT_EQ(0, own_stat(a.pid, "ksm_rmap_items"));
	ASSERT_EQ(0, peer_end(&a));
	ASSERT_EQ(0, peer_end(&b));
}

/* What a line of the process's ksm_stat says: 1 is yes, 0 is no; or -errno. */
static int says(pid_t pid, const char *key)
{
	char path[64], line[128], word[8];
	int answer = -ENOENT;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) ||
		    sscanf(line + strlen(key), ": %7s\n", word) != 1)
			continue;
		answer = !strcmp(word, "yes") ? 1 : !strcmp(word, "no") ? 0 : -EINVAL;
	}
	fclose(f);
	return answer;
}

#define EXPECT_SAYS(p, any, mergeable) do { \
	EXPECT_EQ(any, says((p)->pid, "ksm_merge_any")); \
	EXPECT_EQ(mergeable, says((p)->pid, "ksm_mergeable")); \
} while (0)

/* Whether all of it is offered, and whether any of it may be merged. */
KSM_TEST(a_process_tells_what_it_offers)
{
	struct peer p, child;

	ASSERT_EQ(0, peer_start(&p, N));
	if (says(p.pid, "ksm_merge_any") == -ENOENT) {
		peer_end(&p);
		SKIP(return, "no ksm_merge_any in this kernel");
	}
	EXPECT_SAYS(&p, 0, 0);
	ASSERT_EQ(0, peer_madvise(&p, 0, 1, MADV_MERGEABLE));
	EXPECT_SAYS(&p, 0, 1);
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_UNMERGEABLE));
	EXPECT_SAYS(&p, 0, 0);
	ASSERT_EQ(0, peer_prctl(&p, PR_SET_MEMORY_MERGE, 1));
	EXPECT_SAYS(&p, 1, 1);
	ASSERT_EQ(0, peer_fork(&p, &child));
	EXPECT_SAYS(&child, 1, 1);
	ASSERT_EQ(0, peer_prctl(&p, PR_SET_MEMORY_MERGE, 0));
	EXPECT_SAYS(&p, 0, 0);
	EXPECT_SAYS(&child, 1, 1);
	/* An mm that ksmd no longer knows of, as nothing in it may be merged. */
	ASSERT_EQ(0, ksm_settle());
	EXPECT_SAYS(&p, 0, 0);
	ASSERT_EQ(0, peer_end(&child));
	ASSERT_EQ(0, peer_end(&p));
}

KSM_TEST(a_forked_child_starts_at_zero)
{
	struct peer p, child;

	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 30, 0));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, own_merging(p.pid));
	ASSERT_EQ(0, peer_fork(&p, &child));
	EXPECT_EQ(0, own_merging(child.pid));
	EXPECT_EQ(0, own_stat(child.pid, "ksm_rmap_items"));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, own_merging(child.pid));
	EXPECT_EQ(N, own_merging(p.pid));
	EXPECT_EQ(0, peer_bad(&child, 0, N, 30, 0));
	ASSERT_EQ(0, peer_end(&child));
	ASSERT_EQ(0, peer_end(&p));
}

/* pages_scanned and full_scans move as pages are visited. */
KSM_TEST(scan_counters)
{
	char *mem = mem_map(N);
	long scanned, scans;

	mem_fill(mem, N, 200, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(1));
	scanned = ksm_read("pages_scanned");
	scans = ksm_read("full_scans");
	sleep_ms(100);
	EXPECT_EQ(scanned, ksm_read("pages_scanned"));
	EXPECT_EQ(scans, ksm_read("full_scans"));
	ASSERT_EQ(0, ksm_scans(4));
	scans = ksm_read("full_scans") - scans;
	scanned = ksm_read("pages_scanned") - scanned;
	EXPECT_LE(5, scans);
	EXPECT_LE((scans - 1) * N, scanned);
	EXPECT_GE((scans + 1) * (N + 1), scanned);
}

/* With smart_scan, pages that never find a partner are read less often. */
KSM_TEST(smart_scan_skips)
{
	char *mem = mem_map(N);
	long skipped;

	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	mem_fill(mem, N, 300, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	skipped = ksm_read("pages_skipped");
	ASSERT_EQ(0, ksm_scans(15));
	EXPECT_LT(skipped + N, ksm_read("pages_skipped"));
	EXPECT_EQ(0, mem_bad(mem, N, 300, 1));
	/* Its turn comes nevertheless. */
	page_fill(PAGE(mem, 3), 301);
	page_fill(PAGE(mem, 5), 302);
	ASSERT_EQ(0, ksm_scans(25));
	EXPECT_EQ(page_pfn(0, PAGE(mem, 1)), page_pfn(0, PAGE(mem, 3)));
	EXPECT_EQ(page_pfn(0, PAGE(mem, 2)), page_pfn(0, PAGE(mem, 5)));
}

#define SPARSE_BYTES (64UL << 30)

static char *sparse_page(char *mem, size_t i)
{
	return mem + i * (SPARSE_BYTES / N) + (i % 512) * PAGE_BYTES;
}

static size_t sparse_bad(char *mem)
{
	size_t i, bad = 0;

	for (i = 0; i < N; i++)
		bad += page_diff(sparse_page(mem, i), 400 + i / 2) >= 0;
	return bad;
}

/*
 * 64 GiB of address space with a page here and there: holes cost nothing. A busy machine
 * can only make it seem more, so one of a few tries has to show it. A visit to each of
 * 16 million page table entries would take far longer, each time.
 */
KSM_TEST(sparse_mapping)
{
	double start, merged, undone;
	int tries = 5;
	size_t i;
	char *mem;

	mem = mmap(NULL, SPARSE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, madvise(mem, SPARSE_BYTES, MADV_NOHUGEPAGE));
	for (i = 0; i < N; i++)
		page_fill(sparse_page(mem, i), 400 + i / 2);
	do {
		ASSERT_EQ(0, madvise(mem, SPARSE_BYTES, MADV_MERGEABLE));
		start = seconds_now();
		ASSERT_EQ(0, ksm_settle());
		merged = seconds_now() - start;
		ASSERT_COUNTERS(N / 2, N / 2, 0);
		EXPECT_EQ(0, sparse_bad(mem));
		start = seconds_now();
		ASSERT_EQ(0, madvise(mem, SPARSE_BYTES, MADV_UNMERGEABLE));
		undone = seconds_now() - start;
		EXPECT_EQ(0, sparse_bad(mem));
		TH_LOG("settled in %.2f s, undone in %.2f s", merged, undone);
	} while ((merged >= 5 || undone >= 5) && --tries);
	EXPECT_GT(5, merged);
	EXPECT_GT(5, undone);
}

/* "KSM:" of the mapping that starts here, in KiB. */
static long smaps_ksm_kb(const char *mem)
{
	unsigned long start, end;
	bool inside = false;
	char line[512];
	long kb = -1;
	FILE *f;

	f = fopen("/proc/self/smaps", "re");
	while (f && kb < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start == (uintptr_t)mem;
		else if (inside && sscanf(line, "KSM: %ld kB", &kb) != 1)
			kb = -1;
	}
	if (f)
		fclose(f);
	return kb;
}

static size_t count_flag(const char *mem, uint64_t flag)
{
	size_t i, n = 0;

	for (i = 0; i < N; i++)
		n += !!(pfn_flags(page_pfn(0, PAGE(mem, i))) & flag);
	return n;
}

KSM_TEST(smaps)
{
	char *mem = mem_map(N);

	mem_fill(mem, N / 2, 40, 0);
	mem_fill(PAGE(mem, N / 2), N / 2, 41, 1);
	EXPECT_EQ(0, smaps_ksm_kb(mem));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N / 2 - 1, N / 2);
	EXPECT_EQ(N / 2 * PAGE_BYTES / 1024, smaps_ksm_kb(mem));
	page_fill(mem, 7);
	EXPECT_EQ((N / 2 - 1) * PAGE_BYTES / 1024, smaps_ksm_kb(mem));
	/* A page that nobody else shares any more is still a KSM page. */
	mem_fill(mem, N / 2 - 1, 8, 1);
	EXPECT_EQ(PAGE_BYTES / 1024, smaps_ksm_kb(mem));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, smaps_ksm_kb(mem));
}

/* In /proc/kpageflags: set for KSM pages, and for no others. */
KSM_TEST(page_flags)
{
	char *mem = mem_map(N), *other = mem_map(N);

	mem_fill(mem, N, 50, 0);
	mem_fill(other, N, 50, 0);
	EXPECT_EQ(0, count_flag(mem, KPAGE_KSM));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, count_flag(mem, KPAGE_KSM));
	EXPECT_EQ(0, count_flag(other, KPAGE_KSM));
	mem_fill(mem, N / 2, 51, 1);
	EXPECT_EQ(N / 2, count_flag(mem, KPAGE_KSM));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(0, count_flag(mem, KPAGE_KSM));
}

/* These files tell nobody what others have in memory. */
KSM_TEST(files_of_other_processes)
{
	static const char *const file[] = {
		"ksm_stat", "ksm_merging_pages", "smaps", "smaps_rollup", "pagemap",
	};
	struct peer p;
	int status, i;
	pid_t pid;

	ASSERT_EQ(0, peer_start(&p, N));
	pid = fork();
	if (pid == 0) {
		char path[64];

		if (setgid(65534) || setuid(65534))
			_exit(100);
		for (i = 0; i < 5; i++) {
			snprintf(path, sizeof(path), "/proc/%d/%s", p.pid, file[i]);
			if (file_read_long(path) != -EACCES)
				_exit(i + 1);
		}
		if (file_read_long("/proc/kpageflags") != -EACCES)
			_exit(101);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
		TH_LOG("status %#x", status);
	EXPECT_EQ(0, own_merging(p.pid));
	ASSERT_EQ(0, peer_end(&p));
}

/* With smart_scan off nothing is skipped, and never what is merged. */
KSM_TEST(nothing_skipped_unless_asked)
{
	char *mem = mem_map(N);
	long skipped = ksm_read("pages_skipped"), scanned;

	mem_fill(mem, N, 600, 1);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(15));
	EXPECT_EQ(skipped, ksm_read("pages_skipped"));
	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	mem_fill(mem, N, 601, 0);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	/* With it on, pages that are merged are visited all the same. */
	skipped = ksm_read("pages_skipped");
	scanned = ksm_read("pages_scanned");
	ASSERT_EQ(0, ksm_scans(15));
	EXPECT_EQ(skipped, ksm_read("pages_skipped"));
	EXPECT_LE(15 * N, ksm_read("pages_scanned") - scanned);
	EXPECT_EQ(0, mem_bad(mem, N, 601, 0));
}

TEST_HARNESS_MAIN
