// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a guest, which reaches it by page tables that KSM does not see: it
 * has to be told of every page that is protected or replaced.
 */
#include "ksm_fixture.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define N 16
#define CODE_AT 0x1000UL
#define DATA_AT 0x10000UL

/* A guest in real mode that moves one word, and halts. */
static const uint8_t guest_store[] = { 0xa3, 0x00, 0x00, 0xf4 }; /* mov %ax, 0; hlt */
static const uint8_t guest_load[] = { 0xa1, 0x00, 0x00, 0xf4 }; /* mov 0, %ax; hlt */
#define LOAD_AT 0x100

struct guest {
	int kvm;
	int vm;
	int cpu;
	struct kvm_run *run;
	uint8_t *code;
};

static int guest_memory(struct guest *g, unsigned int slot, void *mem, size_t pages,
			uint64_t at)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = at,
		.memory_size = pages * PAGE_BYTES,
		.userspace_addr = (uintptr_t)mem,
	};

	return ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

/* With @mem as its memory. -ENODEV: there is no KVM here. */
static int guest_start(struct guest *g, char *mem, size_t pages)
{
	int err;

	g->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (g->kvm < 0)
		return -ENODEV;
	g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
	if (g->vm < 0)
		return -ENODEV;
	g->code = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	if (g->code == MAP_FAILED)
		return -ENOMEM;
	memcpy(g->code, guest_store, sizeof(guest_store));
	memcpy(g->code + LOAD_AT, guest_load, sizeof(guest_load));
	err = guest_memory(g, 0, g->code, 1, CODE_AT);
	if (!err)
		err = guest_memory(g, 1, mem, pages, DATA_AT);
	if (err)
		return err;
	g->cpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
	if (g->cpu < 0)
		return -errno;
	g->run = mmap(NULL, ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		      MAP_SHARED, g->cpu, 0);
	return g->run == MAP_FAILED ? -errno : 0;
}

/* Runs the code at @ip, with the data segment at page @page of its memory. */
static int guest_run(struct guest *g, unsigned long ip, size_t page, uint16_t *value)
{
	struct kvm_regs regs = { .rip = ip, .rax = *value, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(g->cpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.base = DATA_AT + page * PAGE_BYTES;
	sregs.ds.selector = sregs.ds.base >> 4;
	if (ioctl(g->cpu, KVM_SET_SREGS, &sregs) || ioctl(g->cpu, KVM_SET_REGS, &regs) ||
	    ioctl(g->cpu, KVM_RUN, 0) || g->run->exit_reason != KVM_EXIT_HLT ||
	    ioctl(g->cpu, KVM_GET_REGS, &regs))
		return -EIO;
	*value = regs.rax;
	return 0;
}

static int guest_writes(struct guest *g, size_t page, uint16_t value)
{
	return guest_run(g, CODE_AT, page, &value);
}

/* The first word of the page as the guest sees it, or -EIO. */
static int guest_reads(struct guest *g, size_t page)
{
	uint16_t value = 0;
	int err = guest_run(g, CODE_AT + LOAD_AT, page, &value);

	return err ? err : value;
}

static uint16_t first_word(const char *page)
{
	return *(const uint16_t *)page;
}

/* Two halves alike, all of it written by the guest, which has it mapped so. */
static int guest_fill(struct guest *g, char *mem)
{
	size_t i;
	int err = 0;

	for (i = 0; i < N && !err; i++) {
		page_fill(PAGE(mem, i), 100 + i);
		page_fill(PAGE(mem, N + i), 100 + i);
		err = guest_writes(g, i, i);
		if (!err)
			err = guest_writes(g, N + i, i);
	}
	return err;
}

/* A guest of twice N pages, which are merged by two. As guest_start(). */
static int guest_merged(struct guest *g, char *mem)
{
	int err = guest_start(g, mem, 2 * N);

	if (!err)
		err = guest_fill(g, mem);
	if (!err && madvise(mem, 2 * N * PAGE_BYTES, MADV_MERGEABLE))
		err = -errno;
	return err ? err : ksm_settle();
}

/* What the guest writes after its pages were merged is in one place alone. */
KSM_TEST(writes_are_private)
{
	char *mem = mem_map(2 * N);
	struct guest g;
	size_t i;
	int err;

	err = guest_merged(&g, mem);
	if (err == -ENODEV)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, err);
	ASSERT_COUNTERS(N, N, 0);
	/* To the first half of those, and the second of these. */
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, guest_writes(&g, i % 2 ? i : N + i, 1000 + i));
	for (i = 0; i < N; i++) {
		size_t written = i % 2 ? i : N + i, other = i % 2 ? N + i : i;

		EXPECT_EQ(1000 + i, first_word(PAGE(mem, written)));
		EXPECT_EQ(i, first_word(PAGE(mem, other)));
		EXPECT_EQ(1000 + i, guest_reads(&g, written));
		EXPECT_EQ(i, guest_reads(&g, other));
	}
}

