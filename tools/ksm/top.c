// SPDX-License-Identifier: GPL-2.0
/*
 * ksmadm top: the processes whose memory KSM merges. On a terminal it is a live
 * list (screen.c). This file prints it elsewhere.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmadm.h"

#define MIB	(1024.0 * 1024.0)

static double mib_of_pages(long long pages)
{
	return (double)(pages * page_bytes()) / MIB;
}

static void print_list(const struct list *l, size_t nr, const struct sample *s)
{
	bool estimated;
	size_t i;

	printf("saved %.1f MiB, profit %.1f MiB, ksmd %.2f s of CPU time, %lld full scans\n",
	       (double)saved_bytes(s) / MIB, profit_mib(profit_bytes(s, &estimated)), s->cpu,
	       s->value[FULL_SCANS]);
	printf("%7s %10s %10s %10s %9s %10s  %-16s %s\n", "PID", "MERGEABLE", "MERGED", "ZERO",
	       "METADATA", "PROFIT", "COMMAND", "CGROUP");
	for (i = 0; i < nr; i++) {
		const struct row *r = &l->rows[i];

		printf("%7d %10.1f %10.1f %10.1f %9.2f %10.1f  %-16s %s\n", r->p.pid,
		       (double)r->reg.rss / MIB, mib_of_pages(r->p.merged), mib_of_pages(r->p.zero),
		       (double)process_metadata(&r->p) / MIB, profit_mib(r->p.profit),
		       r->p.command, r->p.cgroup);
	}
}

static void json_rows(const struct list *l, size_t nr, const struct sample *s)
{
	struct json_object *top = json_new(), *processes, *p;
	bool estimated;
	size_t i;

	json_add_number(top, "saved_bytes", saved_bytes(s));
	json_add_number(top, "profit_bytes", profit_bytes(s, &estimated));
	json_add_number(top, "unreadable_processes", l->unread);
	processes = json_add_list(top, "processes");
	for (i = 0; i < nr; i++) {
		const struct row *r = &l->rows[i];

		p = json_add_object(processes, NULL);
		json_add_number(p, "pid", r->p.pid);
		json_add_string(p, "command", r->p.command);
		json_add_string(p, "cgroup", r->p.cgroup);
		json_add_number(p, "mergeable_bytes", r->reg.rss);
		json_add_number(p, "known_bytes", r->p.known * page_bytes());
		json_add_number(p, "merged_bytes", r->p.merged * page_bytes());
		json_add_number(p, "zero_bytes", r->p.zero * page_bytes());
		json_add_number(p, "metadata_bytes", process_metadata(&r->p));
		json_add_number(p, "profit_bytes", r->p.profit);
	}
	json_print(top);
}

struct batch {
	unsigned long count, limit;
	bool json;
};

static int batch_run(const struct top_options *o, const struct batch *b)
{
	struct list list = { 0 };
	unsigned long done;
	struct sample s;
	size_t nr;

	for (done = 0; !b->count || done < b->count; done++) {
		if (done)
			sleep_seconds(o->delay);
		list_update(&list);
		sample_take(&s);
		nr = list_sort(&list, o->by, o->ascending);
		if (b->limit && nr > b->limit)
			nr = b->limit;
		if (done && !b->json)
			putchar('\n');
		(b->json ? json_rows : print_list)(&list, nr, &s);
		/* The reader may have gone. */
		if (fflush(stdout))
			break;
	}
	if (list.unread && !b->json)
		warn("top: %u processes may only be looked at by root", list.unread);
	free(list.rows);
	return 0;
}

static void choose_column(struct top_options *o)
{
	int column = column_find(optarg);

	if (column < 0)
		usage_error("top: there is no column '%s'; there are pid, command, cgroup, mergeable, merged, zero, metadata and profit",
			    optarg);
	o->by = column;
	o->ascending = column == BY_PID || column == BY_COMMAND || column == BY_CGROUP;
}

static int top_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "batch", no_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'j' },
		{ "delay", required_argument, NULL, 'd' },
		{ "count", required_argument, NULL, 'c' },
		{ "sort", required_argument, NULL, 's' },
		{ "reverse", no_argument, NULL, 'r' },
		{ "limit", required_argument, NULL, 'l' },
		{ "no-color", no_argument, NULL, 'n' },
		{ 0 }
	};
	struct top_options o = { .delay = 2, .by = BY_PROFIT, .colour = !getenv("NO_COLOR") };
	struct batch b = { .count = 1 };
	bool batch = false, reverse = false;
	int option;

	while ((option = next_option(argc, argv, options)) != -1) {
		batch |= option == 'b' || option == 'j';
		b.json |= option == 'j';
		reverse |= option == 'r';
		if (option == 'd')
			o.delay = seconds_option("--delay");
		else if (option == 'c')
			b.count = number_option("--count", 0, 1000000000);
		else if (option == 's')
			choose_column(&o);
		else if (option == 'l')
			b.limit = number_option("--limit", 1, 1000000000);
		else if (option == 'n')
			o.colour = false;
	}
	if (optind < argc)
		usage_error("top takes no arguments");
	if (o.delay < 0.1)
		o.delay = 0.1;
	o.ascending ^= reverse;
	ksm_require();
	if (batch || !screen_possible())
		return batch_run(&o, &b);
	return screen_run(&o);
}

const struct verb top_verb = {
	.name = "top",
	.synopsis = "[OPTION]...",
	.summary = "live list of the processes whose memory is merged",
	.help =
	"Shows the processes that have registered memory, in MiB: what of it is there\n"
	"(mergeable), what is merged and what is on the zero page, what KSM keeps for it\n"
	"(metadata), and the profit; above, the memory saved over time. Without a terminal\n"
	"it prints the list once, as with --batch. Others' processes are shown to root.\n\n"
	"  --delay SECONDS  time between updates (2)\n"
	"  --sort COLUMN    pid, command, cgroup, mergeable, merged, zero, metadata or\n"
	"                   profit (profit)\n"
	"  --reverse        the other way round\n"
	"  --no-color       without colours ($NO_COLOR does the same)\n"
	"  --batch          print the list\n"
	"  --count N        so many times (1), 0: without end\n"
	"  --limit N        the first N processes\n"
	"  --json           print it as JSON, in bytes\n\n"
	"Keys: < > choose the column to sort by (or: p pid, c command, g cgroup, a\n"
	"mergeable, m merged, z zero, d metadata, f profit), r reverses, up, down, page\n"
	"up, page down, home and end scroll, + and - change the delay, space updates, h\n"
	"shows the keys, q quits.\n",
	.run = top_run,
};
