/* SPDX-License-Identifier: MIT */
/* A run on the engine, between engine.c (steps) and memory.c (mappings and kinds). */
#ifndef HF_ENGINE_H
#define HF_ENGINE_H

#include "../../scenario/target.h"

#include <holdfast/holdfast.h>
#include <holdfast/hosted.h>
#include <stdio.h>

struct hf_engine_place {
	uint64_t addr;
	size_t size;   /* the buffer's; 0: never mapped */
	size_t extent; /* of the mapping: whole folios */
	bool shaped;   /* what the kind does after the first write was done */
};

struct hf_engine_held {
	struct hf_ref *refs; /* stale ones after the release; NULL: never taken */
	size_t nr;
	const struct hf_step *maker;
};

struct hf_engine_run {
	const struct hf_scenario *scn;
	const struct hf_kind_info *kind;
	bool lazy; /* the validator does not look */
	struct hf_system *sys;
	struct hf_swap_device swap;
	struct hf_file *file; /* that all buffers map, if the kind is of files */
	struct hf_backing backing;
	FILE *backing_file;
	struct hf_mm *mm[HF_SCN_MAX_PROCS];
	struct hf_engine_place place[HF_SCN_MAX_PROCS][HF_SCN_MAX_BUFS];
	struct hf_engine_held held[HF_SCN_MAX_REFS];
	uint64_t next_place; /* where the next mapping that moves goes */
};

/* The engine under a policy. NULL: no such policy, or no memory. */
struct hf_target *hf_target_engine(const char *policy);
/* For callers who run the validator themselves. */
void hf_target_engine_lazy(struct hf_target *engine);
/* A reference is taken, and not released yet. */
bool hf_engine_holds(const struct hf_engine_run *r, size_t ref);
/* Makes the machine. 0 or negative errno. */
int hf_engine_set_up(struct hf_engine_run *r, const struct hf_policy *policy);
void hf_engine_drop_file(struct hf_engine_run *r);
/* How many bytes a step on [lo, hi) of a buffer acts on: a whole buffer is its whole mapping. */
size_t hf_engine_reach(const struct hf_engine_run *r, const struct hf_step *st);
int hf_engine_map(struct hf_engine_run *r, const struct hf_step *st);
/* Every PMD of the range becomes entries of 4 KiB. */
int hf_engine_split(const struct hf_engine_run *r, struct hf_mm *mm, uint64_t addr, size_t len);
int hf_engine_remap(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs);
/* After a write: makes the memory what the kind says. */
int hf_engine_shape(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs);

#endif
