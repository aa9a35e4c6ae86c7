/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz harnesses share. Each is one file with LLVMFuzzerTestOneInput(), which aborts on a
 * finding. It is linked with libFuzzer (the preset `fuzz`), or else with fuzz_driver.c, which goes
 * through the corpus and some inputs made of it.
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t max, unsigned seed);
/* Somewhere, by some bytes. The new size, which is not above `max`. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* Says what is wrong, and aborts. */
_Noreturn void fuzz_found(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Inputs are sequences of units, which are changed, left out, repeated, moved and taken from other
 * inputs as a whole: records of `record` bytes, or (0) lines.
 */
size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, size_t record);
size_t fuzz_cross_over(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
		       uint8_t *out, size_t max, unsigned seed, size_t record);

#define FUZZ_UNITS(record)                                                                         \
	size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)      \
	{                                                                                          \
		return fuzz_mutate(data, size, max, seed, record);                                 \
	}                                                                                          \
	size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b,        \
					 size_t b_size, uint8_t *out, size_t max, unsigned seed)   \
	{                                                                                          \
		return fuzz_cross_over(a, a_size, b, b_size, out, max, seed, record);              \
	}

static inline uint64_t fuzz_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 8;
}

#endif
