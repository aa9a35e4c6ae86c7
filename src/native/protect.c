/* SPDX-License-Identifier: MIT */
/*
 * Protecting what a snapshot shares: runs of units, a call each, by several threads if it is much.
 *
 * A call costs as much as some pages more, and as hundreds where other threads run, for then each
 * one interrupts their CPUs. So there runs of small units that are near each other become one: what
 * lies between is protected already. How near, the quickest of the first short calls tells.
 */
#include "internal.h"

#include <errno.h>

#define SHARE_WORDS 128        /* what a thread takes at a time: 32 MiB of small pages */
#define MUCH (SHARE_WORDS * 2) /* words: less is done sooner than others are awake */
#define LONG_RUN 128           /* units: in shorter ones threads disturb each other too much */
#define PROBES 16              /* calls for short runs that are measured */
#define SHORT_RUN 8            /* units */
#define GAP_NS 1400            /* what units between two runs cost a call more, looked at, */
#define UNIT_NS 40             /* and each of them */
#define NEAR_MAX 512

struct run {
	size_t first, end; /* units */
};

/* What one thread does. */
struct protection {
	struct hf_native *space;
	struct run run; /* not protected yet */
	size_t near;    /* units between two runs that become one */
	unsigned probes;
	uint64_t call_ns; /* the quickest call for a short run */
};

static int protect_units(struct protection *p, size_t nr)
{
	struct hf_tree *tree = p->space->tree;

	hf_assert(nr && p->run.first + nr <= tree->nr_units);
	atomic_fetch_add_explicit(&tree->protect_calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&tree->protected_units, nr, memory_order_relaxed);
	return hf_userfault_protect(&tree->files, hf_unit_addr(p->space, p->run.first),
				    nr << tree->unit_shift);
}

/* The quickest of the first short ones tells what a call costs here and now. */
static int probe_units(struct protection *p, size_t nr)
{
	uint64_t start = hf_now_ns(), ns;
	int err = protect_units(p, nr);
	size_t near;

	ns = hf_now_ns() - start;
	p->call_ns = ns < p->call_ns ? ns : p->call_ns;
	if (++p->probes < PROBES)
		return err;
	near = p->call_ns > GAP_NS ? (p->call_ns - GAP_NS) / UNIT_NS : 0;
	p->near = near > NEAR_MAX ? NEAR_MAX : near;
	return err;
}

static int protect_run(struct protection *p)
{
	size_t nr = p->run.end - p->run.first;

	if (!nr)
		return 0;
	if (p->probes < PROBES && nr <= SHORT_RUN && p->space->tree->unit_shift == 12)
		return probe_units(p, nr);
	return protect_units(p, nr);
}

/* Whether [unit, end) is there, none of it must stay writable, and it is protected: what is not has
 * changed unseen, and must not look as if it had not. */
static bool may_protect(struct hf_native *space, size_t unit, size_t end)
{
	if (unit < end && !hf_all_protected(space, unit, end))
		return false;
	while (unit < end) {
		size_t word = unit / HF_WORD_UNITS, next = (word + 1) * HF_WORD_UNITS;
		size_t nr = (next < end ? next : end) - unit;
		uint64_t mask = hf_units_mask(unit % HF_WORD_UNITS, nr);

		if (mask & ~atomic_load_explicit(&space->populated[word], memory_order_relaxed) ||
		    mask & atomic_load_explicit(&space->held[word], memory_order_relaxed))
			return false;
		unit += nr;
	}
	return true;
}

/* Adds units to the run, or protects it and begins another. */
static int extend(struct protection *p, size_t first, size_t nr)
{
	int err = 0;

	hf_assert(nr && first >= p->run.end);
	if (p->run.end == p->run.first || first - p->run.end > p->near ||
	    !may_protect(p->space, p->run.end, first)) {
		err = protect_run(p);
		p->run.first = first;
	}
	p->run.end = first + nr;
	return err;
}

