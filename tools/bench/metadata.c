// SPDX-License-Identifier: GPL-2.0
/*
 * What it takes to keep track of a page: all memory of KSM, in dense and in
 * sparse memory.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "bench.h"

#define SPARSE_PAGES	4096UL

/* What the matching slab caches have: objects in use, and whole slabs. */
struct slabs {
	double objects;
	double bytes;
};

/* Of a line of /proc/slabinfo */
#define SLABINFO	"%63s %lu %*u %lu %*u %lu : tunables %*u %*u %*u : slabdata %*u %lu"

static struct slabs slabs_of(const char *prefix)
{
	unsigned long active, size, slab_pages, slabs;
	struct slabs sum = { 0 };
	char line[512], name[64];
	FILE *f = fopen("/proc/slabinfo", "re");

	if (!f)
		die("cannot read /proc/slabinfo");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, SLABINFO, name, &active, &size, &slab_pages, &slabs) != 5 ||
		    strncmp(name, prefix, strlen(prefix)))
			continue;
		sum.objects += (double)active * size;
		sum.bytes += (double)slabs * slab_pages * PAGE_BYTES;
	}
	fclose(f);
	return sum;
}

/* Gives back the slabs that earlier workloads have left empty. */
static void shrink_slabs(void)
{
	static const char *const caches[] = {
		"ksm_rmap_item", "ksm_chunk", "ksm_stable_node", "ksm_mm_slot"
	};
	char path[128];
	size_t i;

	for (i = 0; i < sizeof(caches) / sizeof(caches[0]); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", caches[i]);
		/* Each kernel has some of these. */
		file_write(path, "1");
	}
}

/*
 * No file tells the size of our forest's shards, which is fixed at boot, nor is
 * there a forest in the base. This is shard_bits() of mm/ksm/shard.c.
 */
#define SHARD_BYTES	128UL
#define SHARDS_LEAST	64UL
#define SHARDS_MOST	65536UL

static double shard_bytes_of_page(void)
{
	unsigned long shards = SHARDS_LEAST, pages;
	struct sysinfo info;

	if (!ksm_has("metadata_bytes"))
		return 0;
	if (sysinfo(&info))
		die("sysinfo fails");
	pages = info.totalram * info.mem_unit / PAGE_BYTES;
	while (shards < SHARDS_MOST && shards <= pages / 16)
		shards *= 2;
	return (double)shards * SHARD_BYTES / pages;
}

/*
 * The pages are there, and are different. XArray nodes come from a cache with
 * other users: only the increase counts. A page's part of the shards is as if
 * all memory of the machine were offered.
 */
static void figure_metadata(size_t pages)
{
	long own = ksm_has("metadata_bytes") ? ksm_read("metadata_bytes") : -1;
	double shards = shard_bytes_of_page(), xarray;
	struct cost cost = { 0 };
	struct slabs ksm, more;

	shrink_slabs();
	ksm = slabs_of("ksm");
	xarray = slabs_of("radix_tree_node").objects;
	ksm_scans(&cost, 2);
	more = slabs_of("ksm");
	xarray = (slabs_of("radix_tree_node").objects - xarray) / pages;
	put_figure("objects", (more.objects - ksm.objects) / pages, "bytes/page");
	put_figure("slabs", (more.bytes - ksm.bytes) / pages, "bytes/page");
	put_figure("xarray", xarray, "bytes/page");
	put_figure("shards", shards, "bytes/page");
	put_figure("all", (more.bytes - ksm.bytes) / pages + xarray + shards, "bytes/page");
	if (own >= 0) {
		own = ksm_read("metadata_bytes") - own;
		put_figure("told", (double)own / pages, "bytes/page");
	}
}

void measure_metadata(void)
{
	struct area a;

	area_make(&a, opt.pages, CONTENT_RANDOM);
	area_fill_unique(&a);
	figure_metadata(a.pages);
	check_unshared(&a);
}

/* One page of memory in so many bytes of address space. */
static void spread(size_t step)
{
	char *mem = reserve(SPARSE_PAGES * step, PAGE_BYTES);
	size_t i, wrong = 0;

	madvise(mem, SPARSE_PAGES * step, MADV_NOHUGEPAGE);
	if (madvise(mem, SPARSE_PAGES * step, MADV_MERGEABLE))
		die("madvise fails");
	for (i = 0; i < SPARSE_PAGES; i++)
		*(size_t *)(mem + i * step) = i + 1;
	figure_metadata(SPARSE_PAGES);
	for (i = 0; i < SPARSE_PAGES; i++)
		wrong += *(size_t *)(mem + i * step) != i + 1;
	expect(!wrong, "content: %zu pages of %lu are wrong", wrong, SPARSE_PAGES);
	expect(ksm_read("pages_unshared") == (long)SPARSE_PAGES, "%ld of %lu pages are unshared",
	       ksm_read("pages_unshared"), SPARSE_PAGES);
}

void measure_metadata_64k(void)
{
	spread(65536);
}

void measure_metadata_1m(void)
{
	spread(1048576);
}
