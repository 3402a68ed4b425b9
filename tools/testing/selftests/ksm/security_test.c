// SPDX-License-Identifier: GPL-2.0
/*
 * Who may change what, and who may know what: other users may do neither; and
 * nobody gets to see the fingerprints, which are keyed for a reason.
 */

#include "ksm_fixture.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define DIR_OF_KSM "/sys/kernel/mm/ksm"
#define TRACING "/sys/kernel/tracing"
#define INSTANCE TRACING "/instances/ksm-security"
#define N 64
#define NOBODY 65534
#define PROGRAM "/tmp/ksm-security-test"

/* Calls a function for each file of /sys/kernel/mm/ksm; the first error of all. */
static int each_file(int (*fn)(const char *path))
{
	DIR *dir = opendir(DIR_OF_KSM);
	struct dirent *d;
	int err = dir ? 0 : -errno;
	int files = 0;

	while (!err && (d = readdir(dir))) {
		char path[300];

		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), DIR_OF_KSM "/%s", d->d_name);
		err = fn(path);
		if (err)
			printf("# %s: %d\n", path, err);
		files++;
	}
	if (dir)
		closedir(dir);
	return err ? err : files < 15 ? -ENOENT : 0;
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		_exit(99);
	/*
	 * As if that user had started it, so that its files in /proc are its
	 * own.
	 */
	prctl(PR_SET_DUMPABLE, 1);
}

/* The result of a function run by an unprivileged user, 0 to 98. */
static int as_nobody(int (*fn)(const void *arg), const void *arg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		become_nobody();
		_exit(fn(arg));
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ----------------------------------------------------------------- sysfs */

static int is_roots(const char *path)
{
	struct stat st;
	int mode;

	if (stat(path, &st))
		return -errno;
	mode = st.st_mode & 07777;
	return st.st_uid || st.st_gid || (mode != 0444 && mode != 0644) ? -EPERM : 0;
}

KSM_TEST(files_are_roots)
{
	struct stat st;

	EXPECT_EQ(0, each_file(is_roots));
	ASSERT_EQ(0, stat(DIR_OF_KSM, &st));
	EXPECT_EQ(0755, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
}

static int refuses_writing(const char *path)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0)
		return -EEXIST;
	if (errno != EACCES)
		return -errno;
	return chmod(path, 0666) && errno == EPERM ? 0 : -EPERM;
}

/* A number, or the advisor's names; nothing left over after the string's end. */
static int is_text(const char *path)
{
	char text[4096];
	ssize_t n, i;
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text));
	close(fd);
	if (n < 2 || n > 32 || text[n - 1] != '\n')
		return -EINVAL;
	for (i = 0; i < n - 1; i++)
		if (!isalnum(text[i]) && !strchr("-[] ", text[i]))
			return -EILSEQ;
	return 0;
}

static int tries_sysfs(const void *unused)
{
	if (each_file(refuses_writing))
		return 1;
	return each_file(is_text) ? 2 : 0;
}

KSM_TEST(others_read_only)
{
	EXPECT_EQ(0, as_nobody(tries_sysfs, NULL));
	EXPECT_EQ(0, each_file(is_text));
}

/* Root of a user namespace is nobody here. */
static int tries_sysfs_in_namespace(const void *unused)
{
	if (unshare(CLONE_NEWUSER))
		return 98;
	return tries_sysfs(NULL);
}

KSM_TEST(root_of_a_namespace_reads_only)
{
	int ret = as_nobody(tries_sysfs_in_namespace, NULL);

	if (ret == 98)
		SKIP(return, "no user namespaces");
	EXPECT_EQ(0, ret);
}

/* ------------------------------------------------------- other processes */

static int tries_proc(const void *arg)
{
	static const char * const files[] = {
		"ksm_stat", "ksm_merging_pages", "smaps", "smaps_rollup", "pagemap",
		"clear_refs",
	};
	const struct peer *p = arg;
	char path[64];
	size_t i;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char c;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/%s", p->pid, files[i]);
		/* Some can be opened, and fail when they are read. */
		fd = open(path, O_RDONLY);
		if (fd >= 0 && read(fd, &c, 1) > 0)
			return i + 1;
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

static int tries_frames(const void *unused)
{
	char *mem = mem_map(1);

	page_fill(mem, 1);
	/* Otherwise it could see which pages are shared. */
	if (!access("/proc/kpageflags", R_OK) || !access("/proc/kpagecount", R_OK))
		return 1;
	if (pagemap_entry(0, mem) & PAGEMAP_PFN)
		return 2;
	return access(TRACING "/events/ksm", R_OK) ? 0 : 3;
}

KSM_TEST(other_users_processes_are_closed)
{
	struct peer p;

	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 1, 0));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	EXPECT_EQ(0, as_nobody(tries_proc, &p));
	EXPECT_EQ(0, as_nobody(tries_frames, NULL));
	EXPECT_EQ(0, peer_end(&p));
}

