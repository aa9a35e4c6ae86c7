/* SPDX-License-Identifier: MIT */
/* What changed between two snapshots: a unit that a snapshot in between kept a frame of. */
#include "internal.h"

#include <errno.h>
#include <string.h>

static bool kept_between(const struct hf_native_snapshot *older,
			 const struct hf_native_snapshot *newer, size_t unit)
{
	for (; older != newer; older = atomic_load_explicit(&older->newer, memory_order_acquire)) {
		if (atomic_load_explicit(&older->frames[unit], memory_order_acquire) !=
		    HF_FRAME_NONE)
			return true;
	}
	return false;
}

static bool may_differ(const struct hf_native_snapshot *older,
		       const struct hf_native_snapshot *newer, size_t unit)
{
	if (!older)
		return hf_source_of(newer, unit).kind != HF_SOURCE_ZERO;
	if (hf_snapshot_had(older, unit))
		return kept_between(older, newer, unit);
	return hf_snapshot_had(newer, unit);
}

static int check(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer)
{
	const struct hf_native_snapshot *s = older;

	if (!older)
		return 0;
	if (older->space != newer->space)
		return -EXDEV;
	while (s && s != newer)
		s = atomic_load_explicit(&s->newer, memory_order_acquire);
	return s && older != newer ? 0 : -EINVAL;
}

/* The next run of units from *unit on; inside the gate. */
static bool next_units(const struct hf_native_snapshot *older,
		       const struct hf_native_snapshot *newer, size_t *unit, size_t *end)
{
	size_t nr = newer->space->tree->nr_units;

	while (*unit < nr && !may_differ(older, newer, *unit))
		++*unit;
	*end = *unit;
	while (*end < nr && may_differ(older, newer, *end))
		++*end;
	return *unit < nr;
}

/* 1: the page differs. */
static int page_differs(const struct hf_native_snapshot *older,
			const struct hf_native_snapshot *newer, size_t offset)
{
	static const char zeros[HF_PAGE_SIZE];
	char a[HF_PAGE_SIZE], b[HF_PAGE_SIZE];
	int err = older ? hf_native_read(older, offset, a, sizeof(a)) : 0;

	if (!err)
		err = hf_native_read(newer, offset, b, sizeof(b));
	return err ? err : memcmp(older ? a : zeros, b, sizeof(b)) != 0;
}

/* Cuts the run to its first pages that differ. 0: there are none. */
static int narrow(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer,
		  struct hf_native_run *run)
{
	size_t at = run->offset, end = run->offset + run->len;
	int differs = 0;

	while (at < end && !(differs = page_differs(older, newer, at)))
		at += HF_PAGE_SIZE;
	run->offset = at;
	while (differs > 0 && (at += HF_PAGE_SIZE) < end)
		differs = page_differs(older, newer, at);
	run->len = at - run->offset;
	return differs < 0 ? differs : run->len > 0;
}

static int next_run(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer,
		    size_t from, struct hf_native_run *run)
{
	struct hf_tree *tree = newer->space->tree;
	size_t unit = from >> tree->unit_shift, end;
	sigset_t old;
	int err = hf_tree_enter(tree, &old);

	if (err)
		return err;
	hf_gate_enter(&tree->gate);
	err = check(older, newer);
	if (!err && next_units(older, newer, &unit, &end)) {
		run->offset = unit << tree->unit_shift;
		run->len = (end << tree->unit_shift) - run->offset;
		if (run->offset < from) { /* EXACT was here before */
			run->len -= from - run->offset;
			run->offset = from;
		}
		err = 1;
	}
	hf_gate_leave(&tree->gate);
	hf_tree_leave(&old);
	return err;
}

int hf_native_diff(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer,
		   unsigned flags, struct hf_native_run *run)
{
	struct hf_native_run found = { .offset = run->offset + run->len };
	int more = 0;

	if (flags & ~(unsigned)HF_NATIVE_EXACT)
		return -EINVAL;
	do {
		size_t from = found.offset + found.len;

		found.len = 0;
		more = next_run(older, newer, from, &found);
		if (more != 1 || !(flags & HF_NATIVE_EXACT))
			break;
		more = narrow(older, newer, &found);
	} while (!more);
	if (more < 0)
		return more;
	*run = more ? found : (struct hf_native_run){ .offset = newer->space->tree->size };
	return more;
}
