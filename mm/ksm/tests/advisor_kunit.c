// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the advisor: they run its rule against simulated loads. Each
 * step is a full scan by workers that scan their budget and sleep, as in
 * worker.c.
 */
#include <kunit/test.h>
#include <linux/prandom.h>

/**
 * struct plant - the simulated load
 * @set: the settings; the advisor sets pages_to_scan
 * @pages: pages of a full scan
 * @cost: CPU time of a page, ns
 * @sleep: length of a sleep, ns
 * @last: cost of the last full scan
 */
struct plant {
	struct ksm_settings set;
	u64 pages;
	u64 cost;
	u64 sleep;
	struct load last;
};

static struct plant plant_make(u64 pages)
{
	return (struct plant){
		.set = {
			.pages_to_scan = 500,
			.scan_threads = 1,
			.advisor_max_cpu = 70,
			.advisor_target_scan_time = 200,
			.advisor_min_pages_to_scan = 500,
			.advisor_max_pages_to_scan = 30000,
		},
		.pages = pages,
		.cost = 1000,
		.sleep = 20 * NSEC_PER_MSEC,
	};
}

/* Returns how long the scan took, ms. */
static u64 scan_once(struct plant *plant)
{
	unsigned int threads = plant->set.scan_threads;
	u64 sleeps = DIV_ROUND_UP_ULL(plant->pages, plant->set.pages_to_scan);

	plant->last = (struct load){
		.pages = plant->pages,
		.rounds = sleeps * threads,
		.cpu = plant->pages * plant->cost,
		.wall = sleeps * plant->sleep +
			div_u64(plant->pages * plant->cost, threads),
	};
	plant->set.pages_to_scan = advisor_advise(&plant->last, &plant->set);
	return div_u64(plant->last.wall, NSEC_PER_MSEC);
}

static void expect_near(struct kunit *test, u64 value, u64 wanted,
			unsigned int percent)
{
	KUNIT_EXPECT_GE(test, value * 100, wanted * (100 - percent));
	KUNIT_EXPECT_LE(test, value * 100, wanted * (100 + percent));
}

static u64 settled(struct plant *plant)
{
	unsigned int i;

	for (i = 0; i < 12; i++)
		scan_once(plant);
	return scan_once(plant);
}

static void advisor_meets_target(struct kunit *test)
{
	struct plant plant = plant_make(20 << 20);

	expect_near(test, settled(&plant), 200 * MSEC_PER_SEC, 2);
	plant.set.advisor_target_scan_time = 100;
	expect_near(test, settled(&plant), 100 * MSEC_PER_SEC, 2);
	plant.set.scan_threads = 4;
	expect_near(test, settled(&plant), 100 * MSEC_PER_SEC, 2);
}

/* From both sides, and without ever passing the final value. */
static void advisor_does_not_swing(struct kunit *test)
{
	static const unsigned int from[] = { 1, 500, 2000, 30000 };
	unsigned int i, step, last;

	for (i = 0; i < ARRAY_SIZE(from); i++) {
		struct plant plant = plant_make(20 << 20);
		unsigned int end;

		settled(&plant);
		end = plant.set.pages_to_scan;
		plant.set.pages_to_scan = from[i];
		for (step = 0; step < 20; step++) {
			last = plant.set.pages_to_scan;
			scan_once(&plant);
			if (last < end)
				KUNIT_EXPECT_GE(test, plant.set.pages_to_scan,
						last);
			if (last > end)
				KUNIT_EXPECT_LE(test, plant.set.pages_to_scan,
						last);
		}
		expect_near(test, plant.set.pages_to_scan, end, 1);
		last = plant.set.pages_to_scan;
		scan_once(&plant);
		KUNIT_EXPECT_EQ(test, plant.set.pages_to_scan, last);
	}
}

/* Memory grows a hundredfold, a page gets five times as expensive, and back. */
static void advisor_follows_load(struct kunit *test)
{
	struct plant plant = plant_make(1 << 20);
	unsigned int i, small;

	settled(&plant);
	small = plant.set.pages_to_scan;
	plant.pages = 20 << 20;
	for (i = 0; i < 4; i++)
		scan_once(&plant);
	expect_near(test, scan_once(&plant), 200 * MSEC_PER_SEC, 5);
	plant.cost = 5000;
	for (i = 0; i < 4; i++)
		scan_once(&plant);
	expect_near(test, scan_once(&plant), 200 * MSEC_PER_SEC, 5);
	plant.cost = 1000;
	plant.pages = 1 << 20;
	for (i = 0; i < 12; i++)
		scan_once(&plant);
	KUNIT_EXPECT_EQ(test, plant.set.pages_to_scan, small);
}

