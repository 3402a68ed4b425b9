// SPDX-License-Identifier: GPL-2.0
/* The tracepoints: tools know their names and fields, and each one fires. */

#include "ksm_fixture.h"

#include <sys/mount.h>
#include <sys/stat.h>

#define TRACING "/sys/kernel/tracing"
#define EVENTS TRACING "/events/ksm/"
#define INSTANCE TRACING "/instances/ksm-test"
#define N 32

/* As Linux 6.12 has them; without the offsets, which follow from the sizes. */
static const struct {
	const char *event;
	const char *field[6];
} known[] = {
	{ "ksm_start_scan", { "int seq;4;1", "u32 rmap_entries;4;0" } },
	{ "ksm_stop_scan", { "int seq;4;1", "u32 rmap_entries;4;0" } },
	{ "ksm_enter", { "void * mm;8;0" } },
	{ "ksm_exit", { "void * mm;8;0" } },
	{ "ksm_merge_one_page", { "unsigned long pfn;8;0", "void * rmap_item;8;0",
				  "void * mm;8;0", "int err;4;1" } },
	{ "ksm_merge_with_ksm_page", { "void * ksm_page;8;0", "unsigned long pfn;8;0",
				       "void * rmap_item;8;0", "void * mm;8;0",
				       "int err;4;1" } },
	{ "ksm_remove_ksm_page", { "unsigned long pfn;8;0" } },
	{ "ksm_remove_rmap_item", { "unsigned long pfn;8;0", "void * rmap_item;8;0",
				    "void * mm;8;0" } },
	{ "ksm_advisor", { "s64 scan_time;8;1", "unsigned long pages_to_scan;8;0",
			   "unsigned int cpu_percent;4;0" } },
};

#define EVENT_COUNT (sizeof(known) / sizeof(known[0]))
/* All but the advisor's: that takes the advisor. */
#define FIRED (EVENT_COUNT - 1)

static bool have_tracing(void)
{
	if (access(EVENTS, F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	return !access(EVENTS, F_OK);
}

/* The i-th field of an event's own as "declaration;size;signed"; "" if none. */
static void field_of(const char *event, int i, char *text, size_t size)
{
	char path[128], line[256], name[128];
	int bytes, is_signed, n = 0;
	FILE *f;

	text[0] = '\0';
	snprintf(path, sizeof(path), EVENTS "%s/format", event);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " field:%127[^;]; offset:%*d; size:%d; signed:%d;", name,
			   &bytes, &is_signed) != 3 || !strncmp(strrchr(name, ' ') + 1,
								"common_", 7))
			continue;
		if (n++ == i)
			snprintf(text, size, "%s;%d;%d", name, bytes, is_signed);
	}
	if (f)
		fclose(f);
}

KSM_TEST(names_and_fields)
{
	char field[160];
	size_t i;
	int k;

	if (!have_tracing())
		SKIP(return, "no tracing");
	for (i = 0; i < EVENT_COUNT; i++) {
		for (k = 0; k < 6; k++) {
			field_of(known[i].event, k, field, sizeof(field));
			EXPECT_STREQ(known[i].field[k] ? known[i].field[k] : "", field) {
				TH_LOG("field %d of %s", k, known[i].event);
			}
		}
	}
}

/* How often each event is in the instance's buffer. */
static void count_events(long *count)
{
	char line[512];
	size_t i;
	FILE *f;

	memset(count, 0, EVENT_COUNT * sizeof(*count));
	f = fopen(INSTANCE "/trace", "re");
	while (f && fgets(line, sizeof(line), f)) {
		for (i = 0; i < EVENT_COUNT; i++) {
			char name[64];

			snprintf(name, sizeof(name), " %s: ", known[i].event);
			count[i] += !!strstr(line, name);
		}
	}
	if (f)
		fclose(f);
}

KSM_TEST(each_fires)
{
	long count[EVENT_COUNT];
	struct ksm_counters c;
	struct peer p;
	size_t i;

	if (!have_tracing())
		SKIP(return, "no tracing");
	ASSERT_TRUE(!mkdir(INSTANCE, 0700) || errno == EEXIST);
	ASSERT_EQ(0, file_write(INSTANCE "/events/ksm/enable", "1"));
	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 10, 0));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	/* One event is of merges with the zero page. */
	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	ASSERT_EQ(0, peer_fill(&p, 0, 1, 0, 0));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 2, 0);
	ASSERT_EQ(0, peer_fill(&p, 0, N, 11, 1));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(0, 0, N);
	ASSERT_EQ(0, peer_end(&p));
	EXPECT_TRUE(ksm_wait_zero(&c, self->zero_before));
	ASSERT_EQ(0, file_write(INSTANCE "/events/ksm/enable", "0"));
	count_events(count);
	for (i = 0; i < EVENT_COUNT; i++)
		TH_LOG("%s: %ld", known[i].event, count[i]);
	EXPECT_EQ(0, rmdir(INSTANCE));
	for (i = 0; i < FIRED; i++) {
		EXPECT_LT(0, count[i])
			TH_LOG("%s", known[i].event);
	}
}

TEST_HARNESS_MAIN
