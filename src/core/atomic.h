/* SPDX-License-Identifier: MIT */
/*
 * Every atomic access of the core goes through these, each naming its order. There are no fences:
 * where two sides must not both miss each other (GUP against fork, and against whoever shares or
 * moves a page), all four accesses are seq_cst, which the single total order makes sufficient, and
 * which race detectors understand. docs/atomics.md has what notices each that is too weak.
 */
#ifndef HF_ATOMIC_H
#define HF_ATOMIC_H

#ifdef HF_CHECKED
#include "hook.h"
#else
#include <stdatomic.h>

#define hf_ld(ptr, order) atomic_load_explicit((ptr), memory_order_##order)
/* A load that may as well give what was there before: whoever needs more looks again, by another
 * way. It says why. */
#define hf_hint(ptr, order) hf_ld(ptr, order)
#define hf_st(ptr, val, order) atomic_store_explicit((ptr), (val), memory_order_##order)
#define hf_xchg(ptr, val, order) atomic_exchange_explicit((ptr), (val), memory_order_##order)
#define hf_add(ptr, val, order) atomic_fetch_add_explicit((ptr), (val), memory_order_##order)
#define hf_sub(ptr, val, order) atomic_fetch_sub_explicit((ptr), (val), memory_order_##order)
#define hf_or(ptr, val, order) atomic_fetch_or_explicit((ptr), (val), memory_order_##order)
#define hf_and(ptr, val, order) atomic_fetch_and_explicit((ptr), (val), memory_order_##order)
/* *old is updated on failure, with relaxed order. */
#define hf_cas(ptr, old, val, order)                                                               \
	atomic_compare_exchange_strong_explicit((ptr), (old), (val), memory_order_##order,         \
						memory_order_relaxed)
/* Counts of which zero alone is special: the first look of a compare-exchange loop that adds delta
 * (or gives up), and adding and subtracting. */
#define hf_ref_ld(ptr, delta) hf_ld(ptr, relaxed)
#define hf_ref_add(ptr, val, order) hf_add(ptr, val, order)
#define hf_ref_sub(ptr, val, order) hf_sub(ptr, val, order)
/* A statistic: nobody decides anything by it. */
#define hf_tally(ptr, val) ((void)hf_add(ptr, val, relaxed))
/* For assertions, of what the caller's lock keeps as it is: no operation in the explorer. */
#define hf_peek(ptr) hf_ld(ptr, relaxed)
/* Frame memory, which others may write to meanwhile if they should not. */
#define hf_fill(to, byte, len) ((void)__builtin_memset((to), (byte), (len)))
#endif

#endif
