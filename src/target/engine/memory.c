/* SPDX-License-Identifier: MIT */
/* The engine's machine for a scenario, its mappings, and what a kind makes of them. */
#include "../../core/internal.h"
#include "engine.h"

#include <errno.h>
#include <stdio.h>

#define BUF_SPACING (1ul << 24)
#define BUF_BASE 0x10000000ul

static size_t folio_size(const struct hf_engine_run *r)
{
	return HF_PAGE_SIZE << r->kind->order;
}

static size_t whole_folios(const struct hf_engine_run *r, size_t size)
{
	return (size + folio_size(r) - 1) & ~(folio_size(r) - 1);
}

/* Every process with every page of its own, the old ones still referenced, some in the caches of
 * threads, the huge zeropage (the block of the zeropage is broken up), and a folio to collapse or
 * to move into. Large folios are taken apart, not copied. */
static size_t enough_frames(const struct hf_engine_run *r)
{
	size_t pages = 0, folio = folio_size(r) / HF_PAGE_SIZE;

	for (size_t b = 0; b < r->scn->nr_bufs; b++)
		pages += whole_folios(r, r->scn->bufs[b].max_pages * HF_PAGE_SIZE) / HF_PAGE_SIZE;
	return 64 + (r->kind->order < 9 ? 2 : 1) * pages * r->scn->nr_procs +
	       (2 + r->scn->nr_refs) * folio;
}

static bool is_zeropage(const struct hf_engine_run *r)
{
	return r->kind->memory == HF_MEM_ZEROPAGE;
}

static bool uses_swap(const struct hf_step *steps, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (steps[i].verb == HF_V_SWAPOUT)
			return true;
		for (size_t a = 0; steps[i].par && a < steps[i].par->nr_arms; a++)
			if (uses_swap(steps[i].par->arms[a].steps, steps[i].par->arms[a].nr_steps))
				return true;
	}
	return false;
}

static int turn_swap_on(struct hf_engine_run *r)
{
	int err;

	if (!r->kind->swapped && !uses_swap(r->scn->steps, r->scn->nr_steps))
		return 0;
	err = hf_swap_device_open(NULL, enough_frames(r), &r->swap);
	return err ? err : hf_swapon(r->sys, &r->swap);
}

static bool of_file(const struct hf_engine_run *r)
{
	return r->kind->memory == HF_MEM_MEMFD || r->kind->memory == HF_MEM_TMPFILE ||
	       r->kind->memory == HF_MEM_MEMFD_HUGETLB;
}

static bool has_file(const struct hf_engine_run *r)
{
	return of_file(r) || r->kind->memory == HF_MEM_MIXED;
}

static int make_file(struct hf_engine_run *r)
{
	size_t size = 0;

	for (size_t b = 0; b < r->scn->nr_bufs; b++)
		if (size < r->scn->bufs[b].max_pages * HF_PAGE_SIZE)
			size = r->scn->bufs[b].max_pages * HF_PAGE_SIZE;
	if (r->kind->memory == HF_MEM_TMPFILE) {
		r->backing_file = tmpfile();
		if (!r->backing_file)
			return -errno;
		r->backing = hf_backing_of(fileno(r->backing_file));
	}
	return hf_file_create(r->sys, size, r->backing_file ? &r->backing : NULL,
			      r->kind->memory == HF_MEM_MEMFD_HUGETLB ? HF_FILE_HUGETLB : 0,
			      &r->file);
}

void hf_engine_drop_file(struct hf_engine_run *r)
{
	if (r->file)
		hf_file_put(r->file);
	r->file = NULL;
}

