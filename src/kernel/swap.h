/* SPDX-License-Identifier: MIT */
/* A swap device for the runs, when the system has none: zram, taken away again. */
#ifndef HF_KERNEL_SWAP_H
#define HF_KERNEL_SWAP_H

#include <stdbool.h>

struct hf_kernel_swap {
	bool tried, on; /* asked for; there is swap */
	int zram;       /* number of the device that is ours; -1 none */
	char why[200];  /* there is none: why, and the remedy */
};

/* Makes sure that there is swap. False: `why` says why not. */
bool hf_kernel_swap_on(struct hf_kernel_swap *swap);
void hf_kernel_swap_off(struct hf_kernel_swap *swap);

#endif
