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

static void mark(struct found *found, size_t unit)
{
	struct hf_native *space = found->space;
	size_t word = unit / HF_WORD_UNITS;
	uint64_t bit = 1ULL << unit % HF_WORD_UNITS;

	if (atomic_load_explicit(&space->populated[word], memory_order_relaxed) & bit)
		return;
	atomic_fetch_or_explicit(&space->populated[word], bit, memory_order_relaxed);
	atomic_fetch_or_explicit(&space->exclusive[word], bit, memory_order_relaxed);
	space->todo[word] |= bit & ~hf_prepared(space, word);
	found->any = 1;
}

static void mark_range(void *arg, char *addr, size_t len)
{
	struct found *found = arg;
	unsigned shift = found->space->tree->unit_shift;
	size_t first = (size_t)(addr - found->space->window) >> shift;
	size_t last = ((size_t)(addr - found->space->window) + len - 1) >> shift;

	for (size_t unit = first; unit <= last; unit++)
		mark(found, unit);
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

	while (word < tree->nr_words) {
		if (complete(space, word)) {
			word++;
			continue;
		}
		all = false;
		for (first = word; word < tree->nr_words && !complete(space, word);)
			word++;

		size_t unit = first * HF_WORD_UNITS, end = word * HF_WORD_UNITS;
		int err = hf_pagemap_walk(&tree->pagemap, hf_unit_addr(space, unit),
					  ((end < tree->nr_units ? end : tree->nr_units) - unit)
						  << tree->unit_shift,
					  mark_range, &found);

		if (err)
			return err;
	}
	space->all_populated = all;
	return found.any;
}
