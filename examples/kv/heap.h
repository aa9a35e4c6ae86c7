/* SPDX-License-Identifier: MIT */
/*
 * An allocator inside a range of memory that may be saved, and loaded elsewhere: it refers to
 * everything by offsets from its own address, which is the beginning of the range. Offset 0 is
 * nothing.
 *
 * Good fit over segregated free lists (two-level, as TLSF), neighbours coalesce: allocating and
 * freeing take constant time, and 8 bytes a block. What is free at the end is not kept, so [0, top)
 * is all that has to be saved. One thread.
 */
#ifndef KV_HEAP_H
#define KV_HEAP_H

#include <holdfast/native.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HEAP_MAGIC 0x3176706165482e31 /* changes with the layout of anything in the range */
#define HEAP_CLASSES 43
#define HEAP_SUBCLASSES 16

struct heap {
	uint64_t magic;
	uint64_t limit; /* the range's size */
	uint64_t top;   /* the end of what has ever to be looked at */
	uint64_t used;  /* bytes of blocks in use */
	uint64_t root;  /* the user's */
	uint64_t class_map;
	uint16_t subclass_map[HEAP_CLASSES];
	uint64_t list[HEAP_CLASSES][HEAP_SUBCLASSES]; /* free blocks */
};

/* The least range. */
#define HEAP_MIN (1U << 20)

/* Makes the range empty. */
void heap_init(struct heap *heap, size_t limit);
/* Takes over a range that was loaded; false: it is none, or does not fit. */
bool heap_adopt(struct heap *heap, size_t len, size_t limit);

/* Bytes aligned to 16. 0: no room. */
uint64_t heap_alloc(struct heap *heap, size_t len);
void heap_free(struct heap *heap, uint64_t at);
/* How many bytes the block has, at least what was asked for. */
size_t heap_usable(const struct heap *heap, uint64_t at);
/* Walks all blocks and lists. False: something is not as it should be. */
bool heap_valid(const struct heap *heap);

/* The bracketed space that the range is; NULL: there is none. */
extern struct hf_native *heap_space;

/* Every store to the range is between the two. It cannot fail: the bytes are the range's, and the
 * first bracket of the thread has been. */
static inline void heap_begin_store(const void *at, size_t len)
{
	if (heap_space)
		(void)hf_native_begin_store(heap_space, at, len);
}

static inline void heap_end_store(const void *at, size_t len)
{
	if (heap_space)
		hf_native_end_store(heap_space, at, len);
}

#define HEAP_STORE(to, value)                                                                      \
	do {                                                                                       \
		__typeof__(&(to)) to_ = &(to);                                                     \
		heap_begin_store(to_, sizeof(*to_));                                               \
		*to_ = (value);                                                                    \
		heap_end_store(to_, sizeof(*to_));                                                 \
	} while (0)

static inline void heap_copy(void *to, const void *from, size_t len)
{
	if (!len)
		return;
	heap_begin_store(to, len);
	memcpy(to, from, len);
	heap_end_store(to, len);
}

static inline void heap_clear(void *to, size_t len)
{
	heap_begin_store(to, len);
	memset(to, 0, len);
	heap_end_store(to, len);
}

static inline void *heap_at(const struct heap *heap, uint64_t at)
{
	return (char *)heap + at;
}

#endif
