/* SPDX-License-Identifier: MIT */
/*
 * A shadow of a tree of processes, and random operations that are done on both: on the engine and
 * on the shadow. The shadow is the reference semantics in its plainest form: fork copies, each
 * process owns its bytes, a pin is a window.
 *
 * Used by one thread. Several models may share a system.
 */
#ifndef HF_TEST_MODEL_H
#define HF_TEST_MODEL_H

#include <holdfast/holdfast.h>

#define MODEL_PROCS 4
#define MODEL_SLOTS 12 /* of the arena that all processes have */
#define MODEL_REFS 6
#define MODEL_BASE 0x10000000ul

struct model;

/* What to do next comes out of bytes: a fuzzer's or a generator's. */
struct model_input {
	const uint8_t *at, *end;
};

/*
 * A slot is `stride` pages, and the model knows the bytes of the first.
 * `windows`: the policy promises that pins are windows on the owner's bytes, so what devices see
 * and write is checked. NULL: no memory, or the system has not enough frames to begin with.
 */
struct model *model_new(struct hf_system *sys, bool windows, unsigned stride);
/* Drops everything: references, processes. */
void model_free(struct model *m);
/* Does one operation. False: the input is at its end. A difference prints what was done and aborts.
 */
bool model_step(struct model *m, struct model_input *in);
/* A process of the model for others to meddle with; a user of it is taken. NULL: that slot has
 * none. */
struct hf_mm *model_borrow(struct model *m, unsigned proc);
size_t model_operations(const struct model *m);

#endif
