/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the modules of ksmadm know of each other. Each verb of the command line
 * is a module that offers a struct verb. The other modules read the kernel for
 * them, change its settings, or write JSON.
 */
#ifndef KSMADM_H
#define KSMADM_H

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "ksmfs.h"
#include "smaps.h"

/* Exit codes of ksmadm; ksmadm(8) lists them. */
enum exit_code {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_KSM = 3,
	EXIT_DENIED = 4,
	EXIT_NO_PROCESS = 5,
	EXIT_NO_ROOM = 6,
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
};

struct verb {
	const char *name;
	const char *synopsis;	/* what follows the name */
	const char *summary;	/* a line of ksmadm --help */
	const char *help;
	int (*run)(int argc, char **argv);
};

extern const struct verb status_verb, top_verb, why_verb, metrics_verb;
extern const struct verb start_verb, stop_verb, unmerge_verb;
extern const struct verb get_verb, set_verb, tune_verb, reset_verb, apply_verb;
extern const struct verb exec_verb;

/* main.c: options and messages */
#define CONFIG_PATH	"/etc/ksmadm.conf"

extern const char *config_path;

[[gnu::format(printf, 2, 3), gnu::noreturn]] void fail(int code, const char *format, ...);
[[gnu::format(printf, 1, 2), gnu::noreturn]] void usage_error(const char *format, ...);
[[gnu::format(printf, 1, 2)]] void warn(const char *format, ...);

/*
 * getopt_long() for a verb with these options: it answers --help itself, and
 * exits if something is wrong. Returns the option's val, or -1 at the end.
 */
int next_option(int argc, char **argv, const struct option *options);
unsigned long number_option(const char *name, unsigned long min, unsigned long max);
double seconds_option(const char *name);

/* counters.c: the kernel's counters */
enum counter {
	PAGES_SHARED,
	PAGES_SHARING,
	PAGES_UNSHARED,
	PAGES_VOLATILE,
	PAGES_SCANNED,
	PAGES_SKIPPED,
	FULL_SCANS,
	ZERO_PAGES,
	CHAINS,
	DUPS,
	GENERAL_PROFIT,
	METADATA_BYTES,
	NR_COUNTERS
};

/* One look at the counters, and the cost of the scan so far */
struct sample {
	bool there[NR_COUNTERS];
	long long value[NR_COUNTERS];
	double time;		/* seconds */
	double cpu;		/* seconds that all threads of ksmd have run */
	unsigned int threads;	/* the number of these threads */
};

extern const char *const counter_names[NR_COUNTERS];

void ksm_require(void);
void sample_take(struct sample *s);
void sample_counters(struct sample *s);
long long page_bytes(void);
double profit_mib(long long bytes);
double now(void);
void sleep_seconds(double seconds);
long long saved_bytes(const struct sample *s);
long long known_pages(const struct sample *s);
long long metadata_bytes(const struct sample *s, bool *estimated);
long long profit_bytes(const struct sample *s, bool *estimated);

/* process.c: what the kernel tells of processes */
struct process {
	pid_t pid;
	char command[64];
	char cgroup[256];
	long long known, merged, zero;	/* pages */
	long long profit;		/* bytes */
};

/* Sums of the areas that are registered for merging; bytes */
struct registered {
	unsigned long areas;
	long long size, rss, merged, huge;
};

int process_read(pid_t pid, struct process *p);
int registered_read(pid_t pid, struct registered *sum);
size_t pids_list(pid_t **pids);
void command_read(pid_t pid, char *command, size_t size);
long long process_metadata(const struct process *p);

/* registered.c: what all processes have registered */
struct offered {
	struct registered sum;
	unsigned int processes;
	unsigned int unread;	/* processes that we may not look at */
	bool cut_short;		/* it took too long to look at all of them */
	bool ksmtuned;		/* is running, and changes settings */
};

void offered_read(struct offered *o, double seconds);

