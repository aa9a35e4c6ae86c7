/* SPDX-License-Identifier: MIT */
/*
 * What steps do to a state of the reference semantics; of those that fail, what the manual pages
 * and the kernel have them done by then:
 *
 *   stores, process_vm_writev, /proc/PID/mem   the bytes before the fault, which the target counts
 *   mprotect    what lies before the hole (ENOMEM); or VMAs up to the one that refused
 *   madvise     all but the hole (ENOMEM); what lies before the VMA that refuses it by its nature
 *               (EINVAL); or VMAs up to the one that could not be had
 *   mremap      to a smaller size: the tail may be gone; of one size: VMAs up to the one that
 *               refused may have moved (Linux 6.17)
 *   ftruncate   unless it was refused (EINVAL), nothing or all
 *   devices     what the target counts; of the rest, nobody knows
 *
 * mmap, munmap, fork and all that takes references do all or nothing; reclaim, migration, KSM,
 * splits, collapse and population do nothing that can be seen.
 */
#include "judge.h"

#include <errno.h>
#include <holdfast/gup.h>
#include <holdfast/mm.h>
#include <stdio.h>

/* ---- ranges ---- */

static bool in_step(const struct hf_atom *a, const struct hf_step *st)
{
	return hf_atom_in(a, st->buf, st->lo, st->hi);
}

/* Where the first part of [st->lo, st->hi) that is not mapped begins, or st->hi. */
static size_t hole(const struct hf_state *s, const struct hf_step *st)
{
	for (size_t i = 0; i < s->atoms->nr; i++)
		if (in_step(&s->atoms->atom[i], st) &&
		    *hf_state_map(s, st->proc, i) == HF_NOT_MAPPED)
			return s->atoms->atom[i].lo;
	return st->hi;
}

/* Where the nth VMA of [lo, hi) may begin, the first at lo; VMAs begin where a step's range does or
 * after a hole. Past the last: SIZE_MAX. */
static size_t vma_start(const struct hf_state *s, const struct hf_step *st, size_t lo, size_t hi,
			unsigned nth)
{
	bool mapped = false;

	for (size_t i = 0; i < s->atoms->nr; i++) {
		const struct hf_atom *a = &s->atoms->atom[i];
		bool is = *hf_state_map(s, st->proc, i) != HF_NOT_MAPPED;

		if (!hf_atom_in(a, st->buf, lo, hi))
			continue;
		if (is && (!mapped || a->starts_range) && nth-- == 0)
			return a->lo;
		mapped = is;
	}
	return SIZE_MAX;
}

static unsigned count_vmas(const struct hf_state *s, const struct hf_step *st, size_t lo, size_t hi)
{
	unsigned n = 0;

	while (vma_start(s, st, lo, hi, n) != SIZE_MAX)
		n++;
	return n;
}

/* ---- what stands in the way of an access ---- */

static uint8_t forbids(const struct hf_step *st)
{
	switch (st->verb) {
	case HF_V_WRITE:
	case HF_V_PROCESS_VM_WRITE:
	case HF_V_FIXEDBUF:
	case HF_V_ODIRECT_READ:
		return HF_ATOM_READONLY;
	case HF_V_PIN:
	case HF_V_GET:
		if (st->foll & HF_FOLL_FORCE)
			return 0;
		return st->foll & HF_FOLL_WRITE ? HF_ATOM_READONLY : HF_ATOM_NOACCESS;
	case HF_V_PTRACE_READ: /* FOLL_FORCE */
	case HF_V_PTRACE_WRITE:
		return 0;
	default:
		return HF_ATOM_NOACCESS;
	}
}

static bool accesses(const struct hf_step *st)
{
	switch (st->verb) {
	case HF_V_READ:
	case HF_V_WRITE:
	case HF_V_CHECK:
	case HF_V_PROCESS_VM_READ:
	case HF_V_PROCESS_VM_WRITE:
	case HF_V_PTRACE_READ:
	case HF_V_PTRACE_WRITE:
		return true;
	default:
		return hf_step_makes_ref(st);
	}
}

