// SPDX-License-Identifier: GPL-2.0
/* Operations on a life's own memory: advice, mappings, frames; see stress.h. */

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../ksm_env.h"
#include "../memory_block.h"
#include "stress.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)
#define MOVE_OWN (1 << 1)

/* How many consecutive pages are neighbours from there on; 0 after the last. */
static size_t run_at(struct op_args *args, size_t i)
{
	size_t end = args->first + args->count;
	size_t n = i < end;

	while (i + n < end && me->page[i + n].at == PAGE(me->page[i].at, n))
		n++;
	return n;
}

static int each_run(struct op_args *args, int (*call)(void *at, size_t bytes, int arg), int arg)
{
	int result = 0;
	size_t i, n;

	for (i = args->first; (n = run_at(args, i)); i += n)
		if (call(me->page[i].at, n * PAGE_BYTES, arg))
			result = -errno;
	return result;
}

static int advise(struct op_args *args, int advice)
{
	return each_run(args, madvise, advice);
}

static int unlock(void *at, size_t bytes, int unused)
{
	return munlock(at, bytes);
}

static int lock(void *at, size_t bytes, int flags)
{
	return mlock2(at, bytes, flags);
}

/* Limits it to the pages that move about singly, and not too many. */
static void only_small(struct op_args *args, size_t most)
{
	args->first %= SMALL;
	if (args->count > SMALL - args->first)
		args->count = SMALL - args->first;
	if (args->count > most)
		args->count = most;
}

static void only_large(struct op_args *args)
{
	args->first = SMALL;
	args->count = LARGE;
}

/* ---------------------------------------------------------------- advice */

int op_mergeable(struct op_args *args)
{
	return advise(args, MADV_MERGEABLE);
}

int op_unmergeable(struct op_args *args)
{
	return advise(args, MADV_UNMERGEABLE);
}

static void check(struct op_args *args)
{
	size_t i;

	for (i = args->first; i < args->first + args->count; i++)
		page_check(i);
}

/* Locked memory would not be freed. */
int op_dontneed(struct op_args *args)
{
	size_t i;
	int err;

	only_small(args, 24);
	pages_lock(args->first, args->count);
	check(args);
	each_run(args, unlock, 0);
	err = advise(args, MADV_DONTNEED);
	for (i = args->first; i < args->first + args->count; i++) {
		if (err)
			page_set_lazy(i);
		else
			page_set_zero(i);
		page_check(i);
	}
	pages_unlock(args->first, args->count);
	return err;
}

int op_free(struct op_args *args)
{
	size_t i;
	int err;

	only_small(args, 24);
	pages_lock(args->first, args->count);
	check(args);
	each_run(args, unlock, 0);
	/* Mark them first, as a failure may have freed a part. */
	for (i = args->first; i < args->first + args->count; i++)
		page_set_lazy(i);
	err = advise(args, MADV_FREE);
	pages_unlock(args->first, args->count);
	return err;
}

int op_pageout(struct op_args *args)
{
	return advise(args, MADV_PAGEOUT);
}

int op_cold(struct op_args *args)
{
	return advise(args, MADV_COLD);
}

/* Merged pages cannot become a huge one: taken apart first, or as they are. */
int op_collapse(struct op_args *args)
{
	uint64_t random = args->random;
	bool apart = draw(&random, 2);
	int err;

	only_large(args);
	if (apart)
		advise(args, MADV_UNMERGEABLE);
	err = advise(args, MADV_COLLAPSE);
	if (apart)
		advise(args, MADV_MERGEABLE);
	return err;
}

