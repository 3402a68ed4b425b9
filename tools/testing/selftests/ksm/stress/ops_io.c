// SPDX-License-Identifier: GPL-2.0
/*
 * Operations that read, write or track pages by other means than accesses of
 * the CPU: O_DIRECT, io_uring, userfaultfd; see stress.h.
 */

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../ksm_env.h"
#include "stress.h"

static struct identity file_identity(size_t block)
{
	return (struct identity){ OWNER_FILE, block * PAGE_BYTES, 2 };
}

/* This many adjacent pages, of those that move about; returns the first. */
static size_t side_by_side(struct op_args *args, size_t most)
{
	size_t n = 1;

	args->first %= SMALL;
	if (args->count > most)
		args->count = most;
	while (n < args->count && args->first + n < SMALL &&
	       me->page[args->first + n].at == PAGE(me->page[args->first].at, n))
		n++;
	args->count = n;
	return args->first;
}

static void check(size_t first, size_t count)
{
	size_t i;

	for (i = first; i < first + count; i++)
		page_check(i);
}

/*
 * The pages to fill now hold what they were filled with. If there was a broken
 * frame, nobody knows how far it came, so write them again.
 */
static void now_holds_blocks(size_t first, size_t count, size_t block, bool all)
{
	size_t i;

	for (i = 0; i < count; i++) {
		struct identity id = file_identity(block + i);

		if (!all)
			page_write(first + i, &id);
		me->page[first + i].id = id;
		me->page[first + i].lazy = 0;
		page_check(first + i);
	}
}

/* A system call may fail because of a broken frame in its buffer. */
static void io_failed(const char *what, long result, size_t first, size_t count, double since)
{
	int err = errno;

	if (!broken_explains_any(first, count, since))
		stress_fail("%s of pages %zu to %zu: %ld, %s", what, first, first + count - 1,
			    result, strerror(err));
}

static double run_time(void)
{
	return seconds_now() - shared->start;
}

/* A device writes to pages that look mergeable. */
int op_direct_read(struct op_args *args)
{
	uint64_t random = args->random;
	size_t first = side_by_side(args, FILE_OWN);
	size_t block = draw(&random, FILE_READ - FILE_OWN);
	size_t bytes = args->count * PAGE_BYTES;
	double since;
	ssize_t n;

	pages_lock(first, args->count);
	check(first, args->count);
	since = run_time();
	n = pread(shared->loop_fd, me->page[first].at, bytes, block * PAGE_BYTES);
	if (n != (ssize_t)bytes)
		io_failed("O_DIRECT read", n, first, args->count, since);
	now_holds_blocks(first, args->count, block, n == (ssize_t)bytes);
	pages_unlock(first, args->count);
	return n == (ssize_t)bytes ? 0 : -EIO;
}

/* And reads from pages that are being merged. */
int op_direct_write(struct op_args *args)
{
	size_t first = side_by_side(args, FILE_OWN);
	size_t bytes = args->count * PAGE_BYTES;
	char (*buffer)[PAGE_BYTES] = shared->buffer[life_index(me)];
	off_t at = (FILE_READ + life_index(me) * FILE_OWN) * PAGE_BYTES;
	struct stress_page *page = &me->page[first];
	double since;
	ssize_t n;
	size_t i;

	pages_lock(first, args->count);
	/* Pages that may become zero in the meantime prove nothing. */
	for (i = 0; i < args->count; i++)
		if (page[i].lazy)
			page_write(first + i, &page[i].id);
	since = run_time();
	n = pwrite(shared->loop_fd, page->at, bytes, at);
	if (n != (ssize_t)bytes)
		io_failed("O_DIRECT write", n, first, args->count, since);
	else if (pread(shared->loop_fd, buffer, bytes, at) != (ssize_t)bytes)
		stress_fail("O_DIRECT read of what was written: %m");
	for (i = 0; n == (ssize_t)bytes && i < args->count; i++)
		if (!page_holds(buffer[i], &page[i].id))
			stress_fail("a device did not read what page %zu at %p holds",
				    first + i, page[i].at);
	pages_unlock(first, args->count);
	return n == (ssize_t)bytes ? 0 : -EIO;
}

/* Attempts to register pages of movable memory, 5 ms apart. */
#define REGISTER_TRIES	10

/* Finds what is wrong with some of these pages. -ENOMEM: nothing any more. */
static int register_each(struct ring *ring, size_t first, size_t count)
{
	size_t i;
	int err;

	for (i = first; i < first + count; i++) {
		err = ring_register(ring, me->page[i].at, PAGE_BYTES);
		if (!err)
			err = ring_unregister(ring);
		if (err)
			return err;
	}
	return -ENOMEM;
}

