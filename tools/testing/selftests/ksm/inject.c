// SPDX-License-Identifier: GPL-2.0
/* Allocations of the kernel that fail; see inject.h. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inject.h"
#include "ksm_util.h"

#define DEBUGFS "/sys/kernel/debug/"
#define SLAB "/sys/kernel/slab/"
/* More than there is. */
#define NO_PAGES "99"

bool inject_available(void)
{
	return !access("/proc/self/fail-nth", W_OK) &&
	       !access(DEBUGFS "failslab/verbose", W_OK) &&
	       !access(DEBUGFS "fail_page_alloc/verbose", W_OK);
}

/*
 * Restartable sequences of the C library: the kernel writes to the memory of a
 * thread that was preempted. What a fork has shared has to be copied then, and
 * a copy that fails ends the process. No call of it asked for that.
 */
static int rseq_stop(void)
{
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
	size_t size;

	if (!__rseq_size)
		return 0;
	/* It has to be the size that the library has registered, which it does not tell. */
	for (size = 32; size <= 256; size += 32)
		if (!syscall(SYS_rseq, area, size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
			return 0;
	return -errno;
}

/* Only the chosen tasks fail, wherever they allocate, and silently. */
int inject_start(void)
{
	static const struct {
		const char *file;
		const char *value;
	} set[] = {
		{ "failslab/verbose", "0" },
		{ "failslab/task-filter", "Y" },
		{ "failslab/cache-filter", "N" },
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/probability", "0" },
		{ "failslab/interval", "1" },
		{ "failslab/times", "-1" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/task-filter", "Y" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/probability", "0" },
		{ "fail_page_alloc/interval", "1" },
		{ "fail_page_alloc/times", "-1" },
	};
	char path[128];
	size_t i;
	int err = rseq_stop();

	for (i = 0; i < sizeof(set) / sizeof(set[0]) && !err; i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s", set[i].file);
		err = file_write(path, set[i].value);
	}
	return err;
}

/* The process that made a cache fail may have gone. */
static void spare_all_caches(void)
{
	struct dirent *d;
	DIR *slab;

	slab = opendir(SLAB);
	while (slab && (d = readdir(slab))) {
		char path[300];

		snprintf(path, sizeof(path), SLAB "%s/failslab", d->d_name);
		if (file_read_long(path) == 1)
			file_write(path, "0");
	}
	if (slab)
		closedir(slab);
}

int inject_only(const char *cache)
{
	bool named = cache && *cache;
	char path[128];
	int err;

	spare_all_caches();
	err = file_write(DEBUGFS "failslab/cache-filter", cache ? "Y" : "N");
	if (!err)
		err = file_write(DEBUGFS "fail_page_alloc/min-order", named ? NO_PAGES : "0");
	if (err || !named)
		return err;
	snprintf(path, sizeof(path), SLAB "%s/failslab", cache);
	return file_write(path, "1");
}

int inject_pages_too(void)
{
	return file_write(DEBUGFS "fail_page_alloc/min-order", "0");
}

void inject_stop(void)
{
	fail_percent(0);
	inject_only(INJECT_ALL);
	fail_allow_ksmd(false);
}

/* Opened beforehand, as the caller's file is written when nothing may fail. */
static int fail_nth_file(pid_t pid)
{
	static pid_t owner, of;
	static int fd = -1;
	char path[64];

	/* A child has its parent's file, which would set the parent's number. */
	if (fd >= 0 && (owner != getpid() || of != pid)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0) {
		snprintf(path, sizeof(path), "/proc/%d/fail-nth", pid ? pid : getpid());
		fd = open(path, O_RDWR | O_CLOEXEC);
		owner = getpid();
		of = pid;
	}
	if (fd < 0)
		abort();
	return fd;
}

void fail_nth(pid_t pid, int n)
{
	int fd = fail_nth_file(pid);
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	if (pwrite(fd, text, strlen(text), 0) < 0)
		abort();
}

bool fail_did_happen(pid_t pid)
{
	int fd = fail_nth_file(pid);
	char text[16] = "";

	/* The next one may be that of this read. */
	while (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		if (errno != ENOMEM)
			abort();
	if (pwrite(fd, "0", 1, 0) != 1)
		abort();
	return atoi(text) == 0;
}

int fail_percent(int percent)
{
	int err = file_write_long(DEBUGFS "failslab/probability", percent);

	return err ? err : file_write_long(DEBUGFS "fail_page_alloc/probability", percent);
}

/*
 * The file stays open: opening it could be what fails at the end of the
 * failures.
 */
int fail_allow_self(bool may)
{
	static int fd = -1;
	static pid_t opener;

	if (opener != getpid()) {
		fd = open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC);
		opener = getpid();
	}
	return pwrite(fd, may ? "1" : "0", 1, 0) == 1;
}

/* All threads named like a worker; with a value, each may fail or not. */
static int each_ksmd(const char *value)
{
	struct dirent *d;
	DIR *proc;
	int n = 0;

	proc = opendir("/proc");
	while (proc && (d = readdir(proc))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strncmp(name, "ksmd", 4)) {
			snprintf(path, sizeof(path), "/proc/%s/make-it-fail", d->d_name);
			n += !value || file_write(path, value) == 0;
		}
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return n;
}

int fail_allow_ksmd(bool may)
{
	return each_ksmd(may ? "1" : "0");
}

int count_ksmd(void)
{
	return each_ksmd(NULL);
}