const char *hf_step_obstacle(const struct hf_state *s, const struct hf_step *st, size_t *where)
{
	for (size_t i = 0; accesses(st) && i < s->atoms->nr; i++) {
		uint8_t flags = *hf_state_flags(s, st->target, i) & forbids(st);

		if (!in_step(&s->atoms->atom[i], st))
			continue;
		*where = s->atoms->atom[i].lo;
		if (*hf_state_map(s, st->target, i) < 0)
			return "not mapped there";
		if (flags)
			return flags & HF_ATOM_READONLY ? "read-only" : "not to be accessed";
	}
	return NULL;
}

/* ---- writing ---- */

struct writing {
	int by, line;
	uint8_t value;
	size_t sure, perhaps; /* up to there it was, and may have been written */
};

/* `cells` are a process's or a reference's, by atom. */
static int write_cells(struct hf_state *s, const int16_t *cells, int buf, size_t lo, size_t hi,
		       const struct writing *w)
{
	int err = 0;

	for (size_t i = 0; i < s->atoms->nr && !err; i++) {
		const struct hf_atom *a = &s->atoms->atom[i];
		struct hf_version v = {
			.by = (int16_t)w->by,
			.from = -1,
			.value = w->value,
			.maybe = a->hi > w->sure,
			.line = w->line,
		};

		if (hf_atom_in(a, buf, lo, hi) && a->lo < w->perhaps && cells[i] >= 0)
			err = hf_state_write(s, cells[i], &v);
	}
	return err;
}

/* Of what failed, the bytes that the target counts. */
static size_t reached(const struct hf_obs *obs, size_t lo, size_t hi)
{
	return obs->status ? lo + obs->done : hi;
}

static int store(struct hf_state *s, const struct hf_step *st, const struct hf_obs *obs)
{
	size_t end = reached(obs, st->lo, st->hi);
	struct writing w = {
		.by = st->proc, .line = st->line, .value = st->value, .sure = end, .perhaps = end
	};

	return write_cells(s, hf_state_map(s, st->target, 0), st->buf, st->lo, st->hi, &w);
}

static int device_store(const struct hf_scenario *scn, struct hf_state *s, const struct hf_step *st,
			const struct hf_obs *obs)
{
	const struct hf_step *maker = hf_ref_maker(scn, st->ref);
	size_t lo = maker->lo + st->lo, hi = st->hi ? maker->lo + st->hi : maker->hi;
	struct writing w = {
		.by = HF_BY_DEVICE,
		.line = st->line,
		.value = st->verb == HF_V_DEV_WRITE ? st->value : maker->value,
		.sure = reached(obs, lo, hi),
		.perhaps = obs->status == -EINVAL ? reached(obs, lo, hi) : hi,
	};

	return write_cells(s, hf_state_window(s, st->ref, 0), maker->buf, lo, hi, &w);
}

/* ---- mappings ---- */

static int new_cell(struct hf_state *s, int proc, size_t atom)
{
	int16_t *cell = hf_state_map(s, proc, atom);

	if (s->atoms->atom[atom].lo >= s->file_size) {
		*cell = HF_BEYOND_FILE;
		return 0;
	}
	return hf_state_new_cell(s, proc, 0, cell);
}

static void set_protection(uint8_t *flags, unsigned prot)
{
	*flags &= ~(HF_ATOM_READONLY | HF_ATOM_NOACCESS);
	if (!(prot & HF_PROT_WRITE))
		*flags |= HF_ATOM_READONLY;
	if (!prot)
		*flags |= HF_ATOM_NOACCESS;
}

static int map(struct hf_state *s, const struct hf_step *st)
{
	int err = 0;

	for (size_t i = 0; i < s->atoms->nr && !err; i++)
		if (hf_atom_in(&s->atoms->atom[i], st->buf, 0, st->pages * HF_PAGE_SIZE)) {
			set_protection(hf_state_flags(s, st->proc, i), st->prot);
			err = new_cell(s, st->proc, i);
		}
	return err;
}

