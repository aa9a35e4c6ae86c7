/* SPDX-License-Identifier: MIT */
/*
 * Which order next. Source-DPOR with sleep sets (Abdulla, Aronis, Jonsson, Sagonas: "Optimal
 * dynamic partial order reduction", POPL 2014): two orders that differ only in operations that
 * commute are one; of two operations that race, both orders are tried; a thread that has been tried
 * at a point sleeps until something happens that it does not commute with.
 *
 * Beyond what can be had whole: all orders with few preemptions, and random ones with priorities
 * that change seldom (Burckhardt and others: "A randomized scheduler with probabilistic guarantees
 * of finding bugs", ASPLOS 2010).
 */
#include "dpor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a thread was about to do at a node. */
struct about {
	uint8_t kind;
	bool writes, counts;
	int32_t delta;
	uint32_t count;
	uint32_t object, block;
};

/* The state before one operation. Sets of threads are bit masks. */
struct node {
	uint32_t enabled, sleep, backtrack;
	uint8_t thread, choice, nr_choices;
	uint8_t preemptions;
	bool inside;
	struct about about[HF_THREADS];
};

static struct {
	enum hf_strategy strategy;
	unsigned bound;
	struct node *nodes;
	size_t nr;    /* nodes of this execution */
	size_t fixed; /* the first so many are as they were */
	bool loose;   /* the rest is like an earlier execution: to its end, somehow */
	const struct hf_turn *turns;
	size_t nr_turns, turn, taken;
	uint64_t random;
	unsigned priority[HF_THREADS];
	size_t change[16]; /* operations before which the running thread's priority drops */
	size_t longest;
} x;

static uint64_t next_random(void)
{
	x.random ^= x.random << 13;
	x.random ^= x.random >> 7;
	x.random ^= x.random << 17;
	return x.random;
}

void hf_dpor_start(enum hf_strategy strategy, unsigned bound, uint64_t seed)
{
	if (!x.nodes)
		x.nodes = malloc(HF_MAX_OPERATIONS * sizeof(*x.nodes));
	if (!x.nodes)
		abort();
	x.strategy = strategy;
	x.bound = bound < 16 ? bound : 16;
	x.random = seed * 0x9e3779b97f4a7c15ull + 1;
	x.fixed = 0;
	x.longest = 100;
}

void hf_dpor_replay(const struct hf_turn *turns, size_t nr)
{
	x.turns = turns;
	x.nr_turns = nr;
}

void hf_dpor_begin(void)
{
	x.nr = 0;
	x.loose = false;
	x.turn = x.taken = 0;
	for (unsigned t = 0; t < HF_THREADS && x.strategy == HF_EXPLORE_RANDOM; t++)
		x.priority[t] = 1000 + (unsigned)(next_random() % 1000);
	for (unsigned i = 0; i < x.bound && x.strategy == HF_EXPLORE_RANDOM; i++)
		x.change[i] = next_random() % x.longest;
}

bool hf_dpor_was_redundant(void)
{
	return x.loose;
}

/* ---- what commutes ---- */

enum family { ACCESS, LOCKS, RCU, TLB, OTHER };

static enum family family_of(uint8_t kind)
{
	switch (kind) {
	case HF_OP_LOAD:
	case HF_OP_STORE:
	case HF_OP_RMW:
		return ACCESS;
	case HF_OP_LOCK:
	case HF_OP_UNLOCK:
	case HF_OP_READ_LOCK:
	case HF_OP_READ_UNLOCK:
	case HF_OP_WRITE_LOCK:
	case HF_OP_WRITE_UNLOCK:
		return LOCKS;
	case HF_OP_RCU_LOCK:
	case HF_OP_RCU_CALL:
		return RCU;
	case HF_OP_TLB_BEGIN:
	case HF_OP_TLB_FLUSH:
		return TLB;
	default:
		return OTHER;
	}
}

static bool reads_lock(uint8_t kind)
{
	return kind == HF_OP_READ_LOCK || kind == HF_OP_READ_UNLOCK;
}

static uint32_t downward(int32_t delta)
{
	return delta < 0 ? (uint32_t)-delta : 0;
}

/* Two that count commute unless one of the orders reaches zero. Not so where the later one
 * synchronises with the earlier. */
static bool counting_commutes(const struct about *pending, const struct about *done)
{
	return pending->counts && done->counts && hf_m.model != HF_MEMORY_RC11 &&
	       done->count > downward(pending->delta) + downward(done->delta);
}

