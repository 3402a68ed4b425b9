// SPDX-License-Identifier: GPL-2.0
/*
 * Unprivileged users make random calls with mostly legal arguments on their
 * memory, beside a ksmd at full speed. The content of that memory does not
 * matter, but the kernel has to stay healthy. KSM_FUZZ_SECONDS and
 * KSM_FUZZ_SEED set the length (20) and the course (by time).
 */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "ksm_env.h"

#define USERS 5
#define NOBODY 65534
/* Where most calls go: half of it is mapped at the beginning. */
#define ARENA_PAGES 2048
#define LENGTH_MAX 1024
/*
 * Never executable: if random bytes contain a far return (0xcb) by a user,
 * QEMU's emulation turns it into a kernel fault.
 */
#define PROTECTIONS (PROT_READ | PROT_WRITE)
#define SHORT_LIFE 400
#define LONG_LIFE 2000
#define PATTERNS 64
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

#define CALLS_MAX 32

static struct fuzz_shared {
	uint64_t tried[CALLS_MAX];
	uint64_t worked[CALLS_MAX];
	uint64_t lives;
	pid_t pid[USERS];
	char *arena;
	int patterns;
	int memfd;
} *fuzz;

static uint64_t random_state;
static int depth;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

#define PICK(array) ((array)[draw(sizeof(array) / sizeof((array)[0]))])

/* One in this many arguments is not what the interface expects. */
static bool odd_one(void)
{
	return draw(50) == 0;
}

static char *any_address(void)
{
	if (odd_one())
		return (char *)(uintptr_t)(draw(1ULL << 47) & -PAGE_BYTES);
	return PAGE(fuzz->arena, draw(ARENA_PAGES)) + (odd_one() ? draw(PAGE_BYTES) : 0);
}

static size_t any_length(void)
{
	static const size_t pages[] = { 1, 2, 3, 8, 16, 100, 512, LENGTH_MAX };

	if (odd_one())
		return draw(1ULL << 48);
	return PICK(pages) * PAGE_BYTES;
}

static pid_t any_process(void)
{
	pid_t pid = draw(2) ? fuzz->pid[draw(USERS)] : getpid();

	return pid ? pid : getpid();
}

static long do_madvise(void)
{
	/* MERGEABLE is 12, so that there is something to do; no POPULATE of all. */
	static const int advice[] = { 12, 12, 12, 12, 13, 4, 8, 20, 21, 14, 15, 25, 0, 1, 2, 10,
				      11, 16, 17, 18, 19, 22, 23 };

	return syscall(SYS_madvise, any_address(), any_length(),
		       odd_one() ? (int)draw(120) : PICK(advice));
}

static long do_prctl(void)
{
	static const int option[] = { PR_SET_MEMORY_MERGE, PR_SET_MEMORY_MERGE,
				      PR_GET_MEMORY_MERGE, PR_SET_THP_DISABLE,
				      0x53564d41 /* PR_SET_VMA, to name a mapping */ };
	int which = PICK(option);

	if (which == 0x53564d41)
		return prctl(which, 0, any_address(), any_length(), draw(2) ? "fuzz" : NULL);
	return prctl(which, which == PR_GET_MEMORY_MERGE ? 0 : draw(odd_one() ? 4 : 2), 0, 0,
		     odd_one());
}

static long do_mremap(void)
{
	static const int flags[] = { 0, 1, 1, 1 | 2, 1 | 2, 1 | 4, 1 | 2 | 4 };
	size_t length = any_length();
	long at;

	at = syscall(SYS_mremap, any_address(), draw(8) ? length : 0,
		     draw(2) ? length : any_length(), odd_one() ? draw(16) : PICK(flags),
		     any_address());
	return at == -1 ? -1 : 0;
}

static long do_mmap(void)
{
	static const int kind[] = { ANONYMOUS, ANONYMOUS, ANONYMOUS | MAP_NORESERVE,
				    ANONYMOUS | MAP_POPULATE, ANONYMOUS | MAP_GROWSDOWN,
				    ANONYMOUS | MAP_LOCKED, MAP_SHARED | MAP_ANONYMOUS,
				    MAP_PRIVATE, MAP_SHARED };
	int flags = PICK(kind) | (draw(8) ? MAP_FIXED : 0);
	int fd = flags & MAP_ANONYMOUS ? -1 : fuzz->memfd;
	long at;

	at = syscall(SYS_mmap, any_address(), any_length(),
		     draw(4) ? PROTECTIONS : draw(PROTECTIONS + 1),
		     odd_one() ? (int)draw(1 << 20) : flags, fd, draw(16) * PAGE_BYTES);
	return at == -1 ? -1 : 0;
}

