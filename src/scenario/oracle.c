/* SPDX-License-Identifier: MIT */
/* The judge: applies steps to the reference semantics and compares what was seen. */
#include "oracle.h"

#include "state.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STATES 512

struct hf_oracle {
	const struct hf_scenario *scn;
	struct hf_atoms atoms;
	struct hf_state
		*states; /* all that explain what was seen; one unless par blocks left it open */
	size_t nr_states;
	bool par_fork[HF_SCN_MAX_PROCS]; /* made by a fork inside a par block */
};

static const struct hf_step *find_maker(const struct hf_step *steps, size_t nr, int ref)
{
	const struct hf_step *found = NULL;

	for (size_t i = 0; i < nr && !found; i++) {
		const struct hf_step *st = &steps[i];

		for (size_t a = 0; st->verb == HF_V_PAR && a < st->par->nr_arms && !found; a++)
			found = find_maker(st->par->arms[a].steps, st->par->arms[a].nr_steps, ref);
		if (st->ref == ref && st->proc != HF_SCN_DEVICE && st->buf >= 0)
			found = st;
	}
	return found;
}

const struct hf_step *hf_ref_maker(const struct hf_scenario *scn, int ref)
{
	return find_maker(scn->steps, scn->nr_steps, ref);
}

static const char *proc_name(const struct hf_oracle *o, int proc)
{
	return proc < 0 ? "the device" : o->scn->procs[proc].name;
}

/* ---- seeing ---- */

/* Who looks at what: a process at its own cells, or a device through a reference. */
struct look {
	const struct hf_step *step;
	const uint8_t *data; /* the bytes of [lo, hi) of buf */
	int buf;
	size_t lo, hi;
	int proc;       /* whose memory */
	int ref;        /* -1: through page tables */
	bool any_later; /* any version since the reference was taken will do */
	bool write_ref;
};

/* A copy shows what its source did. */
static bool shows(const struct hf_state *s, const struct hf_version *v, uint8_t value)
{
	while (v->value != value && (v->from >= 0 || v->by == HF_BY_FREE))
		v = hf_state_value(s, v->from >= 0 ? v->from : v->cell, (size_t)(v - s->version));
	return v->value == value;
}

static bool allowed(const struct hf_state *s, const struct look *l, int16_t cell, uint8_t value)
{
	size_t from;

	if (shows(s, hf_state_value(s, cell, s->nr_versions), value))
		return true;
	if (!l->any_later)
		return false;
	from = s->taken[l->ref];
	if (hf_state_value(s, cell, from)->value == value)
		return true;
	for (size_t i = from; i < s->nr_versions; i++)
		if (s->version[i].cell == cell && s->version[i].value == value)
			return true;
	return false;
}

static void where(const struct hf_oracle *o, const struct look *l, const struct hf_atom *a,
		  char *buf, size_t len)
{
	const char *name = o->scn->bufs[l->buf].name;

	if (l->ref < 0)
		snprintf(buf, len, "line %d: %s reads %s[%zu..%zu]", l->step->line,
			 proc_name(o, l->step->proc), name, a->lo, a->hi);
	else
		snprintf(buf, len, "line %d: the device reads %s[%zu..%zu] of %s through %s",
			 l->step->line, name, a->lo, a->hi, proc_name(o, l->proc),
			 o->scn->refs[l->ref].name);
}

/* The last write of this value into memory that is somebody else's, or else into any memory. */
static const struct hf_version *written_elsewhere(const struct hf_state *s, int owner,
						  uint8_t value)
{
	const struct hf_version *own = NULL;

	for (size_t i = s->nr_versions; i > 0; i--) {
		const struct hf_version *v = &s->version[i - 1];

		if (v->value != value || v->by < HF_BY_DEVICE)
			continue;
		if (s->owner[v->cell] != owner)
			return v;
		own = own ? own : v;
	}
	return own;
}

