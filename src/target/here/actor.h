/* SPDX-License-Identifier: MIT */
/* A process of a scenario: carries out what the runner asks for,
 * one request at a time, until the socket closes. */
#ifndef HF_HERE_ACTOR_H
#define HF_HERE_ACTOR_H

#include "stage.h"

/* Runs as process `me`; for the first processes,
 * called in the child of the runner's fork. Never returns. */
_Noreturn void hf_actor_main(struct hf_stage *stage, int me);
/* Does step `step`, one that may stand in a par block and is not a fork, at `addr`. 0, negative
 * errno or HF_OBS_SKIP; *done counts the bytes of a load or store. */
int hf_actor_step(struct hf_stage *stage, const struct hf_step *step, uint64_t addr, size_t len,
		  uint8_t *data, size_t *done, char *reason);

#endif
