// SPDX-License-Identifier: GPL-2.0
/*
 * Manages the guests: starts a QEMU for each, sends commands, collects answers,
 * and checks that none dies, while the progress line is updated.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

struct guest guests[MAX_GUESTS];

/* QEMU's standard input and output are the guest's command port */
static void exec_qemu(const struct guest *g, int fd)
{
	char append[512], memory[16], serial[300];
	const unsigned long *mib = opt.layout.mib;
	int log;

	snprintf(append, sizeof(append),
		 "console=ttyS0 quiet panic=-1 reboot=t GUEST=%u COMMON=%lu OWN=%lu ZERO=%lu VOLATILE=%lu",
		 g->nr, mib[REGION_COMMON], mib[REGION_OWN], mib[REGION_ZERO],
		 mib[REGION_VOLATILE]);
	snprintf(memory, sizeof(memory), "%uM", opt.mib);
	snprintf(serial, sizeof(serial), "file:%s", g->log);
	log = open(g->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
	if (log < 0 || dup2(fd, 0) < 0 || dup2(fd, 1) < 0 || dup2(log, 2) < 0)
		_exit(127);
	/*
	 * QEMU's emulated processor offers XSAVE to a guest, but says that its areas
	 * have no size. Linux 7.3 then switches XSAVE off, and crashes.
	 */
	execlp("qemu-system-x86_64", "qemu-system-x86_64",
	       "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
	       "-machine", "microvm,accel=kvm,rtc=on", "-cpu", "host,xsave=off", "-smp", "1",
	       "-m", memory,
	       "-kernel", opt.kernel, "-initrd", opt.initrd, "-append", append,
	       "-serial", serial,
	       "-chardev", "stdio,id=port,signal=off",
	       "-device", "virtio-serial-device",
	       "-device", "virtserialport,chardev=port,nr=1",
	       (char *)NULL);
	fprintf(stderr, "cannot start qemu-system-x86_64: %s\n", strerror(errno));
	_exit(127);
}

static void guest_start(struct guest *g)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		fail("cannot make a socket: %s", strerror(errno));
	snprintf(g->log, sizeof(g->log), "%s/guest-%s-%u.log", opt.dir, opt.name, g->nr);
	g->pid = fork();
	if (g->pid < 0)
		fail("cannot fork: %s", strerror(errno));
	if (g->pid == 0)
		exec_qemu(g, pair[1]);
	close(pair[1]);
	g->fd = pair[0];
	g->asked = true;	/* it says hello of its own accord */
}

/* A guest's kernel probes for counters that it does not have; ignore that */
static void ignore_probing(void)
{
	FILE *f = fopen("/sys/module/kvm/parameters/report_ignored_msrs", "w");

	if (!f)
		return;
	fputs("N\n", f);
	fclose(f);
}

static void guests_kill(void)
{
	unsigned int i;

	for (i = 0; i < opt.guests; i++) {
		if (guests[i].pid <= 0)
			continue;
		kill(guests[i].pid, SIGKILL);
		waitpid(guests[i].pid, NULL, 0);
		guests[i].pid = 0;
	}
}

void guests_start(void)
{
	unsigned int i;

	if (access("/dev/kvm", R_OK | W_OK))
		fail("no /dev/kvm: the kernel needs CONFIG_KVM_AMD, its processor SVM");
	ignore_probing();
	/* However this program ends, including by fail() */
	atexit(guests_kill);
	for (i = 0; i < opt.guests; i++) {
		guests[i].nr = i + 1;
		guest_start(&guests[i]);
	}
}

void guest_ask(struct guest *g, const char *command)
{
	g->asked = true;
	g->answered = false;
	g->len = 0;
	if (dprintf(g->fd, "%s\n", command) < 0)
		fail("guest %u is gone: see %s", g->nr, g->log);
}

/* Reads what a guest sent; false when its QEMU has closed the port */
static bool guest_read(struct guest *g)
{
	char c;

	for (;;) {
		ssize_t n = recv(g->fd, &c, 1, MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		if (c == '\n') {
			g->answer[g->len] = '\0';
			g->answered = true;
			g->len = 0;
		} else if (g->len < sizeof(g->answer) - 1) {
			g->answer[g->len++] = c;
		}
	}
}

static void guest_died(struct guest *g)
{
	int status = 0;

	waitpid(g->pid, &status, 0);
	g->pid = 0;
	if (WIFSIGNALED(status))
		fail("guest %u died: signal %d ended its QEMU; see %s", g->nr, WTERMSIG(status),
		     g->log);
	fail("guest %u died: its QEMU left with status %d; see %s", g->nr, WEXITSTATUS(status),
	     g->log);
}

/* Waits a moment for any guest; only a leaving guest may close its port */
static void guests_pump(bool leaving)
{
	struct pollfd pfd[MAX_GUESTS];
	unsigned int i;

	for (i = 0; i < opt.guests; i++) {
		pfd[i].fd = guests[i].fd;	/* poll skips those below zero */
		pfd[i].events = POLLIN;
		pfd[i].revents = 0;
	}
	poll(pfd, opt.guests, 200);
	progress();
	for (i = 0; i < opt.guests; i++) {
		if (!pfd[i].revents || guest_read(&guests[i]))
			continue;
		if (!leaving)
			guest_died(&guests[i]);
		close(guests[i].fd);
		guests[i].fd = -1;
	}
}

/* True if every guest that was asked answers "command ..." within the limit */
bool guests_answer(const char *command, double limit)
{
	double end = now() + limit;
	size_t len = strlen(command);
	unsigned int i, waiting = 1;

	while (waiting) {
		if (now() > end)
			return false;
		guests_pump(false);
		for (i = 0, waiting = 0; i < opt.guests; i++)
			waiting += guests[i].asked && !guests[i].answered;
	}
	for (i = 0; i < opt.guests; i++) {
		struct guest *g = &guests[i];

		if (g->asked && (strncmp(g->answer, command, len) || g->answer[len] != ' '))
			fail("guest %u answered '%s' to '%s'", g->nr, g->answer, command);
		g->asked = false;
	}
	return true;
}

void guests_idle(double seconds)
{
	double end = now() + seconds;

	while (now() < end)
		guests_pump(false);
}

/* True if every guest switches itself off and its QEMU exits successfully */
bool guests_leave(double limit)
{
	double end = now() + limit;
	unsigned int i, open = opt.guests;
	bool clean = true;

	for (i = 0; i < opt.guests; i++)
		guest_ask(&guests[i], "off");
	while (open && now() < end) {
		guests_pump(true);
		for (i = 0, open = 0; i < opt.guests; i++)
			open += guests[i].fd >= 0;
	}
	for (i = 0; i < opt.guests; i++) {
		int status;

		if (guests[i].fd >= 0) {
			clean = false;
			continue;
		}
		if (waitpid(guests[i].pid, &status, 0) != guests[i].pid || status)
			clean = false;
		guests[i].pid = 0;
	}
	guests_kill();
	return clean;
}
