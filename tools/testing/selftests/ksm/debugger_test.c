// SPDX-License-Identifier: GPL-2.0
/* Merged memory in the hands of debuggers: core dumps and breakpoints. */

#include "ksm_fixture.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ksm_env.h"

#define N 32

/* ------------------------------------------------------------ core dumps */

#define PATTERN "/proc/sys/kernel/core_pattern"
#define CORE "/tmp/ksm-test-core"

FIXTURE(core) {
	KSM_FIXTURE_STATE;
	char pattern[256];
};

FIXTURE_SETUP(core)
{
	int fd = open(PATTERN, O_RDONLY);
	ssize_t n = -1;

	if (fd >= 0) {
		n = read(fd, self->pattern, sizeof(self->pattern) - 1);
		close(fd);
	}
	if (!ksm_testable() || n <= 0)
		SKIP(return, "needs root, and a kernel with KSM that dumps core");
	self->pattern[n] = '\0';
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
	unlink(CORE);
	ASSERT_EQ(0, file_write(PATTERN, CORE));
}

FIXTURE_TEARDOWN_PARENT(core)
{
	unlink(CORE);
	if (self->pattern[0])
		EXPECT_EQ(0, file_write(PATTERN, self->pattern));
	KSM_FIXTURE_TEARDOWN();
}

/* A third of it alike, a third empty, a third like nothing else. */
static char *three_kinds(void)
{
	char *mem = mem_map(3 * N);

	mem_fill(mem, N, 100, 0);
	mem_fill(PAGE(mem, N), N, 1, 0);
	mem_fill(PAGE(mem, N), N, 0, 0);
	mem_fill(PAGE(mem, 2 * N), N, 200, 1);
	return madvise(mem, 3 * N * PAGE_BYTES, MADV_MERGEABLE) ? NULL : mem;
}

/* Runs in a child: reports where its memory is once it is merged, and dies. */
static void merge_and_die(int tell)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	char *mem = three_kinds();

	if (!mem || setrlimit(RLIMIT_CORE, &all) || ksm_settle() ||
	    mem_count_ksm(0, mem, N) != N || mem_count_zero_page(0, PAGE(mem, N), N) != N ||
	    write(tell, &mem, sizeof(mem)) != sizeof(mem))
		_exit(1);
	/* With ksmd at work. */
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* Where the core has the content of an address, if it has all its bytes. */
static const char *core_find(const char *core, size_t size, const char *addr, size_t bytes)
{
	const Elf64_Ehdr *head = (const void *)core;
	const Elf64_Phdr *part = (const void *)(core + head->e_phoff);
	uint64_t at = (uintptr_t)addr;
	int i;

	if (size < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) ||
	    head->e_type != ET_CORE)
		return NULL;
	for (i = 0; i < head->e_phnum; i++, part++)
		if (part->p_type == PT_LOAD && part->p_vaddr <= at &&
		    at + bytes <= part->p_vaddr + part->p_filesz &&
		    part->p_offset + part->p_filesz <= size)
			return core + part->p_offset + (at - part->p_vaddr);
	return NULL;
}

TEST_F_TIMEOUT(core, has_what_was_merged, KSM_TEST_SECONDS)
{
	const char *core, *was;
	struct stat stat;
	int tell[2], status, fd;
	char *mem;
	pid_t pid;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, pipe(tell));
	pid = fork();
	if (pid == 0)
		merge_and_die(tell[1]);
	close(tell[1]);
	ASSERT_EQ((ssize_t)sizeof(mem), read(tell[0], &mem, sizeof(mem)));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	if (!WCOREDUMP(status))
		SKIP(return, "no core dumps");
	fd = open(CORE, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &stat));
	core = mmap(NULL, stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, core);
	was = core_find(core, stat.st_size, mem, 3 * N * PAGE_BYTES);
	ASSERT_NE(NULL, was);
	EXPECT_EQ(0, mem_bad(was, N, 100, 0));
	EXPECT_EQ(0, mem_bad(PAGE(was, N), N, 0, 0));
	EXPECT_EQ(0, mem_bad(PAGE(was, 2 * N), N, 200, 1));
	close(fd);
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
}

/* ----------------------------------------------------------- breakpoints */

#define BREAKPOINT 0xcc

/* nop; mov $42,%eax; ret */
static const unsigned char code[] = { 0x90, 0xb8, 42, 0, 0, 0, 0xc3 };

/* Lines of uprobe_events are added, and "-:" takes them away. */
static int probe_say(const char *text)
{
	int fd = open(TRACING "/uprobe_events", O_WRONLY | O_APPEND);
	int err = fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ?
			  -errno : 0;

	close(fd);
	return err;
}

/* The buffers get their memory with the first event, and keep it: do this first. */
__attribute__((constructor)) static void make_tracing_ready(void)
{
	if (tracing_has("uprobe_events"))
		file_write(TRACING "/buffer_size_kb", "64");
}

static int probe_enable(int page, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "/events/ksmtest/page%d/enable", page);
	return file_write(path, on ? "1" : "0");
}

static int probe_add(int file, int page)
{
	char text[128];
	int err;

	snprintf(text, sizeof(text), "p:ksmtest/page%d /proc/%d/fd/%d:0x%lx\n", page, getpid(),
		 file, page * PAGE_BYTES);
	err = probe_say(text);
	return err ? err : probe_enable(page, true);
}

static int probe_remove(int page)
{
	char text[64];
	int err = probe_enable(page, false);

	snprintf(text, sizeof(text), "-:ksmtest/page%d\n", page);
	return err ? err : probe_say(text);
}

