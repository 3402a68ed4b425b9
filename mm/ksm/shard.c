// SPDX-License-Identifier: GPL-2.0
/* The forest of shards, each with a lock and its trees. */
#include <linux/init.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "shard.h"

struct ksm_shard *ksm_shards __ro_after_init;
unsigned int ksm_shard_bits __ro_after_init;

/*
 * One shard per 16 pages: up to 4 GiB, the trees then have one level or two,
 * and the shards take eight bytes a page. The high half of a key is enough to
 * tell its shard, see ksm_node_lock().
 */
static unsigned int __init shard_bits(void)
{
	unsigned long shards = totalram_pages() / 16;

	return clamp_t(unsigned int, order_base_2(shards + 1), 6, 16);
}

int __init ksm_shard_init(void)
{
	unsigned int number, tree;

	ksm_shard_bits = shard_bits();
	ksm_shards = kvcalloc(1U << ksm_shard_bits, sizeof(*ksm_shards),
			      GFP_KERNEL);
	if (!ksm_shards)
		return -ENOMEM;

	for (number = 0; number < 1U << ksm_shard_bits; number++) {
		spin_lock_init(&ksm_shards[number].lock);
		ksm_shards[number].stable = RB_ROOT;
		for (tree = 0; tree < KSM_SHARD_TREES; tree++)
			ksm_shards[number].unstable[tree] = RB_ROOT;
	}
	return 0;
}
