// SPDX-License-Identifier: GPL-2.0
/* Other users of accessed bits; see lru.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_util.h"
#include "lru.h"

#define CONTEXT DAMON "0/contexts/0/"
#define TARGET CONTEXT "targets/0/"
#define LRU_GEN "/sys/kernel/mm/lru_gen/enabled"
#define LRU_GEN_GROUPS "/sys/kernel/debug/lru_gen"
#define GROUP_PATH "/test"
#define SCRATCH 64
#define NODES 16
#define SETTINGS 7

/*
 * Accesses a word of the bitmap. At the end of memory, if the number of pages
 * is no multiple of 64, the kernel acts on the word but returns nothing: the
 * absence of an error is all that can be checked.
 */
static int idle_word(int flags, uint64_t pfn, uint64_t word)
{
	off_t at = pfn / 64 * sizeof(word);
	int fd = open(PAGE_IDLE, flags);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if ((flags == O_RDONLY ? pread(fd, &word, sizeof(word), at) :
				 pwrite(fd, &word, sizeof(word), at)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int idle_get(uint64_t pfn)
{
	int err = idle_word(O_RDONLY, pfn, 0);

	return err ? err : !!(pfn_flags(pfn) & KPAGE_IDLE);
}

int idle_set(uint64_t pfn)
{
	return idle_word(O_WRONLY, pfn, 1ULL << pfn % 64);
}

uint64_t head_of(uint64_t pfn)
{
	return pfn_flags(pfn) & KPAGE_THP ? pfn & ~511ULL : pfn;
}

int idle_set_all(const char *mem, size_t pages)
{
	size_t i;
	int err = 0;

	for (i = 0; i < pages && !err; i++)
		err = idle_set(head_of(page_pfn(0, PAGE(mem, i))));
	return err;
}

size_t idle_count_accessed(const char *mem, size_t pages)
{
	size_t i, accessed = 0;

	for (i = 0; i < pages; i++)
		accessed += !idle_get(head_of(page_pfn(0, PAGE(mem, i))));
	return accessed;
}

int damon_watch(const char *mem, size_t pages)
{
	static const char *const set[SETTINGS][2] = {
		{ DAMON "nr_kdamonds", "1" },
		{ DAMON "0/contexts/nr_contexts", "1" },
		{ CONTEXT "operations", "fvaddr" },
		{ CONTEXT "monitoring_attrs/intervals/sample_us", "5000" },
		{ CONTEXT "monitoring_attrs/intervals/aggr_us", "50000" },
		{ CONTEXT "targets/nr_targets", "1" },
		{ TARGET "regions/nr_regions", "1" },
	};
	int err = 0;
	size_t i;

	for (i = 0; i < SETTINGS && !err; i++)
		err = file_write(set[i][0], set[i][1]);
	if (!err)
		err = file_write_long(TARGET "pid_target", getpid());
	if (!err)
		err = file_write_long(TARGET "regions/0/start", (uintptr_t)mem);
	if (!err)
		err = file_write_long(TARGET "regions/0/end", (uintptr_t)PAGE(mem, pages));
	return err ? err : file_write(DAMON "0/state", "on");
}

int damon_stop(void)
{
	int err = file_write(DAMON "0/state", "off");

	return err ? err : file_write(DAMON "nr_kdamonds", "0");
}

int lru_gen_start(void)
{
	if (access(LRU_GEN, F_OK) || access(LRU_GEN_GROUPS, F_OK))
		return -ENODEV;
	return file_write(LRU_GEN, "7");
}

int lru_gen_stop(void)
{
	return file_write(LRU_GEN, "0");
}

/* The youngest generation of each node that the test's group has. */
struct youngest {
	int group;
	int nodes;
	int node[NODES];
	unsigned long seq[NODES];
	long anon[NODES];
};

static int find_youngest(struct youngest *y)
{
	FILE *f = fopen(LRU_GEN_GROUPS, "re");
	char line[512], path[300];
	bool ours = false;
	int group, node;

	memset(y, 0, sizeof(*y));
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		unsigned long seq;
		long anon;

		path[0] = '\0';
		if (sscanf(line, "memcg %d %299s", &group, path) >= 1) {
			ours = !strcmp(path, GROUP_PATH);
			if (ours)
				y->group = group;
		} else if (ours && sscanf(line, " node %d", &node) == 1) {
			if (y->nodes < NODES)
				y->node[y->nodes++] = node;
		} else if (ours && y->nodes && sscanf(line, "%lu %*u %ld", &seq, &anon) == 2) {
			/* The last line of a node counts. */
			y->seq[y->nodes - 1] = seq;
			y->anon[y->nodes - 1] = anon;
		}
	}
	fclose(f);
	return y->nodes ? 0 : -ENOENT;
}

int lru_gen_age(void)
{
	struct youngest y;
	int err = find_youngest(&y);
	int i;

	for (i = 0; i < y.nodes && !err; i++) {
		char command[100];

		/* With swap, and whether it seems worth it or not. */
		snprintf(command, sizeof(command), "+ %d %d %lu 200 1", y.group, y.node[i],
			 y.seq[i]);
		err = file_write(LRU_GEN_GROUPS, command);
	}
	return err;
}

long lru_gen_youngest(void)
{
	struct youngest y;
	int err = find_youngest(&y);
	long pages = 0;
	int i;

	for (i = 0; i < y.nodes; i++)
		pages += y.anon[i];
	return err ? err : pages;
}

int forget_translations(void)
{
	const size_t size = SCRATCH * PAGE_BYTES;
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return mem == MAP_FAILED ? -errno : munmap(mem, size);
}
