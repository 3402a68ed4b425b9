// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/ksm/verify: a walk through all that KSM knows, for tests.
 *
 * Each line but the last two is a violation: something that contradicts a
 * counter, another structure, or the page tables. None can be there between
 * two rounds of the workers, whatever programs do meanwhile.
 *
 * The gate is exclusive. So trees, lists, nodes, chunks and rmap_items do not
 * change, because only workers change them. Page tables do. So do page frames,
 * which migrate, and are freed with their last mapping, and so does the
 * registry. Comments at each place say what keeps the objects there.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "verify.h"

static void verify_count(struct ksm_verify *verify, const char *name,
			 const atomic_long_t *counter, unsigned long counted)
{
	long value = atomic_long_read(counter);

	if (value != counted)
		ksm_verify_fail(verify, "counter %s is %ld, counted %lu", name,
				value, counted);
}

/* Only workers change these, except the number of slots, see ksm_verify_slots(). */
static void verify_counters(struct ksm_verify *verify)
{
	const struct ksm_counters *now = &ksm_counters;

	verify_count(verify, "pages_shared", &now->pages_shared, verify->shared);
	verify_count(verify, "pages_sharing", &now->pages_sharing,
		     verify->sharers - verify->shared);
	verify_count(verify, "pages_unshared", &now->pages_unshared,
		     verify->in_trees);
	verify_count(verify, "rmap_items", &now->rmap_items, verify->items);
	verify_count(verify, "chains", &now->chains, verify->chains);
	verify_count(verify, "dups", &now->dups, verify->dups);
	verify_count(verify, "nodes", &now->nodes, verify->nodes);
	verify_count(verify, "chunks", &now->chunks, verify->chunks);
	if (verify->stable != verify->sharers)
		ksm_verify_fail(verify, "%lu stable items, %lu on the lists of nodes",
				verify->stable, verify->sharers);
	if (verify->unstable != verify->in_trees)
		ksm_verify_fail(verify, "%lu unstable items, %lu in the trees",
				verify->unstable, verify->in_trees);
}

static int verify_all(struct ksm_verify *verify)
{
	int err = ksm_verify_stable(verify);

	if (!err)
		err = ksm_verify_unstable(verify);
	if (!err)
		err = ksm_verify_slots(verify);
	if (!err)
		verify_counters(verify);
	return err;
}

static struct ksm_verify *verify_alloc(void)
{
	struct ksm_verify *verify = kzalloc(sizeof(*verify), GFP_KERNEL);
	char *text = kvmalloc(KSM_VERIFY_BYTES, GFP_KERNEL);

	if (!verify || !text) {
		kfree(verify);
		kvfree(text);
		return NULL;
	}
	seq_buf_init(&verify->text, text, KSM_VERIFY_BYTES);
	return verify;
}

static void verify_free(struct ksm_verify *verify)
{
	kvfree(verify->text.buffer);
	kvfree(verify->found);
	kfree(verify);
}

static void verify_print(struct seq_file *file, struct ksm_verify *verify)
{
	seq_puts(file, seq_buf_str(&verify->text));
	if (verify->violations > KSM_VERIFY_LINES)
		seq_printf(file, "and %u more\n",
			   verify->violations - KSM_VERIFY_LINES);
	seq_printf(file, "counted: slots %lu, gone %lu, chunks %lu, items %lu, ",
		   verify->slots, verify->gone, verify->chunks, verify->items);
	seq_printf(file, "stable %lu, unstable %lu, nodes %lu, chains %lu, ",
		   verify->stable, verify->unstable, verify->nodes,
		   verify->chains);
	seq_printf(file, "dups %lu, shared %lu, sharers %lu, mappings %lu, ",
		   verify->dups, verify->shared, verify->sharers,
		   verify->mappings);
	seq_printf(file, "stale %lu, misplaced %lu, unsettled %lu\n",
		   verify->stale, verify->misplaced, verify->unsettled);
	if (verify->violations)
		seq_printf(file, "verify: %u violations\n", verify->violations);
	else
		seq_puts(file, "verify: ok\n");
}

static int verify_show(struct seq_file *file, void *unused)
{
	struct ksm_verify *verify = verify_alloc();
	int err;

	if (!verify)
		return -ENOMEM;
	err = ksm_gate_close();
	if (!err) {
		err = verify_all(verify);
		ksm_gate_open();
	}
	if (!err)
		verify_print(file, verify);
	verify_free(verify);
	return err;
}

/* Make room for all of it, or the walk would be repeated. */
static int verify_open(struct inode *inode, struct file *file)
{
	return single_open_size(file, verify_show, NULL,
				KSM_VERIFY_BYTES + PAGE_SIZE);
}

static const struct file_operations verify_fops = {
	.owner = THIS_MODULE,
	.open = verify_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init verify_init(void)
{
	debugfs_create_file("verify", 0400, debugfs_create_dir("ksm", NULL),
			    NULL, &verify_fops);
	return 0;
}
late_initcall(verify_init);

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/verify_kunit.c"
#endif
