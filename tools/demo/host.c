// SPDX-License-Identifier: GPL-2.0
/*
 * The demonstration itself, which runs in the VM: guests under KVM, ksmd that
 * merges their memory, checks that nothing was lost or leaked, and the report.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

#include "demo.h"

/* In seconds */
#define BOOT_LIMIT	120.0
#define WORK_LIMIT	60.0
#define SETTLE_LIMIT	75.0
#define LEAVE_LIMIT	30.0
#define EMPTY_LIMIT	20.0
/* Full scans that change less than one per cent. Some pages are skipped in eight. */
#define QUIET_SCANS	10
#define QUIET_SECONDS	3.0

struct options opt = {
	.name = "kernel",
	.dir = ".",
	.guests = 3,
	.mib = 128,
	.layout.mib = {
		[REGION_COMMON] = 32,
		[REGION_OWN] = 16,
		[REGION_ZERO] = 8,
		[REGION_VOLATILE] = 1,
	},
};

/*
 * The pace that suits a host with guests, and zero pages. All else is as it is
 * after boot, in every kernel of the comparison.
 */
static void start_ksmd(void)
{
	ksm_write("pages_to_scan", 4000);
	ksm_write("sleep_millisecs", 20);
	ksm_write("use_zero_pages", 1);
	ksm_write("run", 1);
}

static void boot_guests(void)
{
	stage("booting guests");
	guests_start();
	if (!guests_answer("hello", BOOT_LIMIT))
		fail("a guest did not boot within %.0f s: see %s", BOOT_LIMIT, guests[0].log);
}

static void tell_all(const char *command)
{
	unsigned int i;

	for (i = 0; i < opt.guests; i++)
		guest_ask(&guests[i], command);
	if (!guests_answer(command, WORK_LIMIT))
		fail("a guest did not end '%s' within %.0f s", command, WORK_LIMIT);
}

static void tell_one(struct guest *g, const char *command)
{
	guest_ask(g, command);
	if (!guests_answer(command, WORK_LIMIT))
		fail("guest %u did not end '%s' within %.0f s", g->nr, command, WORK_LIMIT);
}

/* Samples taken while the guests settled, at most every 0.2 s */
static struct sample history[512];
static unsigned int nr_history;

static void find_95_percent(struct result *r)
{
	unsigned long goal = saved_pages(&r->settled) / 100 * 95;
	unsigned int i;

	r->found = r->settled;
	for (i = nr_history; i-- && saved_pages(&history[i]) >= goal;)
		r->found = history[i];
}

static bool settle(struct result *r)
{
	double end = now() + SETTLE_LIMIT, quiet_since = now();
	unsigned int quiet = 0;
	struct sample last;

	stage("merging");
	take_sample(&last);
	while (now() < end) {
		unsigned long saved, before = saved_pages(&last);
		struct sample s;

		guests_idle(0.2);
		take_sample(&s);
		if (nr_history < sizeof(history) / sizeof(history[0]))
			history[nr_history++] = s;
		if (s.scans == last.scans)
			continue;
		saved = saved_pages(&s);
		if (labs((long)(saved - before)) * 100 < (long)saved) {
			quiet += s.scans - last.scans;
		} else {
			quiet = 0;
			quiet_since = s.time;
		}
		last = s;
		if (quiet >= QUIET_SCANS && s.time - quiet_since >= QUIET_SECONDS)
			break;
	}
	take_sample(&r->settled);
	find_95_percent(r);
	return quiet >= QUIET_SCANS;
}

static void measure(struct result *r)
{
	unsigned long items = 0;
	unsigned int i;

	for (i = 0; i < opt.guests; i++) {
		r->resident_kib += guest_resident_kib(guests[i].pid);
		items += guest_rmap_items(guests[i].pid);
	}
	r->metadata_source = "counted by the kernel";
	if (ksm_try_read("metadata_bytes", &r->metadata))
		return;
	/*
	 * Linux's own KSM does not report it: 64 bytes an rmap_item, and a
	 * stable node
	 */
	r->metadata_source = "estimate: 64 bytes an rmap_item and a stable node";
	r->metadata = 64 * (items + r->settled.shared + r->settled.chains);
}

static unsigned long expected_sum(unsigned int guest, bool written)
{
	unsigned long page[PAGE_WORDS], sum = 0, i;
	enum region r;

	for (r = 0; r < REGION_VOLATILE; r++) {
		for (i = 0; i < opt.layout.mib[r] * MIB_PAGES; i++) {
			pattern_fill(page, r, guest, i);
			if (written)
				pattern_patch(page, r, guest, i);
			sum = pattern_sum(sum, page);
		}
	}
	return sum;
}

/* Guests up to number "written" have written their own values, the others not */
static bool verify_all(unsigned int written)
{
	bool good = true;
	unsigned int i;

	tell_all("verify");
	for (i = 0; i < opt.guests; i++) {
		struct guest *g = &guests[i];
		unsigned long sum = 0;
		char verdict[8] = "";
		bool ok, same;

		ok = sscanf(g->answer, "verify %7s %lx", verdict, &sum) == 2 &&
		     !strcmp(verdict, "ok");
		same = sum == expected_sum(g->nr, g->nr <= written);
		if (ok && same)
			continue;
		good = false;
		say("guest %u: %s%s", g->nr, g->answer,
		    ok == same ? "" : " (its verdict and its checksum disagree)");
	}
	return good;
}

