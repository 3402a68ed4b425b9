// SPDX-License-Identifier: GPL-2.0
/*
 * How fast memory is while another process runs, on another CPU: follows a
 * chain of pointers, alternately with that process stopped and running.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define WINDOWS		3	/* with the process running, and as many without it */
#define WINDOW_NS	500000000ULL
#define WARM_NS		100000000ULL
#define BLOCK		32	/* accesses, timed together */
#define BUCKETS		65536	/* ns; the last is for anything longer */
#define LINE		64
#define HUGE_BYTES	(2UL << 20)

struct link {
	struct link *next;
	char rest[LINE - sizeof(struct link *)];
};

struct times {
	unsigned int bucket[BUCKETS];
	unsigned long blocks;
};

static struct times alone, beside;
static pid_t other;

static void die(const char *what)
{
	if (other > 0)
		kill(other, SIGCONT);
	fprintf(stderr, "chase: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static size_t below(size_t limit)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % limit;
}

/* One circle through all lines, in random order, so that nothing can be fetched early. */
static struct link *make_chain(size_t bytes)
{
	size_t nr = bytes / LINE, i, *order = malloc(nr * sizeof(*order));
	struct link *chain = aligned_alloc(HUGE_BYTES, bytes);

	if (!chain || !order)
		die("memory");
	/* Without huge pages, it also measures TLB misses, with and without the other. */
	madvise(chain, bytes, MADV_HUGEPAGE);
	for (i = 0; i < nr; i++)
		order[i] = i;
	for (i = nr - 1; i > 0; i--) {
		size_t with = below(i + 1), was = order[i];

		order[i] = order[with];
		order[with] = was;
	}
	for (i = 0; i < nr; i++)
		chain[order[i]].next = &chain[order[(i + 1) % nr]];
	free(order);
	return chain;
}

static struct link *follow(struct link *at, uint64_t ns, struct times *times)
{
	uint64_t last = now(), end = last + ns, time;
	int i;

	while (last < end) {
		for (i = 0; i < BLOCK; i++)
			at = __atomic_load_n(&at->next, __ATOMIC_RELAXED);
		time = now();
		if (times) {
			times->bucket[time - last < BUCKETS ? time - last : BUCKETS - 1]++;
			times->blocks++;
		}
		last = time;
	}
	return at;
}

static double percentile(const struct times *times, double part)
{
	unsigned long seen = 0;
	int i;

	for (i = 0; i < BUCKETS - 1; i++) {
		seen += times->bucket[i];
		if (seen >= times->blocks * part)
			break;
	}
	return (double)i / BLOCK;
}

static void measure(const char *name, unsigned long mib)
{
	struct link *chain = make_chain(mib << 20), *at = chain;
	int i;

	memset(&alone, 0, sizeof(alone));
	memset(&beside, 0, sizeof(beside));
	for (i = 0; i < 2 * WINDOWS; i++) {
		if (kill(other, i % 2 ? SIGCONT : SIGSTOP))
			die("the other process");
		at = follow(at, WARM_NS, NULL);
		at = follow(at, WINDOW_NS, i % 2 ? &beside : &alone);
	}
	free(chain);
	printf("@figure %s.%luMiB.alone %.4g ns/access\n", name, mib, percentile(&alone, .5));
	printf("@figure %s.%luMiB.alone-p99 %.4g ns/access\n", name, mib, percentile(&alone, .99));
	printf("@figure %s.%luMiB.p50 %.4g of alone\n", name, mib,
	       percentile(&beside, .5) / percentile(&alone, .5));
	printf("@figure %s.%luMiB.p99 %.4g of alone\n", name, mib,
	       percentile(&beside, .99) / percentile(&alone, .99));
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 4) {
		printf("Usage: chase NAME PID MIB...\n\n"
		       "Prints how fast memory is while the process runs, beside how fast it is\n"
		       "while the process is stopped. It is started by tools/bench/bench.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	other = atoi(argv[2]);
	if (other <= 1)
		die("no number of a process");
	for (i = 3; i < argc; i++)
		measure(argv[1], strtoul(argv[i], NULL, 10));
	kill(other, SIGCONT);
	return 0;
}
