/* SPDX-License-Identifier: MIT */
/*
 * Taking an instant. While the gate is closed whoever stores to what is protected waits, and nobody
 * else changes anything that this file reads. The instant is the end of the protecting; or, where
 * new memory may be touched meanwhile, the start of the last look that found none: what was touched
 * behind its back is in the snapshot as zeros, and so is nothing that was stored later.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define ROUNDS 16 /* looks for new memory, before it is protected unseen */

/* One piece of memory: the snapshot, its bitmap, its table. */
static size_t snapshot_bytes(const struct hf_tree *tree)
{
	return sizeof(struct hf_native_snapshot) + tree->nr_words * sizeof(uint64_t) +
	       tree->nr_units * sizeof(_Atomic uint32_t);
}

static struct hf_native_snapshot *make_snapshot(struct hf_tree *tree)
{
	struct hf_native_snapshot *s = hf_zalloc(snapshot_bytes(tree));

	if (!s)
		return NULL;
	s->tree = tree;
	s->populated = (uint64_t *)(s + 1);
	s->frames = (_Atomic uint32_t *)(s->populated + tree->nr_words);
	return s;
}

static struct hf_native_snapshot *get_snapshot(struct hf_tree *tree)
{
	struct hf_native_snapshot *s = tree->free_snapshots;

	hf_assert_held(&tree->lock);
	if (!s)
		return make_snapshot(tree);
	tree->free_snapshots = s->next_free;
	return s;
}

/* Kept: a reader may still be looking, and has to find it; and who has dropped it may ask again. */
static void put_snapshot(struct hf_tree *tree, struct hf_native_snapshot *s)
{
	atomic_fetch_add_explicit(&s->uses, 1, memory_order_relaxed);
	s->next_free = tree->free_snapshots;
	tree->free_snapshots = s;
}

int hf_snapshot_reserve(struct hf_tree *tree)
{
	struct hf_native_snapshot *s = make_snapshot(tree);

	if (!s)
		return -ENOMEM;
	memset(s->populated, 0, tree->nr_words * sizeof(s->populated[0]));
	put_snapshot(tree, s);
	return 0;
}

void hf_snapshot_free(struct hf_tree *tree, struct hf_native_snapshot *s)
{
	hf_ranges_free(&s->pinned);
	hf_zfree(s, snapshot_bytes(tree));
}

/* All that is not known to have memory: the kernel remembers it without. */
static int protect_unseen(struct hf_native *space)
{
	hf_assert_closed(&space->tree->gate);
	for (size_t word = 0; word < space->tree->nr_words; word++) {
		uint64_t unseen =
			hf_word_mask(space->tree, word) &
			~atomic_load_explicit(&space->populated[word], memory_order_relaxed);

		space->todo[word] = unseen & ~hf_prepared(space, word);
		atomic_fetch_or_explicit(&space->populated[word], unseen, memory_order_relaxed);
		atomic_fetch_or_explicit(&space->exclusive[word], unseen, memory_order_relaxed);
	}
	space->all_populated = true;
	return hf_protect(space);
}

static void list_exclusive(struct hf_native *space)
{
	hf_assert_closed(&space->tree->gate);
	for (size_t word = 0; word < space->tree->nr_words; word++) {
		space->todo[word] =
			atomic_load_explicit(&space->exclusive[word], memory_order_relaxed) &
			atomic_load_explicit(&space->populated[word], memory_order_relaxed) &
			~hf_prepared(space, word);
	}
}

static int protect_all(struct hf_native *space)
{
	list_exclusive(space);
	for (int round = 0; round < ROUNDS; round++) {
		int found = space->all_populated ? 0 : hf_find_populated(space);
		int err = found < 0 ? found : 0;

		if (!err && round && !found)
			return 0;
		if (!err)
			err = hf_protect(space);
		if (err || space->all_populated)
			return err;
	}
	return space->tree->unpopulated ? protect_unseen(space) : -EAGAIN;
}

/* Units that devices may write to keep no bytes for later, and need no protection. All of them,
 * even if one fails: what is only prepared is not protected, and must not be taken for shared. */
static int copy_held(struct hf_native *space)
{
	int first_err = 0;

	hf_assert_closed(&space->tree->gate);
	for (size_t word = 0; word < space->tree->nr_words; word++) {
		uint64_t held = atomic_load_explicit(&space->held[word], memory_order_relaxed) &
				atomic_load_explicit(&space->populated[word], memory_order_relaxed);

		hf_preserve(space, word, held, HF_KNOWN_HELD);
		for (; held; held &= held - 1) {
			size_t unit = word * HF_WORD_UNITS + (size_t)__builtin_ctzll(held);
			int err = hf_make_exclusive(space, unit, 1);

			first_err = first_err ? first_err : err;
		}
	}
	return first_err;
}

