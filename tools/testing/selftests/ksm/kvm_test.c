// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a guest, which the guest reaches through page tables that KSM does
 * not see. KSM has to report every page that it protects or replaces.
 */
#include "ksm_fixture.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "ksm_env.h"
#include "lru.h"

#define N 16
#define HUGE_PAGES 512UL
#define HUGE_BYTES (HUGE_PAGES * PAGE_BYTES)
#define CODE_AT 0x1000UL
#define DATA_AT 0x10000UL
/* Only memory that is huge and equally aligned in both worlds is mapped so. */
#define HUGE_DATA_AT HUGE_BYTES

/* A guest in real mode that moves one word, and halts. */
static const uint8_t guest_store[] = { 0xa3, 0x00, 0x00, 0xf4 }; /* mov %ax, 0; hlt */
static const uint8_t guest_load[] = { 0xa1, 0x00, 0x00, 0xf4 }; /* mov 0, %ax; hlt */
#define LOAD_AT 0x100

struct guest {
	int kvm;
	int vm;
	int cpu;
	uint64_t data_at;
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

/* Starts a guest with @mem as its memory. -ENODEV: there is no KVM. */
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
	g->data_at = (uintptr_t)mem % HUGE_BYTES ? DATA_AT : HUGE_DATA_AT;
	if (!err)
		err = guest_memory(g, 1, mem, pages, g->data_at);
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
	sregs.ds.base = g->data_at + page * PAGE_BYTES;
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

/*
 * A page that a guest has used may wait on a CPU to become active. That is one reference
 * more, with which it cannot be merged, and nothing tells of it: the page is on an LRU
 * list all the time. So ksmd empties what the CPUs hold once a second.
 */
static void guest_rests(void)
{
	sleep_ms(1100);
}

/* Merges the pages that a guest has used. */
static int guest_merge(char *mem, size_t pages)
{
	guest_rests();
	return madvise(mem, pages * PAGE_BYTES, MADV_MERGEABLE) ? -errno : ksm_settle();
}

/* Two equal halves, all written by the guest, which has them mapped for writing. */
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

/* A guest with twice N pages, merged in pairs. Returns as guest_start(). */
static int guest_merged(struct guest *g, char *mem)
{
	int err = guest_start(g, mem, 2 * N);

	if (!err)
		err = guest_fill(g, mem);
	return err ? err : guest_merge(mem, 2 * N);
}

/* What the guest writes after its pages were merged is in one place only. */
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

/*
 * Pages that are merged at once but have others between them, which have no twin:
 * the guest has to be told of each.
 */
KSM_TEST(gaps_are_private)
{
	char *mem = mem_map(2 * N);
	struct guest g;
	size_t i;
	int err;

	err = guest_start(&g, mem, 2 * N);
	if (err == -ENODEV)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, err);
	for (i = 0; i < 2 * N; i++) {
		page_fill(PAGE(mem, i), i % 2 ? 700 + i : 500);
		ASSERT_EQ(0, guest_writes(&g, i, 1));
	}
	ASSERT_EQ(0, guest_merge(mem, 2 * N));
	ASSERT_COUNTERS(1, N - 1, N);
	for (i = 0; i < 2 * N; i += 2)
		ASSERT_EQ(0, guest_writes(&g, i, 1000 + i));
	for (i = 0; i < 2 * N; i++) {
		EXPECT_EQ(i % 2 ? 1 : 1000 + i, first_word(PAGE(mem, i)));
		EXPECT_EQ(i % 2 ? 1 : 1000 + i, guest_reads(&g, i));
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
	ASSERT_EQ(0, guest_merge(mem, N));
	ASSERT_EQ(N, mem_count_zero_page(0, mem, N));
	for (i = 0; i < N; i += 2)
		ASSERT_EQ(0, guest_writes(&g, i, 1000 + i));
	for (i = 0; i < N; i++) {
		EXPECT_EQ(i % 2 ? 0 : 1000 + i, first_word(PAGE(mem, i)));
		EXPECT_EQ(i % 2 ? 0 : 1000 + i, guest_reads(&g, i));
	}
}

/* Pages that only the guest uses do not look idle forever. */
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
	/* The guest makes duplicates: all of a page except its first word. */
	for (i = 0; i < N; i++)
		memcpy(PAGE(mem, N + i) + 2, PAGE(mem, i) + 2, PAGE_BYTES - 2);
	ASSERT_EQ(0, ksm_scans(6));
	ASSERT_COUNTERS(0, 0, 2 * N);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, guest_writes(&g, N + i, i));
	guest_rests();
	/* The longest time that an access can go unnoticed. */
	ASSERT_EQ(0, ksm_scans(70));
	ASSERT_COUNTERS(N, N, 0);
	for (i = 0; i < 2 * N; i++)
		EXPECT_EQ(i % N, guest_reads(&g, i));
}

