/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KSM selftests share: the sysfs knobs and counters, memory with
 * known contents, and a view of which physical page lies behind an address.
 */
#ifndef KSM_SELFTEST_UTIL_H
#define KSM_SELFTEST_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE_BYTES 4096UL
#define PAGE(mem, i) ((mem) + (i) * PAGE_BYTES)

/* include/uapi/linux/kernel-page-flags.h */
#define KPAGE_HWPOISON (1ULL << 19)
#define KPAGE_NOPAGE (1ULL << 20)
#define KPAGE_KSM (1ULL << 21)
#define KPAGE_THP (1ULL << 22)
#define KPAGE_ZERO (1ULL << 24)
#define KPAGE_IDLE (1ULL << 25)
/* Not in the interface's header, but shown. */
#define KPAGE_RESERVED (1ULL << 32)

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAP (1ULL << 62)
#define PAGEMAP_FILE (1ULL << 61)
#define PAGEMAP_PFN ((1ULL << 55) - 1)

#define KSM_KNOBS 9

struct ksm_knobs {
	char value[KSM_KNOBS][32];
};

struct ksm_counters {
	long shared;
	long sharing;
	long unshared;
	long volatiles;
	long zero;
	long chains;
	long dups;
};

/* Files: a value or -errno; 0 or -errno. */
int file_write(const char *path, const char *text);
int file_write_long(const char *path, long value);
long file_read_long(const char *path);
/* The number after a key in a file of "key value" lines, -errno if none. */
long file_read_key(const char *path, const char *key);

/* Files of /sys/kernel/mm/ksm. */
bool ksm_has(const char *name);
long ksm_read(const char *name);
int ksm_write(const char *name, const char *text);
int ksm_set(const char *name, long value);
void ksm_counters(struct ksm_counters *c);
void ksm_counters_print(const char *what, const struct ksm_counters *c);

void ksm_knobs_save(struct ksm_knobs *k);
int ksm_knobs_restore(const struct ksm_knobs *k);
/* The setting every test starts from: stopped, fast, nothing clever. */
int ksm_knobs_default(void);

/*
 * Lets ksmd run through at least n complete scans, then stops it. Verifies the
 * result: see verify.h.
 */
int ksm_scans(int n);
/* The same until three scans in a row have changed no counter. */
int ksm_settle(void);
/*
 * With ksmd stopped: does one full scan and no more, however long the caller does
 * not run meanwhile. What is under way ends.
 */
int ksm_one_scan(void);
/*
 * Lets ksmd run until every counter is zero; false if that does not happen. The
 * base kernel can lose count of zero pages for good, so as many of those remain
 * as there were before.
 */
bool ksm_wait_zero(struct ksm_counters *c, long zero_before);

/*
 * Objects in KSM's slabs, including those of registered mms, after a wait for
 * what is freed late; -ENOENT if slabs cannot be read. A slab that is shared
 * with other caches (boot with slab_nomerge) is not counted.
 */
long ksm_slabs_wait_empty(void);
/* Objects of one cache; 0 if that is unknown. */
long slab_objects(const char *cache);

/* Keeps the calling thread on this CPU, which has to be there. */
void cpu_stay_on(int cpu);

/* Memory: page i of a piece holds the pattern of seed + i * step; 0 is zeroes. */
char *mem_map(size_t pages);
void page_fill(void *page, uint64_t seed);
long page_diff(const void *page, uint64_t seed);
void mem_fill(char *mem, size_t pages, uint64_t seed, uint64_t step);
size_t mem_bad(const char *mem, size_t pages, uint64_t seed, uint64_t step);
/* Two halves with the same pattern, already merged; NULL if that failed. */
char *mem_merged(size_t pages, uint64_t seed, uint64_t step);
size_t mem_merged_bad(const char *mem, size_t pages, uint64_t seed, uint64_t step);
/*
 * Writes to each page of the caller that it shares with its parent since the
 * fork. A merged page of that kind would stay merged, and known, as long as the
 * parent has it.
 */
void mem_make_own(void);

/* Physical pages. A pid of 0 is the caller. */
uint64_t pagemap_entry(pid_t pid, const void *addr);
uint64_t page_pfn(pid_t pid, const void *addr);
uint64_t pfn_flags(uint64_t pfn);
long pfn_mapcount(uint64_t pfn);
bool page_is_ksm(pid_t pid, const void *addr);
bool page_is_zero_page(pid_t pid, const void *addr);
size_t mem_count_ksm(pid_t pid, const char *mem, size_t pages);
size_t mem_count_swapped(pid_t pid, const char *mem, size_t pages);
size_t mem_count_zero_page(pid_t pid, const char *mem, size_t pages);

double seconds_now(void);
/*
 * Returns @n, or a quarter of it on a debug kernel: that one takes several times as long
 * for each page, so fewer pages keep it busy as long.
 */
size_t fewer_if_slow(size_t n);
void sleep_ms(unsigned int ms);

/* The number of the caller's mappings that lie in this piece of memory. */
int mem_count_vmas(const char *mem, size_t pages);

/* A mapping's flags line in /proc/self/smaps has this two-letter flag. */
bool vma_has_flag(const void *addr, const char *flag);

#endif
