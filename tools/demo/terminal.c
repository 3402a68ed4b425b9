// SPDX-License-Identifier: GPL-2.0
/*
 * Writes lines to the terminal: permanent ones, and a last one that the next
 * line replaces.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "demo.h"

static bool line_open;		/* the cursor is after a temporary line */

static void line_clear(void)
{
	if (line_open)
		fputs("\r\033[K", stdout);
	line_open = false;
}

/* If the line cannot be rewritten, it stays. */
void say_for_now(const char *fmt, ...)
{
	va_list args;

	line_clear();
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	if (opt.tty)
		line_open = true;
	else
		putchar('\n');
	fflush(stdout);
}

void say(const char *fmt, ...)
{
	va_list args;

	line_clear();
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

void fail(const char *fmt, ...)
{
	va_list args;

	line_clear();
	fflush(stdout);
	fputs("demo: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}
