// SPDX-License-Identifier: GPL-2.0
/*
 * The configuration, /etc/ksmadm.conf: lines KEY=VALUE that 'ksmadm apply' sets
 * at boot. The file belongs to the administrator: comments and unchanged lines
 * stay as they are. A new version replaces the old one in one step.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksmadm.h"

struct config {
	char temporary[512];
};

/* Removes comment and white space; the rest may be empty. */
static char *strip(char *line)
{
	char *end;

	line[strcspn(line, "#\n")] = '\0';
	while (isspace((unsigned char)*line))
		line++;
	end = line + strlen(line);
	while (end > line && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return line;
}

/* The setting that a line sets, or -1 */
static int line_key(const char *line)
{
	char copy[256], *text;

	snprintf(copy, sizeof(copy), "%s", line);
	text = strip(copy);
	return setting_find(text, strcspn(text, "="));
}

/* Checks all of it before using anything. */
void config_read(struct values *v)
{
	unsigned int number = 0;
	char line[256];
	const char *wrong;
	FILE *f;

	memset(v, 0, sizeof(*v));
	f = fopen(config_path, "re");
	if (!f)
		fail(errno == EACCES ? EXIT_DENIED : EXIT_FAILED, "cannot read %s: %s", config_path,
		     strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		char *text;

		number++;
		text = strip(line);
		wrong = *text ? values_parse(v, text) : NULL;
		if (wrong)
			fail(EXIT_USAGE, "%s, line %u: %s; nothing was changed", config_path,
			     number, wrong);
	}
	fclose(f);
}

/* What to do with the lines of each setting */
struct edit {
	struct values put;	/* lines get this value, or a line is added */
	bool drop[NR_SETTINGS];
};

/*
 * The mode decides who sets pages_to_scan, so what is written of the one must
 * not contradict what earlier lines say of the other.
 */
static void edit_for(struct edit *e, const struct values *want, bool forget)
{
	int key;

	memset(e, 0, sizeof(*e));
	for (key = 0; key < NR_SETTINGS; key++)
		e->drop[key] = forget;
	if (forget)
		return;
	e->put = *want;
	if (!strcmp(want->text[ADVISOR_MODE], "scan-time"))
		e->drop[PAGES_TO_SCAN] = true;
	else if (*want->text[PAGES_TO_SCAN])
		values_put(&e->put, ADVISOR_MODE, "none");
}

static void copy_lines(FILE *from, FILE *to, struct edit *e)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, from) > 0) {
		int key = line_key(line);

		if (key >= 0 && e->drop[key])
			continue;
		if (key < 0 || !*e->put.text[key]) {
			fputs(line, to);
			if (!strchr(line, '\n'))
				putc('\n', to);
			continue;
		}
		fprintf(to, "%s=%s\n", settings[key].name, e->put.text[key]);
		*e->put.text[key] = '\0';
	}
	free(line);
}

static int write_config(FILE *to, const struct values *want, bool forget)
{
	FILE *from = fopen(config_path, "re");
	struct edit edit;
	int key;

	if (!from && errno != ENOENT)
		return errno;
	edit_for(&edit, want, forget);
	if (!from)
		fputs("# Settings of KSM that ksmadm.service sets at boot; see ksmadm(8).\n", to);
	else
		copy_lines(from, to, &edit);
	if (from)
		fclose(from);
	for (key = 0; key < NR_SETTINGS; key++)
		if (*edit.put.text[key])
			fprintf(to, "%s=%s\n", settings[key].name, edit.put.text[key]);
	if (fflush(to) || ferror(to) || fsync(fileno(to)))
		return errno ? errno : EIO;
	return 0;
}

/* Writes a new version beside the old one, or exits. */
struct config *config_prepare(const struct values *want, bool forget)
{
	struct config *c = calloc(1, sizeof(*c));
	FILE *f = NULL;
	int fd, err = 0;

	if (!c || (size_t)snprintf(c->temporary, sizeof(c->temporary), "%s.XXXXXX", config_path) >=
		  sizeof(c->temporary))
		fail(EXIT_FAILED, "cannot write %s: its name is too long", config_path);
	fd = mkostemp(c->temporary, O_CLOEXEC);
	if (fd >= 0)
		f = fdopen(fd, "w");
	if (!f || fchmod(fd, 0644))
		err = errno;
	if (!err)
		err = write_config(f, want, forget);
	if (f)
		fclose(f);
	if (err) {
		if (fd >= 0)
			unlink(c->temporary);
		fail(err == EACCES || err == EPERM || err == EROFS ? EXIT_DENIED : EXIT_FAILED,
		     "cannot write %s: %s; nothing was changed", config_path, strerror(err));
	}
	return c;
}

/* The file is for the unit, and it is easy to forget to enable that. */
static void check_unit(void)
{
	static const char unit[] = "/etc/systemd/system/multi-user.target.wants/ksmadm.service";
	struct stat st;

	if (!access("/run/systemd/system", F_OK) && lstat(unit, &st) && errno == ENOENT &&
	    !strcmp(config_path, CONFIG_PATH))
		warn("it has no effect at boot before: systemctl enable ksmadm");
}

/* Returns 0 or an error's number; does nothing if @c is NULL. */
int config_commit(struct config *c)
{
	int err = 0;

	if (!c)
		return 0;
	if (rename(c->temporary, config_path))
		err = errno;
	if (err) {
		config_discard(c);
		return err;
	}
	free(c);
	check_unit();
	return 0;
}

void config_discard(struct config *c)
{
	if (!c)
		return;
	unlink(c->temporary);
	free(c);
}
