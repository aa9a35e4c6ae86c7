/* SPDX-License-Identifier: MIT */
/*
 * Pins of a live space and of snapshots. The live space keeps its frames always, so that a pin has
 * to see to three things only: that there are frames, and not the zeropage; that the unit is
 * exclusive when it is pinned for writing; and that then every later snapshot copies it at once,
 * for a device asks nobody.
 */
#include "internal.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

/* Of each unit three counts: pinned for reading, for writing, prepared. */
#define COUNT_BITS 21
#define READ_PIN 1ULL
#define WRITE_PIN (READ_PIN << COUNT_BITS)
#define PREPARED (WRITE_PIN << COUNT_BITS)
#define TRIES 8           /* to bring memory in before snapshots are kept out */
#define PIECE (1UL << 30) /* the largest buffer that io_uring takes */

#define KIND_PREPARED ~0U /* of a range; that of a pin are its flags */

static uint64_t count_for(unsigned kind)
{
	if (kind == KIND_PREPARED)
		return PREPARED;
	return kind & HF_FOLL_WRITE ? WRITE_PIN : READ_PIN;
}

static uint64_t count_of(uint64_t pins, uint64_t one)
{
	return pins / one & HF_NATIVE_PIN_MAX;
}

uint64_t hf_prepared(const struct hf_native *space, size_t word)
{
	uint64_t prepared = 0;
	uint64_t held = atomic_load_explicit(&space->held[word], memory_order_relaxed);

	for (; held; held &= held - 1) {
		size_t unit = word * HF_WORD_UNITS + (size_t)__builtin_ctzll(held);

		if (count_of(atomic_load_explicit(&space->pins[unit], memory_order_relaxed),
			     PREPARED))
			prepared |= held & -held;
	}
	return prepared;
}

static size_t offset_of(const struct hf_native *space, const void *addr)
{
	return (size_t)((const char *)addr - space->window);
}

int hf_units_of(const struct hf_native *space, const void *addr, size_t len, struct hf_units *range)
{
	size_t offset = offset_of(space, addr);
	unsigned shift = space->tree->unit_shift;

	if (!len || offset > space->tree->size || len > space->tree->size - offset)
		return -EINVAL;
	*range = (struct hf_units){ offset >> shift, ((offset + len - 1) >> shift) + 1 };
	return 0;
}

/* The word's lock is held. */
static int count_up(struct hf_native *space, size_t unit, uint64_t one)
{
	uint64_t pins = atomic_load_explicit(&space->pins[unit], memory_order_relaxed);

	hf_assert_word(space, unit / HF_WORD_UNITS);
	hf_assert(unit < space->tree->nr_units);
	if (count_of(pins, one) == HF_NATIVE_PIN_MAX)
		return -EOVERFLOW;
	atomic_store_explicit(&space->pins[unit], pins + one, memory_order_relaxed);
	if (one != READ_PIN)
		atomic_fetch_or_explicit(&space->held[unit / HF_WORD_UNITS],
					 1ULL << unit % HF_WORD_UNITS, memory_order_relaxed);
	atomic_fetch_add_explicit(&space->nr_pins, 1, memory_order_relaxed);
	return 0;
}

static void count_down(struct hf_native *space, size_t unit, uint64_t one)
{
	uint64_t pins = atomic_load_explicit(&space->pins[unit], memory_order_relaxed);

	hf_assert_word(space, unit / HF_WORD_UNITS);
	hf_assert(count_of(pins, one) && atomic_load(&space->nr_pins));
	pins -= one;
	atomic_store_explicit(&space->pins[unit], pins, memory_order_relaxed);
	if (pins < WRITE_PIN)
		atomic_fetch_and_explicit(&space->held[unit / HF_WORD_UNITS],
					  ~(1ULL << unit % HF_WORD_UNITS), memory_order_relaxed);
	atomic_fetch_sub_explicit(&space->nr_pins, 1, memory_order_relaxed);
}

/* The part of a range that is in its first unit's word. */
static struct hf_units in_one_word(struct hf_units range)
{
	size_t end = (range.first / HF_WORD_UNITS + 1) * HF_WORD_UNITS;

	hf_assert(range.first < range.end);
	return (struct hf_units){ range.first, end < range.end ? end : range.end };
}

