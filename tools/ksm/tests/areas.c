// SPDX-License-Identifier: GPL-2.0
/*
 * A process with mappings of each kind that "ksmadm why" distinguishes, for its
 * test. Prints a line for each, "NAME START PAGES", then "ready". Ends with its
 * parent.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES	4096UL
#define HUGE_BYTES	(2UL << 20)

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE	0x08
#endif

enum filling { NOTHING, UNIQUE, ALIKE, ZEROES };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void fill(unsigned char *mem, size_t pages, enum filling filling)
{
	static uint64_t number = 88172645463325252ULL;
	size_t page, i;

	for (page = 0; page < pages && filling != NOTHING; page++) {
		uint64_t *word = (uint64_t *)(mem + page * PAGE_BYTES);

		for (i = 0; i < PAGE_BYTES / sizeof(*word); i++) {
			number ^= number << 13;
			number ^= number >> 7;
			number ^= number << 17;
			word[i] = filling == UNIQUE ? number : filling == ALIKE ? i + 77 : 0;
		}
	}
}

static void tell(const char *name, const void *mem, size_t pages)
{
	printf("%s 0x%lx %zu\n", name, (unsigned long)mem, pages);
}

/* With unusable memory after it, so that it stays a separate mapping */
static unsigned char *map_alone(size_t bytes)
{
	unsigned char *mem = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED)
		die("mmap");
	mem = (unsigned char *)(((uintptr_t)mem + HUGE_BYTES) & ~(HUGE_BYTES - 1));
	if (mprotect(mem, bytes - PAGE_BYTES, PROT_READ | PROT_WRITE))
		die("mprotect");
	return mem;
}

static unsigned char *area(const char *name, size_t pages, enum filling filling, int registered)
{
	unsigned char *mem = map_alone((pages + 1) * PAGE_BYTES);

	if (madvise(mem, pages * PAGE_BYTES, MADV_NOHUGEPAGE))
		die("MADV_NOHUGEPAGE");
	fill(mem, pages, filling);
	if (registered && madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE))
		die("MADV_MERGEABLE");
	tell(name, mem, pages);
	return mem;
}

static void huge_area(void)
{
	size_t pages = HUGE_BYTES / PAGE_BYTES;
	unsigned char *mem = map_alone(HUGE_BYTES + PAGE_BYTES);

	if (madvise(mem, HUGE_BYTES, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE");
	fill(mem, pages, UNIQUE);
	if (madvise(mem, HUGE_BYTES, MADV_MERGEABLE))
		die("MADV_MERGEABLE");
	tell("huge", mem, pages);
}

static void other_kind(const char *name, int flags)
{
	size_t pages = 64;
	unsigned char *mem = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
				  flags | MAP_ANONYMOUS, -1, 0);

	/* The kernel may not have it. */
	if (mem == MAP_FAILED)
		return;
	fill(mem, pages, ALIKE);
	if (madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE))
		die("MADV_MERGEABLE");
	tell(name, mem, pages);
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	size_t changing = 256, i;
	unsigned char *mem;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	area("unregistered", 512, UNIQUE, 0);
	area("unique", 512, UNIQUE, 1);
	area("alike", 500, ALIKE, 1);
	area("zeroes", 256, ZEROES, 1);
	area("unused", 256, NOTHING, 1);
	huge_area();
	other_kind("shared", MAP_SHARED);
	other_kind("droppable", MAP_DROPPABLE);
	mem = area("changing", changing, UNIQUE, 1);
	puts("ready");
	fflush(stdout);
	for (;;) {
		for (i = 0; i < changing; i++)
			mem[i * PAGE_BYTES]++;
		nanosleep(&pause, NULL);
	}
}
