/* SPDX-License-Identifier: MIT */
/*
 * What a fault does: the first store to a protected unit gives its bytes to the newest snapshot,
 * the first use of a child's missing unit brings them. All of it runs in a signal handler, too.
 */
#include "internal.h"

#include <errno.h>
#include <sys/mman.h>

#define THP_WORDS 8
#define AHEAD_WORDS 24 /* that are done, or looked at, behind a fault's: up to 6 MiB */

_Static_assert(HF_WORD_LOCKS % THP_WORDS == 0, "the words of a THP have locks of their own");

static size_t lowest(uint64_t bits)
{
	hf_assert(bits);
	return (size_t)__builtin_ctzll(bits);
}

/* Those that the newest snapshot has to have a frame for, and has none. */
static uint64_t unpreserved(const struct hf_native *space, size_t word, uint64_t mask)
{
	const struct hf_native_snapshot *newest =
		atomic_load_explicit(&space->newest, memory_order_relaxed);
	uint64_t left = 0;

	hf_assert(word < space->tree->nr_words);
	mask &= newest ? newest->populated[word] : 0;
	for (uint64_t m = mask; m; m &= m - 1) {
		size_t unit = word * HF_WORD_UNITS + lowest(m);

		if (atomic_load_explicit(&newest->frames[unit], memory_order_relaxed) ==
		    HF_FRAME_NONE)
			left |= m & -m;
	}
	return left;
}

/* Whether the program can read from the first of them to the last. */
static bool is_readable(const struct hf_native *space, size_t word, uint64_t units)
{
	struct hf_tree *tree = space->tree;
	char *addr = hf_unit_addr(space, word * HF_WORD_UNITS + lowest(units));
	size_t nr = 64 - (size_t)__builtin_clzll(units) - lowest(units);

	return hf_pagemap_is_readable(&tree->files, addr, nr << tree->unit_shift);
}

static uint64_t still_protected(struct hf_native *space, size_t word, uint64_t units,
				enum hf_known known)
{
	if (known == HF_KNOWN_HELD || !units)
		return units;
	return hf_still_protected(space, word, units);
}

/* Copies units to their frames. Returns those that are the snapshot's bytes: the program may have
 * given some back, or put them where nobody can read. It is looked at before, since a child's
 * page that is missing would come by a fault, and after. */
static uint64_t copy_units(struct hf_native *space, size_t word, uint64_t units,
			   const uint32_t *numbers, enum hf_known known)
{
	struct hf_tree *tree = space->tree;
	struct hf_copies copies = { .nr = 0 };
	bool stored = known == HF_KNOWN_STORED || tree->bracketed;
	uint64_t good = stored ? units : still_protected(space, word, units, known);
	bool readable = stored || (good && is_readable(space, word, good));

	for (uint64_t m = units; m; m &= m - 1, numbers++) {
		const char *from = hf_unit_addr(space, word * HF_WORD_UNITS + lowest(m));
		char *to = hf_frames_addr(&tree->frames, *numbers);

		if (!(good & m & -m))
			continue;
		if (readable)
			hf_copy_away(&copies, to, from, 1UL << tree->unit_shift);
		else if (hf_copy_by_call(to, from, 1UL << tree->unit_shift))
			good &= ~(m & -m);
	}
	hf_copied_away(&copies);
	return stored ? good : still_protected(space, word, good, known);
}

/* As many of the units as there are frames; the others are lost. All are copied before the first is
 * published: what waits for copies past the caches costs a quarter of a page's copy. */
static void keep(struct hf_native *space, struct hf_native_snapshot *newest, size_t word,
		 uint64_t units, const uint32_t *numbers, size_t nr, enum hf_known known)
{
	struct hf_tree *tree = space->tree;
	uint64_t framed = 0, good;

	hf_assert_word(space, word);
	hf_assert(nr <= (size_t)__builtin_popcountll(units));
	for (size_t i = 0; i < nr; i++)
		framed |= (units & ~framed) & -(units & ~framed);
	good = copy_units(space, word, framed, numbers, known);
	atomic_fetch_add_explicit(&tree->copied, (uint64_t)__builtin_popcountll(good),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&tree->lost, (uint64_t)__builtin_popcountll(units & ~good),
				  memory_order_relaxed);
	for (; units; units &= units - 1) {
		uint64_t unit = units & -units;
		uint32_t entry = HF_FRAME_LOST;

		if (good & unit)
			entry = HF_FRAME + *numbers;
		else if (framed & unit)
			entry = HF_FRAME_UNSEEN;
		atomic_store_explicit(&newest->frames[word * HF_WORD_UNITS + lowest(units)], entry,
				      memory_order_release);
		if (entry == HF_FRAME_UNSEEN)
			hf_frames_put(&tree->frames, numbers, 1);
		numbers += (framed & unit) != 0;
	}
}

