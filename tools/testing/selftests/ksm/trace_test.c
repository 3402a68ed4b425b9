// SPDX-License-Identifier: GPL-2.0
/* The tracepoints: tools know their names and fields, and each one fires. */

#include "ksm_fixture.h"

#include <sys/stat.h>

#include "ksm_env.h"

#define EVENTS TRACING "/events/ksm/"
#define INSTANCE TRACING "/instances/ksm-test"
#define N 32

/* As in Linux 6.12, without the offsets, which follow from the sizes. */
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
/* All but the advisor's, which needs the advisor. */
#define FIRED (EVENT_COUNT - 1)

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

	if (!tracing_has("events/ksm"))
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

	if (!tracing_has("events/ksm"))
		SKIP(return, "no tracing");
	ASSERT_TRUE(!mkdir(INSTANCE, 0700) || errno == EEXIST);
	/* Where ksmd needs long, there are very many scans. */
	ASSERT_EQ(0, file_write(INSTANCE "/buffer_size_kb", "16384"));
	ASSERT_EQ(0, file_write(INSTANCE "/events/ksm/enable", "1"));
	ASSERT_EQ(0, peer_start(&p, N));
	ASSERT_EQ(0, peer_fill(&p, 0, N, 10, 0));
	ASSERT_EQ(0, peer_madvise(&p, 0, N, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_COUNTERS(1, N - 1, 0);
	/* One event is for merges with the zero page. */
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

/* The mm whose lock this line says was held for writing and released, or 0. */
static unsigned long released_for_writing(const char *line)
{
	const char *at = strstr(line, " mmap_lock_released: mm=");
	unsigned long mm = 0;

	if (!at || !strstr(at, "write=true") ||
	    sscanf(at, " mmap_lock_released: mm=%lx", &mm) != 1)
		return 0;
	return mm;
}

/*
 * How often a traced fork has flushed the parent between releasing the child's mmap_lock
 * and the parent's, which it does in this order, at its end; -1 if it did not do so. A
 * flush that the scheduler did, or another CPU asked for, does not count.
 */
static int late_flushes(void)
{
	unsigned long last = 0, mm;
	int since = 0, late = -1;
	char line[512];
	FILE *f;

	f = fopen(INSTANCE "/trace", "re");
	while (f && fgets(line, sizeof(line), f)) {
		since += strstr(line, " tlb_flush: ") && strstr(line, "reason:local mm");
		mm = released_for_writing(line);
		if (!mm)
			continue;
		if (last && mm != last)
			late = since;
		last = mm;
		since = 0;
	}
	if (f)
		fclose(f);
	return late;
}

/*
 * A child's memory may be scanned once its mmap_lock is free. By then no thread of the
 * parent may have a TLB entry that lets it write to pages of both.
 */
KSM_TEST(fork_flushes_first)
{
	pid_t pid;
	char own[16];
	int late;

	if (!tracing_has("events/tlb/tlb_flush"))
		SKIP(return, "no tracing");
	snprintf(own, sizeof(own), "%d", getpid());
	ASSERT_TRUE(!mkdir(INSTANCE, 0700) || errno == EEXIST);
	ASSERT_EQ(0, file_write(INSTANCE "/set_event_pid", own));
	ASSERT_EQ(0, file_write(INSTANCE "/events/tlb/tlb_flush/enable", "1"));
	ASSERT_EQ(0, file_write(INSTANCE "/events/mmap_lock/mmap_lock_released/enable", "1"));
	pid = fork();
	if (!pid)
		_exit(0);
	ASSERT_EQ(0, file_write(INSTANCE "/events/enable", "0"));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	late = late_flushes();
	EXPECT_EQ(0, rmdir(INSTANCE));
	/* The base is late. */
	if (ksm_has("metadata_bytes"))
		EXPECT_EQ(0, late);
}

TEST_HARNESS_MAIN
