// SPDX-License-Identifier: GPL-2.0
/*
 * ksmadm: shows what kernel samepage merging does, and controls it. This is its
 * command line: the verbs, the options before them, and the answers to
 * mistakes. ksmadm(8) describes it.
 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ksmadm.h"

#define MAX_OPTIONS	12

static const struct verb *const verbs[] = {
	&status_verb, &top_verb, &why_verb, &metrics_verb,
	&start_verb, &stop_verb, &unmerge_verb,
	&get_verb, &set_verb, &tune_verb, &reset_verb, &apply_verb,
	&exec_verb,
};

#define NR_VERBS	(sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *verb;

const char *config_path = CONFIG_PATH;

static void message(const char *format, va_list ap)
{
	fflush(stdout);
	fprintf(stderr, "ksmadm: ");
	vfprintf(stderr, format, ap);
	putc('\n', stderr);
}

void warn(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	message(format, ap);
	va_end(ap);
}

void fail(int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	message(format, ap);
	va_end(ap);
	exit(code);
}

void usage_error(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	message(format, ap);
	va_end(ap);
	fprintf(stderr, "See: ksmadm %s%s--help\n", verb ? verb->name : "", verb ? " " : "");
	exit(EXIT_USAGE);
}

static void verb_help(void)
{
	printf("Usage: ksmadm %s%s%s\n\n%s", verb->name, *verb->synopsis ? " " : "",
	       verb->synopsis, verb->help);
	exit(0);
}

static void show_help(void)
{
	size_t i;

	puts("Usage: ksmadm [--sysfs DIR] [--config FILE] VERB [OPTION]... [ARGUMENT]...\n\n"
	     "Shows what kernel samepage merging (KSM) does, and sets it.\n");
	for (i = 0; i < NR_VERBS; i++)
		printf("  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
	puts("\n'ksmadm VERB --help' tells more of a verb, ksmadm(8) of all.\n\n"
	     "  --sysfs DIR    where the kernel's files are, instead of /sys/kernel/mm/ksm\n"
	     "                 ($KSMADM_SYSFS does the same)\n"
	     "  --config FILE  what --persist writes, instead of /etc/ksmadm.conf\n"
	     "  --version      print the version and exit\n\n"
	     "Exit status: 0 done; 1 failed; 2 wrong usage; 3 no KSM in this kernel; 4 not\n"
	     "permitted; 5 no such process; 6 not enough memory.");
}

int next_option(int argc, char **argv, const struct option *options)
{
	struct option all[MAX_OPTIONS] = { 0 };
	size_t nr;
	int found;

	for (nr = 0; options[nr].name && nr < MAX_OPTIONS - 2; nr++)
		all[nr] = options[nr];
	all[nr] = (struct option){ "help", no_argument, NULL, 'h' };
	opterr = 0;
	/* The command of exec has its own options. */
	found = getopt_long(argc, argv, verb == &exec_verb ? "+:h" : ":h", all, NULL);
	if (found == 'h')
		verb_help();
	if (found == ':')
		usage_error("%s: %s needs a value", verb->name, argv[optind - 1]);
	if (found == '?')
		usage_error("%s has no option like '%s'", verb->name, argv[optind - 1]);
	return found;
}

unsigned long number_option(const char *name, unsigned long min, unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(optarg, &end, 10);
	if (errno || *end || *optarg < '0' || *optarg > '9' || value < min || value > max)
		usage_error("%s: '%s' is not a number from %lu to %lu", name, optarg, min, max);
	return value;
}

double seconds_option(const char *name)
{
	double value;
	char *end;

	value = strtod(optarg, &end);
	if (*end || end == optarg || !isfinite(value) || value < 0 || value > 86400)
		usage_error("%s: '%s' is not a number of seconds", name, optarg);
	return value;
}

static const struct verb *verb_find(const char *name)
{
	size_t i;

	for (i = 0; i < NR_VERBS; i++)
		if (!strcmp(verbs[i]->name, name))
			return verbs[i];
	usage_error("'%s' is none of its verbs", name);
}

static void leading_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "sysfs", required_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 }
	};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
		switch (option) {
		case 's':
			ksmfs_dir = optarg;
			break;
		case 'c':
			config_path = optarg;
			break;
		case 'h':
			show_help();
			exit(0);
		case 'v':
			puts("ksmadm " VERSION);
			exit(0);
		case ':':
			usage_error("%s needs a value", argv[optind - 1]);
		default:
			usage_error("there is no option like '%s'", argv[optind - 1]);
		}
	}
}

int main(int argc, char **argv)
{
	int status;

	setlocale(LC_CTYPE, "");
	if (getenv("KSMADM_SYSFS") && *getenv("KSMADM_SYSFS"))
		ksmfs_dir = getenv("KSMADM_SYSFS");
	leading_options(argc, argv);
	if (optind == argc)
		usage_error("what to do?");
	verb = verb_find(argv[optind]);
	argc -= optind;
	argv += optind;
	/* Makes getopt_long() start again */
	optind = 0;
	status = verb->run(argc, argv);
	if (fflush(stdout) || ferror(stdout))
		fail(EXIT_FAILED, "cannot write the output: %s", strerror(errno));
	return status;
}
