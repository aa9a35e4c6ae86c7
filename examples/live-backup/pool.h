/* SPDX-License-Identifier: MIT */
/*
 * A buffer pool in a native space: a directory, and frames that blocks of a file are read to, are
 * changed in, and are written back from. The directory is in the same space, so that every snapshot
 * has what was true of the frames at its instant.
 */
#ifndef LB_POOL_H
#define LB_POOL_H

#include "block.h"

#include <holdfast/native.h>
#include <holdfast/native_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_state {
	FRAME_EMPTY,
	FRAME_READING, /* a device writes to it */
	FRAME_VALID,
	FRAME_WRITING, /* a device reads it: valid, and nobody changes it */
};

/* An entry of the directory. Who has the latch may change it and its frame. */
struct frame {
	atomic_uint latch;
	uint32_t state;
	uint64_t block;
	uint64_t dirty; /* not written back */
};

struct pool {
	struct hf_native *space;
	struct frame *directory; /* at the space's base */
	char *frames;
	size_t nr_frames, nr_blocks;
	size_t frames_offset; /* in the space */
	int file;             /* open for O_DIRECT */
	bool pins_reads;      /* each for itself; else all frames are registered buffers */

	/* Of each block: the version that is complete. In private memory, out of the snapshots. */
	_Atomic uint64_t *latest;
	char *resident; /* the I/O thread's: blocks that have a frame */

	atomic_bool stop;
	int err;          /* of the I/O thread, when it has ended */
	const char *what; /* and what it was doing */
	_Atomic uint64_t reads, writes, updates, torn, lost;
};

/* 0 or -errno; the file is made, with version 1 of every block, and loses its name at once. */
int pool_open(struct pool *pool, const struct hf_native_config *config, const char *dir,
	      size_t file_size);
void pool_close(struct pool *pool);

/* Thread bodies: `arg` is the pool. They end when pool->stop is set. */
void *pool_io(void *arg);   /* keeps reads and writes in flight */
void *pool_work(void *arg); /* stores to valid frames */

/* When no thread runs: writes back what is dirty, and looks at the whole file. */
int pool_check_file(struct pool *pool);

static inline struct block *pool_frame(const struct pool *pool, size_t i)
{
	return (struct block *)(pool->frames + i * BLOCK_BYTES);
}

static inline bool frame_try_latch(struct frame *f)
{
	unsigned free = 0;

	return atomic_compare_exchange_strong(&f->latch, &free, 1);
}

static inline void frame_unlatch(struct frame *f)
{
	atomic_store(&f->latch, 0);
}

/* xorshift: each thread has its own. */
static inline uint64_t pool_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
