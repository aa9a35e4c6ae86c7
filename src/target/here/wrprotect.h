/* SPDX-License-Identifier: MIT */
/* Write-protection of pages that stores then take away again. */
#ifndef HF_HERE_WRPROTECT_H
#define HF_HERE_WRPROTECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the calling process. 0, negative errno, or HF_OBS_SKIP and a reason (HF_REASON_LEN). */
int hf_kernel_wrprotect(uint64_t addr, size_t len, char *reason);
/* Does it go for the range only? Otherwise it is by soft-dirty bits: all of the process, but not
 * its pinned pages. */
bool hf_wrprotect_is_exact(void);

#endif
