/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A peer is a child process with its own memory that does what the test tells
 * it, so that a test with several processes reads as one sequence.
 */
#ifndef KSM_SELFTEST_PEER_H
#define KSM_SELFTEST_PEER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct peer {
	pid_t pid;
	int sock;
	int child_sock;
	/* Kept for a child that the peer forks; -1 when used up. */
	int spare_sock;
	int spare_child_sock;
	char *mem;
	size_t pages;
};

/*
 * Each returns 0, or what it counted, on success, and a negative errno
 * otherwise.
 */
int peer_start(struct peer *p, size_t pages);
long peer_fill(struct peer *p, size_t first, size_t count, uint64_t seed, uint64_t step);
long peer_bad(struct peer *p, size_t first, size_t count, uint64_t seed, uint64_t step);
long peer_madvise(struct peer *p, size_t first, size_t count, int advice);
long peer_munmap(struct peer *p, size_t first, size_t count);
long peer_prctl(struct peer *p, int option, unsigned long arg);
/* The peer's memory moves to another address, by mremap(). */
long peer_move(struct peer *p);
/* The peer forks; its child becomes a peer too. Once for each peer. */
int peer_fork(struct peer *p, struct peer *child);
/* Ends the peer and waits until it is gone; its exit status or -signal. */
int peer_end(struct peer *p);
int peer_kill(struct peer *p);

#endif
