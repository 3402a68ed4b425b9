// SPDX-License-Identifier: GPL-2.0
/*
 * Does to guests whose memory is merged what QEMU does with guest memory: it
 * logs which pages are written to, handles page faults in user space, saves
 * memory while the guest runs, and returns it to the host. Each byte is checked
 * by the guest, and by a sum that is computed here. Prints TAP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../demo/pattern.h"
#include "qemu.h"

#define KSM "/sys/kernel/mm/ksm/"
#define SOCKET "unix:/tmp/guests-migration"
#define SNAPSHOT "/tmp/guests-snapshot"

/* In seconds */
#define BOOT 600
#define WORK 600
#define SETTLE 300
#define BEGIN 120

struct settings settings = {
	.dir = ".",
	.common = 24,
	.own = 8,
	.zero = 8,
	.unsteady = 1,
};

static unsigned int number;
static bool failed;

static void result(bool good, const char *what)
{
	printf("%s %u %s\n", good ? "ok" : "not ok", ++number, what);
	fflush(stdout);
	failed |= !good;
}

/* ------------------------------------------------------------ the kernel's */

static long read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	long value = -1;

	if (f && fscanf(f, "%ld", &value) != 1)
		value = -1;
	if (f)
		fclose(f);
	return value;
}

static void ksm_set(const char *name, long value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), KSM "%s", name);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%ld\n", value) < 0 || fclose(f))
		die("cannot write %s", path);
}

static long ksm_get(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), KSM "%s", name);
	return read_number(path);
}

/* Pages of this QEMU that are KSM pages. */
static long merged(const struct qemu *q)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", q->pid);
	return read_number(path);
}

/* Memory of this QEMU, including KSM pages, in KiB. */
static long resident(const struct qemu *q)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", q->pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* Waits until most or all memory that the guests have in common is merged. */
static bool settled(const struct qemu *q)
{
	long goal = settings.common * MIB_PAGES / 10 * 9;
	double until = now() + SETTLE;

	while (merged(q) < goal && now() < until)
		nap(0.2);
	printf("# %s: %ld pages are merged\n", q->name, merged(q));
	return merged(q) >= goal;
}

/* -------------------------------------------------------------- the guests' */

static unsigned long expected_sum(unsigned int guest, bool written)
{
	unsigned long page[PAGE_WORDS], sum = 0, i;
	const unsigned long mib[] = {
		[REGION_COMMON] = settings.common,
		[REGION_OWN] = settings.own,
		[REGION_ZERO] = settings.zero,
	};
	unsigned int r;

	for (r = 0; r < REGION_VOLATILE; r++) {
		for (i = 0; i < mib[r] * MIB_PAGES; i++) {
			pattern_fill(page, r, guest, i);
			if (written)
				pattern_patch(page, r, guest, i);
			sum = pattern_sum(sum, page);
		}
	}
	return sum;
}

static bool verified(struct qemu *q, bool written)
{
	unsigned long sum, want = expected_sum(q->nr, written);

	if (!guest_does(q, "verify", WORK))
		return false;
	if (sscanf(q->answer, "verify ok %lx", &sum) == 1 && sum == want)
		return true;
	printf("# guest %s: %s, but the sum is to be %lx\n", q->name, q->answer, want);
	return false;
}

/* Fills the guest again, as equal to the other one as possible. */
static bool refilled(struct qemu *q)
{
	return guest_does(q, "fill", WORK) && settled(q);
}

/* --------------------------------------------------------------- migration */

