/* SPDX-License-Identifier: MIT */
/*
 * Going back in place: the live space gets the bytes of a snapshot again. Only what was stored to
 * since is looked at, and where it was: the frames stay, so that what is stored to after a restore
 * need not be copied out once more.
 */
#include "internal.h"

#include <errno.h>

/* Units of a word that may differ from the snapshot: what there is now, or was then, and of the
 * newest what was stored to since. */
static uint64_t candidates(const struct hf_native *space, const struct hf_native_snapshot *s,
			   size_t word)
{
	uint64_t units = atomic_load_explicit(&space->populated[word], memory_order_relaxed) |
			 s->populated[word];

	if (s == atomic_load_explicit(&space->newest, memory_order_relaxed))
		units &= atomic_load_explicit(&space->exclusive[word], memory_order_relaxed);
	return units;
}

/* Nobody resolves faults now: what would be one must not come. */
static int make_storable(struct hf_native *space, size_t unit)
{
	int err = hf_brings(space) ? hf_bring(space, unit) : 0;

	if (!err)
		err = hf_make_exclusive(space, unit, 1);
	return err ? err : hf_stray_open(space, unit, unit + 1);
}

/* The source stays what it is while the gate is closed. By a call, for the program may have made
 * the memory read-only. */
static int restore_unit(struct hf_native *space, const struct hf_native_snapshot *s, size_t unit)
{
	struct hf_source source = hf_source_of(s, unit);
	int err;

	hf_assert_closed(&space->tree->gate);
	if (source.kind == HF_SOURCE_LIVE && source.space == space)
		return 0;
	err = make_storable(space, unit);
	if (err)
		return err;
	err = hf_copy_by_call(hf_unit_addr(space, unit), source.addr,
			      1UL << space->tree->unit_shift);
	hf_stray_close(space, unit, unit + 1);
	return err;
}

/* What no device may write to. */
static uint64_t restored(const struct hf_native *space, const struct hf_native_snapshot *s,
			 size_t word)
{
	return candidates(space, s, word) &
	       ~atomic_load_explicit(&space->held[word], memory_order_relaxed);
}

/* All is like the newest snapshot, and shared with it again. */
static int share_again(struct hf_native *space, const struct hf_native_snapshot *s)
{
	size_t nr_words = space->tree->nr_words;
	int err;

	for (size_t word = 0; word < nr_words; word++)
		space->todo[word] = restored(space, s, word);
	err = space->tree->bracketed ? 0 : hf_protect(space);
	if (err) /* what is exclusive may be protected */
		atomic_store_explicit(&space->doubt, true, memory_order_relaxed);
	for (size_t word = 0; word < nr_words && !err; word++)
		atomic_fetch_and_explicit(&space->exclusive[word], ~restored(space, s, word),
					  memory_order_relaxed);
	return err;
}

/* Of an ancestor's live unit, too, that is not protected any more. */
static bool is_lost(const struct hf_native_snapshot *s, size_t unit)
{
	struct hf_source source = hf_source_of(s, unit);

	return source.kind == HF_SOURCE_LOST ||
	       (source.kind == HF_SOURCE_LIVE && source.space != s->space &&
		!hf_all_protected(source.space, unit, unit + 1));
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

/* What is known of the memory is so: what is not protected any more the snapshots have lost. */
static int know_memory(struct hf_native *space)
{
	int err = hf_look_at_memory(space, true), found = 0;

	if (!err && !space->all_populated)
		found = hf_find_populated(space);
	return found < 0 ? found : err;
}

static int restore(struct hf_native *space, const struct hf_native_snapshot *s)
{
	bool newest = s == atomic_load_explicit(&space->newest, memory_order_relaxed);
	int err = space->tree->bracketed ? 0 : know_memory(space);

	if (!err)
		err = check(space, s);
	for (size_t word = 0; word < space->tree->nr_words && !err; word++) {
		for (uint64_t m = candidates(space, s, word); m && !err; m &= m - 1)
			err = restore_unit(space, s,
					   word * HF_WORD_UNITS + (size_t)__builtin_ctzll(m));
	}
	return !err && newest ? share_again(space, s) : err;
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
