// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's counters: reads and writes the files in /sys/kernel/mm/ksm and
 * the time that ksmd has run, and does the sums that follow from them.
 *
 * Kernels differ in which files they have. What one lacks is marked as not
 * there; sums do without, and say if they are an estimate.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ksmctl.h"

/* Of its processes' stat: made by the kernel, runs in it only */
#define PF_KTHREAD	0x00200000

/* What a page takes where the kernel tells nothing of it */
#define METADATA_OF_PAGE	64

const char *ksm_dir = "/sys/kernel/mm/ksm";

const char *const counter_names[NR_COUNTERS] = {
	[PAGES_SHARED] = "pages_shared",
	[PAGES_SHARING] = "pages_sharing",
	[PAGES_UNSHARED] = "pages_unshared",
	[PAGES_VOLATILE] = "pages_volatile",
	[PAGES_SCANNED] = "pages_scanned",
	[PAGES_SKIPPED] = "pages_skipped",
	[FULL_SCANS] = "full_scans",
	[ZERO_PAGES] = "ksm_zero_pages",
	[CHAINS] = "stable_node_chains",
	[DUPS] = "stable_node_dups",
	[GENERAL_PROFIT] = "general_profit",
	[METADATA_BYTES] = "metadata_bytes",
};

long long page_bytes(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* A little less than nothing is shown as nothing, not as -0.0. */
double profit_mib(long long bytes)
{
	double mib = (double)bytes / (1024.0 * 1024.0);

	return mib < 0 && mib > -0.05 ? 0 : mib;
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void sleep_seconds(double seconds)
{
	struct timespec ts = { .tv_sec = (time_t)seconds };

	ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
	nanosleep(&ts, NULL);
}

static int ksm_open(const char *file, int flags)
{
	char path[512];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", ksm_dir, file) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, flags | O_CLOEXEC);
}

/* Returns 0 and the file's line without its end, or an error's number. */
int ksm_read(const char *file, char *text, size_t size)
{
	int fd = ksm_open(file, O_RDONLY);
	ssize_t got;
	int err;

	if (fd < 0)
		return errno;
	got = read(fd, text, size - 1);
	err = errno;
	close(fd);
	if (got < 0)
		return err;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

/* Returns 0 or an error's number. */
int ksm_write(const char *file, const char *text)
{
	int fd = ksm_open(file, O_WRONLY | O_TRUNC);
	ssize_t length = (ssize_t)strlen(text);
	int err = 0;

	if (fd < 0)
		return errno;
	errno = 0;
	if (write(fd, text, (size_t)length) != length)
		err = errno ? errno : EIO;
	close(fd);
	return err;
}

void ksm_require(void)
{
	char text[VALUE_BYTES];
	int err = ksm_read("run", text, sizeof(text));

	if (err == ENOENT || err == ENOTDIR)
		fail(EXIT_NO_KSM, "no KSM in this kernel: there is no %s/run (CONFIG_KSM=y makes it)",
		     ksm_dir);
	if (err)
		fail(err == EACCES ? EXIT_DENIED : EXIT_FAILED, "cannot read %s/run: %s", ksm_dir,
		     strerror(err));
}

static bool read_number(const char *file, long long *value)
{
	char text[64], *end;

	if (ksm_read(file, text, sizeof(text)))
		return false;
	*value = strtoll(text, &end, 10);
	return end != text && !*end;
}

/* The seconds that @pid ran if it is a thread of ksmd, else less than 0 */
static double ksmd_seconds(pid_t pid)
{
	unsigned long user, sys, flags;
	unsigned long long ns = 0;
	char path[64], comm[64];
	double seconds = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%*d (%63[^)]) %*c %*d %*d %*d %*d %*d %lu %*u %*u %*u %*u %lu %lu", comm,
		   &flags, &user, &sys) == 4 && (flags & PF_KTHREAD) &&
	    (!strcmp(comm, "ksmd") || !strncmp(comm, "ksmd/", 5)))
		seconds = (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
	fclose(f);
	if (seconds < 0)
		return -1;
	/* Finer, where the kernel has it */
	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	f = fopen(path, "re");
	if (!f)
		return seconds;
	if (fscanf(f, "%llu", &ns) == 1 && ns)
		seconds = (double)ns / 1e9;
	fclose(f);
	return seconds;
}

void sample_counters(struct sample *s)
{
	int i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < NR_COUNTERS; i++)
		s->there[i] = read_number(counter_names[i], &s->value[i]);
	s->time = now();
}

void sample_take(struct sample *s)
{
	pid_t *pids;
	size_t nr, i;

	sample_counters(s);
	nr = pids_list(&pids);
	for (i = 0; i < nr; i++) {
		double seconds = ksmd_seconds(pids[i]);

		if (seconds < 0)
			continue;
		s->cpu += seconds;
		s->threads++;
	}
	free(pids);
}

long long saved_bytes(const struct sample *s)
{
	return (s->value[PAGES_SHARING] + s->value[ZERO_PAGES]) * page_bytes();
}

/* Pages that ksmd has something noted of; those on the zero page have nothing. */
long long known_pages(const struct sample *s)
{
	return s->value[PAGES_SHARED] + s->value[PAGES_SHARING] + s->value[PAGES_UNSHARED] +
	       s->value[PAGES_VOLATILE];
}

/*
 * Where the kernel does not count it, its profit tells what it takes for pages,
 * which is most of it: what it takes for contents and processes is not in there.
 */
long long metadata_bytes(const struct sample *s, bool *estimated)
{
	*estimated = !s->there[METADATA_BYTES];
	if (s->there[METADATA_BYTES])
		return s->value[METADATA_BYTES];
	if (s->there[GENERAL_PROFIT] && saved_bytes(s) > s->value[GENERAL_PROFIT])
		return saved_bytes(s) - s->value[GENERAL_PROFIT];
	return known_pages(s) * METADATA_OF_PAGE;
}

long long profit_bytes(const struct sample *s, bool *estimated)
{
	*estimated = !s->there[GENERAL_PROFIT];
	if (s->there[GENERAL_PROFIT])
		return s->value[GENERAL_PROFIT];
	return saved_bytes(s) - metadata_bytes(s, estimated);
}

/* The number after "FIELD" or "FIELD:" at the start of a line, or -1 */
long long read_field(const char *path, const char *field)
{
	size_t length = strlen(field);
	long long value = -1;
	char line[256];
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f)) {
		if (strncmp(line, field, length) ||
		    (line[length] != ':' && !isspace((unsigned char)line[length])))
			continue;
		value = strtoll(line + length + 1, NULL, 10);
	}
	fclose(f);
	return value;
}
