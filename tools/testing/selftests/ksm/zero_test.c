// SPDX-License-Identifier: GPL-2.0
/* Empty pages merged with the kernel's zero page, counted exactly. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define N 64

static long own_zero_pages(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid ? pid : getpid());
	return file_read_key(path, "ksm_zero_pages");
}

static long own_profit(void)
{
	return file_read_key("/proc/self/ksm_stat", "ksm_process_profit");
}

/* Touched, so that pages of its own are there, and empty. */
static char *empty_pages(size_t pages)
{
	char *mem = mem_map(pages);

	mem_fill(mem, pages, 1, 0);
	mem_fill(mem, pages, 0, 0);
	return madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE) ? NULL : mem;
}

KSM_TEST(merged_and_counted)
{
	char *mem;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem = empty_pages(N);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(0, 0, 0);
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N, own_zero_pages(0));
	EXPECT_EQ(N, mem_count_zero_page(0, mem, N));
	EXPECT_EQ(0, mem_bad(mem, N, 0, 0));
	/* They are the whole gain, less the metadata. */
	EXPECT_LT(N / 2 * (long)PAGE_BYTES, ksm_read("general_profit"));
	EXPECT_GE(N * (long)PAGE_BYTES, ksm_read("general_profit"));
	EXPECT_LT(N / 2 * (long)PAGE_BYTES, own_profit());

	/* Each way to lose one. */
	PAGE(mem, 0)[7] = 1;
	EXPECT_EQ(N - 1, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(7, page_diff(mem, 0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 1), N - 1, 0, 0));
	ASSERT_EQ(0, madvise(PAGE(mem, 1), PAGE_BYTES, MADV_DONTNEED));
	EXPECT_EQ(N - 2, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, munmap(PAGE(mem, 2), 2 * PAGE_BYTES));
	EXPECT_EQ(N - 4, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, madvise(PAGE(mem, 4), 4 * PAGE_BYTES, MADV_UNMERGEABLE));
	EXPECT_EQ(N - 8, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, mem_count_zero_page(0, PAGE(mem, 4), 4));
	EXPECT_EQ(N - 8, own_zero_pages(0));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 4), N - 4, 0, 0));
	ASSERT_EQ(0, ksm_set("run", 2));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, own_zero_pages(0));
	EXPECT_EQ(0, mem_count_zero_page(0, PAGE(mem, 4), N - 4));
	EXPECT_EQ(0, mem_bad(PAGE(mem, 4), N - 4, 0, 0));
}

/* A read fault maps the zero page as well, but that is not KSM's doing. */
KSM_TEST(read_faults_do_not_count)
{
	char *mem = mem_map(N);

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, mem_bad(mem, N, 0, 0));
	ASSERT_EQ(N, mem_count_zero_page(0, mem, N));
	page_fill(PAGE(mem, N / 2), 5);
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, own_zero_pages(0));
	ASSERT_COUNTERS(0, 0, 1);
}

/* Without the setting they are merged like others. It affects only later merges. */
KSM_TEST(setting_is_for_later_merges)
{
	char *mem = empty_pages(N);
	char *more;

	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	more = empty_pages(N);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N, mem_count_zero_page(0, more, N));
	ASSERT_EQ(0, ksm_set("use_zero_pages", 0));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, mem_bad(mem, N, 0, 0));
	EXPECT_EQ(0, mem_bad(more, N, 0, 0));
}

