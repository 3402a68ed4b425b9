// SPDX-License-Identifier: GPL-2.0
/* What the KSM selftests need from the machine, besides KSM; see ksm_env.h. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ksm_env.h"
#include "ksm_util.h"

#define SWAP_BYTES (256UL << 20)
#define POLICY_BIND 2
#define MOVE_ALL (1 << 2)

pid_t pid_of(const char *name)
{
	struct dirent *d;
	pid_t pid = 0;
	DIR *proc;

	proc = opendir("/proc");
	while (!pid && proc && (d = readdir(proc))) {
		char path[300], comm[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f)) {
			comm[strcspn(comm, "\n")] = '\0';
			if (!strcmp(comm, name))
				pid = atoi(d->d_name);
		}
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return pid;
}

char task_state(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state;
}

bool tracing_has(const char *name)
{
	char path[128];

	if (access(TRACING "/events", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	snprintf(path, sizeof(path), TRACING "/%s", name);
	return !access(path, F_OK);
}

/* The header that mkswap(8) writes, as far as the kernel checks it. */
static int write_swap_header(const char *dev)
{
	static char page[PAGE_BYTES];
	uint32_t *info = (uint32_t *)(page + 1024);
	int fd = open(dev, O_WRONLY);
	int err = 0;

	if (fd < 0)
		return -errno;
	info[0] = 1;
	info[1] = SWAP_BYTES / PAGE_BYTES - 1;
	memcpy(page + PAGE_BYTES - 10, "SWAPSPACE2", 10);
	if (write(fd, page, PAGE_BYTES) != PAGE_BYTES || fsync(fd))
		err = -EIO;
	close(fd);
	return err;
}

int swap_start(void)
{
	int err;

	if (access(SWAP_DEVICE, F_OK))
		return -ENODEV;
	swapoff(SWAP_DEVICE);
	file_write("/sys/block/zram0/reset", "1");
	err = file_write("/sys/block/zram0/disksize", "268435456");
	if (!err)
		err = write_swap_header(SWAP_DEVICE);
	if (!err && swapon(SWAP_DEVICE, 0))
		err = -errno;
	return err;
}

int swap_stop(void)
{
	if (swapoff(SWAP_DEVICE))
		return -errno;
	return file_write("/sys/block/zram0/reset", "1");
}

/* A memory cgroup (v2) of the test's own. */
int cgroup_start(void)
{
	int err;

	mkdir(CGROUPS, 0700);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL) && errno != EBUSY)
		return -errno;
	err = file_write(CGROUPS "/cgroup.subtree_control", "+memory");
	if (err)
		return err;
	if (mkdir(CGROUP, 0700) && errno != EEXIST)
		return -errno;
	return file_write(CGROUP "/memory.max", "max");
}

int cgroup_enter(pid_t pid)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", pid ? pid : getpid());
	return file_write(CGROUP "/cgroup.procs", text);
}

void cgroup_stop(void)
{
	rmdir(CGROUP);
	umount2(CGROUPS, MNT_DETACH);
	rmdir(CGROUPS);
}

/*
 * Reclaim uses statistics that are up to two seconds old, so try for a while after
 * the last success. Time may also pass without a try.
 */
#define RECLAIM_SECONDS 20
#define RECLAIM_TRIES 40

size_t swap_out(pid_t pid, const char *mem, size_t pages)
{
	double end = seconds_now() + RECLAIM_SECONDS;
	size_t out = 0, before;
	int tries = 0;

	while (out < pages && (tries++ < RECLAIM_TRIES || seconds_now() < end)) {
		before = out;
		file_write(CGROUP "/memory.reclaim", "16M");
		out = mem_count_swapped(pid, mem, pages);
		if (out > before) {
			tries = 0;
			end = seconds_now() + RECLAIM_SECONDS;
		}
		if (out < pages)
			sleep_ms(100);
	}
	printf("# %zu of %zu pages in swap\n", out, pages);
	return out;
}

bool two_nodes(void)
{
	return !access("/sys/devices/system/node/node1/meminfo", F_OK);
}

int bind_to_node(char *mem, size_t pages, int node)
{
	unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, mem, pages * PAGE_BYTES, POLICY_BIND, &mask, 64UL, 0);
}

int node_of(const char *addr)
{
	void *page = (void *)addr;
	int status = -1;

	if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0))
		return -errno;
	return status;
}

