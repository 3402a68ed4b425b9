// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads that run beside ksmd, with its default settings: an application that
 * writes, one that maps memory, and a program of the host. And a walk of the
 * reverse mapping.
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

/* ksmd comes to know memory in so many scans, see steady.c. */
#define WARM_SCANS	100

/* An area of unique pages that ksmd knows. */
static void make_known(struct area *a, size_t pages, bool smart)
{
	struct cost cost = { 0 };

	area_make(a, pages, CONTENT_RANDOM);
	area_fill_unique(a);
	ksm_write("smart_scan", smart);
	ksm_scans(&cost, smart ? WARM_SCANS : 3);
}

/* ------------------------------------------------------ writing at full speed */

#define WINDOWS		6
#define WINDOW_NS	SECOND
#define PLACE_PAGES	64
#define PLACE_WRITES	4096
#define BUDGET		1500L	/* pages_to_scan, each ... */
#define INTERVAL_MS	150L	/* milliseconds: 10,000 a second */

/*
 * Writes to the pages of one small place after another; returns writes per
 * second. A place is small because an emulated TLB grows when it is flushed:
 * with more memory written in turn, ksmd would seem to help more.
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

/* The sleep that makes ksmd use up BUDGET every INTERVAL_MS. */
static long calibrate(struct area *a)
{
	uint64_t start = now(), cpu = ksmd_cpu(), wall;
	long busy;

	ksm_run_paced(BUDGET, INTERVAL_MS);
	write_for(a, SECOND);
	cpu = ksmd_cpu() - cpu;
	wall = now() - start;
	ksm_stop();
	busy = wall > cpu ? INTERVAL_MS * cpu / (wall - cpu) : INTERVAL_MS;
	return busy < INTERVAL_MS - 10 ? INTERVAL_MS - busy : 10;
}

/* Windows with and without ksmd alternate, so that both see the same machine. */
void measure_beside(void)
{
	double alone = 0, scanned = 0, pages = 0, seconds = 0;
	uint64_t cpu = 0, start;
	long sleep, scans = 0;
	struct area a;
	int i;

	make_known(&a, opt.pages, true);
	sleep = calibrate(&a);
	for (i = 0; i < WINDOWS; i++) {
		if (i % 2 == 0) {
			alone += write_for(&a, WINDOW_NS);
			continue;
		}
		ksm_run_paced(BUDGET, sleep);
		pages -= ksm_read("pages_scanned");
		scans -= ksm_read("full_scans");
		cpu -= ksmd_cpu();
		start = now();
		scanned += write_for(&a, WINDOW_NS);
		pages += ksm_read("pages_scanned");
		scans += ksm_read("full_scans");
		cpu += ksmd_cpu();
		seconds += (now() - start) / 1e9;
		ksm_stop();
	}
	put_figure("alone", alone / (WINDOWS / 2) / 1e6, "M/s");
	put_figure("scanned", scanned / (WINDOWS / 2) / 1e6, "M/s");
	put_figure("throughput", scanned / alone, "of alone");
	put_figure("pages", pages / seconds, "pages/s");
	put_figure("scans", scans / seconds, "scans/s");
	put_figure("ksmd", 100 * cpu / 1e9 / seconds, "% CPU");
	expect(pages > 0 || scans > 0, "%.0f pages were read beside it, in %ld full scans", pages,
	       scans);
}

/* ------------------------------------------------------- waits for mmap_lock */

#define WAIT_SECONDS	3
#define WRITES		8	/* before each call */
#define BUCKETS		65536	/* of 2 us; the last is for anything longer */
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

/* Uses some memory, for ksmd to find, without changing it. */
static void use_some(const struct area *a, unsigned long call)
{
	uint64_t *word;
	int i;

	for (i = 0; i < WRITES; i++) {
		word = (uint64_t *)(a->mem + mix(call * WRITES + i) % a->pages * PAGE_BYTES);
		__atomic_store_n(word, *word, __ATOMIC_RELAXED);
	}
}

