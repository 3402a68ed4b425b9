/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of every KSM selftest: known settings before, and after it the
 * proof that a test's end leaves no trace in any counter or slab.
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
#include "peer.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

/* Long enough for a debug kernel in an emulator. */
#define KSM_TEST(name) TEST_F_TIMEOUT(ksm, name, 240)

#define ASSERT_COUNTERS(want_shared, want_sharing, want_unshared) do { \
	struct ksm_counters now_; \
	ksm_counters(&now_); \
	ksm_counters_print("counters", &now_); \
	ASSERT_EQ(want_shared, now_.shared); \
	ASSERT_EQ(want_sharing, now_.sharing); \
	ASSERT_EQ(want_unshared, now_.unshared); \
} while (0)

/* What every fixture here has, and how each is set up: in its own function. */
#define KSM_FIXTURE_STATE \
	struct ksm_knobs saved; \
	long zero_before

static inline bool ksm_testable(void)
{
	return !geteuid() && ksm_has("run");
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

/* In the parent: only then has the test's own memory gone. */
#define KSM_FIXTURE_TEARDOWN() do { \
	struct ksm_counters c_; \
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
