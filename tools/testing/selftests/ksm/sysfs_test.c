// SPDX-License-Identifier: GPL-2.0
/* The files of /sys/kernel/mm/ksm: what they take, and what they refuse. */

#include "ksm_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

static const char *const read_only[] = {
	"pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
	"pages_scanned", "pages_skipped", "full_scans", "ksm_zero_pages",
	"stable_node_chains", "stable_node_dups", "general_profit",
};

static const char *const writable[] = {
	"run", "pages_to_scan", "sleep_millisecs", "max_page_sharing",
	"use_zero_pages", "stable_node_chains_prune_millisecs", "smart_scan",
};

static const char *const of_the_advisor[] = {
	"advisor_mode", "advisor_max_cpu", "advisor_min_pages_to_scan",
	"advisor_max_pages_to_scan", "advisor_target_scan_time",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int mode_of(const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	return stat(path, &st) ? -errno : (int)(st.st_mode & 0777);
}

KSM_TEST(files_and_modes)
{
	size_t i;

	for (i = 0; i < COUNT(read_only); i++) {
		EXPECT_EQ(0444, mode_of(read_only[i]))
			TH_LOG("%s", read_only[i]);
		EXPECT_LE(0, ksm_read(read_only[i]));
	}
	for (i = 0; i < COUNT(writable); i++)
		EXPECT_EQ(0644, mode_of(writable[i]))
			TH_LOG("%s", writable[i]);
}

/* Each value is either kept exactly, or refused and without effect. */
static void check(struct __test_metadata *_metadata, const char *name,
		  const char *text, int want)
{
	long before = ksm_read(name);
	int got = ksm_write(name, text);

	EXPECT_EQ(want, got)
		TH_LOG("writing \"%s\" to %s", text, name);
	EXPECT_EQ(want ? before : strtol(text, NULL, 10), ksm_read(name))
		TH_LOG("%s after writing \"%s\"", name, text);
}

KSM_TEST(run)
{
	check(_metadata, "run", "1", 0);
	check(_metadata, "run", "3", -EINVAL);
	check(_metadata, "run", "-1", -EINVAL);
	check(_metadata, "run", "x", -EINVAL);
	check(_metadata, "run", "4", -EINVAL);
	check(_metadata, "run", "2", 0);
	check(_metadata, "run", "2\n", 0);
	check(_metadata, "run", "0\n", 0);
}

KSM_TEST(pace)
{
	check(_metadata, "pages_to_scan", "100", 0);
	check(_metadata, "pages_to_scan", "0", 0);
	check(_metadata, "pages_to_scan", "4294967295", 0);
	check(_metadata, "pages_to_scan", "4294967296", -EINVAL);
	check(_metadata, "pages_to_scan", "-1", -EINVAL);
	check(_metadata, "pages_to_scan", "\n", -EINVAL);
	check(_metadata, "pages_to_scan", "12monkeys", -EINVAL);
	check(_metadata, "sleep_millisecs", "0", 0);
	check(_metadata, "sleep_millisecs", "4294967295", 0);
	check(_metadata, "sleep_millisecs", "4294967296", -EINVAL);
	check(_metadata, "sleep_millisecs", "-5", -EINVAL);
	check(_metadata, "stable_node_chains_prune_millisecs", "1", 0);
	check(_metadata, "stable_node_chains_prune_millisecs", "no", -EINVAL);
}

KSM_TEST(choices)
{
	check(_metadata, "use_zero_pages", "1", 0);
	check(_metadata, "use_zero_pages", "maybe", -EINVAL);
	check(_metadata, "use_zero_pages", "0", 0);
	check(_metadata, "smart_scan", "1", 0);
	check(_metadata, "smart_scan", "?", -EINVAL);
	check(_metadata, "smart_scan", "0", 0);
	check(_metadata, "max_page_sharing", "1", -EINVAL);
	check(_metadata, "max_page_sharing", "0", -EINVAL);
	check(_metadata, "max_page_sharing", "-3", -EINVAL);
	check(_metadata, "max_page_sharing", "2", 0);
	check(_metadata, "max_page_sharing", "2147483647", 0);
	check(_metadata, "max_page_sharing", "2147483648", -ERANGE);
	check(_metadata, "max_page_sharing", "256", 0);
	if (!ksm_has("merge_across_nodes"))
		return;
	check(_metadata, "merge_across_nodes", "2", -EINVAL);
	check(_metadata, "merge_across_nodes", "0", 0);
	check(_metadata, "merge_across_nodes", "1", 0);
}

KSM_TEST(advisor)
{
	long pages = ksm_read("advisor_min_pages_to_scan");
	size_t i;

	if (!ksm_has("advisor_mode"))
		SKIP(return, "this kernel has no advisor");
	for (i = 0; i < COUNT(of_the_advisor); i++)
		EXPECT_EQ(0644, mode_of(of_the_advisor[i]))
			TH_LOG("%s", of_the_advisor[i]);
	EXPECT_EQ(-EINVAL, ksm_write("advisor_mode", "clever"));
	check(_metadata, "advisor_target_scan_time", "0", -EINVAL);
	check(_metadata, "advisor_target_scan_time", "200", 0);
	check(_metadata, "advisor_max_cpu", "many", -EINVAL);
	ASSERT_EQ(0, ksm_write("advisor_mode", "scan-time"));
	EXPECT_EQ(pages, ksm_read("pages_to_scan"));
	/* The advisor's business as long as it is on. */
	EXPECT_EQ(-EINVAL, ksm_set("pages_to_scan", 500));
	ASSERT_EQ(0, ksm_write("advisor_mode", "none\n"));
	EXPECT_EQ(0, ksm_set("pages_to_scan", 500));
}

KSM_TEST(only_root_may_write)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgid(65534) || setuid(65534))
			_exit(1);
		if (ksm_write("run", "1") != -EACCES)
			_exit(2);
		if (ksm_read("pages_shared") < 0)
			_exit(3);
		_exit(ksm_write("pages_shared", "1") == -EACCES ? 0 : 4);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, ksm_read("run"));
}

TEST_HARNESS_MAIN
