/* SPDX-License-Identifier: MIT */
/*
 * A space of its own gets its memory from the kernel, without telling anybody: which units have
 * some is found at each snapshot, as long as there are units without.
 */
#include "internal.h"

struct found {
	struct hf_native *space;
	int any;
};

/* The gate is closed: nobody else does. */
static void add(hf_bits *bits, uint64_t fresh)
{
	atomic_store_explicit(bits, atomic_load_explicit(bits, memory_order_relaxed) | fresh,
			      memory_order_relaxed);
}

static void mark(struct found *found, size_t word, uint64_t mask)
{
	struct hf_native *space = found->space;
	uint64_t fresh =
		mask & ~atomic_load_explicit(&space->populated[word], memory_order_relaxed);

	hf_assert_closed(&space->tree->gate);
	if (!fresh)
		return;
	add(&space->populated[word], fresh);
	add(&space->exclusive[word], fresh);
	space->todo[word] |= fresh & ~hf_prepared(space, word);
	found->any = 1;
}

static void mark_range(void *arg, char *addr, size_t len)
{
	struct found *found = arg;
	unsigned shift = found->space->tree->unit_shift;
	size_t unit = (size_t)(addr - found->space->window) >> shift;
	size_t end = (((size_t)(addr - found->space->window) + len - 1) >> shift) + 1;

	hf_assert(addr >= found->space->window && len);
	while (unit < end) {
		size_t bit = unit % HF_WORD_UNITS, nr = HF_WORD_UNITS - bit;
		uint64_t mask = ~0ULL << bit;

		if (nr > end - unit) {
			nr = end - unit;
			mask &= ~0ULL >> (HF_WORD_UNITS - bit - nr);
		}
		mark(found, unit / HF_WORD_UNITS, mask);
		unit += nr;
	}
}

static bool complete(const struct hf_native *space, size_t word)
{
	return atomic_load_explicit(&space->populated[word], memory_order_relaxed) ==
	       hf_word_mask(space->tree, word);
}

int hf_find_populated(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;
	struct found found = { .space = space };
	size_t word = 0, first;
	bool all = true;

	hf_assert_closed(&tree->gate);
	while (word < tree->nr_words) {
		if (complete(space, word)) {
			word++;
			continue;
		}
		all = false;
		for (first = word; word < tree->nr_words && !complete(space, word);)
			word++;

		size_t unit = first * HF_WORD_UNITS, end = word * HF_WORD_UNITS;
		int err = hf_pagemap_walk(
			&tree->files, HF_PAGES_POPULATED, hf_unit_addr(space, unit),
			((end < tree->nr_units ? end : tree->nr_units) - unit) << tree->unit_shift,
			mark_range, &found);

		if (err)
			return err;
	}
	space->all_populated = all;
	return found.any;
}