/* Of a buffer; buf < 0: of all. */
static void unmap(struct hf_state *s, int proc, int buf, size_t lo, size_t hi)
{
	for (size_t i = 0; i < s->atoms->nr; i++)
		if (buf < 0 || hf_atom_in(&s->atoms->atom[i], buf, lo, hi)) {
			*hf_state_map(s, proc, i) = HF_NOT_MAPPED;
			*hf_state_flags(s, proc, i) = 0;
		}
}

/* Every buffer shows the file from its beginning. What was stored beyond the end goes as well, and
 * is zeros if the file grows again. */
static int truncate_file(struct hf_state *s, size_t size)
{
	int err = 0;

	s->file_size = size;
	for (size_t proc = 0; proc < s->atoms->nr_procs; proc++)
		for (size_t i = 0; i < s->atoms->nr && !err; i++) {
			int16_t *cell = hf_state_map(s, (int)proc, i);
			bool beyond = s->atoms->atom[i].lo >= size;

			if (beyond && *cell >= 0)
				*cell = HF_BEYOND_FILE;
			else if (!beyond && *cell == HF_BEYOND_FILE)
				err = new_cell(s, (int)proc, i);
		}
	return err;
}

/* What is new is of the VMA that was there: protected and advised as its last page. */
static int resize(struct hf_state *s, const struct hf_step *st)
{
	size_t size = st->pages * HF_PAGE_SIZE;
	uint8_t flags = 0;
	int err = 0;

	unmap(s, st->proc, st->buf, size, SIZE_MAX);
	for (size_t i = 0; i < s->atoms->nr && !err; i++) {
		if (!hf_atom_in(&s->atoms->atom[i], st->buf, 0, size))
			continue;
		if (*hf_state_map(s, st->proc, i) != HF_NOT_MAPPED) {
			flags = *hf_state_flags(s, st->proc, i);
			continue;
		}
		*hf_state_flags(s, st->proc, i) = flags;
		err = new_cell(s, st->proc, i);
	}
	return err;
}

static int do_fork(struct hf_state *s, int parent, int child)
{
	int err = 0;

	for (size_t i = 0; i < s->atoms->nr && !err; i++) {
		int16_t cell = *hf_state_map(s, parent, i);
		int16_t *copy = hf_state_map(s, child, i);
		uint8_t flags = *hf_state_flags(s, parent, i);

		if (cell == HF_NOT_MAPPED || flags & HF_ATOM_DONTFORK)
			continue;
		*hf_state_flags(s, child, i) = flags;
		if (cell < 0)
			*copy = cell;
		else if (flags & HF_ATOM_WIPEONFORK)
			err = hf_state_new_cell(s, child, 0, copy);
		else
			err = hf_state_copy_cell(s, child, cell, copy);
	}
	return err;
}

static void protect(struct hf_state *s, const struct hf_step *st, size_t end)
{
	for (size_t i = 0; i < s->atoms->nr; i++)
		if (hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, end) &&
		    *hf_state_map(s, st->proc, i) != HF_NOT_MAPPED)
			set_protection(hf_state_flags(s, st->proc, i), st->prot);
}

/* ---- advice ---- */

static int advise_atom(struct hf_state *s, const struct hf_step *st, size_t i)
{
	int16_t *cell = hf_state_map(s, st->proc, i);
	uint8_t *flags = hf_state_flags(s, st->proc, i);

	switch (st->advice) {
	case HF_MADV_FREE:
		return *cell < 0 ? 0
				 : hf_state_write(s, *cell,
						  &(struct hf_version){ .by = HF_BY_FREE,
									.from = -1,
									.maybe = true,
									.line = st->line });
	case HF_MADV_DONTNEED:
		return *cell < 0 ? 0 : hf_state_new_cell(s, st->proc, 0, cell);
	case HF_MADV_DONTFORK:
		*flags |= HF_ATOM_DONTFORK;
		return 0;
	case HF_MADV_DOFORK:
		*flags &= ~HF_ATOM_DONTFORK;
		return 0;
	case HF_MADV_WIPEONFORK:
		*flags |= HF_ATOM_WIPEONFORK;
		return 0;
	case HF_MADV_KEEPONFORK:
		*flags &= ~HF_ATOM_WIPEONFORK;
		return 0;
	default:
		return 0; /* nothing that can be seen */
	}
}

