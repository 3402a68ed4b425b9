// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the measurements, one per line, for tools/bench/report to read.
 */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "bench.h"

static const char *current;

/* All following results belong to this workload. */
void results_of(const char *workload)
{
	current = workload;
}

void put_figure(const char *name, double value, const char *unit)
{
	printf("@figure %s.%s %.6g %s\n", current, name, value, unit);
	fflush(stdout);
}

bool expect(bool held, const char *fmt, ...)
{
	va_list args;

	printf("@check %s %s ", held ? "ok" : "FAILED", current);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	return held;
}

void put_skipped(const char *why)
{
	printf("@skip %s %s\n", current, why);
	fflush(stdout);
}

void put_series(const char *name, double x, double y)
{
	printf("@series %s.%s %.6g %.6g\n", current, name, x, y);
}

void die(const char *fmt, ...)
{
	va_list args;

	printf("@check FAILED %s ", current);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}
