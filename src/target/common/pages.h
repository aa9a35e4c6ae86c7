/* SPDX-License-Identifier: MIT */
/* What /proc tells of the page behind an address. */
#ifndef HF_COMMON_PAGES_H
#define HF_COMMON_PAGES_H

#include "../../scenario/target.h"

#include <sys/types.h>

/* Bits of an entry of /proc/PID/pagemap. */
#define HF_PAGEMAP_PRESENT (1ull << 63)
#define HF_PAGEMAP_SWAPPED (1ull << 62)
#define HF_PAGEMAP_SOFT_DIRTY (1ull << 55)
#define HF_PAGEMAP_PFN ((1ull << 55) - 1)

/* The entry of the page at addr. 0 or negative errno. */
int hf_kernel_pagemap(pid_t pid, uint64_t addr, uint64_t *entry);
/* 0, or negative errno when the process or its page map cannot be read. Without root, frame and
 * mark stay unknown. */
int hf_kernel_page(pid_t pid, uint64_t addr, struct hf_page_state *state);

#define HF_NO_MIGRATION                                                                            \
	"no system call moves chosen pages to other frames on a machine with one node"

/* The order of the folio whose first page is mapped at addr. Negative errno: it cannot be told. */
int hf_kernel_folio_order(pid_t pid, uint64_t addr);

#endif
