// SPDX-License-Identifier: GPL-2.0
/* What the KSM selftests share; see ksm_util.h. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ksm_util.h"
#include "verify.h"

#define KSM_DIR "/sys/kernel/mm/ksm/"
#define SLAB_DIR "/sys/kernel/slab/"

/*
 * A debug kernel in an emulator is slow, and the emulator may have to wait for its
 * CPUs; only a hang takes this long. The first of these is for one full scan.
 */
#define SCAN_SECONDS 240
#define ZERO_SECONDS 120
#define SETTLE_SCANS 60
/* An RCU grace period, and more */
#define SLAB_SECONDS 60

/* The advisor first: while it is on, pages_to_scan cannot be written. */
static const struct {
	const char *name;
	const char *test_value;
} knobs[KSM_KNOBS] = {
	{ "advisor_mode", "none" },
	{ "pages_to_scan", "1000000" },
	{ "sleep_millisecs", "1" },
	{ "smart_scan", "0" },
	{ "use_zero_pages", "0" },
	{ "merge_across_nodes", "1" },
	{ "max_page_sharing", "256" },
	{ "stable_node_chains_prune_millisecs", "2000" },
	{ "scan_threads", "1" },
};

/* All tests must pass with any number of workers. */
static const char *test_value(int knob)
{
	const char *threads = getenv("KSM_SCAN_THREADS");

	if (threads && *threads && !strcmp(knobs[knob].name, "scan_threads"))
		return threads;
	return knobs[knob].test_value;
}

int file_write(const char *path, const char *text)
{
	size_t len = strlen(text);
	ssize_t n;
	int err;
	int fd;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	err = n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
	close(fd);
	return err;
}

int file_write_long(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return file_write(path, text);
}

static ssize_t file_read(const char *path, char *buf, size_t size)
{
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = -errno;
	else
		buf[n] = '\0';
	close(fd);
	return n;
}

long file_read_long(const char *path)
{
	char buf[64];
	ssize_t n = file_read(path, buf, sizeof(buf));

	return n < 0 ? n : n == 0 ? -ENODATA : strtol(buf, NULL, 10);
}

long file_read_key(const char *path, const char *key)
{
	size_t len = strlen(key);
	char line[256];
	long value = -ENOENT;
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len) || !strchr(" \t:", line[len]))
			continue;
		value = strtol(line + len + strspn(line + len, " \t:"), NULL, 10);
		break;
	}
	fclose(f);
	return value;
}

static const char *ksm_path(const char *name)
{
	static __thread char path[128];

	snprintf(path, sizeof(path), KSM_DIR "%s", name);
	return path;
}

bool ksm_has(const char *name)
{
	return access(ksm_path(name), F_OK) == 0;
}

long ksm_read(const char *name)
{
	return file_read_long(ksm_path(name));
}

int ksm_write(const char *name, const char *text)
{
	return file_write(ksm_path(name), text);
}

int ksm_set(const char *name, long value)
{
	return file_write_long(ksm_path(name), value);
}

void ksm_counters(struct ksm_counters *c)
{
	c->shared = ksm_read("pages_shared");
	c->sharing = ksm_read("pages_sharing");
	c->unshared = ksm_read("pages_unshared");
	c->volatiles = ksm_read("pages_volatile");
	c->zero = ksm_read("ksm_zero_pages");
	c->chains = ksm_read("stable_node_chains");
	c->dups = ksm_read("stable_node_dups");
}

void ksm_counters_print(const char *what, const struct ksm_counters *c)
{
	printf("# %s: shared %ld sharing %ld unshared %ld volatile %ld zero %ld", what,
	       c->shared, c->sharing, c->unshared, c->volatiles, c->zero);
	printf(" chains %ld dups %ld\n", c->chains, c->dups);
	fflush(stdout);
}

void ksm_knobs_save(struct ksm_knobs *k)
{
	char buf[32];
	int i;

	for (i = 0; i < KSM_KNOBS; i++) {
		char *open_bracket;

		k->value[i][0] = '\0';
		if (file_read(ksm_path(knobs[i].name), buf, sizeof(buf)) <= 0)
			continue;
		buf[strcspn(buf, "\n")] = '\0';
		/* A choice is shown as "none [scan-time]". */
		open_bracket = strchr(buf, '[');
		if (open_bracket) {
			open_bracket[strcspn(open_bracket, "]")] = '\0';
			snprintf(k->value[i], sizeof(k->value[i]), "%s", open_bracket + 1);
		} else {
			snprintf(k->value[i], sizeof(k->value[i]), "%s", buf);
		}
	}
}

int ksm_knobs_restore(const struct ksm_knobs *k)
{
	int err = ksm_set("run", 2);
	int i;

	for (i = 0; i < KSM_KNOBS && !err; i++)
		if (k->value[i][0])
			err = ksm_write(knobs[i].name, k->value[i]);
	return err ? err : ksm_set("run", 0);
}

