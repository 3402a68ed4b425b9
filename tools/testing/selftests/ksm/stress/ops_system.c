// SPDX-License-Identifier: GPL-2.0
/*
 * Operations on the machine, which affect all lives at once: swap, compaction,
 * memory that is removed, other processes' pages, and every setting of KSM with
 * random legal values; see stress.h.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../ksm_env.h"
#include "../memory_block.h"
#include "stress.h"

#define MOVE_ALL (1 << 2)
#define SOME 64
#define BLOCKS "/sys/devices/system/memory"

static long between(uint64_t *random, long low, long high)
{
	return low + (long)draw(random, high - low + 1);
}

/* ------------------------------------------------------ frames and blocks */

/* A record lock, which does not outlive its holder. */
static void frames(int type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_len = 1 };

	while (fcntl(shared_fd, F_SETLKW, &lock) && errno == EINTR)
		;
}

void frames_lock(void)
{
	frames(F_WRLCK);
}

void frames_unlock(void)
{
	frames(F_UNLCK);
}

/* Whoever broke them: a frame that nobody maps any more can be used again. */
void unpoison_all(void)
{
	FILE *f = fopen("/proc/kpageflags", "re");
	static uint64_t flags[4096];
	uint64_t pfn = 0;
	size_t n, i;

	while (f && (n = fread(flags, sizeof(flags[0]), 4096, f)) > 0)
		for (i = 0; i < n; i++, pfn++)
			if (flags[i] & KPAGE_HWPOISON && !(flags[i] & KPAGE_NOPAGE))
				file_write_long("/sys/kernel/debug/hwpoison/unpoison-pfn", pfn);
	if (f)
		fclose(f);
}

/* What is still a KSM page when there should be none */
void print_ksm_frames(void)
{
	FILE *f = fopen("/proc/kpageflags", "re");
	uint64_t pfn, flags;
	int seen = 0;

	for (pfn = 0; f && fread(&flags, sizeof(flags), 1, f) == 1 && seen < 8; pfn++) {
		if (!(flags & KPAGE_KSM) || flags & KPAGE_ZERO)
			continue;
		printf("# KSM page in frame 0x%llx, flags 0x%llx, mapped %ld times\n",
		       (unsigned long long)pfn, (unsigned long long)flags, pfn_mapcount(pfn));
		seen++;
	}
	if (f)
		fclose(f);
}

/* The number of each block of memory in turn, -1 after the last. */
static long next_block(DIR *dir)
{
	struct dirent *d;

	while (dir && (d = readdir(dir)))
		if (!strncmp(d->d_name, "memory", 6) && d->d_name[6] >= '0' && d->d_name[6] <= '9')
			return atol(d->d_name + 6);
	return -1;
}

static bool block_is_offline(long block)
{
	char path[128], state[16] = "";
	FILE *f;

	snprintf(path, sizeof(path), BLOCKS "/memory%ld/state", block);
	f = fopen(path, "re");
	if (f) {
		if (!fgets(state, sizeof(state), f))
			state[0] = '\0';
		fclose(f);
	}
	return !strncmp(state, "offline", 7);
}

void blocks_online(void)
{
	DIR *dir = opendir(BLOCKS);
	long block;

	while ((block = next_block(dir)) >= 0)
		if (block_is_offline(block))
			memory_block_write(block, "online_movable");
	if (dir)
		closedir(dir);
}

bool block_is_last(uint64_t block)
{
	DIR *dir = opendir(BLOCKS);
	size_t others = 0;
	long other;

	while ((other = next_block(dir)) >= 0)
		others += other != (long)block && memory_block_can_go(other);
	if (dir)
		closedir(dir);
	return !others && memory_block_can_go(block);
}