/* A page of the pool is dropped whole or not at all, and a buffer has no more than one, where its
 * mapping ends, too. */
static size_t dropped_end(const struct hf_state *s, const struct hf_step *st, size_t end)
{
	bool rest = false;

	if (st->advice != HF_MADV_DONTNEED || !hf_is_hugetlb(s->atoms->kind))
		return end;
	for (size_t i = 0; i < s->atoms->nr; i++)
		rest |= hf_atom_in(&s->atoms->atom[i], st->buf, end, SIZE_MAX) &&
			*hf_state_map(s, st->proc, i) != HF_NOT_MAPPED;
	return rest ? st->lo : end;
}

static int advise(struct hf_state *s, const struct hf_step *st, size_t end)
{
	int err = 0;

	end = dropped_end(s, st, end);
	for (size_t i = 0; i < s->atoms->nr && !err; i++)
		if (hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, end) &&
		    *hf_state_map(s, st->proc, i) != HF_NOT_MAPPED)
			err = advise_atom(s, st, i);
	return err;
}

/* ---- references ---- */

static void take(struct hf_state *s, const struct hf_step *st)
{
	for (size_t i = 0; i < s->atoms->nr; i++) {
		int16_t cell = *hf_state_map(s, st->target, i);

		if (!in_step(&s->atoms->atom[i], st))
			continue;
		*hf_state_window(s, st->ref, i) = cell;
		*hf_state_since(s, st->ref, i) = s->last[cell];
	}
	s->ref_owner[st->ref] = st->target;
}

/* ---- steps that failed ---- */

static bool of_file(const struct hf_state *s, size_t i)
{
	enum hf_memory memory = s->atoms->kind->memory;

	if (memory == HF_MEM_MIXED)
		return s->atoms->atom[i].lo / HF_PAGE_SIZE % 2;
	return memory == HF_MEM_MEMFD || memory == HF_MEM_TMPFILE || memory == HF_MEM_MEMFD_HUGETLB;
}

/* Where the first VMA is that refuses the step with EINVAL: memory of files is neither freed nor
 * wiped. What else is refused so, all memory of a kind refuses. */
static size_t refusal(const struct hf_state *s, const struct hf_step *st)
{
	bool files_only = st->verb == HF_V_ADVISE &&
			  (st->advice == HF_MADV_FREE || st->advice == HF_MADV_WIPEONFORK);

	for (size_t i = 0; i < s->atoms->nr; i++)
		if (in_step(&s->atoms->atom[i], st) && files_only && of_file(s, i) &&
		    *hf_state_map(s, st->proc, i) != HF_NOT_MAPPED)
			return s->atoms->atom[i].lo;
	return st->lo;
}

/* Of a call on VMAs one by one, whether errno alone tells where it ended: *end. */
static bool end_is_known(const struct hf_state *s, const struct hf_step *st,
			 const struct hf_obs *obs, size_t *end)
{
	size_t gap = hole(s, st);

	switch (obs->status) {
	case 0:
		*end = st->hi;
		return true;
	case -EINVAL:
		*end = refusal(s, st);
		return true;
	case -ENOMEM:
		*end = st->verb == HF_V_PROTECT ? gap : st->hi;
		return gap < st->hi;
	default:
		return false;
	}
}

/* Whether the tail that mremap was to cut off is there. */
static bool has_tail(const struct hf_state *s, const struct hf_step *st)
{
	return vma_start(s, st, st->pages * HF_PAGE_SIZE, SIZE_MAX, 0) != SIZE_MAX;
}

