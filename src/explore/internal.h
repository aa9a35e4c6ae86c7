/* SPDX-License-Identifier: MIT */
/*
 * The controlled machine: the arms of a par block as fibers of one thread. Whatever the core asks
 * of its surroundings, and every atomic access, is an operation; the scheduler (schedule.c) lets
 * one happen at a time, a memory model (memory.c) says what it sees, and a strategy (dpor.c)
 * says whose turn it is.
 *
 * There is one machine in a process, for the core's accesses come without a context.
 */
#ifndef HF_EXPLORE_INTERNAL_H
#define HF_EXPLORE_INTERNAL_H

#include "../core/hook.h"
#include "explore.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HF_ARMS 4
/* Under TSO each arm has a second thread of events: its store buffer's. */
#define HF_THREADS (2 * HF_ARMS)

enum hf_op_kind {
	HF_OP_LOAD,
	HF_OP_STORE,
	HF_OP_RMW,
	HF_OP_LOCK,
	HF_OP_UNLOCK,
	HF_OP_READ_LOCK,
	HF_OP_READ_UNLOCK,
	HF_OP_WRITE_LOCK,
	HF_OP_WRITE_UNLOCK,
	HF_OP_RCU_LOCK,
	HF_OP_RCU_UNLOCK,
	HF_OP_RCU_CALL,
	HF_OP_TLB_BEGIN,
	HF_OP_TLB_END,
	HF_OP_TLB_FLUSH,
	HF_OP_TLB_WAIT,
	HF_OP_WAIT, /* relax(): until somebody writes to what was read */
	HF_OP_FREE,
	HF_NR_OPS,
};

struct hf_op {
	uint8_t kind, size, order;
	enum hf_rmw rmw;
	const struct hf_site *site;
	uintptr_t at;
	uint32_t object;   /* what is there, from hf_op() on; HF_NO_BLOCK: nothing */
	uint64_t value;    /* stored, or the operand */
	uint64_t expected; /* compare-exchange */
	bool counts; /* by `value`, and only zero is special; a load: begins a loop that does */
	/* afterwards: */
	uint64_t old;
	bool done;    /* compare-exchange: it did */
	bool changed; /* what others read is not what it was */
};

/* What operations act on: an atomic, a lock, or one of the two below. */
#define HF_AT_RCU ((uintptr_t)1)
#define HF_AT_EPOCH(arm) ((uintptr_t)(arm) << 8 | 4)
#define HF_AT_TLB(asid) ((uintptr_t)(asid) << 8 | 2)
#define HF_AT_TLB_END(asid, arm) ((uintptr_t)(asid) << 8 | (arm) << 4 | 3)

/* How far each thread's events are known. */
struct hf_clock {
	uint32_t of[HF_THREADS];
};

/* The same with arms' epochs: what an end of a read
 * section or call_rcu() leaves to the callback. */
struct hf_known {
	struct hf_clock clock;
	uint32_t epoch[HF_ARMS];
};

/* One operation that happened. */
struct hf_event {
	uint8_t thread, kind;
	bool writes;
	bool counts;
	int32_t delta; /* what is counted, and what the count was */
	uint32_t count;
	uint32_t object, block;
	int32_t before;       /* the event on the same object before this one; -1 */
	int32_t before_block; /* on the same block */
	const struct hf_site *site;
	uint32_t nr; /* of its thread's, from 1 */
	struct hf_clock clock;
};

/* ---- objects (object.c) ---- */

#define HF_NO_BLOCK UINT32_MAX
#define HF_MAX_BLOCKS 65536
#define HF_MAX_OBJECTS 32768
#define HF_MAX_OPERATIONS 200000 /* of one execution: more are a loop without end */
#define HF_COUNTED 0xffffff      /* of a page's counts, the references */

struct hf_message;

struct hf_object {
	uintptr_t at;
	uint32_t block;
	int32_t last; /* event */
	/* locks */
	int8_t owner; /* -1: nobody */
	uint8_t readers;
	int32_t last_release;
	/* weak memory */
	uint32_t sc; /* the last sequentially consistent store, by its place in the order */
	struct hf_message *messages;
	const struct hf_view *view; /* locks: what their holders knew */
};

/* The first HF_ARMS objects are the arms' epochs. */
uint32_t hf_object_of(uintptr_t at);
struct hf_object *hf_object(uint32_t index);
uint32_t hf_nr_objects(void);
void hf_objects_reset(void);

/* ---- memory of the core (heap.c) ---- */

void hf_heap_reset(void);
void *hf_heap_alloc(size_t size, size_t align);
void hf_heap_free(void *ptr);
uint32_t hf_heap_block(uintptr_t at); /* HF_NO_BLOCK: not of the heap */
bool hf_heap_is_freed(uint32_t block);
size_t hf_heap_offset(uintptr_t at); /* into its block */
bool hf_heap_in_frames(uintptr_t at);
int32_t *hf_heap_last(uint32_t block); /* the last event on it */

/* ---- the schedule (schedule.c) ---- */

struct hf_failure {
	bool found;
	char text[240];
};

struct hf_machine {
	enum hf_memory_model model;
	bool running;    /* arms are; else accesses are plain */
	unsigned nr;     /* arms */
	bool unreduced;  /* rc11: whatever may be missed, also what an earlier turn shows */
	uint64_t hot[8]; /* of a page's 512 words, those that the scenario touches */
	struct hf_event *events;
	size_t nr_events, max_events;
	struct hf_failure failure;
	void (*trace)(const struct hf_op *op, unsigned thread, const struct hf_event *event);
};