static void unpin_units(struct hf_native *space, struct hf_units range, uint64_t one)
{
	hf_assert_inside(&space->tree->gate);
	while (range.first < range.end) {
		struct hf_units part = in_one_word(range);
		struct hf_futex *lock = hf_word_lock(space, part.first / HF_WORD_UNITS);

		hf_futex_lock(lock);
		for (size_t unit = part.first; unit < part.end; unit++)
			count_down(space, unit, one);
		hf_futex_unlock(lock);
		range.first = part.end;
	}
}

/* Units of one word: counted first, so that from their
 * exclusive marks on every snapshot copies them. */
static int pin_part(struct hf_native *space, struct hf_units part, uint64_t one)
{
	size_t word = part.first / HF_WORD_UNITS, unit = part.first;
	struct hf_futex *lock = hf_word_lock(space, word);
	uint64_t mask = hf_units_mask(part.first % HF_WORD_UNITS, part.end - part.first);
	int err = hf_brings(space) ? hf_populate(space, word, mask) : 0;

	hf_assert_inside(&space->tree->gate);
	hf_assert(part.first / HF_WORD_UNITS == (part.end - 1) / HF_WORD_UNITS);
	if (err)
		return err;
	hf_futex_lock(lock);
	for (; unit < part.end && !err; unit += !err)
		err = count_up(space, unit, one);
	hf_futex_unlock(lock);
	if (!err && one != READ_PIN)
		err = hf_make_exclusive(space, part.first, part.end - part.first);
	if (err)
		unpin_units(space, (struct hf_units){ part.first, unit }, one);
	return err;
}

/* Counts everything, or nothing. */
static int pin_units(struct hf_native *space, struct hf_units range, uint64_t one)
{
	struct hf_units rest = range;
	int err = 0;

	hf_assert_inside(&space->tree->gate);
	while (rest.first < rest.end && !err) {
		struct hf_units part = in_one_word(rest);

		err = pin_part(space, part, one);
		if (err)
			unpin_units(space, (struct hf_units){ range.first, part.first }, one);
		rest.first = part.end;
	}
	return err;
}

/* Brings memory where there is none yet, for a device cannot. A reader's, too: the zeropage, where
 * nothing was ever written, is left by the first store. -EINVAL: Linux before 5.14. */
static int populate_by_call(char *addr, size_t len)
{
#ifdef MADV_POPULATE_WRITE
	return madvise(addr, len, MADV_POPULATE_WRITE) ? -errno : 0;
#else
	(void)addr, (void)len;
	return -EINVAL;
#endif
}

static void touch(volatile char *addr, size_t len)
{
	for (size_t at = 0; at < len; at += HF_PAGE_SIZE)
		__atomic_fetch_or(&addr[at], 0, __ATOMIC_RELAXED);
}

int hf_expose(struct hf_native *space, struct hf_units range)
{
	int err = 0;

	hf_assert_inside(&space->tree->gate);
	while (range.first < range.end && !err) {
		struct hf_units part = in_one_word(range);

		err = hf_make_exclusive(space, part.first, part.end - part.first);
		range.first = part.end;
	}
	return err;
}

/* No snapshot comes meanwhile. A store of ours to what is protected would end the program in signal
 * mode, for signals are blocked. */
static int touch_inside(struct hf_native *space, struct hf_units range, char *addr, size_t len)
{
	int err;

	hf_gate_enter(&space->tree->gate);
	err = hf_expose(space, range);
	if (!err)
		err = populate_by_call(addr, len);
	if (err == -EINVAL) {
		touch(addr, len);
		err = 0;
	}
	hf_gate_leave(&space->tree->gate);
	return err;
}

/* In signal mode the call fails when a snapshot has protected the units since: those that are
 * pinned for writing for a moment only, others until they are exclusive again. So it is tried
 * again, in the end with snapshots kept out. */
static int touch_units(struct hf_native *space, struct hf_units range)
{
	struct hf_tree *tree = space->tree;
	char *addr = hf_unit_addr(space, range.first);
	size_t len = (range.end - range.first) << tree->unit_shift;
	int err = -EFAULT;

	for (int tries = 0; tries < TRIES && err == -EFAULT; tries++) {
		hf_gate_enter(&tree->gate);
		err = hf_expose(space, range);
		hf_gate_leave(&tree->gate);
		if (err)
			return err;
		err = populate_by_call(addr, len);
	}
	if (err == -EINVAL || (err == -EFAULT && tree->signal))
		err = touch_inside(space, range, addr, len);
	return err;
}

