// SPDX-License-Identifier: GPL-2.0
/* Starts QEMUs, and talks to them and to their guests; see qemu.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void nap(double seconds)
{
	usleep(seconds * 1e6);
}

void die(const char *format, ...)
{
	va_list args;

	printf("Bail out! ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

static void exec_qemu(const struct qemu *q, int port, const char *incoming)
{
	char append[512], memory[16], serial[300], monitor[300], log[300];
	int fd;

	snprintf(append, sizeof(append),
		 "console=ttyS0 quiet panic=-1 reboot=t page_reporting.page_reporting_order=0 GUEST=%u COMMON=%lu OWN=%lu ZERO=%lu VOLATILE=%lu",
		 q->nr, settings.common, settings.own, settings.zero, settings.unsteady);
	snprintf(memory, sizeof(memory), "%dM", GUEST_MIB);
	snprintf(serial, sizeof(serial), "file:%s/%s.console", settings.dir, q->name);
	snprintf(monitor, sizeof(monitor), "unix:/tmp/%s.qmp,server=on,wait=off", q->name);
	snprintf(log, sizeof(log), "%s/%s.log", settings.dir, q->name);
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
	if (fd < 0 || dup2(port, 0) < 0 || dup2(port, 1) < 0 || dup2(fd, 2) < 0)
		_exit(127);
	/* If nothing is incoming, the last option ends the list. XSAVE: see tools/demo/guest.c. */
	execlp("qemu-system-x86_64", "qemu-system-x86_64", "-nodefaults", "-no-user-config",
	       "-display", "none", "-no-reboot", "-machine", "microvm,accel=kvm,rtc=on", "-cpu",
	       "host,xsave=off", "-smp", "1", "-m", memory, "-kernel", settings.kernel, "-initrd",
	       settings.initrd, "-append", append, "-serial", serial, "-chardev",
	       "stdio,id=port,signal=off", "-device", "virtio-serial-device", "-device",
	       "virtserialport,chardev=port,nr=1", "-device",
	       "virtio-balloon-device,free-page-reporting=on", "-qmp", monitor,
	       incoming ? "-incoming" : (char *)NULL, incoming, (char *)NULL);
	fprintf(stderr, "cannot start qemu-system-x86_64: %s\n", strerror(errno));
	_exit(127);
}

/* Reads a line without its end; false if none comes in time, or at the end. */
static bool read_line(int fd, char *line, size_t size, double until)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	char c;

	for (;;) {
		double left = until - now();

		if (left <= 0 || poll(&pfd, 1, left * 1000 + 1) <= 0)
			return false;
		if (read(fd, &c, 1) != 1)
			return false;
		if (c == '\n')
			break;
		if (len < size - 1)
			line[len++] = c;
	}
	line[len] = '\0';
	return true;
}

/* Reads a reply, and skips events. */
static bool qmp_reply(struct qemu *q)
{
	double until = now() + 60;

	do {
		if (!read_line(q->qmp, q->reply, sizeof(q->reply), until))
			die("%s: QEMU does not answer; see %s/%s.log", q->name, settings.dir,
			    q->name);
	} while (strstr(q->reply, "\"event\":"));
	return !strstr(q->reply, "\"error\":");
}

bool qmp(struct qemu *q, const char *format, ...)
{
	va_list args;
	bool done;

	va_start(args, format);
	if (vdprintf(q->qmp, format, args) < 0)
		die("%s: QEMU is gone; see %s/%s.log", q->name, settings.dir, q->name);
	va_end(args);
	done = qmp_reply(q);
	if (!done)
		printf("# %s: %s\n", q->name, q->reply);
	return done;
}

long long qmp_number(const struct qemu *q, const char *name)
{
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\": ", name);
	at = strstr(q->reply, key);
	return at ? atoll(at + strlen(key)) : -1;
}

static void qmp_connect(struct qemu *q)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	double until = now() + 30;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/%s.qmp", q->name);
	q->qmp = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(q->qmp, (void *)&address, sizeof(address))) {
		if (now() > until)
			die("%s: QEMU did not start; see %s/%s.log", q->name, settings.dir,
			    q->name);
		nap(0.1);
	}
	/* Skip its greeting. */
	qmp_reply(q);
	if (!qmp(q, "{\"execute\": \"qmp_capabilities\"}\n"))
		die("%s: no QMP", q->name);
}

void qemu_start(struct qemu *q, const char *name, unsigned int nr, const char *incoming)
{
	char path[64];
	int pair[2];

	memset(q, 0, sizeof(*q));
	snprintf(q->name, sizeof(q->name), "%s", name);
	q->nr = nr;
	snprintf(path, sizeof(path), "/tmp/%s.qmp", name);
	unlink(path);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("no socket: %s", strerror(errno));
	fflush(stdout);
	q->pid = fork();
	if (q->pid < 0)
		die("cannot fork: %s", strerror(errno));
	if (!q->pid)
		exec_qemu(q, pair[1], incoming);
	close(pair[1]);
	q->port = pair[0];
	qmp_connect(q);
}

void qemu_end(struct qemu *q)
{
	if (q->pid <= 0)
		return;
	kill(q->pid, SIGKILL);
	waitpid(q->pid, NULL, 0);
	close(q->port);
	close(q->qmp);
	q->pid = 0;
}

void guest_tell(struct qemu *q, const char *command)
{
	if (dprintf(q->port, "%s\n", command) < 0)
		die("guest %s is gone; see %s/%s.log", q->name, settings.dir, q->name);
}

bool guest_answers(struct qemu *q, const char *command, double seconds)
{
	size_t len = strlen(command);

	if (!read_line(q->port, q->answer, sizeof(q->answer), now() + seconds)) {
		printf("# guest %s does not answer to '%s'\n", q->name, command);
		return false;
	}
	if (strncmp(q->answer, command, len) || strncmp(q->answer + len, " ok", 3)) {
		printf("# guest %s: %s\n", q->name, q->answer);
		return false;
	}
	return true;
}

bool guest_does(struct qemu *q, const char *command, double seconds)
{
	guest_tell(q, command);
	return guest_answers(q, command, seconds);
}
