// SPDX-License-Identifier: GPL-2.0
/*
 * Writes JSON, a value a line. The caller sees to the nesting; what stands
 * between values, and how a string is quoted, is done here.
 */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "ksmctl.h"

static void put_string(FILE *out, const char *text)
{
	const unsigned char *p;

	putc('"', out);
	for (p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < ' ' || *p == 0x7f)
			fprintf(out, "\\u%04x", *p);
		else
			putc(*p, out);
	}
	putc('"', out);
}

/* How many bytes the UTF-8 character at @p has; 0 if it is none. */
static size_t character_bytes(const unsigned char *p)
{
	static const unsigned int first[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t bytes, i;
	unsigned int code;

	if (*p < 0x80)
		return 1;
	bytes = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
	if (*p < 0xc2 || *p > 0xf4)
		return 0;
	code = *p & (0x7f >> bytes);
	for (i = 1; i < bytes; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (code < first[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return bytes;
}

/* Names of files and commands may be any bytes; JSON has to be UTF-8. */
static void put_bytes(FILE *out, const char *text)
{
	char clean[1024];
	size_t length = 0, bytes;

	while (*text && length < sizeof(clean) - 5) {
		bytes = character_bytes((const unsigned char *)text);
		if (bytes)
			memcpy(clean + length, text, bytes);
		else
			clean[length] = '?';
		length += bytes ? bytes : 1;
		text += bytes ? bytes : 1;
	}
	clean[length] = '\0';
	put_string(out, clean);
}

static void start(struct json *j, const char *name)
{
	unsigned int i;

	if (j->filled)
		putc(',', j->out);
	if (j->depth)
		putc('\n', j->out);
	for (i = 0; i < j->depth; i++)
		putc('\t', j->out);
	if (name) {
		put_string(j->out, name);
		fputs(": ", j->out);
	}
	j->filled = true;
}

void json_begin(struct json *j, const char *name, char bracket)
{
	start(j, name);
	putc(bracket, j->out);
	j->depth++;
	j->filled = false;
}

void json_end(struct json *j, char bracket)
{
	unsigned int i;

	j->depth--;
	if (j->filled) {
		putc('\n', j->out);
		for (i = 0; i < j->depth; i++)
			putc('\t', j->out);
	}
	putc(bracket, j->out);
	if (!j->depth)
		putc('\n', j->out);
	j->filled = true;
}

void json_string(struct json *j, const char *name, const char *value)
{
	start(j, name);
	put_bytes(j->out, value);
}

void json_number(struct json *j, const char *name, long long value)
{
	start(j, name);
	fprintf(j->out, "%lld", value);
}

void json_real(struct json *j, const char *name, double value)
{
	start(j, name);
	if (isfinite(value))
		fprintf(j->out, "%.6g", value);
	else
		fputs("null", j->out);
}

void json_bool(struct json *j, const char *name, bool value)
{
	start(j, name);
	fputs(value ? "true" : "false", j->out);
}

void json_null(struct json *j, const char *name)
{
	start(j, name);
	fputs("null", j->out);
}
