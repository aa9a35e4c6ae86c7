/* SPDX-License-Identifier: MIT */
/* States of the reference semantics: atoms, cells, versions. */
#include "state.h"

#include "oracle.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdlib.h>
#include <string.h>

/* ---- atoms ---- */

struct cuts {
	size_t *at[HF_SCN_MAX_BUFS];
	size_t nr[HF_SCN_MAX_BUFS];
};

static int add_cut(struct cuts *c, int buf, size_t at)
{
	size_t *grown = realloc(c->at[buf], (c->nr[buf] + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	c->at[buf] = grown;
	grown[c->nr[buf]++] = at;
	return 0;
}

static int cut_step(struct cuts *c, const struct hf_scenario *scn, const struct hf_step *st)
{
	int buf = st->buf;
	size_t base = 0;

	if (st->verb == HF_V_MAP || st->verb == HF_V_REMAP)
		return 0;
	if (st->proc == HF_SCN_DEVICE) {
		const struct hf_step *maker = hf_ref_maker(scn, st->ref);

		buf = maker->buf;
		base = maker->lo;
	}
	if (buf < 0 || st->hi == 0)
		return 0;
	return add_cut(c, buf, base + st->lo) || add_cut(c, buf, base + st->hi) ? -ENOMEM : 0;
}

static int cut_steps(struct cuts *c, const struct hf_scenario *scn, const struct hf_step *steps,
		     size_t nr)
{
	int err = 0;

	for (size_t i = 0; i < nr && !err; i++) {
		if (steps[i].verb != HF_V_PAR) {
			err = cut_step(c, scn, &steps[i]);
			continue;
		}
		for (size_t a = 0; a < steps[i].par->nr_arms && !err; a++)
			err = cut_steps(c, scn, steps[i].par->arms[a].steps,
					steps[i].par->arms[a].nr_steps);
	}
	return err;
}

static int compare(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

static int atoms_of_buf(struct hf_atoms *atoms, struct cuts *c, int buf, size_t size)
{
	struct hf_atom *grown;
	size_t from = 0, same = 0; /* cuts at `from`; of a page's beginning, one is not a step's */

	for (size_t at = 0; at <= size; at += HF_PAGE_SIZE)
		if (add_cut(c, buf, at))
			return -ENOMEM;
	qsort(c->at[buf], c->nr[buf], sizeof(size_t), compare);
	grown = realloc(atoms->atom, (atoms->nr + c->nr[buf]) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	atoms->atom = grown;
	for (size_t i = 0; i < c->nr[buf]; i++) {
		size_t to = c->at[buf][i];

		if (to > from && to <= size)
			atoms->atom[atoms->nr++] = (struct hf_atom){
				.buf = buf,
				.lo = from,
				.hi = to,
				.starts_range = same > 1 && from % HF_PAGE_SIZE == 0,
			};
		same = to > from ? 1 : same + 1;
		from = to;
	}
	return 0;
}

int hf_atoms_init(struct hf_atoms *atoms, const struct hf_scenario *scn, enum hf_kind kind)
{
	struct cuts c = { .nr = { 0 } };
	int err;

	*atoms = (struct hf_atoms){ .nr_procs = scn->nr_procs,
				    .nr_refs = scn->nr_refs,
				    .kind = hf_kind_info(kind) };
	err = cut_steps(&c, scn, scn->steps, scn->nr_steps);
	for (size_t b = 0; b < scn->nr_bufs && !err; b++)
		err = atoms_of_buf(atoms, &c, (int)b, scn->bufs[b].max_pages * HF_PAGE_SIZE);
	for (size_t b = 0; b < HF_SCN_MAX_BUFS; b++)
		free(c.at[b]);
	return err;
}

/* ---- states ---- */

static size_t map_size(const struct hf_atoms *atoms)
{
	return atoms->nr_procs * atoms->nr;
}

static size_t window_size(const struct hf_atoms *atoms)
{
	return atoms->nr_refs * atoms->nr;
}

int hf_state_init(struct hf_state *s, const struct hf_atoms *atoms)
{
	*s = (struct hf_state){ .atoms = atoms, .file_size = SIZE_MAX, .against = -1 };
	s->map = malloc(map_size(atoms) * sizeof(*s->map) + 1);
	s->flags = calloc(map_size(atoms) + 1, 1);
	s->window = malloc(window_size(atoms) * sizeof(*s->window) + 1);
	s->since = malloc(window_size(atoms) * sizeof(*s->since) + 1);
	if (!s->map || !s->flags || !s->window || !s->since) {
		hf_state_free(s);
		return -ENOMEM;
	}
	memset(s->map, 0xff, map_size(atoms) * sizeof(*s->map));
	memset(s->window, 0xff, window_size(atoms) * sizeof(*s->window));
	memset(s->since, 0xff, window_size(atoms) * sizeof(*s->since));
	return 0;
}

void hf_state_free(struct hf_state *s)
{
	free(s->version);
	free(s->owner);
	free(s->last);
	free(s->map);
	free(s->flags);
	free(s->window);
	free(s->since);
	*s = (struct hf_state){ .atoms = s->atoms };
}

int hf_state_copy(struct hf_state *to, const struct hf_state *from)
{
	int err = hf_state_init(to, from->atoms);

	if (err)
		return err;
	to->version = malloc(from->nr_versions * sizeof(*to->version) + 1);
	to->owner = malloc(from->nr_cells * sizeof(*to->owner) + 1);
	to->last = malloc(from->nr_cells * sizeof(*to->last) + 1);
	if (!to->version || !to->owner || !to->last) {
		hf_state_free(to);
		return -ENOMEM;
	}
	if (from->nr_versions)
		memcpy(to->version, from->version, from->nr_versions * sizeof(*to->version));
	if (from->nr_cells)
		memcpy(to->owner, from->owner, from->nr_cells * sizeof(*to->owner));
	if (from->nr_cells)
		memcpy(to->last, from->last, from->nr_cells * sizeof(*to->last));
	memcpy(to->map, from->map, map_size(from->atoms) * sizeof(*to->map));
	memcpy(to->flags, from->flags, map_size(from->atoms));
	memcpy(to->window, from->window, window_size(from->atoms) * sizeof(*to->window));
	memcpy(to->since, from->since, window_size(from->atoms) * sizeof(*to->since));
	memcpy(to->ref_owner, from->ref_owner, sizeof(to->ref_owner));
	to->nr_versions = to->cap_versions = from->nr_versions;
	to->nr_cells = to->cap_cells = from->nr_cells;
	to->file_size = from->file_size;
	to->against = from->against;
	return 0;
}

/* ---- are two alike? ---- */

/* Independent writes come in any order, and cells are made in any order: versions are alike that
 * have the same past, whatever their numbers. */
struct pairing {
	const struct hf_state *a, *b;
	int32_t *of_a, *of_b; /* the version that each is paired with; -1: none yet */
};

static bool pair_versions(struct pairing *p, int32_t va, int32_t vb)
{
	while (va >= 0 && vb >= 0 && p->of_a[va] < 0 && p->of_b[vb] < 0) {
		const struct hf_version *x = &p->a->version[va], *y = &p->b->version[vb];

		if (x->by != y->by || x->value != y->value || x->maybe != y->maybe ||
		    x->line != y->line || p->a->owner[x->cell] != p->b->owner[y->cell])
			return false;
		p->of_a[va] = vb;
		p->of_b[vb] = va;
		if ((x->from >= 0 || y->from >= 0) && !pair_versions(p, x->from, y->from))
			return false;
		va = x->prev;
		vb = y->prev;
	}
	return va < 0 || vb < 0 ? va == vb : p->of_a[va] == vb && p->of_b[vb] == va;
}

static bool pair_cells(struct pairing *p, int16_t ca, int16_t cb)
{
	return ca < 0 || cb < 0 ? ca == cb : pair_versions(p, p->a->last[ca], p->b->last[cb]);
}

static bool pair_states(struct pairing *p)
{
	const struct hf_state *a = p->a, *b = p->b;

	for (size_t i = 0; i < map_size(a->atoms); i++)
		if (a->flags[i] != b->flags[i] || !pair_cells(p, a->map[i], b->map[i]))
			return false;
	for (size_t i = 0; i < window_size(a->atoms); i++)
		if (!pair_cells(p, a->window[i], b->window[i]) ||
		    !pair_versions(p, a->since[i], b->since[i]))
			return false;
	return true;
}

int hf_state_compare(const struct hf_state *a, const struct hf_state *b, bool *equal)
{
	size_t n = a->nr_versions + b->nr_versions;
	struct pairing p = { .a = a, .b = b };

	*equal = a->nr_versions == b->nr_versions && a->against == b->against &&
		 a->file_size == b->file_size &&
		 !memcmp(a->ref_owner, b->ref_owner, sizeof(a->ref_owner));
	if (!*equal)
		return 0;
	p.of_a = malloc(n * sizeof(*p.of_a) + 1);
	if (!p.of_a)
		return -ENOMEM;
	p.of_b = p.of_a + a->nr_versions;
	memset(p.of_a, 0xff, n * sizeof(*p.of_a));
	*equal = pair_states(&p);
	free(p.of_a);
	return 0;
}

/* ---- writing ---- */

int hf_state_write(struct hf_state *s, int16_t cell, const struct hf_version *what)
{
	struct hf_version v = *what;

	if (s->nr_versions == s->cap_versions) {
		size_t cap = s->cap_versions * 2 + 32;
		struct hf_version *grown = realloc(s->version, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->version = grown;
		s->cap_versions = cap;
	}
	v.cell = cell;
	v.prev = s->last[cell];
	s->last[cell] = (int32_t)s->nr_versions;
	s->version[s->nr_versions++] = v;
	return 0;
}

static int add_cell(struct hf_state *s, int owner, const struct hf_version *first, int16_t *cell)
{
	if (s->nr_cells == INT16_MAX)
		return -ENOMEM;
	if (s->nr_cells == s->cap_cells) {
		size_t cap = s->cap_cells * 2 + 32;
		int16_t *grown = realloc(s->owner, cap * sizeof(*grown));
		int32_t *last;

		if (!grown)
			return -ENOMEM;
		s->owner = grown;
		last = realloc(s->last, cap * sizeof(*last));
		if (!last)
			return -ENOMEM;
		s->last = last;
		s->cap_cells = cap;
	}
	*cell = (int16_t)s->nr_cells;
	s->last[s->nr_cells] = -1;
	s->owner[s->nr_cells++] = (int16_t)owner;
	return hf_state_write(s, *cell, first);
}

int hf_state_new_cell(struct hf_state *s, int owner, uint8_t value, int16_t *cell)
{
	return add_cell(s, owner,
			&(struct hf_version){ .by = HF_BY_BIRTH, .from = -1, .value = value },
			cell);
}

int hf_state_copy_cell(struct hf_state *s, int owner, int16_t from, int16_t *cell)
{
	return add_cell(s, owner,
			&(struct hf_version){ .by = HF_BY_BIRTH,
					      .from = s->last[from],
					      .value = hf_state_now(s, from)->value },
			cell);
}
