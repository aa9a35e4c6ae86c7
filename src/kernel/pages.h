/* SPDX-License-Identifier: MIT */
/* What /proc tells of the page behind an address. */
#ifndef HF_KERNEL_PAGES_H
#define HF_KERNEL_PAGES_H

#include "../scenario/target.h"

#include <sys/types.h>

/* 0, or negative errno when the process or its page map cannot be read. Without root, frame and
 * mark stay unknown. */
int hf_kernel_page(pid_t pid, uint64_t addr, struct hf_page_state *state);

#endif