/* Maps and unmaps a page repeatedly while its other memory is used and scanned. */
void measure_mmap(void)
{
	static unsigned int bucket[BUCKETS];
	uint64_t last, took, longest = 0, end;
	unsigned long calls = 0;
	struct area a;
	long scanned;
	void *page;

	make_known(&a, opt.pages, true);
	ksm_run_paced(ALL_PAGES, 0);
	scanned = ksm_read("full_scans");
	end = now() + WAIT_SECONDS * SECOND;
	while (now() < end) {
		use_some(&a, calls);
		last = now();
		page = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		took = now() - last;
		if (page == MAP_FAILED || munmap(page, PAGE_BYTES))
			die("mmap: %s", strerror(errno));
		if (took > longest)
			longest = took;
		bucket[took / BUCKET_NS < BUCKETS ? took / BUCKET_NS : BUCKETS - 1]++;
		calls++;
	}
	scanned = ksm_read("full_scans") - scanned;
	ksm_stop();
	put_figure("median", percentile(bucket, calls, .5), "us");
	put_figure("p99", percentile(bucket, calls, .99), "us");
	put_figure("worst", longest / 1e3, "us");
	put_figure("calls", (double)calls / WAIT_SECONDS, "calls/s");
	put_figure("scanned", (double)scanned * a.pages / WAIT_SECONDS, "pages/s");
	expect(scanned > 0, "%ld full scans meanwhile", scanned);
	area_check(&a);
}

/* -------------------------------------------------- beside a program of the host */

#define CHASE_PAGES	(256 * MIB_PAGES)
#define CHASE_NS	(12 * SECOND)

/*
 * Scans without a pause for that much CPU time, and says when it begins. A
 * program on another CPU of the host measures how fast memory is meanwhile, see
 * tools/bench/chase.
 */
static void scan_beside(bool smart)
{
	struct area a;
	uint64_t cpu;
	long scans;

	make_known(&a, opt.pages < CHASE_PAGES ? opt.pages : CHASE_PAGES, smart);
	ksm_run_paced(ALL_PAGES, 0);
	scans = ksm_read("full_scans");
	cpu = ksmd_cpu();
	printf("@scanning\n");
	fflush(stdout);
	while (ksmd_cpu() - cpu < CHASE_NS)
		sleep_ms(20);
	scans = ksm_read("full_scans") - scans;
	cpu = ksmd_cpu() - cpu;
	ksm_stop();
	put_figure("scanned", (double)scans * a.pages * PAGE_BYTES / cpu, "GB/s");
	expect(scans > 0, "%ld full scans", scans);
	area_check(&a);
}

void measure_chase(void)
{
	scan_beside(false);
}

void measure_chase_smart(void)
{
	scan_beside(true);
}

/* --------------------------------------------------------- reverse mapping */

#define VMAS		20000UL
#define WALKS		20
#define IDLE_BITMAP	"/sys/kernel/mm/page_idle/bitmap"
#define FRAME_IDLE	(1ULL << 25)	/* in /proc/kpageflags */

/* Reads from a file with one word per page or frame. */
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
 * Marks the page idle, which looks up every PTE that maps it. If memory ends
 * within a word, the kernel acts on it but returns nothing.
 */
static void mark_idle(int fd, uint64_t frame)
{
	uint64_t bit = 1ULL << frame % 64;

	if (pwrite(fd, &bit, 8, frame / 64 * 8) < 0)
		die("cannot write " IDLE_BITMAP ": %s", strerror(errno));
}

/* Reading the bitmap detects accesses, and the flag shows them. */
static bool is_idle(int fd, uint64_t frame)
{
	uint64_t word;

	if (pread(fd, &word, 8, frame / 64 * 8) < 0)
		die("cannot read " IDLE_BITMAP ": %s", strerror(errno));
	return word_of("/proc/kpageflags", frame) & FRAME_IDLE;
}

/* Every other page gets its own VMA, and all share the anon_vma of the first. */
static void split_area(struct area *a)
{
	size_t i;

	for (i = 1; i < a->pages; i += 2)
		if (mprotect(a->mem + i * PAGE_BYTES, PAGE_BYTES, PROT_READ))
			die("mprotect: %s", strerror(errno));
}

/* Pages 0 and 2 are merged. All others are present and different. */
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
