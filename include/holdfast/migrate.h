/* SPDX-License-Identifier: MIT */
/*
 * Migration: pages move to other frames, and nobody who maps them notices.
 *
 * CAVEATS FIRST
 *  - A pinned page does not move, and neither does one that anybody holds by a plain reference.
 *  - While a page is on its way, accesses to it wait.
 */
#ifndef HOLDFAST_MIGRATE_H
#define HOLDFAST_MIGRATE_H

#include <holdfast/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Moves the pages behind [addr, addr + len) to other frames, shared ones too, as move_pages(2) does
 * between nodes. Takes mmap_lock for read. Returns how many were moved; what cannot be moved stays
 * as it was. Errors: -EINVAL (range), -ENOMEM (no frame for the first).
 */
int64_t hf_migrate_pages(struct hf_mm *mm, uint64_t addr, size_t len);

/*
 * Compaction: moves pages together until blocks of 512 frames are free. Returns how many such
 * blocks it made.
 */
size_t hf_compact(struct hf_system *sys);

#ifdef __cplusplus
}
#endif
#endif
