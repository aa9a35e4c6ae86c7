/* SPDX-License-Identifier: MIT */
/* What of a run decides its future, as a number: equal for runs that differ in names only. */
#ifndef HF_FINGERPRINT_H
#define HF_FINGERPRINT_H

#include "../scenario/oracle.h"

#include <stdint.h>

/* `run`: the engine's. */
uint64_t hf_fingerprint(void *run, const struct hf_oracle *oracle);

#endif