int hf_engine_set_up(struct hf_engine_run *r, const struct hf_policy *policy)
{
	const struct hf_scenario *scn = r->scn;
	struct hf_system_config config = {
		.platform = hf_platform_hosted(),
		.policy = policy,
		.nr_frames = scn->frames ? scn->frames : enough_frames(r),
		.flags = HF_SYSTEM_DEBUG | (scn->unpin_check ? HF_SYSTEM_UNPIN_CHECK : 0),
	};
	int err = hf_system_create(&config, &r->sys);

	r->next_place = BUF_BASE + HF_SCN_MAX_BUFS * BUF_SPACING;
	if (!err && r->kind->order)
		err = hf_system_set_thp(r->sys, 1u << r->kind->order);
	if (!err && hf_is_hugetlb(r->kind))
		hf_system_set_hugepages(r->sys, enough_frames(r) / 512 - 1);
	if (!err && has_file(r))
		err = make_file(r);
	if (!err)
		err = turn_swap_on(r);
	for (size_t p = 0; p < scn->nr_procs && !err; p++)
		if (scn->procs[p].initial)
			err = hf_mm_create(r->sys, &r->mm[p]);
	return err;
}

size_t hf_engine_reach(const struct hf_engine_run *r, const struct hf_step *st)
{
	int owner = st->proc == HF_SCN_DEVICE ? 0 : st->target;
	const struct hf_engine_place *p = &r->place[owner][st->buf];

	return st->lo == 0 && st->hi == p->size ? p->extent : st->hi - st->lo;
}

static int skip(struct hf_obs *obs, const char *reason)
{
	snprintf(obs->reason, sizeof(obs->reason), "%s", reason);
	return HF_OBS_SKIP;
}

/* ---- mapping ---- */

static bool is_read_first(const struct hf_engine_run *r, const struct hf_step *st)
{
	return st->prot && (is_zeropage(r) || has_file(r));
}

/* All of it as anonymous memory, and every second page then as the file's. */
static int map_mixed(struct hf_engine_run *r, struct hf_mm *mm, uint64_t addr, size_t size,
		     unsigned prot)
{
	int err = hf_mmap(mm, &addr, size, prot, HF_MAP_FIXED_NOREPLACE);

	for (size_t at = HF_PAGE_SIZE; at < size && !err; at += 2 * HF_PAGE_SIZE) {
		uint64_t page = addr + at;

		err = hf_mmap_file(mm, &page, HF_PAGE_SIZE, prot, HF_MAP_FIXED, r->file,
				   at >> HF_PAGE_SHIFT);
	}
	return err;
}

int hf_engine_map(struct hf_engine_run *r, const struct hf_step *st)
{
	struct hf_engine_place *p = &r->place[st->proc][st->buf];
	struct hf_mm *mm = r->mm[st->proc];
	size_t size = st->pages * HF_PAGE_SIZE, extent = whole_folios(r, size);
	uint8_t byte;
	int err;

	if (!p->addr)
		p->addr = BUF_BASE + st->buf * BUF_SPACING;
	if (r->kind->memory == HF_MEM_MIXED)
		err = map_mixed(r, mm, p->addr, extent, st->prot);
	else if (of_file(r))
		err = hf_mmap_file(mm, &p->addr, extent, st->prot, HF_MAP_FIXED_NOREPLACE, r->file,
				   0);
	else
		err = hf_mmap(mm, &p->addr, extent, st->prot,
			      HF_MAP_FIXED_NOREPLACE |
				      (r->kind->memory == HF_MEM_HUGETLB ? HF_MAP_HUGETLB : 0));
	if (err)
		return err;
	if (!hf_is_hugetlb(r->kind))
		err = hf_madvise(mm, p->addr, extent,
				 r->kind->order ? HF_MADV_HUGEPAGE : HF_MADV_NOHUGEPAGE);
	/* the zeropage, or the file's page, is there when it is first written */
	for (size_t at = 0; is_read_first(r, st) && at < size && !err; at += HF_PAGE_SIZE)
		err = hf_load(mm, p->addr + at, &byte, 1);
	if (err) {
		hf_munmap(mm, p->addr, extent);
		return err;
	}
	p->size = size;
	p->extent = extent;
	p->shaped = false;
	return 0;
}