/* The load changes by a fifth at each scan, up or down: no limit is ever hit. */
static void advisor_bears_noise(struct kunit *test)
{
	struct plant plant = plant_make(20 << 20);
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, 20250211);
	settled(&plant);
	for (i = 0; i < 200; i++) {
		plant.pages = (20 << 20) / 100 *
			      (80 + prandom_u32_state(&rnd) % 41);
		expect_near(test, scan_once(&plant), 200 * MSEC_PER_SEC, 50);
		KUNIT_EXPECT_GT(test, plant.set.pages_to_scan, 1000);
		KUNIT_EXPECT_LT(test, plant.set.pages_to_scan, 5000);
	}
}

static void advisor_spares_cpu(struct kunit *test)
{
	struct plant plant = plant_make(200 << 20);

	plant.set.advisor_max_cpu = 20;
	plant.set.advisor_max_pages_to_scan = 1000000;
	settled(&plant);
	expect_near(test, advisor_per_cent(plant.last.cpu, plant.last.wall), 20, 10);
	/* This is for all workers together. */
	plant.set.scan_threads = 8;
	settled(&plant);
	expect_near(test, advisor_per_cent(plant.last.cpu, plant.last.wall), 20, 10);
	/* Unlimited, it takes what the target needs. */
	plant.set.advisor_max_cpu = 800;
	expect_near(test, settled(&plant), 200 * MSEC_PER_SEC, 5);
}

static void advisor_keeps_limits(struct kunit *test)
{
	struct plant plant = plant_make(1000);

	settled(&plant);
	KUNIT_EXPECT_EQ(test, plant.set.pages_to_scan, 500);
	plant.pages = 2000ULL << 20;
	settled(&plant);
	KUNIT_EXPECT_EQ(test, plant.set.pages_to_scan, 30000);
	/* The upper one wins. */
	plant.set.advisor_min_pages_to_scan = 40000;
	settled(&plant);
	KUNIT_EXPECT_EQ(test, plant.set.pages_to_scan, 30000);
}

/* Values that nobody would sensibly write must not break the arithmetic. */
static void advisor_survives_extremes(struct kunit *test)
{
	static const unsigned long values[] = { 0, 1, 2, INT_MAX, UINT_MAX,
						ULONG_MAX };
	static const u64 loads[] = { 0, 1, 1000, 1ULL << 32, 1ULL << 50 };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(values) * ARRAY_SIZE(values); i++) {
		struct plant plant = plant_make(1);
		unsigned long a = values[i % ARRAY_SIZE(values)];
		unsigned long b = values[i / ARRAY_SIZE(values)];

		plant.set.advisor_target_scan_time = a ?: 1;
		plant.set.advisor_max_cpu = b;
		plant.set.advisor_min_pages_to_scan = a;
		plant.set.advisor_max_pages_to_scan = b;
		for (j = 0; j < ARRAY_SIZE(loads) * ARRAY_SIZE(loads); j++) {
			struct load load = {
				.pages = loads[j / ARRAY_SIZE(loads)],
				.rounds = loads[j % ARRAY_SIZE(loads)],
				.cpu = loads[j / ARRAY_SIZE(loads)],
				.wall = loads[j % ARRAY_SIZE(loads)],
			};
			u64 pages = advisor_advise(&load, &plant.set);

			KUNIT_EXPECT_LE(test, pages, b);
			KUNIT_EXPECT_GE(test, pages, min(a, b) & UINT_MAX);
		}
	}
}

static struct kunit_case advisor_cases[] = {
	KUNIT_CASE(advisor_meets_target),
	KUNIT_CASE(advisor_does_not_swing),
	KUNIT_CASE(advisor_follows_load),
	KUNIT_CASE(advisor_bears_noise),
	KUNIT_CASE(advisor_spares_cpu),
	KUNIT_CASE(advisor_keeps_limits),
	KUNIT_CASE(advisor_survives_extremes),
	{}
};

static struct kunit_suite advisor_suite = {
	.name = "ksm_advisor",
	.test_cases = advisor_cases,
};

kunit_test_suite(advisor_suite);
