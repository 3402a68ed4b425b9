// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the hash behind the fingerprints, in both of its forms:
 * against a hash that is computed in another way, with differences that are
 * known to make weaker hashes collide, and by statistics. Keys and contents are
 * the same in every run. Included by key.c.
 */
#include <kunit/test.h>
#include <linux/prandom.h>
#include <linux/slab.h>

#define WORDS	(PAGE_SIZE / sizeof(u64))

/**
 * struct nh_test - what a test of hashes works with
 * @rnd: the source of keys and contents
 * @narrow: a key
 * @wide: another
 * @a: a page
 * @b: another
 */
struct nh_test {
	struct rnd_state rnd;
	struct ksm_nh_narrow_key narrow;
#ifdef CONFIG_ARCH_SUPPORTS_INT128
	struct ksm_nh_wide_key wide;
#endif
	u64 *a;
	u64 *b;
};

/* The available forms, by number. */
#define FORMS	(1 + IS_ENABLED(CONFIG_ARCH_SUPPORTS_INT128))

static u64 nth_hash(struct nh_test *nt, unsigned int form, const u64 *page)
{
#ifdef CONFIG_ARCH_SUPPORTS_INT128
	if (form)
		return ksm_nh_wide(&nt->wide, page, NULL);
#endif
	return ksm_nh_narrow(&nt->narrow, page, NULL);
}

static void new_keys(struct nh_test *nt)
{
	prandom_bytes_state(&nt->rnd, &nt->narrow, sizeof(nt->narrow));
#ifdef CONFIG_ARCH_SUPPORTS_INT128
	prandom_bytes_state(&nt->rnd, &nt->wide, sizeof(nt->wide));
#endif
}

static int nh_test_init(struct kunit *test)
{
	struct nh_test *nt = kunit_kzalloc(test, sizeof(*nt), GFP_KERNEL);

	if (!nt)
		return -ENOMEM;
	nt->a = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	nt->b = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	if (!nt->a || !nt->b)
		return -ENOMEM;
	prandom_seed_state(&nt->rnd, 20261128);
	prandom_bytes_state(&nt->rnd, nt->a, PAGE_SIZE);
	new_keys(nt);
	test->priv = nt;
	return 0;
}

/* A number of 128 bits, beginning with the lowest 32. */
struct digits {
	u32 d[4];
};

/* to += x * y modulo 2^128, as on paper. */
static void add_product(struct digits *to, const struct digits *x,
			const struct digits *y)
{
	unsigned int i, j;

	for (i = 0; i < 4; i++) {
		u64 carry = 0;

		for (j = 0; i + j < 4; j++) {
			carry += (u64)x->d[i] * y->d[j] + to->d[i + j];
			to->d[i + j] = carry;
			carry >>= 32;
		}
	}
}

static struct digits digits_of(u64 low, u64 high)
{
	return (struct digits){ .d = { low, low >> 32, high, high >> 32 } };
}

#ifdef CONFIG_ARCH_SUPPORTS_INT128
static u64 wide_on_paper(const struct ksm_nh_wide_key *key, const u64 *page)
{
	struct digits folded = digits_of(key->add, key->add >> 64);
	unsigned int w, word, block;

	for (block = 0; block < KSM_NH_BLOCKS; block++) {
		struct digits sum = { };

		for (w = 0; w < KSM_NH_BLOCK / sizeof(u64); w += 2, page += 2) {
			struct digits x = digits_of(page[0] + key->nh[w], 0);
			struct digits y = digits_of(page[1] + key->nh[w + 1], 0);

			add_product(&sum, &x, &y);
		}
		for (word = 0; word < 2; word++) {
			u128 factor = key->fold[2 * block + word];
			struct digits x = digits_of(factor, factor >> 64);
			struct digits y = { .d = { sum.d[2 * word],
						   sum.d[2 * word + 1] } };

			add_product(&folded, &x, &y);
		}
	}
	return folded.d[2] | (u64)folded.d[3] << 32;
}
#endif

