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

static bool is_live(const struct hf_native_snapshot *s, size_t unit)
{
	struct hf_source source = hf_source_of(s, unit);

	return source.kind == HF_SOURCE_LIVE && source.space == s->space;
}

/* Lost, nobody knows when. */
static bool is_unseen(const struct hf_native_snapshot *s, size_t unit)
{
	uint32_t entry = HF_FRAME_NONE;

	for (; s && entry == HF_FRAME_NONE;
	     s = atomic_load_explicit(&s->newer, memory_order_acquire))
		entry = atomic_load_explicit(&s->frames[unit], memory_order_acquire);
	return entry == HF_FRAME_UNSEEN;
}

/* Whether units that both share with the live space, and so do not differ, are what they were: a
 * walk begins with that. What changes behind its back later changes neither of them. A store that
 * comes right now leaves a frame before it takes the protection away. */
static bool nothing_unseen(const struct hf_native_snapshot *older,
			   const struct hf_native_snapshot *newer)
{
	struct hf_native *space = newer->space;

	hf_assert_inside(&space->tree->gate);
	for (size_t word = 0; word < space->tree->nr_words; word++) {
		uint64_t live = 0, lost;

		for (size_t bit = 0; bit < HF_WORD_UNITS; bit++) {
			size_t unit = word * HF_WORD_UNITS + bit;

			if (unit >= space->tree->nr_units || !hf_snapshot_had(older, unit) ||
			    kept_between(older, newer, unit))
				continue;
			if (is_unseen(newer, unit))
				return false;
			if (is_live(newer, unit))
				live |= 1ULL << bit;
		}
		lost = live ? live & ~hf_still_protected(space, word, live) : 0;
		for (; lost; lost &= lost - 1) {
			if (is_live(newer, word * HF_WORD_UNITS + (size_t)__builtin_ctzll(lost)))
				return false;
		}
	}
	return true;
}

/* The next run of units from *unit on; inside the gate. */
static bool next_units(const struct hf_native_snapshot *older,
		       const struct hf_native_snapshot *newer, size_t *unit, size_t *end)
{
	size_t nr = newer->space->tree->nr_units;

	hf_assert_inside(&newer->space->tree->gate);
	while (*unit < nr && !may_differ(older, newer, *unit))
		++*unit;
	*end = *unit;
	while (*end < nr && may_differ(older, newer, *end))
		++*end;
	return *unit < nr;
}

/* 1: the page differs. By copies. */
static int page_differs(const struct hf_native_snapshot *older,
			const struct hf_native_snapshot *newer, size_t offset)
{
	static const char zeros[HF_PAGE_SIZE];
	char a[HF_PAGE_SIZE], b[HF_PAGE_SIZE];
	int err = older ? hf_snapshot_read(older, offset, a, sizeof(a)) : 0;

	if (!err)
		err = hf_snapshot_read(newer, offset, b, sizeof(b));
	return err ? err : memcmp(older ? a : zeros, b, sizeof(b)) != 0;
}

#define COMPARED 16 /* pages at a time: to look whether they may be compared costs two calls */

/* Pages of one word, in place: what is live has to be looked at afterwards. */
struct compared {
	const struct hf_native_snapshot *older, *newer;
	size_t offset;
	uint64_t done, differ; /* bits of pages */
	const char *at[COMPARED][2];
};

/* Where a page's bytes are, if they are to be had without a copy. */
static const char *page_in_place(const struct hf_native_snapshot *s, size_t offset)
{
	unsigned shift = s->space->tree->unit_shift;
	struct hf_source source = hf_stable_source(s, offset >> shift);

	if (source.kind == HF_SOURCE_LOST)
		return NULL;
	if (source.kind == HF_SOURCE_ZERO)
		return s->space->tree->zeros;
	if (source.kind == HF_SOURCE_LIVE && source.space != s->space)
		return NULL;
	return source.addr + (offset & ((1UL << shift) - 1));
}

