// SPDX-License-Identifier: GPL-2.0
/*
 * Profiles: settings that fit together, for users who do not want to choose
 * each. The verb tune sets a profile, and start can.
 */
#include <string.h>
#include <unistd.h>

#include "ksmadm.h"

#define NR_PROFILES	3

/*
 * The advisor gets the time that a full scan may take, and its maximum cost.
 * Kernels before 6.8 have no advisor. For them the last two columns give a
 * fixed rate.
 */
static const struct profile {
	const char *name;
	const char *target, *max_cpu, *min_pages, *max_pages, *sleep;
	const char *fixed_pages, *fixed_sleep;
} profiles[NR_PROFILES] = {
	{ "quiet", "900", "10", "100", "5000", "50", "100", "50" },
	{ "balanced", "200", "40", "500", "30000", "20", "1000", "20" },
	{ "eager", "30", "100", "2000", "100000", "10", "5000", "10" },
};

static const struct profile *profile_find(const char *name)
{
	int i;

	for (i = 0; i < NR_PROFILES; i++)
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	usage_error("a profile is quiet, balanced or eager, not '%s'", name);
}

/* One thread per four CPUs, at most four: beyond that, memory is the limit. */
static void put_threads(struct values *v, const struct profile *profile, char *max_cpu)
{
	long threads = 1;

	if (!strcmp(profile->name, "eager")) {
		threads = sysconf(_SC_NPROCESSORS_ONLN) / 4;
		threads = threads < 1 ? 1 : threads > 4 ? 4 : threads;
	}
	snprintf(v->text[SCAN_THREADS], VALUE_BYTES, "%ld", threads);
	if (threads > 1)
		snprintf(max_cpu, VALUE_BYTES, "%ld", threads * 100);
}

/* Adds the settings of a profile to @v, if this kernel has them. */
void profile_values(const char *name, struct values *v, const struct values *current)
{
	const struct profile *profile = profile_find(name);
	char max_cpu[VALUE_BYTES];

	snprintf(max_cpu, sizeof(max_cpu), "%s", profile->max_cpu);
	if (*current->text[SCAN_THREADS])
		put_threads(v, profile, max_cpu);
	if (*current->text[SMART_SCAN])
		values_put(v, SMART_SCAN, "1");
	if (*current->text[USE_ZERO_PAGES])
		values_put(v, USE_ZERO_PAGES, strcmp(name, "quiet") ? "1" : "0");
	if (!*current->text[ADVISOR_MODE]) {
		values_put(v, PAGES_TO_SCAN, profile->fixed_pages);
		values_put(v, SLEEP_MILLISECS, profile->fixed_sleep);
		return;
	}
	values_put(v, SLEEP_MILLISECS, profile->sleep);
	values_put(v, ADVISOR_MODE, "scan-time");
	values_put(v, ADVISOR_TARGET_SCAN_TIME, profile->target);
	values_put(v, ADVISOR_MAX_CPU, max_cpu);
	values_put(v, ADVISOR_MIN_PAGES, profile->min_pages);
	values_put(v, ADVISOR_MAX_PAGES, profile->max_pages);
}

static int tune_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "persist", no_argument, NULL, 'p' },
		{ 0 }
	};
	struct values want = { 0 }, current;
	bool persist = false;

	while (next_option(argc, argv, options) == 'p')
		persist = true;
	if (argc - optind != 1)
		usage_error("tune: which profile: quiet, balanced or eager?");
	profile_find(argv[optind]);
	ksm_require();
	values_read(&current);
	profile_values(argv[optind], &want, &current);
	values_change(&want, persist, false);
	if (strcmp(current.text[RUN], "1"))
		warn("KSM does not scan now: 'ksmadm start' starts it");
	return 0;
}

const struct verb tune_verb = {
	.name = "tune",
	.synopsis = "[--persist] quiet|balanced|eager",
	.summary = "settings that fit together",
	.help =
	"Sets how much effort KSM makes:\n\n"
	"  quiet     a full scan in 15 minutes, a tenth of a CPU at most: desktops, and\n"
	"            hosts where CPU time matters more than memory\n"
	"  balanced  in 200 seconds, 0.4 of a CPU at most: hosts with guests that run for\n"
	"            hours\n"
	"  eager     in 30 seconds, with up to four threads: hosts that are short of\n"
	"            memory, or whose guests and processes live short\n\n"
	"The kernel's advisor paces the scan for these. balanced and eager use the zero\n"
	"page for pages of zeroes. run, max_page_sharing and merge_across_nodes stay as\n"
	"they are.\n\n"
	"  --persist  also after the next boot, see 'ksmadm set --help'\n",
	.run = tune_run,
};
