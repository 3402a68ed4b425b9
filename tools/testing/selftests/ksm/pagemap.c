// SPDX-License-Identifier: GPL-2.0
/*
 * Which physical page is behind an address, and what the kernel says about it;
 * see ksm_util.h.
 *
 * Files are opened once and read in pieces: with all its checks, the kernel
 * takes a millisecond to open one, and tests ask for thousands of pages.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksm_util.h"

/* Entries of a pagemap that are read at a time. */
#define PIECE 512

static void give_up(const char *path)
{
	fprintf(stderr, "# cannot read %s: %s\n", path, strerror(errno));
	exit(1);
}

static int open_or_give_up(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		give_up(path);
	return fd;
}

static void read_words(int fd, const char *path, uint64_t index, uint64_t *words, size_t n)
{
	ssize_t bytes = n * sizeof(*words);

	if (pread(fd, words, bytes, index * sizeof(*words)) != bytes)
		give_up(path);
}

static void read_pagemap(pid_t pid, const void *addr, uint64_t *entries, size_t pages)
{
	char path[64] = "/proc/self/pagemap";
	int fd;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open_or_give_up(path, O_RDONLY);
	read_words(fd, path, (uintptr_t)addr / PAGE_BYTES, entries, pages);
	close(fd);
}

uint64_t pagemap_entry(pid_t pid, const void *addr)
{
	uint64_t entry;

	read_pagemap(pid, addr, &entry, 1);
	return entry;
}

static uint64_t entry_pfn(uint64_t entry)
{
	return entry & PAGEMAP_PRESENT ? entry & PAGEMAP_PFN : 0;
}

uint64_t page_pfn(pid_t pid, const void *addr)
{
	return entry_pfn(pagemap_entry(pid, addr));
}

uint64_t pfn_flags(uint64_t pfn)
{
	static const char path[] = "/proc/kpageflags";
	static int fd = -1;
	uint64_t flags;

	if (fd < 0)
		fd = open_or_give_up(path, O_RDONLY);
	read_words(fd, path, pfn, &flags, 1);
	return flags;
}

long pfn_mapcount(uint64_t pfn)
{
	static const char path[] = "/proc/kpagecount";
	static int fd = -1;
	uint64_t count;

	if (fd < 0)
		fd = open_or_give_up(path, O_RDONLY);
	read_words(fd, path, pfn, &count, 1);
	return count;
}

static bool entry_is_swapped(uint64_t entry)
{
	return entry & PAGEMAP_SWAP;
}

static bool entry_is_zero_page(uint64_t entry)
{
	uint64_t pfn = entry_pfn(entry);

	return pfn && pfn_flags(pfn) & KPAGE_ZERO;
}

static bool entry_is_flagged_ksm(uint64_t entry)
{
	uint64_t pfn = entry_pfn(entry);

	return pfn && (pfn_flags(pfn) & (KPAGE_KSM | KPAGE_ZERO)) == KPAGE_KSM;
}

static bool entry_is_mapped_twice(uint64_t entry)
{
	uint64_t pfn = entry_pfn(entry);

	return pfn && !(pfn_flags(pfn) & KPAGE_ZERO) && pfn_mapcount(pfn) > 1;
}

static size_t count_each(pid_t pid, uintptr_t from, uintptr_t to, bool (*is)(uint64_t entry))
{
	uint64_t entries[PIECE];
	size_t n = 0;
	size_t pages, i;

	for (; from < to; from += pages * PAGE_BYTES) {
		pages = (to - from) / PAGE_BYTES;
		pages = pages < PIECE ? pages : PIECE;
		read_pagemap(pid, (void *)from, entries, pages);
		for (i = 0; i < pages; i++)
			n += is(entries[i]);
	}
	return n;
}

static size_t mem_count(pid_t pid, const char *mem, size_t pages, bool (*is)(uint64_t entry))
{
	return count_each(pid, (uintptr_t)mem, (uintptr_t)mem + pages * PAGE_BYTES, is);
}

/*
 * Some kernels show every anonymous page as a KSM page in kpageflags. A page of
 * our own stack tells, as nothing merges it.
 */