/* A value of the cell's past, which before a fork is that of what it is a copy of. */
static bool was_own(const struct hf_state *s, int16_t cell, uint8_t value)
{
	for (size_t i = s->nr_versions; i > 0; i--) {
		const struct hf_version *v = &s->version[i - 1];

		if (v->cell != cell)
			continue;
		if (v->value == value)
			return true;
		if (v->from >= 0)
			cell = v->from;
	}
	return false;
}

/* The write that a cell has its value from; a copy has it from before the fork. */
static const struct hf_version *last_write(const struct hf_state *s, int16_t cell)
{
	const struct hf_version *v = hf_state_value(s, cell, s->nr_versions);

	while (v->from >= 0)
		v = hf_state_value(s, v->from, (size_t)(v - s->version));
	return v;
}

/* The value is not allowed: say what that is called. */
static void classify(const struct hf_oracle *o, const struct hf_state *s, const struct look *l,
		     const struct hf_atom *a, int16_t cell, uint8_t seen, struct hf_judgement *j)
{
	const struct hf_version *now = last_write(s, cell);
	const struct hf_version *other = written_elsewhere(s, s->owner[cell], seen);
	char place[128];

	where(o, l, a, place, sizeof(place));
	if (was_own(s, cell, seen)) {
		j->verdict = l->ref >= 0 && !l->write_ref ? HF_STALE_READ : HF_LOST_WRITE;
		snprintf(j->detail, sizeof(j->detail),
			 "%s as 0x%02x, but %s wrote 0x%02x there (line %d)", place, seen,
			 proc_name(o, now->by), now->value, now->line);
	} else if (other && s->owner[other->cell] == s->owner[cell]) {
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail),
			 "%s as 0x%02x, which was written to other memory (line %d)", place, seen,
			 other->line);
	} else if (other) {
		j->verdict = HF_LEAK;
		snprintf(j->detail, sizeof(j->detail),
			 "%s as 0x%02x, which %s wrote to memory of %s (line %d)", place, seen,
			 proc_name(o, other->by), proc_name(o, s->owner[other->cell]), other->line);
	} else {
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail), "%s as 0x%02x, which nobody wrote", place,
			 seen);
	}
}

static void judge_atom(const struct hf_oracle *o, const struct hf_state *s, const struct look *l,
		       const struct hf_atom *a, int16_t cell, struct hf_judgement *j)
{
	const uint8_t *bytes = l->data + (a->lo - l->lo);
	char place[128];

	where(o, l, a, place, sizeof(place));
	if (cell < 0) {
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail), "%s, which is not mapped there", place);
		return;
	}
	for (size_t i = 0; i < a->hi - a->lo; i++) {
		if (allowed(s, l, cell, bytes[i]))
			continue;
		classify(o, s, l, a, cell, bytes[i], j);
		return;
	}
	for (size_t i = 1; i < a->hi - a->lo; i++)
		if (bytes[i] != bytes[0]) {
			j->verdict = HF_TORN;
			snprintf(j->detail, sizeof(j->detail), "%s as a mix of 0x%02x and 0x%02x",
				 place, bytes[0], bytes[i]);
			return;
		}
}

static void judge_look(const struct hf_oracle *o, const struct hf_state *s, const struct look *l,
		       struct hf_judgement *j)
{
	for (size_t i = 0; i < s->atoms->nr && j->verdict == HF_OK; i++) {
		const struct hf_atom *a = &s->atoms->atom[i];

		if (hf_atom_in(a, l->buf, l->lo, l->hi))
			judge_atom(o, s, l, a,
				   l->ref < 0 ? *hf_state_map(s, l->proc, i)
					      : *hf_state_window(s, l->ref, i),
				   j);
	}
}

