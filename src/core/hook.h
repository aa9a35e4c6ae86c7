/* SPDX-License-Identifier: MIT */
/*
 * What atomic.h becomes in the checked core: every atomic access and every lock is a call to the
 * explorer, which owns the order in which they happen and what they see. Each place in the source
 * is a site, so that a trace can name it and a mutant can weaken it.
 */
#ifndef HF_HOOK_H
#define HF_HOOK_H

#include "site.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hf_rmw { HF_RMW_XCHG, HF_RMW_ADD, HF_RMW_SUB, HF_RMW_OR, HF_RMW_AND, HF_RMW_CAS };

/* Found by the linker's names of the section. */
#define HF_SITE(kind_, text_, order_)                                                              \
	({                                                                                         \
		static const struct hf_site site_ __attribute__((                                  \
			section("hf_sites"), used, aligned(8))) = { __FILE__, __func__, text_,     \
								    __LINE__, kind_,    order_ };  \
		&site_;                                                                            \
	})

uint64_t hf_hook_load(const struct hf_site *site, const volatile void *at, size_t size);
void hf_hook_store(const struct hf_site *site, volatile void *at, size_t size, uint64_t value);
uint64_t hf_hook_rmw(const struct hf_site *site, volatile void *at, size_t size, enum hf_rmw what,
		     uint64_t operand);
bool hf_hook_cas(const struct hf_site *site, volatile void *at, size_t size, uint64_t *old,
		 uint64_t value);
/* The same, of a count: the first look of a loop that adds delta, and an add or a sub. */
uint64_t hf_hook_count(const struct hf_site *site, const volatile void *at, size_t size,
		       int64_t delta);
uint64_t hf_hook_count_by(const struct hf_site *site, volatile void *at, size_t size,
			  enum hf_rmw what, uint64_t operand);
/* What the arm would read, without an operation. */
uint64_t hf_hook_peek(const volatile void *at, size_t size);
/* Frame memory is filled: what the scenario touches, as stores. */
void hf_hook_fill(void *to, int byte, size_t len);
void hf_hook_tally(uint64_t *count, uint64_t by);
/* The next call of a lock or of the platform is from here. */
void hf_hook_at(const struct hf_site *site);

#define HF_PLAIN(ptr) __typeof__((void)0, *(ptr))
#define HF_WORD(value) ((uint64_t)(value))

#define hf_ld(ptr, order)                                                                          \
	((HF_PLAIN(ptr))hf_hook_load(HF_SITE(HF_SITE_LOAD, #ptr, memory_order_##order), (ptr),     \
				     sizeof(*(ptr))))
#define hf_hint(ptr, order)                                                                        \
	((HF_PLAIN(ptr))hf_hook_load(HF_SITE(HF_SITE_HINT, #ptr, memory_order_##order), (ptr),     \
				     sizeof(*(ptr))))
#define hf_st(ptr, val, order)                                                                     \
	hf_hook_store(HF_SITE(HF_SITE_STORE, #ptr, memory_order_##order), (ptr), sizeof(*(ptr)),   \
		      HF_WORD((HF_PLAIN(ptr))(val)))
#define HF_HOOKED_RMW(ptr, val, order, what)                                                       \
	({                                                                                         \
		HF_PLAIN(ptr) was_ = (HF_PLAIN(ptr))hf_hook_rmw(                                   \
			HF_SITE(HF_SITE_RMW, #ptr, memory_order_##order), (ptr), sizeof(*(ptr)),   \
			what, HF_WORD((HF_PLAIN(ptr))(val)));                                      \
		was_;                                                                              \
	})
#define hf_xchg(ptr, val, order) HF_HOOKED_RMW(ptr, val, order, HF_RMW_XCHG)
#define hf_add(ptr, val, order) HF_HOOKED_RMW(ptr, val, order, HF_RMW_ADD)
#define hf_sub(ptr, val, order) HF_HOOKED_RMW(ptr, val, order, HF_RMW_SUB)
#define hf_or(ptr, val, order) HF_HOOKED_RMW(ptr, val, order, HF_RMW_OR)
#define hf_and(ptr, val, order) HF_HOOKED_RMW(ptr, val, order, HF_RMW_AND)
#define hf_cas(ptr, old, val, order)                                                               \
	({                                                                                         \
		uint64_t old_ = HF_WORD(*(old));                                                   \
		bool done_ = hf_hook_cas(HF_SITE(HF_SITE_RMW, #ptr, memory_order_##order), (ptr),  \
					 sizeof(*(ptr)), &old_, HF_WORD((HF_PLAIN(ptr))(val)));    \
		*(old) = (__typeof__(*(old)))old_;                                                 \
		done_;                                                                             \
	})
#define hf_ref_ld(ptr, delta)                                                                      \
	((HF_PLAIN(ptr))hf_hook_count(HF_SITE(HF_SITE_LOAD, #ptr, memory_order_relaxed), (ptr),    \
				      sizeof(*(ptr)), (int64_t)(delta)))
#define HF_HOOKED_REF(ptr, val, order, what)                                                       \
	({                                                                                         \
		HF_PLAIN(ptr) was_ = (HF_PLAIN(ptr))hf_hook_count_by(                              \
			HF_SITE(HF_SITE_RMW, #ptr, memory_order_##order), (ptr), sizeof(*(ptr)),   \
			what, HF_WORD((HF_PLAIN(ptr))(val)));                                      \
		was_;                                                                              \
	})
#define hf_ref_add(ptr, val, order) HF_HOOKED_REF(ptr, val, order, HF_RMW_ADD)
#define hf_ref_sub(ptr, val, order) HF_HOOKED_REF(ptr, val, order, HF_RMW_SUB)
/* Nobody decides anything by it. */
#define hf_tally(ptr, val) hf_hook_tally((uint64_t *)(uintptr_t)(ptr), (val))
#define hf_peek(ptr) ((HF_PLAIN(ptr))hf_hook_peek((ptr), sizeof(*(ptr))))
#define hf_fill(to, byte, len) hf_hook_fill((to), (byte), (len))

#endif
