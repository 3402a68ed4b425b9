// SPDX-License-Identifier: GPL-2.0
/*
 * The pages of a life: what they must bear, whether they do, and what is
 * reported if they do not; see stress.h.
 */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress.h"

#define WORDS (PAGE_BYTES / sizeof(uint64_t))
#define MAGIC 0x6b736d5f73747273ULL
#define LARGE_BYTES (LARGE * PAGE_BYTES)

struct stamp {
	uint64_t magic;
	struct identity id;
	uint64_t sum;
};

#define STAMP_WORDS (sizeof(struct stamp) / sizeof(uint64_t))
#define SUM_AT (offsetof(struct stamp, sum) / sizeof(uint64_t))

/* ------------------------------------------------------------- contents */

/*
 * Pages of everyone with odd versions have the stamp at the end. Only the stamp
 * distinguishes them, so a comparison has to go all the way.
 */
static bool stamp_is_last(const struct identity *id)
{
	return id->owner == OWNER_ANYONE && id->version & 1;
}

static size_t stamp_at(const struct identity *id)
{
	return stamp_is_last(id) ? WORDS - STAMP_WORDS : 0;
}

static uint64_t checksum(const uint64_t *word, size_t stamp)
{
	uint64_t sum = MAGIC;
	size_t i;

	for (i = 0; i < WORDS; i++)
		if (i != stamp + SUM_AT)
			sum = (sum ^ word[i]) * 0x100000001b3ULL;
	return sum;
}

void page_build(void *page, const struct identity *id)
{
	struct stamp stamp = { .magic = MAGIC, .id = *id };
	uint64_t *word = page;
	size_t at = stamp_at(id);
	uint64_t base = 1;
	size_t i;

	if (!id->version) {
		memset(page, 0, PAGE_BYTES);
		return;
	}
	if (!stamp_is_last(id))
		base = derive(id->owner ^ id->version << 20, id->addr);
	for (i = 0; i < WORDS; i++)
		word[i] = base + i * 0x100000001ULL;
	memcpy(word + at, &stamp, sizeof(stamp));
	word[at + SUM_AT] = checksum(word, at);
}

static bool is_zero(const uint64_t *word)
{
	uint64_t any = 0;
	size_t i;

	for (i = 0; i < WORDS; i++)
		any |= word[i];
	return !any;
}

bool page_holds(const void *page, const struct identity *id)
{
	const uint64_t *word = page;
	size_t at = stamp_at(id);
	struct stamp stamp;

	if (!id->version)
		return is_zero(word);
	memcpy(&stamp, word + at, sizeof(stamp));
	return stamp.magic == MAGIC && !memcmp(&stamp.id, id, sizeof(*id)) &&
	       stamp.sum == checksum(word, at);
}

/*
 * Many pages with few contents, which all lives share; zeroes; and contents
 * that nobody else has, so that no two writes are the same.
 */
struct identity page_draw_identity(size_t i, uint64_t *random)
{
	struct identity id = { 0 };
	uint64_t kind = draw(random, 16);

	if (kind < 2)
		return id;
	if (kind < 10) {
		id.owner = OWNER_ANYONE;
		id.addr = draw(random, 8) * PAGE_BYTES;
		id.version = 1 + draw(random, 4);
	} else {
		id.owner = me->owner;
		id.addr = (uintptr_t)me->page[i].at;
		id.version = __atomic_add_fetch(&me->version, 1, __ATOMIC_RELAXED);
	}
	return id;
}

/* ------------------------------------------------------------ reporting */