static u64 narrow_on_paper(const struct ksm_nh_narrow_key *key, const u32 *page)
{
	unsigned int half, sum, w, block;
	struct digits folded[2];

	for (half = 0; half < 2; half++)
		folded[half] = digits_of(key->add[half], 0);
	for (block = 0; block < KSM_NH_BLOCKS; block++) {
		struct digits sums[2] = { };

		for (w = 0; w < KSM_NH_BLOCK / sizeof(u32); w += 2, page += 2)
			for (sum = 0; sum < 2; sum++) {
				const u32 *nh = &key->nh[sum][w];
				struct digits x = { .d = { page[0] + nh[0] } };
				struct digits y = { .d = { page[1] + nh[1] } };

				add_product(&sums[sum], &x, &y);
			}
		for (half = 0; half < 2; half++)
			for (w = 0; w < 4; w++) {
				u64 factor = key->fold[half][4 * block + w];
				struct digits x = digits_of(factor, 0);
				struct digits y = { .d = { sums[w / 2].d[w % 2] } };

				add_product(&folded[half], &x, &y);
			}
	}
	return (u64)folded[0].d[1] << 32 | folded[1].d[1];
}

/* Random pages, and pages whose sums have the most carries. */
static void nh_reference(struct kunit *test)
{
	struct nh_test *nt = test->priv;
	unsigned int round;

	for (round = 0; round < 64; round++) {
		if (round % 4 == 0)
			new_keys(nt);
		if (round == 3)
			memset(nt->a, 0xff, PAGE_SIZE);
		if (round == 4)
			memset(&nt->narrow, 0xff, sizeof(nt->narrow));
		KUNIT_ASSERT_EQ(test, nth_hash(nt, 0, nt->a),
				narrow_on_paper(&nt->narrow, (u32 *)nt->a));
#ifdef CONFIG_ARCH_SUPPORTS_INT128
		if (round == 4)
			memset(&nt->wide, 0xff, sizeof(nt->wide));
		KUNIT_ASSERT_EQ(test, nth_hash(nt, 1, nt->a),
				wide_on_paper(&nt->wide, nt->a));
#endif
		prandom_bytes_state(&nt->rnd, nt->a, PAGE_SIZE);
	}
}

/*
 * Equal content has equal hashes: elsewhere, and with something fetched
 * meanwhile.
 */
static void nh_equal(struct kunit *test)
{
	struct nh_test *nt = test->priv;

	memcpy(nt->b, nt->a, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, nth_hash(nt, 0, nt->a), nth_hash(nt, 0, nt->b));
	KUNIT_EXPECT_EQ(test, nth_hash(nt, 0, nt->a),
			ksm_nh_narrow(&nt->narrow, nt->b, nt->a));
#ifdef CONFIG_ARCH_SUPPORTS_INT128
	KUNIT_EXPECT_EQ(test, nth_hash(nt, 1, nt->a), nth_hash(nt, 1, nt->b));
	KUNIT_EXPECT_EQ(test, nth_hash(nt, 1, nt->a),
			ksm_nh_wide(&nt->wide, nt->b, nt->a));
#endif
}

/* The words that xxh64 multiplies by. */
#define XXH_PRIME_1	0x9e3779b185ebca87ULL
#define XXH_PRIME_2	0xc2b2ae3d27d4eb4fULL
/* 1 / XXH_PRIME_2 modulo 2^64 */
#define XXH_PRIME_2_INVERSE	0x0ba79078168d4bafULL

/*
 * Turns @b into a page that differs from @a. The first two differences collide
 * under xxh64 for half of all seeds each. The others are such that sums of
 * products might miss them: words that swap places, and single bits.
 */
