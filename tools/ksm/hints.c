// SPDX-License-Identifier: GPL-2.0
/*
 * Hints: settings that waste effort, memory or an opportunity, in words that
 * end with what to do. Each has a name, for programs.
 */
#include <stdarg.h>
#include <string.h>

#include "ksmadm.h"

#define GIB	(1024LL * 1024 * 1024)
#define MIB	(1024.0 * 1024.0)

/* Shares of known pages mean nothing before a few scans. */
#define SETTLED_SCANS	3
#define SETTLED_PAGES	1000

struct giving {
	hint_function *give;
	void *argument;
};

[[gnu::format(printf, 3, 4)]]
static void hint(const struct giving *to, const char *name, const char *format, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	to->give(name, text, to->argument);
}

static bool is(const struct status *st, enum setting key, const char *value)
{
	return !strcmp(st->settings.text[key], value);
}

static bool settled(const struct status *st)
{
	return st->s.value[FULL_SCANS] >= SETTLED_SCANS && known_pages(&st->s) >= SETTLED_PAGES;
}

static void on_or_off(const struct status *st, const struct giving *to)
{
	const struct registered *sum = &st->offered.sum;

	if (!is(st, RUN, "1") && sum->areas)
		hint(to, "not-running",
		     "programs have registered %.1f MiB, but KSM does not scan: ksmadm start",
		     (double)sum->rss / MIB);
	if (is(st, RUN, "1") && st->offered_known && !sum->areas)
		hint(to, "nothing-registered",
		     "no program has registered memory, so nothing can be merged: see MADV_MERGEABLE in madvise(2), MemoryKSM= in systemd.exec(5), 'ksmadm exec', or stop it: ksmadm stop");
	if (st->offered.ksmtuned)
		hint(to, "ksmtuned",
		     "ksmtuned is running, and changes run, pages_to_scan and sleep_millisecs: use either of the two");
}

static void too_slow(const struct status *st, const struct giving *to)
{
	long long known = known_pages(&st->s) * page_bytes();

	if (!is(st, RUN, "1") || is(st, ADVISOR_MODE, "scan-time"))
		return;
	if (known < st->offered.sum.rss)
		known = st->offered.sum.rss;
	if (is(st, PAGES_TO_SCAN, "100") && known >= GIB)
		hint(to, "default-pace",
		     "pages_to_scan is 100, made for desktops, and there are %.1f GiB to scan: ksmadm tune balanced",
		     (double)known / (double)GIB);
	else if (st->scan_seconds > 900)
		hint(to, "slow-scan",
		     "a full scan takes %.0f minutes; it takes two of them to find a new duplicate, and up to 64 for some writes in guests: ksmadm tune balanced",
		     st->scan_seconds / 60);
}

static void too_fast(const struct status *st, const struct giving *to)
{
	if (!is(st, RUN, "1"))
		return;
	if (is(st, SLEEP_MILLISECS, "0"))
		hint(to, "no-sleep",
		     "sleep_millisecs is 0: ksmd takes all of a CPU: ksmadm set sleep_millisecs=20");
	else if (settled(st) && st->interval && st->cpu_percent >= 20 && st->scan_seconds > 0 &&
		 st->scan_seconds < 1 && !is(st, ADVISOR_MODE, "scan-time"))
		hint(to, "fast-scan",
		     "all memory is scanned every %.2f s, for %.0f %% of a CPU: ksmadm tune balanced",
		     st->scan_seconds, st->cpu_percent);
}

