/* SPDX-License-Identifier: MIT */
/*
 * Pins of a live space and of snapshots. The live space keeps its frames always, so that a pin has
 * to see to two things only: that the unit is exclusive when it is pinned for writing, and that
 * every later snapshot copies it at once, for a device asks nobody.
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
#define PIECE (1UL << 30) /* the largest buffer that io_uring takes */

struct range {
	size_t first, end; /* units */
};

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

static int range_of(const struct hf_native *space, const void *addr, size_t len,
		    struct range *range)
{
	size_t offset = (size_t)((const char *)addr - space->window);
	unsigned shift = space->tree->unit_shift;

	if (!len || offset > space->tree->size || len > space->tree->size - offset)
		return -EINVAL;
	*range = (struct range){ offset >> shift, ((offset + len - 1) >> shift) + 1 };
	return 0;
}

/* The word's lock is held. */
static int count_up(struct hf_native *space, size_t unit, uint64_t one)
{
	uint64_t pins = atomic_load_explicit(&space->pins[unit], memory_order_relaxed);

	if (count_of(pins, one) == HF_NATIVE_PIN_MAX)
		return -EOVERFLOW;
	atomic_store_explicit(&space->pins[unit], pins + one, memory_order_relaxed);
	if (one != READ_PIN)
		atomic_fetch_or_explicit(&space->held[unit / HF_WORD_UNITS],
					 1ULL << unit % HF_WORD_UNITS, memory_order_relaxed);
	atomic_fetch_add_explicit(&space->nr_pins, 1, memory_order_relaxed);
	return 0;
}

static int count_down(struct hf_native *space, size_t unit, uint64_t one)
{
	uint64_t pins = atomic_load_explicit(&space->pins[unit], memory_order_relaxed);

	if (!count_of(pins, one))
		return -EINVAL;
	pins -= one;
	atomic_store_explicit(&space->pins[unit], pins, memory_order_relaxed);
	if (pins < WRITE_PIN)
		atomic_fetch_and_explicit(&space->held[unit / HF_WORD_UNITS],
					  ~(1ULL << unit % HF_WORD_UNITS), memory_order_relaxed);
	atomic_fetch_sub_explicit(&space->nr_pins, 1, memory_order_relaxed);
	return 0;
}

/* One unit: counted first, so that from its exclusive mark on every snapshot copies it. */
static int pin_unit(struct hf_native *space, size_t unit, uint64_t one)
{
	size_t word = unit / HF_WORD_UNITS;
	struct hf_futex *lock = hf_word_lock(space, word);
	int err = space->base ? hf_populate(space, word, 1ULL << unit % HF_WORD_UNITS) : 0;

	if (err)
		return err;
	hf_futex_lock(lock);
	err = count_up(space, unit, one);
	hf_futex_unlock(lock);
	if (err || one == READ_PIN)
		return err;
	err = hf_make_exclusive(space, unit, 1);
	if (!err)
		return 0;
	hf_futex_lock(lock);
	count_down(space, unit, one);
	hf_futex_unlock(lock);
	return err;
}

static int unpin_unit(struct hf_native *space, size_t unit, uint64_t one)
{
	struct hf_futex *lock = hf_word_lock(space, unit / HF_WORD_UNITS);
	int err;

	hf_futex_lock(lock);
	err = count_down(space, unit, one);
	hf_futex_unlock(lock);
	return err;
}

static void unpin_units(struct hf_native *space, struct range range, uint64_t one)
{
	for (size_t unit = range.first; unit < range.end; unit++)
		unpin_unit(space, unit, one);
}

/* Counts everything, or nothing. */
static int pin_units(struct hf_native *space, struct range range, uint64_t one)
{
	int err = 0;

	for (size_t unit = range.first; unit < range.end && !err; unit++) {
		err = pin_unit(space, unit, one);
		if (err)
			unpin_units(space, (struct range){ range.first, unit }, one);
	}
	return err;
}

