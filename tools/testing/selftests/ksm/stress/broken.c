// SPDX-License-Identifier: GPL-2.0
/*
 * Frames that the stress breaks: an access may fail where such a frame was
 * mapped, but nowhere else; see stress.h.
 */

#include <stdio.h>
#include <string.h>

#include "stress.h"

#define KPAGE_SWAPCACHE (1ULL << 13)

/* pagemap's entry for a page that is not present: a type and an offset. */
#define ENTRY_TYPE 0x1fULL
#define ENTRY_OFFSET(entry) (((entry) & PAGEMAP_PFN) >> 5)

/*
 * The content of the frame's page is known, and so are its possible victims:
 * all who have a page with that content. Returns NULL if there were too many;
 * the caller holds the lock of frames.
 */
struct broken *broken_begin(const struct identity *id)
{
	struct broken *broken;

	if (shared->nr_broken == BROKEN_MAX)
		return NULL;
	broken = &shared->broken[shared->nr_broken];
	broken->pfn = 0;
	broken->entry = 0;
	broken->until = 0;
	broken->from = seconds_now() - shared->start;
	broken->id = *id;
	broken->used = true;
	__atomic_store_n(&shared->nr_broken, shared->nr_broken + 1, __ATOMIC_RELEASE);
	return broken;
}

static bool is_known(uint64_t pfn)
{
	long i;

	for (i = 0; i < shared->nr_broken; i++)
		if (shared->broken[i].used && shared->broken[i].pfn == pfn)
			return true;
	return false;
}

/* A broken frame that stayed in the swap cache, and that is none of those before */
static uint64_t find_new_in_swapcache(void)
{
	FILE *f = fopen("/proc/kpageflags", "re");
	const uint64_t both = KPAGE_HWPOISON | KPAGE_SWAPCACHE;
	static uint64_t flags[4096];
	uint64_t pfn = 0, found = 0;
	size_t n, i;

	while (f && !found && (n = fread(flags, sizeof(flags[0]), 4096, f)) > 0)
		for (i = 0; i < n; i++, pfn++)
			if ((flags[i] & both) == both && !(flags[i] & KPAGE_NOPAGE) &&
			    !is_known(pfn))
				found = pfn;
	if (f)
		fclose(f);
	return found;
}

/*
 * It was in frame @before at the last look, and may have moved since. Returns
 * false if no frame broke. The caller holds the lock of frames, so that no
 * other frame is broken meanwhile.
 */
bool broken_end(struct broken *broken, const char *at, uint64_t before)
{
	uint64_t entry = pagemap_entry(0, at);
	uint64_t pfn = 0;

	if (before && pfn_flags(before) & KPAGE_HWPOISON && !is_known(before))
		pfn = before;
	else if (entry & PAGEMAP_SWAP && entry & ENTRY_TYPE &&
		 pfn_flags(ENTRY_OFFSET(entry)) & KPAGE_HWPOISON)
		pfn = ENTRY_OFFSET(entry);
	else if (entry & PAGEMAP_SWAP)
		pfn = find_new_in_swapcache();
	if (entry & PAGEMAP_SWAP)
		broken->entry = entry & PAGEMAP_PFN;
	broken->pfn = pfn;
	broken->used = pfn;
	broken->until = seconds_now() - shared->start;
	return pfn;
}

/*
 * The entry where it was mapped is either for the broken frame, or for the swap
 * that it was on its way to. A page in swap is read back if it had been written
 * there; until then nobody gets it.
 */
static bool is_entry_of(const struct broken *broken, uint64_t entry)
{
	if (!(entry & PAGEMAP_SWAP))
		return false;
	if (broken->entry && (entry & PAGEMAP_PFN) == broken->entry)
		return true;
	return entry & ENTRY_TYPE && ENTRY_OFFSET(entry) == broken->pfn;
}

/*
 * May an access to the page, which began at @since, fail? While its frame is
 * being broken, anything may be found there, but only for that content.
 */
bool broken_explains(pid_t pid, const char *at, const struct identity *id, double since)
{
	uint64_t entry = pagemap_entry(pid, at);
	long i;

	for (i = 0; i < __atomic_load_n(&shared->nr_broken, __ATOMIC_ACQUIRE); i++) {
		const struct broken *broken = &shared->broken[i];

		if (!broken->used || memcmp(&broken->id, id, sizeof(*id)))
			continue;
		if (!broken->until || broken->until >= since || is_entry_of(broken, entry))
			return true;
	}
	return false;
}

/* The same of any of the pages, which the caller has locked */
bool broken_explains_any(size_t first, size_t count, double since)
{
	size_t i;

	for (i = first; i < first + count; i++)
		if (broken_explains(0, me->page[i].at, &me->page[i].id, since))
			return true;
	return false;
}
