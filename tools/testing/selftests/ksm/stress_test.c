// SPDX-License-Identifier: GPL-2.0
/*
 * Writers that know what they wrote, against ksmd at full speed and against
 * every call that takes merged memory apart. KSM_STRESS_SECONDS and
 * KSM_STRESS_SEED change the length (20) and the course (by time).
 */

#include "ksm_fixture.h"

#include <pthread.h>
#include <time.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define WRITERS 4
#define N 96

/*
 * Page i of a region holds the pattern of seed[i]: a few common contents, so
 * that pages merge, and stamps of its own, so that no two writes are alike.
 */
struct region {
	pthread_t thread;
	/* Held to write or check; the chaos takes it to move or discard. */
	pthread_mutex_t lock;
	char *mem;
	uint64_t seed[N];
	uint64_t random;
	uint64_t stamp;
	size_t writes;
	size_t bad;
};

static struct region regions[WRITERS];
static bool stop;

static uint64_t draw(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 33) % below;
}

static bool differs(struct region *r, size_t i, const char *who)
{
	long at = page_diff(PAGE(r->mem, i), r->seed[i]);

	if (at < 0)
		return false;
	printf("# %s: region %zd page %zu, content %llu, wrong at byte %ld\n",
	       who, r - regions, i, (unsigned long long)r->seed[i], at);
	fflush(stdout);
	return true;
}

static void *writer(void *arg)
{
	struct region *r = arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t i = draw(&r->random, N);
		uint64_t kind = draw(&r->random, 8);

		pthread_mutex_lock(&r->lock);
		r->bad += differs(r, i, "before a write");
		if (kind == 0)
			r->seed[i] = 0;
		else if (kind < 5)
			r->seed[i] = kind;
		else
			r->seed[i] = ++r->stamp;
		page_fill(PAGE(r->mem, i), r->seed[i]);
		i = draw(&r->random, N);
		r->bad += differs(r, i, "between writes");
		r->writes++;
		pthread_mutex_unlock(&r->lock);
		/* Pauses, so that some pages come to rest and are merged. */
		if (draw(&r->random, 4) == 0)
			sleep_ms(draw(&r->random, 8));
	}
	return NULL;
}

static void lock_all(void)
{
	int k;

	for (k = 0; k < WRITERS; k++)
		pthread_mutex_lock(&regions[k].lock);
}

static void unlock_all(void)
{
	int k;

	for (k = WRITERS - 1; k >= 0; k--)
		pthread_mutex_unlock(&regions[k].lock);
}

/* A copy of everything, checked, written to and checked again. */
static void child_life(uint64_t random)
{
	size_t bad = 0;
	size_t i;
	int k;

	for (k = 0; k < WRITERS; k++)
		for (i = 0; i < N; i++)
			bad += differs(&regions[k], i, "fork child");
	for (k = 0; k < WRITERS; k++) {
		i = draw(&random, N);
		regions[k].seed[i] = 5000000 + k;
		page_fill(PAGE(regions[k].mem, i), regions[k].seed[i]);
	}
	sleep_ms(draw(&random, 30));
	if (draw(&random, 2))
		madvise(regions[0].mem, N * PAGE_BYTES, MADV_UNMERGEABLE);
	for (k = 0; k < WRITERS; k++)
		for (i = 0; i < N; i++)
			bad += differs(&regions[k], i, "fork child's end");
	_exit(bad ? 1 : 0);
}

