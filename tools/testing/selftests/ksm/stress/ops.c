// SPDX-License-Identifier: GPL-2.0
/*
 * Operations: which ones are possible here, which one is next, and their
 * results; see stress.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../ksm_env.h"
#include "../memory_block.h"
#include "stress.h"

static const char * const need_names[NEEDS] = {
	[NEED_SWAP] = "needs swap",
	[NEED_NODES] = "needs two nodes",
	[NEED_BLOCKS] = "needs removable memory",
	[NEED_POISON] = "needs memory failures that can be undone",
	[NEED_LOOP] = "needs a loop device",
	[NEED_URING] = "needs io_uring",
	[NEED_UFFD] = "needs write protection by userfaultfd",
	[NEED_COLLAPSE] = "needs huge pages",
	[NEED_NUMA_BALANCING] = "needs NUMA balancing",
	[NEED_GENERATIONS] = "needs the multi-generational LRU",
	[NEED_CPUS] = "needs a CPU that can go offline",
	[NEED_WORKERS] = "needs scan_threads",
	[NEED_SMART] = "needs smart_scan",
	[NEED_ADVISOR] = "needs an advisor",
};

static bool met[NEEDS];
static bool without[OPS_MAX];

/* ------------------------------------------------------------- the machine */

static bool has_blocks(void)
{
	uint64_t block;

	for (block = 0; block < 256; block++)
		if (memory_block_can_go(block))
			return true;
	return false;
}

static bool has_uring(void)
{
	struct ring ring;

	if (ring_open(&ring))
		return false;
	ring_close(&ring);
	return true;
}

static bool has_uffd(void)
{
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Checks what the machine has, once it is set up. */
void ops_probe(void)
{
	met[NEED_NONE] = true;
	met[NEED_SWAP] = file_read_key("/proc/meminfo", "SwapTotal") > 0;
	met[NEED_NODES] = two_nodes() && ksm_has("merge_across_nodes");
	met[NEED_BLOCKS] = has_blocks();
	met[NEED_POISON] = !access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK);
	met[NEED_LOOP] = shared->loop_fd >= 0;
	met[NEED_URING] = has_uring();
	met[NEED_UFFD] = has_uffd();
	met[NEED_COLLAPSE] = !access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK);
	met[NEED_NUMA_BALANCING] = !access("/proc/sys/kernel/numa_balancing", W_OK);
	met[NEED_GENERATIONS] = !access(LRU_GEN, W_OK);
	met[NEED_CPUS] = !access(LAST_CPU, W_OK);
	met[NEED_WORKERS] = ksm_has("scan_threads");
	met[NEED_SMART] = ksm_has("smart_scan");
	met[NEED_ADVISOR] = ksm_has("advisor_mode");
	memcpy(shared->met, met, sizeof(met));
	memcpy(shared->without, without, sizeof(without));
}

bool ops_without(const char *name)
{
	size_t i;

	for (i = 0; i < nr_stress_ops && strcmp(stress_ops[i].name, name); i++)
		;
	without[i] = true;
	return i < nr_stress_ops;
}

bool op_is_possible(size_t op)
{
	return shared->met[stress_ops[op].need] && !shared->without[op];
}

/* ----------------------------------------------------------- which is next */

size_t ops_of(enum op_scope scope)
{
	size_t n = 0;
	size_t i;

	for (i = 0; i < nr_stress_ops; i++)
		n += stress_ops[i].scope == scope && op_is_possible(i);
	return n;
}

/* The n-th of a scope, in an order that the seed decides */
static size_t shuffled(enum op_scope scope, uint64_t seed, size_t n)
{
	size_t order[OPS_MAX];
	size_t all = 0;
	size_t i, k;

	for (i = 0; i < nr_stress_ops; i++)
		if (stress_ops[i].scope == scope && op_is_possible(i))
			order[all++] = i;
	for (i = all - 1; i > 0; i--) {
		size_t other = order[i];

		k = derive(seed, i) % (i + 1);
		order[i] = order[k];
		order[k] = other;
	}
	return order[n];
}

