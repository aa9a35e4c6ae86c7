/* SPDX-License-Identifier: MIT */
/* The judge: keeps all states of the reference semantics that explain what was seen; where none is
 * left, says what is wrong. */
#include "oracle.h"

#include "judge.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STATES 4096

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

/* ---- sets of states ---- */

int hf_states_add(struct hf_states *all, const struct hf_state *s)
{
	const struct hf_state from = *s; /* which may be one of them */

	if (all->nr == MAX_STATES)
		return -E2BIG;
	if (all->nr == all->cap) {
		size_t cap = all->cap * 2 + 1;
		struct hf_state *grown = realloc(all->state, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		all->state = grown;
		all->cap = cap;
	}
	if (hf_state_copy(&all->state[all->nr], &from))
		return -ENOMEM;
	all->nr++;
	return 0;
}

void hf_states_free(struct hf_states *all)
{
	while (all->nr)
		hf_state_free(&all->state[--all->nr]);
	free(all->state);
	*all = (struct hf_states){ .nr = 0 };
}

/* ---- looks at children of par blocks ---- */

int hf_instant_of(const struct hf_oracle *o, const struct hf_look *l)
{
	return l->proc < 0 ? -1 : o->copied[l->proc];
}

bool hf_may_stay(struct hf_state *s, int child)
{
	if (child < 0 || (!hf_explains(s) && s->against != child))
		return false;
	s->against = child;
	return true;
}

static bool explained(const struct hf_states *all, int child, const struct hf_look *l, size_t atom,
		      uint8_t value)
{
	for (size_t i = 0; i < all->nr; i++) {
		const struct hf_state *s = &all->state[i];

		if ((hf_explains(s) || s->against == child) && hf_look_allows(s, l, atom, value))
			return true;
	}
	return false;
}

/* The first atom with a byte that no state explains, or the number of atoms. */
static size_t find_unexplained(const struct hf_oracle *o, int child, const struct hf_look *l)
{
	for (size_t i = 0; i < o->atoms.nr; i++) {
		const struct hf_atom *a = &o->atoms.atom[i];

		for (size_t at = a->lo; hf_atom_in(a, l->buf, l->lo, l->hi) && at < a->hi; at++)
			if (!explained(&o->all, child, l, i, l->data[at - l->lo]))
				return i;
	}
	return o->atoms.nr;
}

void hf_say_torn(const struct hf_oracle *o, const struct hf_step *st, int child,
		 struct hf_judgement *j)
{
	j->verdict = HF_TORN;
	snprintf(j->detail, sizeof(j->detail),
		 "line %d: %s sees a mix that was never its parent's memory at one instant",
		 st->line, hf_proc_name(o->scn, child));
}

/* ---- what a file claims ---- */

static bool is_claim(const struct hf_step *st)
{
	return st->verb == HF_V_CHECK || st->verb == HF_V_DEV_CHECK;
}

/* Of an atom that `check` names: a state that allows the value, and one that does not. */
static void who_allows(const struct hf_oracle *o, const struct hf_look *l, size_t atom,
		       const struct hf_state **yes, const struct hf_state **no)
{
	*yes = *no = NULL;
	for (size_t i = 0; i < o->all.nr; i++) {
		const struct hf_state *s = &o->all.state[i];

		if (!hf_explains(s) || hf_look_cell(s, l, atom) < 0)
			continue;
		*(hf_look_allows(s, l, atom, l->step->value) ? yes : no) = s;
	}
}

/* `check` says a value: the reference semantics must say the same,
 * in whatever order things were done. */
static void judge_claim(const struct hf_oracle *o, const struct hf_look *l, struct hf_judgement *j)
{
	for (size_t i = 0; i < o->atoms.nr && j->verdict == HF_OK; i++) {
		const struct hf_state *yes, *no;

		if (!hf_atom_in(&o->atoms.atom[i], l->buf, l->lo, l->hi))
			continue;
		who_allows(o, l, i, &yes, &no);
		if (!no)
			continue;
		j->verdict = HF_ERROR;
		snprintf(j->detail, sizeof(j->detail),
			 "line %d: the file says 0x%02x must be seen, the reference semantics says "
			 "%s0x%02x%s",
			 l->step->line, l->step->value, yes ? "that or " : "",
			 hf_state_now(no, hf_look_cell(no, l, i))->value,
			 yes ? ": the order of what was done at the same time decides" : "");
	}
}

/* What was seen is allowed: so must be nothing but what the file says. */
static void judge_seen_claim(const struct hf_look *l, struct hf_judgement *j)
{
	for (size_t at = 0; at < l->hi - l->lo; at++) {
		if (l->data[at] == l->step->value)
			continue;
		j->verdict = HF_ERROR;
		snprintf(j->detail, sizeof(j->detail),
			 "line %d: the file says 0x%02x must be seen, the reference semantics says "
			 "that or 0x%02x",
			 l->step->line, l->step->value, l->data[at]);
		return;
	}
}

/* ---- one step on all states ---- */

int hf_apply(const struct hf_oracle *o, struct hf_state *s, const struct hf_step *st,
	     const struct hf_obs *obs, unsigned outcome, struct hf_judgement *j)
{
	int err = hf_step_apply(o->scn, s, st, obs, outcome, j);
	struct hf_look l;

	if (!err && j->verdict == HF_OK && hf_look_of(o->scn, s, st, obs, &l))
		hf_look_judge(o->scn, s, &l, j);
	return err;
}

/* Each state becomes all that the step may have made of it. */
static int apply_to_all(struct hf_oracle *o, const struct hf_step *st, const struct hf_obs *obs,
			struct hf_judgement **judgements)
{
	size_t before = o->all.nr;
	unsigned *outcome;
	int err = 0;

	for (size_t i = 0; i < before && !err; i++)
		for (unsigned k = hf_step_outcomes(&o->all.state[i], st, obs); k > 1 && !err; k--)
			err = hf_states_add(&o->all, &o->all.state[i]);
	if (err)
		return err;
	outcome = calloc(o->all.nr, sizeof(*outcome));
	*judgements = calloc(o->all.nr, sizeof(**judgements));
	if (!outcome || !*judgements)
		err = -ENOMEM;
	for (size_t i = 0, copy = before; i < before && !err; i++)
		for (unsigned k = hf_step_outcomes(&o->all.state[i], st, obs); k > 1; k--)
			outcome[copy++] = k - 1;
	for (size_t i = 0; i < o->all.nr && !err; i++)
		err = hf_apply(o, &o->all.state[i], st, obs, outcome[i], &(*judgements)[i]);
	free(outcome);
	return err;
}

/* The first state that explained everything until now and,
 * with `well`, the step too. NULL: none. */
static const struct hf_state *first_of(const struct hf_oracle *o,
				       const struct hf_judgement *judgements, bool well)
{
	for (size_t i = 0; i < o->all.nr; i++)
		if (hf_explains(&o->all.state[i]) && (!well || judgements[i].verdict == HF_OK))
			return &o->all.state[i];
	return NULL;
}

/* Takes away the states that the step speaks against. */
static void sift(struct hf_oracle *o, const struct hf_judgement *judgements, int child)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->all.nr; i++) {
		struct hf_state *s = &o->all.state[i];

		if (judgements[i].verdict == HF_OK || hf_may_stay(s, child))
			o->all.state[kept++] = *s;
		else
			hf_state_free(s);
	}
	o->all.nr = kept;
}

