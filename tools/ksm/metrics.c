// SPDX-License-Identifier: GPL-2.0
/*
 * ksmadm metrics: what KSM does, as text for Prometheus, for the textfile
 * collector of its node_exporter. node_exporter also has a collector for KSM,
 * whose names begin with node_ksmd_. These begin with ksm_.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksmadm.h"

/* Counters that are shown unchanged, or in bytes */
static const struct metric {
	enum counter counter;
	bool pages;		/* shown in bytes */
	bool total;		/* only ever grows */
	const char *name, *help;
} metrics[] = {
	{ PAGES_SHARED, true, false, "ksm_shared_bytes", "Memory that merged pages take." },
	{ PAGES_SHARING, true, false, "ksm_sharing_bytes",
	  "Memory saved by merged pages, without zero pages." },
	{ ZERO_PAGES, true, false, "ksm_zero_bytes", "Memory saved by the zero page." },
	{ PAGES_UNSHARED, true, false, "ksm_unshared_bytes",
	  "Memory that is scanned and has no duplicate." },
	{ PAGES_VOLATILE, true, false, "ksm_volatile_bytes",
	  "Memory that is scanned and changes too fast to be merged." },
	{ PAGES_SCANNED, false, true, "ksm_pages_scanned_total", "Pages scanned." },
	{ PAGES_SKIPPED, false, true, "ksm_pages_skipped_total",
	  "Pages that smart_scan left out." },
	{ FULL_SCANS, false, true, "ksm_full_scans_total", "Full scans." },
	{ CHAINS, false, false, "ksm_chains", "Contents with more than one merged page." },
	{ DUPS, false, false, "ksm_chain_pages", "Merged pages of these contents." },
};

static void head(FILE *out, const char *name, const char *help, bool total)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
		total ? "counter" : "gauge");
}

static void whole(FILE *out, const char *name, const char *help, bool total, long long value)
{
	head(out, name, help, total);
	fprintf(out, "%s %lld\n", name, value);
}

static void write_settings(FILE *out)
{
	struct values v;
	int key;

	values_read(&v);
	whole(out, "ksm_running", "Whether ksmd scans.", false, !strcmp(v.text[RUN], "1"));
	head(out, "ksm_setting", "A setting, as in /sys/kernel/mm/ksm; of advisor_mode, 1 is scan-time.",
	     false);
	for (key = RUN + 1; key < NR_SETTINGS; key++) {
		if (!*v.text[key])
			continue;
		fprintf(out, "ksm_setting{name=\"%s\"} %lld\n", settings[key].name,
			key == ADVISOR_MODE ? !strcmp(v.text[key], "scan-time") :
			setting_number(&v, key));
	}
}

static void write_copies(FILE *out)
{
	long long writes = proc_field("/proc/vmstat", "cow_ksm");
	long long swap = proc_field("/proc/vmstat", "ksm_swpin_copy");

	if (writes >= 0)
		whole(out, "ksm_copies_on_write_total", "Copies made of merged pages, for writes.",
		      true, writes);
	if (swap >= 0)
		whole(out, "ksm_copies_on_swapin_total", "Copies made of pages that came from swap.",
		      true, swap);
}

static void write_metrics(FILE *out)
{
	bool estimated;
	struct sample s;
	long long value;
	size_t i;

	sample_take(&s);
	whole(out, "ksm_saved_bytes", "Memory saved, before what KSM takes itself.", false,
	      saved_bytes(&s));
	value = metadata_bytes(&s, &estimated);
	whole(out, "ksm_metadata_bytes", estimated ? "Memory that KSM takes itself (estimated)." :
	      "Memory that KSM takes itself.", false, value);
	whole(out, "ksm_profit_bytes", "Memory saved, less what KSM takes itself.", false,
	      profit_bytes(&s, &estimated));
	head(out, "ksm_cpu_seconds_total", "Time that the threads of ksmd have run.", true);
	fprintf(out, "ksm_cpu_seconds_total %.6f\n", s.cpu);
	whole(out, "ksm_threads", "Threads of ksmd.", false, s.threads);
	for (i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		const struct metric *m = &metrics[i];

		if (s.there[m->counter])
			whole(out, m->name, m->help, m->total,
			      s.value[m->counter] * (m->pages ? page_bytes() : 1));
	}
	write_copies(out);
	write_settings(out);
}

/* The collector must never see half of the file. */
static void write_file(const char *path)
{
	char temporary[512];
	FILE *f;
	int fd;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
		fail(EXIT_FAILED, "cannot write %s: its name is too long", path);
	fd = mkostemp(temporary, O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		fail(errno == EACCES || errno == EROFS ? EXIT_DENIED : EXIT_FAILED,
		     "cannot write %s: %s", path, strerror(errno));
	write_metrics(f);
	if (fchmod(fd, 0644) || fflush(f) || ferror(f) || rename(temporary, path)) {
		int err = errno;

		unlink(temporary);
		fail(EXIT_FAILED, "cannot write %s: %s", path, strerror(err));
	}
	fclose(f);
}

static int metrics_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ 0 }
	};
	const char *path = NULL;

	while (next_option(argc, argv, options) == 'o')
		path = optarg;
	if (optind < argc)
		usage_error("metrics takes no arguments");
	ksm_require();
	if (path)
		write_file(path);
	else
		write_metrics(stdout);
	return 0;
}

const struct verb metrics_verb = {
	.name = "metrics",
	.synopsis = "[--output FILE]",
	.summary = "what KSM does, as text for Prometheus",
	.help =
	"Prints what KSM does in Prometheus' text format, for the textfile collector of\n"
	"node_exporter; the names begin with ksm_, those of its own with node_ksmd_.\n\n"
	"  --output FILE  writes FILE (NAME.prom in the collector's directory), which is\n"
	"                 replaced as a whole\n",
	.run = metrics_run,
};
