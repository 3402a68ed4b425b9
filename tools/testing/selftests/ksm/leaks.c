// SPDX-License-Identifier: GPL-2.0
/* What is allocated, and whether it is in use; see leaks.h. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksm_util.h"
#include "leaks.h"

#define WAIT_SECONDS 60

/* include/uapi/linux/kernel-page-flags.h */
#define KPAGE_LRU (1ULL << 5)
#define KPAGE_MMAP (1ULL << 11)
#define KPAGE_ANON (1ULL << 12)
#define KPAGE_SWAPCACHE (1ULL << 13)

static const char * const caches[LEAK_CACHES] = {
	"anon_vma", "anon_vma_chain", "vm_area_struct", "mm_struct",
};

/*
 * One stray page is too many: the number of pages on the lists and the number
 * of mapped pages are exact, once they are collected from the CPUs. The other
 * numbers depend on what continues to run: the harness, which has grown by the
 * results of the first test, and shells. Each CPU may allocate or free a batch
 * of 63 unknown pages at any time, and does so between the reading of two
 * numbers. What each test, or each round of one, leaks adds up over a program.
 */
const struct memory_use memory_tolerance = {
	.stray = 0,
	.mapped = 8,
	.unknown = 128,
	.objects = { 8, 16, 16, 2 },
};

/* ------------------------------------------------------------- measuring */

struct vmstat {
	long free, lru, anon_lru, anon_mapped, shmem, swapcache, other;
};

static const struct {
	const char *key;
	size_t at;
} vmstat_keys[] = {
#define KEY(key, to) { key, offsetof(struct vmstat, to) }
	KEY("nr_free_pages", free),
	KEY("nr_inactive_anon", anon_lru),
	KEY("nr_active_anon", anon_lru),
	KEY("nr_isolated_anon", anon_lru),
	/*
	 * All locked pages are on one list, whatever they are; here they are
	 * few.
	 */
	KEY("nr_unevictable", anon_lru),
	KEY("nr_inactive_file", lru),
	KEY("nr_active_file", lru),
	KEY("nr_isolated_file", lru),
	KEY("nr_anon_pages", anon_mapped),
	KEY("nr_shmem", shmem),
	KEY("nr_swapcached", swapcache),
	KEY("nr_slab_reclaimable", other),
	KEY("nr_slab_unreclaimable", other),
	KEY("nr_page_table_pages", other),
	KEY("nr_sec_page_table_pages", other),
	KEY("nr_zspages", other),
#undef KEY
};

static void vmstat_read(struct vmstat *v)
{
	FILE *f = fopen("/proc/vmstat", "re");
	char key[64];
	long value;
	size_t i;

	memset(v, 0, sizeof(*v));
	while (f && fscanf(f, "%63s %ld", key, &value) == 2)
		for (i = 0; i < sizeof(vmstat_keys) / sizeof(vmstat_keys[0]); i++)
			if (!strcmp(key, vmstat_keys[i].key))
				*(long *)((char *)v + vmstat_keys[i].at) += value;
	if (f)
		fclose(f);
}

/* Free pages that CPUs keep ready count as used elsewhere. */
static long pages_at_hand(void)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	long pages = 0, value;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %ld", &value) == 1)
			pages += value;
	if (f)
		fclose(f);
	return pages;
}

static long meminfo_pages(const char *key)
{
	long kb = file_read_key("/proc/meminfo", key);

	return kb < 0 ? 0 : kb * 1024 / (long)PAGE_BYTES;
}

static long own_anonymous(void)
{
	long kb = file_read_key("/proc/self/smaps_rollup", "Anonymous");

	return kb < 0 ? 0 : kb * 1024 / (long)PAGE_BYTES;
}

/* Empties the pages and counts that each CPU has collected. */
static void settle(void)
{
	file_write("/proc/sys/vm/drop_caches", "1");
	file_write("/proc/sys/vm/stat_refresh", "1");
}

void memory_use_now(struct memory_use *use)
{
	struct vmstat v;
	int i;

	for (i = 0; i < LEAK_CACHES; i++)
		use->objects[i] = slab_objects(caches[i]);
	settle();
	vmstat_read(&v);
	use->stray = v.anon_lru - v.anon_mapped - v.shmem - v.swapcache;
	use->mapped = v.anon_mapped - own_anonymous();
	use->unknown = meminfo_pages("MemTotal") - v.free - pages_at_hand() - v.lru -
		v.anon_lru - v.other - meminfo_pages("Percpu") - meminfo_pages("VmallocUsed") -
		meminfo_pages("HardwareCorrupted");
}

/* --------------------------------------------------------------- judging */

static bool exceeds(long now, long before, long tolerance)
{
	return now - before > tolerance;
}

/*
 * A kernel that checks itself keeps stacks and other notes of what it has seen,
 * more with each test, in pages that no counter includes. There, the other
 * numbers have to suffice. That of stray pages tolerates nothing.
 */
static bool keeps_notes(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK);
}

/*
 * Counts the frames of anonymous pages that nobody maps, and prints some. The
 * counts also include locked pages, as all pages of a ramfs are.
 */
static size_t stray_frames(bool tell)
{
	FILE *f = fopen("/proc/kpageflags", "re");
	static uint64_t flags[4096];
	size_t seen = 0, n, i;
	uint64_t pfn = 0;

	while (f && (n = fread(flags, sizeof(flags[0]), 4096, f)) > 0)
		for (i = 0; i < n; i++, pfn++) {
			if ((flags[i] & (KPAGE_LRU | KPAGE_ANON)) != (KPAGE_LRU | KPAGE_ANON) ||
			    flags[i] & (KPAGE_MMAP | KPAGE_SWAPCACHE))
				continue;
			if (seen++ < 8 && tell)
				printf("#   mapped nowhere: frame 0x%llx, flags 0x%llx\n",
				       (unsigned long long)pfn, (unsigned long long)flags[i]);
		}
	if (f)
		fclose(f);
	return seen;
}

static bool leaked(const struct memory_use *now, const struct memory_use *before)
{
	const struct memory_use *t = &memory_tolerance;
	bool any;
	int i;

	any = (exceeds(now->stray, before->stray, t->stray) && stray_frames(false)) ||
	      exceeds(now->mapped, before->mapped, t->mapped) ||
	      (!keeps_notes() && exceeds(now->unknown, before->unknown, t->unknown));
	for (i = 0; i < LEAK_CACHES; i++)
		any |= exceeds(now->objects[i], before->objects[i], t->objects[i]);
	return any;
}

static void print_use(const struct memory_use *now, const struct memory_use *before)
{
	int i;

	printf("# memory: stray %+ld, mapped by others %+ld, unknown %+ld pages;",
	       now->stray - before->stray, now->mapped - before->mapped,
	       now->unknown - before->unknown);
	for (i = 0; i < LEAK_CACHES; i++)
		printf(" %s %+ld", caches[i], now->objects[i] - before->objects[i]);
	printf("\n");
}

bool memory_is_back(const struct memory_use *before)
{
	double end = seconds_now() + WAIT_SECONDS;
	struct memory_use now;
	bool back;

	for (;;) {
		memory_use_now(&now);
		back = !leaked(&now, before);
		if (back || seconds_now() > end)
			break;
		sleep_ms(200);
	}
	print_use(&now, before);
	if (!back) {
		printf("# that is more than before, and nobody has it\n");
		printf("#   %zu anonymous pages are mapped nowhere\n", stray_frames(true));
	}
	fflush(stdout);
	return back;
}