size_t move_to_node(pid_t pid, char *mem, size_t pages, int node)
{
	size_t moved = 0;
	size_t i;

	for (i = 0; i < pages; i++) {
		void *page = PAGE(mem, i);
		int status = -1;

		if (syscall(SYS_move_pages, pid, 1UL, &page, &node, &status, MOVE_ALL) >= 0)
			moved += status == node;
	}
	return moved;
}

int loop_open(int file)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	char path[32];
	int loop = -1;
	int nr;

	if (control < 0)
		return -errno;
	nr = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(path, sizeof(path), "/dev/loop%d", nr);
	if (nr >= 0)
		loop = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (loop < 0)
		return -errno;
	if (ioctl(loop, LOOP_SET_FD, file)) {
		close(loop);
		return -EIO;
	}
	return loop;
}

int loop_close(int loop)
{
	int err = ioctl(loop, LOOP_CLR_FD) ? -errno : 0;

	close(loop);
	return err;
}

int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -EINVAL;
	}
	return fd < 0 ? -errno : fd;
}

int uffd_register(int fd, char *mem, size_t pages, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)mem, pages * PAGE_BYTES }, .mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int uffd_protect(int fd, char *mem, size_t pages, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)mem, pages * PAGE_BYTES },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

int uffd_unregister(int fd, char *mem, size_t pages)
{
	struct uffdio_range range = { (uintptr_t)mem, pages * PAGE_BYTES };

	return ioctl(fd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

uintptr_t uffd_event(int fd, int timeout_ms, uint64_t *flags)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;

	if (poll(&pollfd, 1, timeout_ms) != 1 || read(fd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		return 0;
	*flags = msg.arg.pagefault.flags;
	return msg.arg.pagefault.address & ~(PAGE_BYTES - 1);
}

int ring_open(struct ring *r)
{
	size_t bytes;

	memset(r, 0, sizeof(*r));
	r->fd = syscall(SYS_io_uring_setup, 4, &r->params);
	if (r->fd < 0)
		return -errno;
	bytes = r->params.sq_off.array + r->params.sq_entries * sizeof(uint32_t);
	if (bytes < r->params.cq_off.cqes + r->params.cq_entries * sizeof(struct io_uring_cqe))
		bytes = r->params.cq_off.cqes +
			r->params.cq_entries * sizeof(struct io_uring_cqe);
	r->sq_bytes = bytes;
	r->sq = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->params.sq_entries * sizeof(*r->sqes), PROT_READ | PROT_WRITE,
		       MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->sq == MAP_FAILED || (void *)r->sqes == MAP_FAILED ? -ENOMEM : 0;
}

void ring_close(struct ring *r)
{
	munmap(r->sqes, r->params.sq_entries * sizeof(*r->sqes));
	munmap(r->sq, r->sq_bytes);
	close(r->fd);
}

int ring_read_fixed(struct ring *r, int from, char *to, size_t bytes)
{
	uint32_t *tail = (uint32_t *)(r->sq + r->params.sq_off.tail);
	uint32_t *array = (uint32_t *)(r->sq + r->params.sq_off.array);
	uint32_t *cq_head = (uint32_t *)(r->sq + r->params.cq_off.head);
	uint32_t slot = *tail & (r->params.sq_entries - 1);
	struct io_uring_cqe *cqe;
	int res;

	memset(&r->sqes[slot], 0, sizeof(r->sqes[slot]));
	r->sqes[slot].opcode = IORING_OP_READ_FIXED;
	r->sqes[slot].fd = from;
	r->sqes[slot].addr = (uintptr_t)to;
	r->sqes[slot].len = bytes;
	array[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	cqe = (void *)(r->sq + r->params.cq_off.cqes);
	res = cqe[*cq_head & (r->params.cq_entries - 1)].res;
	__atomic_store_n(cq_head, *cq_head + 1, __ATOMIC_RELEASE);
	return res;
}

int ring_register(struct ring *r, char *mem, size_t bytes)
{
	struct iovec iov = { mem, bytes };

	return syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, &iov, 1) ?
		-errno : 0;
}

int ring_unregister(struct ring *r)
{
	return syscall(SYS_io_uring_register, r->fd, IORING_UNREGISTER_BUFFERS, NULL, 0) ?
		-errno : 0;
}
