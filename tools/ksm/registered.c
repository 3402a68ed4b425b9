// SPDX-License-Identifier: GPL-2.0
/*
 * How much memory all processes have registered for merging. The kernel keeps
 * no sum of it: it is in the flags of each mapping, and reading them costs a
 * walk through page tables. So this takes a limited time only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ksmadm.h"

static void note_ksmtuned(struct offered *o, pid_t pid)
{
	char command[64];

	command_read(pid, command, sizeof(command));
	if (!strcmp(command, "ksmtuned"))
		o->ksmtuned = true;
}

/* Takes @seconds at most, except for the last process. */
void offered_read(struct offered *o, double seconds)
{
	double until = now() + seconds;
	size_t nr, i;
	pid_t *pids;

	memset(o, 0, sizeof(*o));
	nr = pids_list(&pids);
	for (i = 0; i < nr; i++) {
		struct registered one;
		int err;

		note_ksmtuned(o, pids[i]);
		if (now() > until) {
			o->cut_short = true;
			continue;
		}
		err = registered_read(pids[i], &one);
		if (err == EACCES || err == EPERM)
			o->unread++;
		if (err || !one.areas)
			continue;
		o->processes++;
		o->sum.areas += one.areas;
		o->sum.size += one.size;
		o->sum.rss += one.rss;
		o->sum.merged += one.merged;
		o->sum.huge += one.huge;
	}
	free(pids);
}
