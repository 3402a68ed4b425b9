// SPDX-License-Identifier: GPL-2.0
/* Memory that can be removed; see memory_block.h. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ksm_env.h"
#include "ksm_util.h"
#include "memory_block.h"

uint64_t memory_block_pages(void)
{
	FILE *f = fopen("/sys/devices/system/memory/block_size_bytes", "re");
	char size[32] = "";

	if (!f)
		return 0;
	if (!fgets(size, sizeof(size), f))
		size[0] = '\0';
	fclose(f);
	return strtoull(size, NULL, 16) / PAGE_BYTES;
}

int memory_block_write(uint64_t block, const char *state)
{
	char path[128];
	int tries, err;

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%llu/state",
		 (unsigned long long)block);
	for (tries = 0; tries < 100; tries++) {
		err = file_write(path, state);
		if (err != -EBUSY && err != -EAGAIN)
			break;
		sleep_ms(100);
	}
	return err;
}

bool memory_block_can_go(uint64_t block)
{
	uint64_t pages = memory_block_pages();
	char path[128], zones[64] = "";
	bool can_go = true;
	uint64_t flags, i;
	FILE *f;

#ifdef __aarch64__
	/* It keeps what it booted with. */
	return false;
#endif
	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%llu/valid_zones",
		 (unsigned long long)block);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(zones, sizeof(zones), f) || strncmp(zones, "Movable", 7))
		can_go = false;
	fclose(f);
	f = fopen("/proc/kpageflags", "re");
	if (!f || fseek(f, block * pages * sizeof(flags), SEEK_SET))
		can_go = false;
	for (i = 0; can_go && i < pages; i++)
		can_go = fread(&flags, sizeof(flags), 1, f) == 1 &&
			 !(flags & (KPAGE_RESERVED | KPAGE_HWPOISON));
	if (f)
		fclose(f);
	return can_go;
}

/*
 * All blocks of one node may contain a page that was poisoned before, so
 * alternate between nodes.
 */
static char *map_on_some_node(size_t pages, int turn)
{
	char *mem = mem_map(pages);

	if (two_nodes())
		bind_to_node(mem, pages, turn % 2);
	return mem;
}

char *memory_block_with_merged(size_t pages, uint64_t seed)
{
	const size_t fill = 8192;
	char *mem[24], *filler[24];
	int n, i;

	for (n = 0; n < 24; n++) {
		mem[n] = map_on_some_node(2 * pages, n);
		mem_fill(mem[n], pages, seed, 1);
		mem_fill(PAGE(mem[n], pages), pages, seed, 1);
		if (madvise(mem[n], 2 * pages * PAGE_BYTES, MADV_MERGEABLE) || ksm_settle())
			return NULL;
		if (memory_block_can_go(page_pfn(0, mem[n]) / memory_block_pages()))
			break;
		madvise(mem[n], 2 * pages * PAGE_BYTES, MADV_UNMERGEABLE);
		/* Use up, by single pages, what would be allocated next. */
		filler[n] = map_on_some_node(fill, n);
		memset(filler[n], 1, fill * PAGE_BYTES);
	}
	for (i = 0; i < n; i++) {
		munmap(mem[i], 2 * pages * PAGE_BYTES);
		munmap(filler[i], fill * PAGE_BYTES);
	}
	return n < 24 ? mem[n] : NULL;
}
