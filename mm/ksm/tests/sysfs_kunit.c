// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the files in sysfs: what is read as which value, what is an
 * error, and that an error changes nothing. Included by sysfs.c.
 */
#include <kunit/test.h>

/**
 * struct knob - a file that can be written to
 * @attr: the file
 * @first: the least value that it takes
 * @last: the greatest
 * @is_bool: takes words for yes and no
 */
struct knob {
	struct kobj_attribute *attr;
	u64 first;
	u64 last;
	bool is_bool;
};

static const struct knob knobs[] = {
	{ &run_attr, 0, KSM_RUN_UNMERGE },
	{ &pages_to_scan_attr, 0, UINT_MAX },
	{ &sleep_millisecs_attr, 0, UINT_MAX },
	{ &scan_threads_attr, 1, KSM_THREADS_MAX },
	{ &advisor_max_cpu_attr, 0, UINT_MAX },
	{ &advisor_target_scan_time_attr, 1, ULONG_MAX },
	{ &advisor_min_pages_to_scan_attr, 0, ULONG_MAX },
	{ &advisor_max_pages_to_scan_attr, 0, ULONG_MAX },
	{ &smart_scan_attr, 0, 1, .is_bool = true },
	{ &use_zero_pages_attr, 0, 1, .is_bool = true },
	{ &max_page_sharing_attr, 2, INT_MAX },
#ifdef CONFIG_NUMA
	{ &merge_across_nodes_attr, 0, 1 },
#endif
	{ &stable_node_chains_prune_millisecs_attr, 0, UINT_MAX },
};

static ssize_t write_to(const struct knob *knob, const char *text)
{
	return knob->attr->store(NULL, knob->attr, text, strlen(text));
}

/* As the reader sees it: a page, for that is what sysfs has. */
static char *shown(struct kunit *test, const struct knob *knob)
{
	char *text = (char *)get_zeroed_page(GFP_KERNEL);
	char *copy;
	ssize_t len;

	KUNIT_ASSERT_NOT_NULL(test, text);
	len = knob->attr->show(NULL, knob->attr, text);
	KUNIT_EXPECT_EQ(test, len, strlen(text));
	copy = kunit_kmalloc(test, len + 1, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, copy);
	strscpy(copy, text, len + 1);
	free_page((unsigned long)text);
	return copy;
}

static void expect_taken(struct kunit *test, const struct knob *knob,
			 const char *text, u64 value)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu\n", value);
	KUNIT_EXPECT_EQ_MSG(test, write_to(knob, text), strlen(text), "%s: '%s'",
			    knob->attr->attr.name, text);
	KUNIT_EXPECT_STREQ(test, shown(test, knob), number);
}

static void expect_refused(struct kunit *test, const struct knob *knob,
			   const char *text)
{
	char *before = shown(test, knob);
	ssize_t ret = write_to(knob, text);

	/* max_page_sharing and merge_across_nodes tell it from garbage. */
	KUNIT_EXPECT_TRUE_MSG(test, ret == -EINVAL || ret == -ERANGE,
			      "%s: '%s' gave %zd", knob->attr->attr.name, text,
			      ret);
	KUNIT_EXPECT_STREQ(test, shown(test, knob), before);
}

static void knob_numbers(struct kunit *test)
{
	static const char * const garbage[] = {
		"", "\n", " ", " 2", "2 ", "2 2", "2\n\n", "-", "+", "2x", "x2",
		"0x2", "2.0", "1e1", "two", "-2", "--2",
		"99999999999999999999999999999999",
	};
	unsigned int k, i;
	char text[24];

	for (k = 0; k < ARRAY_SIZE(knobs); k++) {
		const struct knob *knob = &knobs[k];
		char *before = shown(test, knob);

		for (i = 0; !knob->is_bool && i < ARRAY_SIZE(garbage); i++)
			expect_refused(test, knob, garbage[i]);
		/* So many threads take a while to start. */
		if (knob->attr != &scan_threads_attr) {
			snprintf(text, sizeof(text), "%llu", knob->last);
			expect_taken(test, knob, text, knob->last);
		}
		snprintf(text, sizeof(text), "+00%llu\n", knob->first);
		if (!knob->is_bool)
			expect_taken(test, knob, text, knob->first);
		if (knob->first) {
			snprintf(text, sizeof(text), "%llu", knob->first - 1);
			expect_refused(test, knob, text);
		}
		if (!knob->is_bool && knob->last < U64_MAX) {
			snprintf(text, sizeof(text), "%llu", knob->last + 1);
			expect_refused(test, knob, text);
		}
		KUNIT_EXPECT_GT(test, write_to(knob, before), 0);
		KUNIT_EXPECT_STREQ(test, shown(test, knob), before);
	}
}

static void knob_booleans(struct kunit *test)
{
	static const char * const yes[] = { "1", "y", "Y\n", "on", "true\n" };
	static const char * const no[] = { "0", "n", "N\n", "off", "false\n" };
	static const char * const garbage[] = { "", "\n", "2", "-1", "x", "o" };
	unsigned int k, i;

	for (k = 0; k < ARRAY_SIZE(knobs); k++) {
		const struct knob *knob = &knobs[k];
		char *before;

		if (!knob->is_bool)
			continue;
		before = shown(test, knob);
		for (i = 0; i < ARRAY_SIZE(yes); i++) {
			expect_taken(test, knob, no[i], 0);
			expect_taken(test, knob, yes[i], 1);
		}
		for (i = 0; i < ARRAY_SIZE(garbage); i++)
			expect_refused(test, knob, garbage[i]);
		KUNIT_EXPECT_GT(test, write_to(knob, before), 0);
	}
}

/* Whole words, and what the mode forbids. */
static void knob_advisor_mode(struct kunit *test)
{
	static const struct knob mode = { &advisor_mode_attr };
	static const struct knob pages = { &pages_to_scan_attr };
	static const char * const garbage[] = {
		"", "\n", "0", "1", "non", "nonee", "None", "scan_time",
		"scan-time ", "[none]",
	};
	char *before = shown(test, &pages);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(garbage); i++)
		expect_refused(test, &mode, garbage[i]);
	KUNIT_EXPECT_EQ(test, write_to(&mode, "scan-time\n"), 10);
	KUNIT_EXPECT_STREQ(test, shown(test, &mode), "none [scan-time]\n");
	for (i = 0; i < ARRAY_SIZE(garbage); i++)
		expect_refused(test, &mode, garbage[i]);
	expect_refused(test, &pages, "100");
	KUNIT_EXPECT_EQ(test, write_to(&mode, "none"), 4);
	KUNIT_EXPECT_STREQ(test, shown(test, &mode), "[none] scan-time\n");
	KUNIT_EXPECT_GT(test, write_to(&pages, before), 0);
}

static struct kunit_case sysfs_cases[] = {
	KUNIT_CASE(knob_numbers),
	KUNIT_CASE(knob_booleans),
	KUNIT_CASE(knob_advisor_mode),
	{}
};

static struct kunit_suite sysfs_suite = {
	.name = "ksm_sysfs",
	.test_cases = sysfs_cases,
};

kunit_test_suite(sysfs_suite);
