/* SPDX-License-Identifier: MIT */
#ifndef HF_INIT_HISTORIES_H
#define HF_INIT_HISTORIES_H

#include "../scenario/target.h"

#include <jansson.h>

/* Runs the histories that `job` asks for, and says what
 * comes out by `emit`, which takes its argument over. */
void hf_init_equiv(struct hf_target *here, json_t *job, void (*emit)(json_t *o));

#endif