struct target {
	struct peer *p;
	int pidfd;
	int advice;
};

/* 0: refused */
static int tries_process_madvise(const void *arg)
{
	const struct target *t = arg;
	struct iovec iov = { t->p->mem, t->p->pages * PAGE_BYTES };

	if (syscall(SYS_process_madvise, t->pidfd, &iov, 1, t->advice, 0) >= 0)
		return 1;
	return errno == EPERM || errno == EACCES || errno == EINVAL ? 0 : 2;
}

static bool peer_is_mergeable(struct peer *p)
{
	unsigned long start, end;
	bool inside = false, found = false;
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", p->pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (uintptr_t)p->mem >= start && (uintptr_t)p->mem < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, " mg ");
	}
	if (f)
		fclose(f);
	return found;
}

/* Nobody can offer another process's memory, or withdraw it, not even root. */
KSM_TEST(process_madvise)
{
	static const int advice[] = { MADV_MERGEABLE, MADV_UNMERGEABLE };
	struct target t;
	struct peer p;
	size_t i;

	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 1, 0));
	t.p = &p;
	t.pidfd = syscall(SYS_pidfd_open, p.pid, 0);
	if (t.pidfd < 0)
		SKIP(peer_end(&p); return, "no pidfd");
	for (i = 0; i < 2; i++) {
		t.advice = advice[i];
		EXPECT_EQ(0, as_nobody(tries_process_madvise, &t));
		EXPECT_EQ(0, tries_process_madvise(&t));
		EXPECT_EQ(i == 1, peer_is_mergeable(&p));
		ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	}
	close(t.pidfd);
	EXPECT_EQ(0, peer_end(&p));
}

/* ------------------------------------------------------------------ prctl */

/* Offering one's own memory takes no privilege, in either way. */
static int offers_its_own(const void *unused)
{
	char *mem = mem_map(N);

	mem_fill(mem, N, 20, 0);
	if (madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE) || !vma_has_flag(mem, "mg"))
		return 1;
	if (madvise(mem, N * PAGE_BYTES, MADV_UNMERGEABLE) || vma_has_flag(mem, "mg"))
		return 2;
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) || !vma_has_flag(mem, "mg"))
		return 3;
	if (prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) != 1)
		return 4;
	if (prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0) || vma_has_flag(mem, "mg"))
		return 5;
	return 0;
}

KSM_TEST(own_memory)
{
	EXPECT_EQ(0, as_nobody(offers_its_own, NULL));
}

/*
 * The next test runs this program, as root again: its caller has offered its
 * memory, which the manual warns about. It can take that back.
 */
static int after_exec(void)
{
	char *mem = mem_map(N);

	if (geteuid() || prctl(PR_GET_DUMPABLE))
		return 10;
	if (prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) != 1 || !vma_has_flag(mem, "mg"))
		return 11;
	if (prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0))
		return 12;
	return vma_has_flag(mem, "mg") ? 13 : 0;
}

static int runs_setuid(const void *unused)
{
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		return 1;
	execl(PROGRAM, PROGRAM, "after-exec", NULL);
	return 2;
}

static int copy_program(void)
{
	int from = open("/proc/self/exe", O_RDONLY), to;
	char buf[4096];
	ssize_t n;

	unlink(PROGRAM);
	to = open(PROGRAM, O_WRONLY | O_CREAT | O_EXCL, 0700);
	if (from < 0 || to < 0)
		return -errno;
	while ((n = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, n) != n)
			return -EIO;
	close(from);
	return fchmod(to, 04755) || close(to) ? -errno : 0;
}

KSM_TEST(prctl_over_setuid_exec)
{
	ASSERT_EQ(0, copy_program());
	EXPECT_EQ(0, as_nobody(runs_setuid, NULL));
	EXPECT_EQ(0, unlink(PROGRAM));
}

