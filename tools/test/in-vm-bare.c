// SPDX-License-Identifier: GPL-2.0
/*
 * Does what tools/test/in-vm does, for a VM with a bare kernel, which has
 * neither the host's programs nor a shell.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NONCE "KSM_TEST_NONCE="
#define KUNIT_RESULTS "/sys/kernel/debug/kunit/ksm*/results"

/* Ends the lines that separate the parts. No program can know it. */
static char nonce[64];

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

/*
 * Prints the results that KUnit has kept since boot. tools/test/report knows
 * which suites must be there.
 */
static int kunit(void)
{
	int status = 0;
	glob_t found;
	size_t i;

	if (glob(KUNIT_RESULTS, 0, NULL, &found))
		return 0;
	for (i = 0; i < found.gl_pathc; i++)
		status |= copy_out(found.gl_pathv[i]);
	globfree(&found);
	return status;
}

/* Runs in the program's own directory, as kselftests require. */
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
		     "the VM, with NAME=VALUE in the programs' environment. KSM_TEST_NONCE=VALUE\n"
		     "ends the lines that tell parts apart.");
		return argc < 2 ? 2 : 0;
	}
	mkdir("/tmp", 01777);
	/* A kernel that looks for data races begins now */
	if (!access("/sys/kernel/debug/kcsan", F_OK))
		write_to("/sys/kernel/debug/kcsan", "on", "");
	for (i = 1; i < argc; i++) {
		const char *name = strrchr(argv[i], '/');
		int status;

		if (!strncmp(argv[i], NONCE, strlen(NONCE))) {
			snprintf(nonce, sizeof(nonce), " %s", argv[i] + strlen(NONCE));
			continue;
		}
		if (!name && strchr(argv[i], '=')) {
			putenv(argv[i]);
			continue;
		}
		name = name ? name + 1 : argv[i];
		write_to("/dev/kmsg", "ksm test: ", name);
		printf("@begin %s%s\n", name, nonce);
		status = strcmp(name, "kunit") ? run(argv[i], name) : kunit();
		/* Its last line may have no end. */
		printf("\n@end %s %d%s\n", name, status, nonce);
		fflush(stdout);
	}
	return 0;
}
