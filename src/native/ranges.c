/* SPDX-License-Identifier: MIT */
/* A hash table with open addressing. The memory is the library's own: the program's allocator may
 * well live in a space, where a store of ours could end the program. */
#include "internal.h"

#include <errno.h>

#define FIRST_ROOM 64

static size_t home_of(const struct hf_ranges *ranges, size_t start, size_t len, unsigned kind)
{
	uint64_t hash = (start ^ len << 24 ^ (uint64_t)kind << 56) * 0x9e3779b97f4a7c15ULL;

	return hash >> 32 & (ranges->room - 1);
}

static size_t next_to(const struct hf_ranges *ranges, size_t i)
{
	return (i + 1) & (ranges->room - 1);
}

/* Its slot, or the free one where it would be. There always is one. */
static size_t find(const struct hf_ranges *ranges, size_t start, size_t len, unsigned kind)
{
	size_t i = home_of(ranges, start, len, kind);

	hf_assert(ranges->nr < ranges->room && !(ranges->room & (ranges->room - 1)));
	for (; ranges->slots[i].len; i = next_to(ranges, i)) {
		const struct hf_range *r = &ranges->slots[i];

		if (r->start == start && r->len == len && r->kind == kind)
			break;
	}
	return i;
}

static int grow(struct hf_ranges *ranges)
{
	struct hf_ranges bigger = { .room = ranges->room ? 2 * ranges->room : FIRST_ROOM };

	bigger.slots = hf_zalloc(bigger.room * sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < ranges->room; i++) {
		const struct hf_range *r = &ranges->slots[i];

		if (r->len)
			bigger.slots[find(&bigger, r->start, r->len, r->kind)] = *r;
	}
	hf_ranges_free(ranges);
	ranges->slots = bigger.slots;
	ranges->room = bigger.room;
	return 0;
}

static int add(struct hf_ranges *ranges, size_t start, size_t len, unsigned kind)
{
	int err = 2 * ranges->nr >= ranges->room ? grow(ranges) : 0;
	struct hf_range *r;

	hf_assert_held(&ranges->lock);
	hf_assert(len);
	if (err)
		return err;
	r = &ranges->slots[find(ranges, start, len, kind)];
	if (r->times == UINT32_MAX)
		return -EOVERFLOW;
	ranges->nr += !r->times;
	*r = (struct hf_range){ start, len, kind, r->times + 1 };
	return 0;
}

int hf_ranges_add(struct hf_ranges *ranges, size_t start, size_t len, unsigned kind)
{
	int err;

	hf_futex_lock(&ranges->lock);
	err = add(ranges, start, len, kind);
	if (!err)
		atomic_fetch_add(&ranges->total, 1);
	hf_futex_unlock(&ranges->lock);
	return err;
}

/* What a free slot would keep from being found moves into it. */
static void free_slot(struct hf_ranges *ranges, size_t hole)
{
	size_t i = next_to(ranges, hole), mask = ranges->room - 1;

	hf_assert_held(&ranges->lock);
	hf_assert(ranges->nr && !ranges->slots[hole].times);
	for (; ranges->slots[i].len; i = next_to(ranges, i)) {
		const struct hf_range *r = &ranges->slots[i];
		size_t home = home_of(ranges, r->start, r->len, r->kind);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		ranges->slots[hole] = *r;
		hole = i;
	}
	ranges->slots[hole] = (struct hf_range){ .len = 0 };
	ranges->nr--;
}

static int take_away(struct hf_ranges *ranges, size_t start, size_t len, unsigned kind)
{
	size_t i = ranges->slots ? find(ranges, start, len, kind) : 0;

	hf_assert_held(&ranges->lock);
	if (!ranges->slots || !ranges->slots[i].len)
		return -EINVAL;
	if (--ranges->slots[i].times == 0)
		free_slot(ranges, i);
	return 0;
}

int hf_ranges_remove(struct hf_ranges *ranges, size_t start, size_t len, unsigned kind)
{
	int err;

	hf_futex_lock(&ranges->lock);
	err = take_away(ranges, start, len, kind);
	if (!err)
		atomic_fetch_sub(&ranges->total, 1);
	hf_futex_unlock(&ranges->lock);
	return err;
}

void hf_ranges_free(struct hf_ranges *ranges)
{
	hf_zfree(ranges->slots, ranges->room * sizeof(*ranges->slots));
}
