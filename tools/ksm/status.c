// SPDX-License-Identifier: GPL-2.0
/*
 * ksmadm status: what KSM does, saves and costs, on one screen.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmadm.h"

#define MIB	(1024.0 * 1024.0)

/* Looking at registered memory may take this long, in seconds. */
#define OFFERED_SECONDS	2.0

static bool runs(const struct status *st)
{
	return !strcmp(st->settings.text[RUN], "1");
}

static void measure(struct status *st, double interval)
{
	struct sample before;
	long long pages;
	double scans;

	if (interval <= 0 || !runs(st)) {
		sample_take(&st->s);
		return;
	}
	sample_take(&before);
	sleep_seconds(interval);
	sample_take(&st->s);
	st->interval = st->s.time - before.time;
	st->cpu_percent = 100 * (st->s.cpu - before.cpu) / st->interval;
	pages = st->s.value[PAGES_SCANNED] - before.value[PAGES_SCANNED] +
		st->s.value[PAGES_SKIPPED] - before.value[PAGES_SKIPPED];
	st->pages_per_second = (double)pages / st->interval;
	scans = (double)(st->s.value[FULL_SCANS] - before.value[FULL_SCANS]);
	st->scan_measured = scans >= 2;
	if (st->scan_measured)
		st->scan_seconds = st->interval / scans;
	else if (st->pages_per_second > 0)
		st->scan_seconds = (double)known_pages(&st->s) / st->pages_per_second;
}

static void collect(struct status *st, double interval, bool look)
{
	memset(st, 0, sizeof(*st));
	values_read(&st->settings);
	measure(st, interval);
	if (!look)
		return;
	offered_read(&st->offered, OFFERED_SECONDS);
	/* A sandbox may hide a process even from root; that changes little. */
	st->offered_known = !st->offered.cut_short && (!st->offered.unread || !geteuid());
}

/* What could be merged: what is registered, or if unknown, what was scanned */
static long long of_bytes(const struct status *st)
{
	long long zero = st->s.value[ZERO_PAGES] * page_bytes();

	if (st->offered_known)
		return st->offered.sum.rss + zero;
	return known_pages(&st->s) * page_bytes() + zero;
}

static double saved_percent(const struct status *st)
{
	long long of = of_bytes(st);

	return of > 0 ? 100.0 * (double)saved_bytes(&st->s) / (double)of : 0;
}

static const char *state(const struct status *st)
{
	switch (st->settings.text[RUN][0]) {
	case '1':
		return "on";
	case '2':
		return "off, and all merging undone";
	}
	return saved_bytes(&st->s) ? "off; what is merged stays merged" : "off";
}

static void print_scan(const struct status *st)
{
	printf("scan        ");
	if (!st->interval)
		printf("%s", runs(st) ? "" : "none; ");
	else
		printf("%.0f pages/s; ", st->pages_per_second);
	if (st->scan_seconds > 0)
		printf("a full scan takes %s%.3g s; ", st->scan_measured ? "" : "about ",
		       st->scan_seconds);
	printf("%lld full scans done, %lld pages scanned, %lld skipped\n",
	       st->s.value[FULL_SCANS], st->s.value[PAGES_SCANNED], st->s.value[PAGES_SKIPPED]);
}

static void print_advisor(const struct status *st)
{
	const struct values *v = &st->settings;

	printf("pace        %s pages, then %s ms of sleep", v->text[PAGES_TO_SCAN],
	       v->text[SLEEP_MILLISECS]);
	if (*v->text[SCAN_THREADS])
		printf("; %s thread%s", v->text[SCAN_THREADS],
		       strcmp(v->text[SCAN_THREADS], "1") ? "s" : "");
	printf("\nadvisor     ");
	if (!*v->text[ADVISOR_MODE])
		puts("not in this kernel");
	else if (strcmp(v->text[ADVISOR_MODE], "scan-time"))
		puts("none");
	else
		printf("%s: a full scan in %s s, with %s %% of a CPU at most\n",
		       v->text[ADVISOR_MODE], v->text[ADVISOR_TARGET_SCAN_TIME],
		       v->text[ADVISOR_MAX_CPU]);
}

static void print_pages(const struct status *st)
{
	const struct sample *s = &st->s;

	printf("pages       %lld shared by %lld more, %lld unshared, %lld volatile\n",
	       s->value[PAGES_SHARED], s->value[PAGES_SHARING], s->value[PAGES_UNSHARED],
	       s->value[PAGES_VOLATILE]);
	printf("zero pages  %lld (%.1f MiB)%s\n", s->value[ZERO_PAGES],
	       (double)(s->value[ZERO_PAGES] * page_bytes()) / MIB,
	       strcmp(st->settings.text[USE_ZERO_PAGES], "0") ? "" : "; use_zero_pages is off");
	printf("chains      %lld, of %lld pages; one page is shared %s times at most\n",
	       s->value[CHAINS], s->value[DUPS], st->settings.text[MAX_PAGE_SHARING]);
}

static void print_hint(const char *name, const char *text, void *argument)
{
	bool *any = argument;

	(void)name;
	printf("%s%s\n", *any ? "hint        " : "\nhint        ", text);
	*any = true;
}

