// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads of those who live with ksmd: an application that writes, one that
 * maps memory, and a walk of the reverse mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SECOND		1000000000ULL

/* ------------------------------------------------------ writing at full speed */

#define WINDOWS		6
#define WINDOW_NS	SECOND
#define PLACE_PAGES	64
#define PLACE_WRITES	4096
#define BUDGET		1500L	/* pages, each ... */
#define INTERVAL_MS	150L	/* milliseconds: 10,000 pages a second */

/*
 * Writes to pages of one place after another; how many in a second. A place is
 * small, for an emulated TLB grows when it is flushed: the more memory is
 * written in turn, the more ksmd would seem to help.
 */
static double write_for(struct area *a, uint64_t ns)
{
	uint64_t start = now(), end = start + ns, writes = 0, at = 88172645463325252ULL;
	uint64_t *place;
	int i;

	do {
		at = mix(at + 1);
		place = (uint64_t *)(a->mem + at % (a->pages - PLACE_PAGES) * PAGE_BYTES);
		for (i = 0; i < PLACE_WRITES; i++) {
			at ^= at << 13;
			at ^= at >> 7;
			at ^= at << 17;
			__atomic_store_n(place + at % PLACE_PAGES * PAGE_WORDS, at,
					 __ATOMIC_RELAXED);
		}
		writes += PLACE_WRITES;
	} while (now() < end);
	return writes * 1e9 / (now() - start);
}

/* The sleep with which BUDGET pages are scanned every INTERVAL_MS. */
static long calibrate(struct area *a)
{
	uint64_t cpu = ksmd_cpu();
	long scanned, busy;

	ksm_write("smart_scan", 0);
	ksm_run_paced(BUDGET, INTERVAL_MS);
	scanned = ksm_read("pages_scanned");
	write_for(a, SECOND);
	ksm_stop();
	scanned = ksm_read("pages_scanned") - scanned;
	busy = scanned ? (ksmd_cpu() - cpu) / 1000000 * BUDGET / scanned : 0;
	return busy < INTERVAL_MS - 10 ? INTERVAL_MS - busy : 10;
}

/* Windows with and without ksmd take turns, so that both see the same machine. */
void measure_beside(void)
{
	double alone = 0, scanned = 0, pages = 0, seconds = 0;
	uint64_t cpu = 0, start;
	struct area a;
	long sleep;
	int i;

	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	sleep = calibrate(&a);
	for (i = 0; i < WINDOWS; i++) {
		if (i % 2 == 0) {
			alone += write_for(&a, WINDOW_NS);
			continue;
		}
		ksm_run_paced(BUDGET, sleep);
		pages -= ksm_read("pages_scanned");
		cpu -= ksmd_cpu();
		start = now();
		scanned += write_for(&a, WINDOW_NS);
		pages += ksm_read("pages_scanned");
		cpu += ksmd_cpu();
		seconds += (now() - start) / 1e9;
		ksm_stop();
	}
	put_figure("alone", alone / (WINDOWS / 2) / 1e6, "M/s");
	put_figure("scanned", scanned / (WINDOWS / 2) / 1e6, "M/s");
	put_figure("throughput", scanned / alone, "of alone");
	put_figure("pages", pages / seconds, "pages/s");
	put_figure("ksmd", 100 * cpu / 1e9 / seconds, "% CPU");
	expect(pages > 0, "%.0f pages were scanned beside it", pages);
}

/* ------------------------------------------------------- waits for mmap_lock */

#define WAIT_SECONDS	3
#define BUCKETS		65536	/* of 2 us, the last for all that is longer */
#define BUCKET_NS	2000

static double percentile(const unsigned int *bucket, unsigned long total, double part)
{
	unsigned long seen = 0;
	int i;

	for (i = 0; i < BUCKETS - 1; i++) {
		seen += bucket[i];
		if (seen >= total * part)
			break;
	}
	return (i + 1) * (BUCKET_NS / 1e3);
}