static void print_contents(const uint64_t *word, const struct identity *id)
{
	static uint64_t want[WORDS];
	size_t i, wrong = 0, first = 0, last = 0;
	struct stamp stamp;

	for (i = 0; i < 2; i++) {
		size_t at = i ? WORDS - STAMP_WORDS : 0;

		memcpy(&stamp, word + at, sizeof(stamp));
		if (stamp.magic == MAGIC)
			printf("#   it bears: owner %llu address 0x%llx version %llu, sum %s\n",
			       (unsigned long long)stamp.id.owner,
			       (unsigned long long)stamp.id.addr,
			       (unsigned long long)stamp.id.version,
			       stamp.sum == checksum(word, at) ? "right" : "wrong");
	}
	page_build(want, id);
	for (i = 0; i < WORDS; i++) {
		if (word[i] == want[i])
			continue;
		first = wrong++ ? first : i;
		last = i;
	}
	printf("#   %zu of %zu words are wrong, from word %zu (0x%llx for 0x%llx) to %zu\n",
	       wrong, WORDS, first, (unsigned long long)word[first],
	       (unsigned long long)want[first], last);
}

static void print_file(const char *path)
{
	char line[128];
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		printf("#   %s", line);
	if (f)
		fclose(f);
}

static void print_frame(const void *at)
{
	uint64_t entry = pagemap_entry(0, at);
	uint64_t pfn = entry & PAGEMAP_PRESENT ? entry & PAGEMAP_PFN : 0;

	printf("#   pagemap 0x%llx", (unsigned long long)entry);
	if (pfn)
		printf(": page frame 0x%llx, flags 0x%llx, mapped %ld times",
		       (unsigned long long)pfn, (unsigned long long)pfn_flags(pfn),
		       pfn_mapcount(pfn));
	printf("\n");
}

/* Only the first report counts. What others find is most likely the same. */
static bool first_to_fail(void)
{
	return !__atomic_exchange_n(&shared->failed, true, __ATOMIC_SEQ_CST);
}

static void print_life(void)
{
	struct ksm_counters c;

	printf("#   pid %d, owner %llu, life %d, child of %d\n", getpid(),
	       (unsigned long long)me->owner, life_index(me), me->parent);
	ops_print_recent(me);
	if (life_index(me) != CHAOS)
		ops_print_recent(&shared->life[CHAOS]);
	ksm_counters(&c);
	ksm_counters_print("counters", &c);
}

static void page_fail(size_t i, const char *what)
{
	struct stress_page *page = &me->page[i];

	if (!first_to_fail())
		_exit(1);
	shared->bad_page = i;
	snprintf(shared->reason, sizeof(shared->reason), "%s: page %zu at %p", what, i, page->at);
	printf("# %.3f s: %s\n", seconds_now() - shared->start, shared->reason);
	printf("#   it ought to bear: owner %llu address 0x%llx version %llu%s\n",
	       (unsigned long long)page->id.owner, (unsigned long long)page->id.addr,
	       (unsigned long long)page->id.version, page->lazy ? ", or be zero" : "");
	printf("#   written at %.3f s, right at %.3f s\n", page->written, page->checked);
	print_frame(page->at);
	print_file("/proc/self/ksm_stat");
	print_life();
	/* Do this last: accessing an unreadable page is fatal. */
	fflush(stdout);
	print_contents((uint64_t *)page->at, &page->id);
	fflush(stdout);
	_exit(1);
}

void stress_fail(const char *format, ...)
{
	va_list args;

	if (!first_to_fail())
		_exit(1);
	va_start(args, format);
	vsnprintf(shared->reason, sizeof(shared->reason), format, args);
	va_end(args);
	printf("# %.3f s: %s\n", seconds_now() - shared->start, shared->reason);
	print_life();
	fflush(stdout);
	_exit(1);
}

/* -------------------------------------------------- frames that are lost */

static __thread sigjmp_buf guard;
static __thread int guarded;
static __thread const char *guarded_page;
static __thread double guarded_since;

sigjmp_buf *guard_begin(const char *at)
{
	guarded_page = at;
	guarded_since = seconds_now() - shared->start;
	__atomic_store_n(&guarded, 1, __ATOMIC_SEQ_CST);
	return &guard;
}

void guard_end(void)
{
	__atomic_store_n(&guarded, 0, __ATOMIC_SEQ_CST);
}