int hf_engine_remap(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_engine_place *p = &r->place[st->proc][st->buf];
	size_t size = st->pages ? st->pages * HF_PAGE_SIZE : p->size;
	size_t extent = size == p->size ? p->extent : size;
	uint64_t to = r->next_place;
	int err;

	if (size != p->size && p->extent != p->size)
		return skip(obs, "a buffer of whole folios does not change its size");
	err = hf_mremap(r->mm[st->proc], p->addr, p->extent, extent,
			HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to);
	if (err)
		return err;
	r->next_place += BUF_SPACING;
	*p = (struct hf_engine_place){
		.addr = to, .size = size, .extent = extent, .shaped = p->shaped
	};
	return 0;
}

/* ---- shapes ---- */

int hf_engine_split(const struct hf_engine_run *r, struct hf_mm *mm, uint64_t addr, size_t len)
{
	uint64_t end = addr + len;
	int err = 0;

	for (; addr < end && !err; addr = (addr + HF_PMD_SIZE) & HF_PMD_MASK) {
		err = hf_madvise(mm, addr, HF_PAGE_SIZE, HF_MADV_NOHUGEPAGE);
		if (!err && r->kind->order)
			err = hf_madvise(mm, addr, HF_PAGE_SIZE, HF_MADV_HUGEPAGE);
	}
	return err;
}

/* A hole that the scenario has made has split the PMD. */
static int map_by_leaf_entries(struct hf_engine_run *r, struct hf_mm *mm,
			       const struct hf_engine_place *p)
{
	int err = 0;

	if (folio_size(r) >= 512 * HF_PAGE_SIZE)
		err = hf_engine_split(r, mm, p->addr, p->extent);
	return err == -ENOMEM ? 0 : err;
}

static int keep_single(struct hf_mm *mm, const struct hf_engine_place *p)
{
	return p->extent == p->size
		       ? 0
		       : hf_madvise(mm, p->addr + p->size, p->extent - p->size, HF_MADV_DONTNEED);
}

static int move_half(struct hf_engine_run *r, struct hf_mm *mm, struct hf_engine_place *p,
		     struct hf_obs *obs)
{
	size_t half = p->extent / 2;
	int err;

	if (p->size > half)
		return skip(obs, "the buffer needs more than half of its folio");
	err = hf_mremap(mm, p->addr + half, half, half, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED,
			&r->next_place);
	r->next_place += BUF_SPACING;
	p->extent = half;
	return err;
}

static int share_partly(struct hf_mm *mm, const struct hf_engine_place *p)
{
	uint64_t rest = p->addr + p->size;
	size_t len = p->extent - p->size;
	struct hf_mm *child;
	int err = len ? hf_madvise(mm, rest, len, HF_MADV_DONTFORK) : 0;

	if (!err)
		err = hf_mm_fork(mm, &child);
	if (err)
		return err;
	hf_mm_put(child);
	return len ? hf_madvise(mm, rest, len, HF_MADV_DOFORK) : 0;
}

int hf_engine_shape(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_engine_place *p = &r->place[st->proc][st->buf];
	struct hf_mm *mm = r->mm[st->proc];
	bool as_it_comes = r->kind->shape == HF_SHAPE_WHOLE ||
			   (r->kind->shape == HF_SHAPE_PTES && r->kind->order < 9);
	int err = 0;

	/* nothing to do, and in a par block two may be here at once */
	if (as_it_comes && !r->kind->swapped)
		return 0;
	if (p->shaped)
		return 0;
	p->shaped = true;
	if (r->kind->shape != HF_SHAPE_WHOLE)
		err = map_by_leaf_entries(r, mm, p);
	if (!err && r->kind->shape == HF_SHAPE_SINGLE)
		err = keep_single(mm, p);
	if (!err && r->kind->shape == HF_SHAPE_HALF)
		err = move_half(r, mm, p, obs);
	if (!err && r->kind->shape == HF_SHAPE_PARTLY)
		err = share_partly(mm, p);
	if (err || !r->kind->swapped)
		return err;
	err = hf_madvise(mm, p->addr, p->extent, HF_MADV_PAGEOUT);
	return err == -ENOMEM ? 0 : err; /* all but a hole of the buffer went out */
}