static void differ(struct nh_test *nt, unsigned int how)
{
	u64 delta = (1ULL << 30) * XXH_PRIME_1 * XXH_PRIME_2_INVERSE;
	unsigned int at = prandom_u32_state(&nt->rnd) % (WORDS / 2) & ~3U;
	u64 *b = nt->b;

	memcpy(b, nt->a, PAGE_SIZE);
	switch (how) {
	case 0:
	case 1:
		b[at] ^= 1ULL << 63;
		b[at + 4] += how ? delta : -delta;
		break;
	case 2:
		swap(b[at], b[at + 1]);
		break;
	case 3:
		swap(b[at], b[at + 2]);
		swap(b[at + 1], b[at + 3]);
		break;
	case 4:		/* the same place of another block */
		at %= WORDS - KSM_NH_BLOCK / sizeof(u64);
		swap(b[at], b[at + KSM_NH_BLOCK / sizeof(u64)]);
		break;
	case 5:
		b[at] ^= 1;
		break;
	case 6:
		b[at] ^= 1ULL << 63;
		break;
	default:
		b[at]++;
		b[at + 1]--;
	}
}

#define DIFFERENCES	8

static void nh_differences(struct kunit *test)
{
	struct nh_test *nt = test->priv;
	unsigned int round, how, form;

	KUNIT_ASSERT_EQ(test, XXH_PRIME_2 * XXH_PRIME_2_INVERSE, 1ULL);
	for (round = 0; round < 256; round++) {
		new_keys(nt);
		for (how = 0; how < DIFFERENCES; how++) {
			differ(nt, how);
			for (form = 0; form < FORMS; form++)
				KUNIT_ASSERT_NE_MSG(test,
						    nth_hash(nt, form, nt->a) &
						    ~KSM_PLACE_MASK,
						    nth_hash(nt, form, nt->b) &
						    ~KSM_PLACE_MASK,
						    "difference %u, form %u, key %u",
						    how, form, round);
		}
	}
}

#define PAIRS	4096

/*
 * If two pages differ in one bit, each bit of the hash differs for half of all
 * keys, and eight bits, at any place, are equal for one key in 256. The limits
 * are six standard deviations away.
 */
static void nh_statistics(struct kunit *test)
{
	unsigned int pair, form, bit, flipped[FORMS][64] = { };
	unsigned int alike[FORMS][8] = { };
	struct nh_test *nt = test->priv;

	for (pair = 0; pair < PAIRS; pair++) {
		new_keys(nt);
		memcpy(nt->b, nt->a, PAGE_SIZE);
		nt->b[pair % WORDS] ^= 1ULL << pair / 16 % 64;
		for (form = 0; form < FORMS; form++) {
			u64 hash = nth_hash(nt, form, nt->a) ^
				   nth_hash(nt, form, nt->b);

			for (bit = 0; bit < 64; bit++)
				flipped[form][bit] += hash >> bit & 1;
			for (bit = 0; bit < 8; bit++)
				alike[form][bit] += !(hash >> 8 * bit & 0xff);
		}
	}
	for (form = 0; form < FORMS; form++) {
		for (bit = 0; bit < 64; bit++) {
			KUNIT_EXPECT_GE(test, flipped[form][bit], PAIRS / 2 - 192);
			KUNIT_EXPECT_LE(test, flipped[form][bit], PAIRS / 2 + 192);
		}
		for (bit = 0; bit < 8; bit++)
			KUNIT_EXPECT_LE(test, alike[form][bit], PAIRS / 256 + 24);
	}
}

static struct kunit_case nh_cases[] = {
	KUNIT_CASE(nh_reference),
	KUNIT_CASE(nh_equal),
	KUNIT_CASE(nh_differences),
	KUNIT_CASE(nh_statistics),
	{}
};

static struct kunit_suite nh_suite = {
	.name = "ksm_nh",
	.init = nh_test_init,
	.test_cases = nh_cases,
};

kunit_test_suite(nh_suite);
