/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KSM selftests need of the machine beside KSM: swap, a memory
 * cgroup, NUMA nodes, an io_uring, a kernel thread. Each test takes what it needs, and gives it
 * back.
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

/* Each returns 0 or -errno. */
int swap_start(void);
int swap_stop(void);
/* Mounts a cgroup hierarchy and makes the test's group. */
int cgroup_start(void);
/* With a process in it, the caller if 0; memory that it takes is the group's. */
int cgroup_enter(pid_t pid);
void cgroup_stop(void);

/* NUMA */
bool two_nodes(void);
int bind_to_node(char *mem, size_t pages, int node);
/* The node of the page at an address of the caller, or -errno. */
int node_of(const char *addr);
/* How many pages of the process are on the node after the attempt to move all. */
size_t move_to_node(pid_t pid, char *mem, size_t pages, int node);

/* An io_uring: registered buffers are pinned for as long as they are. */
struct ring {
	int fd;
	struct io_uring_params params;
	char *sq;
	struct io_uring_sqe *sqes;
};

int ring_open(struct ring *r);
/* Reads from a file into the registered buffer, through its pins. */
int ring_read_fixed(struct ring *r, int from, char *to, size_t bytes);
int ring_register(struct ring *r, char *mem, size_t bytes);
int ring_unregister(struct ring *r);

#endif
