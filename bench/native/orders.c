/* SPDX-License-Identifier: MIT */
/* Orders in which pages are written. They are made before the clock runs. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>

uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

uint32_t *order_random(size_t n, uint64_t seed)
{
	uint32_t *order = malloc(n * sizeof(*order));

	must(order, "memory for an order");
	for (size_t i = 0; i < n; i++) {
		size_t j = (size_t)(random_next(&seed) % (i + 1));

		order[i] = order[j];
		order[j] = (uint32_t)i;
	}
	return order;
}

/* Ranks after Gray and others, "Quickly generating billion-record synthetic databases". */
uint32_t *order_zipf(size_t n, uint64_t seed)
{
	const double theta = 0.99, alpha = 1 / (1 - theta);
	uint32_t *draws = malloc(n * sizeof(*draws)), *place = order_random(n, seed + 1);
	double zeta = 0, zeta2 = 1 + pow(0.5, theta), eta;

	must(draws, "memory for draws");
	for (size_t i = 1; i <= n; i++)
		zeta += 1 / pow((double)i, theta);
	eta = (1 - pow(2 / (double)n, 1 - theta)) / (1 - zeta2 / zeta);
	for (size_t i = 0; i < n; i++) {
		double u = (double)(random_next(&seed) >> 11) * 0x1p-53;
		size_t rank = (size_t)((double)n * pow(eta * u - eta + 1, alpha));

		if (u * zeta < 1)
			rank = 0;
		else if (u * zeta < zeta2)
			rank = 1;
		draws[i] = place[rank < n ? rank : n - 1];
	}
	free(place);
	return draws;
}

size_t order_distinct(const uint32_t *order, size_t count, size_t n)
{
	bool *seen = calloc(n, sizeof(*seen));
	size_t distinct = 0;

	must(seen, "memory to count pages");
	for (size_t i = 0; i < count; i++) {
		distinct += !seen[order[i]];
		seen[order[i]] = true;
	}
	free(seen);
	return distinct;
}
