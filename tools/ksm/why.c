// SPDX-License-Identifier: GPL-2.0
/*
 * ksmadm why: why the memory of a process is merged or not, mapping by mapping,
 * as far as the kernel tells; with --contents, as far as the memory itself
 * tells.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmadm.h"

#define MIB	(1024.0 * 1024.0)

/* Mappings with less mergeable memory are left out, unless asked for. */
#define SMALL_BYTES	(64 * 1024)

struct finding {
	struct area area;
	const char *excluded;	/* why it cannot be merged, or NULL */
	bool registered;
	bool zero_known;
	long long zero;		/* bytes on the zero page */
	struct contents contents;
};

struct report {
	struct process p;
	bool stat_known;
	struct finding *found;
	size_t nr, room;
	bool contents;		/* were looked at */
	struct finding sum;	/* of what is registered */
	unsigned long registered, left_out;
};

/* The kernel's rule, in words; flags as in the VmFlags line of smaps(5) */
static const char *excluded_as(const struct area *a)
{
	if (area_has(a, "ht"))
		return "hugetlbfs pages are not merged";
	if (area_has(a, "io") || area_has(a, "pf") || area_has(a, "mm"))
		return "memory of a device, or that a driver maps, is not merged";
	if (area_has(a, "sh") || area_has(a, "ms"))
		return "shared memory (MAP_SHARED, tmpfs, System V) is not merged";
	if (area_has(a, "de"))
		return "a mapping of the kernel's or a driver's that may not grow is not merged";
	if (area_has(a, "dp"))
		return "memory that may be dropped (MAP_DROPPABLE) is not merged";
	return NULL;
}

static void add_area(const struct area *area, void *argument)
{
	struct report *r = argument;
	struct finding *f;

	if (r->nr == r->room) {
		r->room = r->room ? 2 * r->room : 256;
		r->found = realloc(r->found, r->room * sizeof(*r->found));
		if (!r->found)
			fail(EXIT_FAILED, "no memory");
	}
	f = &r->found[r->nr++];
	memset(f, 0, sizeof(*f));
	f->area = *area;
	f->registered = area_has(area, "mg");
	if (!f->registered)
		f->excluded = excluded_as(area);
}

static void add_up(struct report *r)
{
	struct finding *sum = &r->sum;
	size_t i;

	sum->zero_known = true;
	for (i = 0; i < r->nr; i++) {
		struct finding *f = &r->found[i];

		if (!f->registered)
			continue;
		r->registered++;
		f->zero_known = !zero_pages_count(r->p.pid, f->area.start, f->area.end, &f->zero);
		f->zero *= page_bytes();
		sum->zero_known &= f->zero_known;
		sum->zero += f->zero;
		sum->area.end += f->area.end - f->area.start;
		sum->area.anonymous += f->area.anonymous;
		sum->area.merged += f->area.merged;
		sum->area.huge += f->area.huge;
		sum->area.swapped += f->area.swapped;
	}
}

static void look_into(struct report *r, double seconds)
{
	struct content_range *ranges = calloc(r->registered + 1, sizeof(*ranges));
	size_t i, nr = 0;
	int err;

	if (!ranges)
		fail(EXIT_FAILED, "no memory");
	for (i = 0; i < r->nr; i++)
		if (r->found[i].registered)
			ranges[nr++] = (struct content_range){
				.start = r->found[i].area.start,
				.end = r->found[i].area.end,
			};
	err = contents_sample(r->p.pid, ranges, nr, seconds);
	if (err == E2BIG)
		fail(EXIT_FAILED, "why: --contents: there is too much memory to look into");
	if (err)
		fail(err == EACCES || err == EPERM ? EXIT_DENIED : EXIT_FAILED,
		     "why: cannot read the memory of process %d: %s", r->p.pid, strerror(err));
	for (i = 0, nr = 0; i < r->nr; i++) {
		struct contents *c;

		if (!r->found[i].registered)
			continue;
		c = &ranges[nr++].found;
		r->found[i].contents = *c;
		r->sum.contents.pages += c->pages;
		r->sum.contents.changing += c->changing;
		r->sum.contents.zero += c->zero;
		r->sum.contents.alike += c->alike;
		r->sum.contents.unique += c->unique;
		r->sum.contents.gone += c->gone;
	}
	r->contents = true;
	free(ranges);
}

/* Present, and neither merged nor in huge pages */
static long long unmerged(const struct finding *f)
{
	long long rest = f->area.anonymous - f->area.merged - f->area.huge;

	return rest > 0 ? rest : 0;
}

static void print_part(const char *what, long long bytes)
{
	if (bytes)
		printf(", %.1f %s", (double)bytes / MIB, what);
}

