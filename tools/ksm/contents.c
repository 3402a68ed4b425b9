// SPDX-License-Identifier: GPL-2.0
/*
 * What is in pages that are not merged: reads a process's memory twice, and
 * finds the pages that change, those full of zeroes, and those that have an
 * equal in the same process. The kernel does not report that by page.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmadm.h"

/* Of /proc/PID/pagemap */
#define PM_PRESENT	(1ULL << 63)
#define PM_FILE		(1ULL << 61)
#define PM_EXCLUSIVE	(1ULL << 56)
#define PM_PFN		((1ULL << 55) - 1)

/* Of /proc/kpageflags */
#define KPF_THP		(1ULL << 22)
#define KPF_ZERO_PAGE	(1ULL << 24)

#define PIECE		512

/* More than this is too much to keep a hash of each page: 64 GiB of 4 KiB pages. */
#define MAX_PAGES	(16ULL << 20)

/* A page has no hash (0), is full of zeroes, or anything else. */
#define HASH_NONE	0
#define HASH_ZEROES	1

struct reader {
	int pagemap, mem;
	unsigned char *page;
	size_t page_bytes;
};

static int open_proc(pid_t pid, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static size_t read_entries(int fd, unsigned long long page, uint64_t *entries, size_t nr)
{
	ssize_t got = pread(fd, entries, nr * sizeof(*entries),
			    (off_t)(page * sizeof(*entries)));

	return got > 0 ? (size_t)got / sizeof(*entries) : 0;
}

static bool is_zero_page(int flags_fd, uint64_t entry)
{
	static uint64_t last_pfn;
	static bool last;
	uint64_t pfn = entry & PM_PFN, flags;

	if (!(entry & PM_PRESENT) || (entry & (PM_FILE | PM_EXCLUSIVE)) || !pfn)
		return false;
	if (pfn == last_pfn)
		return last;
	last_pfn = pfn;
	last = read_entries(flags_fd, pfn, &flags, 1) == 1 &&
	       (flags & (KPF_ZERO_PAGE | KPF_THP)) == KPF_ZERO_PAGE;
	return last;
}

/* Counts pages mapped to the zero page. Returns 0, or EPERM unless root. */
int zero_pages_count(pid_t pid, unsigned long long start, unsigned long long end,
		     long long *pages)
{
	unsigned long long page = start / (unsigned long long)page_bytes();
	unsigned long long last = end / (unsigned long long)page_bytes();
	int pagemap = open_proc(pid, "pagemap");
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t entries[PIECE];
	size_t got, i;

	*pages = 0;
	while (pagemap >= 0 && flags >= 0 && page < last) {
		got = read_entries(pagemap, page, entries,
				   last - page < PIECE ? last - page : PIECE);
		if (!got)
			break;
		for (i = 0; i < got; i++)
			*pages += is_zero_page(flags, entries[i]);
		page += got;
	}
	if (pagemap >= 0)
		close(pagemap);
	if (flags >= 0)
		close(flags);
	return pagemap >= 0 && flags >= 0 ? 0 : EPERM;
}

static uint64_t hash_page(const unsigned char *page, size_t bytes)
{
	uint64_t hash = 0x9e3779b97f4a7c15ULL, all = 0, word;
	size_t i;

	for (i = 0; i < bytes; i += sizeof(word)) {
		memcpy(&word, page + i, sizeof(word));
		all |= word;
		hash = (hash ^ word) * 0xff51afd7ed558ccdULL;
		hash ^= hash >> 32;
	}
	if (!all)
		return HASH_ZEROES;
	return hash > HASH_ZEROES ? hash : hash + 2;
}

/* Hashes the process's own pages in the range; others get HASH_NONE */
static void hash_range(struct reader *r, const struct content_range *range, uint64_t *hashes)
{
	unsigned long long first = range->start / r->page_bytes;
	unsigned long long nr = range->end / r->page_bytes - first, page;
	uint64_t entries[PIECE];
	size_t got, i;

	memset(hashes, 0, nr * sizeof(*hashes));
	for (page = 0; page < nr; page += got) {
		got = read_entries(r->pagemap, first + page, entries,
				   nr - page < PIECE ? nr - page : PIECE);
		if (!got)
			break;
		for (i = 0; i < got; i++) {
			if ((entries[i] & (PM_PRESENT | PM_FILE | PM_EXCLUSIVE)) !=
			    (PM_PRESENT | PM_EXCLUSIVE))
				continue;
			if (pread(r->mem, r->page, r->page_bytes,
				  (off_t)((first + page + i) * r->page_bytes)) ==
			    (ssize_t)r->page_bytes)
				hashes[page + i] = hash_page(r->page, r->page_bytes);
		}
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Whether the sorted @all has another one that equals @hash */
static bool has_equal(const uint64_t *all, size_t nr, uint64_t hash)
{
	const uint64_t *at = bsearch(&hash, all, nr, sizeof(hash), by_value);

	return at && ((at > all && at[-1] == hash) || (at + 1 < all + nr && at[1] == hash));
}

static void judge(struct content_range *range, const uint64_t *first, const uint64_t *second,
		  size_t pages, const uint64_t *all, size_t nr)
{
	struct contents *c = &range->found;
	size_t i;

	for (i = 0; i < pages; i++) {
		if (!first[i])
			continue;
		c->pages++;
		if (!second[i])
			c->gone++;
		else if (first[i] != second[i])
			c->changing++;
		else if (first[i] == HASH_ZEROES)
			c->zero++;
		else if (has_equal(all, nr, second[i]))
			c->alike++;
		else
			c->unique++;
	}
}

static size_t range_pages(const struct content_range *range, size_t bytes)
{
	return (size_t)((range->end - range->start) / bytes);
}

/* Hashes all pages in @ranges, one after the other, into @hashes. */
static void hash_all(struct reader *r, const struct content_range *ranges, size_t nr,
		     uint64_t *hashes)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		hash_range(r, &ranges[i], hashes);
		hashes += range_pages(&ranges[i], r->page_bytes);
	}
}

static void judge_all(struct reader *r, struct content_range *ranges, size_t nr,
		      uint64_t *hashes, size_t pages)
{
	uint64_t *first = hashes, *second = hashes + pages, *all = second + pages;
	size_t i, n;

	memcpy(all, second, pages * sizeof(*all));
	qsort(all, pages, sizeof(*all), by_value);
	for (i = 0; i < nr; i++) {
		n = range_pages(&ranges[i], r->page_bytes);
		judge(&ranges[i], first, second, n, all, pages);
		first += n;
		second += n;
	}
}

/* Reads, waits @seconds, and reads again. Returns 0 or an error's number. */
int contents_sample(pid_t pid, struct content_range *ranges, size_t nr, double seconds)
{
	struct reader r = { .page_bytes = (size_t)page_bytes() };
	unsigned long long pages = 0;
	uint64_t *hashes = NULL;
	int err = 0;
	size_t i;

	for (i = 0; i < nr; i++)
		pages += range_pages(&ranges[i], r.page_bytes);
	if (!pages)
		return 0;
	if (pages > MAX_PAGES)
		return E2BIG;
	r.pagemap = open_proc(pid, "pagemap");
	r.mem = open_proc(pid, "mem");
	if (r.pagemap < 0 || r.mem < 0)
		err = errno;
	r.page = malloc(r.page_bytes);
	if (!err)
		hashes = calloc(3 * pages, sizeof(*hashes));
	if (!err && (!r.page || !hashes))
		err = ENOMEM;
	if (!err) {
		hash_all(&r, ranges, nr, hashes);
		sleep_seconds(seconds);
		hash_all(&r, ranges, nr, hashes + pages);
		judge_all(&r, ranges, nr, hashes, pages);
	}
	free(hashes);
	free(r.page);
	if (r.pagemap >= 0)
		close(r.pagemap);
	if (r.mem >= 0)
		close(r.mem);
	return err;
}
