// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads with memory full of duplicates: what it costs to merge them, and to
 * maintain what is merged.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define MOST_SCANS	20
#define LATER_SCANS	3
#define HUGE_PAGES	512UL
#define HUGE_BYTES	(HUGE_PAGES * PAGE_BYTES)
#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"

static void figure_total(const char *name, const struct cost *cost, size_t pages)
{
	put_figure(name, (double)cost->cpu / pages, "ns/page");
}

static void figure_later(size_t pages)
{
	struct cost later = { 0 };

	ksm_scans(&later, LATER_SCANS);
	figure_cost("later", &later, pages);
}

/* A content with a single page left has nothing to merge with. */
static void duplicates(size_t unique_pages)
{
	struct cost cost = { 0 };
	struct area a;

	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_repeating(&a, unique_pages, CONTENTS);
	ksm_scan_until(&cost, a.pages - unique_pages - CONTENTS, MOST_SCANS);
	figure_total("merge", &cost, a.pages);
	put_figure("scans", cost.scans, "scans");
	figure_later(a.pages);
	area_check(&a);
}

void measure_half(void)
{
	duplicates(opt.pages / 2);
}

void measure_all(void)
{
	duplicates(0);
}

void measure_zero(void)
{
	long before = ksm_read("ksm_zero_pages");
	struct cost cost = { 0 };
	struct area a;
	size_t i;

	ksm_write("use_zero_pages", 1);
	area_make(&a, opt.pages, CONTENT_RANDOM);
	for (i = 0; i < a.pages; i++)
		area_fill_page(&a, i, 0);
	ksm_scan_until(&cost, before + a.pages, MOST_SCANS);
	figure_total("merge", &cost, a.pages);
	figure_later(a.pages);
	expect(ksm_read("ksm_zero_pages") - before == (long)a.pages, "%ld of %zu are zero pages",
	       ksm_read("ksm_zero_pages") - before, a.pages);
	area_check(&a);
}

/* Memory saved over time, in steps of a twentieth of a scan. */
void measure_saved(void)
{
	long goal = opt.pages / 2 - CONTENTS, merged;
	uint64_t start, cpu, end;
	struct area a;

	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_repeating(&a, opt.pages / 2, CONTENTS);
	cpu = ksmd_cpu();
	start = now();
	end = start + 120000000000ULL;
	ksm_run_paced(opt.pages / 20, 10);
	do {
		merged = ksm_read("pages_sharing");
		put_series("mib", (now() - start) / 1e9, (double)merged / MIB_PAGES);
		sleep_ms(10);
	} while (ksm_merged() < goal && now() < end);
	put_figure("seconds", (now() - start) / 1e9, "s");
	ksm_stop();
	put_figure("cpu", (ksmd_cpu() - cpu) / 1e9, "s");
	expect(ksm_merged() >= goal, "merged %ld pages of %ld", ksm_merged(), goal);
	area_check(&a);
}

/* ---------------------------------------------------------------- huge pages */

static void huge_make(struct area *a)
{
	a->pages = opt.pages & ~(HUGE_PAGES - 1);
	a->content = CONTENT_RANDOM;
	a->mem = reserve(a->pages * PAGE_BYTES, HUGE_BYTES);
	a->seed = calloc(a->pages, sizeof(*a->seed));
	if (!a->seed)
		die("no memory");
	/* What is split must not be collapsed again in the meantime. */
	if (!file_write(THP_DIR "khugepaged/scan_sleep_millisecs", "100000000"))
		die("no transparent huge pages");
	area_advise(a, MADV_HUGEPAGE);
	area_advise(a, MADV_MERGEABLE);
}

static long huge_left(void)
{
	return proc_field("/proc/self/smaps_rollup", "AnonHugePages") / (long)(HUGE_BYTES / 1024);
}

/* This many pages of each huge page are the same in all of them. */
static void measure_huge(size_t duplicates)
{
	size_t i, huge_pages;
	struct cost cost = { 0 };
	struct area a;

	huge_make(&a);
	huge_pages = a.pages / HUGE_PAGES;
	for (i = 0; i < a.pages; i++)
		area_fill_page(&a, i, i % HUGE_PAGES < duplicates ? 1000 + i % HUGE_PAGES :
								     1000000 + i);
	expect(huge_left() == (long)huge_pages, "%ld huge pages of %zu to begin with", huge_left(),
	       huge_pages);
	if (duplicates) {
		ksm_scan_until(&cost, huge_pages * duplicates, MOST_SCANS);
		figure_total("merge", &cost, a.pages);
	} else {
		ksm_scans(&cost, 2);
		figure_total("two-scans", &cost, a.pages);
		expect(huge_left() == (long)huge_pages, "%ld huge pages of %zu are whole",
		       huge_left(), huge_pages);
	}
	put_figure("whole", 100.0 * huge_left() / huge_pages, "%");
	figure_later(a.pages);
	area_check(&a);
}

void measure_huge_none(void)
{
	measure_huge(0);
}

void measure_huge_one(void)
{
	measure_huge(1);
}

void measure_huge_all(void)
{
	measure_huge(HUGE_PAGES);
}
