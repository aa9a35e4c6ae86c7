/* SPDX-License-Identifier: MIT */
/*
 * Brackets around stores, in spaces that nothing protects. Each thread counts those that it has
 * open in a word of its own. Who takes a snapshot bars the space, waits until every count has been
 * 0 since, and lifts the bar again when all is shared. The counts of threads that wait at the bar
 * are 0; who is inside a bracket already passes it, since the snapshot waits for it anyhow.
 *
 *	a bracket                              a snapshot
 *	count = 1                              barred = 1
 *	fence                                  fence
 *	barred? => slowly, from the start      count != 0? => wait
 *	exclusive? else preserve it            nothing is exclusive any more
 *	store                                  barred = 0 (release)
 *	count = 0 (release)
 *
 * The second fence is membarrier(), where the kernel has it: a fence in each thread, so that the
 * first is there for the compiler alone.
 *
 * One of the two sees the other: so a store is before the instant, and its bracket is waited for;
 * or it comes after the bar was lifted, and meets a unit that is shared.
 *
 * A reader copies live bytes, and then looks whether the snapshot has got a frame of that unit. The
 * frame came before the exclusive mark, the mark before the store (a release fence stands between),
 * so that whoever has copied a byte of the store finds the frame.
 */
#include "internal.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS 100  /* looks at a thread's count, before the CPU is left to others */
#define YIELDS 100 /* and then sleeps between them */

_Static_assert(offsetof(struct hf_native, brackets) == 0, "the header's calls look there");

__thread struct hf_native_thread hf_native_this_thread __attribute__((tls_model("initial-exec")));

/* Threads that have opened a bracket, and how often somebody has waited for all of them. */
static struct hf_futex threads_lock;
static struct hf_native_thread *threads;
static uint64_t rounds;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int no_key;

static uint32_t depth_of(const struct hf_native_thread *thread)
{
	return __atomic_load_n(&thread->open, __ATOMIC_ACQUIRE) & ~HF_NATIVE_KNOWN_THREAD;
}

static void forget_thread(void *arg)
{
	struct hf_native_thread *thread = arg, **link = &threads;
	struct hf_undisturbed old;

	hf_enter(&old);
	hf_futex_lock(&threads_lock);
	while (*link && *link != thread)
		link = &(*link)->next;
	if (*link)
		*link = thread->next;
	hf_futex_unlock(&threads_lock);
	thread->open = 0;
	hf_leave(&old);
}

/* A child has one thread, which is in no bracket of a space of its own yet. */
static void forget_others(void)
{
	struct hf_native_thread *self = &hf_native_this_thread;

	threads_lock = (struct hf_futex){ 0 };
	threads = self->open & HF_NATIVE_KNOWN_THREAD ? self : NULL;
	self->next = NULL;
}

static void make_key(void)
{
	no_key = pthread_key_create(&key, forget_thread);
	if (!no_key)
		no_key = pthread_atfork(NULL, NULL, forget_others);
}

static int know_thread(struct hf_native_thread *thread)
{
	struct hf_undisturbed old;

	if (thread->open & HF_NATIVE_KNOWN_THREAD)
		return 0;
	pthread_once(&once, make_key);
	if (no_key || pthread_setspecific(key, thread))
		return -ENOMEM;
	hf_enter(&old);
	hf_futex_lock(&threads_lock);
	thread->next = threads;
	threads = thread;
	hf_futex_unlock(&threads_lock);
	hf_leave(&old);
	__atomic_store_n(&thread->open, thread->open | HF_NATIVE_KNOWN_THREAD, __ATOMIC_RELAXED);
	return 0;
}

static void set_depth(struct hf_native_thread *thread, uint32_t depth)
{
	__atomic_store_n(&thread->open, depth | HF_NATIVE_KNOWN_THREAD, __ATOMIC_RELEASE);
}

