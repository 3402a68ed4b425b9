// SPDX-License-Identifier: GPL-2.0
/*
 * The files in /sys/kernel/mm/ksm, the threads of ksmd and fields of /proc; see
 * ksmfs.h.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmfs.h"

/* A flag in /proc/PID/stat: a kernel thread */
#define PF_KTHREAD	0x00200000

const char *ksmfs_dir = "/sys/kernel/mm/ksm";

static int ksmfs_open(const char *file, int flags)
{
	char path[512];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", ksmfs_dir, file) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, flags | O_CLOEXEC);
}

/* Reads one line of the file, without its end. */
int ksmfs_read(const char *file, char *text, size_t size)
{
	int fd = ksmfs_open(file, O_RDONLY);
	ssize_t got;
	int err;

	if (fd < 0)
		return errno;
	got = read(fd, text, size - 1);
	err = errno;
	close(fd);
	if (got < 0)
		return err;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

int ksmfs_read_number(const char *file, long long *value)
{
	char text[64], *end;
	int err = ksmfs_read(file, text, sizeof(text));

	if (err)
		return err;
	*value = strtoll(text, &end, 10);
	return end != text && !*end ? 0 : EINVAL;
}

int ksmfs_write(const char *file, const char *text)
{
	int fd = ksmfs_open(file, O_WRONLY | O_TRUNC);
	ssize_t length = (ssize_t)strlen(text);
	int err = 0;

	if (fd < 0)
		return errno;
	errno = 0;
	if (write(fd, text, (size_t)length) != length)
		err = errno ? errno : EIO;
	close(fd);
	return err;
}

int ksmfs_write_number(const char *file, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	return ksmfs_write(file, text);
}

/* As the scheduler counted it; if it did not, computed from ticks */
static unsigned long long run_ns(pid_t pid, unsigned long ticks)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%llu", &ns) != 1)
			ns = 0;
		fclose(f);
	}
	return ns ? ns : ticks * (1000000000ULL / (unsigned long long)sysconf(_SC_CLK_TCK));
}

bool ksmd_read(pid_t pid, struct ksmd *thread)
{
	unsigned long user, sys, flags;
	char path[64], comm[64];
	bool found;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	found = fscanf(f, "%*d (%63[^)]) %c %*d %*d %*d %*d %*d %lu %*u %*u %*u %*u %lu %lu", comm,
		       &thread->state, &flags, &user, &sys) == 5 && (flags & PF_KTHREAD) &&
		(!strcmp(comm, "ksmd") || !strncmp(comm, "ksmd/", 5));
	fclose(f);
	if (!found)
		return false;
	thread->pid = pid;
	thread->ns = run_ns(pid, user + sys);
	return true;
}

size_t ksmd_find(struct ksmd *threads, size_t room)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	struct ksmd thread;
	size_t nr = 0;

	while (proc && (entry = readdir(proc))) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    !ksmd_read(atoi(entry->d_name), &thread))
			continue;
		if (nr < room)
			threads[nr] = thread;
		nr++;
	}
	if (proc)
		closedir(proc);
	return nr;
}

long long proc_field(const char *path, const char *field)
{
	size_t length = strlen(field);
	long long value = -1;
	char line[512];
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f)) {
		if (strncmp(line, field, length) ||
		    (line[length] != ':' && !isspace((unsigned char)line[length])))
			continue;
		value = strtoll(line + length + 1, NULL, 10);
	}
	fclose(f);
	return value;
}
