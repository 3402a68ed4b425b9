// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin for QEMU that counts how often each instruction of the kernel is
 * executed, from the first time that one address is reached to the first time
 * that another one is, or to the end.
 *
 * Arguments: text=ADDRESS, the kernel's text; from=ADDRESS; until=ADDRESS (or 0);
 * to=FILE: a line "ADDRESS COUNT", the address in hexadecimal, for each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

#define EXPORT __attribute__((visibility("default")))
#define TEXT_BYTES (16UL << 20)

EXPORT int qemu_plugin_version = 1;

static uint64_t text, from, until;
static const char *to;
/* By offset in the text: counts up to now, when counting began, when it ended. */
static uint64_t *now, *begun, *ended;
static enum { BEFORE, BETWEEN, AFTER } stage;

static void begin(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	if (stage != BEFORE)
		return;
	stage = BETWEEN;
	memcpy(begun, now, TEXT_BYTES * sizeof(*now));
}

static void end(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	if (stage != BETWEEN)
		return;
	stage = AFTER;
	memcpy(ended, now, TEXT_BYTES * sizeof(*now));
}

static void count(plugin_id id, struct qemu_plugin_tb *block)
{
	size_t i;

	(void)id;
	for (i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
		uint64_t at = qemu_plugin_insn_vaddr(insn);

		if (at == from)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, begin, 0, NULL);
		if (at == until)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, end, 0, NULL);
		if (at >= text && at - text < TEXT_BYTES)
			qemu_plugin_register_vcpu_insn_exec_inline(insn, 0, &now[at - text], 1);
	}
}

static void write_counts(plugin_id id, void *arg)
{
	const uint64_t *last = stage == AFTER ? ended : now;
	FILE *f = fopen(to, "we");
	size_t i;

	(void)id;
	(void)arg;
	if (!f) {
		perror(to);
		return;
	}
	for (i = 0; stage != BEFORE && i < TEXT_BYTES; i++)
		if (last[i] != begun[i])
			fprintf(f, "%016llx %llu\n", (unsigned long long)text + i,
				(unsigned long long)(last[i] - begun[i]));
	if (fclose(f))
		perror(to);
}

static void argument(const char *arg)
{
	if (!strncmp(arg, "text=", 5))
		text = strtoull(arg + 5, NULL, 16);
	else if (!strncmp(arg, "from=", 5))
		from = strtoull(arg + 5, NULL, 16);
	else if (!strncmp(arg, "until=", 6))
		until = strtoull(arg + 6, NULL, 16);
	else if (!strncmp(arg, "to=", 3))
		to = strdup(arg + 3);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++)
		argument(argv[i]);
	now = calloc(TEXT_BYTES, sizeof(*now));
	begun = calloc(TEXT_BYTES, sizeof(*begun));
	ended = calloc(TEXT_BYTES, sizeof(*ended));
	if (!text || !from || !to || !now || !begun || !ended)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, count);
	qemu_plugin_register_atexit_cb(id, write_counts, NULL);
	return 0;
}