/* `check` says a value: the reference semantics must say the same. */
static void judge_claim(const struct hf_state *s, const struct look *l, struct hf_judgement *j)
{
	for (size_t i = 0; i < s->atoms->nr; i++) {
		int16_t cell =
			l->ref < 0 ? *hf_state_map(s, l->proc, i) : *hf_state_window(s, l->ref, i);

		if (!hf_atom_in(&s->atoms->atom[i], l->buf, l->lo, l->hi) || cell < 0 ||
		    allowed(s, l, cell, l->step->value))
			continue;
		j->verdict = HF_ERROR;
		snprintf(j->detail, sizeof(j->detail),
			 "line %d: the file says 0x%02x must be seen, the reference semantics says "
			 "0x%02x",
			 l->step->line, l->step->value,
			 hf_state_value(s, cell, s->nr_versions)->value);
		return;
	}
}

/* ---- doing ---- */

static int write_range(struct hf_state *s, const struct hf_step *st, int proc, int by)
{
	int err = 0;

	for (size_t i = 0; i < s->atoms->nr && !err; i++) {
		int16_t cell = *hf_state_map(s, proc, i);

		if (hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, st->hi) && cell >= 0)
			err = hf_state_write(s, cell, st->value, by, st->line);
	}
	return err;
}

static int write_window(struct hf_state *s, int ref, int buf, size_t lo, size_t hi, uint8_t value,
			int line)
{
	int err = 0;

	for (size_t i = 0; i < s->atoms->nr && !err; i++) {
		int16_t cell = *hf_state_window(s, ref, i);

		if (hf_atom_in(&s->atoms->atom[i], buf, lo, hi) && cell >= 0)
			err = hf_state_write(s, cell, value, HF_BY_DEVICE, line);
	}
	return err;
}

/* Fresh zeros in [lo, hi), where `only_mapped` asks, only where something is mapped. */
static int fresh(struct hf_state *s, int proc, int buf, size_t lo, size_t hi, bool only_mapped)
{
	int err = 0;

	for (size_t i = 0; i < s->atoms->nr && !err; i++) {
		int16_t *cell = hf_state_map(s, proc, i);

		if (hf_atom_in(&s->atoms->atom[i], buf, lo, hi) && (!only_mapped || *cell >= 0))
			err = hf_state_new_cell(s, proc, 0, cell);
	}
	return err;
}

static void unmap(struct hf_state *s, int proc, int buf, size_t lo, size_t hi)
{
	for (size_t i = 0; i < s->atoms->nr; i++)
		if (buf < 0 || hf_atom_in(&s->atoms->atom[i], buf, lo, hi)) {
			*hf_state_map(s, proc, i) = -1;
			*hf_state_flags(s, proc, i) = 0;
		}
}

/* Every buffer shows the file from its beginning. What was stored beyond the end goes as well. */
static void truncate_file(struct hf_state *s, size_t size)
{
	for (int proc = 0; proc < HF_SCN_MAX_PROCS; proc++)
		for (size_t i = 0; i < s->atoms->nr; i++)
			if (s->atoms->atom[i].lo >= size)
				*hf_state_map(s, proc, i) = -1;
}

static int remap(struct hf_state *s, const struct hf_step *st)
{
	size_t size = st->pages * HF_PAGE_SIZE;
	int err = 0;

	if (!st->pages)
		return 0;
	for (size_t i = 0; i < s->atoms->nr && !err; i++) {
		const struct hf_atom *a = &s->atoms->atom[i];
		int16_t *cell = hf_state_map(s, st->proc, i);

		if (a->buf != st->buf)
			continue;
		if (a->lo >= size)
			*cell = -1;
		else if (*cell < 0)
			err = hf_state_new_cell(s, st->proc, 0, cell);
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

		if (cell < 0 || flags & HF_ATOM_DONTFORK)
			continue;
		*hf_state_flags(s, child, i) = flags;
		err = flags & HF_ATOM_WIPEONFORK ? hf_state_new_cell(s, child, 0, copy)
						 : hf_state_copy_cell(s, child, cell, copy);
	}
	return err;
}

