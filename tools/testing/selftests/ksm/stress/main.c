// SPDX-License-Identifier: GPL-2.0
/*
 * Integrity under stress: sets up a run, keeps its processes going, and judges
 * the result; see stress.h. --help tells how to run it by hand.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"

#include "../ksm_env.h"
#include "../leaks.h"
#include "stress.h"

#define SELF_TEST_SECONDS 30
/* Report an operation that takes longer than this. */
#define SLOW_SECONDS 8
/* Extra time for operations that were not made yet */
#define MORE_SECONDS 600
/* Time for the lives to end once they are told to; a debug kernel is slow. */
#define END_SECONDS 600
/* How often to report what was done, so that it is not lost with the machine. */
#define COUNTS_SECONDS 30

static const char usage[] =
"Usage: stress_test [--seconds N] [--seed N] [--without OPERATION]...\n"
"\n"
"Processes whose every page bears a stamp and a checksum, beside ksmd and all\n"
"operations that meet KSM, in random order. What each process does follows from\n"
"the seed.\n"
"  --seconds N  how long (60, or KSM_STRESS_SECONDS)\n"
"  --seed N     by the time, or KSM_STRESS_SEED\n"
"  --without OPERATION  leave it out; the counts at the end have the names\n"
"Needs root. Ends with the counts of each operation.\n";

struct config {
	uint64_t seed;
	long seconds;
	bool flip;
};

/* ------------------------------------------------------------------ setup */

static void share_memory(void)
{
	shared_fd = memfd_create("stress", 0);
	if (shared_fd < 0 || ftruncate(shared_fd, sizeof(*shared)))
		ksft_exit_fail_msg("memfd: %s\n", strerror(errno));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	if (shared == MAP_FAILED)
		ksft_exit_fail_msg("mmap: %s\n", strerror(errno));
}

/* A file of stamped blocks, and the device over it that is read with O_DIRECT. */
static void make_file(void)
{
	char *block = shared->buffer[0][0];
	size_t i;

	shared->file_fd = memfd_create("stress file", 0);
	for (i = 0; i < FILE_BLOCKS; i++) {
		struct identity id = { OWNER_FILE, i * PAGE_BYTES, 2 };

		page_build(block, &id);
		if (write(shared->file_fd, block, PAGE_BYTES) != (ssize_t)PAGE_BYTES)
			ksft_exit_fail_msg("memfd: %s\n", strerror(errno));
	}
	shared->loop_fd = loop_open(shared->file_fd);
	if (shared->loop_fd >= 0)
		fcntl(shared->loop_fd, F_SETFD, 0);
}

static void run_prepare(const struct config *config)
{
	memset(shared, 0, sizeof(*shared));
	shared->seed = config->seed;
	shared->flip = config->flip;
	shared->flipped_page = -1;
	shared->bad_page = -1;
	/* Enough to happen often, and few enough not to be missed. */
	shared->may_break = config->flip ? 0 : 8 + config->seconds / 10;
	swap_start();
	make_file();
	ops_probe();
	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 100000);
	ksm_set("max_page_sharing", 16);
	ksm_set("run", 1);
	shared->start = seconds_now();
}

static void run_clean_up(void)
{
	loop_close(shared->loop_fd);
	close(shared->file_fd);
	swap_stop();
	ksm_knobs_default();
	unpoison_all();
	blocks_online();
	machine_restore();
	unpoison_all();
}

/* -------------------------------------------------------------- processes */

/*
 * As its own program: a process that shares pages with this one could merge
 * them, and they would be KSM pages here until this one ends.
 */
static pid_t start(int index, uint64_t number)
{
	char which[16], fd[16], nth[32];
	pid_t pid;

	fflush(stdout);
	shared->life[index].used = 1;
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(which, sizeof(which), "%d", index);
	snprintf(fd, sizeof(fd), "%d", shared_fd);
	snprintf(nth, sizeof(nth), "%llu", (unsigned long long)number);
	execl("/proc/self/exe", "stress_test", "--live", which, fd, nth, NULL);
	abort();
}

static void ended(pid_t *pid, uint64_t *number, pid_t who, int status, bool restart)
{
	int i;

	for (i = 0; i <= CHAOS && pid[i] != who; i++)
		;
	/* Otherwise it is the child of a failed life, which became ours */
	if (i > CHAOS)
		return;
	pid[i] = 0;
	if (status && !shared->failed) {
		snprintf(shared->reason, sizeof(shared->reason), "life %d: status 0x%x", i,
			 status);
		printf("# %s\n", shared->reason);
		ops_print_recent(&shared->life[i]);
		shared->failed = true;
	}
	life_free(&shared->life[i]);
	if (restart && !stress_stops())
		pid[i] = start(i, ++number[i]);
}