void hf_preserve(struct hf_native *space, size_t word, uint64_t mask, enum hf_known known)
{
	struct hf_native_snapshot *newest =
		atomic_load_explicit(&space->newest, memory_order_relaxed);
	uint64_t left = unpreserved(space, word, mask);
	uint32_t numbers[HF_WORD_UNITS];

	hf_assert_inside(&space->tree->gate);
	hf_assert_word(space, word);
	if (left)
		keep(space, newest, word, left, numbers,
		     hf_frames_get(&space->tree->frames, numbers,
				   (size_t)__builtin_popcountll(left)),
		     known);
}

/* All of them, or none; `spare`: nobody has stored to them yet. */
static bool preserve_all(struct hf_native *space, size_t word, uint64_t mask, bool spare)
{
	struct hf_native_snapshot *newest =
		atomic_load_explicit(&space->newest, memory_order_relaxed);
	uint64_t left = unpreserved(space, word, mask);
	size_t nr = (size_t)__builtin_popcountll(left);
	uint32_t numbers[HF_WORD_UNITS];

	hf_assert_inside(&space->tree->gate);
	hf_assert_word(space, word);
	if (!left)
		return true;
	if (!hf_frames_get_all(&space->tree->frames, numbers, nr, spare))
		return false;
	keep(space, newest, word, left, numbers, nr, HF_KNOWN_NOTHING);
	return true;
}

int hf_preserve_or_fail(struct hf_native *space, size_t unit)
{
	uint64_t bit = 1ULL << unit % HF_WORD_UNITS;

	return preserve_all(space, unit / HF_WORD_UNITS, bit, false) ? 0 : -ENOMEM;
}

/* Units [first, first + nr) from the word's on; they may go beyond it. */
static int unprotect(struct hf_native *space, size_t word, size_t first, size_t nr)
{
	struct hf_tree *tree = space->tree;
	size_t unit = word * HF_WORD_UNITS + first;
	size_t end = unit + nr < tree->nr_units ? unit + nr : tree->nr_units;
	int err = tree->bracketed ? 0
				  : hf_userfault_unprotect(&tree->files, hf_unit_addr(space, unit),
							   (end - unit) << tree->unit_shift);

	hf_assert(nr && unit < tree->nr_units);
	if (err)
		atomic_store_explicit(&space->doubt, true, memory_order_relaxed);
	return err;
}

static bool full(const struct hf_native *space, hf_bits *bits, size_t word)
{
	return atomic_load_explicit(&bits[word], memory_order_relaxed) ==
	       hf_word_mask(space->tree, word);
}

/* The kernel leaves an unprotected page of a file read-only until a fault of its own, and 64 of
 * them cost more than to ask for all at once. */
static void make_writable(struct hf_native *space, size_t word)
{
#ifdef MADV_POPULATE_WRITE
	if (space->memfd >= 0 && full(space, space->populated, word))
		madvise(hf_unit_addr(space, word * HF_WORD_UNITS),
			(size_t)__builtin_popcountll(hf_word_mask(space->tree, word))
				<< space->tree->unit_shift,
			MADV_POPULATE_WRITE);
#else
	(void)space;
	(void)word;
#endif
}

/* The word's lock is held. The marks come even if the protection stays: a store then finds that
 * out, while a snapshot would not protect what is not exclusive. */
static int make_exclusive(struct hf_native *space, size_t word, size_t first, size_t nr,
			  enum hf_known known)
{
	uint64_t mask = hf_units_mask(first, nr) & hf_word_mask(space->tree, word);
	uint64_t shared =
		mask & ~atomic_load_explicit(&space->exclusive[word], memory_order_relaxed);