static size_t by_weight(enum op_scope scope, uint64_t random)
{
	uint64_t all = 0;
	size_t i;

	for (i = 0; i < nr_stress_ops; i++)
		if (stress_ops[i].scope == scope && op_is_possible(i))
			all += stress_ops[i].weight;
	random %= all;
	for (i = 0; i < nr_stress_ops; i++) {
		if (stress_ops[i].scope != scope || !op_is_possible(i))
			continue;
		if (random < stress_ops[i].weight)
			break;
		random -= stress_ops[i].weight;
	}
	return i;
}

/* Each one once, in some order; then at random. */
size_t op_choose(enum op_scope scope, uint64_t seed, uint64_t n)
{
	if (n < ops_of(scope))
		return shuffled(scope, seed, n);
	return by_weight(scope, derive(~seed, n));
}

/* --------------------------------------------------------------- running */

void op_run(size_t op, uint64_t random)
{
	struct op_args args = { .random = derive(random, 77) };
	struct op_count *count = &shared->ops[op];
	struct recent *recent = &me->recent[me->nr_ops % RECENT];
	uint64_t ms;
	int result;

	args.first = draw(&random, PAGES);
	args.count = 1 + draw(&random, draw(&random, 2) ? 16 : PAGES);
	if (args.count > PAGES - args.first)
		args.count = PAGES - args.first;
	*recent = (struct recent){ seconds_now() - shared->start, op, 1, args.first, args.count };
	me->nr_ops++;
	result = stress_ops[op].run(&args);
	recent->first = args.first;
	recent->count = args.count;
	recent->result = result;
	ms = (seconds_now() - shared->start - recent->when) * 1000;
	if (ms > count->longest_ms)
		count->longest_ms = ms;
	if (!result) {
		__atomic_add_fetch(&count->done, 1, __ATOMIC_RELAXED);
	} else {
		__atomic_add_fetch(&count->refused, 1, __ATOMIC_RELAXED);
		count->last_error = -result;
	}
}

void ops_print_recent(const struct life *life)
{
	uint64_t n = life->nr_ops > RECENT ? life->nr_ops - RECENT : 0;

	printf("#   last operations of life %d (seed 0x%llx):\n", life_index(life),
	       (unsigned long long)life->seed);
	for (; n < life->nr_ops; n++) {
		const struct recent *r = &life->recent[n % RECENT];

		printf("#     %.3f s: %s", r->when, stress_ops[r->op].name);
		if (stress_ops[r->op].scope == ON_PAGES)
			printf(", pages %u to %u", r->first, r->first + r->count - 1);
		printf(": %s\n", r->result == 1 ? "under way" : r->result ?
		       strerror(-r->result) : "done");
	}
}

/* How many kinds were never done, though they are possible here */
int ops_missing(void)
{
	int missing = 0;
	size_t i;

	for (i = 0; i < nr_stress_ops; i++)
		missing += op_is_possible(i) && !shared->ops[i].done;
	return missing;
}

/* Why an operation is left out, NULL if it is not */
const char *op_dropped(size_t op)
{
	if (shared->without[op])
		return "left out on demand";
	return shared->met[stress_ops[op].need] ? NULL : need_names[stress_ops[op].need];
}

void ops_print_counts(void)
{
	size_t i;

	printf("# counts at %.0f s", seconds_now() - shared->start);
	for (i = 0; i < nr_stress_ops; i++)
		if (shared->ops[i].done)
			printf("; %llu %s", (unsigned long long)shared->ops[i].done,
			       stress_ops[i].name);
	printf("\n");
	fflush(stdout);
}

/* How often each was done. */
void ops_report(void)
{
	uint64_t all = 0;
	size_t i;

	for (i = 0; i < nr_stress_ops; i++) {
		struct op_count *count = &shared->ops[i];

		if (!op_is_possible(i))
			continue;
		printf("# %8llu %s, the longest %llu ms", (unsigned long long)count->done,
		       stress_ops[i].name, (unsigned long long)count->longest_ms);
		if (count->refused)
			printf(" (%llu refused, at last: %s)", (unsigned long long)count->refused,
			       strerror(count->last_error));
		printf("\n");
		all += count->done + count->refused;
	}
	printf("# %llu operations\n", (unsigned long long)all);
}
