// SPDX-License-Identifier: GPL-2.0
/*
 * A process whose memory KSM should merge: a stand-in for a virtual machine, in
 * tests of programs that watch or control KSM.
 *
 * usage: tenant MIB CHILDREN ...
 *
 * Half of its memory is the same everywhere, an eighth is zero, and the rest is
 * its own. Its children have the same memory, by fork(). Further arguments are
 * for programs that look at the command line. It ends with its parent.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE_BYTES 4096UL

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void fill(unsigned long *page, unsigned long i)
{
	size_t word;

	if (i % 8 == 7) {
		memset(page, 0, PAGE_BYTES);
		return;
	}
	for (word = 0; word < PAGE_BYTES / sizeof(*page); word++)
		page[word] = i % 2 ? i * 1000003 + word : word + 1;
}

int main(int argc, char **argv)
{
	unsigned long mib = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	int children = argc > 2 ? atoi(argv[2]) : 0;
	unsigned long pages = mib << 20 >> 12;
	unsigned long i;
	char *mem;

	if (!pages) {
		fputs("usage: tenant MIB CHILDREN ...\n", stderr);
		return 2;
	}
	mem = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		die("mmap");
	for (i = 0; i < pages; i++)
		fill((void *)(mem + i * PAGE_BYTES), i);
	if (madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE))
		die("MADV_MERGEABLE");
	while (children-- > 0) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			break;
		}
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
