/* SPDX-License-Identifier: MIT */
/*
 * The core's memory while it is explored: at the same addresses in every execution, and never
 * given out twice in one, so that whoever still uses what was freed is caught.
 */
#include "internal.h"

#include <holdfast/mm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HEAP_SIZE (1ul << 30)
#define FREED 0x5a

struct block {
	uintptr_t start;
	size_t size;
	bool freed;
	int32_t last;
};

static struct {
	unsigned char *base;
	size_t used;
	struct block *blocks;
	uint32_t nr;
	uintptr_t frames, frames_end; /* the one block that has frames */
} heap;

void hf_heap_reset(void)
{
	if (!heap.base) {
		heap.base = mmap(NULL, HEAP_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		heap.blocks = malloc(HF_MAX_BLOCKS * sizeof(*heap.blocks));
		if (heap.base == MAP_FAILED || !heap.blocks)
			abort();
	}
	heap.used = 0;
	heap.nr = 0;
	heap.frames = heap.frames_end = 0;
}

void *hf_heap_alloc(size_t size, size_t align)
{
	size_t start = (heap.used + align - 1) & ~(align - 1);

	if (heap.nr == HF_MAX_BLOCKS || start + size > HEAP_SIZE)
		return NULL;
	heap.used = start + size;
	heap.blocks[heap.nr++] = (struct block){
		.start = (uintptr_t)heap.base + start,
		.size = size,
		.last = -1,
	};
	if (align >= HF_PAGE_SIZE) {
		heap.frames = (uintptr_t)heap.base + start;
		heap.frames_end = heap.frames + size;
	}
	return heap.base + start;
}

bool hf_heap_in_frames(uintptr_t at)
{
	return at >= heap.frames && at < heap.frames_end;
}

uint32_t hf_heap_block(uintptr_t at)
{
	uint32_t lo = 0, hi = heap.nr;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (heap.blocks[mid].start <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || at >= heap.blocks[lo - 1].start + heap.blocks[lo - 1].size)
		return HF_NO_BLOCK;
	return lo - 1;
}

void hf_heap_free(void *ptr)
{
	struct block *b = &heap.blocks[hf_heap_block((uintptr_t)ptr)];

	b->freed = true;
	if (!hf_heap_in_frames(b->start))
		memset(ptr, FREED, b->size);
}

bool hf_heap_is_freed(uint32_t block)
{
	return heap.blocks[block].freed;
}

int32_t *hf_heap_last(uint32_t block)
{
	return &heap.blocks[block].last;
}

size_t hf_heap_offset(uintptr_t at)
{
	uint32_t block = hf_heap_block(at);

	return block == HF_NO_BLOCK ? 0 : at - heap.blocks[block].start;
}
