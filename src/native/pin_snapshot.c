/* SPDX-License-Identifier: MIT */
/* Pins of snapshots: the frames themselves,
 * after what is shared with the live space is unshared. */
#include "internal.h"

#include <errno.h>

/* Inside the gate: no frame goes. */
static int unshared_source(struct hf_native_snapshot *snapshot, size_t unit,
			   struct hf_source *source)
{
	hf_assert_inside(&snapshot->tree->gate);
	*source = hf_source_of(snapshot, unit);
	if (source->kind == HF_SOURCE_LIVE) {
		struct hf_futex *lock = hf_word_lock(source->space, unit / HF_WORD_UNITS);
		int err;

		hf_futex_lock(lock);
		err = hf_preserve_or_fail(source->space, unit);
		hf_futex_unlock(lock);
		if (err)
			return err;
		*source = hf_source_of(snapshot, unit);
	}
	return source->kind == HF_SOURCE_LOST ? -ENODATA : 0;
}

static size_t length_of(const struct iovec *iov, int nr)
{
	size_t len = 0;

	for (int i = 0; i < nr; i++)
		len += iov[i].iov_len;
	return len;
}

static int pin_pieces(struct hf_native_snapshot *snapshot, size_t offset, size_t len,
		      struct iovec *iov, int nr_iov)
{
	struct hf_tree *tree = snapshot->space->tree;
	size_t unit_size = 1UL << tree->unit_shift;
	int n = 0;

	hf_assert_inside(&tree->gate);
	hf_assert(len && offset + len <= tree->size);
	while (len && n < nr_iov) {
		size_t within = offset & (unit_size - 1);
		size_t piece = len < unit_size - within ? len : unit_size - within;
		struct hf_source source;
		int err = unshared_source(snapshot, offset >> tree->unit_shift, &source);

		if (err)
			return n ? n : err;
		iov[n++] = (struct iovec){ (char *)source.addr + within, piece };
		offset += piece;
		len -= piece;
	}
	return n;
}

int hf_native_pin_snapshot(struct hf_native_snapshot *snapshot, size_t offset, size_t len,
			   struct iovec *iov, int nr_iov)
{
	struct hf_tree *tree;
	struct hf_undisturbed old;
	int n;

	snapshot = hf_snapshot_of(snapshot);
	if (!snapshot)
		return -EINVAL;
	tree = snapshot->tree;
	if (!len || nr_iov <= 0 || offset > tree->size || len > tree->size - offset)
		return -EINVAL;
	n = hf_tree_enter(tree, &old);
	if (n)
		return n;
	hf_gate_enter(&tree->gate);
	n = pin_pieces(snapshot, offset, len, iov, nr_iov);
	if (n > 0) {
		int err = hf_ranges_add(&snapshot->pinned, offset, length_of(iov, n), 0);

		n = err ? err : n;
	}
	hf_gate_leave(&tree->gate);
	hf_leave(&old);
	return n;
}

int hf_native_unpin_snapshot(struct hf_native_snapshot *snapshot, size_t offset, size_t len)
{
	struct hf_undisturbed old;
	int err;

	snapshot = hf_snapshot_of(snapshot);
	err = snapshot ? hf_tree_enter(snapshot->tree, &old) : -EINVAL;
	if (err)
		return err;
	err = hf_ranges_remove(&snapshot->pinned, offset, len, 0);
	hf_leave(&old);
	return err;
}
