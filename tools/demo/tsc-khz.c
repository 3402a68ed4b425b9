// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the rate of the time-stamp counter, which QEMU's emulated CPUs share
 * with this machine, in kHz. On a busy machine, a booting kernel first measures
 * a wrong rate and corrects it later. But KVM keeps the first value, and its
 * guests then get clocks that stand still.
 */
#include <stdio.h>
#include <time.h>

struct reading {
	unsigned long long ticks, ns;
};

static unsigned long long nanoseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* The closest of many pairs of readings, which nothing interrupted */
static struct reading read_both(void)
{
	unsigned long long before, after, ticks, best = ~0ULL;
	struct reading r = { 0 };
	int i;

	for (i = 0; i < 1000; i++) {
		before = nanoseconds();
		ticks = __builtin_ia32_rdtsc();
		after = nanoseconds();
		if (after - before >= best)
			continue;
		best = after - before;
		r.ticks = ticks;
		r.ns = before + best / 2;
	}
	return r;
}

int main(void)
{
	struct timespec wait = { .tv_nsec = 200000000 };
	struct reading first = read_both(), last;

	nanosleep(&wait, NULL);
	last = read_both();
	printf("%.0f\n", (last.ticks - first.ticks) * 1e6 / (last.ns - first.ns));
	return 0;
}