	hf_assert_word(space, word);
	hf_assert(mask);
	hf_preserve(space, word, shared, known);
	hf_assert(!unpreserved(space, word, shared)); /* N1 */
	if (space->tree->bracketed)
		atomic_fetch_or_explicit(&space->populated[word], mask, memory_order_relaxed);
	/* release: who sees the mark and stores has the old bytes copied before, and the frame */
	atomic_fetch_or_explicit(&space->exclusive[word], mask, memory_order_release);
	return unprotect(space, word, first, nr);
}

int hf_make_exclusive(struct hf_native *space, size_t first, size_t nr)
{
	size_t word = first / HF_WORD_UNITS;
	struct hf_futex *lock = hf_word_lock(space, word);
	uint64_t mask = hf_units_mask(first % HF_WORD_UNITS, nr);
	int err = 0;

	hf_assert_inside(&space->tree->gate);
	hf_assert(first % HF_WORD_UNITS + nr <= HF_WORD_UNITS);
	hf_futex_lock(lock);
	if (mask & ~atomic_load_explicit(&space->exclusive[word], memory_order_relaxed) ||
	    atomic_load_explicit(&space->doubt, memory_order_relaxed))
		err = make_exclusive(space, word, first % HF_WORD_UNITS, nr, HF_KNOWN_NOTHING);
	hf_futex_unlock(lock);
	return err;
}

/* Stores and loads in order: the word before or behind is done. */
static bool in_order(const struct hf_native *space, hf_bits *bits, size_t word)
{
	return (word && full(space, bits, word - 1)) ||
	       (word + 1 < space->tree->nr_words && full(space, bits, word + 1));
}

/* What to do with a unit, or 0: each 2 MiB is for itself. */
static uint64_t around(const struct hf_native *space, size_t unit)
{
	size_t word = unit / HF_WORD_UNITS;
	uint64_t all = hf_word_mask(space->tree, word);

	if (!atomic_load_explicit(&space->newest, memory_order_relaxed))
		return all;
	if (space->tree->unit_shift != 12)
		return 0;
	return all & hf_density_around(space, unit, in_order(space, space->exclusive, word));
}

static void wake_unit(struct hf_native *space, size_t unit)
{
	hf_userfault_wake(&space->tree->files, hf_unit_addr(space, unit),
			  1UL << space->tree->unit_shift);
}

/* With what nobody has stored to yet, where that can be done and no snapshot loses by it. */
static bool resolve_around(struct hf_native *space, size_t unit)
{
	uint64_t mask = around(space, unit);
	size_t word = unit / HF_WORD_UNITS;
	uint64_t shared =
		mask & ~atomic_load_explicit(&space->exclusive[word], memory_order_relaxed);

	hf_assert_word(space, word);
	if (!mask || !preserve_all(space, word, shared, true) ||
	    make_exclusive(space, word, lowest(mask), (size_t)__builtin_popcountll(mask),
			   HF_KNOWN_NOTHING))
		return false;
	if (mask == hf_word_mask(space->tree, word)) /* else some may be protected still */
		make_writable(space, word);
	return true;
}

static void lock_words(struct hf_native *space, size_t word, size_t end)
{
	hf_assert(word < end && end - word <= THP_WORDS && !(hf_has(hf_word_lock(space, word))));
	for (; word < end; word++)
		hf_futex_lock(hf_word_lock(space, word));
}

static void unlock_words(struct hf_native *space, size_t word, size_t end)
{
	for (; word < end; word++)
		hf_futex_unlock(hf_word_lock(space, word));
}

/* All there, and nothing stored to since the newest snapshot: a THP still, if it was one. */
static bool is_untouched(const struct hf_native *space, size_t word, size_t end)
{
	for (; word < end; word++) {
		if (!full(space, space->populated, word) ||
		    atomic_load_explicit(&space->exclusive[word], memory_order_relaxed))
			return false;
	}
	return true;
}

/* A snapshot does not wait for all of them. */
static bool preserve_words(struct hf_native *space, size_t word, size_t end)
{
	while (word < end && !hf_gate_is_closed(&space->tree->gate) &&
	       preserve_all(space, word, ~0ULL, true))
		word++;
	return word == end;
}