static void print_contents(const struct contents *c)
{
	double page = (double)page_bytes() / MIB;

	if (!c->pages)
		return;
	printf("    of pages not shared: %.1f unique in this process", (double)c->unique * page);
	if (c->changing)
		printf(", %.1f changing (not merged)", (double)c->changing * page);
	if (c->zero)
		printf(", %.1f zeroes", (double)c->zero * page);
	if (c->alike)
		printf(", %.1f with an equal (not merged yet)", (double)c->alike * page);
	if (c->gone)
		printf(", %.1f shared or gone since", (double)c->gone * page);
	putchar('\n');
}

static void print_registered(const struct finding *f)
{
	printf("    registered: %.1f MiB, of it %.1f in memory",
	       (double)(f->area.end - f->area.start) / MIB, (double)f->area.anonymous / MIB);
	print_part("merged", f->area.merged);
	print_part("on the zero page", f->zero);
	print_part("in huge pages", f->area.huge);
	print_part("not merged", unmerged(f));
	print_part("swapped out, which is not scanned", f->area.swapped);
	putchar('\n');
	print_contents(&f->contents);
}

static const char *verdict(const struct finding *f)
{
	if (f->excluded)
		return f->excluded;
	if (!f->registered)
		return f->area.inode && !f->area.anonymous ?
			"not registered; a file's pages are not merged" :
			"not registered: neither MADV_MERGEABLE nor PR_SET_MEMORY_MERGE";
	if (!f->area.anonymous && !f->area.swapped && !f->zero)
		return f->area.inode ?
			"pages of a file: only those that were written to could be merged" :
			"nothing of it was used yet";
	return NULL;
}

/* Small ones say little, and there are many of them. */
static bool is_small(const struct finding *f)
{
	long long bytes = f->area.anonymous + f->area.swapped + f->zero;

	if (f->excluded)
		bytes = f->area.rss;
	return bytes < SMALL_BYTES;
}

static void print_finding(const struct finding *f)
{
	const struct area *a = &f->area;
	const char *why = verdict(f);

	printf("\n%llx-%llx %s %s\n", a->start, a->end, a->perms,
	       *a->name ? a->name : "(anonymous)");
	if (f->registered && !why)
		print_registered(f);
	else
		printf("    %.1f MiB, of it %.1f in memory: %s\n",
		       (double)(a->end - a->start) / MIB, (double)a->rss / MIB, why);
}

/* What the kernel knows of the process as a whole */
static void print_known(const struct report *r)
{
	long long bytes = page_bytes(), rest;

	if (!r->stat_known)
		return;
	rest = r->p.known - r->p.merged;
	printf("ksmd knows %.1f MiB of it: %.1f merged, %.1f without a duplicate or changing; metadata %.2f MiB, profit %.1f MiB\n",
	       (double)(r->p.known * bytes) / MIB, (double)(r->p.merged * bytes) / MIB,
	       (double)((rest > 0 ? rest : 0) * bytes) / MIB,
	       (double)process_metadata(&r->p) / MIB, profit_mib(r->p.profit));
	rest = r->sum.area.anonymous - r->sum.area.merged - rest * bytes;
	if (rest > SMALL_BYTES)
		printf("not scanned yet: %.1f MiB\n", (double)rest / MIB);
}

static void print_causes(const struct report *r)
{
	char run[VALUE_BYTES];
	struct values v;

	if (!ksmfs_read("run", run, sizeof(run)) && strcmp(run, "1"))
		puts("KSM does not scan now: nothing more is merged until 'ksmadm start'");
	if (!r->registered) {
		puts("nothing is registered: the program would have to call madvise() with MADV_MERGEABLE, or be started with 'ksmadm exec' or by systemd with MemoryKSM=yes");
		return;
	}
	if (r->sum.area.huge)
		puts("huge pages are taken apart only when one of their pages has a duplicate");
	values_read(&v);
	if (r->sum.contents.zero && !strcmp(v.text[USE_ZERO_PAGES], "0"))
		puts("pages of zeroes cost no metadata with: ksmadm set use_zero_pages=1");
	if (unmerged(&r->sum) && !r->contents)
		puts("what is in pages that are not merged, --contents tells");
}

static void print_report(struct report *r, bool all)
{
	size_t i;

	printf("process %d (%s): %lu of %zu mappings registered\n", r->p.pid, r->p.command,
	       r->registered, r->nr);
	if (r->registered)
		print_registered(&r->sum);
	print_known(r);
	print_causes(r);
	for (i = 0; i < r->nr; i++) {
		if (!all && is_small(&r->found[i]))
			r->left_out++;
		else
			print_finding(&r->found[i]);
	}
	if (r->left_out)
		printf("\n%lu mappings with less than 64 KiB are left out; --all shows them\n",
		       r->left_out);
}