int op_hugepage(struct op_args *args)
{
	uint64_t random = args->random;

	only_large(args);
	return advise(args, draw(&random, 3) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

/* -------------------------------------------------------------- mappings */

/*
 * How many of the pages are in one mapping. Linux 7.3 moves several at once, but may
 * move only the first ones and fail.
 */
static size_t run_in_mapping(const char *from, size_t n)
{
	unsigned long start, end, at = (unsigned long)from;
	FILE *maps = fopen("/proc/self/maps", "re");
	size_t pages = n;
	char line[512];

	if (!maps)
		return n;
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && start <= at && at < end)
			pages = (end - at) / PAGE_BYTES;
	fclose(maps);
	return pages < n ? pages : n;
}

/* Another process may have split the mapping since, so move it in halves then. */
static void move_run(size_t i, size_t n, char *to, bool keep)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0);
	size_t bytes = n * PAGE_BYTES;
	char *from = me->page[i].at;
	size_t k;

	if (mremap(from, bytes, bytes, flags, to) != to) {
		if (errno != EFAULT || n == 1)
			stress_fail("mremap of %zu pages from %p: %m", n, from);
		move_run(i, n / 2, to, keep);
		move_run(i + n / 2, n - n / 2, PAGE(to, n / 2), keep);
		return;
	}
	for (k = 0; k < n; k++)
		me->page[i + k].at = PAGE(to, k);
	if (keep)
		munmap(from, bytes);
}

/* To another place, one run after the other; then they are neighbours. */
int op_mremap(struct op_args *args)
{
	uint64_t random = args->random;
	bool keep = draw(&random, 4) == 0;
	size_t i, n;
	char *to;

	only_small(args, SMALL);
	to = mem_map(args->count);
	if (!to)
		return -ENOMEM;
	pages_lock(args->first, args->count);
	for (i = args->first; (n = run_at(args, i)); i += n) {
		n = run_in_mapping(me->page[i].at, n);
		move_run(i, n, PAGE(to, i - args->first), keep);
	}
	for (i = args->first; i < args->first + args->count; i += 5)
		page_check(i);
	pages_unlock(args->first, args->count);
	/* The guards: the pages bring those of the next move with them. */
	munmap(to - PAGE_BYTES, PAGE_BYTES);
	munmap(PAGE(to, args->count), PAGE_BYTES);
	return 0;
}

/* Gone for a moment; then there is new memory at the same place. */
static int unmap_and_map(struct op_args *args)
{
	uint64_t random = args->random;
	size_t i, n;

	pages_lock(args->first, args->count);
	check(args);
	for (i = args->first; (n = run_at(args, i)); i += n)
		if (munmap(me->page[i].at, n * PAGE_BYTES))
			stress_fail("munmap: %m");
	sleep_ms(draw(&random, 3));
	for (i = args->first; (n = run_at(args, i)); i += n)
		if (mmap(me->page[i].at, n * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != me->page[i].at)
			stress_fail("mmap at %p: %m", me->page[i].at);
	for (i = args->first; i < args->first + args->count; i++)
		page_set_zero(i);
	pages_unlock(args->first, args->count);
	return advise(args, MADV_MERGEABLE);
}

int op_munmap(struct op_args *args)
{
	args->first = 0;
	args->count = SMALL;
	return unmap_and_map(args);
}

int op_munmap_part(struct op_args *args)
{
	only_small(args, 12);
	return unmap_and_map(args);
}

int op_mprotect(struct op_args *args)
{
	uint64_t random = args->random;
	int prot = draw(&random, 2) ? PROT_READ : PROT_NONE;
	int err;

	if (args->count > 64)
		args->count = 64;
	pages_lock(args->first, args->count);
	err = each_run(args, mprotect, prot);
	sleep_ms(draw(&random, 4));
	if (prot & PROT_READ && !err)
		page_check(args->first);
	if (each_run(args, mprotect, PROT_READ | PROT_WRITE))
		stress_fail("mprotect: %m");
	pages_unlock(args->first, args->count);
	return err;
}

int op_mlock(struct op_args *args)
{
	uint64_t random = args->random;
	int err;

	err = each_run(args, lock, draw(&random, 2) ? MLOCK_ONFAULT : 0);
	sleep_ms(draw(&random, 3));
	if (draw(&random, 4))
		each_run(args, unlock, 0);
	/* Locking reads everything in, which fails for a broken frame. */
	return err;
}

int op_prctl_on(struct op_args *args)
{
	return prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) ? -errno : 0;
}