/* Inside the gate: a snapshot that meets a count here and there would not do all for its unit. */
static void undo_pins(struct hf_native *space, struct hf_units range, uint64_t one)
{
	hf_gate_enter(&space->tree->gate);
	unpin_units(space, range, one);
	hf_gate_leave(&space->tree->gate);
	hf_stray_close(space, range.first, range.end);
}

static int pin_inside(struct hf_native *space, struct hf_units range, uint64_t one)
{
	int err = hf_stray_open(space, range.first, range.end);

	if (err)
		return err;
	hf_gate_enter(&space->tree->gate);
	err = pin_units(space, range, one);
	hf_gate_leave(&space->tree->gate);
	if (err)
		hf_stray_close(space, range.first, range.end);
	return err;
}

/* It can be released when all of it is pinned, and not before. */
static int pin_range(struct hf_native *space, void *addr, size_t len, unsigned kind)
{
	uint64_t one = count_for(kind);
	struct hf_units range;
	struct hf_undisturbed old;
	int err = hf_tree_enter(space->tree, &old);

	if (err)
		return err;
	err = space->owned ? hf_units_of(space, addr, len, &range) : -EINVAL;
	if (!err)
		err = pin_inside(space, range, one);
	if (!err) {
		err = touch_units(space, range);
		if (!err)
			err = hf_ranges_add(&space->pinned, offset_of(space, addr), len, kind);
		if (err)
			undo_pins(space, range, one);
	}
	hf_leave(&old);
	return err;
}

static int unpin_range(struct hf_native *space, void *addr, size_t len, unsigned kind)
{
	struct hf_units range;
	struct hf_undisturbed old;
	int err = hf_tree_enter(space->tree, &old);

	if (err)
		return err;
	err = hf_units_of(space, addr, len, &range);
	if (!err)
		err = hf_ranges_remove(&space->pinned, offset_of(space, addr), len, kind);
	if (!err)
		undo_pins(space, range, count_for(kind));
	hf_leave(&old);
	return err;
}

int hf_native_pin(struct hf_native *space, void *addr, size_t len, unsigned flags,
		  struct iovec *iov, int nr_iov)
{
	size_t pieces = len / PIECE + (len % PIECE != 0);
	int err;

	if (flags & ~(unsigned)(HF_FOLL_WRITE | HF_FOLL_LONGTERM) || nr_iov < 0 ||
	    pieces > (size_t)nr_iov)
		return -EINVAL;
	err = pin_range(space, addr, len, flags);
	if (err)
		return err;
	for (size_t i = 0; i < pieces; i++) {
		size_t left = len - i * PIECE;

		iov[i] = (struct iovec){ (char *)addr + i * PIECE, left < PIECE ? left : PIECE };
	}
	return (int)pieces;
}

int hf_native_unpin(struct hf_native *space, void *addr, size_t len, unsigned flags)
{
	if (flags & ~(unsigned)(HF_FOLL_WRITE | HF_FOLL_LONGTERM))
		return -EINVAL;
	return unpin_range(space, addr, len, flags);
}

int hf_native_prepare_write(struct hf_native *space, void *addr, size_t len)
{
	return pin_range(space, addr, len, KIND_PREPARED);
}

int hf_native_finish_write(struct hf_native *space, void *addr, size_t len)
{
	return unpin_range(space, addr, len, KIND_PREPARED);
}

/* Inside the gate. */
static int bring_in(struct hf_native *space, struct hf_units range)
{
	int err = 0;

	hf_assert_inside(&space->tree->gate);
	for (size_t unit = range.first; hf_brings(space) && unit < range.end && !err; unit++)
		err = hf_populate(space, unit / HF_WORD_UNITS, 1ULL << unit % HF_WORD_UNITS);
	return err;
}

static int prepare_read(struct hf_native *space, const void *addr, size_t len)
{
	struct hf_units range;
	int err = hf_units_of(space, addr, len, &range);

	if (err)
		return err;
	if (!atomic_load_explicit(space->tree->alive, memory_order_relaxed))
		return -EOWNERDEAD;
	hf_gate_enter(&space->tree->gate);
	err = bring_in(space, range);
	hf_gate_leave(&space->tree->gate);
	return err;
}

int hf_native_prepare_read(const void *addr, size_t len)
{
	struct hf_native *space;
	int err = -EINVAL;
	struct hf_undisturbed old;

	hf_enter(&old);
	space = hf_registry_enter(addr);
	if (space) {
		err = prepare_read(space, addr, len);
		hf_registry_leave();
	}
	hf_leave(&old);
	return err;
}