static long do_process_madvise(void)
{
	static const int advice[] = { 20, 21, 25, 3, 12, 13 };
	struct iovec iov[3] = { { any_address(), any_length() }, { any_address(), any_length() },
				{ any_address(), any_length() } };
	int fd = syscall(SYS_pidfd_open, any_process(), 0);
	long ret;

	ret = syscall(SYS_process_madvise, fd, iov, 1 + draw(3), PICK(advice), odd_one());
	close(fd);
	return ret;
}

/* Few contents, read by the kernel: it returns EFAULT if nothing is mapped. */
static long do_fill(void)
{
	static char *address;
	size_t pages = 1 + draw(32);
	long n = -1;

	for (address = any_address(); pages--; address += PAGE_BYTES)
		if (pread(fuzz->patterns, address, PAGE_BYTES, draw(PATTERNS) * PAGE_BYTES) > 0)
			n = 0;
	return n;
}

static long do_other(int call)
{
	struct iovec mine = { any_address(), any_length() };
	struct iovec theirs = { any_address(), any_length() };

	return syscall(call, any_process(), &mine, 1, &theirs, 1, 0);
}

static long do_mlock(void)
{
	if (draw(2))
		return syscall(SYS_munlock, any_address(), any_length());
	return syscall(SYS_mlock2, any_address(), draw(16) * PAGE_BYTES, draw(2));
}

static long do_move_pages(void)
{
	int node[4], status[4];
	void *page[4];
	size_t i;

	for (i = 0; i < 4; i++) {
		page[i] = any_address();
		node[i] = draw(odd_one() ? 100 : 2);
	}
	return syscall(SYS_move_pages, odd_one() ? any_process() : 0, 4UL, page,
		       draw(4) ? node : NULL, status, 2);
}

static long do_mbind(void)
{
	unsigned long mask = 1 + draw(3);

	return syscall(SYS_mbind, any_address(), any_length(), draw(5), &mask, 64UL, draw(4));
}

static long do_splice(void)
{
	struct iovec iov = { any_address(), PAGE_BYTES * (1 + draw(4)) };
	int fds[2];
	long n;

	if (pipe(fds))
		return -1;
	n = vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK);
	if (n > 0 && draw(2))
		n = syscall(SYS_readv, fds[0], &iov, 1);
	close(fds[0]);
	close(fds[1]);
	return n;
}

static void live(int n) __attribute__((noreturn));

static long do_fork(void)
{
	pid_t pid;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (depth > 2)
		return -1;
	pid = fork();
	if (pid == 0) {
		depth++;
		random_state += 0x9e3779b97f4a7c15ULL * depth;
		live(draw(SHORT_LIFE));
	}
	return pid < 0 ? -1 : 0;
}

static long do_fork_exit(void)
{
	pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	/*
	 * By the bare system call, without the C library's work, and gone at
	 * once.
	 */
	if (pid == 0)
		syscall(SYS_exit_group, 0);
	return pid < 0 ? -1 : 0;
}

static long do_munmap(void)
{
	return syscall(SYS_munmap, any_address(), draw(32) * PAGE_BYTES);
}

static long do_mprotect(void)
{
	return syscall(SYS_mprotect, any_address(), any_length(), draw(PROTECTIONS + 1));
}

static long do_read_other(void)
{
	return do_other(SYS_process_vm_readv);
}

static long do_write_other(void)
{
	return do_other(SYS_process_vm_writev);
}

static long do_brk(void)
{
	return syscall(SYS_brk, odd_one() ? any_address() : NULL) ? 0 : -1;
}

/* Calls that come first are made most often. */
#define OFTEN 5
static const struct {
	const char *name;
	long (*call)(void);
} calls[] = {
	{ "madvise", do_madvise },
	{ "read into memory", do_fill },
	{ "mmap", do_mmap },
	{ "mremap", do_mremap },
	{ "mprotect", do_mprotect },
	{ "munmap", do_munmap },
	{ "prctl", do_prctl },
	{ "fork", do_fork },
	{ "fork and exit", do_fork_exit },
	{ "process_madvise", do_process_madvise },
	{ "process_vm_readv", do_read_other },
	{ "process_vm_writev", do_write_other },
	{ "mlock", do_mlock },
	{ "move_pages", do_move_pages },
	{ "mbind", do_mbind },
	{ "vmsplice", do_splice },
	{ "brk", do_brk },
};

#define CALLS ((int)(sizeof(calls) / sizeof(calls[0])))

