// SPDX-License-Identifier: GPL-2.0
/*
 * Makes JSON with json-c: the kinds of values that ksmadm prints, with checks
 * for failed allocations.
 */
#include <math.h>
#include <string.h>

#include <json-c/json.h>

#include "ksmadm.h"

/* The length in bytes of the UTF-8 character at @p; 0 if it is not one. */
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

/* Names of files and commands may contain any bytes, but JSON must be UTF-8. */
static struct json_object *text(const char *bytes)
{
	char clean[1024];
	size_t length = 0, size;

	while (*bytes && length < sizeof(clean) - 5) {
		size = character_bytes((const unsigned char *)bytes);
		if (size)
			memcpy(clean + length, bytes, size);
		else
			clean[length] = '?';
		length += size ? size : 1;
		bytes += size ? size : 1;
	}
	return json_object_new_string_len(clean, (int)length);
}

/* Adds @value, or null if it is NULL, to a list or an object. */
static void put(struct json_object *to, const char *name, struct json_object *value)
{
	if (name ? json_object_object_add(to, name, value) : json_object_array_add(to, value))
		fail(EXIT_FAILED, "no memory");
}

static struct json_object *made(struct json_object *value)
{
	if (!value)
		fail(EXIT_FAILED, "no memory");
	return value;
}

struct json_object *json_new(void)
{
	return made(json_object_new_object());
}

struct json_object *json_add_object(struct json_object *to, const char *name)
{
	struct json_object *object = json_new();

	put(to, name, object);
	return object;
}

struct json_object *json_add_list(struct json_object *to, const char *name)
{
	struct json_object *list = made(json_object_new_array());

	put(to, name, list);
	return list;
}

void json_add_string(struct json_object *to, const char *name, const char *value)
{
	put(to, name, made(text(value)));
}

void json_add_number(struct json_object *to, const char *name, long long value)
{
	put(to, name, made(json_object_new_int64(value)));
}

/* JSON has neither infinity nor "not a number". Six digits are plenty. */
void json_add_real(struct json_object *to, const char *name, double value)
{
	char digits[32];

	if (!isfinite(value)) {
		json_add_null(to, name);
		return;
	}
	snprintf(digits, sizeof(digits), "%.6g", value);
	put(to, name, made(json_object_new_double_s(value, digits)));
}

void json_add_bool(struct json_object *to, const char *name, bool value)
{
	put(to, name, made(json_object_new_boolean(value)));
}

void json_add_null(struct json_object *to, const char *name)
{
	put(to, name, NULL);
}

/* Prints @object, one value per line, and frees it. */
void json_print(struct json_object *object)
{
	const char *printed = json_object_to_json_string_ext(object,
			JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_PRETTY_TAB |
			JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (!printed)
		fail(EXIT_FAILED, "no memory");
	puts(printed);
	json_object_put(object);
}
