// SPDX-License-Identifier: GPL-2.0
/*
 * The processes that top shows: those that KSM knows, or that have registered
 * memory. Reading what they have registered is costly, so it is repeated only
 * now and then, the less often the longer it takes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ksmadm.h"

/*
 * Reading what is registered may take a hundredth of the time, for all
 * processes.
 */
#define REGISTERED_SECONDS	1
#define REGISTERED_SHARE	100

const char *const column_names[NR_COLUMNS] = {
	[BY_PID] = "pid",
	[BY_COMMAND] = "command",
	[BY_CGROUP] = "cgroup",
	[BY_MERGEABLE] = "mergeable",
	[BY_MERGED] = "merged",
	[BY_ZERO] = "zero",
	[BY_METADATA] = "metadata",
	[BY_PROFIT] = "profit",
};

/* The column with that name, or -1 */
int column_find(const char *name)
{
	int i;

	for (i = 0; i < NR_COLUMNS; i++)
		if (!strcmp(column_names[i], name))
			return i;
	return -1;
}

static int by_pid(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return (x->p.pid > y->p.pid) - (x->p.pid < y->p.pid);
}

static struct row *find(struct list *l, size_t sorted, pid_t pid)
{
	struct row key = { .p.pid = pid };

	return sorted ? bsearch(&key, l->rows, sorted, sizeof(key), by_pid) : NULL;
}

static struct row *add(struct list *l)
{
	if (l->nr == l->room) {
		l->room = l->room ? 2 * l->room : 128;
		l->rows = realloc(l->rows, l->room * sizeof(*l->rows));
		if (!l->rows)
			fail(EXIT_FAILED, "no memory");
	}
	memset(&l->rows[l->nr], 0, sizeof(*l->rows));
	return &l->rows[l->nr++];
}

static void read_registered(struct row *row, double reading_all)
{
	double started = now();
	double age = started - row->read_at;

	if (row->read_at && (age < REGISTERED_SECONDS || age < REGISTERED_SHARE * reading_all))
		return;
	/* If the process has ended, the next update notices. */
	if (registered_read(row->p.pid, &row->reg))
		memset(&row->reg, 0, sizeof(row->reg));
	row->read_at = now();
	row->reading_took = row->read_at - started;
}

static void update_one(struct list *l, size_t sorted, pid_t pid, double reading_all)
{
	struct process p;
	struct row *row;
	int err = process_read(pid, &p);

	if (err == EACCES || err == EPERM)
		l->unread++;
	if (err)
		return;
	row = find(l, sorted, pid);
	if (row && strcmp(row->p.command, p.command))
		row->read_at = 0;
	if (!row)
		row = add(l);
	row->p = p;
	row->seen = true;
	read_registered(row, reading_all);
}

/* Rows of processes without anything to merge are kept, but come last. */
static bool shown(const struct row *row)
{
	return row->reg.areas || row->p.known || row->p.merged || row->p.zero;
}

/* Lists all processes; @l->nr is how many, list_sort() tells which are shown. */
void list_update(struct list *l)
{
	size_t sorted = l->nr, nr, i, kept = 0;
	double reading_all = 0;
	pid_t *pids;

	if (l->nr)
		qsort(l->rows, l->nr, sizeof(*l->rows), by_pid);
	for (i = 0; i < l->nr; i++) {
		l->rows[i].seen = false;
		reading_all += l->rows[i].reading_took;
	}
	l->unread = 0;
	nr = pids_list(&pids);
	for (i = 0; i < nr; i++)
		update_one(l, sorted, pids[i], reading_all);
	free(pids);
	for (i = 0; i < l->nr; i++)
		if (l->rows[i].seen)
			l->rows[kept++] = l->rows[i];
	l->nr = kept;
}

static enum column sort_column;
static bool sort_ascending;

static long long number_of(const struct row *row)
{
	switch (sort_column) {
	case BY_MERGEABLE:
		return row->reg.rss;
	case BY_MERGED:
		return row->p.merged;
	case BY_ZERO:
		return row->p.zero;
	case BY_METADATA:
		return process_metadata(&row->p);
	case BY_PROFIT:
		return row->p.profit;
	default:
		return row->p.pid;
	}
}

static int by_column(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order;

	if (shown(x) != shown(y))
		return shown(x) ? -1 : 1;
	if (sort_column == BY_COMMAND)
		order = strcmp(x->p.command, y->p.command);
	else if (sort_column == BY_CGROUP)
		order = strcmp(x->p.cgroup, y->p.cgroup);
	else
		order = (number_of(x) > number_of(y)) - (number_of(x) < number_of(y));
	if (!order)
		return by_pid(a, b);
	return sort_ascending ? order : -order;
}

/* Sorts, and returns how many rows, from the first, are worth showing. */
size_t list_sort(struct list *l, enum column by, bool ascending)
{
	size_t nr = 0;

	sort_column = by;
	sort_ascending = ascending;
	if (l->nr)
		qsort(l->rows, l->nr, sizeof(*l->rows), by_column);
	while (nr < l->nr && shown(&l->rows[nr]))
		nr++;
	return nr;
}
