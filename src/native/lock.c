/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

void hf_futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word, int nr)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, nr, NULL, NULL, 0);
}

void hf_futex_wake(_Atomic uint32_t *word)
{
	wake(word, INT_MAX);
}

void hf_futex_lock(struct hf_futex *futex)
{
	uint32_t free = 0;

	if (atomic_compare_exchange_strong(&futex->state, &free, 1))
		return;
	while (atomic_exchange(&futex->state, 2))
		hf_futex_wait(&futex->state, 2);
}

void hf_futex_unlock(struct hf_futex *futex)
{
	if (atomic_exchange(&futex->state, 0) == 2)
		wake(&futex->state, 1);
}

void hf_gate_enter(struct hf_gate *gate)
{
	uint32_t state = atomic_load(&gate->state);

	for (;;) {
		if (state & HF_GATE_CLOSED) {
			hf_futex_wait(&gate->state, state);
			state = atomic_load(&gate->state);
		} else if (atomic_compare_exchange_weak(&gate->state, &state, state + 1)) {
			return;
		}
	}
}

void hf_gate_leave(struct hf_gate *gate)
{
	if (atomic_fetch_sub(&gate->state, 1) == (HF_GATE_CLOSED | 1))
		hf_futex_wake(&gate->state);
}

void hf_gate_close(struct hf_gate *gate)
{
	uint32_t state = atomic_fetch_or(&gate->state, HF_GATE_CLOSED) | HF_GATE_CLOSED;

	while (state != HF_GATE_CLOSED) {
		hf_futex_wait(&gate->state, state);
		state = atomic_load(&gate->state);
	}
}

bool hf_gate_is_closed(const struct hf_gate *gate)
{
	return atomic_load_explicit(&gate->state, memory_order_relaxed) & HF_GATE_CLOSED;
}

void hf_gate_open(struct hf_gate *gate)
{
	atomic_store(&gate->state, 0);
	hf_futex_wake(&gate->state);
}
