/* SPDX-License-Identifier: MIT */
/*
 * The scheduler. An arm runs until its next operation; what is needed to let that happen is looked
 * at then, and again whenever something else has happened. The scheduler runs on the stack of
 * whoever asked, so that an arm that goes on costs no switch.
 */
#include "internal.h"

#include "../scenario/arms.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK (256ul << 10)
#define MAX_SEEN 16
#define MAX_HELD 8
#define MAX_EDGES 256
#define MAIN (-1)

struct arm {
	ucontext_t context;
	unsigned char *stack;
	void (*fn)(void *arg);
	void *arg;
	bool done;
	struct hf_op *op; /* that it waits to carry out */
	uintptr_t block;  /* a loop that counts there is under way: its next turn is at once */
	/* what it has read since it last waited, and whether others wrote there since */
	uint32_t seen[MAX_SEEN];
	unsigned nr_seen;
	int32_t woken_by; /* event; -1: not woken */
	/* in a read section, in an access */
	unsigned rcu_depth;
	struct hf_known section; /* when the last one ended */
	uint32_t asid, tlb_turn;
	uint32_t waits_for[HF_ARMS]; /* the turns that a flush waits to end; 0: none */
	uintptr_t held[MAX_HELD];
	unsigned nr_held;
};

/* A lock was taken while another was held. */
struct edge {
	uintptr_t first, second;
	int arm;
	uintptr_t held[MAX_HELD];
	unsigned nr_held;
};

struct hf_machine hf_m;

static struct {
	struct arm arm[HF_ARMS];
	struct hf_clock clock[HF_THREADS];
	ucontext_t main;
	int now; /* the arm that runs */
	const struct hf_known *freeing;
	bool starting;
	struct edge edges[MAX_EDGES];
	unsigned nr_edges;
	int32_t tlb_end[HF_ARMS]; /* the last event of that kind */
	sigjmp_buf guard;
} s = { .now = MAIN };

/* ---- failures ---- */

void hf_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(hf_m.failure.text, sizeof(hf_m.failure.text), format, args);
	va_end(args);
	hf_m.failure.found = true;
	siglongjmp(s.guard, 1);
}

static void trapped(int signal)
{
	hf_fail(signal == SIGILL || signal == SIGTRAP ? "an assertion of the core failed"
						      : "the core crashed: %s",
		strsignal(signal));
}

