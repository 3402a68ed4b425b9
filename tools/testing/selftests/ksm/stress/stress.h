/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Integrity under stress: what its files share.
 *
 * Processes (lives) own pages. Each page bears a stamp: owner, address, version
 * and a checksum of all of it. What it must bear is kept in memory that KSM
 * never merges. Operations on the pages and on the machine are drawn from one
 * table. The seed determines which ones, in which order and with which
 * arguments; but not how they meet each other.
 */
#ifndef KSM_STRESS_H
#define KSM_STRESS_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../ksm_util.h"

/* Lives at a time: the owners of a run first, then the chaos, then children. */
#define LIVES 40
#define OWNERS 4
#define CHAOS OWNERS
#define FIRST_CHILD (CHAOS + 1)

/* Pages of a life: some that move about singly, and a huge page. */
#define SMALL 192
#define LARGE 512
#define PAGES (SMALL + LARGE)

/* Blocks of the file for O_DIRECT: to read from, and eight for each life. */
#define FILE_READ 32
#define FILE_OWN 8
#define FILE_BLOCKS (FILE_READ + LIVES * FILE_OWN)

#define RECENT 40
/* Frames that may be broken in a run */
#define BROKEN_MAX 1024
#define OPS_MAX 64

/* Owners that are no process */
#define OWNER_ANYONE 0
#define OWNER_FILE 1
#define OWNER_FIRST 2

/* What a page holds; version 0: zeroes. */
struct identity {
	uint64_t owner;
	uint64_t addr;
	uint64_t version;
};

struct stress_page {
	char *at;
	struct identity id;
	/* Held to read or write the page, or to change what it is. */
	uint8_t busy;
	/* When it was last written, and last right, since the run began. */
	float written;
	float checked;
	/* Given to MADV_FREE: may become zeroes until it is written. */
	uint8_t lazy;
	/* How often its frame was lost, and it began anew */
	uint16_t losses;
};

/* A frame that was broken on purpose, and its possible victims; broken.c */
struct broken {
	bool used;
	struct identity id;
	uint64_t pfn;
	/* What pagemap shows where it was mapped */
	uint64_t entry;
	/* Of the run; until is 0 while it is being broken. */
	double from;
	double until;
};

struct recent {
	double when;
	int op;
	int result;
	uint32_t first;
	uint32_t count;
};

struct life {
	pid_t pid;
	int parent;
	uint8_t used;
	uint8_t depth;
	bool writers_stop;
	uint64_t owner;
	uint64_t seed;
	uint64_t version;
	uint64_t writes;
	uint64_t reads;
	uint64_t nr_ops;
	struct recent recent[RECENT];
	struct stress_page page[PAGES];
};

/* What the machine must have; operations without it are left out. */
enum op_need { NEED_NONE, NEED_SWAP, NEED_NODES, NEED_BLOCKS, NEED_POISON, NEED_LOOP,
	       NEED_URING, NEED_UFFD, NEED_COLLAPSE, NEED_NUMA_BALANCING, NEED_GENERATIONS,
	       NEED_CPUS, NEED_WORKERS, NEED_SMART, NEED_ADVISOR, NEEDS };

#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
/* Of the VM's, which has two or more. */
#define LAST_CPU	"/sys/devices/system/cpu/cpu1/online"

struct op_count {
	uint64_t done;
	uint64_t refused;
	uint64_t longest_ms;
	int last_error;
};

struct stress_shared {
	uint64_t seed;
	double start;
	bool stop;
	bool failed;
	bool flip;
	int file_fd;
	int loop_fd;
	uint64_t owners;
	uint64_t writes;
	uint64_t reads;
	uint64_t ended;
	long may_break;
	long nr_broken;
	struct broken broken[BROKEN_MAX];
	long lost;
	/* The first failure's message; the rest of its report may be far above. */
	char reason[160];
	/* The page that the self-test damaged, and the one that was reported. */
	long flipped_page;
	long bad_page;
	struct op_count ops[OPS_MAX];
	bool met[NEEDS];
	bool without[OPS_MAX];
	struct life life[LIVES];
	/* Pages that are on their way to or from the file. */
	char buffer[LIVES][FILE_OWN][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
};

extern struct stress_shared *shared;
extern int shared_fd;
extern struct life *me;

static inline int life_index(const struct life *life)
{
	return life - shared->life;
}

static inline bool stress_stops(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&shared->failed, __ATOMIC_RELAXED);
}

/* shared.c */
/* Random numbers: a state to draw from, or one that follows from two numbers. */
uint64_t draw(uint64_t *state, uint64_t below);
uint64_t derive(uint64_t seed, uint64_t n);
void life_begin(struct life *life, int parent);
struct life *life_new(int parent);
void life_free(struct life *life);

