// SPDX-License-Identifier: GPL-2.0
/*
 * Reads what the kernel tells of KSM: its counters, the CPU time of its
 * threads, and what it tracks and shares of a guest.
 */
#include <string.h>
#include <time.h>

#include "../ksm/ksmfs.h"
#include "../ksm/smaps.h"
#include "demo.h"

#define MAX_THREADS	64

double now(void)
{
	static double start;
	struct timespec ts;
	double t;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	t = ts.tv_sec + ts.tv_nsec / 1e9;
	if (start == 0)
		start = t;
	return t - start;
}

bool ksm_try_read(const char *file, unsigned long *value)
{
	long long number;

	if (ksmfs_read_number(file, &number))
		return false;
	*value = number;
	return true;
}

void ksm_write(const char *file, unsigned long value)
{
	int err = ksmfs_write_number(file, value);

	if (err)
		fail("cannot write %lu to %s/%s: %s", value, ksmfs_dir, file, strerror(err));
}

static unsigned long ksm_read(const char *file)
{
	unsigned long value;

	if (!ksm_try_read(file, &value))
		fail("cannot read %s/%s: is this kernel built with CONFIG_KSM?", ksmfs_dir, file);
	return value;
}

static double ksmd_seconds(void)
{
	struct ksmd threads[MAX_THREADS];
	size_t i, nr = ksmd_find(threads, MAX_THREADS);
	double sum = 0;

	for (i = 0; i < nr && i < MAX_THREADS; i++)
		sum += threads[i].ns / 1e9;
	return sum;
}

void take_sample(struct sample *s)
{
	s->time = now();
	s->cpu = ksmd_seconds();
	s->shared = ksm_read("pages_shared");
	s->sharing = ksm_read("pages_sharing");
	s->unshared = ksm_read("pages_unshared");
	s->volatiles = ksm_read("pages_volatile");
	s->zero = ksm_read("ksm_zero_pages");
	s->chains = ksm_read("stable_node_chains");
	s->dups = ksm_read("stable_node_dups");
	s->scans = ksm_read("full_scans");
}

unsigned long saved_pages(const struct sample *s)
{
	return s->sharing + s->zero;
}

static void add_mergeable(const struct area *area, void *argument)
{
	unsigned long *kib = argument;

	if (area_has(area, "mg"))
		*kib += area->rss / 1024;
}

/* The part of the memory that QEMU gave to KSM, the guest's RAM, that is present */
unsigned long guest_resident_kib(pid_t pid)
{
	unsigned long kib = 0;

	areas_walk(pid, add_mergeable, &kib);
	return kib;
}

unsigned long guest_rmap_items(pid_t pid)
{
	char path[64];
	long long items;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid);
	items = proc_field(path, "ksm_rmap_items");
	return items < 0 ? 0 : items;
}