int ksm_knobs_default(void)
{
	int err = ksm_set("run", 2);
	int i;

	for (i = 0; i < KSM_KNOBS && !err; i++) {
		err = ksm_write(knobs[i].name, test_value(i));
		if (err == -ENOENT)
			err = 0;
		if (err)
			printf("# writing %s to %s: %s\n", test_value(i),
			       knobs[i].name, strerror(-err));
	}
	return err ? err : ksm_set("run", 0);
}

static int wait_full_scans(long goal)
{
	long scans, last = -1;
	double end = 0;

	while ((scans = ksm_read("full_scans")) < goal) {
		if (scans != last) {
			last = scans;
			end = seconds_now() + SCAN_SECONDS;
		} else if (seconds_now() > end) {
			printf("# full_scans stays at %ld for %d seconds, and should be %ld\n",
			       scans, SCAN_SECONDS, goal);
			return -ETIMEDOUT;
		}
		sleep_ms(2);
	}
	return 0;
}

/*
 * The scan in progress may have passed our pages already, so do one more than
 * requested. pages_to_scan is larger than the memory of any test: ksmd stops at
 * the end of a scan, where the counters are exact.
 */
static int scans(int n)
{
	int err, err2;

	err = ksm_set("run", 1);
	if (!err)
		err = wait_full_scans(ksm_read("full_scans") + n + 1);
	err2 = ksm_set("run", 0);
	return err ? err : err2;
}

/* Verifies the effects of a test while they exist. */
int ksm_scans(int n)
{
	int err = scans(n);

	return err ? err : verify_now();
}

int ksm_settle(void)
{
	struct ksm_counters last, now;
	int quiet = 0;
	int err;
	int i;

	err = scans(2);
	ksm_counters(&last);
	for (i = 0; !err && quiet < 3 && i < SETTLE_SCANS; i++) {
		err = scans(1);
		ksm_counters(&now);
		quiet = memcmp(&now, &last, sizeof(now)) ? 0 : quiet + 1;
		last = now;
	}
	if (!err && quiet < 3) {
		ksm_counters_print("not settled", &now);
		err = -EAGAIN;
	}
	return err ? err : verify_now();
}

/* Moves as long as a scan is under way. */
static long work_done(void)
{
	return ksm_read("pages_scanned") + ksm_read("pages_skipped") + ksm_read("full_scans");
}

/*
 * A full scan ends with an hour of sleep. If ksmd has not reached the sleep before
 * this one when it has to run again, a new length ends that sleep. Nothing tells that
 * ksmd sleeps, except that no work is done.
 */
int ksm_one_scan(void)
{
	static long length = 3600000;
	long before = ksm_read("full_scans"), sleep = ksm_read("sleep_millisecs");
	long work = -1, now;
	double end = seconds_now() + SCAN_SECONDS;
	int err, err2, idle = 0;

	length ^= 1;
	err = ksm_set("sleep_millisecs", length);
	err = err ? err : ksm_set("run", 1);
	/* It may be over before anybody looks. */
	while (!err && ksm_read("full_scans") == before) {
		sleep_ms(1);
		now = work_done();
		idle = now == work ? idle + 1 : 0;
		work = now;
		if (idle == 500) {
			idle = 0;
			length ^= 1;
			err = ksm_set("sleep_millisecs", length);
		}
		if (!err && seconds_now() > end)
			err = -ETIMEDOUT;
	}
	err2 = ksm_set("run", 0);
	err2 = err2 ? err2 : ksm_set("sleep_millisecs", sleep);
	return err ? err : err2;
}

static bool pages_at_zero(const struct ksm_counters *c)
{
	return !c->shared && !c->sharing && !c->unshared && !c->volatiles;
}

/*
 * The base kernel keeps empty chains until somebody looks up their content or
 * unmerges everything, hence run=2 there. An engine that shows its metadata
 * (metadata_bytes) must come to zero by itself.
 */
bool ksm_wait_zero(struct ksm_counters *c, long zero_before)
{
	bool own = ksm_has("metadata_bytes");
	long metadata;
	double end = seconds_now() + ZERO_SECONDS;
	bool zero;

	ksm_set("run", 1);
	for (;;) {
		ksm_counters(c);
		metadata = own ? ksm_read("metadata_bytes") : 0;
		zero = pages_at_zero(c) && c->zero == zero_before && !c->chains && !c->dups &&
		       !metadata;
		if (zero || seconds_now() > end)
			break;
		if (!own && pages_at_zero(c))
			ksm_set("run", 2);
		sleep_ms(5);
	}
	ksm_set("run", 0);
	if (!zero) {
		ksm_counters_print("not back to zero", c);
		printf("# %ld bytes of metadata\n", metadata);
	}
	return zero;
}