bool hf_machine_guard(void (*fn)(void *arg), void *arg)
{
	static const int signals[] = { SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE };
	static unsigned char stack[64 << 10];
	stack_t alternative = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = trapped, .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigaltstack(&alternative, NULL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	if (sigsetjmp(s.guard, 0))
		return false;
	fn(arg);
	return true;
}

/* ---- clocks ---- */

void hf_join_clock(struct hf_clock *clock, const struct hf_clock *other)
{
	for (unsigned t = 0; t < HF_THREADS; t++)
		if (clock->of[t] < other->of[t])
			clock->of[t] = other->of[t];
}

void hf_join_known(struct hf_known *known, const struct hf_known *other)
{
	hf_join_clock(&known->clock, &other->clock);
	for (unsigned t = 0; t < HF_ARMS; t++)
		if (known->epoch[t] < other->epoch[t])
			known->epoch[t] = other->epoch[t];
}

struct hf_known hf_known_by(unsigned arm)
{
	struct hf_known known = { .clock = s.clock[arm] };

	for (unsigned t = 0; t < HF_ARMS; t++)
		known.epoch[t] = hf_memory_known(arm, t);
	return known;
}

const struct hf_clock *hf_thread_clock(unsigned thread)
{
	return &s.clock[thread];
}

static void join_event(unsigned thread, int32_t event)
{
	if (event >= 0)
		hf_join_clock(&s.clock[thread], &hf_m.events[event].clock);
}

int hf_arm(void)
{
	return s.now;
}

bool hf_arm_holds(uintptr_t lock, bool alone)
{
	const struct arm *a = &s.arm[s.now];
	unsigned i = 0;

	while (i < a->nr_held && a->held[i] != lock)
		i++;
	return i < a->nr_held && (!alone || hf_object(hf_object_of(lock))->owner == s.now);
}

const struct hf_op *hf_pending(unsigned thread)
{
	return thread < HF_ARMS ? s.arm[thread].op : hf_memory_oldest(thread - HF_ARMS);
}

uint32_t hf_rcu_readers(void)
{
	uint32_t set = 0;

	for (unsigned t = 0; t < hf_m.nr; t++)
		set |= (uint32_t)(s.arm[t].rcu_depth > 0) << t;
	return set;
}

const struct hf_known *hf_last_section(unsigned arm)
{
	return &s.arm[arm].section;
}

uint32_t hf_asid(unsigned arm)
{
	return s.arm[arm].asid;
}

void hf_rcu_frees(const struct hf_known *known)
{
	s.freeing = known;
}

bool hf_rcu_is_freeing(void)
{
	return s.freeing;
}

/* ---- what can happen now ---- */

/* Frames are memory, word by word; all else has its own address. */
static uint32_t object_of(const struct hf_op *op)
{
	if (op->kind == HF_OP_WAIT || op->kind == HF_OP_TLB_WAIT)
		return HF_NO_BLOCK;
	return hf_object_of(hf_heap_in_frames(op->at) ? op->at & ~(uintptr_t)7 : op->at);
}

static bool needs_empty_buffer(const struct hf_op *op)
{
	switch (op->kind) {
	case HF_OP_LOAD:
		return op->counts;
	case HF_OP_UNLOCK:
	case HF_OP_READ_UNLOCK:
	case HF_OP_WRITE_UNLOCK:
	case HF_OP_TLB_END:
	case HF_OP_WAIT:
	case HF_OP_TLB_WAIT:
		return false;
	case HF_OP_STORE:
		return op->order == memory_order_seq_cst;
	default:
		return true;
	}
}

static bool flush_is_over(const struct arm *a)
{
	for (unsigned t = 0; t < hf_m.nr; t++)
		if (a->waits_for[t] && s.arm[t].tlb_turn == a->waits_for[t] && s.arm[t].asid)
			return false;
	return true;
}

static bool can_happen(const struct arm *a)
{
	const struct hf_op *op = a->op;
	const struct hf_object *o;

	if (hf_m.model == HF_MEMORY_TSO &&
	    (needs_empty_buffer(op) ? !hf_memory_drained((unsigned)(a - s.arm))
				    : hf_memory_full((unsigned)(a - s.arm))))
		return false;
	switch (op->kind) {
	case HF_OP_LOCK:
	case HF_OP_WRITE_LOCK:
		o = hf_object(op->object);
		return o->owner < 0 && !o->readers;
	case HF_OP_READ_LOCK:
		return hf_object(op->object)->owner < 0;
	case HF_OP_WAIT:
		return a->woken_by >= 0;
	case HF_OP_TLB_WAIT:
		return flush_is_over(a);
	default:
		return true;
	}
}

static uint32_t enabled(void)
{
	uint32_t set = 0;

	for (unsigned t = 0; t < hf_m.nr; t++) {
		if (!s.arm[t].done && can_happen(&s.arm[t]))
			set |= 1u << t;
		if (hf_m.model == HF_MEMORY_TSO && !hf_memory_drained(t))
			set |= 1u << (HF_ARMS + t);
	}
	return set;
}

static const char *place(const struct hf_op *op)
{
	static char text[160];

	if (!op->site)
		return "the platform";
	snprintf(text, sizeof(text), "%s, %s:%d", op->site->text, hf_site_file(op->site),
		 op->site->line);
	return text;
}

static _Noreturn void deadlock(void)
{
	char text[200] = "";
	size_t len = 0;

	for (unsigned t = 0; t < hf_m.nr; t++) {
		const struct arm *a = &s.arm[t];

		if (a->done || len >= sizeof(text))
			continue;
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%sarm %c waits for %s",
					len ? "; " : "", 'a' + (char)t,
					a->op->kind == HF_OP_WAIT       ? "others to write"
					: a->op->kind == HF_OP_TLB_WAIT ? "accesses to end"
									: place(a->op));
	}
	hf_fail("deadlock: %s", text);
}

