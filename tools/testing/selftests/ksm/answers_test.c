// SPDX-License-Identifier: GPL-2.0
/*
 * What each file of /sys/kernel/mm/ksm answers to every kind of write, compared
 * with the recorded answers of Linux 6.12 (answers_base.txt). Programs rely on
 * those. Where our answers differ, differences[] has to say why.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest.h"
#include "ksm_util.h"

#define KSM_DIR "/sys/kernel/mm/ksm"
#define NOBODY 65534
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define MERGED_PAGES 8

/* The circumstances that an answer depends on. */
enum state { PLAIN, NOBODY_WRITES, ADVISED, MERGED, STATES };

static const char *const state_name[STATES] = {
	"plain", "nobody", "advised", "merged",
};

/* A file, and the value it has before each write; NULL if it cannot be written. */
static const struct file {
	const char *name;
	const char *start;
} files[] = {
	/* It comes first: pages_to_scan takes no value while the advisor is on. */
	{ "advisor_mode", "none" },
	{ "advisor_max_cpu", "70" },
	{ "advisor_max_pages_to_scan", "30000" },
	{ "advisor_min_pages_to_scan", "500" },
	{ "advisor_target_scan_time", "200" },
	{ "max_page_sharing", "256" },
	{ "merge_across_nodes", "1" },
	{ "pages_to_scan", "100" },
	{ "run", "0" },
	{ "sleep_millisecs", "20" },
	{ "smart_scan", "1" },
	{ "stable_node_chains_prune_millisecs", "2000" },
	{ "use_zero_pages", "0" },
	{ "full_scans", NULL },
	{ "general_profit", NULL },
	{ "ksm_zero_pages", NULL },
	{ "pages_scanned", NULL },
	{ "pages_shared", NULL },
	{ "pages_sharing", NULL },
	{ "pages_skipped", NULL },
	{ "pages_unshared", NULL },
	{ "pages_volatile", NULL },
	{ "stable_node_chains", NULL },
	{ "stable_node_dups", NULL },
};

/* Our own files, which 6.12 does not have and for which there is no record. */
static const char *const added[] = { "metadata_bytes", "scan_threads" };

#define BYTES(text) .bytes = (text), .len = sizeof(text) - 1

/*
 * An input: repeat times the digit fill, then bytes, at an offset. Inputs
 * marked everywhere are written in every state, the others in the plain one.
 */
static const struct input {
	const char *name;
	const char *bytes;
	size_t len;
	char fill;
	size_t repeat;
	off_t offset;
	bool everywhere;
} inputs[] = {
	{ "nothing", BYTES("") },
	{ "newline", BYTES("\n") },
	{ "0", BYTES("0"), .everywhere = true },
	{ "1", BYTES("1"), .everywhere = true },
	{ "2", BYTES("2\n"), .everywhere = true },
	{ "3", BYTES("3") },
	{ "300", BYTES("300"), .everywhere = true },
	{ "1,newline", BYTES("1\n") },
	{ "1,newline,newline", BYTES("1\n\n") },
	{ "1,CR,newline", BYTES("1\r\n") },
	{ "space,1", BYTES(" 1") },
	{ "1,space", BYTES("1 ") },
	{ "1,tab,2", BYTES("1\t2") },
	{ "-0", BYTES("-0") },
	{ "-1", BYTES("-1") },
	{ "+1", BYTES("+1") },
	{ "+", BYTES("+") },
	{ "++1", BYTES("++1") },
	{ "0x2", BYTES("0x2") },
	{ "010", BYTES("010") },
	{ "2.5", BYTES("2.5") },
	{ "1e3", BYTES("1e3") },
	{ "99999", BYTES("99999") },
	{ "2^31-1", BYTES("2147483647") },
	{ "2^31", BYTES("2147483648") },
	{ "-2^31", BYTES("-2147483648") },
	{ "2^32-1", BYTES("4294967295") },
	{ "2^32", BYTES("4294967296") },
	{ "2^32+2", BYTES("4294967298") },
	{ "2^63-1", BYTES("9223372036854775807") },
	{ "2^64-1", BYTES("18446744073709551615") },
	{ "2^64", BYTES("18446744073709551616") },
	{ "yes", BYTES("yes") },
	{ "No", BYTES("No") },
	{ "on", BYTES("on\n") },
	{ "oN ", BYTES("oN ") },
	{ "none", BYTES("none\n"), .everywhere = true },
	{ "scan-time", BYTES("scan-time"), .everywhere = true },
	{ "scan-time,space", BYTES("scan-time ") },
	{ "[scan-time]", BYTES("[scan-time]") },
	{ "binary", BYTES("\xff\xfe\x80\x01") },
	{ "NUL", BYTES("\0") },
	{ "2,NUL,3", BYTES("2\0003") },
	{ "4096 digits", .fill = '1', .repeat = 4096 },
	{ "4095 zeros,2", BYTES("2"), .fill = '0', .repeat = 4095 },
	{ "4096 zeros,2", BYTES("2"), .fill = '0', .repeat = 4096 },
	{ "2 at offset 7", BYTES("2"), .offset = 7 },
};

