// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads of memory that has no duplicates, or hardly any: what the search
 * costs.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define LATER_SCANS	3
#define SMART_SCANS	27
#define SPARSE_BYTES	(256UL << 30)
#define SPARSE_PAGES	256UL

/*
 * All pages were found to be different, and none was damaged. With smart_scan
 * some kernels count only the pages that they did not skip.
 */
static void check_unshared(const struct area *a)
{
	struct cost cost = { 0 };
	long unshared;

	if (ksm_read("smart_scan")) {
		ksm_write("smart_scan", 0);
		ksm_scans(&cost, 2);
	}
	unshared = ksm_read("pages_unshared");

	expect(unshared == (long)a->pages, "%ld of %zu pages are unshared", unshared, a->pages);
	area_check(a);
}

/* The first scan learns of the pages, the second puts them into the tree. */
static void scan_all(struct area *a, const char *prefix)
{
	struct cost first = { 0 }, fill = { 0 }, later = { 0 };
	char name[64];

	area_fill_unique(a);
	ksm_scan(&first);
	ksm_scan(&fill);
	ksm_scans(&later, LATER_SCANS);
	snprintf(name, sizeof(name), "%sfirst", prefix);
	figure_cost(name, &first, a->pages);
	snprintf(name, sizeof(name), "%sfill", prefix);
	figure_cost(name, &fill, a->pages);
	snprintf(name, sizeof(name), "%slater", prefix);
	figure_cost(name, &later, a->pages);
	check_unshared(a);
}

static void different(enum content content)
{
	struct area a;

	area_make(&a, opt.pages, content);
	scan_all(&a, "");
}

void measure_unique(void)
{
	different(CONTENT_RANDOM);
}

void measure_tail(void)
{
	different(CONTENT_TAIL);
}

void measure_head(void)
{
	different(CONTENT_HEAD);
}

/* The same with the size in the figures' names: the driver asks for several. */
void measure_curve(void)
{
	char prefix[32];
	struct area a;

	snprintf(prefix, sizeof(prefix), "%zuMiB.", opt.curve_pages / MIB_PAGES);
	area_make(&a, opt.curve_pages, CONTENT_RANDOM);
	scan_all(&a, prefix);
}

void measure_smart(void)
{
	struct cost warm = { 0 }, later = { 0 };
	struct area a;

	ksm_write("smart_scan", 1);
	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	ksm_scans(&warm, 2);
	ksm_scans(&later, SMART_SCANS);
	figure_cost("later", &later, a.pages);
	check_unshared(&a);
}

static void rewrite_tenth(struct area *a, uint64_t round)
{
	size_t i;

	for (i = 0; i < a->pages; i++)
		if (mix(round * a->pages + i) % 10 == 0)
			area_fill_page(a, i, round * 1000000000UL + i);
}

static void rewriting(bool is_smart, unsigned int scans)
{
	struct cost warm = { 0 }, cost = { 0 };
	struct area a;
	uint64_t round;

	ksm_write("smart_scan", is_smart);
	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	ksm_scans(&warm, 3);
	for (round = 1; round <= scans; round++) {
		rewrite_tenth(&a, round);
		ksm_scan(&cost);
	}
	figure_cost("scan", &cost, a.pages);
	area_check(&a);
}

void measure_rewrite(void)
{
	rewriting(false, 4);
}

void measure_rewrite_smart(void)
{
	rewriting(true, 16);
}

/* Every page is read by its owner between two scans, and none is written. */
void measure_reread(void)
{
	struct cost warm = { 0 }, cost = { 0 };
	unsigned int scan;
	struct area a;
	size_t i;

	ksm_write("smart_scan", 1);
	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	ksm_scans(&warm, 2);
	for (scan = 0; scan < 8; scan++) {
		for (i = 0; i < a.pages; i++)
			(void)__atomic_load_n(a.mem + i * PAGE_BYTES, __ATOMIC_RELAXED);
		ksm_scan(&cost);
	}
	figure_cost("scan", &cost, a.pages);
	check_unshared(&a);
}

/* One page in 64 becomes one of 16 like it, in memory long known to be idle. */
void measure_appear(void)
{
	struct cost warm = { 0 }, cost = { 0 };
	struct area a;
	long count = 0;
	size_t i;

	ksm_write("smart_scan", 1);
	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	ksm_scans(&warm, 20);
	for (i = 0; i < a.pages; i += 64)
		area_fill_page(&a, i, 1000 + count++ / 16);
	ksm_scan_until(&cost, count, 60);
	put_figure("cost", (double)cost.cpu / a.pages, "ns/page");
	put_figure("scans", cost.scans, "scans");
	area_check(&a);
}

/* Pages a GiB apart: what is not there is to cost nothing. */
void measure_sparse(void)
{
	char *mem = reserve(SPARSE_BYTES, PAGE_BYTES);
	size_t step = SPARSE_BYTES / SPARSE_PAGES;
	struct cost cost = { 0 };
	size_t i, wrong = 0;

	if (madvise(mem, SPARSE_BYTES, MADV_MERGEABLE))
		die("madvise fails");
	for (i = 0; i < SPARSE_PAGES; i++)
		*(size_t *)(mem + i * step) = i + 1;
	ksm_scans(&cost, 2);
	put_figure("two-scans", cost.cpu / 1e3, "us");
	for (i = 0; i < SPARSE_PAGES; i++)
		wrong += *(size_t *)(mem + i * step) != i + 1;
	expect(!wrong, "content: %zu pages of %lu are wrong", wrong, SPARSE_PAGES);
	expect(ksm_read("pages_unshared") == (long)SPARSE_PAGES, "%ld of %lu pages are unshared",
	       ksm_read("pages_unshared"), SPARSE_PAGES);
}

/* Bytes that the objects in use of matching slab caches take. */
static double slab_bytes(const char *prefix)
{
	unsigned long active, total, size;
	char line[512], name[64];
	FILE *f = fopen("/proc/slabinfo", "re");
	double sum = 0;

	if (!f)
		die("cannot read /proc/slabinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %lu %lu %lu", name, &active, &total, &size) == 4 &&
		    !strncmp(name, prefix, strlen(prefix)))
			sum += (double)active * size;
	fclose(f);
	return sum;
}

/* Trees of xarrays are of a cache that others use, too: what was added counts. */
void measure_metadata(void)
{
	double ksm = slab_bytes("ksm"), nodes = slab_bytes("radix_tree_node"), bytes;
	long own = ksm_has("metadata_bytes") ? ksm_read("metadata_bytes") : -1;
	struct cost cost = { 0 };
	struct area a;

	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	ksm_scans(&cost, 2);
	bytes = slab_bytes("ksm") - ksm;
	put_figure("objects", bytes / a.pages, "bytes/page");
	bytes += slab_bytes("radix_tree_node") - nodes;
	put_figure("slab", bytes / a.pages, "bytes/page");
	if (own >= 0) {
		own = ksm_read("metadata_bytes") - own;
		put_figure("told", (double)own / a.pages, "bytes/page");
	}
	check_unshared(&a);
}
