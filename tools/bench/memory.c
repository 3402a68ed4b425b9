// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of known content: every byte of every page can be checked at any time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

/* Seed of what pages of CONTENT_TAIL and CONTENT_HEAD have in common */
#define COMMON_SEED	7

uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static void random_words(uint64_t *word, uint64_t seed)
{
	uint64_t state = mix(seed);
	size_t i;

	for (i = 0; i < PAGE_WORDS; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		word[i] = state;
	}
}

static void make_page(uint64_t *word, enum content content, uint64_t seed)
{
	static uint64_t common[PAGE_WORDS];

	if (!seed) {
		memset(word, 0, PAGE_BYTES);
		return;
	}
	if (content == CONTENT_RANDOM) {
		random_words(word, seed);
		return;
	}
	if (!common[0])
		random_words(common, COMMON_SEED);
	memcpy(word, common, PAGE_BYTES);
	word[content == CONTENT_HEAD ? 0 : PAGE_WORDS - 1] = mix(seed);
}

/* Address space with a guard on both sides, so that it joins no other mapping. */
void *reserve(size_t bytes, size_t align)
{
	char *mem = mmap(NULL, bytes + 2 * align, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t at;

	if (mem == MAP_FAILED)
		die("mmap of %zu MiB: %s", bytes >> 20, strerror(errno));
	at = ((uintptr_t)mem + align) & ~(align - 1);
	if (mprotect((void *)at, bytes, PROT_READ | PROT_WRITE))
		die("mprotect: %s", strerror(errno));
	return (void *)at;
}

void area_make(struct area *a, size_t pages, enum content content)
{
	a->pages = pages;
	a->content = content;
	a->mem = reserve(pages * PAGE_BYTES, PAGE_BYTES);
	a->seed = calloc(pages, sizeof(*a->seed));
	if (!a->seed)
		die("no memory");
	/* Fails if there are no huge pages, which is fine. */
	madvise(a->mem, pages * PAGE_BYTES, MADV_NOHUGEPAGE);
	/* A fault for each page takes a long time in user-mode Linux. */
	area_advise(a, MADV_POPULATE_WRITE);
	area_advise(a, MADV_MERGEABLE);
}

void area_advise(const struct area *a, int advice)
{
	if (madvise(a->mem, a->pages * PAGE_BYTES, advice))
		die("madvise %d: %s", advice, strerror(errno));
}

void area_fill_page(struct area *a, size_t page, uint64_t seed)
{
	a->seed[page] = seed;
	make_page((uint64_t *)(a->mem + page * PAGE_BYTES), a->content, seed);
}

void area_fill_unique(struct area *a)
{
	size_t i;

	for (i = 0; i < a->pages; i++)
		area_fill_page(a, i, 1000000 + i);
}

/*
 * Fills pages from @from on with that many contents in turn; the others are
 * unique.
 */
void area_fill_repeating(struct area *a, size_t from, size_t contents)
{
	size_t i;

	for (i = 0; i < a->pages; i++)
		area_fill_page(a, i, i < from ? 1000000 + i : 1000 + i % contents);
}

size_t area_wrong(const struct area *a)
{
	uint64_t want[PAGE_WORDS];
	size_t wrong = 0;
	size_t i;

	for (i = 0; i < a->pages; i++) {
		make_page(want, a->content, a->seed[i]);
		wrong += !!memcmp(want, a->mem + i * PAGE_BYTES, PAGE_BYTES);
	}
	return wrong;
}

bool area_check(const struct area *a)
{
	size_t wrong = area_wrong(a);

	return expect(!wrong, "content: %zu pages of %zu are wrong", wrong, a->pages);
}

/* An area that is merged already, with CONTENTS different pages. */
void area_merge(struct area *a, size_t pages, enum content content)
{
	struct cost cost = { 0 };

	area_make(a, pages, content);
	area_fill_repeating(a, 0, CONTENTS);
	if (!ksm_scan_until(&cost, pages - CONTENTS, 20))
		die("nothing to measure");
}
