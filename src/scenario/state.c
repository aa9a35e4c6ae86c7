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
	size_t from = 0;

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
			atoms->atom[atoms->nr++] =
				(struct hf_atom){ .buf = buf, .lo = from, .hi = to };
		from = to;
	}
	return 0;
}

int hf_atoms_init(struct hf_atoms *atoms, const struct hf_scenario *scn)
{
	struct cuts c = { .nr = { 0 } };
	int err;

	*atoms = (struct hf_atoms){ .nr = 0 };
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
	return HF_SCN_MAX_PROCS * atoms->nr;
}

static size_t window_size(const struct hf_atoms *atoms)
{
	return HF_SCN_MAX_REFS * atoms->nr;
}

int hf_state_init(struct hf_state *s, const struct hf_atoms *atoms)
{
	*s = (struct hf_state){ .atoms = atoms };
	s->map = malloc(map_size(atoms) * sizeof(*s->map) + 1);
	s->flags = calloc(map_size(atoms) + 1, 1);
	s->window = malloc(window_size(atoms) * sizeof(*s->window) + 1);
	if (!s->map || !s->flags || !s->window) {
		hf_state_free(s);
		return -ENOMEM;
	}
	memset(s->map, 0xff, map_size(atoms) * sizeof(*s->map));
	memset(s->window, 0xff, window_size(atoms) * sizeof(*s->window));
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
	memcpy(to->taken, from->taken, sizeof(to->taken));
	memcpy(to->ref_owner, from->ref_owner, sizeof(to->ref_owner));
	to->nr_versions = to->cap_versions = from->nr_versions;
	to->nr_cells = to->cap_cells = from->nr_cells;
	return 0;
}

static bool versions_equal(const struct hf_state *a, const struct hf_state *b)
{
	for (size_t i = 0; i < a->nr_versions; i++) {
		const struct hf_version *x = &a->version[i], *y = &b->version[i];

		if (x->cell != y->cell || x->by != y->by || x->from != y->from ||
		    x->value != y->value || x->line != y->line)
			return false;
	}
	return true;
}

bool hf_state_equal(const struct hf_state *a, const struct hf_state *b)
{
	return a->nr_versions == b->nr_versions && a->nr_cells == b->nr_cells &&
	       versions_equal(a, b) &&
	       !memcmp(a->map, b->map, map_size(a->atoms) * sizeof(*a->map)) &&
	       !memcmp(a->flags, b->flags, map_size(a->atoms)) &&
	       !memcmp(a->window, b->window, window_size(a->atoms) * sizeof(*a->window)) &&
	       !memcmp(a->taken, b->taken, sizeof(a->taken));
}

int hf_state_write(struct hf_state *s, int16_t cell, uint8_t value, int by, int line)
{
	if (s->nr_versions == s->cap_versions) {
		size_t cap = s->cap_versions * 2 + 32;
		struct hf_version *grown = realloc(s->version, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->version = grown;
		s->cap_versions = cap;
	}
	s->last[cell] = (int32_t)s->nr_versions;
	s->version[s->nr_versions++] = (struct hf_version){
		.cell = cell,
		.by = (int16_t)by,
		.from = -1,
		.value = value,
		.line = line,
	};
	return 0;
}

int hf_state_new_cell(struct hf_state *s, int owner, uint8_t value, int16_t *cell)
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
	s->owner[s->nr_cells++] = (int16_t)owner;
	return hf_state_write(s, *cell, value, HF_BY_BIRTH, 0);
}

int hf_state_copy_cell(struct hf_state *s, int owner, int16_t from, int16_t *cell)
{
	int err = hf_state_new_cell(s, owner, hf_state_value(s, from, s->nr_versions)->value, cell);

	if (!err)
		s->version[s->last[*cell]].from = from;
	return err;
}

const struct hf_version *hf_state_value(const struct hf_state *s, int16_t cell, size_t before)
{
	if (before == s->nr_versions)
		return &s->version[s->last[cell]];
	for (size_t i = before; i > 0; i--)
		if (s->version[i - 1].cell == cell)
			return &s->version[i - 1];
	return NULL;
}