static void print_stack(pid_t pid)
{
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stack", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		printf("#       %s", line);
	if (f)
		fclose(f);
}

/* Operations that take long are worth a look, but no fault in themselves. */
static void report_slow(void)
{
	static double last[CHAOS + 1];
	double now = seconds_now() - shared->start;
	int i;

	for (i = 0; i <= CHAOS; i++) {
		struct life *life = &shared->life[i];
		struct recent *recent = &life->recent[(life->nr_ops - 1) % RECENT];

		if (!life->pid || !life->nr_ops || recent->result != 1 ||
		    now - recent->when < SLOW_SECONDS || now - last[i] < SLOW_SECONDS)
			continue;
		last[i] = now;
		printf("# %.3f s: life %d, %s takes %.0f s by now\n", now, i,
		       stress_ops[recent->op].name, now - recent->when);
		print_stack(life->pid);
		fflush(stdout);
	}
}

/* A life that does not end hangs in the kernel: which one, in which operation? */
static void report_hung(void)
{
	int i;

	for (i = 0; i < LIVES; i++) {
		struct life *life = &shared->life[i];

		if (!life->used || !life->pid || kill(life->pid, 0))
			continue;
		printf("# life %d, pid %d, does not end\n", i, life->pid);
		if (!shared->failed)
			snprintf(shared->reason, sizeof(shared->reason),
				 "life %d, pid %d, does not end", i, life->pid);
		shared->failed = true;
		ops_print_recent(life);
		print_stack(life->pid);
	}
	fflush(stdout);
	file_write("/proc/sysrq-trigger", "w");
	shared->failed = true;
}

static long sharing_most;

/* Has all happened that has to? What finds the flipped byte ends the run. */
static bool has_done_all(const struct config *config)
{
	return !config->flip && sharing_most > 0 && !ops_missing();
}

/* Runs and watches; false if anything failed. */
static bool run(const struct config *config)
{
	uint64_t number[CHAOS + 1] = { 0 };
	pid_t pid[CHAOS + 1];
	double end = seconds_now() + config->seconds;
	double told = seconds_now();
	double now;
	int status;
	pid_t who;
	int i;

	for (i = 0; i <= CHAOS; i++)
		pid[i] = start(i, 0);
	for (;;) {
		who = waitpid(-1, &status, WNOHANG);
		if (who < 0)
			break;
		if (who > 0) {
			ended(pid, number, who, status, true);
			continue;
		}
		if (ksm_read("pages_sharing") > sharing_most)
			sharing_most = ksm_read("pages_sharing");
		report_slow();
		sleep_ms(20);
		now = seconds_now();
		if (!config->flip && now - told > COUNTS_SECONDS) {
			ops_print_counts();
			told = now;
		}
		/* On a slow machine, some may not have had their turn. */
		if (now > end && (has_done_all(config) || now > end + MORE_SECONDS))
			shared->stop = true;
		if (now > end + MORE_SECONDS + END_SECONDS) {
			report_hung();
			break;
		}
	}
	return !shared->failed;
}

/* ---------------------------------------------------------------- verdicts */

/* The stress must notice a single wrong byte, or it proves nothing. */
static bool finds_flipped_byte(uint64_t seed)
{
	struct config config = { .seed = seed, .seconds = SELF_TEST_SECONDS, .flip = true };
	bool found;

	printf("# a byte is flipped, which must be found; not a fault:\n");
	run_prepare(&config);
	found = !run(&config) && shared->flipped_page >= 0 &&
		shared->bad_page == shared->flipped_page;
	run_clean_up();
	return found;
}

static long broken_kb(void)
{
	return file_read_key("/proc/meminfo", "HardwareCorrupted");
}

static bool all_is_zero(long zero_before)
{
	struct ksm_counters c;
	long objects;
	bool zero;

	/* Pages that nobody uses any more may be in the batches of some CPU. */
	file_write("/proc/sys/vm/drop_caches", "3");
	zero = ksm_wait_zero(&c, zero_before);
	objects = ksm_slabs_wait_empty();
	if (objects > 0)
		printf("# %ld objects are left in slabs of KSM\n", objects);
	if (!zero || objects > 0)
		print_ksm_frames();
	return zero && objects <= 0;
}