/* pages.c */
void pages_map(void);
void pages_lock(size_t first, size_t count);
void pages_unlock(size_t first, size_t count);
void page_build(void *page, const struct identity *id);
bool page_holds(const void *page, const struct identity *id);
struct identity page_draw_identity(size_t i, uint64_t *random);
/* These want the page's lock. */
void page_write(size_t i, const struct identity *id);
void page_check(size_t i);
void page_set_zero(size_t i);
void page_set_lazy(size_t i);
void pages_check_all(void);
void page_flip(size_t i);
/*
 * Use this where SIGBUS may hit that page, or any page if it is NULL: if
 * (!sigsetjmp(*guard_begin(at), 0)).
 */
sigjmp_buf *guard_begin(const char *at);
void guard_end(void);
void guard_install(void);
void stress_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* broken.c */
struct broken *broken_begin(const struct identity *id);
bool broken_end(struct broken *broken, const char *at, uint64_t before);
bool broken_explains(pid_t pid, const char *at, const struct identity *id, double since);
bool broken_explains_any(size_t first, size_t count, double since);

/* life.c: these do not return. */
void life_owner(int index, uint64_t number);
void life_chaos(void);
void life_after_exec(int index);

/* table.c */
struct op_args {
	uint64_t random;
	size_t first;
	size_t count;
};

enum op_scope { ON_PAGES, ON_SYSTEM };

struct stress_op {
	const char *name;
	enum op_scope scope;
	unsigned int weight;
	enum op_need need;
	/* 0: done; -errno: refused */
	int (*run)(struct op_args *args);
};

extern const struct stress_op stress_ops[];
extern const size_t nr_stress_ops;

/* ops.c */
void ops_probe(void);
/* Leaves the operation out; false if there is none of that name. */
bool ops_without(const char *name);
bool op_is_possible(size_t op);
void op_run(size_t op, uint64_t random);
/* The n-th operation of a life: first each one once, then by weight. */
size_t op_choose(enum op_scope scope, uint64_t seed, uint64_t n);
size_t ops_of(enum op_scope scope);
int ops_missing(void);
const char *op_dropped(size_t op);
void ops_report(void);
/* One line, whose numbers tools can add up */
void ops_print_counts(void);
void ops_print_recent(const struct life *life);

/* ops_pages.c */
int op_mergeable(struct op_args *args);
int op_unmergeable(struct op_args *args);
int op_dontneed(struct op_args *args);
int op_free(struct op_args *args);
int op_pageout(struct op_args *args);
int op_cold(struct op_args *args);
int op_collapse(struct op_args *args);
int op_hugepage(struct op_args *args);
int op_mremap(struct op_args *args);
int op_munmap(struct op_args *args);
int op_munmap_part(struct op_args *args);
int op_mprotect(struct op_args *args);
int op_mlock(struct op_args *args);
int op_prctl_on(struct op_args *args);
int op_prctl_off(struct op_args *args);
int op_move_pages(struct op_args *args);
int op_soft_offline(struct op_args *args);
int op_hwpoison(struct op_args *args);
int op_clear_refs(struct op_args *args);

/* ops_io.c */
int op_direct_read(struct op_args *args);
int op_direct_write(struct op_args *args);
int op_uring(struct op_args *args);
int op_uffd_wp(struct op_args *args);

/* ops_process.c */
int op_fork(struct op_args *args);
int op_kill(struct op_args *args);
int op_exec(struct op_args *args);
int op_ptrace(struct op_args *args);
void children_reap(bool all);

/* ops_system.c */
int op_swap(struct op_args *args);
int op_compact(struct op_args *args);
int op_offline(struct op_args *args);
int op_move_others(struct op_args *args);
int op_migrate_others(struct op_args *args);
int op_process_madvise(struct op_args *args);
int op_numa_balancing(struct op_args *args);
int op_generations(struct op_args *args);
int op_cpu_offline(struct op_args *args);
int op_read_files(struct op_args *args);
int op_run_stop(struct op_args *args);
int op_run_unmerge(struct op_args *args);
int op_pages_to_scan(struct op_args *args);
int op_sleep_millisecs(struct op_args *args);
int op_scan_threads(struct op_args *args);
int op_smart_scan(struct op_args *args);
int op_use_zero_pages(struct op_args *args);
int op_max_page_sharing(struct op_args *args);
int op_merge_across_nodes(struct op_args *args);
int op_prune(struct op_args *args);
int op_advisor_mode(struct op_args *args);
int op_advisor_limits(struct op_args *args);
/* Keeps broken frames and removed memory apart; released when a process ends. */
void frames_lock(void);
void frames_unlock(void);
void unpoison_all(void);
void print_ksm_frames(void);
void blocks_online(void);
/* Switches on again what an operation has switched off. */
void machine_restore(void);
/* Is it the only block left that can go offline? */
bool block_is_last(uint64_t block);

#endif
