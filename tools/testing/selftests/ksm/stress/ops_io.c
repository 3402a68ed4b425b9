// SPDX-License-Identifier: GPL-2.0
/*
 * Operations by which others than the processor's own accesses read and write
 * pages, or track them: O_DIRECT, io_uring, userfaultfd; see stress.h.
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

/* So many pages side by side, of those that move about; where they begin. */
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
 * What was to be filled holds what it was filled with. Where a broken frame was
 * met nobody knows how far it came: written anew.
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

static void io_failed(const char *what, long result)
{
	if (!shared->poisoned)
		stress_fail("%s: %ld, %s", what, result, strerror(errno));
}

/* A device writes to pages that look like ones to be merged. */
int op_direct_read(struct op_args *args)
{
	uint64_t random = args->random;
	size_t first = side_by_side(args, FILE_OWN);
	size_t block = draw(&random, FILE_READ - FILE_OWN);
	size_t bytes = args->count * PAGE_BYTES;
	ssize_t n;

	pages_lock(first, args->count);
	check(first, args->count);
	n = pread(shared->loop_fd, me->page[first].at, bytes, block * PAGE_BYTES);
	if (n != (ssize_t)bytes)
		io_failed("O_DIRECT read", n);
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
	ssize_t n;
	size_t i;

	pages_lock(first, args->count);
	/* What may become zero meanwhile proves nothing. */
	for (i = 0; i < args->count; i++)
		if (page[i].lazy)
			page_write(first + i, &page[i].id);
	n = pwrite(shared->loop_fd, page->at, bytes, at);
	if (n == (ssize_t)bytes)
		n = pread(shared->loop_fd, buffer, bytes, at);
	if (n != (ssize_t)bytes)
		io_failed("O_DIRECT write", n);
	for (i = 0; n == (ssize_t)bytes && i < args->count; i++)
		if (!page_holds(buffer[i], &page[i].id))
			stress_fail("a device did not read what page %zu at %p holds",
				    first + i, page[i].at);
	pages_unlock(first, args->count);
	return n == (ssize_t)bytes ? 0 : -EIO;
}

/* Pinned for a while, and only then written to, through the pins. */
int op_uring(struct op_args *args)
{
	uint64_t random = args->random;
	size_t first = side_by_side(args, FILE_OWN);
	size_t bytes = args->count * PAGE_BYTES;
	struct ring ring;
	int n = -EIO;
	size_t i;
	int err;

	err = ring_open(&ring);
	if (err)
		return err;
	pages_lock(first, args->count);
	err = ring_register(&ring, me->page[first].at, bytes);
	if (!err) {
		sleep_ms(draw(&random, 20));
		check(first, args->count);
		n = ring_read_fixed(&ring, shared->file_fd, me->page[first].at, bytes);
		if (n != (int)bytes)
			io_failed("io_uring", n);
		now_holds_blocks(first, args->count, 0, n == (int)bytes);
		/* Nobody says that what came by the pins is dirty. */
		for (i = first; i < first + args->count; i++)
			page_write(i, &me->page[i].id);
		err = ring_unregister(&ring);
	}
	pages_unlock(first, args->count);
	ring_close(&ring);
	return err ? err : n == (int)bytes ? 0 : -EIO;
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
 * One write meets the protection, and waits until it is told of. The page may be
 * on its way elsewhere, which takes as long as it takes; but without being told
 * of it does not end.
 */
static void write_and_answer(int fd, size_t i, uint64_t *random)
{
	struct pending_write pending = { i, page_draw_identity(i, random) };
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
	if (at != (uintptr_t)me->page[i].at && !shared->lost)
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