static int advise(struct hf_state *s, const struct hf_step *st)
{
	static const struct {
		uint8_t set, clear;
	} flags[] = {
		[HF_MADV_DONTFORK] = { HF_ATOM_DONTFORK, 0 },
		[HF_MADV_DOFORK] = { 0, HF_ATOM_DONTFORK },
		[HF_MADV_WIPEONFORK] = { HF_ATOM_WIPEONFORK, 0 },
		[HF_MADV_KEEPONFORK] = { 0, HF_ATOM_WIPEONFORK },
		[HF_MADV_COLLAPSE] = { 0, 0 },
	};

	if (st->advice == HF_MADV_FREE)
		return write_range(s, st, st->proc, HF_BY_FREE); /* its value is 0 */
	if (st->advice == HF_MADV_DONTNEED)
		return fresh(s, st->proc, st->buf, st->lo, st->hi, true);
	for (size_t i = 0; i < s->atoms->nr; i++) {
		uint8_t *f = hf_state_flags(s, st->proc, i);

		if (hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, st->hi))
			*f = (*f & ~flags[st->advice].clear) | flags[st->advice].set;
	}
	return 0;
}

static void protect(struct hf_state *s, const struct hf_step *st, size_t lo, size_t hi)
{
	for (size_t i = 0; i < s->atoms->nr; i++) {
		uint8_t *flags = hf_state_flags(s, st->proc, i);

		if (hf_atom_in(&s->atoms->atom[i], st->buf, lo, hi))
			*flags = st->prot & HF_PROT_WRITE ? *flags & ~HF_ATOM_READONLY
							  : *flags | HF_ATOM_READONLY;
	}
}

/* A CPU's store that was done. */
static int store(const struct hf_oracle *o, struct hf_state *s, const struct hf_step *st,
		 struct hf_judgement *j)
{
	for (size_t i = 0; i < s->atoms->nr; i++) {
		if (!hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, st->hi) ||
		    !(*hf_state_flags(s, st->proc, i) & HF_ATOM_READONLY))
			continue;
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail), "line %d: %s stores to read-only memory",
			 st->line, proc_name(o, st->proc));
		return 0;
	}
	return write_range(s, st, st->proc, st->proc);
}

static int take(struct hf_state *s, const struct hf_step *st)
{
	for (size_t i = 0; i < s->atoms->nr; i++)
		if (hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, st->hi))
			*hf_state_window(s, st->ref, i) = *hf_state_map(s, st->target, i);
	s->taken[st->ref] = s->nr_versions;
	s->ref_owner[st->ref] = st->target;
	return 0;
}

static bool write_ref(const struct hf_step *maker)
{
	return maker->verb == HF_V_FIXEDBUF || maker->verb == HF_V_ODIRECT_READ ||
	       maker->foll & HF_FOLL_WRITE;
}

static struct look device_look(const struct hf_oracle *o, const struct hf_state *s,
			       const struct hf_step *st, const struct hf_obs *obs)
{
	const struct hf_step *maker = hf_ref_maker(o->scn, st->ref);
	size_t hi = st->hi ? maker->lo + st->hi : maker->hi;
	struct look l = {
		.step = st,
		.data = obs->data,
		.buf = maker->buf,
		.lo = maker->lo + st->lo,
		.hi = hi,
		.proc = s->ref_owner[st->ref],
		.ref = st->ref,
		.any_later = maker->verb == HF_V_GET || maker->verb == HF_V_VMSPLICE ||
			     maker->verb == HF_V_ODIRECT_WRITE,
		.write_ref = write_ref(maker),
	};

	return l;
}

static int device_step(struct hf_oracle *o, struct hf_state *s, const struct hf_step *st,
		       const struct hf_obs *obs, struct hf_judgement *j)
{
	const struct hf_step *maker = hf_ref_maker(o->scn, st->ref);
	struct look l = device_look(o, s, st, obs);

	if (st->verb == HF_V_DEV_WRITE)
		return write_window(s, st->ref, l.buf, l.lo, l.hi, st->value, st->line);
	if (st->verb == HF_V_DEV_FINISH && maker->verb == HF_V_ODIRECT_READ)
		return write_window(s, st->ref, l.buf, l.lo, l.hi, maker->value, st->line);
	if (st->verb == HF_V_DEV_CHECK)
		judge_claim(s, &l, j);
	if (j->verdict == HF_OK)
		judge_look(o, s, &l, j);
	return 0;
}

