// SPDX-License-Identifier: GPL-2.0
/*
 * Reads the mappings of a process; see smaps.h.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smaps.h"

/* Text for a terminal must not control it. */
void copy_printable(char *to, size_t size, const char *from)
{
	size_t i;

	for (i = 0; i < size - 1 && from[i] && from[i] != '\n'; i++)
		to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f ? '?' : from[i];
	to[i] = '\0';
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

/* Adds a line of an area; true if it is the last one of the area. */
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
	struct area area = { 0 };
	char *line = NULL, path[64];
	size_t room = 0;
	FILE *f;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
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
