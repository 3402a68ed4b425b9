// SPDX-License-Identifier: GPL-2.0
/*
 * The verbs that show and change settings: get, set, reset and apply.
 */
#include <string.h>

#include "ksmadm.h"

static int get_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ 0 }
	};
	bool wanted[NR_SETTINGS] = { false };
	struct json_object *json = NULL;
	bool as_json = false;
	struct values v;
	int key;

	while (next_option(argc, argv, options) == 'j')
		as_json = true;
	for (; optind < argc; optind++) {
		key = setting_find(argv[optind], strlen(argv[optind]));
		if (key < 0)
			usage_error("get: there is no setting '%s'", argv[optind]);
		wanted[key] = true;
	}
	ksm_require();
	values_read(&v);
	if (as_json)
		json = json_new();
	for (key = 0; key < NR_SETTINGS; key++) {
		bool all = !memchr(wanted, true, sizeof(wanted));

		if (!all && !wanted[key])
			continue;
		if (!*v.text[key]) {
			if (!all)
				fail(EXIT_FAILED, "this kernel has no %s", settings[key].name);
		} else if (!as_json) {
			printf("%s=%s\n", settings[key].name, v.text[key]);
		} else if (key == ADVISOR_MODE) {
			json_add_string(json, settings[key].name, v.text[key]);
		} else {
			json_add_number(json, settings[key].name, setting_number(&v, key));
		}
	}
	if (as_json)
		json_print(json);
	return 0;
}

const struct verb get_verb = {
	.name = "get",
	.synopsis = "[--json] [KEY]...",
	.summary = "show the settings",
	.help =
	"Prints the settings, or those named, as KEY=VALUE: what 'ksmadm set' takes.\n"
	"What this kernel does not have is left out; asked for by name, it is an error.\n\n"
	"  --json  as JSON\n",
	.run = get_run,
};

static bool persist_option(int argc, char **argv)
{
	static const struct option options[] = {
		{ "persist", no_argument, NULL, 'p' },
		{ 0 }
	};
	bool persist = false;

	while (next_option(argc, argv, options) == 'p')
		persist = true;
	return persist;
}

static int set_run(int argc, char **argv)
{
	bool persist = persist_option(argc, argv);
	struct values want = { 0 };

	if (optind == argc)
		usage_error("set: which KEY=VALUE?");
	for (; optind < argc; optind++) {
		const char *wrong = values_parse(&want, argv[optind]);

		if (wrong)
			usage_error("set: %s", wrong);
	}
	values_change(&want, persist, false);
	return 0;
}

const struct verb set_verb = {
	.name = "set",
	.synopsis = "[--persist] KEY=VALUE...",
	.summary = "change settings, all or none",
	.help =
	"Changes settings: all of them, or none if one cannot be. Keys and values are\n"
	"those of the files in /sys/kernel/mm/ksm; 'ksmadm get' lists them. They are\n"
	"written in an order that works, whatever the order given.\n\n"
	"max_page_sharing and merge_across_nodes change only while nothing is merged;\n"
	"pages_to_scan is not ours to set while advisor_mode is scan-time.\n\n"
	"  --persist  also for the time after the next boot: in /etc/ksmadm.conf, which\n"
	"             ksmadm.service applies\n",
	.run = set_run,
};

static int reset_run(int argc, char **argv)
{
	bool persist = persist_option(argc, argv);
	struct values want = { 0 }, current;
	int key;

	if (optind < argc)
		usage_error("reset takes no arguments");
	ksm_require();
	values_read(&current);
	for (key = 0; key < NR_SETTINGS; key++)
		if (*current.text[key])
			values_put(&want, key, settings[key].initial);
	values_change(&want, persist, true);
	return 0;
}

const struct verb reset_verb = {
	.name = "reset",
	.synopsis = "[--persist]",
	.summary = "set everything as it is after boot",
	.help =
	"Gives all settings the values that the kernel starts with; KSM does not scan\n"
	"then. What is merged stays merged, see 'ksmadm unmerge'.\n\n"
	"  --persist  also drops the settings from /etc/ksmadm.conf\n",
	.run = reset_run,
};

static int apply_run(int argc, char **argv)
{
	static const struct option options[] = { { 0 } };
	struct values want, current;

	next_option(argc, argv, options);
	if (argc - optind > 1)
		usage_error("apply takes one file");
	if (optind < argc)
		config_path = argv[optind];
	config_read(&want);
	ksm_require();
	values_read(&current);
	values_leave_out_missing(&want, &current);
	values_change(&want, false, false);
	return 0;
}

const struct verb apply_verb = {
	.name = "apply",
	.synopsis = "[FILE]",
	.summary = "set what the configuration says; run at boot",
	.help =
	"Sets what FILE, or /etc/ksmadm.conf, says: lines KEY=VALUE, comments begin with\n"
	"#. With an error in it, nothing is set. A setting that this kernel does not have\n"
	"is left out with a warning. ksmadm.service runs this at boot.\n",
	.run = apply_run,
};