static void move(struct region *r)
{
	char *to = mmap(NULL, N * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	pthread_mutex_lock(&r->lock);
	to = mremap(r->mem, N * PAGE_BYTES, N * PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (to != MAP_FAILED)
		r->mem = to;
	pthread_mutex_unlock(&r->lock);
}

static void discard(struct region *r, size_t first, size_t count)
{
	size_t i;

	pthread_mutex_lock(&r->lock);
	madvise(PAGE(r->mem, first), count * PAGE_BYTES, MADV_DONTNEED);
	for (i = first; i < first + count; i++)
		r->seed[i] = 0;
	pthread_mutex_unlock(&r->lock);
}

static void protect(struct region *r, size_t first, size_t count)
{
	pthread_mutex_lock(&r->lock);
	mprotect(PAGE(r->mem, first), count * PAGE_BYTES, PROT_NONE);
	sleep_ms(1);
	mprotect(r->mem, N * PAGE_BYTES, PROT_READ | PROT_WRITE);
	pthread_mutex_unlock(&r->lock);
}

/* Unmapped, and new memory in its place. */
static void replace(struct region *r, size_t first, size_t count)
{
	size_t i;
	char *at;

	pthread_mutex_lock(&r->lock);
	at = PAGE(r->mem, first);
	munmap(at, count * PAGE_BYTES);
	mmap(at, count * PAGE_BYTES, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	madvise(at, count * PAGE_BYTES, MADV_MERGEABLE);
	for (i = first; i < first + count; i++)
		r->seed[i] = 0;
	pthread_mutex_unlock(&r->lock);
}

static int chaos(uint64_t *random, int children)
{
	struct region *r = &regions[draw(random, WRITERS)];
	size_t first = draw(random, N);
	size_t count = 1 + draw(random, N - first);
	char *at = PAGE(r->mem, first);

	switch (draw(random, 14)) {
	case 0:
		madvise(at, count * PAGE_BYTES, MADV_UNMERGEABLE);
		break;
	case 1:
	case 2:
		madvise(r->mem, N * PAGE_BYTES, MADV_MERGEABLE);
		break;
	case 3:
		move(r);
		break;
	case 4:
		discard(r, first, count % 8 + 1 > N - first ? 1 : count % 8 + 1);
		break;
	case 5:
		protect(r, first, count);
		break;
	case 6:
		replace(r, first, count % 8 + 1 > N - first ? 1 : count % 8 + 1);
		break;
	case 7:
		ksm_set("run", draw(random, 3));
		break;
	case 8:
		ksm_set("use_zero_pages", draw(random, 2));
		ksm_set("smart_scan", draw(random, 2));
		break;
	case 9:
		madvise(at, count * PAGE_BYTES, MADV_PAGEOUT);
		break;
	case 10:
		if (draw(random, 8) == 0)
			file_write("/proc/sys/vm/compact_memory", "1");
		break;
	default:
		/* The regions come to rest, so that the child knows them. */
		lock_all();
		if (fork() == 0)
			child_life(*random);
		unlock_all();
		children++;
	}
	ksm_set("run", 1);
	sleep_ms(draw(random, 6));
	return children;
}

static int reap(struct __test_metadata *_metadata, bool wait)
{
	int status;
	int n = 0;

	while (waitpid(-1, &status, wait ? 0 : WNOHANG) > 0) {
		EXPECT_EQ(0, status);
		n++;
	}
	return n;
}

KSM_TEST(writers_against_everything)
{
	const char *seconds = getenv("KSM_STRESS_SECONDS");
	const char *seed = getenv("KSM_STRESS_SEED");
	uint64_t random = seed && *seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	double end = seconds_now() + (seconds && *seconds ? atoi(seconds) : 20);
	long sharing = 0, acts = 0;
	int children = 0;
	size_t i;
	int k;

	printf("# KSM_STRESS_SEED=%llu\n", (unsigned long long)random);
	fflush(stdout);
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	/* The twins have their part, too. */
	ASSERT_EQ(0, ksm_set("max_page_sharing", 16));
	for (k = 0; k < WRITERS; k++) {
		struct region *r = &regions[k];

		r->mem = mem_map(N);
		ASSERT_NE(NULL, r->mem);
		r->random = random + k;
		r->stamp = 1000000ULL * (k + 1);
		pthread_mutex_init(&r->lock, NULL);
		ASSERT_EQ(0, madvise(r->mem, N * PAGE_BYTES, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_set("run", 1));
	for (k = 0; k < WRITERS; k++)
		ASSERT_EQ(0, pthread_create(&regions[k].thread, NULL, writer, &regions[k]));
	for (; seconds_now() < end; acts++) {
		children = chaos(&random, children);
		children -= reap(_metadata, children > 12);
		if (ksm_read("pages_sharing") > sharing)
			sharing = ksm_read("pages_sharing");
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (k = 0; k < WRITERS; k++)
		pthread_join(regions[k].thread, NULL);
	reap(_metadata, true);
	for (k = 0; k < WRITERS; k++) {
		EXPECT_EQ(0, regions[k].bad);
		for (i = 0; i < N; i++)
			EXPECT_FALSE(differs(&regions[k], i, "at the end"));
		TH_LOG("writer %d: %zu writes", k, regions[k].writes);
		EXPECT_LT(0, regions[k].writes);
	}
	TH_LOG("%ld acts, up to %ld pages sharing", acts, sharing);
	/* Else nothing was put to the test. */
	EXPECT_LT(0, sharing);
}

TEST_HARNESS_MAIN
