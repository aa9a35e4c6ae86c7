/* SPDX-License-Identifier: MIT */
/*
 * Inside the oracle: look.c (may a state show that?), effect.c (what a step does to a state),
 * oracle.c (which states explain all that was seen), orders.c (those that par blocks lead to).
 */
#ifndef HF_ORACLE_JUDGE_H
#define HF_ORACLE_JUDGE_H

#include "oracle.h"
#include "state.h"

/* ---- look.c ---- */

/* Who looks at what: a process at its own cells, or a device through a reference. */
struct hf_look {
	const struct hf_step *step;
	const uint8_t *data; /* the bytes of [lo, hi) of buf */
	int buf;
	size_t lo, hi;
	int proc;       /* whose memory */
	int ref;        /* -1: through page tables */
	bool any_later; /* any version since the reference was taken will do */
	bool write_ref;
};

/* False: the step showed nothing. */
bool hf_look_of(const struct hf_scenario *scn, const struct hf_state *s, const struct hf_step *st,
		const struct hf_obs *obs, struct hf_look *l);
/* The cell that is looked at; negative: there is none. */
int16_t hf_look_cell(const struct hf_state *s, const struct hf_look *l, size_t atom);
bool hf_look_allows(const struct hf_state *s, const struct hf_look *l, size_t atom, uint8_t value);
/* One atom, or all; what is wrong with them on this state, if anything. */
void hf_look_judge_atom(const struct hf_scenario *scn, const struct hf_state *s,
			const struct hf_look *l, size_t atom, struct hf_judgement *j);
void hf_look_judge(const struct hf_scenario *scn, const struct hf_state *s, const struct hf_look *l,
		   struct hf_judgement *j);
const char *hf_proc_name(const struct hf_scenario *scn, int proc);

/* ---- effect.c ---- */

/* Does the step access memory that may be missing or protected? NULL: no, or all is well; or else
 * what its range is instead ("read-only", ...), and where. */
const char *hf_step_obstacle(const struct hf_state *s, const struct hf_step *st, size_t *where);
/*
 * A step that failed may have done a part: how many ways there are, as far as errno and obs->done
 * leave it open. 1 for steps that were done.
 */
unsigned hf_step_outcomes(const struct hf_state *s, const struct hf_step *st,
			  const struct hf_obs *obs);
/* Does to the state what the step did, in one of these ways. 0 or -ENOMEM; *j: what cannot be done
 * on this state was done. */
int hf_step_apply(const struct hf_scenario *scn, struct hf_state *s, const struct hf_step *st,
		  const struct hf_obs *obs, unsigned outcome, struct hf_judgement *j);

/* ---- oracle.c ---- */

struct hf_states {
	struct hf_state *state;
	size_t nr, cap;
};

struct hf_oracle {
	const struct hf_scenario *scn;
	struct hf_atoms atoms;
	/* all that explain what was seen, one unless par blocks or failures left it open; and those
	 * that explain all but the memory of one child that was forked in a par block */
	struct hf_states all;
	/* of each process: whose copy of one instant it has, if that was made in a par block; -1 */
	int copied[HF_SCN_MAX_PROCS];
};

static inline bool hf_explains(const struct hf_state *s)
{
	return s->against < 0;
}

/* A copy of the state. 0, -ENOMEM or -E2BIG. */
int hf_states_add(struct hf_states *all, const struct hf_state *s);
void hf_states_free(struct hf_states *all);
/* A step on one state, in one of the ways that it may have gone, and what it showed. */
int hf_apply(const struct hf_oracle *o, struct hf_state *s, const struct hf_step *st,
	     const struct hf_obs *obs, unsigned outcome, struct hf_judgement *j);
void hf_note_fork(struct hf_oracle *o, const struct hf_step *st, bool in_par);
/* Whose copy of one instant the bytes are of that are looked at, or -1. */
int hf_instant_of(const struct hf_oracle *o, const struct hf_look *l);
/* A state that does not explain a look at a child's memory may still be the instant of which other
 * bytes of the child are. False: it explains something else wrongly, too. */
bool hf_may_stay(struct hf_state *s, int child);
void hf_say_torn(const struct hf_oracle *o, const struct hf_step *st, int child,
		 struct hf_judgement *j);

#endif