static bool can(struct qemu *q, const char *name, bool on)
{
	return qmp(q,
		   "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": [{\"capability\": \"%s\", \"state\": %s}]}}\n",
		   name, on ? "true" : "false");
}

static bool bandwidth(struct qemu *q, const char *which, unsigned long mib)
{
	return qmp(q, "{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"%s\": %lu}}\n",
		   which, mib << 20);
}

static bool send_to(struct qemu *q, const char *to)
{
	return qmp(q, "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"%s\"}}\n", to);
}

static bool status_is(struct qemu *q, const char *status)
{
	char text[64];

	if (!qmp(q, "{\"execute\": \"query-migrate\"}\n"))
		return false;
	snprintf(text, sizeof(text), "\"status\": \"%s\"", status);
	return strstr(q->reply, text);
}

static bool becomes(struct qemu *q, const char *status, double seconds)
{
	double until = now() + seconds;

	while (!status_is(q, status)) {
		if (now() > until || strstr(q->reply, "\"status\": \"failed\"")) {
			printf("# %s is not %s: %s\n", q->name, status, q->reply);
			return false;
		}
		nap(0.1);
	}
	return true;
}

/*
 * While its memory migrates, the guest writes to everything that is merged. The
 * writes are logged by page, and sent once more.
 */
static bool move_with_log(struct qemu *from, struct qemu *to)
{
	qemu_start(to, "second", from->nr, SOCKET);
	/* So little that it is not over before the guest has written */
	if (!bandwidth(from, "max-bandwidth", 2) || !send_to(from, SOCKET) ||
	    !becomes(from, "active", BEGIN))
		return false;
	/* A part of what it writes to has been sent. */
	nap(4);
	if (!guest_does(from, "write", WORK) || !status_is(from, "active")) {
		printf("# it was over before the guest had written\n");
		return false;
	}
	if (!bandwidth(from, "max-bandwidth", 1024) || !becomes(from, "completed", WORK))
		return false;
	printf("# %lld rounds, %lld pages\n", qmp_number(from, "dirty-sync-count"),
	       qmp_number(from, "normal"));
	qemu_end(from);
	return true;
}

/*
 * The guest continues at once, and its memory follows: page faults wait in
 * userfaultfd for their pages, and ksmd merges that memory as it arrives.
 */
static bool move_and_follow(struct qemu *from, struct qemu *to)
{
	qemu_start(to, "third", from->nr, SOCKET);
	if (!can(to, "postcopy-ram", true) || !can(from, "postcopy-ram", true) ||
	    !bandwidth(from, "max-bandwidth", 4) ||
	    !bandwidth(from, "max-postcopy-bandwidth", 8) || !send_to(from, SOCKET) ||
	    !becomes(from, "active", BEGIN))
		return false;
	nap(1);
	if (!qmp(from, "{\"execute\": \"migrate-start-postcopy\"}\n") ||
	    !becomes(from, "postcopy-active", BEGIN))
		return false;
	/* It reads all of its memory, which has not arrived yet. */
	if (!verified(to, false))
		return false;
	if (!becomes(from, "completed", WORK))
		return false;
	printf("# %lld page faults waited for their page\n",
	       qmp_number(from, "postcopy-requests"));
	if (qmp_number(from, "postcopy-requests") <= 0)
		return false;
	qemu_end(from);
	return true;
}

/*
 * The moment that a snapshot is of lies behind the change to "active": the guest is
 * stopped for it after that. When memory is written out, it is over.
 */
static bool snapshot_begins(struct qemu *q)
{
	double until = now() + BEGIN;

	while (status_is(q, "active")) {
		if (qmp_number(q, "transferred") >= 1 << 20)
			return true;
		if (now() > until)
			break;
		nap(0.1);
	}
	printf("# it did not begin, or has ended: %s\n", q->reply);
	return false;
}

/*
 * Saves the memory of one moment while the guest continues. A write to a page
 * that is not saved yet waits, by the write protection of userfaultfd.
 */
static bool write_out(struct qemu *q)
{
	/* It inherits a capability from its source that rules this one out. */
	if (!can(q, "postcopy-ram", false) || !can(q, "background-snapshot", true) ||
	    !bandwidth(q, "max-bandwidth", 8) || !send_to(q, "exec:cat >" SNAPSHOT) ||
	    !becomes(q, "active", BEGIN) || !snapshot_begins(q) ||
	    !guest_does(q, "write", WORK))
		return false;
	if (!bandwidth(q, "max-bandwidth", 1024) || !becomes(q, "completed", WORK))
		return false;
	return can(q, "background-snapshot", false);
}

/* ----------------------------------------------------------------- balloon */

static bool resize(struct qemu *q, unsigned long mib)
{
	double until = now() + WORK;

	if (!qmp(q, "{\"execute\": \"balloon\", \"arguments\": {\"value\": %lu}}\n", mib << 20))
		return false;
	do {
		if (!qmp(q, "{\"execute\": \"query-balloon\"}\n"))
			return false;
		if (qmp_number(q, "actual") == (long long)mib << 20)
			return true;
		nap(0.2);
	} while (now() < until);
	printf("# the balloon came to %lld bytes\n", qmp_number(q, "actual"));
	return false;
}

/* -------------------------------------------------------------------- tests */

static struct qemu first, other, second, third, copy;

static void end_all(void)
{
	qemu_end(&first);
	qemu_end(&other);
	qemu_end(&second);
	qemu_end(&third);
	qemu_end(&copy);
	unlink(SNAPSHOT);
}

static void boot_both(void)
{
	bool good;

	qemu_start(&first, "first", 1, NULL);
	qemu_start(&other, "other", 2, NULL);
	if (!guest_answers(&first, "hello", BOOT) || !guest_answers(&other, "hello", BOOT))
		die("a guest did not boot; see %s/first.console", settings.dir);
	good = guest_does(&first, "fill", WORK) && guest_does(&other, "fill", WORK);
	good = good && settled(&first) && settled(&other);
	result(good, "guests are merged");
	if (!good)
		die("nothing to test");
}

static void test_migrations(void)
{
	bool good = move_with_log(&first, &second);

	result(good && verified(&second, true) && verified(&other, false),
	       "migration with a log of what is written");
	if (!good)
		die("the guest is lost");
	good = refilled(&second) && move_and_follow(&second, &third);
	result(good && verified(&third, false) && verified(&other, false),
	       "migration with memory to follow");
	if (!good)
		die("the guest is lost");
}

static void test_snapshot(void)
{
	bool good = settled(&third) && write_out(&third) && verified(&third, true) &&
		    verified(&other, false);

	result(good, "a snapshot while the guest writes");
	/* As at the beginning, in another QEMU. */
	if (good) {
		qemu_start(&copy, "copy", third.nr, "exec:cat " SNAPSHOT);
		good = verified(&copy, false) && guest_does(&copy, "write", WORK) &&
		       verified(&copy, true) && verified(&third, true);
		qemu_end(&copy);
	}
	result(good, "the snapshot has what was there when it began");
}

static void test_balloon(void)
{
	bool good = refilled(&third) && resize(&third, GUEST_MIB - 32) &&
		    verified(&third, false);

	good = good && resize(&third, GUEST_MIB) && verified(&third, false);
	good = good && guest_does(&third, "write", WORK) && verified(&third, true);
	result(good && verified(&other, false), "a balloon takes memory and gives it back");

	good = guest_does(&third, "more", WORK) && guest_does(&other, "more", WORK) &&
	       guest_does(&third, "less", WORK) && verified(&third, true);
	good = good && guest_does(&third, "more", WORK) && guest_does(&third, "less", WORK);
	good = good && guest_does(&other, "less", WORK);
	result(good && verified(&third, true) && verified(&other, false),
	       "guests free memory, and take it again");
}

/*
 * Free pages that a guest reports are taken from it, merged or not. Here it
 * frees 16 MiB, most of which stays free.
 */
static void test_reporting(void)
{
	double until;
	long before;
	bool good;

	good = guest_does(&third, "more", WORK) && guest_does(&other, "more", WORK) &&
	       settled(&third);
	before = resident(&third);
	good = good && guest_does(&third, "less", WORK);
	until = now() + SETTLE;
	while (good && resident(&third) > before - 8 * 1024 && now() < until)
		nap(0.5);
	printf("# %ld KiB, and %ld when 16 MiB were freed\n", before, resident(&third));
	good = good && resident(&third) <= before - 8 * 1024;
	/* And again with the pages that were reported. */
	good = good && guest_does(&third, "more", WORK) && guest_does(&third, "less", WORK) &&
	       guest_does(&other, "less", WORK);
	result(good && verified(&third, true) && verified(&other, false),
	       "free pages that guests report are given back");
}

static void test_end(void)
{
	double until = now() + 30;
	long left;

	end_all();
	do {
		nap(0.2);
		left = ksm_get("pages_shared") + ksm_get("pages_sharing") +
		       ksm_get("pages_unshared") + ksm_get("ksm_zero_pages");
	} while (left && now() < until);
	if (left)
		printf("# %ld pages are still counted\n", left);
	result(!left, "with the guests gone nothing is counted");
	ksm_set("run", 0);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: guests KERNEL INITRD; see tools/test/guests/run\n");
		return 2;
	}
	settings.kernel = argv[1];
	settings.initrd = argv[2];
	if (getenv("VM_SHARE"))
		settings.dir = getenv("VM_SHARE");
	printf("TAP version 13\n1..9\n");
	if (access("/dev/kvm", R_OK | W_OK))
		die("no /dev/kvm: the kernel needs CONFIG_KVM_AMD, its processor SVM");
	atexit(end_all);
	ksm_set("pages_to_scan", 4000);
	ksm_set("sleep_millisecs", 20);
	ksm_set("use_zero_pages", 1);
	ksm_set("run", 1);
	boot_both();
	test_migrations();
	test_snapshot();
	test_balloon();
	test_reporting();
	test_end();
	return failed;
}
