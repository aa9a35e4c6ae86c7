/* SPDX-License-Identifier: MIT */
/*
 * Frames for the old bytes: units of memory in segments, given out by number. What is given back is
 * kept and given out first, for a frame that was never touched costs a fault more. Segments stay
 * mapped as long as the pool does: who reads a frame by a number that is no longer good reads
 * garbage, and faults never.
 */
#ifndef HF_NATIVE_FRAMES_H
#define HF_NATIVE_FRAMES_H

#include "lock.h"

#include <stdbool.h>
#include <stddef.h>

#define HF_SEGMENT_SHIFT 25 /* 32 MiB */
#define HF_SEGMENTS 65536   /* 2 TiB */

struct hf_frames {
	struct hf_futex lock;
	unsigned unit_shift;
	size_t limit;               /* frames; 0: none */
	_Atomic size_t nr, nr_free; /* that exist, that are free */
	size_t room;                /* of the stack */
	uint32_t *stack;            /* the free ones; room for all there are */
	char **segments;
};

/* Anonymous memory at a multiple of 2 MiB; len is one. NULL: none. */
char *hf_map_aligned(size_t len, int prot);

int hf_frames_init(struct hf_frames *frames, unsigned unit_shift, size_t limit_bytes);
void hf_frames_destroy(struct hf_frames *frames);
/* Gives up to `nr` frames; returns how many, fewer when there is no more memory. */
size_t hf_frames_get(struct hf_frames *frames, uint32_t *numbers, size_t nr);
/* Gives all, or none. `spare`: of a limited pool one half is left to who cannot do without. */
bool hf_frames_get_all(struct hf_frames *frames, uint32_t *numbers, size_t nr, bool spare);
void hf_frames_put(struct hf_frames *frames, const uint32_t *numbers, size_t nr);
char *hf_frames_addr(const struct hf_frames *frames, uint32_t number);
/* Gives the memory of free frames back to the system. -EBUSY: it is locked (mlockall()), and the
 * kernel is older than 5.18. */
int hf_frames_trim(struct hf_frames *frames);

#endif
