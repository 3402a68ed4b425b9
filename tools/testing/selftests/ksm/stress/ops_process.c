// SPDX-License-Identifier: GPL-2.0
/*
 * Operations that make other processes: copies that live on and end, are
 * killed, become another program, or are written to by ptrace; see stress.h.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"

/* At a time, for each life. */
#define CHILDREN 3

static struct child {
	pid_t pid;
	struct life *life;
	bool killed;
} children[CHILDREN];

static void child_ended(struct child *child, int status)
{
	bool fine = WIFEXITED(status) && !WEXITSTATUS(status);

	if (child->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		fine = true;
	if (!fine && !stress_stops())
		stress_fail("child %d ended with status 0x%x", child->pid, status);
	life_free(child->life);
	memset(child, 0, sizeof(*child));
}

void children_reap(bool all)
{
	int status;
	size_t i;

	for (i = 0; i < CHILDREN; i++)
		if (children[i].pid &&
		    waitpid(children[i].pid, &status, all ? 0 : WNOHANG) == children[i].pid)
			child_ended(&children[i], status);
}

static struct child *free_child(void)
{
	size_t i;

	children_reap(false);
	for (i = 0; i < CHILDREN; i++)
		if (!children[i].pid)
			return &children[i];
	return NULL;
}

/* In the child: it knows what it inherits, and has no thread but this one. */
static void become_child(struct life *life)
{
	me = life;
	me->pid = getpid();
	memset(children, 0, sizeof(children));
}

/*
 * Forks while no page is being written. The child's life begins as a copy of
 * ours, made beforehand, because ours changes in the meantime.
 */
static struct child *fork_life(void)
{
	struct child *child = me->depth < 2 ? free_child() : NULL;
	struct life *life = child ? life_new(life_index(me)) : NULL;
	pid_t pid;
	size_t i;

	if (!life)
		return NULL;
	fflush(stdout);
	pages_lock(0, PAGES);
	memcpy(life->page, me->page, sizeof(me->page));
	for (i = 0; i < PAGES; i++)
		life->page[i].busy = 0;
	pid = fork();
	if (pid == 0) {
		become_child(life);
		return NULL;
	}
	pages_unlock(0, PAGES);
	if (pid < 0) {
		life_free(life);
		return NULL;
	}
	child->pid = pid;
	child->life = life;
	return child;
}

static void child_writes(uint64_t *random, int n)
{
	while (n-- > 0 && !stress_stops()) {
		size_t i = draw(random, PAGES);
		struct identity id = page_draw_identity(i, random);

		page_check(i);
		page_write(i, &id);
		if (draw(random, 8) == 0)
			sleep_ms(draw(random, 10));
	}
}

/* Everything inherited is right; some is written, and then it is still right. */
static void child_lives(uint64_t random)
{
	uint64_t seed = random;
	int n = draw(&random, 8);
	int k;

	pages_check_all();
	child_writes(&random, 60);
	for (k = 0; k < n && !stress_stops(); k++)
		op_run(op_choose(ON_PAGES, seed, ops_of(ON_PAGES) + k), derive(seed, k));
	children_reap(true);
	pages_check_all();
	_exit(0);
}

int op_fork(struct op_args *args)
{
	struct life *before = me;
	struct child *child = fork_life();

	if (me != before)
		child_lives(args->random);
	return child ? 0 : -EAGAIN;
}

int op_kill(struct op_args *args)
{
	struct life *before = me;
	struct child *child = fork_life();
	uint64_t random = args->random;

	if (me != before) {
		pages_check_all();
		child_writes(&random, 10000);
		_exit(0);
	}
	if (!child)
		return -EAGAIN;
	sleep_ms(draw(&random, 40));
	child->killed = true;
	kill(child->pid, SIGKILL);
	return 0;
}

int op_exec(struct op_args *args)
{
	struct life *before = me;
	struct child *child = fork_life();
	char index[16], fd[16];

	if (me != before) {
		me->seed = args->random;
		snprintf(index, sizeof(index), "%d", life_index(me));
		snprintf(fd, sizeof(fd), "%d", shared_fd);
		execl("/proc/self/exe", "stress_test", "--live", index, fd, NULL);
		stress_fail("exec: %m");
	}
	return child ? 0 : -EAGAIN;
}

/*
 * Returns whether it was written to. A broken frame cannot be; its owner will
 * notice, or finds the old content if swap has another copy of it. The first
 * word makes the frame the child's own, which nobody breaks.
 */
static bool poke_page(pid_t pid, const struct stress_page *page, const uint64_t *words)
{
	double since = seconds_now() - shared->start;
	size_t i;
	int err;

	for (i = 0; i < PAGE_BYTES / sizeof(*words); i++) {
		if (!ptrace(PTRACE_POKEDATA, pid, (uint64_t *)page->at + i, words[i]))
			continue;
		err = errno;
		if (i || !broken_explains(pid, page->at, &page->id, since))
			stress_fail("ptrace pokes word %zu at %p: %s", i, page->at,
				    strerror(err));
		return false;
	}
	return true;
}

/* While a child stands still, pages of it are written from outside. */
int op_ptrace(struct op_args *args)
{
	uint64_t *words = (uint64_t *)shared->buffer[life_index(me)];
	struct life *before = me;
	struct child *child = fork_life();
	uint64_t random = args->random;
	int status, k;

	if (me != before) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		pages_check_all();
		_exit(0);
	}
	if (!child)
		return -EAGAIN;
	if (waitpid(child->pid, &status, 0) != child->pid || !WIFSTOPPED(status))
		stress_fail("the traced child ended with status 0x%x", status);
	for (k = 0; k < 4; k++) {
		size_t i = draw(&random, PAGES);
		struct identity id = page_draw_identity(i, &random);

		page_build(words, &id);
		if (poke_page(child->pid, &child->life->page[i], words)) {
			child->life->page[i].id = id;
			child->life->page[i].lazy = 0;
		}
		sleep_ms(draw(&random, 5));
	}
	if (ptrace(PTRACE_DETACH, child->pid, 0, 0))
		stress_fail("ptrace detach: %m");
	return 0;
}
