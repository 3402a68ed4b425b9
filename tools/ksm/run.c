// SPDX-License-Identifier: GPL-2.0
/*
 * The verbs that start and stop merging: start, stop and unmerge.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksmadm.h"

#define MIB	(1024.0 * 1024.0)

static bool only_persist(int argc, char **argv)
{
	static const struct option options[] = {
		{ "persist", no_argument, NULL, 'p' },
		{ 0 }
	};
	bool persist = false;

	while (next_option(argc, argv, options) == 'p')
		persist = true;
	return persist;
}

static int start_run(int argc, char **argv)
{
	bool persist = only_persist(argc, argv);
	struct values want = { 0 }, current;

	if (argc - optind > 1)
		usage_error("start takes one profile");
	ksm_require();
	if (optind < argc) {
		values_read(&current);
		profile_values(argv[optind], &want, &current);
	}
	values_put(&want, RUN, "1");
	values_change(&want, persist, false);
	return 0;
}

const struct verb start_verb = {
	.name = "start",
	.synopsis = "[--persist] [quiet|balanced|eager]",
	.summary = "start scanning and merging",
	.help =
	"Starts ksmd, with the settings of a profile if one is named (see 'ksmadm tune\n"
	"--help'), else with the settings that are in force.\n\n"
	"  --persist  also after the next boot, see 'ksmadm set --help'\n",
	.run = start_run,
};

static int stop_run(int argc, char **argv)
{
	bool persist = only_persist(argc, argv);
	struct values want = { 0 };

	if (optind < argc)
		usage_error("stop takes no arguments");
	values_put(&want, RUN, "0");
	values_change(&want, persist, false);
	return 0;
}

const struct verb stop_verb = {
	.name = "stop",
	.synopsis = "[--persist]",
	.summary = "stop scanning; what is merged stays merged",
	.help =
	"Stops ksmd. What is merged stays merged, until it is written to; 'ksmadm\n"
	"unmerge' undoes it.\n\n"
	"  --persist  also after the next boot, see 'ksmadm set --help'\n",
	.run = stop_run,
};

/* Runs in its own process: the write returns when everything is undone. */
static pid_t begin_unmerge(void)
{
	pid_t pid;
	int err;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail(EXIT_FAILED, "cannot fork: %s", strerror(errno));
	if (pid)
		return pid;
	err = ksmfs_write("run", "2");
	if (err == EACCES || err == EPERM || err == EROFS)
		fail(EXIT_DENIED, "cannot set run: %s (root may); nothing was changed",
		     strerror(err));
	if (err == ENOMEM)
		fail(EXIT_NO_ROOM, "the memory did not suffice: some of it stays merged, and KSM is stopped");
	if (err)
		fail(EXIT_FAILED, "cannot undo merging: %s", strerror(err));
	_exit(0);
}

static void show_progress(long long at_first, bool last)
{
	double done = 1;
	struct sample s;

	if (!isatty(STDERR_FILENO))
		return;
	sample_counters(&s);
	if (at_first > 0)
		done = 1 - (double)saved_bytes(&s) / (double)at_first;
	fprintf(stderr, "\rundone: %8.1f of %.1f MiB, %3.0f %%%s",
		(double)(at_first - saved_bytes(&s)) / MIB, (double)at_first / MIB,
		100 * (done < 0 ? 0 : done), last ? "\n" : "");
}

static int wait_for(pid_t pid, long long at_first)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		show_progress(at_first, false);
		sleep_seconds(0.1);
	}
	show_progress(at_first, true);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	warn("undoing was ended by signal %d: some of the memory stays merged, and KSM is stopped",
	     WTERMSIG(status));
	/*
	 * The process that undoes merging is the first to be killed for lack of
	 * memory.
	 */
	return WTERMSIG(status) == SIGKILL ? EXIT_NO_ROOM : EXIT_FAILED;
}

static void check_room(long long needed, bool force)
{
	long long kib = proc_field("/proc/meminfo", "MemAvailable");
	double available = (double)kib * 1024;

	if (kib < 0 || (double)needed <= available)
		return;
	warn("undoing needs %.1f MiB, and %.1f MiB are available%s", (double)needed / MIB,
	     available / MIB, force ? ": programs may be killed" : "");
	if (!force)
		fail(EXIT_NO_ROOM, "nothing was changed; --force undoes it all the same");
}

static int unmerge_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' },
		{ "persist", no_argument, NULL, 'p' },
		{ 0 }
	};
	struct values off = { 0 };
	struct sample before, after;
	bool persist = false, force = false;
	int option, status;

	while ((option = next_option(argc, argv, options)) != -1) {
		force |= option == 'f';
		persist |= option == 'p';
	}
	if (optind < argc)
		usage_error("unmerge takes no arguments");
	settings_lock();
	sample_counters(&before);
	check_room(saved_bytes(&before), force);
	if (persist) {
		values_put(&off, RUN, "0");
		status = config_commit(config_prepare(&off, false));
		if (status)
			fail(EXIT_FAILED, "cannot write %s: %s; nothing was changed", config_path,
			     strerror(status));
	}
	status = wait_for(begin_unmerge(), saved_bytes(&before));
	if (status)
		return status;
	sample_counters(&after);
	printf("%.1f MiB that were saved are in use again\n",
	       (double)(saved_bytes(&before) - saved_bytes(&after)) / MIB);
	return 0;
}

const struct verb unmerge_verb = {
	.name = "unmerge",
	.synopsis = "[--force] [--persist]",
	.summary = "stop, and undo all merging",
	.help =
	"Stops ksmd and gives every page a copy of its own again. That needs as much\n"
	"memory as was saved: if less is available, nothing is done, and ksmadm exits\n"
	"with status 6. On a terminal it shows the progress. If it is interrupted, some\n"
	"memory stays merged.\n\n"
	"  --force    even if the memory will not suffice\n"
	"  --persist  does not start after the next boot either\n",
	.run = unmerge_run,
};
