/* SPDX-License-Identifier: MIT */
/*
 * A block: a word with its size and two marks, then the user's bytes. A free one has the links of
 * its list in front, and its size again in its last word, for the neighbour behind it.
 */
#include "heap.h"

#define FREE 1UL      /* this block is free */
#define PREV_FREE 2UL /* the one before it is */
#define MARKS (FREE | PREV_FREE)
#define BLOCK_MIN 32UL
#define FIRST_CLASS 5 /* of blocks from 32 bytes on */

/* Blocks begin a word before the alignment, so that the user's bytes are aligned. */
#define FIRST_BLOCK ((sizeof(struct heap) + 8 + 15) / 16 * 16 - 8)

struct hf_native *heap_space;

struct block {
	uint64_t size; /* with the marks */
	uint64_t next, prev;
};

static struct block *block_at(const struct heap *heap, uint64_t at)
{
	return heap_at(heap, at);
}

static uint64_t size_of(const struct heap *heap, uint64_t at)
{
	return block_at(heap, at)->size & ~MARKS;
}

static uint64_t *last_word(const struct heap *heap, uint64_t at, uint64_t size)
{
	return heap_at(heap, at + size - 8);
}

static void class_of(uint64_t size, unsigned *class, unsigned *subclass)
{
	unsigned log = 63 - (unsigned)__builtin_clzl(size);

	*class = log - FIRST_CLASS;
	*subclass = size >> (log - 4) & (HEAP_SUBCLASSES - 1);
}

static void insert(struct heap *heap, uint64_t at, uint64_t size)
{
	struct block *b = block_at(heap, at);
	unsigned c, s;

	class_of(size, &c, &s);
	HEAP_STORE(b->size, size | FREE | (b->size & PREV_FREE));
	HEAP_STORE(b->prev, 0);
	HEAP_STORE(b->next, heap->list[c][s]);
	if (b->next)
		HEAP_STORE(block_at(heap, b->next)->prev, at);
	HEAP_STORE(heap->list[c][s], at);
	HEAP_STORE(heap->subclass_map[c], heap->subclass_map[c] | (uint16_t)(1U << s));
	HEAP_STORE(heap->class_map, heap->class_map | 1UL << c);
	HEAP_STORE(*last_word(heap, at, size), size);
	HEAP_STORE(block_at(heap, at + size)->size, block_at(heap, at + size)->size | PREV_FREE);
}

static void take_out(struct heap *heap, uint64_t at)
{
	struct block *b = block_at(heap, at);
	uint64_t size = b->size & ~MARKS;
	unsigned c, s;

	class_of(size, &c, &s);
	if (b->next)
		HEAP_STORE(block_at(heap, b->next)->prev, b->prev);
	if (b->prev)
		HEAP_STORE(block_at(heap, b->prev)->next, b->next);
	else
		HEAP_STORE(heap->list[c][s], b->next);
	if (!heap->list[c][s]) {
		HEAP_STORE(heap->subclass_map[c], heap->subclass_map[c] & (uint16_t) ~(1U << s));
		if (!heap->subclass_map[c])
			HEAP_STORE(heap->class_map, heap->class_map & ~(1UL << c));
	}
	HEAP_STORE(b->size, b->size & ~FREE);
}

/* A free block of a class all of whose blocks are large enough; 0: none. */
static uint64_t find(const struct heap *heap, uint64_t size)
{
	unsigned log = 63 - (unsigned)__builtin_clzl(size), c, s;
	uint64_t map;

	class_of(size + (1UL << (log - 4)) - 1, &c, &s);
	if (c >= HEAP_CLASSES)
		return 0;
	map = heap->subclass_map[c] & (~0UL << s);
	if (!map) {
		map = c + 1 < HEAP_CLASSES ? heap->class_map & (~0UL << (c + 1)) : 0;
		if (!map)
			return 0;
		c = (unsigned)__builtin_ctzl(map);
		map = heap->subclass_map[c];
	}
	return heap->list[c][__builtin_ctzl(map)];
}

/* The room behind the top is exhausted: perhaps a block of the same class is large enough. */
static uint64_t find_exact(const struct heap *heap, uint64_t size)
{
	unsigned c, s;
	uint64_t at;

	class_of(size, &c, &s);
	for (at = heap->list[c][s]; at && size_of(heap, at) < size;)
		at = block_at(heap, at)->next;
	return at;
}

