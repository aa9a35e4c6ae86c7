/* SPDX-License-Identifier: MIT */
#include "explore.h"

const char *const hf_memory_names[HF_NR_MEMORY_MODELS] = { "sc", "tso", "rc11" };