static bool frames_are_whole(long broken_before)
{
	if (broken_kb() <= broken_before)
		return true;
	printf("# broken: %ld kB, before it were %ld\n", broken_kb(), broken_before);
	return false;
}

static int dropped(void)
{
	int n = 0;
	size_t i;

	for (i = 0; i < nr_stress_ops; i++)
		n += !!op_dropped(i);
	return n;
}

/* Each by name, so that anybody who knows which are expected notices any other. */
static void report_dropped(void)
{
	char name[64];
	size_t i;

	for (i = 0; i < nr_stress_ops; i++) {
		if (!op_dropped(i))
			continue;
		snprintf(name, sizeof(name), "operation: %s", stress_ops[i].name);
		ksft_test_result_code(KSFT_SKIP, name, "%s", op_dropped(i));
	}
	fflush(stdout);
}

static void test_stress(const struct config *config)
{
	bool fine;
	int missing;

	run_prepare(config);
	fine = run(config);
	printf("# %.0f s: %llu lives, %llu pages written, %llu checked, up to %ld sharing\n",
	       seconds_now() - shared->start, (unsigned long long)shared->ended,
	       (unsigned long long)shared->writes, (unsigned long long)shared->reads,
	       sharing_most);
	printf("# frames broken: %ld, and pages lost with them: %ld\n", shared->nr_broken,
	       shared->lost);
	ops_report();
	ops_print_counts();
	missing = ops_missing();
	if (!fine)
		printf("# first to fail: %s\n", shared->reason);
	fflush(stdout);
	ksft_test_result(fine && sharing_most > 0 && shared->reads, "every_page_is_right\n");
	ksft_test_result(!missing, "every_operation_was_done\n");
	run_clean_up();
}

static void usage_exit(int status)
{
	fputs(usage, status ? stderr : stdout);
	exit(status);
}

static void parse(int argc, char **argv, struct config *config)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'S' },
		{ "without", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	const char *seconds = getenv("KSM_STRESS_SECONDS");
	const char *seed = getenv("KSM_STRESS_SEED");
	int option;

	config->seconds = seconds && *seconds ? atol(seconds) : 60;
	config->seed = seed && *seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			config->seconds = atol(optarg);
			break;
		case 'S':
			config->seed = strtoull(optarg, NULL, 0);
			break;
		case 'w':
			if (!ops_without(optarg))
				usage_exit(2);
			break;
		default:
			usage_exit(option == 'h' ? 0 : 2);
		}
	}
}

/* "--live INDEX FD [NUMBER]": what a life that called exec() becomes, or begins as. */
static void live_on(char **argv)
{
	shared_fd = atoi(argv[3]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	if (shared == MAP_FAILED)
		_exit(99);
	if (!argv[4])
		life_after_exec(atoi(argv[2]));
	else if (atoi(argv[2]) == CHAOS)
		life_chaos();
	else
		life_owner(atoi(argv[2]), strtoull(argv[4], NULL, 0));
}

int main(int argc, char **argv)
{
	struct config config = { 0 };
	struct ksm_knobs saved;
	struct memory_use memory_before;
	struct utsname system;
	long zero_before, broken_before;
	bool found;

	if (argc >= 4 && !strcmp(argv[1], "--live"))
		live_on(argv);
	parse(argc, argv, &config);
	ksft_print_header();
	if (!uname(&system))
		printf("# kernel: %s %s\n", system.release, system.version);
	if (geteuid() || !ksm_has("run"))
		ksft_exit_skip("needs root and a kernel with KSM\n");
	printf("# KSM_STRESS_SEED=%llu\n", (unsigned long long)config.seed);
	fflush(stdout);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	share_memory();
	ksm_knobs_save(&saved);
	ksm_knobs_default();
	zero_before = ksm_read("ksm_zero_pages");
	/* It also makes the caches of the machine grow. */
	found = finds_flipped_byte(config.seed);
	/* Only now it is known what can be done here. */
	ksft_set_plan(5 + dropped());
	report_dropped();
	ksft_test_result(found, "finds_a_flipped_byte\n");
	memory_use_now(&memory_before);
	broken_before = broken_kb();
	test_stress(&config);
	ksft_test_result(all_is_zero(zero_before), "nothing_is_left_in_ksm\n");
	ksft_test_result(memory_is_back(&memory_before) && frames_are_whole(broken_before),
			 "memory_is_back\n");
	ksm_knobs_restore(&saved);
	ksft_finished();
}