int op_offline(struct op_args *args)
{
	uint64_t random = args->random;
	DIR *dir = opendir(BLOCKS);
	long block, chosen = -1;
	int seen = 0;
	int err;

	frames_lock();
	while ((block = next_block(dir)) >= 0)
		if (memory_block_can_go(block) && draw(&random, ++seen) == 0)
			chosen = block;
	err = chosen < 0 ? -ENOENT : memory_block_write(chosen, "offline");
	sleep_ms(draw(&random, 30));
	if (!err && memory_block_write(chosen, "online_movable"))
		stress_fail("memory block %ld does not come back", chosen);
	frames_unlock();
	if (dir)
		closedir(dir);
	return err;
}

/* ------------------------------------------------------------ the machine */

int op_swap(struct op_args *args)
{
	uint64_t random = args->random;

	if (swapoff(SWAP_DEVICE))
		return -errno;
	sleep_ms(draw(&random, 20));
	return swapon(SWAP_DEVICE, 0) ? -errno : 0;
}

int op_compact(struct op_args *args)
{
	return file_write("/proc/sys/vm/compact_memory", "1");
}

int op_numa_balancing(struct op_args *args)
{
	uint64_t random = args->random;
	int err;

	err = file_write("/proc/sys/kernel/numa_balancing", "1");
	sleep_ms(draw(&random, 100));
	file_write("/proc/sys/kernel/numa_balancing", "0");
	return err;
}

/* Reclaim works in another way from now on, and all pages change lists. */
int op_generations(struct op_args *args)
{
	static const char * const values[] = { "0", "1", "3", "7" };
	uint64_t random = args->random;

	return file_write(LRU_GEN, values[draw(&random, 4)]);
}

int op_cpu_offline(struct op_args *args)
{
	uint64_t random = args->random;
	int err;

	err = file_write(LAST_CPU, "0");
	sleep_ms(draw(&random, 30));
	file_write(LAST_CPU, "1");
	return err;
}

void machine_restore(void)
{
	file_write(LRU_GEN, "0");
	file_write(LAST_CPU, "1");
}

static struct life *draw_other(uint64_t *random)
{
	struct life *life = &shared->life[draw(random, OWNERS)];

	return life->used && life->pid ? life : NULL;
}

/* Addresses that may be outdated: the worst result must be an error. */
static size_t some_pages(struct life *life, uint64_t *random, void **at)
{
	size_t first = draw(random, PAGES - SOME);
	size_t i;

	for (i = 0; i < SOME; i++)
		at[i] = life->page[first + i].at;
	return SOME;
}

int op_move_others(struct op_args *args)
{
	uint64_t random = args->random;
	struct life *life = draw_other(&random);
	int node[SOME], status[SOME];
	void *at[SOME];
	size_t i, n;

	if (!life)
		return -ESRCH;
	n = some_pages(life, &random, at);
	for (i = 0; i < n; i++)
		node[i] = draw(&random, 2);
	return syscall(SYS_move_pages, life->pid, n, at, node, status, MOVE_ALL) < 0 ? -errno : 0;
}

int op_migrate_others(struct op_args *args)
{
	uint64_t random = args->random;
	struct life *life = draw_other(&random);
	int node = draw(&random, 2);
	unsigned long from = 1UL << node, to = 1UL << !node;

	if (!life)
		return -ESRCH;
	return syscall(SYS_migrate_pages, life->pid, 64UL, &from, &to) < 0 ? -errno : 0;
}

int op_process_madvise(struct op_args *args)
{
	static const int advice[] = { 20 /* COLD */, 21 /* PAGEOUT */, 25 /* COLLAPSE */ };
	uint64_t random = args->random;
	struct life *life = draw_other(&random);
	struct iovec iov[SOME];
	void *at[SOME];
	size_t i, n;
	int fd, err = 0;

	if (!life)
		return -ESRCH;
	fd = syscall(SYS_pidfd_open, life->pid, 0);
	if (fd < 0)
		return -errno;
	n = some_pages(life, &random, at);
	for (i = 0; i < n; i++)
		iov[i] = (struct iovec){ at[i], PAGE_BYTES };
	if (syscall(SYS_process_madvise, fd, iov, n, advice[draw(&random, 3)], 0) < 0)
		err = -errno;
	close(fd);
	return err;
}

