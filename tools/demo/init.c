// SPDX-License-Identifier: GPL-2.0
/*
 * The only program of a demo guest. It fills memory by pattern.h, keeps a small
 * part of it changing, and does what the host asks over a virtio-serial port,
 * with one line per command and one line per answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "pattern.h"

static const char port_path[] = "/dev/vport0p1";

static unsigned int guest;
static struct layout layout;
static unsigned char *memory[NR_REGIONS];
static bool written;
static unsigned long rewrites;	/* of the volatile region */
static int port;

static void die(const char *what)
{
	/*
	 * Goes to the console. When init exits, the kernel panics, which the
	 * host sees
	 */
	fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long number(const char *name)
{
	const char *value = getenv(name);

	if (!value) {
		fprintf(stderr, "guest: %s is not on the command line\n", name);
		exit(1);
	}
	return strtoul(value, NULL, 10);
}

static void answer(const char *text)
{
	size_t done = 0, len = strlen(text);

	while (done < len) {
		ssize_t n = write(port, text + done, len - done);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			die(port_path);
		if (n > 0)
			done += n;
	}
}

static unsigned long region_pages(enum region r)
{
	return layout.mib[r] * MIB_PAGES;
}

static unsigned long *page_at(enum region r, unsigned long index)
{
	return (unsigned long *)(memory[r] + index * PAGE_BYTES);
}

static void fill_all(void)
{
	unsigned long i;
	enum region r;

	for (r = 0; r < NR_REGIONS; r++) {
		if (!memory[r])
			memory[r] = mmap(NULL, layout.mib[r] * MIB, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory[r] == MAP_FAILED)
			die("mmap");
		for (i = 0; i < region_pages(r); i++)
			pattern_fill(page_at(r, i), r, guest, i);
	}
	written = false;
	answer("fill ok\n");
}

static void write_own(void)
{
	unsigned long i;
	enum region r;

	for (r = 0; r < REGION_VOLATILE; r++)
		for (i = 0; i < region_pages(r); i++)
			pattern_patch(page_at(r, i), r, guest, i);
	written = true;
	answer("write ok\n");
}

static void verify_all(void)
{
	unsigned long want[PAGE_WORDS], i, sum = 0, bad = 0;
	char first[64] = "", text[160];
	enum region r;

	for (r = 0; r < REGION_VOLATILE; r++) {
		for (i = 0; i < region_pages(r); i++) {
			pattern_fill(want, r, guest, i);
			if (written)
				pattern_patch(want, r, guest, i);
			sum = pattern_sum(sum, page_at(r, i));
			if (!memcmp(want, page_at(r, i), PAGE_BYTES))
				continue;
			if (!bad++)
				snprintf(first, sizeof(first), " first: region %d page %lu", r, i);
		}
	}
	snprintf(text, sizeof(text), "verify %s %lx %lu bad, %lu rewrites%s\n",
		 bad ? "bad" : "ok", sum, bad, rewrites, first);
	answer(text);
}

/* For the demo's self-test: one wrong bit, as after broken isolation */
static void flip(const char *name)
{
	unsigned long i = region_pages(REGION_COMMON) / 2;
	char text[80];

	*page_at(REGION_COMMON, i) ^= 1;
	snprintf(text, sizeof(text), "%s ok\n", name);
	answer(text);
}

static void rewrite_volatile(void)
{
	unsigned long i;

	if (!memory[REGION_VOLATILE])
		return;
	for (i = 0; i < region_pages(REGION_VOLATILE); i++)
		*page_at(REGION_VOLATILE, i) += guest;
	rewrites++;
}

/* More memory with the same content in all guests, for a while. */
#define MORE_PAGES	(16 * MIB_PAGES)
#define MORE_FIRST	(1UL << 20)	/* no region is as large */

static unsigned long *more;

static void take_more(void)
{
	unsigned long i;

	if (!more)
		more = mmap(NULL, MORE_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (more == MAP_FAILED)
		die("mmap");
	for (i = 0; i < MORE_PAGES; i++)
		pattern_fill(more + i * PAGE_WORDS, REGION_COMMON, guest, MORE_FIRST + i);
	answer("more ok\n");
}

/* Checks the memory before giving it back. */
static void give_back(void)
{
	unsigned long want[PAGE_WORDS], i, bad = 0;

	for (i = 0; more && i < MORE_PAGES; i++) {
		pattern_fill(want, REGION_COMMON, guest, MORE_FIRST + i);
		bad += !!memcmp(want, more + i * PAGE_WORDS, PAGE_BYTES);
	}
	if (more)
		munmap(more, MORE_PAGES * PAGE_BYTES);
	more = NULL;
	answer(bad ? "less bad\n" : "less ok\n");
}

static void obey(const char *command)
{
	if (!strcmp(command, "fill"))
		fill_all();
	else if (!memory[REGION_COMMON])
		answer("error: nothing is filled\n");
	else if (!strcmp(command, "verify"))
		verify_all();
	else if (!strcmp(command, "write"))
		write_own();
	else if (!strcmp(command, "corrupt") || !strcmp(command, "mend"))
		flip(command);
	else if (!strcmp(command, "more"))
		take_more();
	else if (!strcmp(command, "less"))
		give_back();
	else if (!strcmp(command, "off"))
		reboot(RB_AUTOBOOT);	/* the host's QEMU exits instead */
	else
		answer("error: no such command\n");
}

static void serve(void)
{
	struct pollfd pfd = { .fd = port, .events = POLLIN };
	char line[64];
	size_t len = 0;

	for (;;) {
		if (poll(&pfd, 1, 50) == 0) {
			rewrite_volatile();
			continue;
		}
		if (read(port, line + len, 1) != 1) {
			usleep(10000);
			continue;
		}
		if (line[len] == '\n') {
			line[len] = '\0';
			len = 0;
			obey(line);
		} else if (len < sizeof(line) - 1) {
			len++;
		}
	}
}

int main(void)
{
	char text[32];

	if (mount("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		die("/dev");
	guest = number("GUEST");
	layout.mib[REGION_COMMON] = number("COMMON");
	layout.mib[REGION_OWN] = number("OWN");
	layout.mib[REGION_ZERO] = number("ZERO");
	layout.mib[REGION_VOLATILE] = number("VOLATILE");
	port = open(port_path, O_RDWR | O_CLOEXEC);
	if (port < 0)
		die(port_path);
	snprintf(text, sizeof(text), "hello ok %u\n", guest);
	answer(text);
	serve();
}