static int protect_words(struct hf_native *space, size_t word, size_t end)
{
	struct protection p = { .space = space, .call_ns = UINT64_MAX };
	int err = 0;

	hf_assert(hf_gate_is_closed(&space->tree->gate)); /* a helper has not closed it */
	hf_assert(end <= space->tree->nr_words);
	for (; word < end && !err; word++) {
		uint64_t todo = space->todo[word] & hf_word_mask(space->tree, word);

		space->todo[word] = 0;
		while (todo && !err) {
			size_t from = (size_t)__builtin_ctzll(todo);
			uint64_t rest = ~(todo >> from);
			size_t nr = rest ? (size_t)__builtin_ctzll(rest) : 64;

			nr = nr < 64 - from ? nr : 64 - from;
			err = extend(&p, word * HF_WORD_UNITS + from, nr);
			todo = from + nr == 64 ? 0 : todo >> (from + nr) << (from + nr);
		}
	}
	return err ? err : protect_run(&p);
}

static void take_shares(struct hf_helpers *helpers)
{
	struct hf_native *space = helpers->space;
	size_t nr_words = space->tree->nr_words, word;

	while ((word = atomic_fetch_add(&helpers->next, SHARE_WORDS)) < nr_words) {
		size_t end = word + SHARE_WORDS < nr_words ? word + SHARE_WORDS : nr_words;
		int err = protect_words(space, word, end);

		if (err)
			atomic_store(&helpers->err, err);
	}
}

static void *help(void *arg)
{
	struct hf_helpers *helpers = arg;
	uint32_t round = 0;

	for (;;) {
		while (atomic_load(&helpers->round) == round)
			hf_futex_wait(&helpers->round, round);
		round++;
		if (atomic_load(&helpers->stop))
			return NULL;
		take_shares(helpers);
		if (atomic_fetch_sub(&helpers->busy, 1) == 1)
			hf_futex_wake(&helpers->busy);
	}
}

static void begin_round(struct hf_helpers *helpers)
{
	atomic_store(&helpers->busy, helpers->nr);
	atomic_fetch_add(&helpers->round, 1);
	hf_futex_wake(&helpers->round);
}

static int protect_together(struct hf_helpers *helpers, struct hf_native *space)
{
	uint32_t busy;

	helpers->space = space;
	atomic_store(&helpers->next, 0);
	atomic_store(&helpers->err, 0);
	begin_round(helpers);
	take_shares(helpers);
	while ((busy = atomic_load(&helpers->busy)))
		hf_futex_wait(&helpers->busy, busy);
	return atomic_load(&helpers->err);
}

/* Whether it is much, and not here and there. */
static bool is_worth_help(const struct hf_native *space)
{
	size_t words = 0, units = 0, runs = 0;

	for (size_t word = 0; word < space->tree->nr_words; word++) {
		uint64_t todo = space->todo[word];

		words += todo != 0;
		units += (size_t)__builtin_popcountll(todo);
		runs += (size_t)__builtin_popcountll(todo & ~(todo << 1));
		/* one that goes on from the word before */
		runs -= word && todo & 1 && space->todo[word - 1] >> 63;
	}
	return words > MUCH && units >= LONG_RUN * runs;
}

int hf_protect(struct hf_native *space)
{
	struct hf_helpers *helpers = &space->tree->helpers;

	hf_assert_closed(&space->tree->gate);
	if (helpers->nr && is_worth_help(space))
		return protect_together(helpers, space);
	return protect_words(space, 0, space->tree->nr_words);
}

int hf_helpers_start(struct hf_tree *tree, unsigned nr)
{
	struct hf_helpers *helpers = &tree->helpers;
	int err = 0;

	if (!nr)
		return 0;
	helpers->threads = hf_zalloc(nr * sizeof(helpers->threads[0]));
	if (!helpers->threads)
		return -ENOMEM;
	helpers->room = nr;
	while (helpers->nr < nr && !err) {
		err = hf_files_thread(&tree->files, &helpers->threads[helpers->nr], help, helpers);
		helpers->nr += !err;
	}
	return err;
}

void hf_helpers_stop(struct hf_helpers *helpers)
{
	if (!helpers->threads)
		return;
	atomic_store(&helpers->stop, 1);
	begin_round(helpers);
	for (unsigned i = 0; i < helpers->nr; i++)
		pthread_join(helpers->threads[i], NULL);
	hf_zfree(helpers->threads, helpers->room * sizeof(helpers->threads[0]));
}