static void read_all(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	while (read(fd, text, sizeof(text)) > 0)
		;
	close(fd);
}

/* Reading must not disturb, and no counter may ever be below zero. */
int op_read_files(struct op_args *args)
{
	static const char * const files[] = { "smaps", "ksm_stat", "ksm_merging_pages",
					      "numa_maps" };
	uint64_t random = args->random;
	struct life *life = draw_other(&random);
	struct ksm_counters c;
	char path[64];

	ksm_counters(&c);
	if (c.shared < 0 || c.sharing < 0 || c.unshared < 0 || c.volatiles < 0 || c.zero < 0 ||
	    c.chains < 0 || c.dups < 0) {
		ksm_counters_print("below zero", &c);
		stress_fail("a counter is below zero");
	}
	if (!life)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/%s", life->pid, files[draw(&random, 4)]);
	read_all(path);
	return 0;
}

/* ------------------------------------------------------ settings of KSM */

int op_run_stop(struct op_args *args)
{
	uint64_t random = args->random;
	int err;

	err = ksm_set("run", 0);
	sleep_ms(draw(&random, 30));
	ksm_set("run", 1);
	return err;
}

int op_run_unmerge(struct op_args *args)
{
	uint64_t random = args->random;
	int err;

	err = ksm_set("run", 2);
	sleep_ms(draw(&random, 10));
	ksm_set("run", 1);
	return err;
}

/* Legal values are refused while an advisor sets them, and rightly so. */
int op_pages_to_scan(struct op_args *args)
{
	uint64_t random = args->random;

	return ksm_set("pages_to_scan", 1L << between(&random, 6, 20));
}

int op_sleep_millisecs(struct op_args *args)
{
	uint64_t random = args->random;

	return ksm_set("sleep_millisecs", draw(&random, 3) ? 0 : between(&random, 1, 20));
}

int op_scan_threads(struct op_args *args)
{
	uint64_t random = args->random;

	return ksm_set("scan_threads", between(&random, 1, 8));
}

int op_smart_scan(struct op_args *args)
{
	uint64_t random = args->random;

	return ksm_set("smart_scan", draw(&random, 2));
}

int op_use_zero_pages(struct op_args *args)
{
	uint64_t random = args->random;

	return ksm_set("use_zero_pages", draw(&random, 2));
}

/* Only while nothing is merged; sometimes it is tried with merged pages. */
static int set_unmerged(const char *name, long value, uint64_t *random)
{
	int err;

	if (draw(random, 4))
		ksm_set("run", 2);
	err = ksm_set(name, value);
	ksm_set("run", 1);
	return err;
}

int op_max_page_sharing(struct op_args *args)
{
	uint64_t random = args->random;
	long value = draw(&random, 2) ? between(&random, 2, 16) : 256;

	return set_unmerged("max_page_sharing", value, &random);
}

int op_merge_across_nodes(struct op_args *args)
{
	uint64_t random = args->random;

	return set_unmerged("merge_across_nodes", draw(&random, 2), &random);
}

int op_prune(struct op_args *args)
{
	uint64_t random = args->random;

	return ksm_set("stable_node_chains_prune_millisecs",
		       draw(&random, 2) ? 0 : between(&random, 1, 3000));
}

int op_advisor_mode(struct op_args *args)
{
	uint64_t random = args->random;
	int err;

	err = ksm_write("advisor_mode", draw(&random, 2) ? "scan-time" : "none");
	sleep_ms(draw(&random, 200));
	ksm_write("advisor_mode", "none");
	ksm_set("pages_to_scan", 100000);
	return err;
}

int op_advisor_limits(struct op_args *args)
{
	uint64_t random = args->random;
	int err = ksm_set("advisor_target_scan_time", between(&random, 1, 300));

	if (!err)
		err = ksm_set("advisor_max_cpu", between(&random, 1, 200));
	if (!err)
		err = ksm_set("advisor_min_pages_to_scan", between(&random, 100, 10000));
	if (!err)
		err = ksm_set("advisor_max_pages_to_scan", between(&random, 10000, 100000));
	return err;
}