/*
 * In a self-test, one bit of one guest's memory is wrong during the check. If
 * the check succeeds even so, it cannot fail at all.
 */
static bool verified(unsigned int written, const char *what)
{
	struct guest *victim = &guests[opt.guests - 1];
	bool found;

	stage("verifying");
	if (opt.self_test) {
		tell_one(victim, "corrupt");
		found = !verify_all(written);
		tell_one(victim, "mend");
		if (!check(found, "a wrong bit is found when %s", what))
			return false;
	}
	return check(verify_all(written), "%s", what);
}

/*
 * Memory that is the same in all guests because of how they were filled. This
 * does not include zero-filled memory: when the base splits a huge page, it
 * maps the zero page for its zero-filled pages, and no counter of KSM shows
 * that.
 */
static unsigned long known_duplicates(void)
{
	return MIB_PAGES * (opt.guests - 1) * opt.layout.mib[REGION_COMMON];
}

/* Once ksmd has passed over it, every written page is private again */
static bool taken_apart(unsigned long saved_before)
{
	unsigned long limit = saved_before - known_duplicates() / 100 * 95;
	double end = now() + WORK_LIMIT;
	struct sample s;

	stage("unsharing");
	do {
		guests_idle(0.2);
		take_sample(&s);
	} while (saved_pages(&s) > limit && now() < end);
	return saved_pages(&s) <= limit;
}

static bool isolation(const struct result *r)
{
	unsigned int i;
	bool good;

	stage("writing");
	tell_one(&guests[0], "write");
	good = verified(1, "guest 1 wrote to shared pages: no other guest sees it");
	stage("writing");
	for (i = 1; i < opt.guests; i++)
		guest_ask(&guests[i], "write");
	if (!guests_answer("write", WORK_LIMIT))
		fail("a guest did not end 'write' within %.0f s", WORK_LIMIT);
	good &= verified(opt.guests, "all guests wrote: each reads exactly its own values");
	good &= check(taken_apart(saved_pages(&r->settled)),
		      "the pages written to are no longer shared");
	return good;
}

static bool no_pages(const struct sample *s)
{
	return !(s->shared | s->sharing | s->unshared | s->volatiles | s->zero);
}

static bool all_zero(const struct sample *s)
{
	return no_pages(s) && !(s->chains | s->dups);
}

static bool empty(void)
{
	double end = now() + EMPTY_LIMIT;
	struct sample s;

	stage("clearing");
	do {
		guests_idle(0.2);
		take_sample(&s);
	} while (!all_zero(&s) && !(opt.keeps_chains && no_pages(&s)) && now() < end);
	if (opt.keeps_chains && no_pages(&s) && !all_zero(&s)) {
		say("%lu chains with %lu dups are left of no page: removed by run=2", s.chains,
		    s.dups);
		ksm_write("run", 2);
		take_sample(&s);
	}
	if (all_zero(&s))
		return check(true, "with the guests gone all counters are zero again");
	say("shared %lu, sharing %lu, unshared %lu, volatile %lu, zero %lu, chains %lu, dups %lu",
	    s.shared, s.sharing, s.unshared, s.volatiles, s.zero, s.chains, s.dups);
	return check(false, "the guests are gone, but the counters above are not zero after %.0f s",
		     EMPTY_LIMIT);
}

static bool demonstrate(void)
{
	struct result r = { 0 };
	bool good;

	start_ksmd();
	boot_guests();
	stage("filling");
	tell_all("fill");
	take_sample(&r.filled);
	r.in_time = settle(&r);
	measure(&r);
	good = check(saved_pages(&r.settled) >= known_duplicates() / 100 * 95,
		     "what the guests have in common is merged: %lu pages of %lu known, and more",
		     saved_pages(&r.settled), known_duplicates());
	good &= verified(0, "every guest finds the memory that it filled");
	good &= isolation(&r);
	stage("switching off");
	good &= check(guests_leave(LEAVE_LIMIT), "every guest switched itself off");
	good &= empty();
	ksm_write("run", 0);
	return report_out(&r) && good;
}

static unsigned int positive(const char *text, const char *name, unsigned long max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || !value || value > max)
		fail("--%s takes a number from 1 to %lu", name, max);
	return value;
}

int main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "name", required_argument, NULL, 'n' },
		{ "dir", required_argument, NULL, 'd' },
		{ "guests", required_argument, NULL, 'g' },
		{ "tty", no_argument, NULL, 't' },
		{ "self-test", no_argument, NULL, 's' },
		{ "keeps-chains", no_argument, NULL, 'c' },
		{ 0 }
	};
	int c;

	/* What is written elsewhere is lost when the VM ends */
	if (getenv("VM_SHARE"))
		opt.dir = getenv("VM_SHARE");
	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case 'k':
			opt.kernel = optarg;
			break;
		case 'i':
			opt.initrd = optarg;
			break;
		case 'n':
			opt.name = optarg;
			break;
		case 'd':
			opt.dir = optarg;
			break;
		case 'g':
			opt.guests = positive(optarg, "guests", MAX_GUESTS);
			break;
		case 't':
			opt.tty = true;
			break;
		case 's':
			opt.self_test = true;
			break;
		case 'c':
			opt.keeps_chains = true;
			break;
		default:
			return 2;
		}
	}
	if (!opt.kernel || !opt.initrd || optind != argc)
		fail("it is tools/demo/demo that starts this program: see its --help");
	return demonstrate() ? 0 : 1;
}