/* Nothing, where it cannot do all. */
static int make_words_exclusive(struct hf_native *space, size_t word, size_t end)
{
	int err;

	hf_assert_word(space, word);
	hf_assert_word(space, end - 1);
	if (!preserve_words(space, word, end))
		return -EAGAIN;
	for (size_t w = word; w < end; w++) {
		hf_assert(!unpreserved(space, w, ~0ULL)); /* N1 */
		atomic_store_explicit(&space->exclusive[w], ~0ULL, memory_order_relaxed);
	}
	err = unprotect(space, word, 0, (end - word) * HF_WORD_UNITS);
	for (size_t w = word; w < end && !err; w++)
		make_writable(space, w);
	return err;
}

/* Several words at once, if they are there, and stores are likely to come to all of them. No word's
 * lock is held. Where others have begun meanwhile, there is less to do. */
static bool resolve_words(struct hf_native *space, size_t word, size_t end, bool in_order)
{
	int err;

	hf_assert_inside(&space->tree->gate);
	if (end * HF_WORD_UNITS > space->tree->nr_units || !is_untouched(space, word, end) ||
	    !hf_density_promises_all(space, word, end, in_order))
		return false;
	lock_words(space, word, end);
	err = make_words_exclusive(space, word, end);
	unlock_words(space, word, end);
	return !err;
}

/* A whole THP, which need not be split then. */
static bool resolve_thp(struct hf_native *space, size_t word)
{
	size_t first = word / THP_WORDS * THP_WORDS;

	return space->tree->pages == HF_NATIVE_THP_4K &&
	       resolve_words(space, first, first + THP_WORDS,
			     first && full(space, space->exclusive, first - 1) &&
				     full(space, space->exclusive, first - THP_WORDS));
}

/* The word's lock is held. */
static bool is_done(const struct hf_native *space, size_t unit)
{
	uint64_t exclusive =
		atomic_load_explicit(&space->exclusive[unit / HF_WORD_UNITS], memory_order_relaxed);

	hf_assert_word(space, unit / HF_WORD_UNITS);
	return exclusive >> unit % HF_WORD_UNITS & 1 &&
	       !atomic_load_explicit(&space->doubt, memory_order_relaxed);
}

static void expect_next(const struct hf_native *space, size_t word, struct hf_ahead *ahead)
{
	bool more = word < space->tree->nr_words && ahead->words;

	ahead->addr = more ? hf_unit_addr(space, word * HF_WORD_UNITS) : NULL;
}

/* A fault at a page of a space of its own is a store that was kept from it. A child's may be
 * missing; and so may a part of 2 MiB. */
static enum hf_known known_by_fault(const struct hf_native *space)
{
	return space->base || space->tree->unit_shift != 12 ? HF_KNOWN_NOTHING : HF_KNOWN_STORED;
}

/* The word's lock is held. UFFDIO_ZEROPAGE has no huge pages of the pool. */
static int bring_zeros(struct hf_native *space, size_t unit)
{
	struct hf_tree *tree = space->tree;
	char *addr = hf_unit_addr(space, unit);
	size_t size = 1UL << tree->unit_shift;

	hf_assert_word(space, unit / HF_WORD_UNITS);
	if (hf_brings_zeros(space))
		return hf_userfault_copy(&tree->files, addr, tree->zeros, size);
	return hf_userfault_zero(&tree->files, addr, size);
}

int hf_bring(struct hf_native *space, size_t unit)
{
	struct hf_futex *lock = hf_word_lock(space, unit / HF_WORD_UNITS);
	int err = hf_populate(space, unit / HF_WORD_UNITS, 1ULL << unit % HF_WORD_UNITS);

	if (err)
		return err;
	hf_futex_lock(lock);
	/* where the program has given back what was there; a huge page is there or not */
	if (hf_brings_zeros(space))
		err = hf_userfault_fill_hole(&space->tree->files, hf_unit_addr(space, unit),
					     space->tree->zeros, 1UL << space->tree->unit_shift);
	else
		err = bring_zeros(space, unit);
	hf_futex_unlock(lock);
	return err == -EEXIST ? 0 : err;
}

/* *whole: there is nothing to do in its word any more. */
static int resolve_protected(struct hf_native *space, size_t unit, bool *whole)
{
	size_t word = unit / HF_WORD_UNITS;
	struct hf_futex *lock = hf_word_lock(space, word);
	bool done;
	int err = 0;

	hf_assert_inside(&space->tree->gate);
	*whole = resolve_thp(space, word);
	if (*whole)
		return 0;
	hf_futex_lock(lock);
	done = is_done(space, unit);
	if (!done && !resolve_around(space, unit))
		err = make_exclusive(space, word, unit % HF_WORD_UNITS, 1, known_by_fault(space));
	if (done && hf_brings(space)) /* the program has given back what was there */
		bring_zeros(space, unit);
	*whole = full(space, space->exclusive, word);
	hf_futex_unlock(lock);
	/* nothing has woken the thread, which shall try again: the kernel lets one wait for a page
	 * that is not writable, protected or not, even if it came after the other's was resolved */
	if (err || (done && !space->tree->signal))
		wake_unit(space, unit);
	return err;
}

