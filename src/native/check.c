/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef PR_GET_MEMORY_MERGE
#define PR_GET_MEMORY_MERGE 68
#endif

/* Bits of whole units, from a word on. */
struct found {
	const struct hf_native *space;
	size_t word;
	uint64_t *bits;
};

static void add_run(void *arg, char *addr, size_t len)
{
	struct found *found = arg;
	unsigned shift = found->space->tree->unit_shift;
	size_t start = (size_t)(addr - found->space->window);
	size_t unit = (start + (1UL << shift) - 1) >> shift, end = (start + len) >> shift;

	while (unit < end) {
		size_t bit = unit % HF_WORD_UNITS, nr = HF_WORD_UNITS - bit;

		nr = nr < end - unit ? nr : end - unit;
		found->bits[unit / HF_WORD_UNITS - found->word] |= hf_units_mask(bit, nr);
		unit += nr;
	}
}

/* Entries of huge pages of the pool tell since Linux 6.7, as PAGEMAP_SCAN does. */
static bool can_tell(const struct hf_tree *tree)
{
	return tree->files.tells && (tree->pages != HF_NATIVE_HUGETLB || tree->files.scan);
}

/* A huge page of the pool that the program gave back leaves its protection behind, as one does
 * that is being moved. Where zeros can take its place it was given back. */
static void fill_holes(void *arg, char *addr, size_t len)
{
	struct found *found = arg;
	struct hf_tree *tree = found->space->tree;
	size_t size = 1UL << tree->unit_shift;

	for (char *end = addr + len; addr < end; addr += size) {
		size_t unit = (size_t)(addr - found->space->window) / size;

		if (hf_userfault_fill_hole(&tree->files, addr, tree->zeros, size) != -EEXIST)
			found->bits[unit / HF_WORD_UNITS - found->word] &=
				~(1ULL << unit % HF_WORD_UNITS);
	}
}

/* Sets the bits, from the first unit's word on, of those of [first, first + nr) that are. */
static int find(struct hf_native *space, enum hf_pages which, size_t first, size_t nr,
		uint64_t *bits)
{
	struct hf_tree *tree = space->tree;
	struct found found = { space, first / HF_WORD_UNITS, bits };
	char *addr = hf_unit_addr(space, first);
	size_t len = nr << tree->unit_shift;
	int err = hf_pagemap_walk(&tree->files, which, addr, len, add_run, &found);

	if (err || which != HF_PAGES_PROTECTED || !hf_brings_zeros(space))
		return err;
	return hf_pagemap_walk(&tree->files, HF_PAGES_HOLES, addr, len, fill_holes, &found);
}

/* In space->todo, all of those. */
static int list(struct hf_native *space, enum hf_pages which)
{
	hf_assert_closed(&space->tree->gate);
	for (size_t word = 0; word < space->tree->nr_words; word++)
		space->todo[word] = 0;
	return find(space, which, 0, space->tree->nr_units, space->todo);
}

static void distrust(struct hf_native *space)
{
	atomic_store_explicit(&space->distrusted, true, memory_order_relaxed);
}

uint64_t hf_still_protected(struct hf_native *space, size_t word, uint64_t mask)
{
	size_t low = (size_t)__builtin_ctzll(mask), nr = 64 - (size_t)__builtin_clzll(mask) - low;
	bool tells = can_tell(space->tree);
	uint64_t bits = 0;

	hf_assert(mask && word < space->tree->nr_words);
	if (space->tree->bracketed)
		return mask;
	/* of what we bring what is there, at least:
	 * to copy what is missing is a fault that waits for us */
	if ((!tells && !hf_brings(space)) ||
	    find(space, tells ? HF_PAGES_PROTECTED : HF_PAGES_POPULATED, word * HF_WORD_UNITS + low,
		 nr, &bits))
		return mask;
	if (mask & ~bits)
		distrust(space);
	return mask & bits;
}