/* settings.c: what can be set */
enum setting {
	RUN,
	MAX_PAGE_SHARING,
	MERGE_ACROSS_NODES,
	PRUNE_MILLISECS,
	SMART_SCAN,
	USE_ZERO_PAGES,
	SCAN_THREADS,
	SLEEP_MILLISECS,
	ADVISOR_MAX_CPU,
	ADVISOR_TARGET_SCAN_TIME,
	ADVISOR_MIN_PAGES,
	ADVISOR_MAX_PAGES,
	ADVISOR_MODE,
	PAGES_TO_SCAN,
	NR_SETTINGS
};

#define VALUE_BYTES	24

/* Values for some of the settings; "" for the others */
struct values {
	char text[NR_SETTINGS][VALUE_BYTES];
};

struct setting_info {
	const char *name;
	unsigned long long min, max;
	const char *initial;		/* at boot */
};

extern const struct setting_info settings[NR_SETTINGS];

int setting_find(const char *name, size_t length);
void values_read(struct values *v);
/* Returns what is wrong with "KEY=VALUE", or NULL after adding it to @v. */
const char *values_parse(struct values *v, const char *text);
void values_put(struct values *v, enum setting key, const char *text);
bool values_leave_out_missing(struct values *v, const struct values *current);
long long setting_number(const struct values *v, enum setting key);

/* transaction.c */
void values_change(const struct values *want, bool persist, bool forget);
void settings_lock(void);

/* config.c */
struct config;
struct config *config_prepare(const struct values *want, bool forget);
int config_commit(struct config *c);
void config_discard(struct config *c);
void config_read(struct values *v);

/* tune.c */
void profile_values(const char *name, struct values *v, const struct values *current);

/* hints.c */
struct status {
	struct sample s;
	struct values settings;
	struct offered offered;
	bool offered_known;
	double interval;	/* time span of the rates; 0: there are none */
	double cpu_percent;	/* of one CPU */
	double pages_per_second;
	double scan_seconds;	/* of a full scan; 0 if not known */
	bool scan_measured;
};

typedef void hint_function(const char *name, const char *text, void *argument);

void hints_give(const struct status *st, hint_function *give, void *argument);

/* list.c: the processes that top shows */
enum column { BY_PID, BY_COMMAND, BY_CGROUP, BY_MERGEABLE, BY_MERGED, BY_ZERO,
	      BY_METADATA, BY_PROFIT, NR_COLUMNS };

struct row {
	struct process p;
	struct registered reg;
	double read_at;		/* when reg was read; and */
	double reading_took;
	bool seen;
};

struct list {
	struct row *rows;
	size_t nr, room;
	unsigned int unread;
};

extern const char *const column_names[NR_COLUMNS];

void list_update(struct list *l);
size_t list_sort(struct list *l, enum column by, bool ascending);
int column_find(const char *name);

/* screen.c: top on a terminal */
struct top_options {
	double delay;
	enum column by;
	bool ascending;
	bool colour;
};

bool screen_possible(void);
int screen_run(struct top_options *o);

/* contents.c: what is in pages that are not merged */
struct contents {
	unsigned long long pages, changing, zero, alike, unique, gone;
};

struct content_range {
	unsigned long long start, end;
	struct contents found;
};

int contents_sample(pid_t pid, struct content_range *ranges, size_t nr, double seconds);
int zero_pages_count(pid_t pid, unsigned long long start, unsigned long long end,
		     long long *pages);

/* json.c: json-c's objects. What is added to a list has no name: NULL. */
struct json_object;

struct json_object *json_new(void);
struct json_object *json_add_object(struct json_object *to, const char *name);
struct json_object *json_add_list(struct json_object *to, const char *name);
void json_add_string(struct json_object *to, const char *name, const char *value);
void json_add_number(struct json_object *to, const char *name, long long value);
void json_add_real(struct json_object *to, const char *name, double value);
void json_add_bool(struct json_object *to, const char *name, bool value);
void json_add_null(struct json_object *to, const char *name);
void json_print(struct json_object *object);

#endif /* KSMADM_H */
