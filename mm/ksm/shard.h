/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The forest's shards: the locks, and the trees that each has.
 */
#ifndef _MM_KSM_SHARD_H
#define _MM_KSM_SHARD_H

#include <linux/compiler.h>
#include <linux/init.h>
#include <linux/mmdebug.h>
#include <linux/prefetch.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/* This many make a shard two cache lines of 64 bytes. */
#define KSM_SHARD_TREES		14U

/* Most steps to take while holding a shard's lock. */
#define KSM_STEPS_MAX		1000U

/**
 * struct ksm_shard - one of the forest's parts
 * @lock: a leaf. Protects the trees, the nodes in them and their lists. Taken
 *	by ksm_shard_lock()
 * @inserts: counts insertions into @stable
 * @stable: struct ksm_stable_node by key
 * @unstable: struct ksm_rmap_item by key. There are many more of these than KSM
 *	pages, and each is inserted once, so use several trees, which are low
 * @steps: number of objects looked at, or changed, since @lock was taken
 *
 * The top bits of a key select its shard, those below select the unstable tree.
 * There are so many shards that two workers rarely want the same one.
 */
struct ksm_shard {
	spinlock_t lock;	/* the trees, the nodes in them, their lists */
	unsigned int inserts;
	struct rb_root stable;
	struct rb_root unstable[KSM_SHARD_TREES];
#ifdef CONFIG_DEBUG_VM
	unsigned int steps;
#endif
} __aligned(16 * sizeof(void *));

extern struct ksm_shard *ksm_shards;
extern unsigned int ksm_shard_bits;

static inline unsigned int ksm_shard_number(u64 key)
{
	return key >> (64 - ksm_shard_bits);
}

static inline struct ksm_shard *ksm_shard_of(u64 key)
{
	return &ksm_shards[ksm_shard_number(key)];
}

static inline void ksm_shard_lock(struct ksm_shard *shard)
	__acquires(&shard->lock)
{
	spin_lock(&shard->lock);
#ifdef CONFIG_DEBUG_VM
	shard->steps = 0;
#endif
}

static inline void ksm_shard_unlock(struct ksm_shard *shard)
	__releases(&shard->lock)
{
	spin_unlock(&shard->lock);
}

/*
 * Call this wherever something is repeated under the lock: the debug kernel
 * counts.
 */
static inline void ksm_shard_step(struct ksm_shard *shard)
{
#ifdef CONFIG_DEBUG_VM
	VM_WARN_ON_ONCE(++shard->steps > KSM_STEPS_MAX);
#endif
}

static inline struct rb_root *ksm_unstable_root(struct ksm_shard *shard, u64 key)
{
	/* As a fraction: the bits below those of the shard's number. */
	u64 fraction = key << ksm_shard_bits >> 32;

	return &shard->unstable[fraction * KSM_SHARD_TREES >> 32];
}

/* A look-up of this key comes soon: prefetch what it reads first. */
static inline void ksm_shard_soon(u64 key)
{
	prefetch(ksm_shard_of(key));
}

/* And what it reads next. */
static inline void ksm_unstable_soon(u64 key)
{
	/* Only the address is used, which needs no lock. */
	prefetch(data_race(ksm_unstable_root(ksm_shard_of(key), key)->rb_node));
}

/*
 * Different pages may have the same key. A look-up visits at most this many of
 * them, so that no key can make it slow. The next look-up visits others.
 */
#define KSM_SAME_KEY_MAX	8U

int __init ksm_shard_init(void);

#endif /* _MM_KSM_SHARD_H */
