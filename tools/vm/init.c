// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of a virtual machine of tools/vm/run. It makes the host's
 * files the root, under a writable layer, runs one command there, passes its
 * output and its status to the host, and switches off.
 *
 * The request and the status are in a directory that the host shares for
 * nothing else, so that no output can be mistaken for either. A bare kernel
 * cannot share files. There, the request and the command's files are in the
 * initramfs, and the status goes to its own port.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define __noreturn	__attribute__((__noreturn__))

#define REQUEST_MAX	(4 << 20)
#define ARGS_MAX	65536
#define ENV_MAX		64
#define PORT_WAIT_MS	20000
/* How long output may still come once the command has ended */
#define DRAIN_MS	100

static struct request {
	char *args[ARGS_MAX + 1];
	char *env[ENV_MAX + 1];
	unsigned int nr_args;
	unsigned int nr_env;
	const char *cwd;
	const char *share;
	/* Second after start when the host is about to lose patience, or 0 */
	long deadline;
	bool bare;
	bool tty;
	bool merge_output;
	unsigned short rows;
	unsigned short columns;
} request;

static int control = -1;

/* Not every kernel here can switch off. For QEMU, a reset is the end as well. */
static void __noreturn power_off(void)
{
	sync();
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void __noreturn die(const char *format, ...)
{
	int error = errno;
	va_list ap;

	fprintf(stderr, "vm-init: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(error));
	fflush(stderr);
	power_off();
}

static void make_dirs(const char *path)
{
	char *copy = strdup(path);
	char *p;

	if (!copy)
		die("no memory");
	for (p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		mkdir(copy, 0755);
		*p = '/';
	}
	mkdir(copy, 0755);
	free(copy);
}

static bool try_mount(const char *source, const char *target, const char *type,
		      unsigned long flags, const char *options)
{
	make_dirs(target);
	return !mount(source, target, type, flags, options);
}

static void must_mount(const char *source, const char *target, const char *type,
		       unsigned long flags, const char *options)
{
	if (!try_mount(source, target, type, flags, options))
		die("cannot mount %s at %s", source, target);
}

static void parse_entry(char *entry)
{
	char *value = strchr(entry, '=');

	if (!value)
		die("malformed request: %s", entry);
	*value++ = '\0';
	if (!strcmp(entry, "arg") && request.nr_args < ARGS_MAX)
		request.args[request.nr_args++] = value;
	else if (!strcmp(entry, "env") && request.nr_env < ENV_MAX)
		request.env[request.nr_env++] = value;
	else if (!strcmp(entry, "cwd"))
		request.cwd = value;
	else if (!strcmp(entry, "share"))
		request.share = value;
	else if (!strcmp(entry, "deadline"))
		request.deadline = atol(value);
	else if (!strcmp(entry, "output"))
		request.merge_output = !strcmp(value, "merged");
	else if (!strcmp(entry, "tty"))
		request.tty = sscanf(value, "%hu %hu", &request.rows,
				     &request.columns) >= 0;
	else
		die("unknown request: %s", entry);
}

/* The request is a sequence of "key=value", each ending in a zero byte. */
static void read_request(void)
{
	char *text = malloc(REQUEST_MAX);
	size_t len = 0;
	ssize_t got;
	char *p, *next;
	int fd;

	control = open(request.bare ? "/" : "/control",
		       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(control, "request", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !text)
		die("cannot read the request");
	while ((got = read(fd, text + len, REQUEST_MAX - len)) > 0)
		len += got;
	close(fd);
	if (!len || text[len - 1])
		die("the request is cut short");
	for (p = text; p < text + len; p = next) {
		next = p + strlen(p) + 1;
		parse_entry(p);
	}
	if (!request.nr_args || !request.cwd)
		die("the request names no command");
}

static int open_port(const char *pattern);

static void write_status(int status)
{
	int fd = request.bare ? open_port("/dev/vport*p3") :
		openat(control, "status", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || dprintf(fd, "status %d\n", status) < 0)
		die("cannot report the status");
	close(fd);
}

static void mount_below(const char *root, const char *target, const char *type,
			const char *options, bool must)
{
	char path[64];

	snprintf(path, sizeof(path), "%s%s", root, target);
	if (!try_mount(type, path, type, 0, options) && must)
		die("cannot mount %s at %s", type, path);
}

/* What any command may expect under its root */
static void mount_system(const char *root)
{
	mount_below(root, "/sys", "sysfs", NULL, true);
	mount_below(root, "/dev/shm", "tmpfs", "mode=1777", true);
	mount_below(root, "/run", "tmpfs", "mode=755", true);
	/* A kernel given by path may lack these */
	mount_below(root, "/sys/fs/cgroup", "cgroup2", NULL, false);
	mount_below(root, "/sys/kernel/debug", "debugfs", NULL, false);
	mount_below(root, "/sys/kernel/tracing", "tracefs", NULL, false);
}

static void mount_roots(void)
{
	/* The host's files do not change under a run, or it may not see it */
	must_mount("host", "/host", "9p", MS_RDONLY,
		   "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	must_mount("layer", "/layer", "tmpfs", 0, "mode=755,size=75%");
	make_dirs("/layer/upper");
	make_dirs("/layer/work");
	must_mount("root", "/root", "overlay", 0,
		   "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work");
	must_mount("proc", "/root/proc", "proc", 0, NULL);
	must_mount("dev", "/root/dev", "devtmpfs", 0, NULL);
	must_mount("pts", "/root/dev/pts", "devpts", 0, "mode=620,ptmxmode=666");
	mount_system("/root");
}

/* By moving, not by chroot alone: a chrooted process may not make a user
 * namespace, which tests and ordinary programs want to.
 */
static void enter_root(void)
{
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		die("cannot enter the root");
	if (request.share)
		must_mount("share", request.share, "9p", 0,
			   "trans=virtio,version=9p2000.L,msize=512000,cache=mmap");
	/* The host has most of them, and devtmpfs none */
	if (symlink("/proc/self/fd", "/dev/fd") ||
	    symlink("/proc/self/fd/0", "/dev/stdin") ||
	    symlink("/proc/self/fd/1", "/dev/stdout") ||
	    symlink("/proc/self/fd/2", "/dev/stderr"))
		die("cannot make the links in /dev");
}

static void start_network(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	/* Without a network the command may still do what it is for */
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		perror("vm-init: no loopback network");
	if (fd >= 0)
		close(fd);
	if (sethostname("ksm-vm", strlen("ksm-vm")))
		perror("vm-init: no host name");
}

/*
 * Ports appear a moment after their driver, so wait for them. Their names
 * contain the number of the device, which depends on the rest of the machine.
 */
static int open_port(const char *pattern)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	int waited, fd = -1;
	glob_t found;

	for (waited = 0; fd < 0 && waited < PORT_WAIT_MS; waited += 5) {
		if (!glob(pattern, 0, NULL, &found)) {
			fd = open(found.gl_pathv[0],
				  O_RDWR | O_CLOEXEC | O_NOCTTY);
			globfree(&found);
		}
		if (fd < 0)
			nanosleep(&pause, NULL);
	}
	if (fd < 0)
		die("cannot open %s", pattern);
	return fd;
}

static void __noreturn run_command(int in, int out, int err)
{
	struct winsize size = { .ws_row = request.rows,
				.ws_col = request.columns };
	sigset_t none;

	setsid();
	if (request.tty) {
		ioctl(in, TIOCSCTTY, 0);
		if (size.ws_row && size.ws_col)
			ioctl(in, TIOCSWINSZ, &size);
	}
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (chdir(request.cwd)) {
		fprintf(stderr, "tools/vm/run: cannot enter %s in the VM: %s\n",
			request.cwd, strerror(errno));
		_exit(127);
	}
	environ = request.env;
	execvp(request.args[0], request.args);
	fprintf(stderr, "tools/vm/run: cannot run %s in the VM: %s\n",
		request.args[0], strerror(errno));
	_exit(127);
}

/* Copies available data between two descriptors; false at the end. */
static bool carry(int from, int to)
{
	char buffer[16384];
	ssize_t got = read(from, buffer, sizeof(buffer));
	ssize_t done = 0, put;

	if (got < 0)
		return errno == EINTR;
	while (done < got) {
		put = write(to, buffer + done, got - done);
		if (put < 0 && errno != EINTR)
			die("cannot pass the output to the host");
		if (put > 0)
			done += put;
	}
	return got > 0;
}

/* Reaps all ended processes; true once the command is among them. */
static bool reap(pid_t command, int *status)
{
	bool ended = false;
	int how;
	pid_t pid;

	while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		ended = true;
		*status = WIFEXITED(how) ? WEXITSTATUS(how) :
			128 + WTERMSIG(how);
	}
	return ended;
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		perror("vm-init: cannot show what hangs");
	if (fd >= 0)
		close(fd);
}

/*
 * Just before the host gives up, write to its log what everyone waits for, and
 * what the CPUs do. The host looks for the first line.
 */
static void check_deadline(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!request.deadline || now.tv_sec < request.deadline)
		return;
	request.deadline = 0;
	write_to("/dev/kmsg", "<6>vm-init: this is what hangs");
	write_to("/proc/sysrq-trigger", "w");
	write_to("/proc/sysrq-trigger", "l");
	write_to("/proc/sysrq-trigger", "m");
}

static void ignore(int signal)
{
	(void)signal;
}

/*
 * After the command has ended, poll for a short while only. Before that, poll
 * until there is output, a child ends (the signal interrupts), or a second has
 * passed.
 */
static int relay(pid_t command, struct pollfd *from, const int *to)
{
	const struct timespec second = { .tv_sec = 1 };
	const struct timespec drain = { .tv_nsec = DRAIN_MS * 1000000L };
	bool ended = false;
	sigset_t none;
	int status = 0;
	int ready, i;

	sigemptyset(&none);
	for (;;) {
		ended |= reap(command, &status);
		check_deadline();
		if (ended && from[0].fd < 0 && from[1].fd < 0)
			break;
		ready = ppoll(from, 2, ended ? &drain : &second, &none);
		if (!ready && ended)
			break;
		for (i = 0; ready > 0 && i < 2; i++) {
			if (!from[i].revents || carry(from[i].fd, to[i]))
				continue;
			close(from[i].fd);
			from[i].fd = -1;
		}
	}
	return status;
}

static int run_request(void)
{
	struct pollfd from[2] = { { .fd = -1 }, { .fd = -1 } };
	int to[2] = { -1, -1 };
	int in, ends[2][2], i;
	pid_t pid;

	if (request.tty) {
		in = open_port("/dev/hvc0");
	} else {
		in = open("/dev/null", O_RDWR | O_CLOEXEC);
		to[0] = open_port("/dev/vport*p1");
		to[1] = open_port("/dev/vport*p2");
	}
	for (i = 0; i < 2; i++) {
		if (pipe2(ends[i], O_CLOEXEC))
			die("no pipe");
		if (!request.tty)
			from[i] = (struct pollfd){ ends[i][0], POLLIN, 0 };
	}
	pid = fork();
	if (pid < 0)
		die("cannot fork");
	if (!pid && request.tty)
		run_command(in, in, in);
	if (!pid)
		run_command(in, ends[0][1],
			    ends[request.merge_output ? 0 : 1][1]);
	for (i = 0; i < 2; i++)
		close(ends[i][1]);
	return relay(pid, from, to);
}

int main(void)
{
	struct sigaction action = { .sa_handler = ignore };
	sigset_t child;
	int status;

	umask(022);
	must_mount("proc", "/proc", "proc", 0, NULL);
	must_mount("dev", "/dev", "devtmpfs", 0, NULL);
	request.bare = !access("/request", F_OK);
	if (!request.bare)
		must_mount("control", "/control", "9p", 0,
			   "trans=virtio,version=9p2000.L");
	read_request();
	if (request.bare) {
		mount_system("");
	} else {
		mount_roots();
		enter_root();
	}
	start_network();

	/* Blocked except while polling, so that no child's end is missed */
	sigaction(SIGCHLD, &action, NULL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);

	status = run_request();
	if (request.share) {
		sync();
		umount2(request.share, MNT_DETACH);
	}
	write_status(status);
	power_off();
}