int op_prctl_off(struct op_args *args)
{
	return prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0) ? -errno : 0;
}

/* --------------------------------------------------------------- frames */

int op_move_pages(struct op_args *args)
{
	int node[LARGE], status[LARGE];
	uint64_t random = args->random;
	void *at[LARGE];
	size_t i;

	if (args->count > 64)
		args->count = 64;
	for (i = 0; i < args->count; i++) {
		at[i] = me->page[args->first + i].at;
		node[i] = draw(&random, 2);
	}
	return syscall(SYS_move_pages, 0, args->count, at, node, status, MOVE_OWN) < 0 ?
		-errno : 0;
}

/* One more frame may be lost, until there have been enough. */
static bool may_lose_a_frame(void)
{
	if (__atomic_sub_fetch(&shared->may_break, 1, __ATOMIC_RELAXED) >= 0)
		return true;
	__atomic_add_fetch(&shared->may_break, 1, __ATOMIC_RELAXED);
	return false;
}

static void frame_is_spared(void)
{
	__atomic_add_fetch(&shared->may_break, 1, __ATOMIC_RELAXED);
}

/* The frame that KSM shares among the most pages is the most interesting. */
static long find_merged(struct op_args *args)
{
	size_t i, n;

	for (n = 0; n < SMALL; n++) {
		i = (args->first + n) % SMALL;
		if (me->page[i].id.version && page_is_ksm(0, me->page[i].at))
			return i;
	}
	return -ENOENT;
}

/*
 * Breaking it kills the caller: that SIGBUS is as good as a return. It names
 * any of the addresses at which this process maps the KSM page.
 */
static int inject(char *at, int how)
{
	int err;

	if (sigsetjmp(*guard_begin(NULL), 0))
		return 0;
	err = madvise(at, PAGE_BYTES, how) ? -errno : 0;
	guard_end();
	return err;
}

/* What is taken away softly is lost for nobody. */
static int inject_in(size_t i, int how)
{
	struct stress_page *page = &me->page[i];
	struct broken *broken;
	uint64_t pfn;
	int err;

	if (how == MADV_SOFT_OFFLINE)
		return inject(page->at, how);
	/* There, and not in swap, or lost already */
	page_check(i);
	if (!page->id.version)
		return -EAGAIN;
	pfn = page_pfn(0, page->at);
	broken = broken_begin(&page->id);
	if (!broken)
		return -EAGAIN;
	err = inject(page->at, how);
	if (!broken_end(broken, page->at, pfn) && !err)
		stress_fail("hwpoison of page %zu at %p breaks no frame", i, page->at);
	return err;
}

/* Without a block that can go offline, tests would have nothing to work with. */
static bool spoils_last_block(const char *at)
{
	return block_is_last(page_pfn(0, at) / memory_block_pages());
}

static int break_frame(struct op_args *args, int how)
{
	bool spoils;
	int err;
	long i;

	if (!may_lose_a_frame())
		return -EDQUOT;
	i = find_merged(args);
	if (i < 0) {
		frame_is_spared();
		return i;
	}
	args->first = i;
	args->count = 1;
	frames_lock();
	spoils = spoils_last_block(me->page[i].at);
	pages_lock(i, 1);
	/* Not the zero page, which is everybody's. */
	if (spoils || !me->page[i].id.version || me->page[i].lazy)
		err = -EAGAIN;
	else
		err = inject_in(i, how);
	page_check(i);
	pages_unlock(i, 1);
	frames_unlock();
	if (err == -EAGAIN)
		frame_is_spared();
	return err;
}

int op_soft_offline(struct op_args *args)
{
	return break_frame(args, MADV_SOFT_OFFLINE);
}

int op_hwpoison(struct op_args *args)
{
	return break_frame(args, MADV_HWPOISON);
}

int op_clear_refs(struct op_args *args)
{
	uint64_t random = args->random;

	return file_write("/proc/self/clear_refs", draw(&random, 2) ? "4" : "1");
}