#define CUT_OFF "6.12 drops the upper half of a number without telling"

/* Accepted answers that are not 6.12's. */
static const struct difference {
	const char *file;
	const char *input;
	const char *base;
	const char *ours;
	const char *why;
} differences[] = {
	{ "advisor_max_cpu", "2^32", "10\t0", "EINVAL\t70", CUT_OFF },
	{ "advisor_max_cpu", "2^32+2", "10\t2", "EINVAL\t70", CUT_OFF },
	{ "advisor_max_cpu", "2^63-1", "19\t4294967295", "EINVAL\t70", CUT_OFF },
	{ "advisor_max_cpu", "2^64-1", "20\t4294967295", "EINVAL\t70", CUT_OFF },
};

/*
 * The inputs with the same answer, for one file in one state: a line of the
 * record, "STATE FILE RESULT VALUE | INPUT | INPUT |", with tabs between the
 * first four. The result is what write() returned; the value is read after
 * that.
 */
#define KEY_BYTES 80
#define ANSWER_BYTES 80
#define INPUTS_BYTES 1024

static struct group {
	char key[KEY_BYTES];
	char answer[ANSWER_BYTES];
	char inputs[INPUTS_BYTES];
} groups[512];
static size_t group_count;
static bool print_only;

static char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), KSM_DIR "/%s", name);
	return path;
}

/* The value without its newline, or what is wrong with it. */
static const char *value_of(const struct file *file)
{
	static char buf[4096];
	ssize_t n;
	char *end;
	int fd;

	fd = open(path_of(file->name), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return strerrorname_np(errno);
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n < 1 || buf[n - 1] != '\n' || memchr(buf, '\n', n) != &buf[n - 1])
		return "not one line";
	buf[n - 1] = '\0';
	if (file->start)
		return buf;
	/* A counter's value varies, so compare its form. */
	strtol(buf, &end, 10);
	return *end || end == buf || strspn(buf, " +") ? "not decimal" : "decimal";
}

static const char *write_result(const struct file *file, const struct input *input)
{
	static char result[32];
	static char buf[8192];
	size_t len = input->repeat + input->len;
	ssize_t n;
	int fd;

	fd = open(path_of(file->name), O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(result, sizeof(result), "open:%s", strerrorname_np(errno));
		return result;
	}
	memset(buf, input->fill, input->repeat);
	if (input->len)
		memcpy(buf + input->repeat, input->bytes, input->len);
	n = pwrite(fd, buf, len, input->offset);
	if (n < 0)
		snprintf(result, sizeof(result), "%s", strerrorname_np(errno));
	else
		snprintf(result, sizeof(result), "%zd", n);
	close(fd);
	return result;
}

static const char *mode_of(const struct file *file)
{
	static char mode[32];
	struct stat st;

	if (stat(path_of(file->name), &st))
		return strerrorname_np(errno);
	snprintf(mode, sizeof(mode), "%04o %u:%u", st.st_mode & 07777, st.st_uid, st.st_gid);
	return mode;
}

/* Memory of equal pages, merged, and ksmd stopped. */
static char *merge_some(void)
{
	char *mem = mem_map(MERGED_PAGES);

	if (!mem)
		ksft_exit_fail_perror("mmap");
	mem_fill(mem, MERGED_PAGES, 5, 0);
	if (madvise(mem, MERGED_PAGES * PAGE_BYTES, MADV_MERGEABLE))
		ksft_exit_fail_perror("MADV_MERGEABLE");
	ksm_set("pages_to_scan", 1000);
	if (ksm_scans(4) || ksm_read("pages_sharing") < 1)
		ksft_exit_fail_msg("nothing was merged\n");
	return mem;
}

