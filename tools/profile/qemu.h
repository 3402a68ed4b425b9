/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts that we use of QEMU's interface for TCG plugins, version 1, see
 * docs/devel/tcg-plugins.rst there. No Debian package has its header.
 */
#ifndef KSM_PROFILE_QEMU_H
#define KSM_PROFILE_QEMU_H

#include <stddef.h>
#include <stdint.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef uint64_t plugin_id;
typedef void block_fn(plugin_id id, struct qemu_plugin_tb *block);
typedef void cpu_fn(unsigned int cpu, void *arg);
typedef void exit_fn(plugin_id id, void *arg);

/* Registers a function to call for each translated block of instructions. */
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, block_fn *translated);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t nr);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
/* On each execution of the instruction: add to a number, or call a function. */
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int add,
						void *to, uint64_t much);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, cpu_fn *reached,
					    int flags, void *arg);
void qemu_plugin_register_atexit_cb(plugin_id id, exit_fn *ends, void *arg);

#endif
