// SPDX-License-Identifier: GPL-2.0
/*
 * Output for the user: the progress of the demonstration, the checks as they
 * are made, and the report, on the terminal and in a file.
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/utsname.h>

#include "demo.h"

#define MAX_CHECKS	32
#define LINE_SECONDS	10.0	/* between lines where a line cannot be rewritten */

static const char *current = "starting";
static char checks[MAX_CHECKS][240];
static unsigned int nr_checks;

static double mib(unsigned long pages)
{
	return (double)pages / MIB_PAGES;
}

static void progress_line(void)
{
	struct sample s;

	take_sample(&s);
	/* Short enough for a line of a terminal: one that wraps cannot be rewritten */
	say_for_now("%4.0f s %-14s shared %lu sharing %lu saved %.1f MiB ksmd %.1f s", s.time,
		    current, s.shared, s.sharing, mib(saved_pages(&s)), s.cpu);
}

void progress(void)
{
	static double next;

	if (now() < next)
		return;
	progress_line();
	next = now() + (opt.tty ? 0.5 : LINE_SECONDS);
}

void stage(const char *what)
{
	current = what;
	if (opt.tty)
		progress_line();
}

bool check(bool held, const char *fmt, ...)
{
	char *text = checks[nr_checks];
	size_t size = sizeof(checks[0]);
	va_list args;
	int len;

	if (nr_checks == MAX_CHECKS)
		fail("more checks than the report holds: raise MAX_CHECKS");
	len = snprintf(text, size, "%-6s ", held ? "ok" : "FAILED");
	va_start(args, fmt);
	vsnprintf(text + len, size - len, fmt, args);
	va_end(args);
	nr_checks++;
	say("%4.0f s  %s", now(), text);
	return held;
}

static void write_scan(FILE *f, const struct result *r)
{
	unsigned long scans = r->settled.scans - r->filled.scans;
	double seconds = r->settled.time - r->filled.time;

	fprintf(f, "settled after     %s%.1f s and %lu full scans\n",
		r->in_time ? "" : "not within ", seconds, scans);
	fprintf(f, "found 95 %% after  %.1f s and %.2f s of ksmd CPU time\n",
		r->found.time - r->filled.time, r->found.cpu - r->filled.cpu);
	if (scans)
		fprintf(f, "scan time         %.2f s a full scan\n", seconds / scans);
	fprintf(f, "ksmd CPU time     %.1f s, of it %.1f s since the guests were filled\n",
		r->settled.cpu, r->settled.cpu - r->filled.cpu);
}

static void write_report(FILE *f, const struct result *r)
{
	const struct sample *s = &r->settled;
	unsigned long saved = saved_pages(s);
	unsigned long total = opt.guests * opt.mib * MIB_PAGES;
	struct utsname uts;
	unsigned int i;

	uname(&uts);
	fprintf(f, "kernel            %s (%s)\n", opt.name, uts.release);
	fprintf(f, "guests            %u of %u MiB, %.1f MiB of it in use\n", opt.guests, opt.mib,
		mib(r->resident_kib / 4 + s->zero));
	fprintf(f, "saved             %.1f MiB, %.1f %% of the guests' memory\n", mib(saved),
		100.0 * saved / total);
	fprintf(f, "saved pages       %lu (sharing %lu, zero %lu)\n", saved, s->sharing, s->zero);
	write_scan(f, r);
	fprintf(f, "stable nodes      %lu (%lu dups in %lu chains)\n", s->shared, s->dups,
		s->chains);
	fprintf(f, "other pages       %lu unshared, %lu volatile\n", s->unshared, s->volatiles);
	fprintf(f, "metadata          %lu bytes (%s)\n", r->metadata, r->metadata_source);
	for (i = 0; i < nr_checks; i++)
		fprintf(f, "check             %s\n", checks[i]);
}

bool report_out(const struct result *r)
{
	char path[300];
	FILE *f;

	say("%s", "");
	write_report(stdout, r);
	snprintf(path, sizeof(path), "%s/report-%s.txt", opt.dir, opt.name);
	f = fopen(path, "w");
	if (!f)
		fail("cannot write %s: %s", path, strerror(errno));
	write_report(f, r);
	if (fclose(f))
		fail("cannot write %s: %s", path, strerror(errno));
	say("\nThis report is also in %s", path);
	return saved_pages(&r->settled) > 0;
}
