/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#define UNIT_MAX 512 /* bytes of a unit that are changed at once */
#define RUN_MAX 8    /* units that are taken at once */

void fuzz_found(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("FOUND: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

/* ---- units ---- */

/* Where the unit that begins at `at` ends. */
static size_t unit_end(const uint8_t *data, size_t size, size_t at, size_t record)
{
	const uint8_t *end;

	if (record)
		return size - at < record ? size : at + record;
	end = memchr(data + at, '\n', size - at);
	return end ? (size_t)(end + 1 - data) : size;
}

static size_t count_units(const uint8_t *data, size_t size, size_t record)
{
	size_t nr = 0;

	for (size_t at = 0; at < size; nr++)
		at = unit_end(data, size, at, record);
	return nr;
}

static size_t skip_units(const uint8_t *data, size_t size, size_t at, size_t nr, size_t record)
{
	for (; nr && at < size; nr--)
		at = unit_end(data, size, at, record);
	return at;
}

/* Some units of an input: [at, at + len). */
struct run {
	size_t at, len;
};

static struct run pick_run(const uint8_t *data, size_t size, size_t most, uint64_t *random,
			   size_t record)
{
	size_t units = count_units(data, size, record);
	struct run r;

	r.at = skip_units(data, size, 0, units ? fuzz_random(random) % units : 0, record);
	r.len = skip_units(data, size, r.at, 1 + fuzz_random(random) % most, record) - r.at;
	return r;
}

/* Puts bytes in the place of a run. The new size; the old one if there is no room. */
static size_t replace(uint8_t *data, size_t size, size_t max, struct run old, const uint8_t *bytes,
		      size_t len)
{
	if (size - old.len + len > max)
		return size;
	memmove(data + old.at + len, data + old.at + old.len, size - old.at - old.len);
	if (len)
		memcpy(data + old.at, bytes, len);
	return size - old.len + len;
}

/* ---- changes ---- */

static size_t change_unit(uint8_t *data, size_t size, size_t max, uint64_t *random, size_t record)
{
	struct run r = pick_run(data, size, 1, random, record);
	uint8_t unit[UNIT_MAX];
	size_t len;

	if (r.len > sizeof(unit))
		return LLVMFuzzerMutate(data, size, max);
	memset(unit, 0, sizeof(unit));
	memcpy(unit, data + r.at, r.len);
	if (record) {
		unit[fuzz_random(random) % record] = (uint8_t)fuzz_random(random);
		len = record;
	} else {
		len = LLVMFuzzerMutate(unit, r.len, sizeof(unit));
	}
	return replace(data, size, max, r, unit, len);
}

static size_t copy_run(uint8_t *data, size_t size, size_t max, uint64_t *random, size_t record,
		       bool move)
{
	struct run from = pick_run(data, size, RUN_MAX, random, record), to;
	uint8_t *copy = malloc(from.len + 1);

	if (!copy)
		return size;
	memcpy(copy, data + from.at, from.len);
	if (move)
		size = replace(data, size, max, from, NULL, 0);
	to = pick_run(data, size, 1, random, record);
	to.len = 0;
	size = replace(data, size, max, to, copy, from.len);
	free(copy);
	return size;
}

/* Records of any bytes; lines come from elsewhere. */
static size_t new_units(uint8_t *data, size_t size, size_t max, uint64_t *random, size_t record)
{
	struct run at = pick_run(data, size, 1, random, record);
	uint8_t unit[UNIT_MAX];
	size_t nr = size ? 1 : max / record; /* from nothing: all of it */

	at.len = 0;
	for (; nr; nr--) {
		for (size_t i = 0; i < record; i++)
			unit[i] = (uint8_t)fuzz_random(random);
		size = replace(data, size, max, at, unit, record);
	}
	return size;
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, size_t record)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1;

	if (record && (!size || fuzz_random(&random) % 6 == 0))
		return new_units(data, size, max, &random, record);
	if (!size || (!record && fuzz_random(&random) % 3 == 0))
		return LLVMFuzzerMutate(data, size, max);
	switch (fuzz_random(&random) % 6) {
	case 0:
		return replace(data, size, max, pick_run(data, size, RUN_MAX, &random, record),
			       NULL, 0);
	case 1:
		return copy_run(data, size, max, &random, record, false);
	case 2:
		return copy_run(data, size, max, &random, record, true);
	default:
		return change_unit(data, size, max, &random, record);
	}
}

/* Runs of both, in turn: some of the one, and then some of the other that stand as far behind. */
size_t fuzz_cross_over(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
		       uint8_t *out, size_t max, unsigned seed, size_t record)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1;
	size_t size = 0, at[2] = { 0, 0 };
	const uint8_t *data[2] = { a, b };
	const size_t sizes[2] = { a_size, b_size };

	for (unsigned turn = 0; at[turn & 1] < sizes[turn & 1]; turn++) {
		unsigned from = turn & 1;
		size_t nr = 1 + fuzz_random(&random) % RUN_MAX;
		size_t end = skip_units(data[from], sizes[from], at[from], nr, record);

		if (size + end - at[from] > max)
			break;
		memcpy(out + size, data[from] + at[from], end - at[from]);
		size += end - at[from];
		at[from] = end;
		at[!from] = skip_units(data[!from], sizes[!from], at[!from],
				       fuzz_random(&random) % 2 ? nr : 0, record);
	}
	return size;
}
