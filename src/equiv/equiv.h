/* SPDX-License-Identifier: MIT */
/*
 * Engine and kernel side by side: random histories run on both, step for step, and what can be seen
 * of every page is compared after each.
 */
#ifndef HF_EQUIV_H
#define HF_EQUIV_H

#include "../scenario/target.h"

/* What the two do not agree in. */
enum hf_difference {
	HF_SAME,
	HF_DIFF_STATUS,    /* one step fails, or fails in another way */
	HF_DIFF_DATA,      /* what a process or a device reads */
	HF_DIFF_PRESENT,   /* whether there is a page, or it is moved out */
	HF_DIFF_FRAME,     /* whether the step gave it another frame: reuse or copy */
	HF_DIFF_SHARED,    /* who has a frame together with whom */
	HF_DIFF_EXCLUSIVE, /* the mark */
	HF_DIFF_END,       /* what is left at the end of a run */
};

extern const char *const hf_difference_names[];

/* One of them, as small as it gets. */
struct hf_equiv_found {
	enum hf_difference what;
	uint64_t history;  /* by its number */
	unsigned steps;    /* of the history, when it is shrunk */
	unsigned times;    /* so many histories came to this one */
	bool steady;       /* it came again when the history was run again */
	const char *text;  /* a scenario */
	const char *words; /* "line 6: C mem@0 ..." */
};

struct hf_equiv_options {
	const char *policy;
	enum hf_kind kind;
	uint64_t seed;
	uint64_t first, count; /* histories, by number */
	unsigned most;         /* different differences; then it ends */
	uint64_t without;      /* operations, as in struct hf_hist_limits */
	const volatile sig_atomic_t *stop;
	void (*progress)(void *arg, const struct hf_equiv_result *so_far); /* every second */
	void (*found)(void *arg, const struct hf_equiv_found *found);
	void (*note)(void *arg, const char *text); /* what is left out, and why */
	void *arg;
};

struct hf_equiv_result {
	uint64_t histories, steps; /* that were run and compared */
	uint64_t skipped;          /* histories that the kernel cannot run */
	uint64_t differences;      /* histories that differ */
	double seconds;
};

/* Memory that engine and kernel both have, and that histories can be about. */
bool hf_equiv_kind_ok(enum hf_kind kind);
/* Runs the histories on the policy and on `t`. 0, or negative errno: -ENOMEM, -EINVAL (policy),
 * -ENOTSUP (`t` cannot be looked into; a note says why), -EINTR (`stop`). */
int hf_equiv(struct hf_target *t, const struct hf_equiv_options *options,
	     struct hf_equiv_result *result);

#endif