/* The end of what is done at once: of the THP, or what comes before the region's sample. */
static size_t end_of_words(size_t word)
{
	size_t end = (word / THP_WORDS + 1) * THP_WORDS, sample = hf_density_sample(word);

	return sample >= word && sample < end ? sample : end;
}

/* Returns how many words there is nothing to do in any more; 0: it is not likely to go on. For that
 * two words in front have to be done, in this interval. */
static size_t resolve_some(struct hf_native *space, size_t word, size_t most)
{
	size_t end = end_of_words(word);
	bool in_order = word > 1 && full(space, space->exclusive, word - 1) &&
			full(space, space->exclusive, word - 2);

	if (full(space, space->exclusive, word))
		return 1;
	if (!in_order || end - word > most)
		return 0;
	return resolve_words(space, word, end, true) ? end - word : 0;
}

bool hf_resolve_ahead(struct hf_native *space, struct hf_ahead *ahead)
{
	size_t unit = (size_t)(ahead->addr - space->window) >> space->tree->unit_shift;
	size_t word = unit / HF_WORD_UNITS, done;

	hf_assert(ahead->words && word < space->tree->nr_words);
	hf_gate_enter(&space->tree->gate);
	done = resolve_some(space, word, ahead->words);
	hf_gate_leave(&space->tree->gate);
	ahead->words -= done;
	expect_next(space, done ? word + done : space->tree->nr_words, ahead);
	return ahead->addr;
}

/* What is lost: whoever uses it gets a signal. In signal mode the handler sees to that. The second
 * way needs mappings, of which there are 65530. */
static int take_away(struct hf_native *space, size_t unit)
{
	struct hf_tree *tree = space->tree;
	char *addr = hf_unit_addr(space, unit);
	size_t size = 1UL << tree->unit_shift;
	uint64_t begun =
		atomic_load_explicit(&space->begun[unit / HF_WORD_UNITS], memory_order_relaxed);
	int err = tree->signal ? 0 : hf_userfault_poison(&tree->files, addr, size);

	hf_assert_word(space, unit / HF_WORD_UNITS);
	if (err || begun >> unit % HF_WORD_UNITS & 1)
		err = mprotect(addr, size, PROT_NONE) ? -errno : 0;
	return err ? err : -ENODATA;
}

/* Pages that are beside a missing one may be there, when a fault and a copy met. */
static int fill(struct hf_native *space, size_t unit, const struct hf_source *source)
{
	struct hf_tree *tree = space->tree;
	char *addr = hf_unit_addr(space, unit);
	size_t size = 1UL << tree->unit_shift;
	int err;

	hf_assert_word(space, unit / HF_WORD_UNITS);
	hf_assert(source->kind == HF_SOURCE_LOST || source->addr);
	if (source->kind == HF_SOURCE_LOST)
		return take_away(space, unit);
	if (source->kind == HF_SOURCE_ZERO)
		return bring_zeros(space, unit);
	err = hf_userfault_copy(&tree->files, addr, source->addr, size);
	return err == -EFAULT ? take_away(space, unit) : err; /* nobody can read it */
}

/* The live unit of an ancestor stays what it is under that word's lock. */
static int fill_from_base(struct hf_native *space, size_t unit)
{
	struct hf_source source;
	struct hf_futex *lock;
	int err;

	hf_assert_word(space, unit / HF_WORD_UNITS);
	hf_assert(hf_brings(space));
	if (hf_brings_zeros(space))
		return bring_zeros(space, unit);
	source = hf_source_of(space->base, unit);
	if (source.kind != HF_SOURCE_LIVE)
		return fill(space, unit, &source);
	lock = hf_word_lock(source.space, unit / HF_WORD_UNITS);
	hf_futex_lock(lock);
	source = hf_source_of(space->base, unit);
	if (source.kind == HF_SOURCE_LIVE && !hf_all_protected(source.space, unit, unit + 1))
		source.kind = HF_SOURCE_LOST;
	err = fill(space, unit, &source);
	hf_futex_unlock(lock);
	return err;
}