static void cpu_look(const struct hf_oracle *o, const struct hf_state *s, const struct hf_step *st,
		     const struct hf_obs *obs, struct hf_judgement *j)
{
	struct look l = {
		.step = st,
		.data = obs->data,
		.buf = st->buf,
		.lo = st->lo,
		.hi = st->hi,
		.proc = st->target,
		.ref = -1,
	};

	if (st->verb == HF_V_CHECK)
		judge_claim(s, &l, j);
	if (j->verdict == HF_OK)
		judge_look(o, s, &l, j);
}

/* One successful step on one state. */
static int apply(struct hf_oracle *o, struct hf_state *s, const struct hf_step *st,
		 const struct hf_obs *obs, struct hf_judgement *j)
{
	*j = (struct hf_judgement){ .verdict = HF_OK };
	if (obs->status)
		return 0;
	switch (st->verb) {
	case HF_V_MAP:
		protect(s, st, 0, st->pages * HF_PAGE_SIZE);
		return fresh(s, st->proc, st->buf, 0, st->pages * HF_PAGE_SIZE, false);
	case HF_V_UNMAP:
		unmap(s, st->proc, st->buf, st->lo, st->hi);
		return 0;
	case HF_V_EXIT:
		unmap(s, st->proc, -1, 0, 0);
		return 0;
	case HF_V_TRUNCATE:
		truncate_file(s, st->lo);
		return 0;
	case HF_V_ADVISE:
		return advise(s, st);
	case HF_V_REMAP:
		return remap(s, st);
	case HF_V_FORK:
		return do_fork(s, st->proc, st->child);
	case HF_V_PROTECT:
		protect(s, st, st->lo, st->hi);
		return 0;
	case HF_V_WRITE:
		return store(o, s, st, j);
	case HF_V_PROCESS_VM_WRITE:
	case HF_V_PTRACE_WRITE:
		return write_range(s, st, st->target, st->proc);
	case HF_V_READ:
	case HF_V_CHECK:
	case HF_V_PROCESS_VM_READ:
	case HF_V_PTRACE_READ:
		cpu_look(o, s, st, obs, j);
		return 0;
	case HF_V_PIN:
	case HF_V_GET:
	case HF_V_VMSPLICE:
	case HF_V_FIXEDBUF:
	case HF_V_ODIRECT_READ:
	case HF_V_ODIRECT_WRITE:
		return take(s, st);
	case HF_V_DEV_READ:
	case HF_V_DEV_WRITE:
	case HF_V_DEV_CHECK:
	case HF_V_DEV_FINISH:
		return device_step(o, s, st, obs, j);
	default:
		return 0; /* releases change nothing that can be seen */
	}
}

/* ---- sets of states ---- */

static void drop_state(struct hf_oracle *o, size_t i)
{
	hf_state_free(&o->states[i]);
	o->states[i] = o->states[--o->nr_states];
}

static void blame_fork(const struct hf_oracle *o, const struct hf_step *st, struct hf_judgement *j)
{
	if (st->proc < 0 || !o->par_fork[st->target] || j->verdict == HF_BUG ||
	    j->verdict == HF_ERROR)
		return;
	j->verdict = HF_TORN;
	snprintf(j->detail, sizeof(j->detail),
		 "line %d: %s sees a mix that was never its parent's memory at one instant",
		 st->line, proc_name(o, st->proc));
}

int hf_oracle_step(struct hf_oracle *o, const struct hf_step *st, const struct hf_obs *obs,
		   struct hf_judgement *j)
{
	struct hf_judgement first = { .verdict = HF_OK };
	size_t i = 0;

	while (i < o->nr_states) {
		int err = apply(o, &o->states[i], st, obs, j);

		if (err)
			return err;
		if (j->verdict == HF_OK) {
			i++;
			continue;
		}
		if (first.verdict == HF_OK)
			first = *j;
		if (o->nr_states == 1) {
			blame_fork(o, st, j);
			return 0;
		}
		drop_state(o, i);
	}
	j->verdict = HF_OK;
	return 0;
}