/* Lives until it dies of what it did to itself, or of old age. */
static void live(int n)
{
	while (n-- > 0) {
		int call = draw(draw(3) ? OFTEN : CALLS);
		bool worked;

		__atomic_add_fetch(&fuzz->tried[call], 1, __ATOMIC_RELAXED);
		worked = calls[call].call() >= 0;
		__atomic_add_fetch(&fuzz->worked[call], worked, __ATOMIC_RELAXED);
	}
	_exit(0);
}

static void become_nobody(void)
{
	struct rlimit memory = { 512 << 20, 512 << 20 }, processes = { 60, 60 };
	struct rlimit none = { 0, 0 };

	mem_make_own();
	setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_NPROC, &processes);
	setrlimit(RLIMIT_CORE, &none);
	if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		_exit(99);
	/* So that they may look into each other's memory */
	prctl(PR_SET_DUMPABLE, 1);
}

static void start(int user, uint64_t seed, pid_t group)
{
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, group);
		become_nobody();
		random_state = seed * 0x9e3779b97f4a7c15ULL + user + 1;
		madvise(fuzz->arena, ARENA_PAGES / 2 * PAGE_BYTES, MADV_MERGEABLE);
		live(draw(1 + draw(LONG_LIFE)));
	}
	setpgid(pid, group ? group : pid);
	fuzz->pid[user] = pid;
	fuzz->lives++;
}

static int make_patterns(void)
{
	static char page[PAGE_BYTES];
	int fd = memfd_create("patterns", 0);
	int i;

	for (i = 0; i < PATTERNS; i++) {
		page_fill(page, i % 8);
		if (write(fd, page, PAGE_BYTES) != (ssize_t)PAGE_BYTES)
			return -1;
	}
	return fd;
}

static long number_from(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtol(text, NULL, 0) : otherwise;
}

/* On a slow machine, some calls may not have had their turn in the usual time. */
#define MOST_SECONDS 300

static bool all_have_worked(void)
{
	int i;

	for (i = 0; i < CALLS; i++)
		if (!__atomic_load_n(&fuzz->worked[i], __ATOMIC_RELAXED))
			return false;
	return true;
}

/* All are of one group, which is there as long as one of them is. */
static long run_users(long seed, double end)
{
	double most = seconds_now() + MOST_SECONDS;
	long sharing = 0;
	pid_t group, pid;
	int i;

	start(0, seed, 0);
	group = fuzz->pid[0];
	for (i = 1; i < USERS; i++)
		start(i, seed, group);
	while (seconds_now() < end ||
	       (seconds_now() < most && !(sharing && all_have_worked()))) {
		pid = waitpid(-1, NULL, WNOHANG);
		for (i = 0; pid > 0 && i < USERS; i++)
			if (fuzz->pid[i] == pid)
				start(i, ++seed, kill(-group, 0) ? 0 : group);
		if (ksm_read("pages_sharing") > sharing)
			sharing = ksm_read("pages_sharing");
		if (pid <= 0)
			sleep_ms(10);
	}
	kill(-group, SIGKILL);
	for (i = 0; i < USERS; i++)
		kill(-fuzz->pid[i], SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	return sharing;
}

KSM_TEST(random_calls)
{
	long seed = number_from("KSM_FUZZ_SEED", time(NULL));
	long sharing;
	int i;

	TH_LOG("KSM_FUZZ_SEED=%ld", seed);
	fuzz = mmap(NULL, sizeof(*fuzz), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, fuzz);
	/*
	 * With room after it, so that calls that begin in it do not hit
	 * libraries.
	 */
	fuzz->arena = mem_map(ARENA_PAGES + LENGTH_MAX);
	fuzz->patterns = make_patterns();
	fuzz->memfd = memfd_create("fuzz", 0);
	ASSERT_LE(0, fuzz->patterns);
	ASSERT_EQ(0, ftruncate(fuzz->memfd, 64 * PAGE_BYTES));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("max_page_sharing", 16));
	ASSERT_EQ(0, ksm_set("run", 1));
	sharing = run_users(seed, seconds_now() + number_from("KSM_FUZZ_SECONDS", 20));
	TH_LOG("%llu lives, up to %ld pages sharing", (unsigned long long)fuzz->lives, sharing);
	for (i = 0; i < CALLS; i++) {
		TH_LOG("%8llu %s, %llu succeeded", (unsigned long long)fuzz->tried[i],
		       calls[i].name, (unsigned long long)fuzz->worked[i]);
		EXPECT_LT(0, fuzz->worked[i]);
	}
	/* Otherwise nothing was tested. */
	EXPECT_LT(0, sharing);
}

TEST_HARNESS_MAIN