/* ---- lock order ---- */

static bool share_a_lock(const struct edge *e, const struct arm *a)
{
	for (unsigned i = 0; i < e->nr_held; i++)
		for (unsigned k = 0; k < a->nr_held; k++)
			if (e->held[i] == a->held[k] && e->held[i] != e->first &&
			    e->held[i] != e->second)
				return true;
	return false;
}

static void note_edge(struct arm *a, uintptr_t first, const struct hf_op *op)
{
	struct edge *e = s.edges;
	int arm = (int)(a - s.arm);

	for (; e < s.edges + s.nr_edges; e++) {
		if (e->first == op->at && e->second == first && e->arm != arm &&
		    !share_a_lock(e, a))
			hf_fail("lock-order inversion: arm %c takes %s while it holds a lock that "
				"arm %c took under it",
				'a' + (char)arm, place(op), 'a' + (char)e->arm);
		if (e->first == first && e->second == op->at && e->arm == arm)
			return;
	}
	if (s.nr_edges == MAX_EDGES)
		return;
	*e = (struct edge){ .first = first, .second = op->at, .arm = arm, .nr_held = a->nr_held };
	memcpy(e->held, a->held, sizeof(e->held));
	s.nr_edges++;
}

static void take_lock(struct arm *a, const struct hf_op *op)
{
	for (unsigned i = 0; i < a->nr_held; i++)
		note_edge(a, a->held[i], op);
	if (a->nr_held == MAX_HELD)
		hf_fail("an arm holds more than %d locks", MAX_HELD);
	a->held[a->nr_held++] = op->at;
}

static void drop_lock(struct arm *a, uintptr_t lock)
{
	for (unsigned i = 0; i < a->nr_held; i++)
		if (a->held[i] == lock) {
			a->held[i] = a->held[--a->nr_held];
			return;
		}
	hf_fail("an arm gives back a lock that it does not hold");
}

/* ---- carrying out ---- */

static void see(struct arm *a, uint32_t object)
{
	for (unsigned i = 0; i < a->nr_seen; i++)
		if (a->seen[i] == object)
			return;
	/* the loop that waits reads a few things again and again: the latest are enough */
	if (a->nr_seen == MAX_SEEN)
		memmove(a->seen, a->seen + 1, --a->nr_seen * sizeof(a->seen[0]));
	a->seen[a->nr_seen++] = object;
}

static void wake(unsigned writer, uint32_t object, int32_t event)
{
	for (unsigned t = 0; t < hf_m.nr; t++) {
		struct arm *a = &s.arm[t];

		for (unsigned i = 0; t != writer && a->woken_by < 0 && i < a->nr_seen; i++)
			if (a->seen[i] == object)
				a->woken_by = event;
	}
}

void hf_seen_stale(unsigned thread, int32_t event)
{
	if (s.arm[thread].woken_by < 0)
		s.arm[thread].woken_by = event;
}

static void wait_is_over(unsigned thread)
{
	struct arm *a = &s.arm[thread];

	join_event(thread, a->woken_by);
	for (unsigned i = 0; i < a->nr_seen; i++)
		hf_memory_see_latest(thread, a->seen[i]);
	a->nr_seen = 0;
	a->woken_by = -1;
}

static void begin_flush(unsigned thread, uintptr_t at)
{
	struct arm *a = &s.arm[thread];

	for (unsigned t = 0; t < hf_m.nr; t++) {
		bool inside = t != thread && s.arm[t].asid && HF_AT_TLB(s.arm[t].asid) == at;

		a->waits_for[t] = inside ? s.arm[t].tlb_turn : 0;
	}
}