unsigned hf_step_outcomes(const struct hf_state *s, const struct hf_step *st,
			  const struct hf_obs *obs)
{
	unsigned n = 1;
	size_t end;

	if (!obs->status || obs->status == -ECANCELED)
		return 1;
	switch (st->verb) {
	case HF_V_ADVISE:
	case HF_V_PROTECT:
		if (!end_is_known(s, st, obs, &end))
			n = count_vmas(s, st, st->lo, st->hi);
		break;
	case HF_V_REMAP:
		if (st->pages)
			n = has_tail(s, st) ? 2 : 1;
		else
			n = count_vmas(s, st, 0, SIZE_MAX);
		break;
	case HF_V_TRUNCATE:
		n = obs->status == -EINVAL ? 1 : 2;
		break;
	default:
		break;
	}
	return n ? n : 1;
}

/* Where it ended, in one of the ways. */
static size_t outcome_end(const struct hf_state *s, const struct hf_step *st,
			  const struct hf_obs *obs, unsigned outcome)
{
	size_t end;

	if (end_is_known(s, st, obs, &end))
		return end;
	return outcome ? vma_start(s, st, st->lo, st->hi, outcome) : st->lo;
}

static int remap(struct hf_state *s, const struct hf_step *st, const struct hf_obs *obs,
		 unsigned outcome)
{
	if (!obs->status)
		return st->pages ? resize(s, st) : 0;
	if (outcome && st->pages)
		unmap(s, st->proc, st->buf, st->pages * HF_PAGE_SIZE, SIZE_MAX);
	else if (outcome)
		unmap(s, st->proc, st->buf, 0, vma_start(s, st, 0, SIZE_MAX, outcome));
	return 0;
}

/* What a call that failed has done, too. */
static int apply_in_part(const struct hf_scenario *scn, struct hf_state *s,
			 const struct hf_step *st, const struct hf_obs *obs, unsigned outcome)
{
	switch (st->verb) {
	case HF_V_WRITE:
	case HF_V_PROCESS_VM_WRITE:
	case HF_V_PTRACE_WRITE:
		return store(s, st, obs);
	case HF_V_DEV_WRITE:
		return device_store(scn, s, st, obs);
	case HF_V_DEV_FINISH:
		return hf_ref_maker(scn, st->ref)->verb == HF_V_ODIRECT_READ
			       ? device_store(scn, s, st, obs)
			       : 0;
	case HF_V_PROTECT:
		protect(s, st, outcome_end(s, st, obs, outcome));
		return 0;
	case HF_V_ADVISE:
		return advise(s, st, outcome_end(s, st, obs, outcome));
	case HF_V_REMAP:
		return remap(s, st, obs, outcome);
	case HF_V_TRUNCATE:
		return !obs->status || outcome ? truncate_file(s, st->lo) : 0;
	default:
		return 0;
	}
}

/* All or nothing. */
static int apply_whole(struct hf_state *s, const struct hf_step *st)
{
	switch (st->verb) {
	case HF_V_MAP:
		return map(s, st);
	case HF_V_UNMAP:
		unmap(s, st->proc, st->buf, st->lo, st->hi);
		return 0;
	case HF_V_EXIT:
		unmap(s, st->proc, -1, 0, 0);
		return 0;
	case HF_V_FORK:
		return do_fork(s, st->proc, st->child);
	default:
		if (hf_step_makes_ref(st))
			take(s, st);
		return 0;
	}
}

int hf_step_apply(const struct hf_scenario *scn, struct hf_state *s, const struct hf_step *st,
		  const struct hf_obs *obs, unsigned outcome, struct hf_judgement *j)
{
	const char *obstacle;
	size_t where = 0;
	int err;

	if (obs->status == -ECANCELED)
		return 0;
	obstacle = obs->status ? NULL : hf_step_obstacle(s, st, &where);
	if (obstacle) {
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail),
			 "line %d: '%.100s' was done, but %s of %s is %s from byte %zu on",
			 st->line, st->text, scn->bufs[st->buf].name, scn->procs[st->target].name,
			 obstacle, where);
		return 0;
	}
	err = apply_in_part(scn, s, st, obs, outcome);
	return err || obs->status ? err : apply_whole(s, st);
}