/* Shrink the cache first: objects that CPUs keep ready would count as used. */
long slab_objects(const char *cache)
{
	char path[320];
	long objects;

	snprintf(path, sizeof(path), SLAB_DIR "%s/aliases", cache);
	if (file_read_long(path) > 0)
		return 0;
	snprintf(path, sizeof(path), SLAB_DIR "%s/shrink", cache);
	file_write(path, "1");
	snprintf(path, sizeof(path), SLAB_DIR "%s/objects", cache);
	objects = file_read_long(path);
	return objects < 0 ? 0 : objects;
}

static long ksm_slab_objects(void)
{
	DIR *dir = opendir(SLAB_DIR);
	struct dirent *d;
	long n = 0;

	if (!dir)
		return -ENOENT;
	while ((d = readdir(dir)))
		if (!strncmp(d->d_name, "ksm_", 4))
			n += slab_objects(d->d_name);
	closedir(dir);
	return n;
}

long ksm_slabs_wait_empty(void)
{
	double end = seconds_now() + SLAB_SECONDS;
	long n;

	while ((n = ksm_slab_objects()) > 0 && seconds_now() < end)
		sleep_ms(20);
	return n;
}

void cpu_stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		abort();
}

char *mem_map(size_t pages)
{
	size_t bytes = pages * PAGE_BYTES;
	char *mem;

	/* A guard on both sides, so that it does not join other mappings. */
	mem = mmap(NULL, bytes + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	mem += PAGE_BYTES;
	if (mprotect(mem, bytes, PROT_READ | PROT_WRITE))
		return NULL;
	/* Fails without huge pages, which is fine. */
	madvise(mem, bytes, MADV_NOHUGEPAGE);
	return mem;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9fb21c651e98df25ULL;
	return x ^ (x >> 28);
}

void page_fill(void *page, uint64_t seed)
{
	uint64_t *word = page;
	size_t i;

	for (i = 0; i < PAGE_BYTES / sizeof(*word); i++)
		word[i] = seed ? mix(seed * 0x10001 + i) : 0;
}

/* The offset of the first wrong byte, or -1. */
long page_diff(const void *page, uint64_t seed)
{
	uint64_t want[PAGE_BYTES / sizeof(uint64_t)];
	const unsigned char *w = (const void *)want;
	const unsigned char *p = page;
	size_t i;

	page_fill(want, seed);
	if (!memcmp(page, want, PAGE_BYTES))
		return -1;
	for (i = 0; i < PAGE_BYTES; i++)
		if (p[i] != w[i])
			break;
	return i;
}

void mem_fill(char *mem, size_t pages, uint64_t seed, uint64_t step)
{
	size_t i;

	for (i = 0; i < pages; i++)
		page_fill(mem + i * PAGE_BYTES, seed + i * step);
}

size_t mem_bad(const char *mem, size_t pages, uint64_t seed, uint64_t step)
{
	size_t bad = 0;
	size_t i;

	for (i = 0; i < pages; i++) {
		long at = page_diff(mem + i * PAGE_BYTES, seed + i * step);

		if (at < 0)
			continue;
		if (!bad++)
			printf("# page %zu of %zu differs first at byte %ld\n", i, pages, at);
	}
	return bad;
}

char *mem_merged(size_t pages, uint64_t seed, uint64_t step)
{
	char *mem = mem_map(pages);

	if (!mem)
		return NULL;
	mem_fill(mem, pages / 2, seed, step);
	mem_fill(PAGE(mem, pages / 2), pages / 2, seed, step);
	if (madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE) || ksm_settle())
		return NULL;
	return mem;
}

size_t mem_merged_bad(const char *mem, size_t pages, uint64_t seed, uint64_t step)
{
	return mem_bad(mem, pages / 2, seed, step) +
	       mem_bad(PAGE(mem, pages / 2), pages / 2, seed, step);
}

size_t fewer_if_slow(size_t n)
{
	static int slow = -1;

	/* With this, all other checks are configured as well. */
	if (slow < 0)
		slow = !access("/sys/kernel/debug/kmemleak", F_OK);
	return slow ? n / 4 : n;
}

double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	nanosleep(&ts, NULL);
}

bool vma_has_flag(const void *addr, const char *flag)
{
	unsigned long start, end;
	bool inside = false;
	bool found = false;
	char line[512];
	char word[8];
	FILE *f;

	f = fopen("/proc/self/smaps", "re");
	if (!f)
		return false;
	snprintf(word, sizeof(word), " %s ", flag);
	while (!found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (uintptr_t)addr >= start && (uintptr_t)addr < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, word);
	}
	fclose(f);
	return found;
}
