/* SPDX-License-Identifier: MIT */
/*
 * How much to copy around a store. A fault costs as much as some ten copies of 4 KiB, and a copy
 * that nobody needed costs memory, too. So one word of each region copies nothing around, and shows
 * at the next snapshot how densely its region was really written to; the region's other words go by
 * that until the snapshot after it.
 */
#include "internal.h"

#define REGION_WORDS 64 /* 16 MiB of 4 KiB pages */
#define SAMPLE 32       /* the region's word that shows */

/* Of 64 units. */
#define DENSE_FROM 20
#define SPARSE_BELOW 10
#define MANY 7 /* faults of a word of which nothing is known, before the rest is copied */

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
	for (size_t word = SAMPLE; word < space->tree->nr_words; word += REGION_WORDS) {
		unsigned char *density = &space->density[word / REGION_WORDS];
		int n = __builtin_popcountll(
			atomic_load_explicit(&space->exclusive[word], memory_order_relaxed));

		if (n)
			*density = n >= DENSE_FROM ? DENSE : n < SPARSE_BELOW ? SPARSE : UNKNOWN;
		else if (*density == DENSE && written(space, word / REGION_WORDS))
			*density = UNKNOWN;
	}
}

/*
 * Where nothing is known, it is copied after as many faults as cost what the copies do: that is
 * never more than twice what would have been best. What lies beside a word that is done counts only
 * there: else one such word would have all others done after it, and the samples, which then would
 * show that for ever.
 */
bool hf_density_promises(const struct hf_native *space, size_t word, uint64_t now, bool in_order)
{
	enum density density = space->density[word / REGION_WORDS];

	if (word % REGION_WORDS == SAMPLE || density == SPARSE)
		return __builtin_popcountll(now) >= DENSE_FROM;
	return density == DENSE || in_order || __builtin_popcountll(now) >= MANY;
}

bool hf_density_promises_all(const struct hf_native *space, size_t word, size_t end, bool in_order)
{
	size_t sample = word / REGION_WORDS * REGION_WORDS + SAMPLE;
	enum density density = space->density[word / REGION_WORDS];

	if (sample >= word && sample < end)
		return false;
	return density == DENSE || (in_order && density != SPARSE);
}
