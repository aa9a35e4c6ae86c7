/* SPDX-License-Identifier: MIT */
/*
 * Locks on futexes, for code that also runs in a signal handler: POSIX promises its own for no
 * such place. All signals are blocked wherever one of them is held (hf_tree_enter), so a handler
 * never meets a lock that its own thread has.
 */
#ifndef HF_NATIVE_LOCK_H
#define HF_NATIVE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Our own mistakes only: never what the world does. Gone with NDEBUG. */
#ifdef NDEBUG
#define hf_assert(cond) ((void)sizeof(cond))
#else
#define hf_assert(cond) ((cond) ? (void)0 : __builtin_trap())
#endif
/* What a function counts on, at its head: this thread has the lock; is inside the gate, or has
 * closed it; has closed it. */
#define hf_assert_held(futex) hf_assert(hf_has(futex))
#define hf_assert_inside(gate) hf_assert(hf_has(gate))
#define hf_assert_closed(gate) hf_assert(hf_gate_is_closed(gate) && hf_has(gate))

/* Has this thread the lock, or a part of the gate? For assertions: not there with NDEBUG. */
bool hf_has(const void *lock);

struct hf_futex {
	_Atomic uint32_t state; /* 0 free, 1 held, 2 held and somebody may be waiting */
};

void hf_futex_lock(struct hf_futex *futex);
void hf_futex_unlock(struct hf_futex *futex);

/* Many inside, or one that has closed it.
 * Who closes it holds another lock that only one may have. */
struct hf_gate {
	_Atomic uint32_t state; /* how many are inside, and HF_GATE_CLOSED */
};

#define HF_GATE_CLOSED (1U << 31)

void hf_gate_enter(struct hf_gate *gate);
void hf_gate_leave(struct hf_gate *gate);
void hf_gate_close(struct hf_gate *gate);
void hf_gate_open(struct hf_gate *gate);
bool hf_gate_is_closed(const struct hf_gate *gate);

/* Sleeps while *word is `value`, and wakes at will. Wakes all that sleep. */
void hf_futex_wait(_Atomic uint32_t *word, uint32_t value);
void hf_futex_wake(_Atomic uint32_t *word);

#endif
