/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the measuring program know of each other: main.c selects
 * workloads, ksm.c steps ksmd from scan to scan, memory.c provides memory of
 * known content, results.c prints results. The other files are the workloads.
 */
#ifndef KSM_BENCH_H
#define KSM_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../ksm/ksmfs.h"

#define PAGE_BYTES	4096UL
#define PAGE_WORDS	(PAGE_BYTES / sizeof(uint64_t))
#define MIB_PAGES	(1048576UL / PAGE_BYTES)

struct options {
	size_t pages;		/* of most workloads */
	size_t exit_pages;	/* of the process that exits with merged memory */
	size_t curve_pages;	/* of a point of the curve */
};

extern struct options opt;

/* results.c: the results, one per line */
void results_of(const char *workload);
void put_figure(const char *name, double value, const char *unit);
bool expect(bool held, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void put_skipped(const char *why);
void put_series(const char *name, double x, double y);
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ksm.c */
#define ALL_PAGES	1000000000L	/* more than there are: one budget, one full scan */

struct cost {
	uint64_t cpu;		/* nanoseconds of all ksmd threads */
	uint64_t wall;		/* nanoseconds */
	unsigned int scans;
};

bool ksm_has(const char *file);
long ksm_read(const char *file);
void ksm_write(const char *file, long value);
void ksm_reset(void);
void ksm_scan(struct cost *sum);
void ksm_scans(struct cost *sum, unsigned int n);
bool ksm_scan_until(struct cost *sum, long pages, unsigned int most);
void ksm_run_paced(long pages, long millisecs);
void ksm_stop(void);
void ksm_wait_idle(void);
uint64_t ksmd_cpu(void);
long ksm_merged(void);
void figure_cost(const char *name, const struct cost *cost, size_t pages);

/* memory.c */
enum content { CONTENT_RANDOM, CONTENT_TAIL, CONTENT_HEAD };

struct area {
	char *mem;
	size_t pages;
	enum content content;
	uint64_t *seed;		/* of each page; 0: zeroes */
};

void area_make(struct area *a, size_t pages, enum content content);
void area_advise(const struct area *a, int advice);
void area_fill_page(struct area *a, size_t page, uint64_t seed);
void area_fill_unique(struct area *a);
void area_fill_repeating(struct area *a, size_t from, size_t contents);
size_t area_wrong(const struct area *a);
bool area_check(const struct area *a);
void area_merge(struct area *a, size_t pages, enum content content);
void *reserve(size_t bytes, size_t align);
uint64_t mix(uint64_t x);

/* time */
uint64_t now(void);
uint64_t thread_cpu(void);
void sleep_ms(unsigned int ms);

/* Files in /proc and in sysfs */
bool file_write(const char *path, const char *text);

/* scan.c */
void check_unshared(const struct area *a);

/* This many contents fill the memory of workloads: enough to make chains. */
#define CONTENTS	64UL

/* The workloads */
void measure_unique(void);
void measure_tail(void);
void measure_head(void);
void measure_smart(void);
void measure_rewrite(void);
void measure_rewrite_smart(void);
void measure_reread(void);
void measure_reread_smart(void);
void measure_written(void);
void measure_written_smart(void);
void measure_prefork(void);
void measure_appear(void);
void measure_sparse(void);
void measure_metadata(void);
void measure_metadata_64k(void);
void measure_metadata_1m(void);
void measure_curve(void);
void measure_half(void);
void measure_all(void);
void measure_zero(void);
void measure_processes(void);
void measure_huge_none(void);
void measure_huge_one(void);
void measure_huge_all(void);
void measure_saved(void);
void measure_cow(void);
void measure_unmerge(void);
void measure_run2(void);
void measure_exit(void);
void measure_rmap(void);
void measure_beside(void);
void measure_mmap(void);
void measure_chase(void);
void measure_chase_smart(void);
void measure_workers(void);

#endif
