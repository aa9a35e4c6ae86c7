/* SPDX-License-Identifier: MIT */
#include "frames.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

char *hf_map_aligned(size_t len, int prot)
{
	size_t huge = 1UL << 21;
	char *p = mmap(NULL, len + huge, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *aligned;

	if (p == MAP_FAILED)
		return NULL;
	aligned = (char *)(((uintptr_t)p + huge - 1) & ~(huge - 1));
	if (aligned > p)
		munmap(p, (size_t)(aligned - p));
	munmap(aligned + len, huge - (size_t)(aligned - p));
	return aligned;
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t per_segment(const struct hf_frames *frames)
{
	return 1UL << (HF_SEGMENT_SHIFT - frames->unit_shift);
}

int hf_frames_init(struct hf_frames *frames, unsigned unit_shift, size_t limit_bytes)
{
	memset(frames, 0, sizeof(*frames));
	frames->unit_shift = unit_shift;
	frames->limit = limit_bytes >> unit_shift;
	if (limit_bytes && !frames->limit)
		frames->limit = 1;
	frames->segments = reserve(HF_SEGMENTS * sizeof(frames->segments[0]));
	return frames->segments ? 0 : -ENOMEM;
}

void hf_frames_destroy(struct hf_frames *frames)
{
	for (size_t i = 0; i < frames->nr / per_segment(frames); i++)
		munmap(frames->segments[i], 1UL << HF_SEGMENT_SHIFT);
	if (frames->segments)
		munmap(frames->segments, HF_SEGMENTS * sizeof(frames->segments[0]));
	if (frames->stack)
		munmap(frames->stack, frames->room * sizeof(frames->stack[0]));
}

static bool make_room(struct hf_frames *frames, size_t nr)
{
	size_t room = frames->room ? 2 * frames->room : 8 * per_segment(frames);
	size_t bytes = room * sizeof(frames->stack[0]);
	void *p;

	if (nr <= frames->room)
		return true;
	if (frames->stack)
		p = mremap(frames->stack, frames->room * sizeof(frames->stack[0]), bytes,
			   MREMAP_MAYMOVE);
	else
		p = reserve(bytes);
	if (!p || p == MAP_FAILED)
		return false;
	frames->stack = p;
	frames->room = room;
	return true;
}

/* Huge pages, if there are any: one fault for 512 frames. */
static bool grow(struct hf_frames *frames)
{
	size_t n = per_segment(frames), segment = frames->nr / n;
	char *p;

	hf_assert_held(&frames->lock);
	hf_assert(!frames->nr_free && frames->nr % n == 0);
	if (segment == HF_SEGMENTS || !make_room(frames, frames->nr + n))
		return false;
	p = hf_map_aligned(1UL << HF_SEGMENT_SHIFT, PROT_READ | PROT_WRITE);
	if (!p)
		return false;
	madvise(p, 1UL << HF_SEGMENT_SHIFT, MADV_HUGEPAGE);
	frames->segments[segment] = p;
	for (size_t i = n; i-- > 0;)
		frames->stack[frames->nr_free++] = (uint32_t)(frames->nr + i);
	frames->nr += n;
	return true;
}

/* The frames' lock is held. */
static size_t take(struct hf_frames *frames, uint32_t *numbers, size_t nr, size_t limit)
{
	size_t got = 0;

	hf_assert_held(&frames->lock);
	hf_assert(frames->nr_free <= frames->nr);
	while (got < nr) {
		size_t used = frames->nr - frames->nr_free;

		if (limit && used >= limit)
			break;
		if (!frames->nr_free && !grow(frames))
			break;
		numbers[got++] = frames->stack[--frames->nr_free];
	}
	return got;
}

/* The frames' lock is held. */
static void give(struct hf_frames *frames, const uint32_t *numbers, size_t nr)
{
	hf_assert_held(&frames->lock);
	hf_assert(frames->nr_free + nr <= frames->nr);
	for (size_t i = nr; i-- > 0;)
		frames->stack[frames->nr_free++] = numbers[i];
}

size_t hf_frames_get(struct hf_frames *frames, uint32_t *numbers, size_t nr)
{
	size_t got;

	hf_futex_lock(&frames->lock);
	got = take(frames, numbers, nr, frames->limit);
	hf_futex_unlock(&frames->lock);
	return got;
}

bool hf_frames_get_all(struct hf_frames *frames, uint32_t *numbers, size_t nr, bool spare)
{
	size_t limit = spare ? (frames->limit + 1) / 2 : frames->limit, got;

	hf_futex_lock(&frames->lock);
	got = take(frames, numbers, nr, limit);
	if (got < nr)
		give(frames, numbers, got);
	hf_futex_unlock(&frames->lock);
	return got == nr;
}

void hf_frames_put(struct hf_frames *frames, const uint32_t *numbers, size_t nr)
{
	hf_futex_lock(&frames->lock);
	give(frames, numbers, nr);
	hf_futex_unlock(&frames->lock);
}

char *hf_frames_addr(const struct hf_frames *frames, uint32_t number)
{
	unsigned shift = HF_SEGMENT_SHIFT - frames->unit_shift;
	size_t within = number & ((1UL << shift) - 1);

	hf_assert(number < frames->nr);
	return frames->segments[number >> shift] + (within << frames->unit_shift);
}

/* The end of the entries from `i` on that are neighbours: as a segment is pushed, and mostly what
 * comes back, numbers fall. */
static size_t end_of_run(const struct hf_frames *frames, size_t i)
{
	size_t n = per_segment(frames), segment = frames->stack[i] / n;

	hf_assert_held(&frames->lock);
	hf_assert(i < frames->nr_free);
	while (++i < frames->nr_free && frames->stack[i] == frames->stack[i - 1] - 1 &&
	       frames->stack[i] / n == segment)
		;
	return i;
}

static int give_back(char *addr, size_t len)
{
#ifdef MADV_DONTNEED_LOCKED
	if (!madvise(addr, len, MADV_DONTNEED_LOCKED))
		return 0;
#endif
	if (!madvise(addr, len, MADV_DONTNEED))
		return 0;
	return errno == EINVAL ? -EBUSY : -errno; /* or a filter */
}

int hf_frames_trim(struct hf_frames *frames)
{
	int err = 0;

	hf_futex_lock(&frames->lock);
	for (size_t i = 0, end; i < frames->nr_free && !err; i = end) {
		end = end_of_run(frames, i);
		err = give_back(hf_frames_addr(frames, frames->stack[end - 1]),
				(end - i) << frames->unit_shift);
	}
	hf_futex_unlock(&frames->lock);
	return err;
}