/* Whether what a thread is about to do depends on what was done. */
static bool depend(const struct about *a, const struct about *b)
{
	if (a->kind == HF_OP_FREE || b->kind == HF_OP_FREE)
		return a->block != HF_NO_BLOCK && a->block == b->block;
	if (a->object == HF_NO_BLOCK || a->object != b->object)
		return false;
	switch (family_of(a->kind)) {
	case ACCESS:
		return (a->writes || b->writes) && !counting_commutes(a, b);
	case LOCKS:
		return !reads_lock(a->kind) || !reads_lock(b->kind);
	case RCU:
	case TLB:
		return a->kind != b->kind && family_of(b->kind) != OTHER;
	default:
		return false;
	}
}

static struct about about_event(const struct hf_event *e)
{
	return (struct about){
		.kind = e->kind,
		.writes = e->writes,
		.counts = e->counts,
		.delta = e->delta,
		.count = e->count,
		.object = e->object,
		.block = e->block,
	};
}

static struct about about_pending(unsigned thread)
{
	const struct hf_op *op = hf_pending(thread);
	uint32_t object = op->object;

	return (struct about){
		.kind = op->kind,
		.writes = op->kind != HF_OP_LOAD || op->counts,
		.counts = op->counts,
		.delta = op->counts ? hf_counted(op) : 0,
		.object = object,
		.block = object == HF_NO_BLOCK ? HF_NO_BLOCK : hf_object(object)->block,
	};
}

/* ---- whose turn ---- */

static unsigned lowest(uint32_t set)
{
	return (unsigned)__builtin_ctz(set);
}

static unsigned prefer_last(uint32_t set)
{
	unsigned last = x.nr ? x.nodes[x.nr - 1].thread : 0;

	return set >> last & 1 ? last : lowest(set);
}

/* Those that slept before the last operation and commute with it sleep on. */
static uint32_t still_asleep(void)
{
	const struct node *before;
	struct about done;
	uint32_t sleep = 0;

	if (!x.nr)
		return 0;
	before = &x.nodes[x.nr - 1];
	done = about_event(&hf_m.events[x.nr - 1]);
	for (unsigned t = 0; t < HF_THREADS; t++)
		if (before->sleep >> t & 1 && t != before->thread &&
		    !depend(&before->about[t], &done))
			sleep |= 1u << t;
	return sleep;
}

static unsigned preemptions_with(unsigned thread)
{
	const struct node *before = x.nr ? &x.nodes[x.nr - 1] : NULL;

	if (!before)
		return 0;
	return before->preemptions +
	       (thread != before->thread && x.nodes[x.nr].enabled >> before->thread & 1);
}

static unsigned choose_new(struct node *n)
{
	uint32_t awake = n->enabled & ~n->sleep;

	if (!awake) {
		x.loose = true;
		return prefer_last(n->enabled);
	}
	n->backtrack = 1u << prefer_last(awake);
	if (x.strategy == HF_EXPLORE_BOUNDED)
		for (unsigned t = 0; t < HF_THREADS; t++)
			if (n->enabled >> t & 1 && preemptions_with(t) <= x.bound)
				n->backtrack |= 1u << t;
	return prefer_last(awake);
}

static unsigned choose_random(const struct node *n)
{
	unsigned best = lowest(n->enabled);

	for (unsigned i = 0; i < x.bound; i++)
		if (x.nr && x.change[i] == x.nr)
			x.priority[x.nodes[x.nr - 1].thread] = i;
	for (unsigned t = 0; t < HF_THREADS; t++)
		if (n->enabled >> t & 1 && x.priority[t] > x.priority[best])
			best = t;
	return best;
}

static unsigned choose_replayed(struct node *n)
{
	const struct hf_turn *turn = &x.turns[x.turn];

	if (x.turn == x.nr_turns)
		return prefer_last(n->enabled);
	if (!(n->enabled >> turn->thread & 1))
		hf_fail("the schedule does not fit: %c cannot go on at operation %zu",
			hf_thread_letter(turn->thread), x.nr + 1);
	n->choice = turn->choice;
	if (++x.taken == turn->times) {
		x.turn++;
		x.taken = 0;
	}
	return turn->thread;
}

