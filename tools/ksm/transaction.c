// SPDX-License-Identifier: GPL-2.0
/*
 * Changes several settings: either all of them or none; in the configuration,
 * too, if asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "ksmadm.h"

/* Rejects combinations of new and remaining values that cannot work */
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

/* One at a time: nobody sees half of another's changes. */
void settings_lock(void)
{
	int fd = open(ksmfs_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

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

/* Writes a setting if its value differs. Returns 0 or an error's number. */
static int write_one(enum setting key, const char *text)
{
	struct values current;
	int err;

	values_read(&current);
	if (!strcmp(current.text[key], text))
		return 0;
	err = ksmfs_write(settings[key].name, text);
	if (err)
		return err;
	values_read(&current);
	return strcmp(current.text[key], text) ? EIO : 0;
}

/* Writes all values of @v; on error @failed is the setting that failed. */
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
		fail(EXIT_FAILED, "%s cannot change while memory is merged ('ksmadm unmerge' undoes that); nothing was changed",
		     name);
	if (err == EIO)
		fail(EXIT_FAILED, "the kernel did not take %s=%s; nothing was changed", name, text);
	fail(err == ENOMEM ? EXIT_NO_ROOM : EXIT_FAILED, "cannot set %s to %s: %s; nothing was changed",
	     name, text, strerror(err));
}

/* Goes back to @before. Reports what cannot be restored. */
static void undo(const struct values *before)
{
	enum setting failed;
	int err = write_all(before, &failed);

	if (err)
		warn("could not set %s back to %s: %s", settings[failed].name,
		     before->text[failed], strerror(err));
}

/*
 * Changes the kernel's settings to @want, and the configuration if @persist:
 * both, or nothing. @forget: remove all settings from the configuration.
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
