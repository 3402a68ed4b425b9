// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel tells of processes in /proc: what KSM knows of each, and the
 * mappings it consists of.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmctl.h"

/* All processes, to be freed by the caller; not their threads. */
size_t pids_list(pid_t **pids)
{
	size_t nr = 0, room = 0;
	struct dirent *entry;
	DIR *proc;

	*pids = NULL;
	proc = opendir("/proc");
	if (!proc)
		fail(EXIT_FAILED, "cannot read /proc: %s", strerror(errno));
	while ((entry = readdir(proc))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (nr == room) {
			room = room ? 2 * room : 256;
			*pids = realloc(*pids, room * sizeof(**pids));
			if (!*pids)
				fail(EXIT_FAILED, "no memory");
		}
		(*pids)[nr++] = atoi(entry->d_name);
	}
	closedir(proc);
	return nr;
}

static FILE *open_of(pid_t pid, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	return fopen(path, "re");
}

/* What goes to a terminal must not steer it. */
static void copy_printable(char *to, size_t size, const char *from)
{
	size_t i;

	for (i = 0; i < size - 1 && from[i] && from[i] != '\n'; i++)
		to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f ? '?' : from[i];
	to[i] = '\0';
}

void command_read(pid_t pid, char *command, size_t size)
{
	FILE *f = open_of(pid, "comm");
	char line[256];

	copy_printable(command, size, f && fgets(line, sizeof(line), f) ? line : "?");
	if (f)
		fclose(f);
}

/* In the unified hierarchy, or else the memory controller's */
static void cgroup_read(pid_t pid, char *cgroup, size_t size)
{
	FILE *f = open_of(pid, "cgroup");
	char line[4096];

	copy_printable(cgroup, size, "-");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "0::", 3)) {
			copy_printable(cgroup, size, line + 3);
		} else if (strstr(line, ":memory:")) {
			copy_printable(cgroup, size, strstr(line, ":memory:") + 8);
			break;
		}
	}
	fclose(f);
}

/* Returns 0, or an error's number: ESRCH for one without memory of its own. */
int process_read(pid_t pid, struct process *p)
{
	int err = ESRCH;
	char line[128];
	FILE *f;

	memset(p, 0, sizeof(*p));
	p->pid = pid;
	f = open_of(pid, "ksm_stat");
	if (!f)
		return errno == ENOENT ? ESRCH : errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "ksm_rmap_items %lld", &p->known) == 1 ||
		    sscanf(line, "ksm_zero_pages %lld", &p->zero) == 1 ||
		    sscanf(line, "ksm_merging_pages %lld", &p->merged) == 1 ||
		    sscanf(line, "ksm_process_profit %lld", &p->profit) == 1)
			err = 0;
	}
	fclose(f);
	if (err)
		return err;
	command_read(pid, p->command, sizeof(p->command));
	cgroup_read(pid, p->cgroup, sizeof(p->cgroup));
	return 0;
}

/* The kernel's profit is what is saved less this. */
long long process_metadata(const struct process *p)
{
	return (p->merged + p->zero) * page_bytes() - p->profit;
}

bool area_has(const struct area *area, const char *flag)
{
	const char *at = area->flags;

	for (; (at = strstr(at, flag)); at++)
		if ((at == area->flags || at[-1] == ' ') && at[2] == ' ')
			return true;
	return false;
}

static void area_start(struct area *area, const char *line)
{
	int name = 0;

	memset(area, 0, sizeof(*area));
	if (sscanf(line, "%llx-%llx %7s %*x %*s %llu %n", &area->start, &area->end, area->perms,
		   &area->inode, &name) == 4 && name)
		copy_printable(area->name, sizeof(area->name), line + name);
}

/* A line of what follows; true if it is the last of the area. */
static bool area_add(struct area *area, const char *line)
{
	long long kib;
	char key[32];

	if (!strncmp(line, "VmFlags: ", 9)) {
		snprintf(area->flags, sizeof(area->flags), "%.250s ", line + 9);
		area->flags[strcspn(area->flags, "\n")] = ' ';
		return true;
	}
	if (sscanf(line, "%31[^:]: %lld kB", key, &kib) != 2)
		return false;
	kib <<= 10;
	if (!strcmp(key, "Rss"))
		area->rss = kib;
	else if (!strcmp(key, "Anonymous"))
		area->anonymous = kib;
	else if (!strcmp(key, "KSM"))
		area->merged = kib;
	else if (!strcmp(key, "AnonHugePages"))
		area->huge = kib;
	else if (!strcmp(key, "Swap"))
		area->swapped = kib;
	return false;
}

/* Calls @each for each mapping. Returns 0 or an error's number. */
int areas_walk(pid_t pid, area_function *each, void *argument)
{
	FILE *f = open_of(pid, "smaps");
	struct area area = { 0 };
	char *line = NULL;
	size_t room = 0;
	int err;

	if (!f)
		return errno == ENOENT ? ESRCH : errno;
	errno = 0;
	while (getline(&line, &room, f) > 0) {
		if (isxdigit((unsigned char)*line) && !isupper((unsigned char)*line))
			area_start(&area, line);
		else if (area_add(&area, line))
			each(&area, argument);
	}
	err = ferror(f) ? errno : 0;
	free(line);
	fclose(f);
	return err;
}

static void add_registered(const struct area *area, void *argument)
{
	struct registered *sum = argument;

	if (!area_has(area, "mg"))
		return;
	sum->areas++;
	sum->size += (long long)(area->end - area->start);
	/* Of a file's pages, only those that were copied can be merged. */
	sum->rss += area->anonymous;
	sum->merged += area->merged;
	sum->huge += area->huge;
}

/* Sums up what a process has registered. Returns 0 or an error's number. */
int registered_read(pid_t pid, struct registered *sum)
{
	memset(sum, 0, sizeof(*sum));
	return areas_walk(pid, add_registered, sum);
}