unsigned hf_strategy_pick(uint32_t enabled, bool inside)
{
	struct node *n = &x.nodes[x.nr];

	if (x.nr == HF_MAX_OPERATIONS)
		hf_fail("no end after %d operations", HF_MAX_OPERATIONS);
	if (x.nr >= x.fixed) {
		*n = (struct node){ .enabled = enabled, .nr_choices = 1, .inside = inside };
		n->sleep = x.loose || x.strategy != HF_EXPLORE_ALL ? 0 : still_asleep();
		for (unsigned t = 0; t < HF_THREADS; t++)
			if (enabled >> t & 1)
				n->about[t] = about_pending(t);
			else if (n->sleep >> t & 1)
				n->about[t] = x.nodes[x.nr - 1].about[t];
		n->thread = (uint8_t)(x.strategy == HF_EXPLORE_RANDOM   ? choose_random(n)
				      : x.strategy == HF_EXPLORE_REPLAY ? choose_replayed(n)
				      : x.loose                         ? prefer_last(enabled)
									: choose_new(n));
	}
	n->preemptions = (uint8_t)preemptions_with(n->thread);
	x.nr++;
	return n->thread;
}

unsigned hf_strategy_choose(unsigned nr)
{
	struct node *n = &x.nodes[x.nr - 1];

	if (x.strategy == HF_EXPLORE_RANDOM)
		n->choice = (uint8_t)(next_random() % nr);
	n->nr_choices = (uint8_t)nr;
	return n->choice < nr ? n->choice : 0;
}

/* ---- races ---- */

static bool before(const struct hf_event *a, const struct hf_event *b)
{
	return b->clock.of[a->thread] >= a->nr;
}

/* The threads that could come first, were what follows `from` without depending on it, and then
 * `to`, to happen before it. */
static uint32_t initials(int32_t from, int32_t to, unsigned *first)
{
	uint32_t begun[HF_THREADS] = { 0 }; /* number of the thread's first event in between */
	uint32_t found = 0;
	bool any = false;

	for (int32_t i = from + 1; i <= to; i++) {
		const struct hf_event *e = &hf_m.events[i];
		bool initial = true;

		if (i < to && before(&hf_m.events[from], e))
			continue;
		if (begun[e->thread])
			continue;
		for (unsigned t = 0; t < HF_THREADS; t++)
			initial &= t == e->thread || !begun[t] || e->clock.of[t] < begun[t];
		begun[e->thread] = e->nr;
		if (!initial)
			continue;
		found |= 1u << e->thread;
		if (!any)
			*first = e->thread;
		any = true;
	}
	return found;
}

static void reverse(int32_t from, int32_t to)
{
	unsigned thread, first = 0;
	struct node *n;
	uint32_t found;

	if (x.strategy != HF_EXPLORE_ALL || x.loose || to + 1 < (int32_t)x.fixed)
		return;
	while (x.nodes[from].inside)
		from--;
	n = &x.nodes[from];
	found = initials(from, to, &first);
	if (found & (n->backtrack | n->sleep))
		return;
	thread = hf_m.events[to].thread;
	if (!(found >> thread & 1))
		thread = first;
	n->backtrack |= n->enabled >> thread & 1 ? 1u << thread : n->enabled;
}

static void consider(int32_t earlier, int32_t event, const struct hf_clock *known)
{
	const struct hf_event *e = &hf_m.events[earlier];

	if (known->of[e->thread] < e->nr)
		reverse(earlier, event);
}

static void join(struct hf_event *e, int32_t earlier)
{
	const struct hf_event *o = &hf_m.events[earlier];

	hf_join_clock(&e->clock, &o->clock);
	if (o->thread % HF_ARMS == e->thread % HF_ARMS)
		return;
	hf_site_met(o->site);
	hf_site_met(e->site);
}

static bool takes_lock(uint8_t kind)
{
	return kind == HF_OP_LOCK || kind == HF_OP_READ_LOCK || kind == HF_OP_WRITE_LOCK;
}

/* A lock is taken before or after another takes it; when it is given back is no choice. */
static void lock_races(struct hf_event *e, int32_t event)
{
	struct hf_clock known = e->clock;
	bool ended = false;

	for (int32_t i = hf_object(e->object)->last; i >= 0 && !ended; i = hf_m.events[i].before) {
		const struct hf_event *o = &hf_m.events[i];

		if (reads_lock(e->kind) && reads_lock(o->kind))
			continue;
		if (takes_lock(o->kind) && takes_lock(e->kind))
			consider(i, event, &known);
		join(e, i);
		ended = takes_lock(o->kind) && !reads_lock(o->kind);
	}
}

