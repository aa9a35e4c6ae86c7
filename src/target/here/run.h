/* SPDX-License-Identifier: MIT */
/*
 * A run of a scenario on the running kernel, between the files that share the work: process.c
 * (starting, waiting, ending), call.c (steps in processes), reference.c (references and devices),
 * par.c (par blocks), here.c (the target).
 */
#ifndef HF_HERE_RUN_H
#define HF_HERE_RUN_H

#include "../../scenario/target.h"
#include "../common/swap.h"
#include "stage.h"

/* Buffers lie here, far from everything else in a process. */
#define HF_HERE_BASE 0x200000000000ul
#define HF_HERE_SPACING (1ul << 24)

#define HF_ONE_TEST_PIN "the kernel's gup_test holds one pin at a time"

struct hf_process {
	pid_t pid; /* 0: not there */
	int pidfd;
};

struct hf_place {
	uint64_t addr;
	size_t size;   /* the buffer's */
	size_t extent; /* of the mapping: whole folios */
	bool shaped;   /* what the kind does after the first write was done */
};

struct hf_here_run {
	struct hf_powers powers;
	struct hf_kernel_swap *swap; /* the target's */
	bool *quiet;                 /* the target's: what makes noise is off */
	const struct hf_scenario *scn;
	struct hf_stage stage;
	struct hf_process proc[HF_SCN_MAX_PROCS];
	pid_t started[HF_SCN_MAX_PROCS]; /* in order: parents before children */
	size_t nr_started;
	struct hf_place place[HF_SCN_MAX_PROCS][HF_SCN_MAX_BUFS];
	uint64_t next_place; /* where the next remap goes */
};

void hf_say(struct hf_obs *obs, int status, const char *reason);

/* ---- process.c ---- */

/* A process of the beginning. 0 or negative errno. */
int hf_start_process(struct hf_here_run *r, int proc);
/* One that was forked by another. */
int hf_adopt_process(struct hf_here_run *r, int proc, pid_t pid);
void hf_forget_process(struct hf_here_run *r, int proc);
void hf_end_processes(struct hf_here_run *r);
/*
 * Serves the FUSE files until `fd` has something to read (0), or `other` has (1), or the file of
 * `held` holds a read (1), or the process is gone (-ESRCH), or the time is up (-ETIMEDOUT). `other`
 * may be -1 and `held` NULL.
 */
int hf_wait_for(struct hf_here_run *r, int proc, int fd, int other, const struct hf_fuse *held);
/* Lets a process begin with what its box says;
 * waits until it has done it; both. 0 or the error of the harness. */
int hf_wake(struct hf_here_run *r, int proc);
int hf_hear(struct hf_here_run *r, int proc);
int hf_call(struct hf_here_run *r, int proc);
/* Makes an error of the harness an error cell. */
void hf_harness_failed(struct hf_here_run *r, int proc, int err, struct hf_obs *obs);

/* ---- call.c ---- */

/* How many bytes a step acts on: a whole buffer is its whole mapping. */
size_t hf_here_reach(const struct hf_here_run *r, const struct hf_step *st);
void hf_fill_box(struct hf_here_run *r, const struct hf_step *st, struct hf_call_box *box);
/* What the box says came out. */
void hf_report(const struct hf_call_box *box, struct hf_obs *obs);
void hf_take_over_child(struct hf_here_run *r, const struct hf_step *st, pid_t pid,
			struct hf_obs *obs);
void hf_call_step(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs);
void hf_step_exit(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs);

/* ---- reference.c ---- */

/* A pin that gup_test holds, of another reference. */
bool hf_test_pin_held(const struct hf_here_run *r, int but);
void hf_step_take(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs);
void hf_step_release(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs);
void hf_step_device(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs);

/* ---- par.c ---- */

void hf_here_par(void *run, const struct hf_par *par, struct hf_obs *obs);

#endif