/* ------------------------------------- accessed bits of guests and of huge pages */

/* Few full scans pass while somebody looks. */
#define SLOWLY 100

/* Scans after which a page is not read yet if it does not seem accessed. */
#define SOON 15

/*
 * A guest's accessed bit tells of a change, long before each page is read anyway. It
 * may take some scans: pages that seem to be in use all the time are read more rarely.
 */
KSM_TEST(guest_changes_are_noticed_soon)
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
	/* Alike by twos, but for the first word. */
	mem_fill(mem, N, 400, 1);
	mem_fill(PAGE(mem, N), N, 400, 1);
	for (i = 0; i < 2 * N; i++)
		ASSERT_EQ(0, guest_writes(&g, i, i));
	ASSERT_EQ(0, madvise(mem, 2 * N * PAGE_BYTES, MADV_MERGEABLE));
	/* Few scans pass while this test is not running. */
	ASSERT_EQ(0, ksm_set("sleep_millisecs", SLOWLY));
	ASSERT_EQ(0, ksm_scans(6));
	ASSERT_COUNTERS(0, 0, 2 * N);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, guest_writes(&g, N + i, i));
	for (i = 0; i < SOON && ksm_read("pages_sharing") < N; i++)
		ASSERT_EQ(0, ksm_scans(1));
	ASSERT_COUNTERS(N, N, 0);
	for (i = 0; i < 2 * N; i++)
		EXPECT_EQ(i % N, guest_reads(&g, i));
}

/* In the second to last chunk of the second huge page. */
#define LATE_PAGE (2 * HUGE_PAGES - 20)

