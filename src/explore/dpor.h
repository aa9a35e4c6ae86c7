/* SPDX-License-Identifier: MIT */
/* The strategies: which execution comes next, and whose turn it is in it. */
#ifndef HF_DPOR_H
#define HF_DPOR_H

#include "internal.h"

/* A thread's next operations, and what the last of them sees. */
struct hf_turn {
	uint8_t thread, choice;
	size_t times;
};

void hf_dpor_start(enum hf_strategy strategy, unsigned bound, uint64_t seed);
/* For HF_EXPLORE_REPLAY. */
void hf_dpor_replay(const struct hf_turn *turns, size_t nr);
/* Around each execution; false: there is none left. */
void hf_dpor_begin(void);
bool hf_dpor_next(void);
/* What this execution does from some point on, an earlier one did. */
bool hf_dpor_was_redundant(void);
/* This execution's schedule: for each run of operations a letter for the arm, how many, and after
 * a point which value was seen, if not the newest. Capitals are store buffers. */
void hf_dpor_schedule(char *text, size_t len);
/* How many turns; -1: it is no schedule. */
int hf_schedule_parse(const char *text, struct hf_turn *turns, size_t max);
char hf_thread_letter(unsigned thread);

#endif
