/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KSM selftests need from the machine, besides KSM: swap, a memory
 * cgroup, NUMA nodes, removable memory, a loop device, a userfaultfd, an
 * io_uring, a kernel thread. Each test takes what it needs, and returns it.
 */
#ifndef KSM_SELFTEST_ENV_H
#define KSM_SELFTEST_ENV_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where the test's memory cgroup (v2) is while there is one. */
#define CGROUPS "/tmp/ksm-test-cgroups"
#define CGROUP CGROUPS "/test"

/* The first process with this name, such as a kernel thread; 0 if none has. */
pid_t pid_of(const char *name);
/* Its state, such as 'S' or 'D'; 0 if there is no such process. */
char task_state(pid_t pid);

#define TRACING "/sys/kernel/tracing"

/* Does tracefs have such a file? Mounts it if necessary. */
bool tracing_has(const char *name);

#define SWAP_DEVICE "/dev/zram0"

/* Each returns 0 or -errno. */
int swap_start(void);
int swap_stop(void);
/* Mounts a cgroup hierarchy and makes the test's group. */
int cgroup_start(void);
/* Moves a process, or the caller if 0, into it; the group pays for its memory. */
int cgroup_enter(pid_t pid);
void cgroup_stop(void);
/*
 * Reclaims memory of the group until all of these pages of a process in it are
 * swapped out, or no more of them are for a while; returns how many are.
 */
size_t swap_out(pid_t pid, const char *mem, size_t pages);

/* NUMA */
bool two_nodes(void);
int bind_to_node(char *mem, size_t pages, int node);
/* The node of the page at an address of the caller, or -errno. */
int node_of(const char *addr);
/* How many pages of the process are on the node after the attempt to move all. */
size_t move_to_node(pid_t pid, char *mem, size_t pages, int node);

/* A loop device over the file, opened with O_DIRECT: a descriptor, or -errno. */
int loop_open(int file);
int loop_close(int loop);

/* userfaultfd: a descriptor, or -errno; protection against writes. */
int uffd_open(uint64_t features);
int uffd_register(int fd, char *mem, size_t pages, uint64_t mode);
int uffd_unregister(int fd, char *mem, size_t pages);
int uffd_protect(int fd, char *mem, size_t pages, bool on);
/* The address of the next event, with its flags; 0 if there is none. */
uintptr_t uffd_event(int fd, int timeout_ms, uint64_t *flags);

/* An io_uring: registered buffers are pinned for as long as they are. */
struct ring {
	int fd;
	struct io_uring_params params;
	char *sq;
	size_t sq_bytes;
	struct io_uring_sqe *sqes;
};

int ring_open(struct ring *r);
void ring_close(struct ring *r);
/* Reads from a file into the registered buffer, through its pins. */
int ring_read_fixed(struct ring *r, int from, char *to, size_t bytes);
int ring_register(struct ring *r, char *mem, size_t bytes);
int ring_unregister(struct ring *r);

#endif