/* Brings memory where there is none yet, for a device cannot. -EINVAL: Linux before 5.14. */
static int populate_by_call(char *addr, size_t len, bool write)
{
#ifdef MADV_POPULATE_WRITE
	return madvise(addr, len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) ? -errno : 0;
#else
	(void)addr, (void)len, (void)write;
	return -EINVAL;
#endif
}

static void touch(volatile char *addr, size_t len, bool write)
{
	for (size_t at = 0; at < len; at += HF_PAGE_SIZE) {
		if (write)
			__atomic_fetch_or(&addr[at], 0, __ATOMIC_RELAXED);
		else
			(void)addr[at];
	}
}

/* In signal mode the call fails while a snapshot has protected what is pinned, which ends soon. A
 * store of ours would end the program, for signals are blocked: it keeps snapshots out. */
static int touch_units(struct hf_native *space, struct range range, bool write)
{
	struct hf_tree *tree = space->tree;
	char *addr = hf_unit_addr(space, range.first);
	size_t len = (range.end - range.first) << tree->unit_shift;
	int err;

	do {
		hf_gate_enter(&tree->gate);
		hf_gate_leave(&tree->gate);
		err = populate_by_call(addr, len, write);
	} while (err == -EFAULT && tree->signal && write);
	if (err != -EINVAL)
		return err;
	hf_gate_enter(&tree->gate);
	touch(addr, len, write);
	hf_gate_leave(&tree->gate);
	return 0;
}

static int pin_range(struct hf_native *space, void *addr, size_t len, uint64_t one)
{
	struct range range;
	sigset_t old;
	int err = hf_tree_enter(space->tree, &old);

	if (err)
		return err;
	err = range_of(space, addr, len, &range);
	if (!err) {
		hf_gate_enter(&space->tree->gate);
		err = pin_units(space, range, one);
		hf_gate_leave(&space->tree->gate);
	}
	if (!err) {
		err = touch_units(space, range, one != READ_PIN);
		if (err)
			unpin_units(space, range, one);
	}
	hf_tree_leave(&old);
	return err;
}

static bool all_pinned(struct hf_native *space, struct range range, uint64_t one)
{
	for (size_t unit = range.first; unit < range.end; unit++) {
		if (!count_of(atomic_load_explicit(&space->pins[unit], memory_order_relaxed), one))
			return false;
	}
	return true;
}

static int unpin_range(struct hf_native *space, void *addr, size_t len, uint64_t one)
{
	struct range range;
	sigset_t old;
	int err = hf_tree_enter(space->tree, &old);

	if (err)
		return err;
	err = range_of(space, addr, len, &range);
	if (!err && !all_pinned(space, range, one))
		err = -EINVAL;
	if (!err) {
		hf_gate_enter(&space->tree->gate);
		unpin_units(space, range, one);
		hf_gate_leave(&space->tree->gate);
	}
	hf_tree_leave(&old);
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
	err = pin_range(space, addr, len, flags & HF_FOLL_WRITE ? WRITE_PIN : READ_PIN);
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
	return unpin_range(space, addr, len, flags & HF_FOLL_WRITE ? WRITE_PIN : READ_PIN);
}

int hf_native_prepare_write(struct hf_native *space, void *addr, size_t len)
{
	return pin_range(space, addr, len, PREPARED);
}

int hf_native_finish_write(struct hf_native *space, void *addr, size_t len)
{
	return unpin_range(space, addr, len, PREPARED);
}

static int populate_range(struct hf_native *space, const void *addr, size_t len)
{
	struct range range;
	int err = range_of(space, addr, len, &range);

	if (err)
		return err;
	hf_gate_enter(&space->tree->gate);
	for (size_t unit = range.first; space->base && unit < range.end && !err; unit++)
		err = hf_populate(space, unit / HF_WORD_UNITS, 1ULL << unit % HF_WORD_UNITS);
	hf_gate_leave(&space->tree->gate);
	return err;
}

int hf_native_prepare_read(const void *addr, size_t len)
{
	struct hf_native *space;
	sigset_t all, old;
	int err = -EINVAL;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	space = hf_registry_enter(addr);
	if (space) {
		err = populate_range(space, addr, len);
		hf_registry_leave();
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}
