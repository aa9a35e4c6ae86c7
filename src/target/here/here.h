/* SPDX-License-Identifier: MIT */
#ifndef HF_HERE_H
#define HF_HERE_H

#include "../../scenario/target.h"

/* The running kernel. NULL: err says why. */
struct hf_target *hf_target_here(char *err, size_t len);

#endif