static void mark_populated(struct hf_native *space, size_t word, uint64_t bit)
{
	hf_assert_word(space, word);
	atomic_fetch_or_explicit(&space->populated[word], bit, memory_order_relaxed);
	atomic_fetch_or_explicit(&space->exclusive[word], bit, memory_order_relaxed);
}

/* The word's lock is held. */
static int populate(struct hf_native *space, size_t word, uint64_t mask)
{
	int first_err = 0;

	hf_assert_word(space, word);
	mask &= ~atomic_load_explicit(&space->populated[word], memory_order_relaxed) &
		hf_word_mask(space->tree, word);
	for (; mask; mask &= mask - 1) {
		uint64_t bit = mask & -mask;
		int err = fill_from_base(space, word * HF_WORD_UNITS + lowest(mask));

		if (!err)
			mark_populated(space, word, bit);
		if (err && err != -ENODATA)
			atomic_fetch_or_explicit(&space->begun[word], bit, memory_order_relaxed);
		else
			atomic_fetch_and_explicit(&space->begun[word], ~bit, memory_order_relaxed);
		first_err = first_err ? first_err : err;
	}
	return first_err;
}

int hf_populate(struct hf_native *space, size_t word, uint64_t mask)
{
	struct hf_futex *lock = hf_word_lock(space, word);
	int err;

	hf_assert_inside(&space->tree->gate);
	hf_futex_lock(lock);
	err = populate(space, word, mask);
	hf_futex_unlock(lock);
	return err;
}

int hf_finish_populating(struct hf_native *space)
{
	int err = 0;

	hf_assert_closed(&space->tree->gate);
	for (size_t word = 0; word < space->tree->nr_words && !err; word++) {
		uint64_t begun = atomic_load_explicit(&space->begun[word], memory_order_relaxed);

		if (begun)
			err = hf_populate(space, word, begun);
		if (err == -ENODATA) /* and so is what a snapshot has of it */
			err = 0;
	}
	return err;
}

static int resolve_missing(struct hf_native *space, size_t unit)
{
	size_t word = unit / HF_WORD_UNITS;
	struct hf_futex *lock = hf_word_lock(space, word);
	uint64_t own = 1ULL << unit % HF_WORD_UNITS, mask = own, here;
	int err;

	hf_assert_inside(&space->tree->gate);
	hf_assert(hf_brings(space));
	hf_futex_lock(lock);
	here = atomic_load_explicit(&space->populated[word], memory_order_relaxed);
	if (space->tree->unit_shift == 12 &&
	    (here & (here - 1) || in_order(space, space->populated, word)))
		mask = ~0ULL; /* the third use in a word */
	err = populate(space, word, own);
	populate(space, word, mask & ~own);
	hf_futex_unlock(lock);
	wake_unit(space, unit); /* whoever else met it may be waiting still */
	return err;
}

/* The kernel will not do it the next time, either: a filter denies the call. Of other errors the
 * thread that tries again finds out. */
static bool is_final(int err)
{
	return err == -ENODATA || err == -EPERM || err == -EACCES || err == -ENOSYS;
}

int hf_resolve_fault(struct hf_native *space, const char *addr, struct hf_ahead *ahead)
{
	size_t unit = (size_t)(addr - space->window) >> space->tree->unit_shift;
	size_t word = unit / HF_WORD_UNITS;
	uint64_t populated;
	bool whole = false;
	int err;

	hf_assert(addr >= space->window && unit < space->tree->nr_units);
	atomic_fetch_add_explicit(&space->tree->faults, 1, memory_order_relaxed);
	hf_gate_enter(&space->tree->gate);
	populated = atomic_load_explicit(&space->populated[word], memory_order_relaxed);
	ahead->words = 0;
	if (hf_brings(space) && !(populated >> unit % HF_WORD_UNITS & 1))
		err = resolve_missing(space, unit);
	else
		err = resolve_protected(space, unit, &whole);
	if (whole && space->tree->unit_shift == 12)
		ahead->words = AHEAD_WORDS;
	expect_next(space, word + 1, ahead);
	hf_gate_leave(&space->tree->gate);
	return is_final(err) ? err : 0;
}
