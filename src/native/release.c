/* SPDX-License-Identifier: MIT */
/* What a snapshot gives back: all of its frames when it is dropped, those of a range when whoever
 * reads it is done with that. */
#include "internal.h"

#include <errno.h>

#define PIECE 2048 /* units, for which a store may have to wait */

/* Frames that go back, a few at a time. */
struct returned {
	struct hf_frames *frames;
	uint32_t numbers[256];
	size_t nr;
};

static void flush(struct returned *returned)
{
	hf_frames_put(returned->frames, returned->numbers, returned->nr);
	returned->nr = 0;
}

static void give_back(struct returned *returned, uint32_t entry)
{
	hf_assert(returned->nr < 256);
	if (entry < HF_FRAME)
		return;
	returned->numbers[returned->nr++] = entry - HF_FRAME;
	if (returned->nr == 256)
		flush(returned);
}

/* Does the next older one find this unit's bytes here, or beyond? */
static bool older_looks_here(const struct hf_native_snapshot *s, size_t unit)
{
	const struct hf_native_snapshot *older = s->older;

	return older && hf_snapshot_had(older, unit) &&
	       atomic_load_explicit(&older->frames[unit], memory_order_relaxed) == HF_FRAME_NONE;
}

static void give_up(struct hf_native_snapshot *s, size_t unit, uint32_t leave,
		    struct returned *returned)
{
	uint32_t entry = atomic_load_explicit(&s->frames[unit], memory_order_relaxed);
	bool wanted = older_looks_here(s, unit);

	if (entry == HF_FRAME_NONE &&
	    (wanted || leave == HF_FRAME_NONE || !hf_snapshot_had(s, unit)))
		return;
	if (wanted)
		atomic_store_explicit(&s->older->frames[unit], entry, memory_order_release);
	else
		give_back(returned, entry);
	atomic_store_explicit(&s->frames[unit], leave, memory_order_relaxed);
}

void hf_give_up_frames(struct hf_native_snapshot *s, size_t first, size_t end, uint32_t leave)
{
	struct hf_tree *tree = s->space->tree;
	struct returned returned = { .frames = &tree->frames };

	hf_assert_closed(&tree->gate);
	hf_assert(!s->older || s->older->space == s->space);
	hf_assert(atomic_load(&tree->generation) & 1);
	for (size_t unit = first; unit < end; unit++)
		give_up(s, unit, leave, &returned);
	flush(&returned);
}

static void give_up_inside(struct hf_native_snapshot *s, size_t first, size_t end, uint32_t leave)
{
	struct hf_tree *tree = s->tree;

	hf_gate_close(&tree->gate);
	atomic_fetch_add(&tree->generation, 1);
	hf_give_up_frames(s, first, end, leave);
	atomic_fetch_add(&tree->generation, 1);
	hf_gate_open(&tree->gate);
}

void hf_give_up_by_pieces(struct hf_native_snapshot *s)
{
	size_t nr = s->tree->nr_units;

	hf_assert_held(&s->tree->lock);
	for (size_t first = 0; first < nr; first += PIECE)
		give_up_inside(s, first, first + PIECE < nr ? first + PIECE : nr, HF_FRAME_NONE);
}

static int release(struct hf_native_snapshot *s, size_t offset, size_t len)
{
	struct hf_tree *tree = s->tree;
	size_t unit = 1UL << tree->unit_shift, end;

	if (offset > tree->size || len > tree->size - offset)
		return -EINVAL;
	if (s->view_users || hf_ranges_any(&s->pinned))
		return -EBUSY;
	end = (offset + len) >> tree->unit_shift;
	offset = (offset + unit - 1) >> tree->unit_shift;
	if (offset < end)
		give_up_inside(s, offset, end, HF_FRAME_LOST);
	return 0;
}

int hf_native_release(struct hf_native_snapshot *handle, size_t offset, size_t len)
{
	struct hf_tree *tree = hf_snapshot_memory(handle)->tree;
	struct hf_native_snapshot *snapshot;
	struct hf_undisturbed old;
	int err = hf_tree_lock(tree, &old);

	if (err)
		return err;
	snapshot = hf_snapshot_of(handle);
	err = snapshot ? release(snapshot, offset, len) : -EINVAL;
	hf_tree_unlock(tree, &old);
	return err;
}