/* No state is left that explains everything. What was found stays, unless each byte is a child's as
 * it was at one instant or another. */
static void conclude(const struct hf_oracle *o, const struct hf_judgement *judgements,
		     const struct hf_look *l, int child, struct hf_judgement *j)
{
	const struct hf_state *s = first_of(o, judgements, false);
	size_t atom, where;

	*j = judgements[s - o->all.state];
	if (!l || hf_step_obstacle(s, l->step, &where))
		return;
	atom = find_unexplained(o, child, l);
	if (atom == o->atoms.nr) {
		if (child >= 0)
			hf_say_torn(o, l->step, child, j);
		return;
	}
	*j = (struct hf_judgement){ .verdict = HF_OK };
	hf_look_judge_atom(o->scn, s, l, atom, j);
}

void hf_note_fork(struct hf_oracle *o, const struct hf_step *st, bool in_par)
{
	int of_parent = o->copied[st->proc];

	o->copied[st->child] = of_parent >= 0 ? of_parent : in_par ? st->child : -1;
}

int hf_oracle_step(struct hf_oracle *o, const struct hf_step *st, const struct hf_obs *obs,
		   struct hf_judgement *j)
{
	struct hf_judgement *judgements = NULL;
	struct hf_look l;
	bool look = hf_look_of(o->scn, &o->all.state[0], st, obs, &l);
	int child = look ? hf_instant_of(o, &l) : -1, err;

	*j = (struct hf_judgement){ .verdict = HF_OK };
	if (st->verb == HF_V_FORK)
		hf_note_fork(o, st, false);
	if (look && is_claim(st))
		judge_claim(o, &l, j);
	if (j->verdict != HF_OK)
		return 0;
	err = apply_to_all(o, st, obs, &judgements);
	if (!err && !first_of(o, judgements, true)) {
		conclude(o, judgements, look ? &l : NULL, child, j);
	} else if (!err) {
		sift(o, judgements, child);
		if (look && is_claim(st))
			judge_seen_claim(&l, j);
	}
	free(judgements);
	return err;
}

bool hf_oracle_is_open(const struct hf_oracle *o, const struct hf_step *st)
{
	bool free_way = false, obstacle = false;
	size_t where;

	for (size_t i = 0; i < o->all.nr; i++) {
		if (!hf_explains(&o->all.state[i]))
			continue;
		if (hf_step_obstacle(&o->all.state[i], st, &where))
			obstacle = true;
		else
			free_way = true;
	}
	return free_way && obstacle;
}

/* ---- the oracle ---- */

struct hf_oracle *hf_oracle_new(const struct hf_scenario *scn, enum hf_kind kind)
{
	struct hf_oracle *o = calloc(1, sizeof(*o));
	struct hf_state first;
	int err;

	if (!o)
		return NULL;
	o->scn = scn;
	for (size_t p = 0; p < HF_SCN_MAX_PROCS; p++)
		o->copied[p] = -1;
	err = hf_atoms_init(&o->atoms, scn, kind);
	if (!err)
		err = hf_state_init(&first, &o->atoms);
	if (!err) {
		err = hf_states_add(&o->all, &first);
		hf_state_free(&first);
	}
	if (err) {
		hf_oracle_free(o);
		return NULL;
	}
	return o;
}

const struct hf_state *hf_oracle_state(const struct hf_oracle *o)
{
	size_t i = 0;

	while (!hf_explains(&o->all.state[i]))
		i++;
	return &o->all.state[i];
}

void hf_oracle_free(struct hf_oracle *o)
{
	if (!o)
		return;
	hf_states_free(&o->all);
	free(o->atoms.atom);
	free(o);
}