/* What others write to its memory, the guest sees. */
KSM_TEST(sees_what_others_write)
{
	char *mem = mem_map(2 * N);
	struct guest g;
	size_t i;
	int err;

	err = guest_merged(&g, mem);
	if (err == -ENODEV)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, err);
	ASSERT_COUNTERS(N, N, 0);
	for (i = 0; i < 2 * N; i++)
		ASSERT_EQ(i % N, guest_reads(&g, i));
	for (i = 0; i < N; i++)
		page_fill(PAGE(mem, i), 200 + i);
	ASSERT_EQ(0, madvise(mem, 2 * N * PAGE_BYTES, MADV_UNMERGEABLE));
	for (i = 0; i < 2 * N; i++)
		EXPECT_EQ(first_word(PAGE(mem, i)), guest_reads(&g, i));
	for (i = N; i < 2 * N; i++) {
		page_fill(PAGE(mem, i), 300 + i);
		EXPECT_EQ(first_word(PAGE(mem, i)), guest_reads(&g, i));
	}
}

/* The same with the zero page, which nobody may ever write to. */
KSM_TEST(zero_pages_are_private)
{
	char *mem = mem_map(N);
	struct guest g;
	size_t i;
	int err;

	ASSERT_EQ(0, ksm_set("use_zero_pages", 1));
	err = guest_start(&g, mem, N);
	if (err == -ENODEV)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, err);
	mem_fill(mem, N, 0, 0);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, guest_writes(&g, i, 0));
	ASSERT_EQ(0, madvise(mem, N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_settle());
	ASSERT_EQ(N, mem_count_zero_page(0, mem, N));
	for (i = 0; i < N; i += 2)
		ASSERT_EQ(0, guest_writes(&g, i, 1000 + i));
	for (i = 0; i < N; i++) {
		EXPECT_EQ(i % 2 ? 0 : 1000 + i, first_word(PAGE(mem, i)));
		EXPECT_EQ(i % 2 ? 0 : 1000 + i, guest_reads(&g, i));
	}
}

/* Pages that the guest alone uses do not look idle for ever. */
KSM_TEST(guest_changes_are_noticed)
{
	char *mem = mem_map(2 * N);
	struct guest g;
	size_t i;
	int err;

	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	err = guest_start(&g, mem, 2 * N);
	if (err == -ENODEV)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, err);
	mem_fill(mem, 2 * N, 400, 1);
	for (i = 0; i < 2 * N; i++)
		ASSERT_EQ(0, guest_writes(&g, i, i));
	ASSERT_EQ(0, madvise(mem, 2 * N * PAGE_BYTES, MADV_MERGEABLE));
	ASSERT_EQ(0, ksm_scans(6));
	ASSERT_COUNTERS(0, 0, 2 * N);
	/* Duplicates by the guest's hand: all of a page but its first word. */
	for (i = 0; i < N; i++)
		memcpy(PAGE(mem, N + i) + 2, PAGE(mem, i) + 2, PAGE_BYTES - 2);
	ASSERT_EQ(0, ksm_scans(6));
	ASSERT_COUNTERS(0, 0, 2 * N);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, guest_writes(&g, N + i, i));
	/* As long as an access goes unnoticed at the most. */
	ASSERT_EQ(0, ksm_scans(70));
	ASSERT_COUNTERS(N, N, 0);
	for (i = 0; i < 2 * N; i++)
		EXPECT_EQ(i % N, guest_reads(&g, i));
}

TEST_HARNESS_MAIN