KSM_TEST(over_fork)
{
	struct peer parent, child;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, peer_start(&parent, N));
	ASSERT_EQ(0, peer_fill(&parent, 0, N, 1, 0));
	ASSERT_EQ(0, peer_fill(&parent, 0, N, 0, 0));
	ASSERT_EQ(0, peer_madvise(&parent, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, peer_fork(&parent, &child));
	EXPECT_EQ(2 * N, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N, own_zero_pages(parent.pid));
	EXPECT_EQ(N, own_zero_pages(child.pid));
	ASSERT_EQ(0, peer_fill(&child, 0, 8, 3, 1));
	EXPECT_EQ(2 * N - 8, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, peer_bad(&parent, 0, N, 0, 0));
	EXPECT_EQ(0, peer_bad(&child, 0, 8, 3, 1));
	EXPECT_EQ(0, peer_bad(&child, 8, N - 8, 0, 0));
	ASSERT_EQ(0, peer_munmap(&parent, 0, 16));
	EXPECT_EQ(N - 16, own_zero_pages(parent.pid));
	EXPECT_EQ(N - 8, own_zero_pages(child.pid));
	ASSERT_EQ(0, peer_end(&parent));
	EXPECT_EQ(N - 8, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, peer_bad(&child, 8, N - 8, 0, 0));
	ASSERT_EQ(0, peer_end(&child));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
}

