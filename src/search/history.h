/* SPDX-License-Identifier: MIT */
/*
 * Histories: sequences of operations of a few processes, pages and references. A history is written
 * as a scenario, so whatever is found can be run, read and kept.
 */
#ifndef HF_HISTORY_H
#define HF_HISTORY_H

#include "../scenario/scenario.h"

#include <signal.h>

#define HF_HIST_MAX_PROCS 4
#define HF_HIST_MAX_PAGES 3
#define HF_HIST_MAX_REFS 2 /* open at a time */
#define HF_HIST_MAX_DEPTH 16
/* Places of an operation on whole pages:
 * a page, all of the buffer, its first two pages, its last two. */
#define HF_HIST_ALL HF_HIST_MAX_PAGES
#define HF_HIST_FIRST_TWO (HF_HIST_MAX_PAGES + 1)
#define HF_HIST_LAST_TWO (HF_HIST_MAX_PAGES + 2)
#define HF_HIST_MAX_PLACES (HF_HIST_MAX_PAGES + 3)

/* What can happen. Each operation names a process and a page, or a reference. */
enum hf_hist_op {
	HF_H_WRITE,
	HF_H_READ,
	HF_H_FORK,
	HF_H_EXIT,
	HF_H_MAP, /* again, after all of it was unmapped */
	HF_H_UNMAP,
	HF_H_PROTECT_R,
	HF_H_PROTECT_RW,
	HF_H_WRPROTECT,
	HF_H_SWAPOUT,
	HF_H_MIGRATE,
	HF_H_MERGE,
	HF_H_COLLAPSE,
	HF_H_SPLIT,
	/* from here on, what only histories with refusals have */
	HF_H_PROTECT_NONE,
	HF_H_REMAP,
	HF_H_TRUNCATE,
	HF_H_DONTNEED,
	HF_H_FREE,
	HF_H_DONTFORK,
	HF_H_DOFORK,
	HF_H_WIPEONFORK,
	HF_H_KEEPONFORK,
	HF_H_POPULATE_R,
	HF_H_POPULATE_W,
	HF_H_COLLAPSE_PART, /* of less than a PMD */
	HF_H_PROCESS_VM_READ,
	HF_H_PROCESS_VM_WRITE,
	HF_H_PTRACE_READ,
	HF_H_PTRACE_WRITE,
	/* to here */
	HF_H_PIN_R,
	HF_H_PIN_W,
	HF_H_PIN_R_SHORT,
	HF_H_PIN_W_SHORT,
	HF_H_GET_R,
	HF_H_GET_W,
	HF_H_VMSPLICE,
	HF_H_ODIRECT_READ,
	HF_H_ODIRECT_WRITE,
	HF_H_DEV_READ,
	HF_H_DEV_WRITE,
	HF_H_DEV_FINISH,
	HF_H_RELEASE,
	HF_NR_HIST_OPS,
};

/* A set of them. */
typedef uint64_t hf_hist_ops;
#define HF_HIST_OP(op) (1ull << (op))
_Static_assert(HF_NR_HIST_OPS <= 63, "a set of operations is a number of JSON");

struct hf_hist_step {
	uint8_t op;
	uint8_t proc : 4, page : 4; /* proc: or the reference; page: or a place */
};

struct hf_history {
	struct hf_hist_step step[HF_HIST_MAX_DEPTH];
	unsigned nr;
};

/* What histories may do. */
struct hf_hist_limits {
	unsigned procs, pages;
	enum hf_kind kind;
	hf_hist_ops without; /* these are left out */
	bool written;        /* every page has been written to when it begins */
	bool real;           /* what a running kernel does on demand */
	bool refusals;       /* calls that fail, too: holes, protections, kinds of mappings */
	bool looked_at;      /* as text, it ends with looks at everything */
};

/* Memory of which the fingerprint knows everything that matters: small pages, folios that hold all
 * pages of a history. */
bool hf_hist_kind_ok(enum hf_kind kind);
/* The pages of a place, half open. */
struct hf_hist_pages {
	unsigned from, to;
};
struct hf_hist_pages hf_hist_pages(unsigned place, unsigned pages);
#define HF_HIST_MAX_NEXT                                                                           \
	(HF_H_DEV_READ * HF_HIST_MAX_PROCS * HF_HIST_MAX_PLACES + HF_NR_HIST_OPS * HF_HIST_MAX_REFS)
/* The steps that can come next; returns how many. */
unsigned hf_hist_next(const struct hf_history *h, const struct hf_hist_limits *limits,
		      struct hf_hist_step *next);
/* Can all of its steps come so? It may be any bytes. */
bool hf_hist_possible(const struct hf_history *h, const struct hf_hist_limits *limits);
/* Leaves out step i, and what then cannot be. */
void hf_hist_without(const struct hf_history *h, const struct hf_hist_limits *limits, unsigned i,
		     struct hf_history *out);
/* A word for people. */
const char *hf_hist_op_name(unsigned op);
/* The operations of a name (write, read, fork, exit, map, unmap, protect, wrprotect, swapout,
 * migrate, merge, collapse, split, pin, get, vmsplice, odirect, device-read, device-write, remap,
 * truncate, advise, process_vm, ptrace), as a set; 0: there is no such name. */
hf_hist_ops hf_hist_ops_named(const char *name, size_t len);
/* The history as a scenario that begins with these settings.
 * Length written, without the final zero. */
size_t hf_hist_text(const struct hf_history *h, const struct hf_hist_limits *limits,
		    const char *settings, char *text, size_t len);

/* ---- the search ---- */

/* While it runs. */
struct hf_search_progress {
	uint64_t runs, distinct;
	unsigned depth;  /* under way */
	size_t done, of; /* of the states that it goes on from */
	double seconds;  /* since the beginning */
	/* What this depth and the one after it will take; negative: unknown. */
	double left, to_come;
};

struct hf_search_options {
	const char *policy;
	enum hf_verdict find; /* only this; HF_OK: any */
	struct hf_hist_limits limits;
	unsigned depth, threads, seconds; /* seconds 0: no limit */
	const char *checkpoint;           /* written after each depth; NULL: none */
	const char *resume;
	const volatile sig_atomic_t *stop; /* becomes non-zero: end with what is known */
	void (*progress)(const struct hf_search_progress *); /* every second; NULL: nobody asks */
};

struct hf_search_result {
	uint64_t runs, distinct; /* histories run; different states seen */
	unsigned depth;          /* all histories up to here were tried */
	bool complete;           /* no state was left that could be gone on from */
	double seconds;
	size_t bytes;            /* memory of the states, at most */
	enum hf_verdict verdict; /* HF_OK: nothing found */
	struct hf_history found;
	char detail[320];
};

/* 0, or negative errno: -ENOMEM, -EINVAL (policy, a checkpoint of another search),
 * -EBADMSG (a checkpoint that is damaged), or that of a file. */
int hf_search(const struct hf_search_options *options, struct hf_search_result *result);

#endif
