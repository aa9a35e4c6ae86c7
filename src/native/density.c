/* SPDX-License-Identifier: MIT */
/*
 * How much to copy around a store. A fault costs as much as some ten copies of 4 KiB, and a copy
 * that nobody needed costs memory, too. So some units of each region have nothing copied around,
 * and show at the next snapshot how densely their region was really written to; the others go by
 * that until the snapshot after it.
 */
#include "internal.h"

#define REGION_WORDS 64                /* 16 MiB of 4 KiB pages */
#define SAMPLE 32                      /* the region's word that shows, by these units */
#define SAMPLE_UNITS (0xffffULL << 24) /* the word's others are below them, or above */

/* Of the 16. */
#define DENSE_FROM 5
#define SPARSE_BELOW 3

/* Faults of a word before the rest is copied: where nothing is known, and where stores are few. */
#define MANY 7
#define VERY_MANY 20

enum density { UNKNOWN, SPARSE, DENSE };

size_t hf_density_bytes(const struct hf_tree *tree)
{
	return tree->nr_words / REGION_WORDS + 1;
}

static bool written(const struct hf_native *space, size_t region)
{
	size_t word = region * REGION_WORDS, end = word + REGION_WORDS;

	for (; word < end && word < space->tree->nr_words; word++) {
		if (atomic_load_explicit(&space->exclusive[word], memory_order_relaxed))
			return true;
	}
	return false;
}

/* Where the sample was not written to and others were, it is not dense any more. */
void hf_density_observe(struct hf_native *space)
{
	hf_assert_closed(&space->tree->gate);
	for (size_t word = SAMPLE; word < space->tree->nr_words; word += REGION_WORDS) {
		unsigned char *density = &space->density[word / REGION_WORDS];
		uint64_t exclusive =
			atomic_load_explicit(&space->exclusive[word], memory_order_relaxed);
		int n = __builtin_popcountll(exclusive & SAMPLE_UNITS);

		if (n)
			*density = n >= DENSE_FROM ? DENSE : n < SPARSE_BELOW ? SPARSE : UNKNOWN;
		else if (*density == DENSE && written(space, word / REGION_WORDS))
			*density = UNKNOWN;
	}
}

/* The units that go by the same rule. */
static uint64_t part_of(size_t unit)
{
	uint64_t bit = 1ULL << unit % HF_WORD_UNITS;

	if (unit / HF_WORD_UNITS % REGION_WORDS != SAMPLE)
		return ~0ULL;
	if (bit & SAMPLE_UNITS)
		return SAMPLE_UNITS;
	return bit < SAMPLE_UNITS ? (SAMPLE_UNITS & -SAMPLE_UNITS) - 1
				  : ~SAMPLE_UNITS & -(SAMPLE_UNITS & -SAMPLE_UNITS);
}

/*
 * Where nothing is known, it is copied after as many faults as cost what the copies do: that is
 * never more than twice what would have been best. What lies beside a word that is done does not
 * count for samples, which then would show that for ever.
 */
uint64_t hf_density_around(const struct hf_native *space, size_t unit, bool in_order)
{
	size_t word = unit / HF_WORD_UNITS;
	enum density density = space->density[word / REGION_WORDS];
	uint64_t now = atomic_load_explicit(&space->exclusive[word], memory_order_relaxed);
	uint64_t part = part_of(unit);
	bool many;

	hf_assert_word(space, word);
	if (part == SAMPLE_UNITS)
		many = __builtin_popcountll(now & part) >= DENSE_FROM;
	else if (density == SPARSE)
		many = __builtin_popcountll(now) >= VERY_MANY;
	else
		many = density == DENSE || in_order || __builtin_popcountll(now) >= MANY;
	return many ? part : 0;
}

size_t hf_density_sample(size_t word)
{
	return word / REGION_WORDS * REGION_WORDS + SAMPLE;
}

bool hf_density_promises_all(const struct hf_native *space, size_t word, size_t end, bool in_order)
{
	size_t sample = hf_density_sample(word);
	enum density density = space->density[word / REGION_WORDS];

	if (word == end || (sample >= word && sample < end))
		return false;
	return density == DENSE || (in_order && density != SPARSE);
}
