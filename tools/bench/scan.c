// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads with few duplicates, or none: the cost of searching, from the first
 * scan on.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "bench.h"

#define LATER_SCANS	3
#define SPARSE_BYTES	(256UL << 30)
#define SPARSE_PAGES	256UL

/* All pages were found to be different, and none was damaged. */
void check_unshared(const struct area *a)
{
	long unshared = ksm_read("pages_unshared");

	expect(unshared == (long)a->pages, "%ld of %zu pages are unshared", unshared, a->pages);
	area_check(a);
}

/* The first scan meets the pages, the second puts them into the tree. */
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

/* The same, with the size in the figures' names: the driver requests several. */
void measure_curve(void)
{
	char prefix[32];
	struct area a;

	snprintf(prefix, sizeof(prefix), "%zuMiB.", opt.curve_pages / MIB_PAGES);
	area_make(&a, opt.curve_pages, CONTENT_RANDOM);
	scan_all(&a, prefix);
}

/* One page in 64 becomes one of 16 equal pages, in memory long known to be idle. */
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

/* Pages a GiB apart: absent memory must cost nothing. */
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