void heap_init(struct heap *heap, size_t limit)
{
	heap_clear(heap, sizeof(*heap));
	HEAP_STORE(heap->magic, HEAP_MAGIC);
	HEAP_STORE(heap->limit, limit);
	HEAP_STORE(heap->top, FIRST_BLOCK);
	HEAP_STORE(block_at(heap, FIRST_BLOCK)->size, 0);
}

bool heap_adopt(struct heap *heap, size_t len, size_t limit)
{
	if (len < FIRST_BLOCK + 8 || heap->magic != HEAP_MAGIC || heap->top > len - 8 ||
	    len > limit)
		return false;
	HEAP_STORE(heap->limit, limit);
	return true;
}

/* Enlarges what is in use; the word at the top is there, without marks. */
static uint64_t extend(struct heap *heap, uint64_t size)
{
	uint64_t at = heap->top;

	if (size > heap->limit - 8 - at)
		return 0;
	HEAP_STORE(block_at(heap, at)->size, size);
	HEAP_STORE(heap->top, at + size);
	HEAP_STORE(block_at(heap, heap->top)->size, 0);
	return at;
}

static void take(struct heap *heap, uint64_t at, uint64_t size)
{
	uint64_t rest;

	take_out(heap, at);
	rest = size_of(heap, at) - size;
	if (rest < BLOCK_MIN) {
		uint64_t *behind = &block_at(heap, at + size + rest)->size;

		HEAP_STORE(*behind, *behind & ~PREV_FREE);
		return;
	}
	HEAP_STORE(block_at(heap, at)->size, block_at(heap, at)->size - rest);
	HEAP_STORE(block_at(heap, at + size)->size, 0);
	insert(heap, at + size, rest);
}

uint64_t heap_alloc(struct heap *heap, size_t len)
{
	uint64_t size, at;

	if (len > heap->limit)
		return 0;
	size = (len + 8 + 15) & ~15UL;
	if (size < BLOCK_MIN)
		size = BLOCK_MIN;
	at = find(heap, size);
	if (!at && size > heap->limit - 8 - heap->top)
		at = find_exact(heap, size);
	if (at)
		take(heap, at, size);
	else
		at = extend(heap, size);
	if (!at)
		return 0;
	HEAP_STORE(heap->used, heap->used + size_of(heap, at));
	return at + 8;
}

void heap_free(struct heap *heap, uint64_t at)
{
	uint64_t size, next;

	at -= 8;
	size = size_of(heap, at);
	HEAP_STORE(heap->used, heap->used - size);
	if (block_at(heap, at)->size & PREV_FREE) {
		uint64_t before = *last_word(heap, at, 0);

		at -= before;
		size += before;
		take_out(heap, at);
	}
	next = at + size;
	if (next < heap->top && block_at(heap, next)->size & FREE) {
		take_out(heap, next);
		size += size_of(heap, next);
		next = at + size;
	}
	if (next < heap->top) {
		insert(heap, at, size);
		return;
	}
	HEAP_STORE(heap->top, at);
	HEAP_STORE(block_at(heap, at)->size, 0);
}

size_t heap_usable(const struct heap *heap, uint64_t at)
{
	return size_of(heap, at - 8) - 8;
}

/* Is the block in the list of its class? */
static bool listed(const struct heap *heap, uint64_t at)
{
	const struct block *b = block_at(heap, at);
	unsigned c, s;

	class_of(b->size & ~MARKS, &c, &s);
	if (!(heap->class_map >> c & 1) || !(heap->subclass_map[c] >> s & 1))
		return false;
	if (b->next && block_at(heap, b->next)->prev != at)
		return false;
	return b->prev ? block_at(heap, b->prev)->next == at : heap->list[c][s] == at;
}

bool heap_valid(const struct heap *heap)
{
	bool was_free = false;
	uint64_t at = FIRST_BLOCK, used = 0;

	for (uint64_t size; at < heap->top; at += size) {
		uint64_t word = block_at(heap, at)->size;
		bool is_free = word & FREE;

		size = word & ~MARKS;
		if (size < BLOCK_MIN || size % 16 || size > heap->top - at)
			return false;
		if (was_free != !!(word & PREV_FREE) || (was_free && is_free))
			return false;
		if (is_free && (!listed(heap, at) || *last_word(heap, at, size) != size))
			return false;
		used += is_free ? 0 : size;
		was_free = is_free;
	}
	return at == heap->top && !was_free && used == heap->used && !block_at(heap, at)->size;
}
