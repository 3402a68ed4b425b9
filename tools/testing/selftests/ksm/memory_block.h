/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Blocks of memory that are removed from the system and returned to it, as a
 * hypervisor does, and merged pages in such a block.
 */
#ifndef KSM_SELFTEST_MEMORY_BLOCK_H
#define KSM_SELFTEST_MEMORY_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pages of a block; 0 without memory hotplug. */
uint64_t memory_block_pages(void);
/* "offline", "online_movable"; tries again while it is in use. 0 or -errno. */
int memory_block_write(uint64_t block, const char *state);
/*
 * Only memory of the movable zone, without anything that the kernel keeps, and
 * without a broken frame, with which it could not come back.
 */
bool memory_block_can_go(uint64_t block);
/*
 * This many merged pages, twice, in a block that can be removed; NULL if there
 * is none.
 */
char *memory_block_with_merged(size_t pages, uint64_t seed);

#endif
