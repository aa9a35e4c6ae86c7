/* SPDX-License-Identifier: MIT */
/*
 * Going back in place: the live space gets the bytes of a snapshot again. Only what was stored to
 * since is looked at, and where it was: the frames stay, so that what is stored to after a restore
 * need not be copied out once more.
 */
#include "internal.h"

#include <errno.h>

static uint64_t candidates_of_newest(const struct hf_native *space, size_t word)
{
	return atomic_load_explicit(&space->populated[word], memory_order_relaxed) &
	       atomic_load_explicit(&space->exclusive[word], memory_order_relaxed);
}

/* Units of a word that may differ from the snapshot. */
static uint64_t candidates(const struct hf_native *space, const struct hf_native_snapshot *s,
			   size_t word)
{
	if (s == atomic_load_explicit(&space->newest, memory_order_relaxed))
		return candidates_of_newest(space, word);
	return atomic_load_explicit(&space->populated[word], memory_order_relaxed);
}

static bool is_exclusive(const struct hf_native *space, size_t unit)
{
	uint64_t word =
		atomic_load_explicit(&space->exclusive[unit / HF_WORD_UNITS], memory_order_relaxed);

	return word >> unit % HF_WORD_UNITS & 1 &&
	       !atomic_load_explicit(&space->doubt, memory_order_relaxed);
}

static int restore_unit(struct hf_native *space, const struct hf_native_snapshot *s, size_t unit)
{
	struct hf_source source = hf_source_of(s, unit);
	unsigned shift = space->tree->unit_shift;
	int err;

	hf_assert_closed(&space->tree->gate);
	if (source.kind == HF_SOURCE_LIVE && source.space == space)
		return 0;
	err = is_exclusive(space, unit) ? 0 : hf_make_exclusive(space, unit, 1);
	if (!err && space->open)
		err = hf_stray_open(space, unit, unit + 1);
	if (err)
		return err;
	err = hf_snapshot_read(s, unit << shift, hf_unit_addr(space, unit), 1UL << shift);
	if (space->open)
		hf_stray_close(space, unit, unit + 1);
	return err;
}

/* What no device may write to. */
static uint64_t restored(const struct hf_native *space, size_t word)
{
	return candidates_of_newest(space, word) &
	       ~atomic_load_explicit(&space->held[word], memory_order_relaxed);
}

/* All is like the newest snapshot, and shared with it again. */
static int share_again(struct hf_native *space)
{
	size_t nr_words = space->tree->nr_words;
	int err;

	for (size_t word = 0; word < nr_words; word++)
		space->todo[word] = restored(space, word);
	err = space->tree->bracketed ? 0 : hf_protect(space);
	if (err) /* what is exclusive may be protected */
		atomic_store_explicit(&space->doubt, true, memory_order_relaxed);
	for (size_t word = 0; word < nr_words && !err; word++)
		atomic_fetch_and_explicit(&space->exclusive[word], ~restored(space, word),
					  memory_order_relaxed);
	return err;
}

static bool is_lost(const struct hf_native_snapshot *s, size_t unit)
{
	return hf_source_of(s, unit).kind == HF_SOURCE_LOST;
}

/* For each unit that may differ; ends with the first error. */
static int check(const struct hf_native *space, const struct hf_native_snapshot *s)
{
	for (size_t word = 0; word < space->tree->nr_words; word++)
		for (uint64_t m = candidates(space, s, word); m; m &= m - 1)
			if (is_lost(s, word * HF_WORD_UNITS + (size_t)__builtin_ctzll(m)))
				return -ENODATA;
	return 0;
}

static int restore(struct hf_native *space, const struct hf_native_snapshot *s)
{
	bool newest = s == atomic_load_explicit(&space->newest, memory_order_relaxed);
	bool known = space->tree->bracketed || space->all_populated;
	int found = known ? 0 : hf_find_populated(space), err = found < 0 ? found : check(space, s);

	for (size_t word = 0; word < space->tree->nr_words && !err; word++) {
		for (uint64_t m = candidates(space, s, word); m && !err; m &= m - 1)
			err = restore_unit(space, s,
					   word * HF_WORD_UNITS + (size_t)__builtin_ctzll(m));
	}
	return !err && newest ? share_again(space) : err;
}

int hf_native_restore(struct hf_native *space, const struct hf_native_snapshot *handle)
{
	struct hf_tree *tree = space->tree;
	const struct hf_native_snapshot *s;
	struct hf_undisturbed old;
	int err = hf_tree_lock(tree, &old);

	if (err)
		return err;
	s = hf_snapshot_of(handle);
	if (!s || !space->owned)
		err = -EINVAL;
	else if (s->space != space)
		err = -EXDEV;
	if (!err)
		err = hf_keep_out(space);
	if (!err) {
		err = restore(space, s);
		hf_let_in(space);
	}
	hf_tree_unlock(tree, &old);
	return err;
}
