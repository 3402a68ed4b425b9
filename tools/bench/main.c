// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the workloads named on its command line, each in its own process, on the
 * running kernel, and prints their measurements.
 *
 * As process 1 it is the only program: it mounts what it needs and switches the
 * machine off at the end.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

struct options opt = {
	.pages = 64 * MIB_PAGES,
	.exit_pages = 64 * MIB_PAGES,
	.curve_pages = 64 * MIB_PAGES,
};

static const struct {
	const char *name;
	void (*run)(void);
} workloads[] = {
	{ "unique", measure_unique },
	{ "tail", measure_tail },
	{ "head", measure_head },
	{ "smart", measure_smart },
	{ "rewrite", measure_rewrite },
	{ "rewrite-smart", measure_rewrite_smart },
	{ "reread", measure_reread },
	{ "reread-smart", measure_reread_smart },
	{ "written", measure_written },
	{ "written-smart", measure_written_smart },
	{ "prefork", measure_prefork },
	{ "appear", measure_appear },
	{ "sparse", measure_sparse },
	{ "metadata", measure_metadata },
	{ "metadata-64k", measure_metadata_64k },
	{ "metadata-1m", measure_metadata_1m },
	{ "curve", measure_curve },
	{ "half", measure_half },
	{ "all", measure_all },
	{ "zero", measure_zero },
	{ "processes", measure_processes },
	{ "huge-none", measure_huge_none },
	{ "huge-one", measure_huge_one },
	{ "huge-all", measure_huge_all },
	{ "saved", measure_saved },
	{ "cow", measure_cow },
	{ "unmerge", measure_unmerge },
	{ "run2", measure_run2 },
	{ "exit", measure_exit },
	{ "rmap", measure_rmap },
	{ "beside", measure_beside },
	{ "mmap", measure_mmap },
	{ "chase", measure_chase },
	{ "chase-smart", measure_chase_smart },
	{ "workers", measure_workers },
};

#define NR_WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static bool run(const char *name)
{
	size_t i;
	int status;
	pid_t pid;

	for (i = 0; i < NR_WORKLOADS; i++)
		if (!strcmp(workloads[i].name, name))
			break;
	results_of(name);
	if (i == NR_WORKLOADS)
		return expect(false, "there is no such workload");
	printf("@begin %s\n", name);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return expect(false, "fork: %s", strerror(errno));
	if (!pid) {
		ksm_reset();
		workloads[i].run();
		fflush(stdout);
		_exit(0);
	}
	/* As process 1 it also gets orphans of other processes. */
	while (wait(&status) != pid)
		;
	ksm_reset();
	if (!WIFEXITED(status))
		return expect(false, "killed by signal %d", WTERMSIG(status));
	printf("@end %s %d\n", name, WEXITSTATUS(status));
	fflush(stdout);
	return !WEXITSTATUS(status);
}

static void become_init(void)
{
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL))
		die("mount: %s", strerror(errno));
}

static void usage(void)
{
	size_t i;

	printf("Usage: in-vm [--pages N] [--exit-pages N] [--curve-pages N] WORKLOAD...\n\n"
	       "Measures the running kernel's KSM, as root. Workloads:");
	for (i = 0; i < NR_WORKLOADS; i++)
		printf(" %s", workloads[i].name);
	printf("\n");
}

static size_t parse_pages(const char *text)
{
	char *end;
	size_t value = strtoul(text, &end, 10);

	if (*end || !value)
		die("not a number of pages: %s", text);
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "pages", required_argument, NULL, 'p' },
		{ "exit-pages", required_argument, NULL, 'e' },
		{ "curve-pages", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longopts, NULL)) != -1) {
		switch (c) {
		case 'p':
			opt.pages = parse_pages(optarg);
			break;
		case 'e':
			opt.exit_pages = parse_pages(optarg);
			break;
		case 'c':
			opt.curve_pages = parse_pages(optarg);
			break;
		case 'h':
			usage();
			exit(0);
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	bool init = getpid() == 1;
	struct utsname uts;
	bool good = true;

	results_of("in-vm");
	if (init)
		become_init();
	parse(argc, argv);
	uname(&uts);
	printf("@kernel %s\n", uts.release);
	/* User-mode Linux appends its own parameters to ours. */
	for (; optind < argc && !strchr(argv[optind], '='); optind++)
		good &= run(argv[optind]);
	printf("@done %d\n", !good);
	fflush(stdout);
	if (init)
		reboot(RB_POWER_OFF);
	return !good;
}
