/* SPDX-License-Identifier: MIT */
/* Live memory that the program does without: it goes back to the kernel, and reads as zeros. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Whole pages go; where they do not (they are locked), at the edges, and to huge pages of the pool,
 * for of those the kernel leaves parts and says nothing, zeros are written. */
static void zero(char *addr, size_t len, bool huge)
{
	size_t head = -(uintptr_t)addr & (HF_PAGE_SIZE - 1);
	size_t pages = len > head ? (len - head) & ~(HF_PAGE_SIZE - 1) : 0;

	if (huge || !pages || madvise(addr + head, pages, MADV_DONTNEED)) {
		memset(addr, 0, len);
		return;
	}
	memset(addr, 0, head);
	memset(addr + head + pages, 0, len - head - pages);
}

/* A device would go on with a frame that is nobody's any more. The word's lock is held: no pin
 * comes meanwhile. */
static bool any_pinned(const struct hf_native *space, size_t first, size_t end)
{
	hf_assert_word(space, first / HF_WORD_UNITS);
	while (first < end && !atomic_load_explicit(&space->pins[first], memory_order_relaxed))
		first++;
	return first < end;
}

/* Bytes [from, to) of the space, which are in one word. */
static void discard_part(struct hf_native *space, size_t from, size_t to)
{
	unsigned shift = space->tree->unit_shift;
	struct hf_futex *lock = hf_word_lock(space, (from >> shift) / HF_WORD_UNITS);

	hf_futex_lock(lock);
	if (any_pinned(space, from >> shift, ((to - 1) >> shift) + 1))
		memset(space->window + from, 0, to - from);
	else
		zero(space->window + from, to - from,
		     space->tree->pages == HF_NATIVE_HUGETLB && !space->base);
	hf_futex_unlock(lock);
}

int hf_native_discard(struct hf_native *space, void *addr, size_t len)
{
	size_t from = (size_t)((char *)addr - space->window), to = from + len;
	size_t word_size = (size_t)HF_WORD_UNITS << space->tree->unit_shift;
	struct hf_undisturbed old;
	int err;

	if (!atomic_load_explicit(space->tree->alive, memory_order_relaxed))
		return -EOWNERDEAD;
	if (!space->tree->bracketed)
		return -EOPNOTSUPP;
	err = space->owned ? hf_native_begin_store(space, addr, len) : -EINVAL;
	if (err)
		return err;
	hf_enter(&old);
	while (from < to) {
		size_t next = (from / word_size + 1) * word_size;

		discard_part(space, from, next < to ? next : to);
		from = next;
	}
	hf_leave(&old);
	hf_native_end_store(space, addr, len);
	return 0;
}
