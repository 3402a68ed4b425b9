// SPDX-License-Identifier: GPL-2.0
/*
 * The settings: what each may be, and how several are changed such that either
 * all are, or none.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "ksmctl.h"

#define U32_MAX		4294967295ULL
#define S32_MAX		2147483647ULL

/*
 * In the order in which they are written: a mode comes after its parameters,
 * and pages_to_scan, which the mode changes, after that. run is not part of the
 * order: merging stops before anything else is changed, and starts after.
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

/* The kernel's values, "" for settings that it does not have */
void values_read(struct values *v)
{
	char text[64], *open;
	int key;

	memset(v, 0, sizeof(*v));
	for (key = 0; key < NR_SETTINGS; key++) {
		if (ksm_read(settings[key].name, text, sizeof(text)))
			continue;
		/* A choice of several: the one in force is in brackets. */
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
		return "run=2 undoes all merging: use 'ksmctl unmerge'";
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

/* Drops from @v what this kernel does not have; true if there was something. */
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

/* What cannot be from what is asked for and what stays */
static void check_together(const struct values *want, const struct values *current)
{
	struct values after = *current;
	int key;

	for (key = 0; key < NR_SETTINGS; key++) {
		if (!*want->text[key])
			continue;
		if (!*current->text[key])
			fail(EXIT_FAILED, "this kernel has no %s; nothing was changed",
			     settings[key].name);
		values_put(&after, key, want->text[key]);
	}
	if (*want->text[PAGES_TO_SCAN] && !strcmp(after.text[ADVISOR_MODE], "scan-time"))
		fail(EXIT_USAGE, "pages_to_scan is the advisor's while advisor_mode is scan-time: add advisor_mode=none, or set advisor_min_pages_to_scan and advisor_max_pages_to_scan");
	if ((*want->text[ADVISOR_MIN_PAGES] || *want->text[ADVISOR_MAX_PAGES]) &&
	    setting_number(&after, ADVISOR_MIN_PAGES) > setting_number(&after, ADVISOR_MAX_PAGES))
		fail(EXIT_USAGE, "advisor_min_pages_to_scan (%s) is more than advisor_max_pages_to_scan (%s)",
		     after.text[ADVISOR_MIN_PAGES], after.text[ADVISOR_MAX_PAGES]);
}

/* One at a time: nobody sees half of what another changes. */
void settings_lock(void)
{
	int fd = open(ksm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ksm_require();
	if (fd >= 0)
		flock(fd, LOCK_EX);
}

static void signals_block(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(how, &set, NULL);
}

/* Writes one if it is not so already. Returns 0 or an error's number. */
static int write_one(enum setting key, const char *text)
{
	struct values current;
	int err;

	values_read(&current);
	if (!strcmp(current.text[key], text))
		return 0;
	err = ksm_write(settings[key].name, text);
	if (err)
		return err;
	values_read(&current);
	return strcmp(current.text[key], text) ? EIO : 0;
}

/* Writes what there is in @v; on error @failed is the setting it was at. */
static int write_all(const struct values *v, enum setting *failed)
{
	bool advised;
	int key, err;

	*failed = RUN;
	if (*v->text[RUN] && strcmp(v->text[RUN], "1")) {
		err = write_one(RUN, v->text[RUN]);
		if (err)
			return err;
	}
	advised = !strcmp(v->text[ADVISOR_MODE], "scan-time");
	for (key = RUN + 1; key < NR_SETTINGS; key++) {
		if (!*v->text[key] || (key == PAGES_TO_SCAN && advised))
			continue;
		*failed = key;
		err = write_one(key, v->text[key]);
		if (err)
			return err;
	}
	*failed = RUN;
	return strcmp(v->text[RUN], "1") ? 0 : write_one(RUN, "1");
}

static void explain(enum setting key, const char *text, int err)
{
	const char *name = settings[key].name;

	if (err == EACCES || err == EPERM || err == EROFS)
		fail(EXIT_DENIED, "cannot set %s: %s (root may); nothing was changed", name,
		     strerror(err));
	if (err == EBUSY)
		fail(EXIT_FAILED, "%s cannot change while memory is merged ('ksmctl unmerge' undoes that); nothing was changed",
		     name);
	if (err == EIO)
		fail(EXIT_FAILED, "the kernel did not take %s=%s; nothing was changed", name, text);
	fail(err == ENOMEM ? EXIT_NO_ROOM : EXIT_FAILED, "cannot set %s to %s: %s; nothing was changed",
	     name, text, strerror(err));
}

/* Back to @before; what cannot be put back is told, as it must be known. */
static void undo(const struct values *before)
{
	enum setting failed;
	int err = write_all(before, &failed);

	if (err)
		warn("could not set %s back to %s: %s", settings[failed].name,
		     before->text[failed], strerror(err));
}

/*
 * Changes the kernel's settings to @want, and with @persist the configuration:
 * both, or nothing. @forget: the configuration is to have none afterwards.
 */
void values_change(const struct values *want, bool persist, bool forget)
{
	struct config *config = NULL;
	struct values before;
	enum setting failed;
	int err;

	settings_lock();
	values_read(&before);
	check_together(want, &before);
	if (persist)
		config = config_prepare(want, forget);
	signals_block(SIG_BLOCK);
	err = write_all(want, &failed);
	if (err) {
		undo(&before);
		config_discard(config);
		explain(failed, want->text[failed], err);
	}
	err = config_commit(config);
	if (err) {
		undo(&before);
		fail(EXIT_FAILED, "cannot write %s: %s; nothing was changed", config_path,
		     strerror(err));
	}
	signals_block(SIG_UNBLOCK);
}
