/* SPDX-License-Identifier: MIT */
/* XXH64 (seed 0) over whole stripes of 32 bytes: as fast as memory is read, in plain C. */
#ifndef EXAMPLES_XXH64_H
#define EXAMPLES_XXH64_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define XXH64_STRIPE 32

struct xxh64 {
	uint64_t lane[4];
	uint64_t len;
};

static const uint64_t xxh64_prime[5] = { 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9,
					 0x85ebca77c2b2ae63, 0x27d4eb2f165667c5 };

static inline uint64_t xxh64_rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline uint64_t xxh64_round(uint64_t lane, uint64_t word)
{
	return xxh64_rotate(lane + word * xxh64_prime[1], 31) * xxh64_prime[0];
}

static inline void xxh64_init(struct xxh64 *x)
{
	*x = (struct xxh64){ .lane = { xxh64_prime[0] + xxh64_prime[1], xxh64_prime[1], 0,
				       0 - xxh64_prime[0] } };
}

/* `len` is a multiple of XXH64_STRIPE. */
static inline void xxh64_update(struct xxh64 *x, const void *data, size_t len)
{
	const char *at = data;
	uint64_t word[4];

	for (size_t done = 0; done < len; done += XXH64_STRIPE) {
		memcpy(word, at + done, XXH64_STRIPE);
		for (int i = 0; i < 4; i++)
			x->lane[i] = xxh64_round(x->lane[i], word[i]);
	}
	x->len += len;
}

static inline uint64_t xxh64_digest(const struct xxh64 *x)
{
	static const int by[4] = { 1, 7, 12, 18 };
	uint64_t h = 0;

	if (x->len < XXH64_STRIPE)
		h = xxh64_prime[4];
	else {
		for (int i = 0; i < 4; i++)
			h += xxh64_rotate(x->lane[i], by[i]);
		for (int i = 0; i < 4; i++)
			h = (h ^ xxh64_round(0, x->lane[i])) * xxh64_prime[0] + xxh64_prime[3];
	}
	h += x->len;
	h = (h ^ h >> 33) * xxh64_prime[1];
	h = (h ^ h >> 29) * xxh64_prime[2];
	return h ^ h >> 32;
}

static inline uint64_t xxh64(const void *data, size_t len)
{
	struct xxh64 x;

	xxh64_init(&x);
	xxh64_update(&x, data, len);
	return xxh64_digest(&x);
}

#endif
