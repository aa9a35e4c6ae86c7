/* SPDX-License-Identifier: MIT */
/*
 * Internals of the scenario parser: support.c (memory, messages), lex.c (lines and tokens), step.c
 * (steps), parse.c (everything else of a file).
 *
 * Calls return 0, -EINVAL after hf_parse_fail() has filled the error, or -ENOMEM.
 */
#ifndef HF_SCENARIO_PARSE_H
#define HF_SCENARIO_PARSE_H

#include "scenario.h"

#define HF_SCN_MAX_FILE (1ul << 20)
#define HF_SCN_MAX_LINE 4096
#define HF_SCN_MAX_NAME 31

/* ---- memory: one arena a scenario ---- */

struct hf_arena;

struct hf_arena *hf_arena_create(void);
void hf_arena_destroy(struct hf_arena *arena);
/* Zeroed and aligned for any type; NULL when memory is short. */
void *hf_arena_alloc(struct hf_arena *arena, size_t size);
char *hf_arena_string(struct hf_arena *arena, const char *text, size_t len);
/*
 * Makes room for one more item after the n that the array has: the array itself or its copy, NULL
 * when memory is short. Every item must have come through here.
 */
void *hf_arena_grow(struct hf_arena *arena, void *array, size_t n, size_t size);

/* ---- lines and tokens ---- */

enum hf_token_kind {
	HF_T_END, /* of the line */
	HF_T_NAME,
	HF_T_NUMBER,
	HF_T_STRING, /* text is what stands between the quotes */
	HF_T_PUNCT,  /* one of : , . @ [ ] { } | or .. */
	HF_T_BAD,    /* no token of the language; no production expects it */
};

struct hf_token {
	enum hf_token_kind kind;
	const char *text; /* in the file, which outlives the parser; NULL: no token at all */
	size_t len;
	uint64_t number; /* saturated */
};

struct hf_lexer {
	const char *next, *end;   /* the lines to come */
	const char *start, *stop; /* the current line; stop: without comment and trailing blanks */
	const char *at;           /* what follows tok */
	int line;
	struct hf_token tok;
};

void hf_lex_init(struct hf_lexer *lx, const char *text, size_t len);
/* Goes to the next line and its first token: 1, 0 at the end of the file, -EINVAL for a line that
 * cannot be read. */
int hf_lex_line(struct hf_lexer *lx, struct hf_parse_error *err);
void hf_lex_next(struct hf_lexer *lx);
/* Lets the name at hand take in dots that stand within it: linux-4.19. */
void hf_lex_dotted(struct hf_lexer *lx);
/* The first character of the line that is not blank. */
const char *hf_lex_first(const struct hf_lexer *lx);
/* Columns count characters, not bytes; a tab is one. */
int hf_lex_column(const struct hf_lexer *lx, const char *at);
bool hf_token_is(const struct hf_token *tok, const char *word);

/* ---- the parser ---- */

/* What is known of a process at the line at hand. */
struct hf_proc_info {
	bool exited;
	int line;                        /* of what made it, or of its exit */
	unsigned pages[HF_SCN_MAX_BUFS]; /* last known size, 0: no buffer of that name */
	/* of the current par block, where each thread acts, -1: nowhere */
	int thread_arm[HF_SCN_MAX_THREADS];
	unsigned arms; /* those that have to do with it, by bits */
};

struct hf_parser {
	struct hf_lexer lx;
	struct hf_arena *arena;
	struct hf_scenario *scn;
	struct hf_parse_error *err;
	hf_targets_fn targets;
	struct hf_proc_info procs[HF_SCN_MAX_PROCS];
	const struct hf_step *maker[HF_SCN_MAX_REFS];
	struct hf_par *par; /* the par block at hand, NULL outside */
	size_t nr_par_steps;
	int moving; /* the process whose memory an arm of it moves, or -1 */
};

/* Fills p->err at a place of the current line; at NULL: the file as a whole. Returns -EINVAL. */
int hf_parse_fail(struct hf_parser *p, const char *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "expected WHAT, found the token at hand" */
int hf_parse_expected(struct hf_parser *p, const char *what);

/* The i-th name of some set, NULL past its end. */
typedef const char *(*hf_names_fn)(const struct hf_parser *p, size_t i);
/* "unknown WHAT 'x'" and the name of the set that it looks like, or else the remedy, or else all
 * names of the set. */
int hf_parse_unknown(struct hf_parser *p, const struct hf_token *tok, const char *what,
		     hf_names_fn names, const char *remedy);
/* Index of the token among names, -1 if it is none of them. */
int hf_parse_find(const struct hf_parser *p, const struct hf_token *tok, hf_names_fn names);

/* These take the token at hand and go to the next. */
int hf_parse_name(struct hf_parser *p, const char *what, struct hf_token *out);
int hf_parse_new_name(struct hf_parser *p, const char *what,
		      struct hf_token *out); /* limits its length */
int hf_parse_number(struct hf_parser *p, const char *what, uint64_t min, uint64_t max,
		    uint64_t *out);
int hf_parse_punct(struct hf_parser *p, const char *punct, const char *what);
int hf_parse_end(struct hf_parser *p);
/* True, and goes on, if the token at hand is this word. */
bool hf_parse_accept(struct hf_parser *p, const char *word);

/* A new process, by a `process` line or a fork. */
int hf_parse_add_proc(struct hf_parser *p, const struct hf_token *name, bool initial, int *index);
/* Parses the line at hand, a step, into *step. */
int hf_parse_step(struct hf_parser *p, struct hf_step *step);
/* At the start of a par block: nobody acts in an arm yet. */
void hf_parse_reset_arms(struct hf_parser *p);

#endif