/* All pages differ, are known and idle. NULL if there are no huge pages. */
static char *idle_huge_pages(struct guest *g, size_t count, int *err)
{
	char *mem = mem_map((count + 1) * HUGE_PAGES);
	size_t i;

	mem = (char *)(((uintptr_t)mem + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	*err = madvise(mem, count * HUGE_BYTES, MADV_HUGEPAGE) ? -errno : 0;
	mem_fill(mem, count * HUGE_PAGES, 1000, 1);
	if (*err || !(pfn_flags(page_pfn(0, mem)) & KPAGE_THP))
		return NULL;
	/* khugepaged would undo what ksmd does, if it happens to come by; what is huge stays so. */
	*err = madvise(mem, count * HUGE_BYTES, MADV_NOHUGEPAGE) ? -errno : 0;
	if (!*err)
		*err = guest_start(g, mem, count * HUGE_PAGES);
	for (i = 0; i < count && !*err; i++)
		*err = guest_writes(g, i * HUGE_PAGES, i);
	if (!*err && madvise(mem, count * HUGE_BYTES, MADV_MERGEABLE))
		*err = -errno;
	if (!*err)
		*err = ksm_scans(6);
	return mem;
}

/* A guest that maps one of our huge pages as huge writes near the end of it. */
KSM_TEST(guest_changes_late_in_a_huge_page)
{
	struct guest g;
	char *mem, *late;
	int err;

	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	mem = idle_huge_pages(&g, 2, &err);
	if (!mem || err == -ENODEV)
		SKIP(return, "no KVM, or no huge pages");
	ASSERT_EQ(0, err);
	late = PAGE(mem, LATE_PAGE);
	/* Like page 3 except for its first word, which the guest writes. */
	memcpy(late + 2, PAGE(mem, 3) + 2, PAGE_BYTES - 2);
	ASSERT_EQ(0, guest_writes(&g, LATE_PAGE, ~first_word(PAGE(mem, 3))));
	ASSERT_EQ(0, ksm_scans(6));
	ASSERT_COUNTERS(0, 0, 2 * HUGE_PAGES);
	ASSERT_EQ(0, guest_writes(&g, LATE_PAGE, first_word(PAGE(mem, 3))));
	guest_rests();
	ASSERT_EQ(0, ksm_set("sleep_millisecs", SLOWLY));
	ASSERT_EQ(0, ksm_scans(3));
	EXPECT_TRUE(page_is_ksm(0, late));
	EXPECT_EQ(first_word(PAGE(mem, 3)), guest_reads(&g, LATE_PAGE));
}

/* Memory that the guest uses is not idle, even if ksmd was the first to see it. */
KSM_TEST(guest_use_of_a_huge_page_is_passed_on)
{
	struct guest g;
	int tries = 5;
	char *mem;
	int err;

	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	if (access(PAGE_IDLE, F_OK))
		SKIP(return, "no page_idle");
	mem = idle_huge_pages(&g, 2, &err);
	if (!mem || err == -ENODEV)
		SKIP(return, "no KVM, or no huge pages");
	ASSERT_EQ(0, err);
	/* Where answers take long, which a busy machine may do, all counts as in use. */
	do {
		ASSERT_EQ(0, idle_set_all(mem, 2 * HUGE_PAGES));
		ASSERT_EQ(0, idle_count_accessed(mem, 2 * HUGE_PAGES));
		ASSERT_LE(0, guest_reads(&g, LATE_PAGE));
		ASSERT_EQ(0, ksm_scans(2));
		ASSERT_EQ(1, idle_count_accessed(PAGE(mem, HUGE_PAGES), 1));
	} while (idle_count_accessed(mem, 1) && --tries);
	EXPECT_EQ(0, idle_count_accessed(mem, 1));
}

/* Pages around a page in use do not count as in use at the second look. */
KSM_TEST(guest_use_of_one_page_is_of_no_other)
{
	char *mem = mem_map(2 * N);
	struct guest g;
	size_t accessed = 0;
	int round, err, tries = 5;

	ASSERT_EQ(0, ksm_set("smart_scan", 1));
	if (access(PAGE_IDLE, F_OK))
		SKIP(return, "no page_idle");
	err = guest_start(&g, mem, 2 * N);
	if (err == -ENODEV)
		SKIP(return, "no KVM");
	ASSERT_EQ(0, err);
	mem_fill(mem, 2 * N, 600, 1);
	for (round = 0; round < 2 * N; round++)
		ASSERT_EQ(0, guest_writes(&g, round, round));
	ASSERT_EQ(0, madvise(mem, 2 * N * PAGE_BYTES, MADV_MERGEABLE));
	/* Where answers take long, which a busy machine may do, all counts as in use. */
	do {
		/* No use of any page is recent. */
		ASSERT_EQ(0, ksm_set("sleep_millisecs", 1));
		ASSERT_EQ(0, ksm_scans(20));
		ASSERT_EQ(0, ksm_set("sleep_millisecs", SLOWLY));
		for (round = 0; round < 2; round++) {
			ASSERT_EQ(0, idle_set_all(mem, 2 * N));
			ASSERT_LE(0, guest_reads(&g, N));
			ASSERT_EQ(0, ksm_scans(2));
			ASSERT_EQ(0, idle_get(page_pfn(0, PAGE(mem, N))));
			accessed = idle_count_accessed(mem, 2 * N);
			printf("# %zu pages are in use\n", accessed);
		}
	} while (accessed != 1 && --tries);
	EXPECT_EQ(1, accessed);
}

TEST_HARNESS_MAIN