/* The newest snapshot has lost them. */
static void lose(struct hf_native *space, size_t word, uint64_t units)
{
	struct hf_native_snapshot *newest =
		atomic_load_explicit(&space->newest, memory_order_relaxed);

	hf_assert_closed(&space->tree->gate);
	atomic_fetch_or_explicit(&space->exclusive[word], units, memory_order_relaxed);
	for (units &= newest ? newest->populated[word] : 0; units; units &= units - 1) {
		_Atomic uint32_t *frame =
			&newest->frames[word * HF_WORD_UNITS + (size_t)__builtin_ctzll(units)];

		if (atomic_load_explicit(frame, memory_order_relaxed) != HF_FRAME_NONE)
			continue;
		atomic_store_explicit(frame, HF_FRAME_UNSEEN, memory_order_release);
		atomic_fetch_add_explicit(&space->tree->lost, 1, memory_order_relaxed);
	}
}

/* Pages of 2 MiB are few. */
static bool is_worth_a_look(const struct hf_native *space)
{
	return space->tree->unit_shift != 12 ||
	       atomic_load_explicit(&space->distrusted, memory_order_relaxed);
}

static int find_unprotected(struct hf_native *space)
{
	int err = list(space, HF_PAGES_PROTECTED);

	for (size_t word = 0; word < space->tree->nr_words && !err; word++) {
		uint64_t shared =
			atomic_load_explicit(&space->populated[word], memory_order_relaxed) &
			~atomic_load_explicit(&space->exclusive[word], memory_order_relaxed);

		if (shared & ~space->todo[word])
			lose(space, word, shared & ~space->todo[word]);
	}
	return err;
}

/* Of a space that brings zeros, memory that the program has given back; but not where somebody
 * else has mapped something: to protect it fails there. */
static void forget(struct hf_native *space, size_t word, uint64_t gone)
{
	struct hf_tree *tree = space->tree;

	for (; gone; gone &= gone - 1) {
		size_t unit = word * HF_WORD_UNITS + (size_t)__builtin_ctzll(gone);

		if (!hf_userfault_protect(&tree->files, hf_unit_addr(space, unit),
					  1UL << tree->unit_shift))
			atomic_fetch_and_explicit(&space->populated[word], ~(gone & -gone),
						  memory_order_relaxed);
	}
}

static int find_given_back(struct hf_native *space)
{
	int err = list(space, HF_PAGES_POPULATED);

	for (size_t word = 0; word < space->tree->nr_words && !err; word++)
		forget(space, word,
		       atomic_load_explicit(&space->populated[word], memory_order_relaxed) &
			       atomic_load_explicit(&space->exclusive[word], memory_order_relaxed) &
			       ~space->todo[word]);
	return err;
}

int hf_look_at_memory(struct hf_native *space, bool surely)
{
	int err = space->base ? hf_finish_populating(space) : 0;

	hf_assert_closed(&space->tree->gate);
	if (err || !can_tell(space->tree))
		return err;
	if ((surely || is_worth_a_look(space)) &&
	    atomic_load_explicit(&space->newest, memory_order_relaxed))
		err = find_unprotected(space);
	return !err && hf_brings_zeros(space) ? find_given_back(space) : err;
}

bool hf_all_protected(struct hf_native *space, size_t first, size_t end)
{
	while (first < end) {
		size_t word = first / HF_WORD_UNITS, next = (word + 1) * HF_WORD_UNITS;
		size_t nr = (next < end ? next : end) - first;
		uint64_t mask = hf_units_mask(first % HF_WORD_UNITS, nr);

		if (hf_still_protected(space, word, mask) != mask)
			return false;
		first += nr;
	}
	return true;
}

void hf_do_not_merge(struct hf_native *space)
{
#ifdef MADV_UNMERGEABLE
	if (prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) <= 0)
		return;
	madvise(space->window, space->tree->size, MADV_UNMERGEABLE);
	distrust(space);
#else
	(void)space;
#endif
}

int hf_copy_by_call(void *dst, const void *src, size_t len)
{
	struct iovec to = { dst, len }, from = { (void *)src, len };
	ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);

	if (got < 0 && (errno == ENOSYS || errno == EPERM)) { /* not built in, or a filter */
		hf_copy(dst, src, len);
		return 0;
	}
	return got == (ssize_t)len ? 0 : -EFAULT;
}
