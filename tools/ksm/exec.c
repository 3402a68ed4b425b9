// SPDX-License-Identifier: GPL-2.0
/*
 * ksmadm exec: runs a program with its whole address space registered for
 * merging, as well as that of its children.
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksmadm.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif

static int exec_run(int argc, char **argv)
{
	static const struct option options[] = { { 0 } };
	char run[VALUE_BYTES];
	int err;

	next_option(argc, argv, options);
	if (optind == argc)
		usage_error("exec: which command?");
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0)) {
		if (errno == EPERM)
			fail(EXIT_DENIED, "exec: not permitted: this kernel asks for CAP_SYS_RESOURCE");
		if (errno == EINVAL)
			fail(EXIT_NO_KSM, "exec: this kernel has no merging of whole processes");
		fail(EXIT_FAILED, "exec: cannot register the process: %s", strerror(errno));
	}
	if (!ksmfs_read("run", run, sizeof(run)) && strcmp(run, "1"))
		warn("KSM does not scan now: nothing is merged until 'ksmadm start'");
	execvp(argv[optind], argv + optind);
	err = errno;
	fail(err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "exec: cannot run %s: %s",
	     argv[optind], strerror(err));
}

const struct verb exec_verb = {
	.name = "exec",
	.synopsis = "[--] COMMAND [ARGUMENT]...",
	.summary = "run a program with all of its memory registered for merging",
	.help =
	"Runs COMMAND with merging enabled for all of its memory that can be merged,\n"
	"and for that of its children, as systemd does for a unit with MemoryKSM=yes.\n"
	"Some kernels ask for CAP_SYS_RESOURCE. To run it as somebody else:\n\n"
	"  ksmadm exec -- setpriv --reuid=USER --regid=GROUP --init-groups COMMAND\n\n"
	"Exit status: COMMAND's, or 126: it cannot be run, 127: it was not found, or\n"
	"ksmadm's own: 2, 3 or 4.\n",
	.run = exec_run,
};
