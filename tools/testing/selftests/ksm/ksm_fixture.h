/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of every KSM selftest: known settings before, and after it the
 * proof that a test's end leaves no trace in any counter.
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

FIXTURE(ksm) {
	struct ksm_knobs saved;
	long zero_before;
};

FIXTURE_SETUP(ksm)
{
	if (geteuid())
		SKIP(return, "must be root");
	if (!ksm_has("run"))
		SKIP(return, "this kernel has no KSM");
	ksm_knobs_save(&self->saved);
	ASSERT_EQ(0, ksm_knobs_default());
	self->zero_before = ksm_read("ksm_zero_pages");
}

/* In the parent: only then has the test's own memory gone. */
FIXTURE_TEARDOWN_PARENT(ksm)
{
	struct ksm_counters c;

	EXPECT_TRUE(ksm_wait_zero(&c, self->zero_before));
	EXPECT_EQ(0, c.shared);
	EXPECT_EQ(0, c.sharing);
	EXPECT_EQ(0, c.unshared);
	EXPECT_EQ(0, c.volatiles);
	EXPECT_EQ(self->zero_before, c.zero);
	EXPECT_EQ(0, c.chains);
	EXPECT_EQ(0, c.dups);
	if (ksm_has("metadata_bytes"))
		EXPECT_EQ(0, ksm_read("metadata_bytes"));
	EXPECT_EQ(0, ksm_knobs_restore(&self->saved));
}

#endif
