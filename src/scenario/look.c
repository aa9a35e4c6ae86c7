/* SPDX-License-Identifier: MIT */
/* What a look at memory may show on one state of the reference semantics, and what it is called
 * when it shows something else. */
#include "judge.h"

#include <holdfast/mm.h>
#include <stdio.h>

const char *hf_proc_name(const struct hf_scenario *scn, int proc)
{
	switch (proc) {
	case HF_BY_DEVICE:
		return "the device";
	case HF_BY_BIRTH:
		return "a fresh mapping";
	case HF_BY_FREE:
		return "MADV_FREE";
	default:
		return scn->procs[proc].name;
	}
}

/* ---- who looks at what ---- */

static bool write_ref(const struct hf_step *maker)
{
	return maker->verb == HF_V_FIXEDBUF || maker->verb == HF_V_ODIRECT_READ ||
	       maker->foll & HF_FOLL_WRITE;
}

static struct hf_look device_look(const struct hf_scenario *scn, const struct hf_state *s,
				  const struct hf_step *st)
{
	const struct hf_step *maker = hf_ref_maker(scn, st->ref);

	return (struct hf_look){
		.buf = maker->buf,
		.lo = maker->lo + st->lo,
		.hi = st->hi ? maker->lo + st->hi : maker->hi,
		.proc = s->ref_owner[st->ref],
		.ref = st->ref,
		.any_later = maker->verb == HF_V_GET || maker->verb == HF_V_VMSPLICE ||
			     maker->verb == HF_V_ODIRECT_WRITE,
		.write_ref = write_ref(maker),
	};
}

bool hf_look_of(const struct hf_scenario *scn, const struct hf_state *s, const struct hf_step *st,
		const struct hf_obs *obs, struct hf_look *l)
{
	if (!hf_step_read_size(scn, st) || obs->status > 0)
		return false;
	if (st->proc == HF_SCN_DEVICE)
		*l = device_look(scn, s, st);
	else
		*l = (struct hf_look){
			.buf = st->buf, .lo = st->lo, .hi = st->hi, .proc = st->target, .ref = -1
		};
	l->step = st;
	l->data = obs->data;
	/* what was read before the call failed was seen as well */
	if (obs->status)
		l->hi = l->lo + obs->done;
	return l->hi > l->lo;
}

int16_t hf_look_cell(const struct hf_state *s, const struct hf_look *l, size_t atom)
{
	return l->ref < 0 ? *hf_state_map(s, l->proc, atom) : *hf_state_window(s, l->ref, atom);
}

/* ---- what may be seen ---- */

/* A copy shows what its source did, and what may not have been written what was there before. */
static bool shows(const struct hf_state *s, const struct hf_version *v, uint8_t value)
{
	while (v->value != value && (v->from >= 0 || v->maybe))
		v = &s->version[v->from >= 0 ? v->from : v->prev];
	return v->value == value;
}

bool hf_look_allows(const struct hf_state *s, const struct hf_look *l, size_t atom, uint8_t value)
{
	int16_t cell = hf_look_cell(s, l, atom);
	int32_t at, since;

	if (cell < 0)
		return false;
	at = s->last[cell];
	since = l->any_later ? *hf_state_since(s, l->ref, atom) : at;
	while (at != since && !shows(s, &s->version[at], value))
		at = s->version[at].prev;
	return shows(s, &s->version[at], value);
}

/* ---- what it is called ---- */

static void where(const struct hf_scenario *scn, const struct hf_look *l, const struct hf_atom *a,
		  char *buf, size_t len)
{
	const char *name = scn->bufs[l->buf].name;

	if (l->ref < 0)
		snprintf(buf, len, "line %d: %s reads %s[%zu..%zu]", l->step->line,
			 hf_proc_name(scn, l->step->proc), name, a->lo, a->hi);
	else
		snprintf(buf, len, "line %d: the device reads %s[%zu..%zu] of %s through %s",
			 l->step->line, name, a->lo, a->hi, hf_proc_name(scn, l->proc),
			 scn->refs[l->ref].name);
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
	int32_t at = s->last[cell];

	while (at >= 0 && s->version[at].value != value)
		at = s->version[at].from >= 0 ? s->version[at].from : s->version[at].prev;
	return at >= 0;
}

/* The write that a cell has its value from; a copy has it from before the fork. */
static const struct hf_version *last_write(const struct hf_state *s, int16_t cell)
{
	const struct hf_version *v = hf_state_now(s, cell);

	while (v->from >= 0)
		v = &s->version[v->from];
	return v;
}

/* The value is not allowed: say what that is called. */
static void classify(const struct hf_scenario *scn, const struct hf_state *s,
		     const struct hf_look *l, const char *place, int16_t cell, uint8_t seen,
		     struct hf_judgement *j)
{
	const struct hf_version *now = last_write(s, cell);
	const struct hf_version *other = written_elsewhere(s, s->owner[cell], seen);

	if (was_own(s, cell, seen)) {
		j->verdict = l->ref >= 0 && !l->write_ref ? HF_STALE_READ : HF_LOST_WRITE;
		snprintf(j->detail, sizeof(j->detail),
			 "%s as 0x%02x, but %s wrote 0x%02x there (line %d)", place, seen,
			 hf_proc_name(scn, now->by), now->value, now->line);
	} else if (other && s->owner[other->cell] == s->owner[cell]) {
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail),
			 "%s as 0x%02x, which was written to other memory (line %d)", place, seen,
			 other->line);
	} else if (other) {
		j->verdict = HF_LEAK;
		snprintf(j->detail, sizeof(j->detail),
			 "%s as 0x%02x, which %s wrote to memory of %s (line %d)", place, seen,
			 hf_proc_name(scn, other->by), hf_proc_name(scn, s->owner[other->cell]),
			 other->line);
	} else {
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail), "%s as 0x%02x, which nobody wrote", place,
			 seen);
	}
}

void hf_look_judge_atom(const struct hf_scenario *scn, const struct hf_state *s,
			const struct hf_look *l, size_t atom, struct hf_judgement *j)
{
	const struct hf_atom *a = &s->atoms->atom[atom];
	const uint8_t *bytes = l->data + (a->lo - l->lo);
	int16_t cell = hf_look_cell(s, l, atom);
	char place[128];

	where(scn, l, a, place, sizeof(place));
	if (cell < 0) {
		j->verdict = HF_BUG;
		snprintf(j->detail, sizeof(j->detail), "%s, which is not mapped there", place);
		return;
	}
	for (size_t i = 0; i < a->hi - a->lo; i++) {
		if (hf_look_allows(s, l, atom, bytes[i]))
			continue;
		classify(scn, s, l, place, cell, bytes[i], j);
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

void hf_look_judge(const struct hf_scenario *scn, const struct hf_state *s, const struct hf_look *l,
		   struct hf_judgement *j)
{
	for (size_t i = 0; i < s->atoms->nr && j->verdict == HF_OK; i++)
		if (hf_atom_in(&s->atoms->atom[i], l->buf, l->lo, l->hi))
			hf_look_judge_atom(scn, s, l, i, j);
}
