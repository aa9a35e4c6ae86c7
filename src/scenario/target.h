/* SPDX-License-Identifier: MIT */
/*
 * What a scenario runs on. A target carries out steps and reports what it saw; it never judges. The
 * runner (run.c) feeds it step by step and shows the observations to the oracle (oracle.c).
 */
#ifndef HF_TARGET_H
#define HF_TARGET_H

#include "scenario.h"

#include <signal.h>

#define HF_REASON_LEN 200

/* What one step showed. The runner provides `data`
 * with room for hi - lo bytes for steps that read. */
struct hf_obs {
	int status; /* 0, negative errno of a step that failed, or one of HF_OBS_* below */
	/* Bytes seen by read, check, process_vm read, ptrace read, device read/check, and by
	 * `device: finish` of an odirect write (what the device read). */
	uint8_t *data;
	size_t len;  /* bytes in data; 0 for steps that read nothing */
	size_t done; /* of an access that failed: the bytes from `lo` on that it did */
	/* The runner's, in par blocks: the step is on what is not there, such as the reference of a
	 * `maybe` that failed; the target passes it by. */
	bool left_out;
	char reason[HF_REASON_LEN]; /* skip, error, bug: why, in words */
};

#define HF_OBS_SKIP 1  /* the target cannot do this step; `reason` says why: the cell is `skip` */
#define HF_OBS_ERROR 2 /* the harness failed (crash, hang, no memory): the cell is `error` */
#define HF_OBS_BUG 3   /* an invariant or the unpin check broke: the cell is `bug` */

/* For --trace: the state of one page of a process.
 * Fields a target cannot know are -1 (flags) or UINT64_MAX (pfn). */
struct hf_page_state {
	uint64_t pfn;
	int present, swapped, writable, exclusive, zeropage;
	bool file; /* of a file's page cache */
	int refs, pins, mapcount;
	bool mark_of_head; /* `exclusive` is that of the folio's first page */
};

struct hf_target;
struct hf_batch;
struct hf_equiv_options; /* src/equiv */
struct hf_equiv_result;

struct hf_target_ops {
	/* Prepares a run of one scenario.
	 * Non-zero: obs says why (status is HF_OBS_SKIP or HF_OBS_ERROR). */
	int (*begin)(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
		     void **run, struct hf_obs *obs);
	/* Carries out one step other than par. */
	void (*step)(void *run, const struct hf_step *step, struct hf_obs *obs);
	/* Carries out a par block: arms truly concurrent; obs is arms x steps in order of
	 * appearance. Each arm stops at its first failing step; later ones get status
	 * -ECANCELED. */
	void (*par)(void *run, const struct hf_par *par, struct hf_obs *obs);
	/* Page state for --trace, after a step. Non-zero if there
	 * is no such page (unmapped buffer, dead process). */
	int (*page)(void *run, int proc, int buf, unsigned page, struct hf_page_state *state);
	/* For those who compare pages: brings to an end what the last step left to be done later
	 * (pages in per-CPU batches), and turns off what comes between steps. NULL: there is no
	 * such thing. */
	void (*settle)(void *run);
	/* Ends the run: releases all that is left (processes, references, mounts). obs->status
	 * HF_OBS_BUG if what is left is wrong (engine: a leaked frame, a broken invariant); may be
	 * called after any step. */
	void (*end)(void *run, struct hf_obs *obs);
	/* Instead of all of the above, for targets that take long to start: runs many cells. NULL:
	 * cells are run one by one. */
	void (*batch)(struct hf_target *t, struct hf_batch *batch);
	/* hf_equiv() for targets that have `batch`: the whole of it runs there. */
	int (*equiv)(struct hf_target *t, const struct hf_equiv_options *options,
		     struct hf_equiv_result *result);
	/* Frees the target. */
	void (*free)(struct hf_target *t);
};

struct hf_target {
	const struct hf_target_ops *ops;
	const char *name; /* as the user wrote it */
	/* Whose expect lines hold when none names `name`: "here" has its kernel's era; may be
	 * NULL. */
	const char *expect;
	const char *rules;   /* the policy that the kernel is compared with; may be NULL */
	bool wrprotects_all; /* wrprotect is by soft-dirty bits: it goes for all of a process */
	char detail[128];    /* "Linux 6.18.44 x86_64" for messages; may be empty */
};

/* Cells that a target runs at once. Never fails: trouble is `error` cells, and so are those that
 * `stop`, which may be NULL, leaves over. */
struct hf_batch {
	struct hf_cell **cells; /* as hf_cell_init() left them */
	size_t nr;
	bool trace;
	const volatile sig_atomic_t *stop;
	void (*done)(void *arg, const struct hf_cell *cell); /* after each */
	void (*note)(void *arg, const char *text);           /* what a user should know */
	void *arg;
};

/* ---- the runner ---- */

/* Does the step make a reference? */
bool hf_step_makes_ref(const struct hf_step *st);
/* Is a release one of this reference: by the call of its kind, and, but for `release` of what is a
 * file's (a pipe, a ring), by the process that took it? Else every target says EINVAL. */
bool hf_step_fits_ref(const struct hf_step *st, const struct hf_step *maker);
/* Room that its observation needs: what it reads; 0: nothing. */
size_t hf_step_read_size(const struct hf_scenario *scn, const struct hf_step *st);

struct hf_cell_step {
	int line;
	char *text;
	char *result; /* "ok", "EFAULT", "0x11", "void" ... */
	char *pages;  /* --trace: one line per mapped page, or NULL */
};

struct hf_cell {
	const struct hf_scenario *scn;
	enum hf_kind kind;
	const char *target;
	enum hf_verdict verdict;
	unsigned expected; /* verdict bits; 0: no line, the oracle decides */
	char detail[320];  /* plain words: what went wrong, at which line */
	struct hf_cell_step *steps;
	size_t nr_steps;
	char *console; /* what the kernel said when it broke, or NULL */
};

struct hf_oracle;
/* Called after the last step, when all was well until then and everything still stands. */
typedef void (*hf_watch_fn)(void *run, const struct hf_oracle *oracle, void *arg);
/* As hf_run_cell(), one round, without steps in the cell. */
void hf_run_watched(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
		    hf_watch_fn watch, void *arg, struct hf_cell *cell);
/* A cell that has not been run: `ok`, with what is expected of it. */
void hf_cell_init(struct hf_cell *cell, const struct hf_target *t, const struct hf_scenario *scn,
		  enum hf_kind kind);
/*
 * Runs one cell, all rounds. Never fails: trouble is an `error` cell, and so is a run that `stop`,
 * which may be NULL, ends before its last round.
 */
void hf_run_cell(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind, bool trace,
		 const volatile sig_atomic_t *stop, struct hf_cell *cell);
void hf_cell_free(struct hf_cell *cell);
/* True when the cell is what its expect line says,
 * or has no line and is ok or skip; a skip is never unexpected. */
bool hf_cell_as_expected(const struct hf_cell *cell);

#endif