/*
 * Pages have to leave movable memory to be pinned. If somebody else holds one
 * for a moment, gup returns -ENOMEM, which means that the caller has to try
 * again. If others of them are already pinned, gup returns how many, which
 * io_uring turns into a bad address.
 */
static int register_pages(struct ring *ring, size_t first, size_t count)
{
	int tries = 0, err;

	do {
		if (tries)
			sleep_ms(5);
		err = ring_register(ring, me->page[first].at, count * PAGE_BYTES);
		if (err == -EFAULT && count > 1)
			err = register_each(ring, first, count);
	} while (err == -ENOMEM && ++tries < REGISTER_TRIES);
	return err;
}

/* Pinned for a while, and only then written to, through the pins. */
int op_uring(struct op_args *args)
{
	uint64_t random = args->random;
	size_t first = side_by_side(args, FILE_OWN);
	size_t bytes = args->count * PAGE_BYTES;
	struct ring ring;
	double since;
	int n = -EIO;
	size_t i;
	int err;

	err = ring_open(&ring);
	if (err)
		return err;
	pages_lock(first, args->count);
	since = run_time();
	err = register_pages(&ring, first, args->count);
	/* -ENOMEM, see above, shows in the operation's count as refused. */
	if (err && err != -ENOMEM) {
		errno = -err;
		io_failed("io_uring: registering", err, first, args->count, since);
	} else if (!err) {
		sleep_ms(draw(&random, 20));
		check(first, args->count);
		n = ring_read_fixed(&ring, shared->file_fd, me->page[first].at, bytes);
		/* Pinned frames are not shared, so none can be broken. */
		if (n != (int)bytes)
			stress_fail("io_uring reads %d of %zu bytes", n, bytes);
		now_holds_blocks(first, args->count, 0, true);
		/* Nobody reports that pages written through pins are dirty. */
		for (i = first; i < first + args->count; i++)
			page_write(i, &me->page[i].id);
		err = ring_unregister(&ring);
	}
	pages_unlock(first, args->count);
	ring_close(&ring);
	return err;
}

/* -------------------------------------------------------- userfaultfd */

struct pending_write {
	size_t page;
	struct identity id;
};

static void *write_protected(void *arg)
{
	struct pending_write *pending = arg;

	page_write(pending->page, &pending->id);
	return NULL;
}

/*
 * One write meets the protection, and waits until it is reported. The page may
 * be migrating, which takes its time, but without a report the write does not
 * end.
 */
static void write_and_answer(int fd, size_t i, uint64_t *random)
{
	struct pending_write pending = { i, page_draw_identity(i, random) };
	uint16_t losses = me->page[i].losses;
	uint64_t flags = 0;
	bool ended = false;
	pthread_t thread;
	uintptr_t at = 0;

	if (pthread_create(&thread, NULL, write_protected, &pending))
		return;
	while (!at && !ended) {
		at = uffd_event(fd, 500, &flags);
		ended = !at && !pthread_tryjoin_np(thread, NULL);
	}
	/* A page that was lost now is another one, and not protected. */
	if (at != (uintptr_t)me->page[i].at && me->page[i].losses == losses)
		stress_fail("a write to the protected page %zu at %p was not told of (0x%zx)",
			    i, me->page[i].at, at);
	uffd_protect(fd, me->page[i].at, 1, false);
	if (!ended)
		pthread_join(thread, NULL);
}

/* Write-protected by the program itself: KSM may merge, but not unprotect. */
int op_uffd_wp(struct op_args *args)
{
	uint64_t random = args->random;
	size_t first = side_by_side(args, 16);
	char *at = me->page[first].at;
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	int err;
	size_t i;

	if (fd < 0)
		return fd;
	pages_lock(first, args->count);
	/* Pages that are there: others need no protection, and get none. */
	check(first, args->count);
	for (i = first; i < first + args->count; i++)
		page_write(i, &me->page[i].id);
	err = uffd_register(fd, at, args->count, UFFDIO_REGISTER_MODE_WP);
	if (!err)
		err = uffd_protect(fd, at, args->count, true);
	if (!err) {
		sleep_ms(draw(&random, 20));
		check(first, args->count);
		write_and_answer(fd, first + draw(&random, args->count), &random);
		err = uffd_protect(fd, at, args->count, false);
	}
	uffd_unregister(fd, at, args->count);
	close(fd);
	check(first, args->count);
	pages_unlock(first, args->count);
	return err;
}
