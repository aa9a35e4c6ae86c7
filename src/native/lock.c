/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef NDEBUG
#define TAKING(lock) ((void)0)
#define DROPPING(lock) ((void)0)
#else
#define MAX_HELD 32 /* of one thread at a time: the words of a THP, and some */
#define TAKING(lock) note_taken(lock)
#define DROPPING(lock) note_dropped(lock)

/* In a signal handler, too, where nothing may be allocated. */
static _Thread_local __attribute__((tls_model("initial-exec"))) struct {
	const void *of[MAX_HELD];
	unsigned nr;
} mine;

/* Its place, or `nr`. */
static unsigned place_of(const void *lock)
{
	unsigned i = 0;

	while (i < mine.nr && mine.of[i] != lock)
		i++;
	return i;
}

/* Before it waits: for itself it would wait for ever. */
static void note_taken(const void *lock)
{
	hf_assert(mine.nr < MAX_HELD && place_of(lock) == mine.nr);
	mine.of[mine.nr++] = lock;
}

static void note_dropped(const void *lock)
{
	unsigned i = place_of(lock);

	hf_assert(i < mine.nr);
	mine.of[i] = mine.of[--mine.nr];
}

bool hf_has(const void *lock)
{
	return place_of(lock) < mine.nr;
}
#endif

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

	TAKING(futex);
	if (atomic_compare_exchange_strong(&futex->state, &free, 1))
		return;
	while (atomic_exchange(&futex->state, 2))
		hf_futex_wait(&futex->state, 2);
}

void hf_futex_unlock(struct hf_futex *futex)
{
	DROPPING(futex);
	if (atomic_exchange(&futex->state, 0) == 2)
		wake(&futex->state, 1);
}

void hf_gate_enter(struct hf_gate *gate)
{
	uint32_t state = atomic_load(&gate->state);

	TAKING(gate);
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
	uint32_t state;

	DROPPING(gate);
	state = atomic_fetch_sub(&gate->state, 1);
	hf_assert(state & ~HF_GATE_CLOSED);
	if (state == (HF_GATE_CLOSED | 1))
		hf_futex_wake(&gate->state);
}

void hf_gate_close(struct hf_gate *gate)
{
	uint32_t state = atomic_fetch_or(&gate->state, HF_GATE_CLOSED);

	TAKING(gate);
	hf_assert(!(state & HF_GATE_CLOSED)); /* by another lock that only one may have */
	state |= HF_GATE_CLOSED;
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
	hf_assert_closed(gate);
	DROPPING(gate);
	atomic_store(&gate->state, 0);
	hf_futex_wake(&gate->state);
}
