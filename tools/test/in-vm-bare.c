// SPDX-License-Identifier: GPL-2.0
/*
 * What tools/test/in-vm does, for a VM of a bare kernel: none of the host's
 * programs is there, nor is a shell.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KUNIT_RESULTS "/sys/kernel/debug/kunit/ksm*/results"

static int copy_out(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[1024];

	if (!file)
		return 1;
	while (fgets(line, sizeof(line), file))
		fputs(line, stdout);
	fclose(file);
	return 0;
}

/* The suites' results as KUnit keeps them since boot. */
static int kunit(void)
{
	int status = 0;
	glob_t found;
	size_t i;

	if (glob(KUNIT_RESULTS, 0, NULL, &found)) {
		puts("# no results of a suite named ksm* in debugfs");
		return 1;
	}
	for (i = 0; i < found.gl_pathc; i++)
		status |= copy_out(found.gl_pathv[i]);
	globfree(&found);
	return status;
}

/* In its own directory, as the kselftests want it. */
static int run(const char *path, const char *name)
{
	char *directory = strndup(path, name - path);
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return 127;
	if (!pid) {
		dup2(STDOUT_FILENO, STDERR_FILENO);
		if (*directory && chdir(directory))
			_exit(127);
		execl(name, name, NULL);
		perror(path);
		_exit(127);
	}
	free(directory);
	if (waitpid(pid, &status, 0) != pid)
		return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) :
		128 + WTERMSIG(status);
}

static void write_to(const char *path, const char *text, const char *more)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return;
	fprintf(file, "%s%s\n", text, more);
	fclose(file);
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 2 || !strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
		puts("Usage: in-vm-bare [NAME=VALUE]... PART...\n\n"
		     "A part is the path of a test program, or kunit. Run by tools/test/run, in\n"
		     "the VM, with NAME=VALUE in the programs' environment.");
		return argc < 2 ? 2 : 0;
	}
	mkdir("/tmp", 01777);
	/* A kernel that looks for data races begins now */
	if (!access("/sys/kernel/debug/kcsan", F_OK))
		write_to("/sys/kernel/debug/kcsan", "on", "");
	for (i = 1; i < argc; i++) {
		const char *name = strrchr(argv[i], '/');
		int status;

		if (!name && strchr(argv[i], '=')) {
			putenv(argv[i]);
			continue;
		}
		name = name ? name + 1 : argv[i];
		write_to("/dev/kmsg", "ksm test: ", name);
		printf("@begin %s\n", name);
		status = strcmp(name, "kunit") ? run(argv[i], name) : kunit();
		printf("@end %s %d\n", name, status);
		fflush(stdout);
	}
	return 0;
}