/* Ends of accesses that began before the flush come before what follows it. */
static void flush_ends(unsigned thread, uint32_t asid)
{
	for (unsigned t = 0; t < hf_m.nr; t++)
		if (t != thread && s.tlb_end[t] >= 0) {
			join_event(thread, s.tlb_end[t]);
			hf_memory_acquire(thread, hf_object_of(HF_AT_TLB_END(asid, t)));
		}
}

static void synchronise(unsigned thread, struct hf_op *op, uint32_t object, int32_t event)
{
	unsigned arm = thread % HF_ARMS;
	struct arm *a = &s.arm[arm];
	struct hf_object *o = object == HF_NO_BLOCK ? NULL : hf_object(object);

	switch (op->kind) {
	case HF_OP_LOCK:
	case HF_OP_WRITE_LOCK:
		take_lock(a, op);
		o->owner = (int8_t)arm;
		hf_memory_acquire(thread, object);
		break;
	case HF_OP_READ_LOCK:
		take_lock(a, op);
		o->readers++;
		hf_memory_acquire(thread, object);
		break;
	case HF_OP_UNLOCK:
	case HF_OP_WRITE_UNLOCK:
		drop_lock(a, op->at);
		o->owner = -1;
		hf_memory_release(thread, object);
		break;
	case HF_OP_READ_UNLOCK:
		drop_lock(a, op->at);
		o->readers--;
		hf_memory_release(thread, object);
		break;
	/* a section that begins after the call sees what was taken away before it */
	case HF_OP_RCU_LOCK:
		a->rcu_depth++;
		hf_memory_acquire(thread, object);
		break;
	case HF_OP_RCU_CALL:
		hf_memory_release(thread, object);
		break;
	case HF_OP_RCU_UNLOCK:
		a->rcu_depth--;
		hf_memory_end_epoch(arm);
		break;
	case HF_OP_TLB_BEGIN:
		a->asid = (uint32_t)op->value;
		a->tlb_turn++;
		hf_memory_acquire(thread, object);
		break;
	case HF_OP_TLB_END:
		hf_memory_release(thread, hf_object_of(HF_AT_TLB_END(a->asid, arm)));
		a->asid = 0;
		s.tlb_end[arm] = event;
		break;
	case HF_OP_TLB_FLUSH:
		hf_memory_release(thread, object);
		begin_flush(arm, op->at);
		break;
	case HF_OP_TLB_WAIT:
		flush_ends(arm, (uint32_t)op->value);
		break;
	case HF_OP_WAIT:
		wait_is_over(arm);
		break;
	case HF_OP_FREE:
		hf_heap_free((void *)op->at);
		break;
	default:
		break;
	}
}

static bool is_access(const struct hf_op *op)
{
	return op->kind <= HF_OP_RMW;
}

static void check_end(unsigned arm, uint32_t block)
{
	struct hf_known known = s.freeing ? *s.freeing : hf_known_by(arm);

	hf_race_free(arm, block, known.epoch);
}

static void check_use(unsigned thread, const struct hf_op *op, uint32_t object)
{
	uint32_t block = object == HF_NO_BLOCK ? HF_NO_BLOCK : hf_object(object)->block;

	if (block == HF_NO_BLOCK)
		return;
	if (hf_heap_is_freed(block))
		hf_fail(op->kind == HF_OP_FREE ? "arm %c frees memory twice (%s)"
					       : "arm %c uses memory that was freed (%s)",
			'a' + (char)(thread % HF_ARMS), place(op));
	if (hf_m.model != HF_MEMORY_RC11)
		return;
	if (op->kind == HF_OP_FREE)
		check_end(thread, block);
	else
		hf_race_use(thread, block);
}