static void json_finding(struct json_object *j, const struct report *r, const struct finding *f)
{
	struct json_object *contents;

	json_add_number(j, "size_bytes", (long long)(f->area.end - f->area.start));
	json_add_number(j, "anonymous_bytes", f->area.anonymous);
	json_add_number(j, "merged_bytes", f->area.merged);
	if (f->zero_known)
		json_add_number(j, "zero_bytes", f->zero);
	else
		json_add_null(j, "zero_bytes");
	json_add_number(j, "huge_bytes", f->area.huge);
	json_add_number(j, "swapped_bytes", f->area.swapped);
	json_add_number(j, "unmerged_bytes", unmerged(f));
	if (!r->contents)
		return;
	contents = json_add_object(j, "contents");
	json_add_number(contents, "unique_bytes", (long long)f->contents.unique * page_bytes());
	json_add_number(contents, "changing_bytes", (long long)f->contents.changing * page_bytes());
	json_add_number(contents, "zero_bytes", (long long)f->contents.zero * page_bytes());
	json_add_number(contents, "alike_bytes", (long long)f->contents.alike * page_bytes());
}

static void json_area(struct json_object *areas, const struct report *r, const struct finding *f)
{
	struct json_object *j = json_add_object(areas, NULL);
	const char *why = verdict(f);
	char address[32];

	snprintf(address, sizeof(address), "0x%llx", f->area.start);
	json_add_string(j, "start", address);
	snprintf(address, sizeof(address), "0x%llx", f->area.end);
	json_add_string(j, "end", address);
	json_add_string(j, "permissions", f->area.perms);
	json_add_string(j, "name", f->area.name);
	json_add_bool(j, "registered", f->registered);
	json_add_bool(j, "excluded", f->excluded);
	if (why)
		json_add_string(j, "why", why);
	json_finding(j, r, f);
}

static void json_report(const struct report *r)
{
	struct json_object *j = json_new(), *registered, *areas;
	size_t i;

	json_add_number(j, "pid", r->p.pid);
	json_add_string(j, "command", r->p.command);
	if (r->stat_known) {
		json_add_number(j, "known_bytes", r->p.known * page_bytes());
		json_add_number(j, "metadata_bytes", process_metadata(&r->p));
		json_add_number(j, "profit_bytes", r->p.profit);
	}
	registered = json_add_object(j, "registered");
	json_add_number(registered, "areas", (long long)r->registered);
	json_finding(registered, r, &r->sum);
	areas = json_add_list(j, "areas");
	for (i = 0; i < r->nr; i++)
		json_area(areas, r, &r->found[i]);
	json_print(j);
}

static void read_report(struct report *r, pid_t pid)
{
	int err;

	r->stat_known = !process_read(pid, &r->p);
	r->p.pid = pid;
	command_read(pid, r->p.command, sizeof(r->p.command));
	err = areas_walk(pid, add_area, r);
	if (err == ESRCH)
		fail(EXIT_NO_PROCESS, "why: there is no process %d", pid);
	if (err == EACCES || err == EPERM)
		fail(EXIT_DENIED, "why: process %d is not yours: root may look at it", pid);
	if (err)
		fail(EXIT_FAILED, "why: cannot read the mappings of process %d: %s", pid,
		     strerror(err));
	if (!r->nr)
		fail(EXIT_NO_PROCESS, "why: process %d has no memory of its own: it has ended, or is the kernel's",
		     pid);
	add_up(r);
}

static int why_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "all", no_argument, NULL, 'a' },
		{ "contents", no_argument, NULL, 'c' },
		{ "interval", required_argument, NULL, 'i' },
		{ 0 }
	};
	bool as_json = false, all = false, contents = false;
	struct report r = { 0 };
	double interval = 2;
	unsigned long pid;
	int option;

	while ((option = next_option(argc, argv, options)) != -1) {
		as_json |= option == 'j';
		all |= option == 'a';
		contents |= option == 'c';
		if (option == 'i')
			interval = seconds_option("--interval");
	}
	if (argc - optind != 1)
		usage_error("why: which process? it takes one PID");
	optarg = argv[optind];
	pid = number_option("why", 1, 4194304);
	ksm_require();
	read_report(&r, (pid_t)pid);
	if (contents)
		look_into(&r, interval);
	if (as_json)
		json_report(&r);
	else
		print_report(&r, all);
	free(r.found);
	return 0;
}

const struct verb why_verb = {
	.name = "why",
	.synopsis = "[--all] [--contents [--interval SECONDS]] [--json] PID",
	.summary = "why a process's memory is merged, or not",
	.help =
	"Shows for each mapping of a process what of it is merged, and why the rest is\n"
	"not: not registered, of a kind that cannot be merged, in huge pages, swapped\n"
	"out, not scanned yet, or without a duplicate. Sizes are in MiB. It takes root,\n"
	"or one's own process; zero pages are shown to root only.\n\n"
	"  --all               also mappings with less than 64 KiB\n"
	"  --contents          read the memory twice, and tell what is unique, changing,\n"
	"                      zeroes, or has an equal that it is not merged with yet\n"
	"  --interval SECONDS  between the two times (2)\n"
	"  --json              as JSON, in bytes\n",
	.run = why_run,
};