static void compare_in_place(struct compared *c, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		size_t offset = c->offset + i * HF_PAGE_SIZE;
		const char *a = page_in_place(c->older, offset);
		const char *b = page_in_place(c->newer, offset);

		c->at[i][0] = a;
		c->at[i][1] = b;
		if (!a || !b)
			continue;
		c->done |= 1ULL << i;
		c->differ |= (uint64_t)(a != b && memcmp(a, b, HF_PAGE_SIZE)) << i;
	}
}

/* Are they where they were compared? Who stores to live memory moves the old bytes before. */
static bool is_in_place(const struct compared *c, size_t i)
{
	size_t offset = c->offset + i * HF_PAGE_SIZE;

	return page_in_place(c->older, offset) == c->at[i][0] &&
	       page_in_place(c->newer, offset) == c->at[i][1];
}

/* A page that was live memory then, and is it still, has been what it is. Others are done again. */
static void check_in_place(struct compared *c, size_t nr)
{
	struct hf_native *space = c->newer->space;
	unsigned shift = space->tree->unit_shift;
	size_t first = c->offset >> shift;
	size_t end = ((c->offset + nr * HF_PAGE_SIZE - 1) >> shift) + 1;
	uint64_t mask = hf_units_mask(first % HF_WORD_UNITS, end - first);
	uint64_t protected = hf_still_protected(space, first / HF_WORD_UNITS, mask);

	atomic_thread_fence(memory_order_acquire);
	for (size_t i = 0; i < nr; i++) {
		size_t unit = (c->offset + i * HF_PAGE_SIZE) >> shift;

		if (!(protected >> unit % HF_WORD_UNITS & 1) || !is_in_place(c, i))
			c->done &= ~(1ULL << i);
	}
}

/* Fills c->differ for the pages from c->offset on. */
static int compare(struct compared *c, size_t nr)
{
	struct hf_native *space = c->newer->space;

	hf_assert(nr && nr <= COMPARED);
	c->done = c->differ = 0;
	if (c->older && hf_pagemap_is_readable(&space->tree->files, space->window + c->offset,
					       nr * HF_PAGE_SIZE)) {
		compare_in_place(c, nr);
		check_in_place(c, nr);
	}
	for (size_t i = 0; i < nr; i++) {
		int differs;

		if (c->done >> i & 1)
			continue;
		differs = page_differs(c->older, c->newer, c->offset + i * HF_PAGE_SIZE);
		if (differs < 0)
			return differs;
		c->differ = (c->differ & ~(1ULL << i)) | (uint64_t)differs << i;
	}
	return 0;
}

/* Cuts the run to its first pages that differ. 0: there are none. */
static int narrow(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer,
		  struct hf_native_run *run)
{
	struct compared c = { .older = older, .newer = newer };
	size_t end = run->offset + run->len, at = run->offset, len = 0;

	while (at < end) {
		size_t within = at / HF_PAGE_SIZE % COMPARED, left = (end - at) / HF_PAGE_SIZE;
		size_t nr = left < COMPARED - within ? left : COMPARED - within;
		int err;

		c.offset = at;
		err = compare(&c, nr);
		if (err)
			return err;
		for (size_t i = 0; i < nr; i++, at += HF_PAGE_SIZE) {
			if (c.differ >> i & 1)
				len += HF_PAGE_SIZE;
			else if (len)
				goto found;
		}
	}
found:
	run->offset = at - len;
	run->len = len;
	return len > 0;
}

static int next_run(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer,
		    size_t from, struct hf_native_run *run)
{
	struct hf_tree *tree = newer->space->tree;
	size_t unit = from >> tree->unit_shift, end;
	struct hf_undisturbed old;
	int err = hf_tree_enter(tree, &old);

	if (err)
		return err;
	hf_gate_enter(&tree->gate);
	err = check(older, newer);
	if (!err && !from && older && !nothing_unseen(older, newer))
		err = -ENODATA;
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
	hf_leave(&old);
	return err;
}

int hf_native_diff(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer,
		   unsigned flags, struct hf_native_run *run)
{
	struct hf_native_run found = { .offset = run->offset + run->len };
	int more = 0;

	newer = hf_snapshot_of(newer);
	if (flags & ~(unsigned)HF_NATIVE_EXACT || !newer || (older && !hf_snapshot_of(older)))
		return -EINVAL;
	older = older ? hf_snapshot_of(older) : NULL;
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