static void advisor_held(const struct status *st, const struct giving *to)
{
	long long min = setting_number(&st->settings, ADVISOR_MIN_PAGES);
	long long max = setting_number(&st->settings, ADVISOR_MAX_PAGES);
	long long pages = setting_number(&st->settings, PAGES_TO_SCAN);
	double cpu = (double)setting_number(&st->settings, ADVISOR_MAX_CPU);
	double target = (double)setting_number(&st->settings, ADVISOR_TARGET_SCAN_TIME);
	bool late;

	if (!is(st, RUN, "1") || !is(st, ADVISOR_MODE, "scan-time"))
		return;
	if (min > max)
		hint(to, "advisor-limits",
		     "advisor_min_pages_to_scan (%lld) is more than advisor_max_pages_to_scan (%lld): the advisor has no choice",
		     min, max);
	late = settled(st) && st->interval && st->scan_seconds > 1.5 * target;
	if (late && st->cpu_percent >= 0.9 * cpu)
		hint(to, "advisor-cpu",
		     "the advisor wants a full scan in %.0f s, but is held at advisor_max_cpu %.0f; it takes about %.0f s: raise the one or the other",
		     target, cpu, st->scan_seconds);
	else if (late && pages >= max)
		hint(to, "advisor-pages",
		     "the advisor is held at advisor_max_pages_to_scan %lld, and a full scan takes about %.0f s instead of %.0f",
		     max, st->scan_seconds, target);
	if (late && st->cpu_percent >= 90 && is(st, SCAN_THREADS, "1"))
		hint(to, "one-thread",
		     "one thread cannot keep up: ksmadm set scan_threads=2 advisor_max_cpu=200");
}

static void effort_lost(const struct status *st, const struct giving *to)
{
	const long long *value = st->s.value;
	long long known = known_pages(&st->s);
	bool estimated;

	if (!settled(st))
		return;
	if (profit_bytes(&st->s, &estimated) < 0)
		hint(to, "negative-profit",
		     "KSM takes %.1f MiB more than it saves: 'ksmadm top' shows whose memory is not worth it",
		     -(double)profit_bytes(&st->s, &estimated) / MIB);
	if (value[PAGES_VOLATILE] > known / 2)
		hint(to, "volatile",
		     "%lld %% of the pages change between scans and cannot be merged: scan less often (ksmadm tune quiet), or do not register that memory",
		     100 * value[PAGES_VOLATILE] / known);
	if (value[PAGES_UNSHARED] > 20 * (value[PAGES_SHARING] + value[PAGES_SHARED] +
					 value[ZERO_PAGES]))
		hint(to, "unshared",
		     "%lld %% of the pages have no duplicate: scanning them is effort for little",
		     100 * value[PAGES_UNSHARED] / known);
	if (is(st, SMART_SCAN, "0"))
		hint(to, "smart-scan",
		     "smart_scan is off: every page is read in every scan: ksmadm set smart_scan=1");
}

static void sharing(const struct status *st, const struct giving *to)
{
	const long long *value = st->s.value;

	if (!value[CHAINS])
		return;
	if (is(st, USE_ZERO_PAGES, "0"))
		hint(to, "zero-pages",
		     "%lld contents fill more than a page each; most often one is zeroes, which cost nothing with: ksmadm set use_zero_pages=1",
		     value[CHAINS]);
	else if (value[DUPS] > value[PAGES_SHARED] / 10 &&
		 setting_number(&st->settings, MAX_PAGE_SHARING) <= 256)
		hint(to, "chains",
		     "%lld of %lld merged pages are of contents that need several: with more max_page_sharing (after 'ksmadm unmerge') a few more are saved",
		     value[DUPS], value[PAGES_SHARED]);
}

/* If the file has one number, not a list or a range, there is one node. */
static bool one_node(void)
{
	FILE *f = fopen("/sys/devices/system/node/online", "re");
	char line[64];
	bool one;

	if (!f)
		return false;
	one = fgets(line, sizeof(line), f) && !strpbrk(line, "-,");
	fclose(f);
	return one;
}

static void nodes(const struct status *st, const struct giving *to)
{
	if (is(st, MERGE_ACROSS_NODES, "0") && one_node())
		hint(to, "one-node",
		     "merge_across_nodes is off, but there is one NUMA node: it changes nothing");
}

/* Calls @give for each hint. */
void hints_give(const struct status *st, hint_function *give, void *argument)
{
	struct giving to = { give, argument };

	on_or_off(st, &to);
	too_slow(st, &to);
	too_fast(st, &to);
	advisor_held(st, &to);
	effort_lost(st, &to);
	sharing(st, &to);
	nodes(st, &to);
}
