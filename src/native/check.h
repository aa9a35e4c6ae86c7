/* SPDX-License-Identifier: MIT */
/*
 * Is the memory still what we made of it? Whoever gives pages back (MADV_DONTNEED), moves or merges
 * them takes their protection away, and nobody is told: stores are then unseen, and what a snapshot
 * shares with such a unit it has lost. So bytes of the live space are a snapshot's only if the unit
 * is found protected after they were copied. Before Linux 5.14 nothing can be found.
 */
#ifndef HF_NATIVE_CHECK_H
#define HF_NATIVE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hf_native;

/* The units of `mask` of one word that are protected still. */
uint64_t hf_still_protected(struct hf_native *space, size_t word, uint64_t mask);
/* Whether all of units [first, end) are, that a snapshot shares: see diff.c. */
bool hf_all_protected(struct hf_native *space, size_t first, size_t end);
/* The gate is closed: finishes what is begun, and takes what is not protected from the snapshots
 * that share it, so that the next one has it again. Where this has never been needed it does not
 * look, unless that costs nothing, or it is to be sure. */
int hf_look_at_memory(struct hf_native *space, bool surely);
/* Keeps KSM from it. */
void hf_do_not_merge(struct hf_native *space);

/* Bytes of live memory, by the kernel: -EFAULT where they cannot be read. */
int hf_copy_by_call(void *dst, const void *src, size_t len);

#endif
