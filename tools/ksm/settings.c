// SPDX-License-Identifier: GPL-2.0
/*
 * The settings: what each may be, and its value in the kernel.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ksmadm.h"

#define U32_MAX		4294967295ULL
#define S32_MAX		2147483647ULL

/*
 * In the order in which they are written: a mode comes after its parameters,
 * and then pages_to_scan, which the mode changes. run is not part of the order:
 * merging stops before any other change, and starts after the last one.
 */
const struct setting_info settings[NR_SETTINGS] = {
	[RUN] = { "run", 0, 1, "0" },
	[MAX_PAGE_SHARING] = { "max_page_sharing", 2, S32_MAX, "256" },
	[MERGE_ACROSS_NODES] = { "merge_across_nodes", 0, 1, "1" },
	[PRUNE_MILLISECS] = { "stable_node_chains_prune_millisecs", 0, U32_MAX, "2000" },
	[SMART_SCAN] = { "smart_scan", 0, 1, "1" },
	[USE_ZERO_PAGES] = { "use_zero_pages", 0, 1, "0" },
	[SCAN_THREADS] = { "scan_threads", 1, 256, "1" },
	[SLEEP_MILLISECS] = { "sleep_millisecs", 0, U32_MAX, "20" },
	[ADVISOR_MAX_CPU] = { "advisor_max_cpu", 1, 25600, "70" },
	[ADVISOR_TARGET_SCAN_TIME] = { "advisor_target_scan_time", 1, U32_MAX, "200" },
	[ADVISOR_MIN_PAGES] = { "advisor_min_pages_to_scan", 1, U32_MAX, "500" },
	[ADVISOR_MAX_PAGES] = { "advisor_max_pages_to_scan", 1, U32_MAX, "30000" },
	[ADVISOR_MODE] = { "advisor_mode", 0, 0, "none" },
	[PAGES_TO_SCAN] = { "pages_to_scan", 1, U32_MAX, "100" },
};

/* The setting with this name, or -1 */
int setting_find(const char *name, size_t length)
{
	int key;

	for (key = 0; key < NR_SETTINGS; key++)
		if (strlen(settings[key].name) == length &&
		    !strncmp(settings[key].name, name, length))
			return key;
	return -1;
}

long long setting_number(const struct values *v, enum setting key)
{
	return strtoll(v->text[key], NULL, 10);
}

void values_put(struct values *v, enum setting key, const char *text)
{
	snprintf(v->text[key], VALUE_BYTES, "%.*s", VALUE_BYTES - 1, text);
}

/* The kernel's values; "" for settings that it does not have */
void values_read(struct values *v)
{
	char text[64], *open;
	int key;

	memset(v, 0, sizeof(*v));
	for (key = 0; key < NR_SETTINGS; key++) {
		if (ksmfs_read(settings[key].name, text, sizeof(text)))
			continue;
		/* A choice of several: brackets mark the current one. */
		open = strchr(text, '[');
		if (open) {
			open[strcspn(open, "]")] = '\0';
			values_put(v, key, open + 1);
		} else {
			values_put(v, key, text);
		}
	}
}

static const char *check_value(enum setting key, const char *text)
{
	static char wrong[160];
	unsigned long long value;
	char *end;

	if (key == ADVISOR_MODE) {
		if (!strcmp(text, "none") || !strcmp(text, "scan-time"))
			return NULL;
		snprintf(wrong, sizeof(wrong), "advisor_mode is none or scan-time, not '%.40s'",
			 text);
		return wrong;
	}
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end) {
		if (key == RUN && !*text)
			return "run needs a value: 0 or 1";
		snprintf(wrong, sizeof(wrong), "%s: '%.40s' is not a number", settings[key].name,
			 text);
		return wrong;
	}
	if (key == RUN && value == 2)
		return "run=2 undoes all merging: use 'ksmadm unmerge'";
	if (errno || value < settings[key].min || value > settings[key].max) {
		snprintf(wrong, sizeof(wrong), "%s: %.40s is not from %llu to %llu",
			 settings[key].name, text, settings[key].min, settings[key].max);
		return wrong;
	}
	return NULL;
}

const char *values_parse(struct values *v, const char *text)
{
	static char wrong[160];
	size_t length = strcspn(text, "=");
	const char *error;
	int key;

	if (!text[length]) {
		snprintf(wrong, sizeof(wrong), "'%.60s' is not KEY=VALUE", text);
		return wrong;
	}
	key = setting_find(text, length);
	if (key < 0) {
		snprintf(wrong, sizeof(wrong), "there is no setting '%.*s'",
			 (int)(length < 60 ? length : 60), text);
		return wrong;
	}
	text += length + 1;
	error = check_value(key, text);
	if (error)
		return error;
	if (*v->text[key]) {
		snprintf(wrong, sizeof(wrong), "%s is given twice", settings[key].name);
		return wrong;
	}
	/* As the kernel writes it, without leading zeroes */
	if (key == ADVISOR_MODE)
		values_put(v, key, text);
	else
		snprintf(v->text[key], VALUE_BYTES, "%llu", strtoull(text, NULL, 10));
	return NULL;
}

/* Removes from @v what this kernel does not have; true if there was something. */
bool values_leave_out_missing(struct values *v, const struct values *current)
{
	bool left_out = false;
	int key;

	for (key = 0; key < NR_SETTINGS; key++) {
		if (!*v->text[key] || *current->text[key])
			continue;
		warn("this kernel has no %s: left out", settings[key].name);
		*v->text[key] = '\0';
		left_out = true;
	}
	return left_out;
}