extern struct hf_machine hf_m;

/* Before each execution. */
void hf_machine_reset(void);
/* On a fiber: the operation happens when it is this arm's turn. */
void hf_op(struct hf_op *op);
/* The arm that runs now; -1: none. */
int hf_arm(void);
/* Gives up this execution, and the process's state with it: returns to hf_machine_guard(). */
_Noreturn void hf_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Runs fn; false when hf_fail() was called or the core trapped: hf_m.failure says why. */
bool hf_machine_guard(void (*fn)(void *arg), void *arg);
/* Whether it has that lock; `alone`: not for reading with others. */
bool hf_arm_holds(uintptr_t lock, bool alone);
/* What a thread would do next, for the strategy. */
const struct hf_op *hf_pending(unsigned thread);
/* What an operation that counts will count by. */
int32_t hf_counted(const struct hf_op *op);
/* The arm did not see that store, and may wait for it. */
void hf_seen_stale(unsigned arm, int32_t event);
/* Which arms are in a read section, and what was known when each arm's last one ended. */
uint32_t hf_rcu_readers(void);
const struct hf_known *hf_last_section(unsigned arm);
/* Whose translations an arm uses. */
uint32_t hf_asid(unsigned arm);
/* Frees what call_rcu() was given: after all that is known to the clock, which the arm does not
 * come to know. */
void hf_rcu_frees(const struct hf_known *known);
bool hf_rcu_is_freeing(void);
void hf_join_clock(struct hf_clock *clock, const struct hf_clock *other);
void hf_join_known(struct hf_known *known, const struct hf_known *other);
/* What the arm knows by now. */
struct hf_known hf_known_by(unsigned arm);
const struct hf_clock *hf_thread_clock(unsigned thread);

/* ---- memory models (memory.c) ---- */

static inline uint64_t hf_memory_word(const volatile void *at, size_t size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)at;
	case 2:
		return *(const volatile uint16_t *)at;
	case 4:
		return *(const volatile uint32_t *)at;
	default:
		return *(const volatile uint64_t *)at;
	}
}

void hf_memory_reset(void);
void hf_memory_start(void); /* of a par block */
/* Carries an access out; may ask the strategy which of several values it sees. Without an object:
 * it goes into the store buffer. */
void hf_memory_access(unsigned thread, struct hf_op *op, uint32_t object, int32_t event);
/* The same while no arms run. */
void hf_memory_plain(struct hf_op *op);
/* The arm's own last store to the word, or what is there. */
uint64_t hf_memory_peek(unsigned arm, const volatile void *at, size_t size);
/* Whether an access has changed the value: who waits for others to write may go on. */
bool hf_memory_differs(const struct hf_op *op);
/* Store buffers: whether one is empty, or can take no more; its oldest entry; and that with the
 * event that put it there, taken out. */
bool hf_memory_drained(unsigned arm);
bool hf_memory_full(unsigned arm);
const struct hf_op *hf_memory_oldest(unsigned arm);
struct hf_op hf_memory_take_oldest(unsigned arm, int32_t *event);
/* Synchronisation through locks and the like. */
void hf_memory_acquire(unsigned thread, uint32_t object);
void hf_memory_release(unsigned thread, uint32_t object);
void hf_memory_end_epoch(unsigned arm);
/* After a wait for others to write: what was written is seen at last. */
void hf_memory_see_latest(unsigned thread, uint32_t object);

/* How many times an arm has released, counted from 1, and up to which of them another knows it. */
uint32_t hf_memory_epoch(unsigned arm);
uint32_t hf_memory_known(unsigned arm, unsigned other);

/* ---- data races (race.c) ---- */

void hf_race_start(void); /* of a par block */
void hf_race_atomic(unsigned arm, uintptr_t at);
/* Any use of a block, and its end, by who knows of others' uses what the epochs say. */
void hf_race_use(unsigned arm, uint32_t block);
void hf_race_free(unsigned arm, uint32_t block, const uint32_t *known);

/* ---- the platform (platform.c) ---- */

void hf_platform_reset(void);

/* ---- mutants (mutate.c) ---- */

/* reached: HF_MAX_SITES of HF_SITE_*, or NULL. */
void hf_mutate(const struct hf_mutation *mutation, uint8_t *reached);
/* Before each execution. */
void hf_mutate_reset(void);
uint8_t hf_site_order(const struct hf_site *site);
/* An operation there met one of another arm. */
void hf_site_met(const struct hf_site *site);
/* A lock that is not taken: its release, which may be elsewhere, is not done either. */
bool hf_skips(const struct hf_site *site, const struct hf_op *op);
/* What a load gives in place of what it saw. */
uint64_t hf_stale_value(const struct hf_op *op);

/* ---- the trace (trace.c) ---- */

/* What the arms do; one operation. */
void hf_trace_arms(const struct hf_scenario *scn);
void hf_trace(const struct hf_op *op, unsigned thread, const struct hf_event *event);

/* ---- the strategy (dpor.c) ---- */

/* Whose turn it is, of the set of threads that can go on; inside: the one that is left, in the
 * middle of a loop that is one step. */
unsigned hf_strategy_pick(uint32_t enabled, bool inside);
/* Which of nr things an operation sees, 0 first. */
unsigned hf_strategy_choose(unsigned nr);
/* It has happened, and is about to be linked to the events before it: joins what it comes after
 * into its clock; races with earlier events are turned round in later executions. */
void hf_strategy_event(int32_t event);

#endif