/* Under TSO a plain store, or the end of a critical section, waits in the buffer. */
static bool is_buffered(unsigned thread, const struct hf_op *op)
{
	return hf_m.model == HF_MEMORY_TSO && thread < HF_ARMS &&
	       ((op->kind == HF_OP_STORE && op->order != memory_order_seq_cst) ||
		op->kind == HF_OP_UNLOCK || op->kind == HF_OP_READ_UNLOCK ||
		op->kind == HF_OP_WRITE_UNLOCK || op->kind == HF_OP_TLB_END);
}

static int32_t new_event(unsigned thread, const struct hf_op *op, uint32_t object)
{
	struct hf_event *e;

	if (hf_m.nr_events == HF_MAX_OPERATIONS)
		hf_fail("no end after %d operations", HF_MAX_OPERATIONS);
	e = &hf_m.events[hf_m.nr_events];
	s.clock[thread].of[thread]++;
	*e = (struct hf_event){
		.thread = (uint8_t)thread,
		.kind = op->kind,
		.site = op->site,
		.object = object,
		.block = object == HF_NO_BLOCK ? HF_NO_BLOCK : hf_object(object)->block,
		.before = -1,
		.before_block = -1,
		.nr = s.clock[thread].of[thread],
	};
	return (int32_t)hf_m.nr_events++;
}

static void link_event(struct hf_event *e, int32_t event)
{
	if (e->object == HF_NO_BLOCK)
		return;
	e->before = hf_object(e->object)->last;
	hf_object(e->object)->last = event;
	if (e->block == HF_NO_BLOCK)
		return;
	e->before_block = *hf_heap_last(e->block);
	*hf_heap_last(e->block) = event;
}

/* References are the low bits of a page's counts. */
static uint32_t references(const struct hf_op *op, uint64_t value)
{
	return (uint32_t)(op->size == 8 ? value & HF_COUNTED : value);
}

int32_t hf_counted(const struct hf_op *op)
{
	int32_t by = (int32_t)references(op, op->value);

	return op->rmw == HF_RMW_SUB ? -by : by;
}

static void note_count(struct hf_event *e, const struct hf_op *op)
{
	e->counts = op->counts;
	if (!op->counts)
		return;
	e->count = references(op, op->old);
	e->delta = op->kind == HF_OP_RMW && op->rmw == HF_RMW_CAS
			   ? (int32_t)references(op, op->value) - (int32_t)e->count
			   : hf_counted(op);
}

static void carry_out(unsigned thread, struct hf_op *op)
{
	bool buffered = is_buffered(thread, op);
	uint32_t object = buffered ? HF_NO_BLOCK : op->object;
	int32_t event = new_event(thread, op, object);
	struct hf_event *e = &hf_m.events[event];

	check_use(thread, op, object);
	if (is_access(op) || buffered)
		hf_memory_access(thread, op, object, event);
	if (!is_access(op) && !buffered)
		synchronise(thread, op, object, event);
	e->writes = !is_access(op) || op->changed;
	note_count(e, op);
	if (hf_m.model == HF_MEMORY_TSO && thread < HF_ARMS && needs_empty_buffer(op))
		hf_join_clock(&s.clock[thread], &s.clock[HF_ARMS + thread]);
	e->clock = s.clock[thread];
	if (op->kind == HF_OP_FREE && s.freeing)
		hf_join_clock(&e->clock, &s.freeing->clock);
	hf_strategy_event(event);
	link_event(e, event);
	if (op->kind != HF_OP_FREE)
		s.clock[thread] = e->clock;
	if (op->kind == HF_OP_RCU_UNLOCK)
		s.arm[thread].section = hf_known_by(thread);
	if (!buffered && is_access(op)) {
		if (thread < HF_ARMS && op->kind != HF_OP_STORE)
			see(&s.arm[thread], object);
		if (hf_memory_differs(op))
			wake(thread % HF_ARMS, object, event);
	}
	if (hf_m.trace)
		hf_m.trace(op, thread, e);
}

static void drain(unsigned arm)
{
	int32_t issued;
	struct hf_op op = hf_memory_take_oldest(arm, &issued);

	join_event(HF_ARMS + arm, issued);
	carry_out(HF_ARMS + arm, &op);
}

