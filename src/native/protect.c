/* SPDX-License-Identifier: MIT */
/* Protecting what a snapshot shares: runs of units, a call each, by several threads if it is much.
 */
#include "internal.h"

#include <errno.h>

#define SHARE_WORDS 128        /* what a thread takes at a time: 32 MiB of small pages */
#define MUCH (SHARE_WORDS * 2) /* words: less is done sooner than others are awake */

struct run {
	size_t first, end; /* units */
};

static int protect_run(struct hf_native *space, const struct run *run)
{
	struct hf_tree *tree = space->tree;
	size_t nr = run->end - run->first;

	atomic_fetch_add_explicit(&tree->protect_calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&tree->protected_units, nr, memory_order_relaxed);
	return hf_userfault_protect(tree->fd, hf_unit_addr(space, run->first),
				    nr << tree->unit_shift);
}

/* Adds units to the run, or protects it and begins another. */
static int extend(struct hf_native *space, struct run *run, size_t first, size_t nr)
{
	int err = 0;

	if (run->end == first && run->end > run->first) {
		run->end += nr;
		return 0;
	}
	if (run->end > run->first)
		err = protect_run(space, run);
	*run = (struct run){ first, first + nr };
	return err;
}

static int protect_words(struct hf_native *space, size_t word, size_t end)
{
	struct run run = { 0, 0 };
	int err = 0;

	for (; word < end && !err; word++) {
		uint64_t todo = space->todo[word] & hf_word_mask(space->tree, word);

		space->todo[word] = 0;
		while (todo && !err) {
			size_t from = (size_t)__builtin_ctzll(todo);
			uint64_t rest = ~(todo >> from);
			size_t nr = rest ? (size_t)__builtin_ctzll(rest) : 64;

			nr = nr < 64 - from ? nr : 64 - from;
			err = extend(space, &run, word * HF_WORD_UNITS + from, nr);
			todo = from + nr == 64 ? 0 : todo >> (from + nr) << (from + nr);
		}
	}
	if (!err && run.end > run.first)
		err = protect_run(space, &run);
	return err;
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

int hf_protect(struct hf_native *space)
{
	struct hf_helpers *helpers = &space->tree->helpers;
	size_t nr_words = space->tree->nr_words, words = 0;

	if (helpers->nr) {
		for (size_t word = 0; word < nr_words; word++)
			words += space->todo[word] != 0;
	}
	if (words > MUCH)
		return protect_together(helpers, space);
	return protect_words(space, 0, nr_words);
}

int hf_helpers_start(struct hf_helpers *helpers, unsigned nr)
{
	sigset_t old;
	int err = 0;

	if (!nr)
		return 0;
	helpers->threads = hf_zalloc(nr * sizeof(helpers->threads[0]));
	if (!helpers->threads)
		return -ENOMEM;
	helpers->room = nr;
	hf_signals_block(&old);
	while (helpers->nr < nr && !err) {
		err = pthread_create(&helpers->threads[helpers->nr], NULL, help, helpers);
		helpers->nr += !err;
	}
	hf_tree_leave(&old);
	return -err;
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