/* The gate is closed, and all is protected: from here on it is shared with this snapshot. */
static int share(struct hf_native *space, struct hf_native_snapshot *s)
{
	struct hf_tree *tree = space->tree;
	uint64_t copied;
	int err;

	hf_assert_closed(&tree->gate);
	hf_assert(s->tree == tree);
	s->space = space;
	s->older = atomic_load_explicit(&space->newest, memory_order_relaxed);
	/* without, whole words were done, and filling is no interval */
	if (s->older && !tree->bracketed)
		hf_density_observe(space);
	atomic_store_explicit(&s->newer, NULL, memory_order_relaxed);
	for (size_t word = 0; word < tree->nr_words; word++) {
		s->populated[word] =
			atomic_load_explicit(&space->populated[word], memory_order_relaxed);
		atomic_store_explicit(&space->exclusive[word], 0, memory_order_relaxed);
	}
	if (s->older)
		atomic_store_explicit(&s->older->newer, s, memory_order_release);
	atomic_store_explicit(&space->newest, s, memory_order_release);
	atomic_fetch_add_explicit(&tree->nr_snapshots, 1, memory_order_relaxed);
	if (!atomic_load_explicit(&space->nr_pins, memory_order_relaxed))
		return 0;
	copied = atomic_load_explicit(&tree->copied, memory_order_relaxed);
	err = copy_held(space);
	atomic_fetch_add_explicit(&tree->copied_eager,
				  atomic_load_explicit(&tree->copied, memory_order_relaxed) -
					  copied,
				  memory_order_relaxed);
	return err;
}

/* After a failure, which may have left protection anywhere: a call that writes to what is held asks
 * nobody. A store elsewhere finds that out by itself. */
static void release_held(struct hf_native *space)
{
	atomic_store_explicit(&space->doubt, true, memory_order_relaxed);
	if (atomic_load_explicit(&space->nr_pins, memory_order_relaxed))
		copy_held(space);
}

/* The gate is closed: makes sure that no store to what is going to be shared goes unseen. */
static int keep_stores_out(struct hf_native *space)
{
	int err = hf_look_at_memory(space, false);

	hf_assert_closed(&space->tree->gate);
	return err ? err : protect_all(space);
}

int hf_keep_out(struct hf_native *space)
{
	int err = space->tree->bracketed ? hf_bar(space) : 0;

	if (!err)
		hf_gate_close(&space->tree->gate);
	return err;
}

void hf_let_in(struct hf_native *space)
{
	hf_gate_open(&space->tree->gate);
	if (space->tree->bracketed)
		hf_lift_bar(space);
}

int hf_snapshot_take(struct hf_native *space, struct hf_native_snapshot **out)
{
	struct hf_tree *tree = space->tree;
	struct hf_native_snapshot *s = get_snapshot(tree);
	uint64_t start;
	int err;

	hf_assert_held(&tree->lock);
	hf_assert(space->refs);
	if (!s)
		return -ENOMEM;
	start = hf_now_ns();
	if (!tree->bracketed)
		hf_do_not_merge(space);
	err = hf_keep_out(space);
	if (err) {
		put_snapshot(tree, s);
		return err;
	}
	err = tree->bracketed ? 0 : keep_stores_out(space);
	if (err) {
		put_snapshot(tree, s);
	} else {
		atomic_store_explicit(&space->doubt, false, memory_order_relaxed);
		err = share(space, s);
		if (err)
			hf_snapshot_unlink(s);
		else
			space->refs++;
	}
	if (err)
		release_held(space);
	atomic_store_explicit(&tree->last_snapshot_ns, hf_now_ns() - start, memory_order_relaxed);
	hf_let_in(space);
	*out = s;
	return err;
}

void hf_snapshot_unlink(struct hf_native_snapshot *s)
{
	struct hf_native *space = s->space;
	struct hf_tree *tree = space->tree;
	struct hf_native_snapshot *newer = atomic_load_explicit(&s->newer, memory_order_relaxed);

	hf_assert_held(&tree->lock);
	hf_assert_closed(&tree->gate);
	hf_assert((newer ? newer->older : atomic_load(&space->newest)) == s);
	atomic_fetch_add(&tree->generation, 1);
	hf_give_up_frames(s, 0, tree->nr_units, HF_FRAME_NONE);
	if (s->older)
		atomic_store_explicit(&s->older->newer, newer, memory_order_release);
	if (newer)
		newer->older = s->older;
	else
		atomic_store_explicit(&space->newest, s->older, memory_order_release);
	atomic_fetch_add(&tree->generation, 1);
	atomic_fetch_sub_explicit(&tree->nr_snapshots, 1, memory_order_relaxed);
	put_snapshot(tree, s);
}

int hf_native_snapshot(struct hf_native *space, struct hf_native_snapshot **out)
{
	struct hf_tree *tree = space->tree;
	struct hf_native_snapshot *s;
	struct hf_undisturbed old;
	int err = hf_tree_lock(tree, &old);

	if (err)
		return err;
	err = space->owned ? hf_snapshot_take(space, &s) : -EINVAL;
	hf_tree_unlock(tree, &old);
	if (!err)
		*out = hf_snapshot_handle(s); /* which may be in the space */
	return err;
}

int hf_native_drop(struct hf_native_snapshot *handle)
{
	struct hf_tree *tree = hf_snapshot_memory(handle)->tree;
	struct hf_native_snapshot *snapshot;
	struct hf_native *space;
	struct hf_undisturbed old;
	int err = hf_tree_lock(tree, &old);

	if (err)
		return err;
	snapshot = hf_snapshot_of(handle);
	space = snapshot ? snapshot->space : NULL;
	if (!snapshot) {
		err = -EINVAL;
	} else if (snapshot->view_users || hf_ranges_any(&snapshot->pinned)) {
		err = -EBUSY;
	} else {
		hf_give_up_by_pieces(snapshot);
		hf_gate_close(&tree->gate);
		hf_snapshot_unlink(snapshot);
		hf_gate_open(&tree->gate);
	}
	hf_futex_unlock(&tree->lock);
	if (!err)
		hf_space_put(space);
	hf_leave(&old);
	return err;
}