/* ---- switching ---- */

static void switch_to(int to)
{
	int from = s.now;
	ucontext_t *out = from == MAIN ? &s.main : &s.arm[from].context;
	ucontext_t *in = to == MAIN ? &s.main : &s.arm[to].context;

	if (to == from)
		return;
	s.now = to;
	swapcontext(out, in);
}

/* Lets things happen until an arm can go on, which is `inside`, if there is one; MAIN when all are
 * at their end. */
static int step(const struct arm *inside)
{
	for (;;) {
		uint32_t set = inside ? 1u << (inside - s.arm) : enabled();
		bool live = false;
		unsigned thread;

		for (unsigned t = 0; t < hf_m.nr; t++)
			live |= !s.arm[t].done;
		if (!set && live)
			deadlock();
		if (!set)
			return MAIN;
		thread = hf_strategy_pick(set, inside);
		if (thread < HF_ARMS) {
			carry_out(thread, s.arm[thread].op);
			return (int)thread;
		}
		drain(thread - HF_ARMS);
	}
}

void hf_op(struct hf_op *op)
{
	struct arm *a = &s.arm[s.now];
	bool inside;

	a->op = op;
	op->object = object_of(op);
	inside = op->kind == HF_OP_RMW && op->rmw == HF_RMW_CAS && op->at == a->block;
	op->counts |= inside;
	a->block = op->kind == HF_OP_LOAD && op->counts ? op->at : 0;
	switch_to(s.starting ? MAIN : step(inside ? a : NULL));
}

static void arm_main(void)
{
	struct arm *a = &s.arm[s.now];

	a->fn(a->arg);
	a->done = true;
	switch_to(s.starting ? MAIN : step(NULL));
}

static void prepare_arm(struct arm *a, void (*fn)(void *arg), void *arg)
{
	unsigned char *stack = a->stack;

	if (!stack)
		stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		hf_fail("no memory for an arm's stack");
	*a = (struct arm){ .stack = stack, .fn = fn, .arg = arg, .woken_by = -1 };
	getcontext(&a->context);
	a->context.uc_stack.ss_sp = stack;
	a->context.uc_stack.ss_size = STACK;
	makecontext(&a->context, arm_main, 0);
}

int hf_run_arms(size_t nr, void (*fn)(void *arg), void *const *args)
{
	struct hf_clock all = { 0 };

	hf_m.nr = (unsigned)nr;
	for (unsigned t = 0; t < HF_THREADS; t++)
		hf_join_clock(&all, &s.clock[t]);
	for (unsigned t = 0; t < HF_THREADS; t++)
		s.clock[t] = all;
	for (unsigned t = 0; t < nr; t++) {
		prepare_arm(&s.arm[t], fn, args[t]);
		s.tlb_end[t] = -1;
	}
	s.nr_edges = 0;
	hf_memory_start();
	hf_race_start();
	hf_m.running = true;
	s.starting = true;
	for (unsigned t = 0; t < nr; t++)
		switch_to((int)t);
	s.starting = false;
	switch_to(step(NULL));
	hf_m.running = false;
	for (unsigned t = 0; t < nr; t++)
		if (s.arm[t].nr_held || s.arm[t].rcu_depth)
			hf_fail("arm %c ended with a lock held", 'a' + (char)t);
	return 0;
}

void hf_machine_reset(void)
{
	if (!hf_m.events)
		hf_m.events = malloc(HF_MAX_OPERATIONS * sizeof(*hf_m.events));
	if (!hf_m.events)
		abort();
	hf_heap_reset();
	hf_objects_reset();
	hf_memory_reset();
	hf_platform_reset();
	hf_mutate_reset();
	memset(s.clock, 0, sizeof(s.clock));
	s.now = MAIN;
	s.starting = false;
	s.freeing = NULL;
	hf_m.nr_events = 0;
	hf_m.running = false;
	hf_m.failure.found = false;
}
