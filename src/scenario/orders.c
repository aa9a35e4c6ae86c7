/* SPDX-License-Identifier: MIT */
/* Par blocks: every order of the arms' steps, and the states that it leads to. */
#include "judge.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdlib.h>
#include <string.h>

/* ---- where arms can be, and the states there ---- */

/* How many pages a call that goes page by page is cut into. More are taken in one. */
#define MAX_PIECES 16

struct place {
	uint8_t at[HF_SCN_MAX_ARMS];    /* the step that comes next */
	uint8_t piece[HF_SCN_MAX_ARMS]; /* how many pieces of it were done */
};

struct front {
	struct hf_states all;
	struct place *place; /* of each state */
	size_t cap;
};

struct orders {
	struct hf_oracle *o;
	const struct hf_par *par;
	const struct hf_obs *obs;
	size_t first_obs[HF_SCN_MAX_ARMS];
	struct front now, next;
	/* bits of steps, in order of appearance */
	unsigned free_way, obstacle; /* that some order lets happen, or not */
	unsigned well, ill;          /* whose looks some order explains, or not */
	struct hf_judgement why[HF_SCN_MAX_PAR_STEPS];
};

static int add_place(struct front *f, const struct hf_state *s, const struct place *p)
{
	int err = 0;

	for (size_t i = 0; i < f->all.nr && !err; i++) {
		bool equal = !memcmp(&f->place[i], p, sizeof(*p));

		if (equal)
			err = hf_state_compare(&f->all.state[i], s, &equal);
		if (equal)
			return err;
	}
	if (!err && f->all.nr == f->cap) {
		size_t cap = f->cap * 2 + 8;
		struct place *grown = realloc(f->place, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		f->place = grown;
		f->cap = cap;
	}
	if (!err)
		err = hf_states_add(&f->all, s);
	if (!err)
		f->place[f->all.nr - 1] = *p;
	return err;
}

static void free_front(struct front *f)
{
	hf_states_free(&f->all);
	free(f->place);
	*f = (struct front){ .place = NULL };
}

/* ---- pieces ---- */

static bool is_discard(const struct hf_step *st)
{
	return st->verb == HF_V_ADVISE &&
	       (st->advice == HF_MADV_DONTNEED || st->advice == HF_MADV_FREE);
}

/* MADV_DONTNEED and MADV_FREE go from page to page while stores come in between, and references are
 * taken page by page while they do. A buffer in the pool is one page. */
static bool goes_by_pages(const struct orders *m, const struct hf_step *st)
{
	if (hf_is_hugetlb(m->o->atoms.kind))
		return false;
	if (is_discard(st))
		return true;
	if (!hf_step_makes_ref(st))
		return false;
	for (size_t a = 0; a < m->par->nr_arms; a++)
		for (size_t i = 0; i < m->par->arms[a].nr_steps; i++)
			if (is_discard(&m->par->arms[a].steps[i]))
				return true;
	return false;
}

static size_t count_pieces(const struct orders *m, const struct hf_step *st,
			   const struct hf_obs *obs)
{
	size_t first = st->lo / HF_PAGE_SIZE, end = (st->hi + HF_PAGE_SIZE - 1) / HF_PAGE_SIZE;

	if (obs->status || !goes_by_pages(m, st))
		return 1;
	return end - first > MAX_PIECES ? 1 : end - first;
}

static struct hf_step piece_of(const struct hf_step *st, size_t piece, size_t nr)
{
	struct hf_step part = *st;
	size_t first = st->lo / HF_PAGE_SIZE;

	if (nr == 1)
		return part;
	if (piece)
		part.lo = (first + piece) * HF_PAGE_SIZE;
	if (piece + 1 < nr)
		part.hi = (first + piece + 1) * HF_PAGE_SIZE;
	return part;
}

/* mmap_lock keeps a process's fork out of its calls that go by pages. */
static bool must_wait(const struct orders *m, const struct place *p, const struct hf_step *st)
{
	for (size_t a = 0; a < m->par->nr_arms && st->verb == HF_V_FORK; a++) {
		const struct hf_step *other = &m->par->arms[a].steps[p->at[a]];

		if (p->piece[a] && other->proc == st->proc && is_discard(other))
			return true;
	}
	return false;
}

/* ---- all orders ---- */

static void note_obstacle(struct orders *m, const struct hf_state *s, const struct hf_step *st,
			  size_t n)
{
	size_t where;

	if (!hf_explains(s))
		return;
	if (hf_step_obstacle(s, st, &where))
		m->obstacle |= 1u << n;
	else
		m->free_way |= 1u << n;
}

/* False: this order ends here. */
static bool goes_on(struct orders *m, struct hf_state *s, const struct hf_step *st, size_t n,
		    const struct hf_judgement *j)
{
	struct hf_look l;
	size_t where;

	if (j->verdict == HF_OK) {
		m->well |= 1u << n;
		return true;
	}
	m->ill |= 1u << n;
	m->why[n] = *j;
	return !hf_step_obstacle(s, st, &where) && hf_look_of(m->o->scn, s, st, &m->obs[n], &l) &&
	       hf_may_stay(s, hf_instant_of(m->o, &l));
}

/* An arm's next step, or piece of it, after state i. */
static int advance_arm(struct orders *m, size_t i, size_t a)
{
	const struct place *here = &m->now.place[i];
	const struct hf_step *st = &m->par->arms[a].steps[here->at[a]];
	size_t n = m->first_obs[a] + here->at[a];
	size_t pieces = count_pieces(m, st, &m->obs[n]);
	struct hf_step part = piece_of(st, here->piece[a], pieces);
	struct place p = *here;
	int err = 0;

	p.piece[a]++;
	if (p.piece[a] == pieces) {
		p.piece[a] = 0;
		p.at[a]++;
	}
	note_obstacle(m, &m->now.all.state[i], st, n);
	for (unsigned k = hf_step_outcomes(&m->now.all.state[i], &part, &m->obs[n]); k-- && !err;) {
		struct hf_judgement j = { .verdict = HF_OK };
		struct hf_state s;

		if (hf_state_copy(&s, &m->now.all.state[i]))
			return -ENOMEM;
		err = hf_apply(m->o, &s, &part, &m->obs[n], k, &j);
		if (!err && goes_on(m, &s, &part, n, &j))
			err = add_place(&m->next, &s, &p);
		hf_state_free(&s);
	}
	return err;
}

/* Every arm that is not at its end goes on. *done: all are. */
static int advance(struct orders *m, bool *done)
{
	int err = 0;

	*done = true;
	for (size_t i = 0; i < m->now.all.nr; i++)
		for (size_t a = 0; a < m->par->nr_arms && !err; a++) {
			const struct hf_arm *arm = &m->par->arms[a];
			size_t at = m->now.place[i].at[a];

			if (at == arm->nr_steps)
				continue;
			*done = false;
			if (!must_wait(m, &m->now.place[i], &arm->steps[at]))
				err = advance_arm(m, i, a);
		}
	if (*done || err)
		return err;
	free_front(&m->now);
	m->now = m->next;
	m->next = (struct front){ .place = NULL };
	return 0;
}

static int go_through(struct orders *m)
{
	static const struct place start;
	bool done = false;
	int err = 0;

	for (size_t i = 0; i < m->o->all.nr && !err; i++)
		err = add_place(&m->now, &m->o->all.state[i], &start);
	while (!done && !err)
		err = advance(m, &done);
	return err;
}

static const struct hf_step *step_of(const struct orders *m, size_t n)
{
	size_t a = m->par->nr_arms - 1;

	while (m->first_obs[a] > n)
		a--;
	return &m->par->arms[a].steps[n - m->first_obs[a]];
}

/* No order explains everything. What some step saw that no order explains is what was found; or
 * else a child in an arm saw more than one instant. */
static void conclude_par(const struct orders *m, struct hf_judgement *j)
{
	const struct hf_step *torn = NULL, *st;

	for (size_t n = 0; n < HF_SCN_MAX_PAR_STEPS; n++) {
		if (!(m->ill >> n & 1))
			continue;
		*j = m->why[n];
		if (!(m->well >> n & 1))
			return;
		st = step_of(m, n);
		if (st->proc >= 0 && m->o->copied[st->target] >= 0)
			torn = st;
	}
	if (torn)
		hf_say_torn(m->o, torn, m->o->copied[torn->target], j);
}

static bool any_explains(const struct hf_states *all)
{
	for (size_t i = 0; i < all->nr; i++)
		if (hf_explains(&all->state[i]))
			return true;
	return false;
}

static void note_arms(struct orders *m)
{
	for (size_t a = 0, n = 0; a < m->par->nr_arms; n += m->par->arms[a].nr_steps, a++) {
		m->first_obs[a] = n;
		for (size_t i = 0; i < m->par->arms[a].nr_steps; i++)
			if (m->par->arms[a].steps[i].verb == HF_V_FORK)
				hf_note_fork(m->o, &m->par->arms[a].steps[i], true);
	}
}

int hf_oracle_par(struct hf_oracle *o, const struct hf_par *par, const struct hf_obs *obs,
		  unsigned *open, struct hf_judgement *j)
{
	struct orders m = { .o = o, .par = par, .obs = obs };
	int err;

	*j = (struct hf_judgement){ .verdict = HF_OK };
	note_arms(&m);
	err = go_through(&m);
	*open = m.free_way & m.obstacle;
	if (!err && !any_explains(&m.now.all)) {
		conclude_par(&m, j);
	} else if (!err) {
		hf_states_free(&o->all);
		o->all = m.now.all;
		m.now.all = (struct hf_states){ .nr = 0 };
	}
	free_front(&m.now);
	free_front(&m.next);
	return err;
}