static void print_status(const struct status *st)
{
	const struct sample *s = &st->s;
	bool estimated, any = false;
	long long metadata, profit;

	printf("KSM         %s\n", state(st));
	printf("saved       %.1f MiB, %.1f %% of %.1f MiB that ", (double)saved_bytes(s) / MIB,
	       saved_percent(st), (double)of_bytes(st) / MIB);
	if (st->offered_known)
		printf("%u process%s registered\n", st->offered.processes,
		       st->offered.processes == 1 ? " has" : "es have");
	else
		puts("ksmd has scanned");
	metadata = metadata_bytes(s, &estimated);
	printf("costs       %.1f MiB of metadata%s; ", (double)metadata / MIB,
	       estimated ? " (estimated)" : "");
	if (st->interval)
		printf("%.1f %% of a CPU now, ", st->cpu_percent);
	printf("%.2f s of CPU time since boot\n", s->cpu);
	profit = profit_bytes(s, &estimated);
	printf("profit      %.1f MiB%s\n", profit_mib(profit), estimated ? " (estimated)" : "");
	print_scan(st);
	print_advisor(st);
	print_pages(st);
	hints_give(st, print_hint, &any);
}

static void json_hint(const char *name, const char *text, void *argument)
{
	struct json_object *hint = json_add_object(argument, NULL);

	json_add_string(hint, "name", name);
	json_add_string(hint, "text", text);
}

static void json_rates(struct json_object *j, const struct status *st)
{
	if (st->interval) {
		json_add_real(j, "interval_seconds", st->interval);
		json_add_real(j, "cpu_percent", st->cpu_percent);
		json_add_real(j, "pages_per_second", st->pages_per_second);
	} else {
		json_add_null(j, "interval_seconds");
		json_add_null(j, "cpu_percent");
		json_add_null(j, "pages_per_second");
	}
	if (st->scan_seconds > 0)
		json_add_real(j, "full_scan_seconds", st->scan_seconds);
	else
		json_add_null(j, "full_scan_seconds");
	json_add_bool(j, "full_scan_estimated", !st->scan_measured);
}

static void json_kernel(struct json_object *j, const struct status *st)
{
	struct json_object *counters = json_add_object(j, "counters");
	struct json_object *values = json_add_object(j, "settings");
	int i;

	for (i = 0; i < NR_COUNTERS; i++)
		if (st->s.there[i])
			json_add_number(counters, counter_names[i], st->s.value[i]);
	for (i = 0; i < NR_SETTINGS; i++) {
		if (!*st->settings.text[i])
			continue;
		if (i == ADVISOR_MODE)
			json_add_string(values, settings[i].name, st->settings.text[i]);
		else
			json_add_number(values, settings[i].name, setting_number(&st->settings, i));
	}
}

static void json_status(const struct status *st)
{
	struct json_object *j = json_new();
	bool estimated;

	json_add_bool(j, "running", runs(st));
	json_add_number(j, "saved_bytes", saved_bytes(&st->s));
	json_add_real(j, "saved_percent", saved_percent(st));
	json_add_number(j, "mergeable_bytes", of_bytes(st));
	json_add_string(j, "mergeable_source", st->offered_known ? "registered" : "scanned");
	if (st->offered_known)
		json_add_number(j, "processes", st->offered.processes);
	else
		json_add_null(j, "processes");
	json_add_number(j, "metadata_bytes", metadata_bytes(&st->s, &estimated));
	json_add_bool(j, "metadata_estimated", estimated);
	json_add_number(j, "profit_bytes", profit_bytes(&st->s, &estimated));
	json_add_bool(j, "profit_estimated", estimated);
	json_add_number(j, "zero_bytes", st->s.value[ZERO_PAGES] * page_bytes());
	json_add_number(j, "page_bytes", page_bytes());
	json_add_real(j, "cpu_seconds", st->s.cpu);
	json_add_number(j, "threads", st->s.threads);
	json_rates(j, st);
	json_kernel(j, st);
	hints_give(st, json_hint, json_add_list(j, "hints"));
	json_print(j);
}

static int status_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "interval", required_argument, NULL, 'i' },
		{ "quick", no_argument, NULL, 'q' },
		{ 0 }
	};
	bool as_json = false, quick = false;
	double interval = 1;
	struct status st;
	int option;

	while ((option = next_option(argc, argv, options)) != -1) {
		as_json |= option == 'j';
		quick |= option == 'q';
		if (option == 'i')
			interval = seconds_option("--interval");
	}
	if (optind < argc)
		usage_error("status takes no arguments");
	ksm_require();
	collect(&st, quick ? 0 : interval, !quick);
	if (as_json)
		json_status(&st);
	else
		print_status(&st);
	return 0;
}

const struct verb status_verb = {
	.name = "status",
	.synopsis = "[--json] [--interval SECONDS] [--quick]",
	.summary = "what KSM does, saves and costs, with hints",
	.help =
	"Shows whether KSM is on, what it saves and costs, how fast it scans, and hints\n"
	"where a setting wastes effort. As root, the memory that processes have\n"
	"registered is summed up (for two seconds at most); else, what ksmd has scanned\n"
	"stands for it. What this kernel does not count is marked as estimated.\n\n"
	"  --json              as JSON, in bytes, with all counters and settings\n"
	"  --interval SECONDS  measure rates for so long (1), 0: not at all\n"
	"  --quick             neither measure rates nor look at processes\n",
	.run = status_run,
};
