// SPDX-License-Identifier: GPL-2.0
/*
 * Reads what the kernel tells of KSM: its counters, the processor time of its
 * threads, and what it keeps and shares of a guest.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"

#define KSM_DIR "/sys/kernel/mm/ksm/"

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
	char path[128];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), KSM_DIR "%s", file);
	f = fopen(path, "r");
	if (!f)
		return false;
	ok = fscanf(f, "%lu", value) == 1;
	fclose(f);
	return ok;
}

bool ksm_try_write(const char *file, unsigned long value)
{
	char path[128];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), KSM_DIR "%s", file);
	f = fopen(path, "w");
	if (!f)
		return false;
	ok = fprintf(f, "%lu\n", value) > 0;
	return fclose(f) == 0 && ok;
}

void ksm_write(const char *file, unsigned long value)
{
	if (!ksm_try_write(file, value))
		fail("cannot write %lu to " KSM_DIR "%s: %s", value, file, strerror(errno));
}

static unsigned long ksm_read(const char *file)
{
	unsigned long value;

	if (!ksm_try_read(file, &value))
		fail("cannot read " KSM_DIR "%s: is this kernel built with CONFIG_KSM?", file);
	return value;
}

static bool is_ksmd(const char *pid)
{
	char path[300], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(comm, sizeof(comm), f))
		comm[0] = '\0';
	fclose(f);
	comm[strcspn(comm, "\n")] = '\0';
	return !strcmp(comm, "ksmd") || !strncmp(comm, "ksmd/", 5);
}

/* schedstat counts nanoseconds, where the kernel has it; stat counts ticks */
static double thread_seconds(const char *pid)
{
	unsigned long long ns = 0;
	unsigned long user, sys;
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/schedstat", pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%llu", &ns) != 1)
			ns = 0;
		fclose(f);
		if (ns)
			return ns / 1e9;
	}
	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &sys) != 2) {
		user = 0;
		sys = 0;
	}
	fclose(f);
	return (double)(user + sys) / sysconf(_SC_CLK_TCK);
}

static double ksmd_seconds(void)
{
	struct dirent *entry;
	double sum = 0;
	DIR *proc = opendir("/proc");

	if (!proc)
		fail("cannot read /proc: %s", strerror(errno));
	while ((entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_ksmd(entry->d_name))
			sum += thread_seconds(entry->d_name);
	closedir(proc);
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

/* What is present of the memory that QEMU gave to KSM: the guest's RAM */
unsigned long guest_resident_kib(pid_t pid)
{
	unsigned long sum = 0, rss = 0, kib;
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Rss: %lu kB", &kib) == 1)
			rss = kib;
		else if (!strncmp(line, "VmFlags:", 8) && strstr(line, " mg"))
			sum += rss;
	}
	fclose(f);
	return sum;
}

unsigned long guest_rmap_items(pid_t pid)
{
	unsigned long items = 0;
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "ksm_rmap_items %lu", &items) == 1)
			break;
	fclose(f);
	return items;
}
