/* SPDX-License-Identifier: MIT */
/*
 * One state of the reference semantics.
 *
 * Buffers are cut into atoms, the byte ranges that no step of the scenario splits, so an atom
 * always has one value. A cell is an atom's worth of memory that one process owns; it has versions,
 * one a write. Processes and references name cells. fork makes new cells, which remember the
 * version that they are copies of; a reference keeps the cells that it was taken on.
 */
#ifndef HF_ORACLE_STATE_H
#define HF_ORACLE_STATE_H

#include "scenario.h"

struct hf_atom {
	int buf;
	size_t lo, hi;
	bool starts_range; /* of a step: a VMA may begin there */
};

struct hf_atoms {
	struct hf_atom *atom;
	size_t nr;
	size_t nr_procs, nr_refs;        /* of the scenario */
	const struct hf_kind_info *kind; /* of the memory */
};

#define HF_BY_DEVICE (-1)
#define HF_BY_BIRTH (-2) /* zeros of a fresh mapping, or what fork copied */
#define HF_BY_FREE (-3)  /* the zeros of MADV_FREE */

struct hf_version {
	int16_t cell;
	int16_t by;   /* process, or HF_BY_* */
	int32_t prev; /* the one before, of the same cell; -1: the cell's first */
	int32_t from; /* what fork copied, of another cell; or -1 */
	uint8_t value;
	bool maybe; /* or else nothing was written, and it is as it was before */
	int line;
};

/* Instead of a cell. */
#define HF_NOT_MAPPED (-1)
#define HF_BEYOND_FILE (-2) /* mapped, but the file ends before */

#define HF_ATOM_DONTFORK (1u << 0)
#define HF_ATOM_WIPEONFORK (1u << 1)
#define HF_ATOM_READONLY (1u << 2)
#define HF_ATOM_NOACCESS (1u << 3) /* PROT_NONE; read-only as well */

struct hf_state {
	const struct hf_atoms *atoms;
	struct hf_version *version; /* in order of time */
	size_t nr_versions, cap_versions;
	int16_t *owner; /* of each cell */
	int32_t *last;  /* of each cell: its newest version */
	size_t nr_cells, cap_cells;
	int16_t *map;    /* process x atom: cell, or HF_NOT_MAPPED, HF_BEYOND_FILE */
	uint8_t *flags;  /* process x atom: HF_ATOM_* */
	int16_t *window; /* reference x atom: cell, or HF_NOT_MAPPED */
	int32_t *since;  /* reference x atom: the cell's version when the reference was made */
	int ref_owner[HF_SCN_MAX_REFS];
	size_t file_size; /* as truncate left it */
	int against;      /* the process, made by a fork in a par block, whose memory was seen to be
			   * otherwise; -1: nothing that was seen speaks against this state */
};

/* All return 0 or -ENOMEM. */
int hf_atoms_init(struct hf_atoms *atoms, const struct hf_scenario *scn, enum hf_kind kind);
int hf_state_init(struct hf_state *s, const struct hf_atoms *atoms);
int hf_state_copy(struct hf_state *to, const struct hf_state *from);
void hf_state_free(struct hf_state *s);
/* *equal: nothing that steps can do or see tells them apart. */
int hf_state_compare(const struct hf_state *a, const struct hf_state *b, bool *equal);

/* A new cell of `owner` with that value. */
int hf_state_new_cell(struct hf_state *s, int owner, uint8_t value, int16_t *cell);
/* A new cell of `owner`, as `from` is now. */
int hf_state_copy_cell(struct hf_state *s, int owner, int16_t from, int16_t *cell);
/* Writes to a cell; the version that it has then may be told more of. */
int hf_state_write(struct hf_state *s, int16_t cell, const struct hf_version *what);

static inline const struct hf_version *hf_state_now(const struct hf_state *s, int16_t cell)
{
	return &s->version[s->last[cell]];
}

static inline int16_t *hf_state_map(const struct hf_state *s, int proc, size_t atom)
{
	return &s->map[(size_t)proc * s->atoms->nr + atom];
}

static inline uint8_t *hf_state_flags(const struct hf_state *s, int proc, size_t atom)
{
	return &s->flags[(size_t)proc * s->atoms->nr + atom];
}

static inline int16_t *hf_state_window(const struct hf_state *s, int ref, size_t atom)
{
	return &s->window[(size_t)ref * s->atoms->nr + atom];
}

static inline int32_t *hf_state_since(const struct hf_state *s, int ref, size_t atom)
{
	return &s->since[(size_t)ref * s->atoms->nr + atom];
}

static inline bool hf_atom_in(const struct hf_atom *a, int buf, size_t lo, size_t hi)
{
	return a->buf == buf && a->lo >= lo && a->hi <= hi;
}

#endif
