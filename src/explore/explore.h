/* SPDX-License-Identifier: MIT */
/*
 * Interleavings: every order in which the arms of a scenario's par blocks can happen, on the core
 * as it is shipped.
 */
#ifndef HF_EXPLORE_H
#define HF_EXPLORE_H

#include "../core/site.h"
#include "../scenario/scenario.h"

#include <signal.h>
#include <string.h>

/* hf_memory_names[] in this order. */
enum hf_memory_model { HF_MEMORY_SC, HF_MEMORY_TSO, HF_MEMORY_RC11, HF_NR_MEMORY_MODELS };
extern const char *const hf_memory_names[HF_NR_MEMORY_MODELS];

enum hf_strategy {
	HF_EXPLORE_ALL,     /* every one, up to what commutes */
	HF_EXPLORE_BOUNDED, /* with at most `bound` preemptions, all of them */
	HF_EXPLORE_RANDOM,  /* PCT with `bound` changes of priority */
	HF_EXPLORE_REPLAY,
};

#define HF_SCHEDULE_MAX 4096
#define HF_MAX_SITES 2048

struct hf_explore_options {
	const struct hf_scenario *scn;
	enum hf_kind kind;
	const char *policy;
	enum hf_memory_model memory;
	enum hf_strategy strategy;
	unsigned bound;
	uint64_t max_executions; /* 0: no limit */
	unsigned seconds;        /* 0: no limit */
	bool cpu_seconds;        /* they are the CPU's: others may be using the machine */
	uint64_t seed;
	const char *replay; /* a schedule */
	bool trace;         /* to stdout */
	const struct hf_mutation *mutation;
	bool sites;                        /* fill in result->sites */
	const volatile sig_atomic_t *stop; /* may be NULL */
};

struct hf_explore_result {
	uint64_t executions;
	uint64_t redundant; /* found to be like earlier ones when they were under way */
	uint64_t operations;
	uint64_t longest; /* operations of one execution */
	bool complete;    /* all there are */
	uint64_t verdicts[HF_NR_VERDICTS];
	enum hf_verdict verdict; /* the first that is not expected, or HF_OK */
	char detail[320];
	char schedule[HF_SCHEDULE_MAX]; /* that leads there */
	double seconds;
	size_t kib; /* memory in use at the peak */
	/* of each site: an arm came there;
	 * a load found something else there than that arm before */
	uint8_t sites[HF_MAX_SITES];
};

#define HF_SITE_MET 1
#define HF_SITE_CHANGED 2

/* 0, -EINVAL: `replay` is no schedule of this scenario; detail says why. */
int hf_explore(const struct hf_explore_options *o, struct hf_explore_result *result);
/* True when the scenario has a par block. */
bool hf_explorable(const struct hf_scenario *scn);

/* ---- mutants ---- */

enum hf_mutation_kind {
	HF_MUTATE_NONE,
	HF_MUTATE_ORDER, /* the access has `order` instead */
	HF_MUTATE_SKIP,  /* the lock is not taken, the flush or the read section left out */
	HF_MUTATE_STALE, /* the load gives what the arm read there last */
};

struct hf_mutation {
	enum hf_mutation_kind kind;
	const char *site; /* as hf_site_name() has it */
	int order;
};

/* The sites of the core; one of a header comes once
 * for each file that includes it. NULL past the end. */
const struct hf_site *hf_explore_site(size_t i);
/* "gup_fast.c:fast_one load ptep #2": its file, function and access, and which it is if the
 * function has several that are alike. A site of a header has one name in all files. */
const char *hf_site_name(size_t i);

/* Its file, without folders. */
static inline const char *hf_site_file(const struct hf_site *site)
{
	const char *slash = strrchr(site->file, '/');

	return slash ? slash + 1 : site->file;
}

/* "seq_cst", of a memory_order. */
static inline const char *hf_order_name(int order)
{
	static const char *const names[] = { "relaxed", "consume", "acquire",
					     "release", "acq_rel", "seq_cst" };

	return names[order];
}

#endif