/* Maps and unmaps a page over and over while its other memory is scanned. */
void measure_mmap(void)
{
	static unsigned int bucket[BUCKETS];
	uint64_t start, last, took, longest = 0, end;
	unsigned long calls = 0;
	struct area a;
	long scanned;
	void *page;

	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	ksm_run_paced(ALL_PAGES, 0);
	scanned = ksm_read("pages_scanned");
	start = now();
	end = start + WAIT_SECONDS * SECOND;
	for (last = start; last < end; last = now()) {
		page = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		took = now() - last;
		if (page == MAP_FAILED || munmap(page, PAGE_BYTES))
			die("mmap: %s", strerror(errno));
		if (took > longest)
			longest = took;
		bucket[took / BUCKET_NS < BUCKETS ? took / BUCKET_NS : BUCKETS - 1]++;
		calls++;
	}
	scanned = ksm_read("pages_scanned") - scanned;
	ksm_stop();
	put_figure("median", percentile(bucket, calls, .5), "us");
	put_figure("p99", percentile(bucket, calls, .99), "us");
	put_figure("worst", longest / 1e3, "us");
	put_figure("calls", (double)calls / WAIT_SECONDS, "calls/s");
	put_figure("scanned", (double)scanned / WAIT_SECONDS, "pages/s");
	expect(scanned > 0, "%ld pages were scanned meanwhile", scanned);
	area_check(&a);
}

/* --------------------------------------------------------- reverse mapping */

#define VMAS		20000UL
#define WALKS		20
#define IDLE_BITMAP	"/sys/kernel/mm/page_idle/bitmap"
#define FRAME_IDLE	(1ULL << 25)	/* in /proc/kpageflags */

/* Of a file with a word for each page, or each frame. */
static uint64_t word_of(const char *path, uint64_t index)
{
	uint64_t word = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &word, 8, index * 8) != 8)
		die("cannot read %s", path);
	close(fd);
	return word;
}

static uint64_t frame_of(const void *addr)
{
	return word_of("/proc/self/pagemap", (uintptr_t)addr / PAGE_BYTES) &
	       ((1ULL << 55) - 1);
}

/*
 * Marks the page idle, for which every PTE that maps it is looked up. Where
 * memory ends within a word, the kernel acts upon it and returns none.
 */
static void mark_idle(int fd, uint64_t frame)
{
	uint64_t bit = 1ULL << frame % 64;

	if (pwrite(fd, &bit, 8, frame / 64 * 8) < 0)
		die("cannot write " IDLE_BITMAP ": %s", strerror(errno));
}

/* Reading the bitmap finds accesses, and the flag tells them. */
static bool is_idle(int fd, uint64_t frame)
{
	uint64_t word;

	if (pread(fd, &word, 8, frame / 64 * 8) < 0)
		die("cannot read " IDLE_BITMAP ": %s", strerror(errno));
	return word_of("/proc/kpageflags", frame) & FRAME_IDLE;
}

/* Every other page gets a VMA of its own, and all have the anon_vma of the first. */
static void split_area(struct area *a)
{
	size_t i;

	for (i = 1; i < a->pages; i += 2)
		if (mprotect(a->mem + i * PAGE_BYTES, PAGE_BYTES, PROT_READ))
			die("mprotect: %s", strerror(errno));
}

/* Pages 0 and 2 are merged; all others are there, and different. */
void measure_rmap(void)
{
	struct cost cost = { 0 };
	uint64_t start, frame;
	struct area a;
	int fd, i;

	fd = open(IDLE_BITMAP, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		put_skipped("no " IDLE_BITMAP);
		return;
	}
	area_make(&a, VMAS, CONTENT_RANDOM);
	area_fill_unique(&a);
	area_fill_page(&a, 2, a.seed[0]);
	split_area(&a);
	if (!ksm_scan_until(&cost, 2, 20))
		return;
	frame = frame_of(a.mem);
	expect(frame && frame == frame_of(a.mem + 2 * PAGE_BYTES), "two pages are one");
	mark_idle(fd, frame);
	start = thread_cpu();
	for (i = 0; i < WALKS; i++)
		mark_idle(fd, frame);
	put_figure("walk", (thread_cpu() - start) / 1e3 / WALKS, "us");
	expect(is_idle(fd, frame), "the page is idle");
	(void)__atomic_load_n(a.mem + 2 * PAGE_BYTES, __ATOMIC_RELAXED);
	expect(!is_idle(fd, frame), "an access through the second mapping is found");
	area_check(&a);
}