/* ---- par ---- */

struct merge {
	struct hf_oracle *o;
	const struct hf_par *par;
	const struct hf_obs *obs;
	size_t first_obs[HF_SCN_MAX_ARMS], at[HF_SCN_MAX_ARMS];
	struct hf_state *found;
	size_t nr_found;
	struct hf_judgement why; /* of one order that does not explain it */
};

static int keep(struct merge *m, const struct hf_state *s)
{
	for (size_t i = 0; i < m->nr_found; i++)
		if (hf_state_equal(&m->found[i], s))
			return 0;
	if (m->nr_found == MAX_STATES)
		return -ENOMEM;
	return hf_state_copy(&m->found[m->nr_found], s) ? -ENOMEM : (m->nr_found++, 0);
}

/* Tries every arm's next step after the state s. */
static int explore(struct merge *m, const struct hf_state *s)
{
	bool done = true;

	for (size_t a = 0; a < m->par->nr_arms; a++) {
		const struct hf_arm *arm = &m->par->arms[a];
		struct hf_judgement j;
		struct hf_state next;
		int err;

		if (m->at[a] == arm->nr_steps)
			continue;
		done = false;
		if (hf_state_copy(&next, s))
			return -ENOMEM;
		err = apply(m->o, &next, &arm->steps[m->at[a]], &m->obs[m->first_obs[a] + m->at[a]],
			    &j);
		if (!err && j.verdict == HF_OK) {
			m->at[a]++;
			err = explore(m, &next);
			m->at[a]--;
		} else if (!err) {
			m->why = j;
		}
		hf_state_free(&next);
		if (err)
			return err;
	}
	return done ? keep(m, s) : 0;
}

static void note_forks(struct hf_oracle *o, const struct hf_par *par)
{
	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 0; i < par->arms[a].nr_steps; i++)
			if (par->arms[a].steps[i].verb == HF_V_FORK)
				o->par_fork[par->arms[a].steps[i].child] = true;
}

static void free_states(struct hf_state *states, size_t nr)
{
	while (nr)
		hf_state_free(&states[--nr]);
	free(states);
}

int hf_oracle_par(struct hf_oracle *o, const struct hf_par *par, const struct hf_obs *obs,
		  struct hf_judgement *j)
{
	struct merge m = { .o = o, .par = par, .obs = obs };
	int err = 0;

	*j = (struct hf_judgement){ .verdict = HF_OK };
	m.found = calloc(MAX_STATES, sizeof(*m.found));
	if (!m.found)
		return -ENOMEM;
	for (size_t a = 0, n = 0; a < par->nr_arms; n += par->arms[a].nr_steps, a++)
		m.first_obs[a] = n;
	note_forks(o, par);
	for (size_t i = 0; i < o->nr_states && !err; i++)
		err = explore(&m, &o->states[i]);
	if (err || !m.nr_found) {
		*j = m.why;
		free_states(m.found, m.nr_found);
		return err;
	}
	free_states(o->states, o->nr_states);
	o->states = m.found;
	o->nr_states = m.nr_found;
	return 0;
}

struct hf_oracle *hf_oracle_new(const struct hf_scenario *scn)
{
	struct hf_oracle *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->scn = scn;
	o->states = calloc(1, sizeof(*o->states));
	if (!o->states || hf_atoms_init(&o->atoms, scn) ||
	    hf_state_init(&o->states[0], &o->atoms)) {
		hf_oracle_free(o);
		return NULL;
	}
	o->nr_states = 1;
	return o;
}

const struct hf_state *hf_oracle_state(const struct hf_oracle *o)
{
	return &o->states[0];
}

void hf_oracle_free(struct hf_oracle *o)
{
	if (!o)
		return;
	free_states(o->states, o->nr_states);
	free(o->atoms.atom);
	free(o);
}