KSM_TEST(moved_mappings)
{
	char *mem, *to;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem = empty_pages(N);
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	to = mmap(NULL, N * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	to = mremap(mem, N * PAGE_BYTES, N * PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_NE(MAP_FAILED, to);
	/* The move may unmerge them, but the count matches the actual pages. */
	EXPECT_EQ(mem_count_zero_page(0, to, N), ksm_read("ksm_zero_pages"));
	EXPECT_EQ(mem_count_zero_page(0, to, N), own_zero_pages(0));
	EXPECT_EQ(0, mem_bad(to, N, 0, 0));
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N, own_zero_pages(0));
	EXPECT_EQ(0, mem_bad(to, N, 0, 0));
	ASSERT_EQ(0, munmap(to, N * PAGE_BYTES));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
}

/* UFFDIO_MOVE moves pages, and their count with them. */
KSM_TEST(moved_by_userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MOVE };
	char *mem, *to = mem_map(N);
	struct uffdio_register reg = {
		.range = { (uintptr_t)to, N * PAGE_BYTES },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_move move = { .dst = (uintptr_t)to, .len = N / 2 * PAGE_BYTES };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		SKIP(return, "no UFFDIO_MOVE");
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	mem = empty_pages(N);
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(N, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	move.src = (uintptr_t)mem;
	ASSERT_EQ(0, ioctl(fd, UFFDIO_MOVE, &move))
		TH_LOG("%s", strerror(errno));
	EXPECT_EQ(N / 2 * PAGE_BYTES, move.move);
	/*
	 * In their new place they are the zero page, but KSM does not count
	 * them.
	 */
	EXPECT_EQ(N / 2, mem_count_zero_page(0, to, N / 2));
	EXPECT_EQ(N / 2, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(N / 2, own_zero_pages(0));
	EXPECT_EQ(0, mem_bad(to, N / 2, 0, 0));
	mem_fill(to, N / 2, 3, 1);
	EXPECT_EQ(N / 2, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, mem_bad(PAGE(mem, N / 2), N / 2, 0, 0));
	close(fd);
	munmap(mem, N * PAGE_BYTES);
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, mem_bad(to, N / 2, 3, 1));
}

/* Each process has its own count, and together they make the total. */
KSM_TEST(per_process)
{
	struct peer p[3];
	int i;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_start(&p[i], N));
		ASSERT_EQ(0, peer_fill(&p[i], 0, N, 1, 0));
		ASSERT_EQ(0, peer_fill(&p[i], 0, N / (i + 1), 0, 0));
		ASSERT_EQ(0, peer_fill(&p[i], N / (i + 1), N - N / (i + 1), 100, 1));
		ASSERT_EQ(0, peer_madvise(&p[i], 0, N, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, ksm_settle());
	EXPECT_EQ(N + N / 2 + N / 3, ksm_read("ksm_zero_pages"));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(N / (i + 1), own_zero_pages(p[i].pid));
	ASSERT_EQ(0, peer_madvise(&p[0], 0, N, MADV_UNMERGEABLE));
	EXPECT_EQ(0, own_zero_pages(p[0].pid));
	EXPECT_EQ(N / 2 + N / 3, ksm_read("ksm_zero_pages"));
	ASSERT_EQ(0, peer_fill(&p[1], 0, 3, 7, 1));
	EXPECT_EQ(N / 2 - 3, own_zero_pages(p[1].pid));
	EXPECT_EQ(N / 3, own_zero_pages(p[2].pid));
	EXPECT_EQ(-SIGKILL, peer_kill(&p[1]));
	EXPECT_EQ(N / 3, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, peer_bad(&p[2], 0, N / 3, 0, 0));
	EXPECT_EQ(0, peer_end(&p[2]));
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
	EXPECT_EQ(0, peer_bad(&p[0], 0, N, 0, 0));
	EXPECT_EQ(0, peer_end(&p[0]));
}

/*
 * Churn: threads write, discard, move and unmerge zero-filled merged memory
 * of one process while it forks. In the end exactly nothing may be counted.
 */
struct churn {
	pthread_t thread;
	unsigned int seed;
	size_t bad;
};

static bool churn_stop;

static unsigned int churn_random(struct churn *c)
{
	c->seed = c->seed * 1664525 + 1013904223;
	return c->seed >> 8;
}

static char *churn_move(char *mem)
{
	char *to = mmap(NULL, N * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *moved;

	moved = mremap(mem, N * PAGE_BYTES, N * PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	return moved == MAP_FAILED ? mem : moved;
}

static void *churn_thread(void *arg)
{
	struct churn *c = arg;
	char *mem = empty_pages(N);

	while (!__atomic_load_n(&churn_stop, __ATOMIC_RELAXED)) {
		size_t first = churn_random(c) % N;
		size_t count = 1 + churn_random(c) % (N - first);
		char *at = PAGE(mem, first);

		switch (churn_random(c) % 8) {
		case 0:
			madvise(at, count * PAGE_BYTES, MADV_DONTNEED);
			break;
		case 1:
			mem = churn_move(mem);
			break;
		case 2:
			madvise(at, count * PAGE_BYTES, MADV_UNMERGEABLE);
			madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE);
			break;
		case 3:
			c->bad += mem_bad(mem, N, 0, 0);
			break;
		default:
			mem_fill(at, count, 9, 0);
			mem_fill(at, count, 0, 0);
			sleep_ms(1);
		}
	}
	munmap(mem, N * PAGE_BYTES);
	return NULL;
}

static void churn_process(unsigned int seconds)
{
	struct churn c[3] = { { .seed = 1 }, { .seed = 2 }, { .seed = 3 } };
	double end = seconds_now() + seconds;
	size_t bad = 0;
	int forks, i;

	for (i = 0; i < 3; i++)
		if (pthread_create(&c[i].thread, NULL, churn_thread, &c[i]))
			_exit(2);
	for (forks = 0; seconds_now() < end; forks++) {
		pid_t pid = fork();

		if (pid == 0) {
			sleep_ms(forks % 5);
			_exit(0);
		}
		if (pid > 0 && forks % 4 == 3)
			while (waitpid(-1, NULL, 0) > 0)
				;
		if (forks % 16 == 7)
			ksm_set("use_zero_pages", forks / 16 & 1);
	}
	__atomic_store_n(&churn_stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++) {
		pthread_join(c[i].thread, NULL);
		bad += c[i].bad;
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	printf("# %d forks\n", forks);
	fflush(stdout);
	_exit(bad || !forks ? 1 : 0);
}

KSM_TEST(churn_ends_at_zero)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, ksm_set("sleep_millisecs", 0));
	ASSERT_EQ(0, ksm_set("run", 1));
	pid = fork();
	if (pid == 0)
		churn_process(15);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, ksm_read("ksm_zero_pages"));
}

TEST_HARNESS_MAIN
