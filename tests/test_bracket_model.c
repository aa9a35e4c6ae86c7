/* SPDX-License-Identifier: MIT */
/*
 * The barrier of bracketed spaces (src/native/bracket.c) as a small program, explored whole under
 * each memory model: two threads with a bracket each on the same unit, and one that takes a
 * snapshot and reads it while they store. What it reads is what was there at the instant. Each
 * thing that the argument there counts on is then taken away, and must be missed.
 *
 * The explorer has no fences. Where the code has one on both sides, all four accesses are seq_cst
 * here; a release fence and a store are a store that releases, a load and an acquire fence one that
 * acquires. All are as strong as what the code has, or weaker.
 */
#include "../src/explore/dpor.h"
#include "../src/scenario/arms.h"

#include <holdfast/hosted.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum part {
	NOTHING,
	COUNT_BEFORE_LOOK, /* the bracket counts itself, and then looks at the bar */
	FENCES,            /* neither side misses the other */
	WAIT,              /* the snapshot waits for open brackets */
	STEP_BACK,         /* a bracket that meets the bar starts again */
	FRAME_BEFORE_MARK, /* the old bytes have their frame when the mark comes */
	RELEASE_OF_STORE,  /* who reads the store finds the frame */
	LOOK_AFTER_COPY,   /* a reader looks for the frame after it has copied */
	NR_PARTS
};

static enum part without;
static _Atomic uint64_t open_brackets[2], barred, exclusive, frame, live;
static struct hf_lock word_lock;
static uint64_t instant, was_read;

static void relax(void)
{
	hf_platform_hosted()->relax(NULL);
}

/* ---- a bracket ---- */

static bool may_pass(int self)
{
	bool bar;

	if (without == FENCES) {
		hf_st(&open_brackets[self], 1, release);
		return !hf_ld(&barred, acquire);
	}
	if (without == COUNT_BEFORE_LOOK) {
		bar = hf_ld(&barred, seq_cst);
		hf_st(&open_brackets[self], 1, seq_cst);
		return !bar;
	}
	hf_st(&open_brackets[self], 1, seq_cst);
	return !hf_ld(&barred, seq_cst);
}

static void begin(int self)
{
	while (!may_pass(self) && without != STEP_BACK) {
		hf_st(&open_brackets[self], 0, release);
		while (hf_ld(&barred, acquire))
			relax();
	}
}

static void preserve(void)
{
	hf_platform_hosted()->lock(NULL, &word_lock);
	if (!hf_ld(&exclusive, relaxed)) {
		if (without == FRAME_BEFORE_MARK)
			hf_st(&exclusive, 1, release);
		hf_st(&frame, hf_ld(&live, relaxed) + 1, release);
		if (without != FRAME_BEFORE_MARK)
			hf_st(&exclusive, 1, release);
	}
	hf_platform_hosted()->unlock(NULL, &word_lock);
}

static void store_in_a_bracket(int self)
{
	begin(self);
	if (!hf_ld(&exclusive, acquire))
		preserve();
	if (without == RELEASE_OF_STORE)
		hf_st(&live, 2, relaxed);
	else
		hf_st(&live, 2, release);
	hf_st(&open_brackets[self], 0, release);
}

static void first_writer(void)
{
	store_in_a_bracket(0);
}

static void second_writer(void)
{
	store_in_a_bracket(1);
}

/* ---- a snapshot ---- */

static void wait_for(int writer)
{
	if (without == FENCES)
		while (hf_ld(&open_brackets[writer], acquire))
			relax();
	else
		while (hf_ld(&open_brackets[writer], seq_cst))
			relax();
}

static void take(void)
{
	if (without == FENCES)
		hf_st(&barred, 1, release);
	else
		hf_st(&barred, 1, seq_cst);
	for (int w = 0; w < 2 && without != WAIT; w++)
		wait_for(w);
	instant = hf_ld(&live, relaxed);
	hf_st(&exclusive, 0, relaxed);
	hf_st(&barred, 0, release);
}

static void take_and_read(void)
{
	uint64_t copy, kept;

	take();
	if (without == LOOK_AFTER_COPY) {
		kept = hf_ld(&frame, acquire);
		copy = hf_ld(&live, acquire);
	} else {
		copy = hf_ld(&live, acquire);
		kept = hf_ld(&frame, acquire);
	}
	was_read = kept ? kept - 1 : copy;
}

/* ---- all orders ---- */

static void (*const arms[])(void) = { first_writer, second_writer, take_and_read };

static void run_arm(void *arg)
{
	void (*const *arm)(void) = arg;

	(*arm)();
}

static void run_all(void *arg)
{
	void *args[] = { (void *)&arms[0], (void *)&arms[1], (void *)&arms[2] };

	(void)arg;
	hf_run_arms(3, run_arm, args);
}

/* Executions; 0: in one of them something else than the instant was read. */
static uint64_t explore(enum hf_memory_model model, enum part part)
{
	uint64_t executions = 0;

	without = part;
	hf_m.model = model;
	hf_mutate(NULL, NULL);
	hf_dpor_start(HF_EXPLORE_ALL, 100, 1);
	do {
		hf_machine_reset();
		hf_dpor_begin();
		open_brackets[0] = open_brackets[1] = barred = frame = 0;
		exclusive = live = 1;
		hf_platform_hosted()->lock_init(NULL, &word_lock);
		if (!hf_machine_guard(run_all, NULL))
			fail_msg("%s", hf_m.failure.text);
		if (hf_dpor_was_redundant())
			continue;
		executions++;
		if (was_read != instant)
			return 0;
	} while (hf_dpor_next());
	return executions;
}

static void a_snapshot_is_its_instant(void **state)
{
	(void)state;
	for (int m = 0; m < HF_NR_MEMORY_MODELS; m++) {
		uint64_t executions = explore((enum hf_memory_model)m, NOTHING);

		assert_true(executions);
		print_message("# %s: %llu executions\n", hf_memory_names[m],
			      (unsigned long long)executions);
	}
}

/* Under the weakest of the models, at least. */
static void nothing_can_be_left_out(void **state)
{
	(void)state;
	for (int part = NOTHING + 1; part < NR_PARTS; part++) {
		bool missed = false;

		for (int m = 0; m < HF_NR_MEMORY_MODELS; m++)
			missed |= !explore((enum hf_memory_model)m, (enum part)part);
		if (!missed)
			fail_msg("nobody misses part %d", part);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_snapshot_is_its_instant),
		cmocka_unit_test(nothing_can_be_left_out),
	};

	return cmocka_run_group_tests_name("bracket model", tests, NULL, NULL);
}