static bool ksm_flag_is_sound(void)
{
	static int sound = -1;
	int on_stack = 0;

	if (sound < 0)
		sound = !(pfn_flags(page_pfn(0, &on_stack)) & KPAGE_KSM);
	return sound;
}

/*
 * smaps shows how much of a whole mapping is KSM pages. For a part of a
 * mapping, guess that KSM shares what is mapped twice.
 */
static size_t count_by_smaps(pid_t pid, uintptr_t from, uintptr_t to)
{
	unsigned long start = 0, end = 0, a, b, kb;
	char path[64] = "/proc/self/smaps";
	char line[512];
	size_t n = 0;
	FILE *f;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			start = a;
			end = b;
		}
		if (start >= to || end <= from || sscanf(line, "KSM: %lu kB", &kb) != 1)
			continue;
		if (start >= from && end <= to)
			n += kb * 1024 / PAGE_BYTES;
		else
			n += count_each(pid, start > from ? start : from,
					end < to ? end : to, entry_is_mapped_twice);
	}
	if (f)
		fclose(f);
	return n;
}

size_t mem_count_ksm(pid_t pid, const char *mem, size_t pages)
{
	if (ksm_flag_is_sound())
		return mem_count(pid, mem, pages, entry_is_flagged_ksm);
	return count_by_smaps(pid, (uintptr_t)mem, (uintptr_t)mem + pages * PAGE_BYTES);
}

bool page_is_ksm(pid_t pid, const void *addr)
{
	return mem_count_ksm(pid, addr, 1);
}

bool page_is_zero_page(pid_t pid, const void *addr)
{
	return entry_is_zero_page(pagemap_entry(pid, addr));
}

size_t mem_count_swapped(pid_t pid, const char *mem, size_t pages)
{
	return mem_count(pid, mem, pages, entry_is_swapped);
}

size_t mem_count_zero_page(pid_t pid, const char *mem, size_t pages)
{
	return mem_count(pid, mem, pages, entry_is_zero_page);
}

/* Read-only memory holds no variables, but a debugger may write to it. */
static void make_page_own(int debugger, uintptr_t at, bool writable)
{
	char *page = (char *)at;
	char byte;

	if (writable) {
		byte = __atomic_load_n(page, __ATOMIC_RELAXED);
		__atomic_compare_exchange_n(page, &byte, byte, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	} else if (pread(debugger, &byte, 1, at) == 1 && pwrite(debugger, &byte, 1, at) != 1) {
		give_up("/proc/self/mem");
	}
}

static void make_mapping_own(int debugger, uintptr_t from, uintptr_t to, bool writable)
{
	uint64_t entries[PIECE];
	size_t pages, i;

	for (; from < to; from += pages * PAGE_BYTES) {
		pages = (to - from) / PAGE_BYTES;
		pages = pages < PIECE ? pages : PIECE;
		read_pagemap(0, (void *)from, entries, pages);
		for (i = 0; i < pages; i++)
			if (entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAP) &&
			    !(entries[i] & PAGEMAP_FILE))
				make_page_own(debugger, from + i * PAGE_BYTES, writable);
	}
}

void mem_make_own(void)
{
	int debugger = open_or_give_up("/proc/self/mem", O_RDWR);
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], may[5];
	unsigned long from, to;

	if (!maps)
		give_up("/proc/self/maps");
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s", &from, &to, may) == 3 && may[0] == 'r' &&
		    may[3] == 'p' && !strstr(line, "[v"))
			make_mapping_own(debugger, from, to, may[1] == 'w');
	fclose(maps);
	close(debugger);
}

int mem_count_vmas(const char *mem, size_t pages)
{
	uintptr_t from = (uintptr_t)mem, to = from + pages * PAGE_BYTES;
	unsigned long start, end;
	char line[512];
	int n = 0;
	FILE *f;

	f = fopen("/proc/self/maps", "re");
	while (f && fgets(line, sizeof(line), f))
		n += sscanf(line, "%lx-%lx", &start, &end) == 2 && start < to && end > from;
	if (f)
		fclose(f);
	return n;
}
