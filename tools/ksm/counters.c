// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's counters and the time that ksmd has run, and the sums that
 * follow from them.
 *
 * Kernels differ in which files they have. Missing ones are marked as such.
 * Sums do without them, and say if they are an estimate.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ksmadm.h"

/* The largest value of scan_threads */
#define MAX_THREADS	256

/* Estimated metadata of a page if the kernel does not report it */
#define METADATA_OF_PAGE	64

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

void ksm_require(void)
{
	char text[VALUE_BYTES];
	int err = ksmfs_read("run", text, sizeof(text));

	if (err == ENOENT || err == ENOTDIR)
		fail(EXIT_NO_KSM, "no KSM in this kernel: there is no %s/run (CONFIG_KSM=y makes it)",
		     ksmfs_dir);
	if (err)
		fail(err == EACCES ? EXIT_DENIED : EXIT_FAILED, "cannot read %s/run: %s", ksmfs_dir,
		     strerror(err));
}

void sample_counters(struct sample *s)
{
	int i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < NR_COUNTERS; i++)
		s->there[i] = !ksmfs_read_number(counter_names[i], &s->value[i]);
	s->time = now();
}

void sample_take(struct sample *s)
{
	struct ksmd threads[MAX_THREADS];
	size_t nr, i;

	sample_counters(s);
	nr = ksmd_find(threads, MAX_THREADS);
	for (i = 0; i < nr && i < MAX_THREADS; i++)
		s->cpu += (double)threads[i].ns / 1e9;
	s->threads = (unsigned int)nr;
}

long long saved_bytes(const struct sample *s)
{
	return (s->value[PAGES_SHARING] + s->value[ZERO_PAGES]) * page_bytes();
}

/* Pages that ksmd keeps metadata for; those on the zero page have none. */
long long known_pages(const struct sample *s)
{
	return s->value[PAGES_SHARED] + s->value[PAGES_SHARING] + s->value[PAGES_UNSHARED] +
	       s->value[PAGES_VOLATILE];
}

/*
 * If the kernel does not count it, its profit shows the metadata of pages,
 * which is most of it. The metadata of contents and processes is missing there.
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
