// SPDX-License-Identifier: GPL-2.0
/* Child processes that tests command; see peer.h. */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_util.h"
#include "peer.h"

enum peer_op { OP_FILL, OP_BAD, OP_MADVISE, OP_MUNMAP, OP_PRCTL, OP_MOVE,
	       OP_FORK, OP_END };

struct request {
	enum peer_op op;
	size_t first;
	size_t count;
	uint64_t arg;
	uint64_t step;
};

static long do_fork(struct peer *p);

static long do_move(struct peer *p)
{
	size_t bytes = p->pages * PAGE_BYTES;
	char *to = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (to == MAP_FAILED ||
	    mremap(p->mem, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		return -errno;
	p->mem = to;
	return (long)to;
}

static long serve_one(struct peer *p, const struct request *rq)
{
	char *mem = p->mem + rq->first * PAGE_BYTES;
	size_t bytes = rq->count * PAGE_BYTES;

	switch (rq->op) {
	case OP_FILL:
		mem_fill(mem, rq->count, rq->arg, rq->step);
		return 0;
	case OP_BAD:
		return mem_bad(mem, rq->count, rq->arg, rq->step);
	case OP_MADVISE:
		return madvise(mem, bytes, rq->arg) ? -errno : 0;
	case OP_MUNMAP:
		return munmap(mem, bytes) ? -errno : 0;
	case OP_PRCTL: {
		int ret = prctl(rq->first, rq->arg, 0, 0, 0);

		return ret < 0 ? -errno : ret;
	}
	case OP_MOVE:
		return do_move(p);
	case OP_FORK:
		return do_fork(p);
	default:
		return -EINVAL;
	}
}

/* Ends on request, or when the test at the other end is gone. */
static void serve(struct peer *p)
{
	struct request rq;
	long reply;

	while (recv(p->child_sock, &rq, sizeof(rq), 0) == sizeof(rq)) {
		if (rq.op == OP_END)
			_exit(0);
		reply = serve_one(p, &rq);
		if (send(p->child_sock, &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply))
			break;
	}
	_exit(1);
}

static long do_fork(struct peer *p)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		close(p->child_sock);
		p->child_sock = p->spare_child_sock;
		p->spare_child_sock = -1;
		serve(p);
	}
	close(p->spare_child_sock);
	p->spare_child_sock = -1;
	return pid;
}

static long call(struct peer *p, enum peer_op op, size_t first, size_t count,
		 uint64_t arg, uint64_t step)
{
	struct request rq = { op, first, count, arg, step };
	long reply;

	if (send(p->sock, &rq, sizeof(rq), MSG_NOSIGNAL) != sizeof(rq))
		return -errno;
	if (recv(p->sock, &reply, sizeof(reply), 0) != sizeof(reply))
		return -EPIPE;
	return reply;
}

int peer_start(struct peer *p, size_t pages)
{
	int first[2], second[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, first) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, second))
		return -errno;
	p->pages = pages;
	p->sock = first[0];
	p->child_sock = first[1];
	p->spare_sock = second[0];
	p->spare_child_sock = second[1];
	p->mem = mem_map(pages);
	if (!p->mem)
		return -ENOMEM;
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* A child that it forks must not remain as a zombie. */
		signal(SIGCHLD, SIG_IGN);
		close(p->sock);
		close(p->spare_sock);
		serve(p);
	}
	close(p->child_sock);
	close(p->spare_child_sock);
	/* The address belongs to the peer; nothing was ever touched here. */
	munmap(p->mem, pages * PAGE_BYTES);
	return 0;
}

long peer_fill(struct peer *p, size_t first, size_t count, uint64_t seed, uint64_t step)
{
	return call(p, OP_FILL, first, count, seed, step);
}

long peer_bad(struct peer *p, size_t first, size_t count, uint64_t seed, uint64_t step)
{
	return call(p, OP_BAD, first, count, seed, step);
}

long peer_madvise(struct peer *p, size_t first, size_t count, int advice)
{
	return call(p, OP_MADVISE, first, count, advice, 0);
}

long peer_munmap(struct peer *p, size_t first, size_t count)
{
	return call(p, OP_MUNMAP, first, count, 0, 0);
}

long peer_prctl(struct peer *p, int option, unsigned long arg)
{
	return call(p, OP_PRCTL, option, 0, arg, 0);
}

long peer_move(struct peer *p)
{
	long ret = call(p, OP_MOVE, 0, 0, 0, 0);

	if (ret < 0)
		return ret;
	p->mem = (char *)ret;
	return 0;
}

int peer_fork(struct peer *p, struct peer *child)
{
	long pid = call(p, OP_FORK, 0, 0, 0, 0);

	if (pid < 0)
		return pid;
	*child = *p;
	child->pid = pid;
	child->sock = p->spare_sock;
	child->spare_sock = -1;
	p->spare_sock = -1;
	return 0;
}

static int reap(struct peer *p)
{
	int status;

	close(p->sock);
	if (p->spare_sock >= 0)
		close(p->spare_sock);
	if (waitpid(p->pid, &status, 0) != p->pid) {
		double end = seconds_now() + 120;

		/* A peer's child is not ours, so wait until it disappears. */
		while (!kill(p->pid, 0) && seconds_now() < end)
			sleep_ms(1);
		return 0;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int peer_end(struct peer *p)
{
	struct request rq = { .op = OP_END };

	/* One that is dead already is reaped all the same. */
	send(p->sock, &rq, sizeof(rq), MSG_NOSIGNAL);
	return reap(p);
}

int peer_kill(struct peer *p)
{
	kill(p->pid, SIGKILL);
	return reap(p);
}
