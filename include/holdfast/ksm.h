/* SPDX-License-Identifier: MIT */
/*
 * KSM: pages with the same bytes become one.
 *
 * CAVEATS FIRST
 *  - Only small pages of mappings that were advised HF_MADV_MERGEABLE. Any reference besides the
 *    mappings keeps a page from being merged.
 *  - A merged page has no mark: a store, or a pin, of it gets a copy. It is not moved out or
 *    migrated.
 */
#ifndef HOLDFAST_KSM_H
#define HOLDFAST_KSM_H

#include <holdfast/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pages of zeros become the shared zeropage (use_zero_pages). */
#define HF_KSM_USE_ZERO_PAGES (1u << 0)

/*
 * One full scan of every address space, as ksmd does it. Returns how many pages were merged away.
 * Errors: -EINVAL (flags), -ENOMEM (no memory for the scan; what was merged stays merged).
 */
int64_t hf_ksm_scan(struct hf_system *sys, unsigned flags);

#ifdef __cplusplus
}
#endif
#endif
