/* SPDX-License-Identifier: GPL-2.0 */
/**
 * DOC: the hash of fingerprints
 *
 * Fingerprints are made with NH, the universal hash of UMAC ("UMAC: Fast and
 * Secure Message Authentication", CRYPTO 1999; RFC 4418), with the 64-bit words
 * of VMAC ("VMAC: Message Authentication Code using Universal Hashing", 2007).
 * The multilinear hash ("Strongly Universal String Hashing is Fast", The
 * Computer Journal, 2014) folds the result.
 *
 * A page is a row of blocks. NH computes a sum for each block, always with the
 * same key, from the words m of the block and the words k of the key::
 *
 *	(m[0] + k[0]) * (m[1] + k[1]) + (m[2] + k[2]) * (m[3] + k[3]) + ...
 *
 * Words are added modulo 2^64 and multiplied to 128 bits, and the products are
 * added modulo 2^128. Two blocks that differ have equal sums for at most one
 * key in 2^64, whatever they hold. The sums of all blocks, taken as words w,
 * are folded into::
 *
 *	(a + b[0] * w[0] + b[1] * w[1] + ...) modulo 2^128
 *
 * where a and b are numbers of 128 random bits. The upper 64 bits of this are
 * the hash. For two rows of words that differ, each pair of results is as
 * likely as any other, and so is each pair of any selection of their bits.
 *
 * Suppose that somebody who knows everything except the key chooses two pages
 * that differ. Then any given n bits of their hashes are equal with a chance of
 * at most 2^-n + 2^-64.
 *
 * Without 128-bit arithmetic, words have 32 bits and sums have 64. One sum per
 * block would be equal for one key in 2^32, so there are two, with independent
 * keys. Each half of the result is the upper half of a multilinear hash of 64
 * bits, with its own numbers. The bound is the same.
 */
#ifndef _MM_KSM_NH_H
#define _MM_KSM_NH_H

#include <linux/cache.h>
#include <linux/mm_types.h>
#include <linux/prefetch.h>
#include <linux/types.h>

/*
 * Bytes of a block. The key is as long, and should not push other data out of
 * the cache. While one block is hashed, as much of the next page is fetched.
 */
#define KSM_NH_BLOCK	1024U
#define KSM_NH_BLOCKS	(PAGE_SIZE / KSM_NH_BLOCK)

static __always_inline void ksm_nh_prefetch(const void *content)
{
	unsigned int line;

#pragma GCC unroll 16
	for (line = 0; line < KSM_NH_BLOCK; line += L1_CACHE_BYTES)
		prefetch(content + line);
}

#ifdef CONFIG_ARCH_SUPPORTS_INT128
/**
 * struct ksm_nh_wide_key - key of ksm_nh_wide(): random bits
 * @nh: of NH
 * @fold: factors of the sums' lower and upper words
 * @add: the initial value of the fold
 */
struct ksm_nh_wide_key {
	u64 nh[KSM_NH_BLOCK / sizeof(u64)];
	u128 fold[2 * KSM_NH_BLOCKS];
	u128 add;
};

static __always_inline u128 ksm_nh_wide_sum(const u64 *key, const u64 *block)
{
	unsigned int i;
	u128 sum = 0;

#pragma GCC unroll 8
	for (i = 0; i < KSM_NH_BLOCK / sizeof(u64); i += 2)
		sum += (u128)(block[i] + key[i]) * (block[i + 1] + key[i + 1]);
	return sum;
}

/**
 * ksm_nh_wide - hash a page with 128-bit arithmetic
 * @key: the key
 * @content: the page
 * @ahead: a page to fetch in the meantime; or NULL
 */
static inline u64 ksm_nh_wide(const struct ksm_nh_wide_key *key,
			      const void *content, const void *ahead)
{
	const u128 *fold = key->fold;
	u128 folded = key->add, sum;
	unsigned int at;

	for (at = 0; at < PAGE_SIZE; at += KSM_NH_BLOCK) {
		if (ahead)
			ksm_nh_prefetch(ahead + at);
		sum = ksm_nh_wide_sum(key->nh, content + at);
		folded += *fold++ * (u64)sum;
		folded += *fold++ * (u64)(sum >> 64);
	}
	return folded >> 64;
}
#endif

/**
 * struct ksm_nh_narrow_key - key of ksm_nh_narrow(): random bits
 * @nh: of the two sums
 * @fold: for each half of the result, factors of the sums' words
 * @add: the initial values of the folds
 */
struct ksm_nh_narrow_key {
	u32 nh[2][KSM_NH_BLOCK / sizeof(u32)];
	u64 fold[2][4 * KSM_NH_BLOCKS];
	u64 add[2];
};

static __always_inline void
ksm_nh_narrow_sums(const struct ksm_nh_narrow_key *key, const u32 *block,
		   u64 *sum)
{
	const u32 *k = key->nh[0], *l = key->nh[1];
	unsigned int i;

	sum[0] = 0;
	sum[1] = 0;
#pragma GCC unroll 4
	for (i = 0; i < KSM_NH_BLOCK / sizeof(u32); i += 2) {
		u32 first = block[i], second = block[i + 1];

		sum[0] += (u64)(u32)(first + k[i]) * (u32)(second + k[i + 1]);
		sum[1] += (u64)(u32)(first + l[i]) * (u32)(second + l[i + 1]);
	}
}

static __always_inline u64 ksm_nh_narrow_fold(const u64 *fold, const u64 *sum)
{
	return fold[0] * (u32)sum[0] + fold[1] * (u32)(sum[0] >> 32) +
	       fold[2] * (u32)sum[1] + fold[3] * (u32)(sum[1] >> 32);
}

/**
 * ksm_nh_narrow - hash a page without 128-bit arithmetic
 * @key: the key
 * @content: the page
 * @ahead: as for ksm_nh_wide()
 */
static inline u64 ksm_nh_narrow(const struct ksm_nh_narrow_key *key,
				const void *content, const void *ahead)
{
	u64 high = key->add[0], low = key->add[1], sum[2];
	unsigned int at, nr = 0;

	for (at = 0; at < PAGE_SIZE; at += KSM_NH_BLOCK, nr += 4) {
		if (ahead)
			ksm_nh_prefetch(ahead + at);
		ksm_nh_narrow_sums(key, content + at, sum);
		high += ksm_nh_narrow_fold(&key->fold[0][nr], sum);
		low += ksm_nh_narrow_fold(&key->fold[1][nr], sum);
	}
	return (high & ~0xffffffffULL) | low >> 32;
}

#endif /* _MM_KSM_NH_H */
