/* SPDX-License-Identifier: MIT */
/* The records of the data file: each says which it is, and whether it is whole. */
#ifndef LB_BLOCK_H
#define LB_BLOCK_H

#include "../common/xxh64.h"

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_BYTES 16384UL /* more than a page: it can tear between pages */
#define BLOCK_WORDS (BLOCK_BYTES / 8 - 4)

struct block {
	uint64_t number, version, seed;
	uint64_t checksum; /* of the whole, with this being 0 */
	uint64_t words[BLOCK_WORDS];
};

/* Writes a version of a block: every byte of it is another's than before. */
static inline void block_fill(struct block *b, uint64_t number, uint64_t version)
{
	uint64_t x = (number << 32 ^ version) * 0x9e3779b97f4a7c15 | 1;

	b->number = number;
	b->version = version;
	b->seed = x;
	b->checksum = 0;
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		b->words[i] = x;
	}
	b->checksum = xxh64(b, BLOCK_BYTES);
}

/* Clears the checksum meanwhile: `b` is a copy. */
static inline bool block_whole(struct block *b, uint64_t number)
{
	uint64_t checksum = b->checksum;

	b->checksum = 0;
	return xxh64(b, BLOCK_BYTES) == checksum && b->number == number;
}

#endif
