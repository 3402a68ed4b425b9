// SPDX-License-Identifier: GPL-2.0
/*
 * What /proc tells of processes: what KSM knows of each, and the mappings that
 * it consists of.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmadm.h"

/* Lists all processes, not their threads. The caller frees the list. */
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

void command_read(pid_t pid, char *command, size_t size)
{
	FILE *f = open_of(pid, "comm");
	char line[256];

	copy_printable(command, size, f && fgets(line, sizeof(line), f) ? line : "?");
	if (f)
		fclose(f);
}

/* In the unified hierarchy, or else that of the memory controller */
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

/* Returns 0, or an error's number: ESRCH for a process without memory. */
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

/* The kernel's profit is what is saved minus this. */
long long process_metadata(const struct process *p)
{
	return (p->merged + p->zero) * page_bytes() - p->profit;
}

static void add_registered(const struct area *area, void *argument)
{
	struct registered *sum = argument;

	if (!area_has(area, "mg"))
		return;
	sum->areas++;
	sum->size += (long long)(area->end - area->start);
	/* Of a file's pages, only private copies can be merged. */
	sum->rss += area->anonymous;
	sum->merged += area->merged;
	sum->huge += area->huge;
}

/* Sums up the registered memory of a process. Returns 0 or an error's number. */
int registered_read(pid_t pid, struct registered *sum)
{
	memset(sum, 0, sizeof(*sum));
	return areas_walk(pid, add_registered, sum);
}
