// SPDX-License-Identifier: GPL-2.0
/*
 * Measures how long a guest's access to its memory takes while workers merge
 * it.
 *
 * KVM does not finish a guest's page fault while a notifier's range that covers
 * it is being invalidated, and it joins concurrent ranges. So more workers in
 * the memory of one guest could mean longer faults. A guest in real mode stores
 * a word to a random page, and halts; the time of KVM_RUN is recorded. The
 * pages are equal except for that word, which has few values, so a written page
 * is soon merged again.
 *
 * Run by tools/test/guests/run --faults.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define KSM "/sys/kernel/mm/ksm/"
#define PAGE_BYTES 4096UL
#define PAGES 8192UL
#define VALUES 8
#define CODE_AT 0x1000UL
#define DATA_AT 0x100000UL
#define SAMPLES_MAX 1000000UL

static const uint8_t store[] = { 0xa3, 0x00, 0x00, 0xf4 };	/* mov %ax, 0; hlt */

static struct {
	int vm, cpu;
	struct kvm_run *run;
	char *mem;
} guest;

static uint32_t sample[SAMPLES_MAX];	/* ns */

static void die(const char *what)
{
	fprintf(stderr, "faults: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void ksm_set(const char *name, long value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), KSM "%s", name);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%ld\n", value) < 0 || fclose(f))
		die(path);
}

static long ksm_get(const char *name)
{
	char path[128];
	long value;
	FILE *f;

	snprintf(path, sizeof(path), KSM "%s", name);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%ld", &value) != 1)
		die(path);
	fclose(f);
	return value;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static char *map(size_t pages)
{
	char *mem = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		die("mmap");
	madvise(mem, pages * PAGE_BYTES, MADV_NOHUGEPAGE);
	return mem;
}

static void memory(unsigned int slot, char *mem, size_t pages, uint64_t at)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = at,
		.memory_size = pages * PAGE_BYTES,
		.userspace_addr = (uintptr_t)mem,
	};

	if (ioctl(guest.vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("KVM_SET_USER_MEMORY_REGION");
}

static void guest_start(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char *code = map(1);
	size_t i;

	if (kvm < 0)
		die("/dev/kvm");
	guest.vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (guest.vm < 0)
		die("KVM_CREATE_VM");
	memcpy(code, store, sizeof(store));
	guest.mem = map(PAGES);
	for (i = 0; i < PAGES * PAGE_BYTES; i++)
		guest.mem[i] = i % PAGE_BYTES * 37 % 251;
	memory(0, code, 1, CODE_AT);
	memory(1, guest.mem, PAGES, DATA_AT);
	guest.cpu = ioctl(guest.vm, KVM_CREATE_VCPU, 0);
	if (guest.cpu < 0)
		die("KVM_CREATE_VCPU");
	guest.run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
			 MAP_SHARED, guest.cpu, 0);
	if (guest.run == MAP_FAILED)
		die("the vCPU's mmap");
	if (madvise(guest.mem, PAGES * PAGE_BYTES, MADV_MERGEABLE))
		die("MADV_MERGEABLE");
}

/* Lets the guest write to the page; returns how long that took, in ns. */
static uint64_t guest_writes(size_t page, uint16_t value)
{
	struct kvm_regs regs = { .rip = CODE_AT, .rax = value, .rflags = 2 };
	struct kvm_sregs sregs;
	uint64_t start, end;

	if (ioctl(guest.cpu, KVM_GET_SREGS, &sregs))
		die("KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.base = DATA_AT + page * PAGE_BYTES;
	sregs.ds.selector = 0;
	if (ioctl(guest.cpu, KVM_SET_SREGS, &sregs) || ioctl(guest.cpu, KVM_SET_REGS, &regs))
		die("KVM_SET_SREGS");
	start = now_ns();
	if (ioctl(guest.cpu, KVM_RUN, 0))
		die("KVM_RUN");
	end = now_ns();
	if (guest.run->exit_reason != KVM_EXIT_HLT) {
		fprintf(stderr, "faults: the guest left for reason %u\n",
			guest.run->exit_reason);
		exit(1);
	}
	if (*(uint16_t *)(guest.mem + page * PAGE_BYTES) != value) {
		fprintf(stderr, "faults: the guest's write is not there\n");
		exit(1);
	}
	return end - start;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Measures with this many workers, or none, for this long. */
static void measure(unsigned int workers, unsigned int seconds)
{
	uint64_t end = now_ns() + seconds * 1000000000ULL;
	unsigned long n = 0, scanned = ksm_get("pages_scanned"), sharing = 0;
	long scans = ksm_get("full_scans");
	unsigned int seed = 1;

	if (workers)
		ksm_set("scan_threads", workers);
	ksm_set("run", !!workers);
	while (n < SAMPLES_MAX && now_ns() < end) {
		seed = seed * 1664525 + 1013904223;
		sample[n++] = guest_writes((seed >> 8) % PAGES, seed % VALUES);
	}
	sharing = ksm_get("pages_sharing");
	scanned = ksm_get("pages_scanned") - scanned;
	scans = ksm_get("full_scans") - scans;
	ksm_set("run", 0);
	qsort(sample, n, sizeof(*sample), by_size);
	printf("%2u workers: %7lu writes, us: p50 %.1f p90 %.1f p99 %.1f p99.9 %.1f most %.1f; ",
	       workers, n, sample[n / 2] / 1e3, sample[n * 9 / 10] / 1e3,
	       sample[n * 99 / 100] / 1e3, sample[n * 999 / 1000] / 1e3, sample[n - 1] / 1e3);
	printf("%lu pages looked at a write, %ld scans, %lu shared\n", scanned / n, scans, sharing);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const unsigned int workers[] = { 0, 1, 2, 8, 1, 8 };
	unsigned int seconds = argc > 1 ? atoi(argv[1]) : 10, i;

	if (!seconds || argc > 2) {
		fprintf(stderr, "usage: faults [SECONDS]   for each number of workers\n");
		return 2;
	}
	guest_start();
	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 100000);
	ksm_set("smart_scan", 0);
	for (i = 0; i < sizeof(workers) / sizeof(*workers); i++)
		measure(workers[i], seconds);
	ksm_set("scan_threads", 1);
	ksm_set("run", 2);
	return 0;
}