static void access_races(struct hf_event *e, int32_t event)
{
	uint32_t down = downward(e->delta);

	for (int32_t i = hf_object(e->object)->last; i >= 0; i = hf_m.events[i].before) {
		const struct hf_event *o = &hf_m.events[i];

		if (!e->writes && !o->writes && !(e->counts && o->counts))
			continue;
		if (e->counts && o->counts && hf_m.model != HF_MEMORY_RC11) {
			down += o->writes ? downward(o->delta) : 0;
			if (o->count > down)
				continue;
		}
		consider(i, event, &e->clock);
		join(e, i);
		if (o->writes && !o->counts)
			return;
	}
}

static void free_races(struct hf_event *e, int32_t event)
{
	for (int32_t i = *hf_heap_last(e->block); i >= 0; i = hf_m.events[i].before_block) {
		consider(i, event, &e->clock);
		join(e, i);
	}
}

static void section_races(struct hf_event *e, int32_t event)
{
	struct about me = about_event(e);

	for (int32_t i = hf_object(e->object)->last; i >= 0; i = hf_m.events[i].before) {
		struct about other = about_event(&hf_m.events[i]);

		if (!depend(&me, &other))
			continue;
		consider(i, event, &e->clock);
		join(e, i);
	}
}

void hf_strategy_event(int32_t event)
{
	struct hf_event *e = &hf_m.events[event];

	if (e->object == HF_NO_BLOCK)
		return;
	if (e->kind == HF_OP_FREE) {
		free_races(e, event);
		return;
	}
	switch (family_of(e->kind)) {
	case ACCESS:
		access_races(e, event);
		break;
	case LOCKS:
		lock_races(e, event);
		break;
	case RCU:
	case TLB:
		section_races(e, event);
		break;
	default:
		break;
	}
}

/* ---- the next execution ---- */

bool hf_dpor_next(void)
{
	if (x.longest < x.nr)
		x.longest = x.nr;
	if (x.strategy == HF_EXPLORE_RANDOM)
		return true;
	if (x.strategy == HF_EXPLORE_REPLAY)
		return false;
	while (x.nr) {
		struct node *n = &x.nodes[x.nr - 1];
		uint32_t left;

		if (n->choice + 1 < n->nr_choices) {
			n->choice++;
			break;
		}
		n->sleep |= 1u << n->thread;
		left = n->backtrack & ~n->sleep;
		if (left) {
			n->thread = (uint8_t)lowest(left);
			n->choice = 0;
			n->nr_choices = 1;
			break;
		}
		x.nr--;
	}
	x.fixed = x.nr;
	return x.nr;
}

/* ---- schedules as text ---- */

char hf_thread_letter(unsigned thread)
{
	return (char)(thread < HF_ARMS ? 'a' + thread : 'A' + thread - HF_ARMS);
}

void hf_dpor_schedule(char *text, size_t len)
{
	size_t at = 0;

	text[0] = 0;
	for (size_t i = 0, n; i < x.nr; i += n) {
		const struct node *node = &x.nodes[i];

		for (n = 1; i + n < x.nr && x.nodes[i + n].thread == node->thread &&
			    !node->choice && !x.nodes[i + n].choice;
		     n++)
			;
		if (at + 24 >= len)
			return;
		at += (size_t)sprintf(text + at, "%c%zu", hf_thread_letter(node->thread), n);
		if (node->choice)
			at += (size_t)sprintf(text + at, ".%u", node->choice);
	}
}

int hf_schedule_parse(const char *text, struct hf_turn *turns, size_t max)
{
	size_t nr = 0;

	for (char *end; *text; text = end, nr++) {
		bool drain = *text >= 'A' && *text < 'A' + HF_ARMS;

		if (nr == max || (!drain && (*text < 'a' || *text >= 'a' + HF_ARMS)))
			return -1;
		turns[nr].thread = (uint8_t)(drain ? *text - 'A' + HF_ARMS : *text - 'a');
		turns[nr].times = strtoul(text + 1, &end, 10);
		turns[nr].choice = 0;
		if (end == text + 1 || !turns[nr].times)
			return -1;
		if (*end == '.')
			turns[nr].choice = (uint8_t)strtoul(end + 1, &end, 10);
	}
	return (int)nr;
}