/* How often it was hit. */
static long probe_hits(int page)
{
	char line[256], name[64], file[160];
	long hits = -1, n;
	int number;
	FILE *f = fopen(TRACING "/uprobe_profile", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %159s %63s %ld", file, name, &n) == 3 &&
		    sscanf(name, "page%d", &number) == 1 && number == page)
			hits = n;
	if (f)
		fclose(f);
	return hits;
}

static int call(char *page)
{
	return ((int (*)(void))page)();
}

/* Is the page as it was filled, except for a breakpoint? */
static bool code_is_right(const char *page, bool probed)
{
	static char want[PAGE_BYTES];

	page_fill(want, 300);
	memcpy(want, code, sizeof(code));
	if (probed)
		want[0] = (char)BREAKPOINT;
	return !memcmp(want, page, PAGE_BYTES);
}

static size_t code_bad(const char *mem, int probed1, int probed2)
{
	size_t bad = 0;
	int i;

	for (i = 0; i < N; i++)
		bad += !code_is_right(PAGE(mem, i), i == probed1 || i == probed2);
	return bad;
}

/*
 * Private pages of a file: written to, equal, and then read-only. The kernel
 * looks up in the file what a breakpoint replaces, so the file has it, too.
 */
static char *code_map(int file)
{
	char *mem = mmap(NULL, N * PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE,
			 file, 0);
	int i;

	if (mem == MAP_FAILED)
		return NULL;
	mem_fill(mem, N, 300, 0);
	for (i = 0; i < N; i++) {
		memcpy(PAGE(mem, i), code, sizeof(code));
		if (pwrite(file, code, sizeof(code), i * PAGE_BYTES) != sizeof(code))
			return NULL;
	}
	if (mprotect(mem, N * PAGE_BYTES, PROT_READ | PROT_EXEC) ||
	    madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE))
		return NULL;
	return mem;
}

/*
 * A breakpoint is written to one of several merged pages, and removed again,
 * and the code beside it stays. To ksmd, it is content like any other.
 */
KSM_TEST(breakpoints)
{
	int file = memfd_create("ksm-test-code", 0);
	char *mem;

#ifndef __x86_64__
	SKIP(return, "needs code of this architecture");
#endif
	if (!tracing_has("uprobe_events"))
		SKIP(return, "no uprobes");
	ASSERT_EQ(0, ftruncate(file, N * PAGE_BYTES));
	mem = code_map(file);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(42, call(PAGE(mem, 5)));

	ASSERT_EQ(0, probe_add(file, 5));
	EXPECT_EQ(0, code_bad(mem, 5, 5));
	EXPECT_EQ(N - 1, mem_count_ksm(0, mem, N));
	EXPECT_EQ(42, call(PAGE(mem, 5)));
	EXPECT_EQ(42, call(PAGE(mem, 6)));
	EXPECT_EQ(1, probe_hits(5));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 2, 1);

	/* Two pages with a breakpoint each are alike again. */
	ASSERT_EQ(0, probe_add(file, 6));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(2, N - 2, 0);
	EXPECT_EQ(page_pfn(0, PAGE(mem, 5)), page_pfn(0, PAGE(mem, 6)));
	EXPECT_EQ(0, code_bad(mem, 5, 6));
	EXPECT_EQ(42, call(PAGE(mem, 5)));
	EXPECT_EQ(42, call(PAGE(mem, 6)));
	EXPECT_EQ(2, probe_hits(5));
	EXPECT_EQ(1, probe_hits(6));

	/* Removed from one of them, and then from unmerged pages. */
	ASSERT_EQ(0, probe_remove(5));
	EXPECT_EQ(0, code_bad(mem, 6, 6));
	EXPECT_EQ(42, call(PAGE(mem, 5)));
	EXPECT_EQ(42, call(PAGE(mem, 6)));
	EXPECT_EQ(2, probe_hits(6));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, code_bad(mem, 6, 6));
	EXPECT_EQ(42, call(PAGE(mem, 6)));
	EXPECT_EQ(3, probe_hits(6));
	ASSERT_EQ(0, probe_remove(6));
	EXPECT_EQ(0, code_bad(mem, -1, -1));
	EXPECT_EQ(42, call(PAGE(mem, 6)));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, code_bad(mem, -1, -1));
	close(file);
}

/* They come and go while ksmd merges, and the code runs. */
KSM_TEST(breakpoints_while_merging)
{
	int file = memfd_create("ksm-test-code", 0);
	int round, i;
	char *mem;

#ifndef __x86_64__
	SKIP(return, "needs code of this architecture");
#endif
	if (!tracing_has("uprobe_events"))
		SKIP(return, "no uprobes");
	ASSERT_EQ(0, ftruncate(file, N * PAGE_BYTES));
	mem = code_map(file);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, probe_add(file, round));
		ASSERT_EQ(0, probe_add(file, N - 1 - round));
		for (i = 0; i < N; i++)
			ASSERT_EQ(42, call(PAGE(mem, i)));
		ASSERT_EQ(0, code_bad(mem, round, N - 1 - round));
		ASSERT_EQ(1, probe_hits(round));
		sleep_ms(20);
		ASSERT_EQ(0, code_bad(mem, round, N - 1 - round));
		ASSERT_EQ(0, probe_remove(round));
		ASSERT_EQ(0, probe_remove(N - 1 - round));
		ASSERT_EQ(0, code_bad(mem, -1, -1));
	}
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	close(file);
}

TEST_HARNESS_MAIN