/* Every file gets the value that it starts from. */
static void set_start(enum state state)
{
	size_t i;

	for (i = 0; i < COUNT(files); i++)
		if (files[i].start && ksm_has(files[i].name) &&
		    ksm_write(files[i].name, files[i].start))
			ksft_print_msg("%s does not take %s\n", files[i].name, files[i].start);
	if (state == ADVISED)
		ksm_write("advisor_mode", "scan-time");
}

static struct group *group_add(const char *key, const char *answer)
{
	struct group *g = &groups[group_count];

	if (group_count == COUNT(groups))
		ksft_exit_fail_msg("more answers than there is room for\n");
	group_count++;
	snprintf(g->key, sizeof(g->key), "%s", key);
	snprintf(g->answer, sizeof(g->answer), "%s", answer);
	snprintf(g->inputs, sizeof(g->inputs), " |");
	return g;
}

/* Collects an answer for the record that --print makes. */
static void note(const char *key, const char *answer, const char *input)
{
	struct group *g;
	size_t used;

	for (g = groups; g < groups + group_count; g++)
		if (!strcmp(g->key, key) && !strcmp(g->answer, answer))
			break;
	if (g == groups + group_count)
		g = group_add(key, answer);
	used = strlen(g->inputs);
	if (used + strlen(input) + 4 > sizeof(g->inputs))
		ksft_exit_fail_msg("more inputs than there is room for\n");
	sprintf(g->inputs + used, " %s |", input);
}

static const char *base_answer(const char *key, const char *input)
{
	char bounded[64];
	struct group *g;

	snprintf(bounded, sizeof(bounded), "| %s |", input);
	for (g = groups; g < groups + group_count; g++)
		if (!strcmp(g->key, key) && strstr(g->inputs, bounded))
			return g->answer;
	return "not recorded";
}

static bool is_explained(const struct file *file, const char *input, const char *base,
			 const char *ours)
{
	const struct difference *d;

	for (d = differences; d < differences + COUNT(differences); d++)
		if (!strcmp(d->file, file->name) && !strcmp(d->input, input) &&
		    !strcmp(d->base, base) && !strcmp(d->ours, ours)) {
			ksft_print_msg("differs: %s, %s: %s\n", d->file, d->input, d->why);
			return true;
		}
	return false;
}

/* Checks one answer; false if it is not as it should be. */
static bool check(enum state state, const struct file *file, const char *input,
		  const char *result, const char *value)
{
	char key[KEY_BYTES], answer[ANSWER_BYTES];
	const char *base;

	snprintf(key, sizeof(key), "%s\t%s", state_name[state], file->name);
	snprintf(answer, sizeof(answer), "%s\t%s", result, value);
	if (print_only) {
		note(key, answer, input);
		return true;
	}
	base = base_answer(key, input);
	if (!strcmp(base, answer) || is_explained(file, input, base, answer))
		return true;
	ksft_print_msg("%s, written to %s in state %s\n", input, file->name, state_name[state]);
	ksft_print_msg("  base: %s\n", base);
	ksft_print_msg("  ours: %s\n", answer);
	return false;
}

static bool answers(enum state state, const struct file *file)
{
	const struct input *input;
	const char *result;
	bool good;

	set_start(state);
	good = check(state, file, "(read)", "-", value_of(file));
	for (input = inputs; input < inputs + COUNT(inputs); input++) {
		if (state != PLAIN && !input->everywhere)
			continue;
		/* A few inputs show how a read-only file refuses. */
		if (!file->start && strcmp(input->name, "1"))
			continue;
		set_start(state);
		if (state == NOBODY_WRITES && seteuid(NOBODY))
			ksft_exit_fail_perror("seteuid");
		result = write_result(file, input);
		good &= check(state, file, input->name, result, value_of(file));
		if (seteuid(0))
			ksft_exit_fail_perror("seteuid");
	}
	return good;
}