/* The outermost bracket steps back until the bar is lifted. */
static void pass_bar(struct hf_native *space, struct hf_native_thread *thread)
{
	uint32_t *barred = &space->brackets.barred;

	atomic_thread_fence(memory_order_seq_cst);
	while (__atomic_load_n(barred, __ATOMIC_ACQUIRE) && depth_of(thread) == 1) {
		set_depth(thread, 0);
		hf_futex_wait((_Atomic uint32_t *)barred, 1);
		set_depth(thread, 1);
		atomic_thread_fence(memory_order_seq_cst);
	}
}

static int expose(struct hf_native *space, struct hf_units units)
{
	int err;

	hf_gate_enter(&space->tree->gate);
	err = hf_expose(space, units);
	hf_gate_leave(&space->tree->gate);
	/* as in the header: who sees the store sees the frame, too */
	atomic_thread_fence(memory_order_release);
	return err;
}

static int begin(struct hf_native *space, struct hf_native_thread *thread, const void *addr,
		 size_t len)
{
	struct hf_units units;
	int err;

	if (!atomic_load_explicit(space->tree->alive, memory_order_relaxed))
		return -EOWNERDEAD;
	if (!space->tree->bracketed || !space->owned)
		return -EINVAL;
	err = hf_units_of(space, addr, len, &units);
	if (!err)
		err = know_thread(thread);
	if (err)
		return err;
	pass_bar(space, thread);
	err = expose(space, units);
	return err ? err : hf_stray_open(space, units.first, units.end);
}

/* Signals may come: no handler takes locks of a bracketed space, unless it is checked. */
int hf_native_begin_store_slowly(struct hf_native *space, const void *addr, size_t len)
{
	struct hf_native_thread *thread = &hf_native_this_thread;
	bool checked = space->tree->checked;
	struct hf_undisturbed old;
	int err;

	if (checked)
		hf_enter(&old);
	err = begin(space, thread, addr, len);
	if (err)
		__atomic_store_n(&thread->open, thread->open - 1, __ATOMIC_RELEASE);
	if (checked)
		hf_leave(&old);
	return err;
}

void hf_native_end_checked_store(struct hf_native *space, const void *addr, size_t len)
{
	struct hf_undisturbed old;
	struct hf_units units;

	hf_enter(&old);
	if (!hf_units_of(space, addr, len, &units))
		hf_stray_close(space, units.first, units.end);
	set_depth(&hf_native_this_thread, depth_of(&hf_native_this_thread) - 1);
	hf_leave(&old);
}

/* Have all threads been outside of brackets since the round began? A later round will do. */
static bool all_were_outside(uint64_t round)
{
	bool all = true;

	hf_futex_lock(&threads_lock);
	for (struct hf_native_thread *t = threads; t; t = t->next) {
		if (t->outside < round && !depth_of(t))
			t->outside = round;
		all &= t->outside >= round;
	}
	hf_futex_unlock(&threads_lock);
	return all;
}

/* Brackets are short: who has one open and does not run is waited for asleep. Threads come and go
 * meanwhile. */
static void wait_for_brackets(void)
{
	static const struct timespec pause = { .tv_nsec = 50000 };
	uint64_t round;

	hf_futex_lock(&threads_lock);
	round = ++rounds;
	hf_futex_unlock(&threads_lock);
	for (unsigned looks = 0; !all_were_outside(round); looks++) {
		if (looks >= SPINS + YIELDS)
			nanosleep(&pause, NULL);
		else if (looks >= SPINS)
			sched_yield();
	}
}

bool hf_in_bracket(void)
{
	return depth_of(&hf_native_this_thread);
}

bool hf_brackets_need_fences(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

int hf_bar(struct hf_native *space)
{
	bool fences = space->brackets.fences;

	hf_assert_held(&space->tree->lock);
	hf_assert(!hf_in_bracket());
	__atomic_store_n(&space->brackets.barred, 1, __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_seq_cst);
	if (!fences && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)) {
		int err = -errno;

		hf_lift_bar(space);
		return err;
	}
	wait_for_brackets();
	return 0;
}

void hf_lift_bar(struct hf_native *space)
{
	_Atomic uint32_t *barred = (_Atomic uint32_t *)&space->brackets.barred;

	atomic_store_explicit(barred, 0, memory_order_release);
	hf_futex_wake(barred);
}
