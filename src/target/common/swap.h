/* SPDX-License-Identifier: MIT */
/* A swap device for the runs, when the system has none. */
#ifndef HF_COMMON_SWAP_H
#define HF_COMMON_SWAP_H

#include <stdbool.h>

struct hf_kernel_swap {
	bool tried, on; /* asked for; there is swap */
	char why[256];  /* there is none: why, and the remedy */
};

/* Makes sure that there is swap. False: `why` says why not. */
bool hf_kernel_swap_on(struct hf_kernel_swap *swap);

#endif