/*
 * All users lose a frame that the stress broke, and nothing else is lost. This
 * handler checks the address and the kind of the fault; the rest is checked
 * outside.
 */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	const char *at = (char *)((uintptr_t)info->si_addr & ~(PAGE_BYTES - 1));

	if (sig == SIGBUS && guarded && (!guarded_page || at == guarded_page) &&
	    (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)) {
		guarded = 0;
		siglongjmp(guard, 1);
	}
	stress_fail("signal %d, code %d, at %p", sig, info->si_code, info->si_addr);
}

void guard_install(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

static void page_replace(size_t i)
{
	char *at = me->page[i].at;

	if (!broken_explains(0, at, &me->page[i].id, guarded_since))
		page_fail(i, "lost, though no frame of it was broken");
	__atomic_add_fetch(&shared->lost, 1, __ATOMIC_RELAXED);
	me->page[i].losses++;
	if (mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
		stress_fail("mmap: %s", strerror(errno));
	madvise(at, PAGE_BYTES, MADV_MERGEABLE);
	page_set_zero(i);
}

/* --------------------------------------------------------------- access */

void page_set_zero(size_t i)
{
	me->page[i].id = (struct identity){ 0 };
	me->page[i].lazy = 0;
}

void page_set_lazy(size_t i)
{
	me->page[i].lazy = 1;
}

void page_write(size_t i, const struct identity *id)
{
	struct stress_page *page = &me->page[i];

	if (sigsetjmp(*guard_begin(page->at), 0)) {
		page_replace(i);
		return;
	}
	page_build(page->at, id);
	guard_end();
	page->id = *id;
	page->lazy = 0;
	page->written = seconds_now() - shared->start;
	__atomic_add_fetch(&me->writes, 1, __ATOMIC_RELAXED);
}

void page_check(size_t i)
{
	struct stress_page *page = &me->page[i];
	static const struct identity zero;
	bool good, became_zero = false;

	if (sigsetjmp(*guard_begin(page->at), 0)) {
		page_replace(i);
		return;
	}
	good = page_holds(page->at, &page->id);
	/* It may become zero during the check; then it stays so. */
	if (!good && page->lazy)
		became_zero = page_holds(page->at, &zero);
	guard_end();
	if (became_zero)
		page_set_zero(i);
	else if (!good)
		page_fail(i, "wrong content");
	page->checked = seconds_now() - shared->start;
	__atomic_add_fetch(&me->reads, 1, __ATOMIC_RELAXED);
}

void page_flip(size_t i)
{
	me->page[i].at[17 + i] ^= 4;
	shared->flipped_page = i;
}

/* In ascending order, so that two threads that lock pages cannot deadlock. */
void pages_lock(size_t first, size_t count)
{
	size_t i;

	for (i = first; i < first + count; i++)
		while (__atomic_exchange_n(&me->page[i].busy, 1, __ATOMIC_ACQUIRE))
			sched_yield();
}

void pages_unlock(size_t first, size_t count)
{
	size_t i;

	for (i = first; i < first + count; i++)
		__atomic_store_n(&me->page[i].busy, 0, __ATOMIC_RELEASE);
}

void pages_check_all(void)
{
	size_t i;

	for (i = 0; i < PAGES; i++) {
		pages_lock(i, 1);
		page_check(i);
		pages_unlock(i, 1);
	}
}

/* With guards around them: the life's own stacks and heap must not join. */
void pages_map(void)
{
	char *small = mem_map(SMALL);
	char *large = mmap(NULL, 2 * LARGE_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t at = ((uintptr_t)large + LARGE_BYTES - 1) & ~(LARGE_BYTES - 1);
	size_t i;

	if (!small || large == MAP_FAILED)
		stress_fail("mmap: %s", strerror(errno));
	mprotect(large, at - (uintptr_t)large, PROT_NONE);
	mprotect((char *)at + LARGE_BYTES, (uintptr_t)large + LARGE_BYTES - at, PROT_NONE);
	for (i = 0; i < PAGES; i++) {
		me->page[i] = (struct stress_page){
			.at = i < SMALL ? PAGE(small, i) : PAGE((char *)at, i - SMALL),
		};
	}
}