static void test_file(const struct file *file)
{
	bool good;

	if (!ksm_has(file->name)) {
		if (!print_only)
			ksft_test_result_fail("%s: there is no such file\n", file->name);
		return;
	}
	good = check(PLAIN, file, "(mode)", "-", mode_of(file));
	good &= answers(PLAIN, file);
	good &= answers(NOBODY_WRITES, file);
	if (file->start)
		good &= answers(ADVISED, file);
	/* This one would undo the merging. */
	if (file->start && strcmp(file->name, "run")) {
		char *mem = merge_some();

		good &= answers(MERGED, file);
		ksm_set("run", 2);
		munmap(mem, MERGED_PAGES * PAGE_BYTES);
	}
	if (!print_only)
		ksft_test_result(good, "%s\n", file->name);
}

static bool is_listed(const char *name)
{
	size_t i;

	for (i = 0; i < COUNT(files); i++)
		if (!strcmp(files[i].name, name))
			return true;
	for (i = 0; i < COUNT(added); i++)
		if (!strcmp(added[i], name))
			return true;
	return false;
}

static void test_no_other_files(void)
{
	DIR *dir = opendir(KSM_DIR);
	struct dirent *entry;
	bool good = dir;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !is_listed(entry->d_name)) {
			ksft_print_msg("%s is new: its answers are not known\n", entry->d_name);
			good = false;
		}
	if (dir)
		closedir(dir);
	ksft_test_result(good, "no other files\n");
}

/* "STATE FILE RESULT VALUE | INPUT | INPUT |" */
static bool parse(char *line)
{
	char *answer, *inputs;
	struct group *g;

	line[strcspn(line, "\n")] = '\0';
	answer = strchr(line, '\t');
	answer = answer ? strchr(answer + 1, '\t') : NULL;
	inputs = answer ? strstr(answer, " |") : NULL;
	if (!inputs)
		return false;
	*answer = '\0';
	*inputs = '\0';
	g = group_add(line, answer + 1);
	snprintf(g->inputs, sizeof(g->inputs), "%s", inputs + 1);
	return true;
}

/* The record is next to the program. */
static void read_base(void)
{
	char path[512], line[KEY_BYTES + ANSWER_BYTES + INPUTS_BYTES], *name;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
	FILE *f;

	if (n < 0)
		ksft_exit_fail_perror("/proc/self/exe");
	path[n] = '\0';
	name = strrchr(path, '/') + 1;
	snprintf(name, path + sizeof(path) - name, "answers_base.txt");
	f = fopen(path, "r");
	if (!f)
		ksft_exit_fail_perror(path);
	while (fgets(line, sizeof(line), f))
		if (line[0] != '#' && !parse(line))
			ksft_exit_fail_msg("%s: cannot make sense of: %s\n", path, line);
	fclose(f);
}

static int print_record(void)
{
	size_t i;

	/* In one piece, it would count as the identifier of this file. */
	printf("# SPDX-%s\n", "License-Identifier: GPL-2.0");
	puts("# What the files of /sys/kernel/mm/ksm answer in Linux 6.12, as\n"
	     "# printed there by: answers_test --print\n"
	     "# State, file, what write() returned, what was read then, for which inputs");
	for (i = 0; i < group_count; i++)
		printf("%s\t%s%s\n", groups[i].key, groups[i].answer, groups[i].inputs);
	return 0;
}

static void help(void)
{
	puts("usage: answers_test [--print]\n\n"
	     "Compares the answers of /sys/kernel/mm/ksm with those recorded in\n"
	     "answers_base.txt, or prints them in that file's form.");
}

int main(int argc, char **argv)
{
	struct ksm_knobs saved;
	size_t i;

	print_only = argc == 2 && !strcmp(argv[1], "--print");
	if (argc > 1 && !print_only) {
		help();
		return strcmp(argv[1], "--help") ? 2 : 0;
	}
	if (!print_only) {
		ksft_print_header();
		read_base();
	}
	if (geteuid())
		ksft_exit_skip("must be root\n");
	if (!ksm_has("run"))
		ksft_exit_skip("this kernel has no KSM\n");
	if (!print_only)
		ksft_set_plan(COUNT(files) + 1);
	ksm_knobs_save(&saved);
	ksm_knobs_default();
	for (i = 0; i < COUNT(files); i++)
		test_file(&files[i]);
	set_start(PLAIN);
	ksm_knobs_restore(&saved);
	if (print_only)
		return print_record();
	test_no_other_files();
	ksft_finished();
}