/* ------------------------------------------------------------ fingerprints */

/*
 * A fingerprint is a random number of 64 bits. One in thirty thousand could
 * look like something else that is shown, a count or an address.
 */
static size_t count_odd_numbers(FILE *f, size_t *numbers)
{
	char line[1024], *p;
	size_t odd = 0;

	while (f && fgets(line, sizeof(line), f)) {
		for (p = line; *p; ) {
			char *end;
			uint64_t value;

			if (!isxdigit(*p)) {
				p++;
				continue;
			}
			errno = 0;
			value = strtoull(p, &end, strspn(p, "0123456789") ==
					 strspn(p, "0123456789abcdefABCDEF") ? 10 : 16);
			++*numbers;
			if (value >> 48 && value >> 48 != 0xffff) {
				if (!odd++)
					printf("# not to be shown: %s", line);
			}
			p = end;
		}
	}
	return odd;
}

static size_t odd_in(const char *path, size_t *numbers)
{
	FILE *f = fopen(path, "re");
	size_t odd = count_odd_numbers(f, numbers);

	if (f)
		fclose(f);
	return odd;
}

static size_t odd, numbers;

static int count_in_file(const char *path)
{
	odd += odd_in(path, &numbers);
	return 0;
}

/* The whole life of many contents, and everything that can be read about it. */
KSM_TEST(no_fingerprint_is_shown)
{
	char path[64];
	struct peer p;

	if (access(TRACING "/events/ksm", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (access(TRACING "/events/ksm", F_OK))
		SKIP(return, "no tracing");
	ASSERT_TRUE(!mkdir(INSTANCE, 0700) || errno == EEXIST);
	ASSERT_EQ(0, file_write(INSTANCE "/events/ksm/enable", "1"));
	ASSERT_EQ(0, ksm_set("max_page_sharing", 2));
	ASSERT_EQ(0, peer_start(&p, 4 * N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 100, 1));
	ASSERT_EQ(0, peer_fill(&p, N, N, 100, 1));
	ASSERT_EQ(0, peer_fill(&p, 2 * N, N, 100, 1));
	ASSERT_EQ(0, peer_fill(&p, 3 * N, N, 1000, 1));
	ASSERT_EQ(0, peer_madvise(&p, 0, 4 * N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, each_file(count_in_file));
	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", p.pid);
	odd += odd_in(path, &numbers);
	snprintf(path, sizeof(path), "/proc/%d/smaps", p.pid);
	odd += odd_in(path, &numbers);
	ASSERT_EQ(0, peer_fill(&p, 0, 2 * N, 500, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(0, ksm_set("run", 2));
	ASSERT_EQ(0, peer_end(&p));
	ASSERT_EQ(0, file_write(INSTANCE "/events/ksm/enable", "0"));
	/* Raw, the fields as they lie there. */
	ASSERT_EQ(0, file_write(INSTANCE "/options/raw", "1"));
	odd += odd_in(INSTANCE "/trace", &numbers);
	ASSERT_EQ(0, file_write(INSTANCE "/options/raw", "0"));
	odd += odd_in(INSTANCE "/trace", &numbers);
	TH_LOG("%zu numbers seen", numbers);
	EXPECT_LT(1000, numbers);
	EXPECT_EQ(0, odd);
	EXPECT_EQ(0, rmdir(INSTANCE));
}

/* Such a number is found, wherever it is. */
KSM_TEST(a_fingerprint_would_be_found)
{
	char text[] = "ksmd-42 [000] d..1. 12.345: ksm_x: pfn 77 MM 00000000DEADBEEF\n"
		      "key 0x9fb21c651e98df25, pfn 1\n";
	char decimal[] = "key=11508026023013244709\n";
	size_t n = 0;
	FILE *f = fmemopen(text, strlen(text), "r");

	ASSERT_NE(NULL, f);
	EXPECT_EQ(1, count_odd_numbers(f, &n));
	fclose(f);
	f = fmemopen(decimal, strlen(decimal), "r");
	ASSERT_NE(NULL, f);
	EXPECT_EQ(1, count_odd_numbers(f, &n));
	fclose(f);
	EXPECT_LT(8, n);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "after-exec"))
		return after_exec();
	return test_harness_run(argc, argv);
}
