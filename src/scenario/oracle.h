/* SPDX-License-Identifier: MIT */
/*
 * The reference semantics: fork is an instant, full copy; each process owns its bytes; references
 * are windows on the owner's bytes (docs/scenarios.md, "What the oracle allows"). It knows no
 * policy and no target.
 */
#ifndef HF_ORACLE_H
#define HF_ORACLE_H

#include "scenario.h"
#include "target.h"

struct hf_oracle;
struct hf_state;

struct hf_judgement {
	enum hf_verdict verdict;
	char detail[256];
};

/* NULL: no memory. */
struct hf_oracle *hf_oracle_new(const struct hf_scenario *scn, enum hf_kind kind);
void hf_oracle_free(struct hf_oracle *oracle);
/* A step that was carried out, or of which a part was, with what it showed. 0, -ENOMEM, or -E2BIG:
 * more explains what was seen than is kept apart. */
int hf_oracle_step(struct hf_oracle *oracle, const struct hf_step *step, const struct hf_obs *obs,
		   struct hf_judgement *j);
/* The arms of a par block: every order of them that explains what was seen is kept. *open: the bits
 * of those steps, in order of appearance, that some orders let happen and others do not. Returns as
 * hf_oracle_step(). */
int hf_oracle_par(struct hf_oracle *oracle, const struct hf_par *par, const struct hf_obs *obs,
		  unsigned *open, struct hf_judgement *j);
/* Does it hang on what cannot be known, such as the order of arms, whether the step's memory is
 * there and may be accessed so? */
bool hf_oracle_is_open(const struct hf_oracle *oracle, const struct hf_step *step);
/* The reference semantics as it is now; after par blocks, one that explains what was seen. */
const struct hf_state *hf_oracle_state(const struct hf_oracle *oracle);
/* The step that makes a reference. */
const struct hf_step *hf_ref_maker(const struct hf_scenario *scn, int ref);

#endif
