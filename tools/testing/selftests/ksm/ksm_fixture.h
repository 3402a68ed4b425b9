/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of every KSM selftest: known settings before the test, and after
 * it the proof that it leaves no trace in any counter or slab, and no page.
 */
#ifndef KSM_SELFTEST_FIXTURE_H
#define KSM_SELFTEST_FIXTURE_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "ksm_util.h"
#include "leaks.h"
#include "peer.h"
#include "verify.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

/*
 * Only a hang takes so long: a debug kernel in an emulator, on a machine that has
 * other things to do, needs three minutes for some tests. Includes the teardown.
 */
#define KSM_TEST_SECONDS 900
#define KSM_TEST(name) TEST_F_TIMEOUT(ksm, name, KSM_TEST_SECONDS)

#define ASSERT_COUNTERS(want_shared, want_sharing, want_unshared) do { \
	struct ksm_counters now_; \
	ksm_counters(&now_); \
	ksm_counters_print("counters", &now_); \
	ASSERT_EQ(want_shared, now_.shared); \
	ASSERT_EQ(want_sharing, now_.sharing); \
	ASSERT_EQ(want_unshared, now_.unshared); \
} while (0)

/* What every fixture has, set up by its own function. */
#define KSM_FIXTURE_STATE \
	struct ksm_knobs saved; \
	long zero_before

static inline bool ksm_testable(void)
{
	return !geteuid() && ksm_has("run");
}

/*
 * The machine's state before the first test. It is compared after a test's own
 * process has gone, so that everything it had must be back. The process that
 * forked the test, a child of the harness, compares it, so a child also takes
 * it. It stays the same for all tests of a program; what they leak adds up.
 */
static struct memory_use *memory_before;

static void __attribute__((constructor)) note_memory(void)
{
	pid_t pid;

	if (!ksm_testable())
		return;
	memory_before = mmap(NULL, sizeof(*memory_before), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory_before == MAP_FAILED)
		abort();
	pid = fork();
	if (!pid) {
		memory_use_now(memory_before);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* If a test leaks, only that test must fail, not the ones after it. */
static inline bool ksm_memory_is_back(void)
{
	bool back = memory_is_back(memory_before);

	if (!back)
		memory_use_now(memory_before);
	return back;
}

static inline int ksm_begin(struct ksm_knobs *saved, long *zero_before)
{
	int err;

	mem_make_own();
	ksm_knobs_save(saved);
	err = ksm_knobs_default();
	*zero_before = ksm_read("ksm_zero_pages");
	return err;
}

/* In the parent: only then has the test's own memory been freed. */
#define KSM_FIXTURE_TEARDOWN() do { \
	struct ksm_counters c_; \
	EXPECT_EQ(0, verify_now()); \
	EXPECT_TRUE(ksm_wait_zero(&c_, self->zero_before)); \
	EXPECT_EQ(0, c_.shared); \
	EXPECT_EQ(0, c_.sharing); \
	EXPECT_EQ(0, c_.unshared); \
	EXPECT_EQ(0, c_.volatiles); \
	EXPECT_EQ(self->zero_before, c_.zero); \
	EXPECT_EQ(0, c_.chains); \
	EXPECT_EQ(0, c_.dups); \
	if (ksm_has("metadata_bytes")) \
		EXPECT_EQ(0, ksm_read("metadata_bytes")); \
	EXPECT_GE(0, ksm_slabs_wait_empty()); \
	EXPECT_TRUE(ksm_memory_is_back()); \
	EXPECT_EQ(0, ksm_knobs_restore(&self->saved)); \
} while (0)

FIXTURE(ksm) {
	KSM_FIXTURE_STATE;
};

FIXTURE_SETUP(ksm)
{
	if (!ksm_testable())
		SKIP(return, "needs root and a kernel with KSM");
	ASSERT_EQ(0, ksm_begin(&self->saved, &self->zero_before));
}

FIXTURE_TEARDOWN_PARENT(ksm)
{
	KSM_FIXTURE_TEARDOWN();
}

#endif
