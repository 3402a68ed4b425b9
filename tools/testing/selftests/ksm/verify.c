// SPDX-License-Identifier: GPL-2.0
/* What the kernel finds when it verifies KSM; see verify.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verify.h"

#define VERIFY_FILE "/sys/kernel/debug/ksm/verify"

bool verify_there(void)
{
	return !access(VERIFY_FILE, R_OK);
}

/* All of the file, as one walk has written it. */
static int read_all(char *text, size_t size)
{
	int fd = open(VERIFY_FILE, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;
	int err = 0;

	if (fd < 0)
		return -errno;
	while (n > 0 && len < size - 1) {
		n = read(fd, text + len, size - 1 - len);
		if (n < 0)
			err = -errno;
		else
			len += n;
	}
	close(fd);
	text[len] = '\0';
	return err;
}

static int read_verdict(char *text, size_t size)
{
	char *line, *save;
	char *end;
	int err;

	err = read_all(text, size);
	if (err)
		return err;
	end = strstr(text, "verify: ok\n");
	if (end && (end == text || end[-1] == '\n') && !end[strlen("verify: ok\n")])
		return 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		printf("# ksm: %s\n", line);
	fflush(stdout);
	return -EUCLEAN;
}

int verify_now(void)
{
	static char text[1 << 16];

	return verify_there() ? read_verdict(text, sizeof(text)) : 0;
}

long verify_figure(const char *name)
{
	static char text[1 << 16];
	size_t len = strlen(name);
	char *at;
	int err;

	err = read_verdict(text, sizeof(text));
	if (err)
		return err;
	at = strstr(text, "counted: ");
	while (at) {
		at += strcspn(at, " ");
		at += strspn(at, " ");
		if (!strncmp(at, name, len) && at[len] == ' ')
			return strtol(at + len, NULL, 10);
		at = strchr(at, ',');
	}
	return -ENOENT;
}
