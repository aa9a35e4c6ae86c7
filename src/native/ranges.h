/* SPDX-License-Identifier: MIT */
/* Ranges that are pinned, as they were asked for, each as often as it is: so that a release is of
 * something that was taken, and not of parts of several. */
#ifndef HF_NATIVE_RANGES_H
#define HF_NATIVE_RANGES_H

#include "lock.h"

#include <stddef.h>

struct hf_range {
	size_t start, len; /* bytes; len 0: a free slot */
	unsigned kind;     /* the caller's */
	uint32_t times;
};

struct hf_ranges {
	struct hf_futex lock;
	struct hf_range *slots; /* NULL: none yet */
	size_t nr, room;        /* different ones; a power of two */
	_Atomic uint64_t total; /* each as often as it is there */
};

/* Once more. -ENOMEM. -EOVERFLOW: it is there too often. */
int hf_ranges_add(struct hf_ranges *ranges, size_t start, size_t len, unsigned kind);
/* Once less. -EINVAL: it is not there. */
int hf_ranges_remove(struct hf_ranges *ranges, size_t start, size_t len, unsigned kind);
void hf_ranges_free(struct hf_ranges *ranges);

static inline bool hf_ranges_any(const struct hf_ranges *ranges)
{
	return atomic_load(&ranges->total);
}

#endif
