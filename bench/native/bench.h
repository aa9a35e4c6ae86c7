/* SPDX-License-Identifier: MIT */
/*
 * bench-native: native spaces against fork(), on the same bytes in the same run.
 *
 * A mode is a way to get an instant of memory: fork() on one kind of pages, or a native space. A
 * measure is what is timed. Every run measures all modes in turn, each in a process of its own
 * (worker.c), so that no mode inherits another's memory, threads and handlers; a ratio is made of
 * two figures of one run.
 */
#ifndef BENCH_NATIVE_H
#define BENCH_NATIVE_H

#include <holdfast/native.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)
#define MAX_RUNS 101
#define MAX_TEXT 384

struct options {
	size_t size;
	unsigned runs;
	bool quick;
	bool hugetlb_pool; /* make room in the machine's pool, and put it back */
	const char *json, *svg, *only;
	double first_ns, whole_ns; /* the windows of latencies */
	double io_ns;
};

/* Exits on --help, and on what it does not understand. */
void options_parse(int argc, char **argv, struct options *opt);

/* ---- what is measured ---- */

enum measure {
	ACCESS_RANDOM,
	ACCESS_SEQUENTIAL,
	FIRST,
	REPEAT_1,
	REPEAT_10,
	REPEAT_100,
	REPEAT_1_RUNS,
	REPEAT_10_RUNS,
	REPEAT_100_RUNS,
	WRITE_FRESH,
	WRITE_DENSE,
	WRITE_RANDOM,
	WRITE_SPARSE,
	WRITE_ZIPF,
	EARLY_P50,
	EARLY_P99,
	EARLY_P999,
	EARLY_MAX,
	EARLY_RATE,
	LATE_P50,
	LATE_P99,
	LATE_P999,
	LATE_MAX,
	LATE_RATE,
	PIN_PAGE,
	PIN_MANY,
	IO_QUIET,
	IO_SNAPSHOTS,
	MEMORY_IDLE,
	MEMORY_DIRTY,
	MEMORY_SAVING,
	RESTORE,
	NR_MEASURES
};

enum stage { ACCESS, SNAPSHOTS, WRITES, LATENCY, PINS, MEMORY, RESTORES, NR_STAGES };

struct measure_info {
	const char *id, *what, *unit;
	enum stage stage;
	bool more_is_better;
};

extern const struct measure_info measures[NR_MEASURES];

/* ---- how instants are made ---- */

enum kind { KIND_4K, KIND_THP, KIND_HUGETLB };

struct mode {
	const char *name, *what;
	enum kind kind;
	bool is_fork;
	struct hf_native_config config; /* of the space, but for its size */
	unsigned stages;                /* a bit each; 0: all */
};

#define NR_MODES 16

extern const struct mode modes[NR_MODES];

/* The fork that a mode is compared to: the one on its kind of pages. */
size_t mode_baseline(size_t mode);
bool mode_has(const struct mode *mode, enum measure measure);

/* Memory that is measured. */
struct subject {
	const struct mode *mode;
	unsigned char *base;
	size_t size, nr_pages;
	struct hf_native *space; /* NULL: fork's */
};

/* Every store to a subject is between the two, for which some modes ask. */
static inline void store_begin(struct subject *s, void *at, size_t len)
{
	if (s->mode->config.flags & HF_NATIVE_BRACKETED)
		(void)hf_native_begin_store(s->space, at, len);
}

static inline void store_end(struct subject *s, void *at, size_t len)
{
	if (s->mode->config.flags & HF_NATIVE_BRACKETED)
		hf_native_end_store(s->space, at, len);
}

static inline void store_bytes(struct subject *s, void *at, const void *from, size_t len)
{
	store_begin(s, at, len);
	memcpy(at, from, len);
	store_end(s, at, len);
}

static inline void add_one(struct subject *s, size_t offset)
{
	store_begin(s, s->base + offset, 1);
	s->base[offset] += 1;
	store_end(s, s->base + offset, 1);
}

/* An instant of it: a snapshot, or a child that waits for a byte. */
struct instant {
	struct hf_native_snapshot *snapshot;
	pid_t child;
	int release;
};

/* Bytes, of a file of lines "Name:   123 kB". */
size_t proc_field(const char *path, const char *name);

/* 0, or a negative errno when this machine cannot have such memory; -ENODATA: no huge pages came.
 * It is filled. */
int subject_open(struct subject *s, const struct mode *mode, size_t size);
void subject_close(struct subject *s);
/* Returns how long it took, in nanoseconds. */
double subject_take(struct subject *s, struct instant *at);
void subject_drop(struct instant *at);
/* Dies if the instant does not have `value` at the start of a page. fork's is not looked at. */
void subject_expect(const struct instant *at, size_t page, uint64_t value);

/* ---- orders of pages ---- */

uint64_t random_next(uint64_t *state);
/* All numbers below n, in random order. */
uint32_t *order_random(size_t n, uint64_t seed);
/* n draws of pages below n, Zipf with 0.99, hot pages scattered. */
uint32_t *order_zipf(size_t n, uint64_t seed);
size_t order_distinct(const uint32_t *order, size_t count, size_t n);

/* ---- stages: each opens its subject, and reports ---- */

int stage_access(const struct options *opt, const struct mode *mode);
int stage_snapshots(const struct options *opt, const struct mode *mode);
int stage_writes(const struct options *opt, const struct mode *mode);
int stage_latency(const struct options *opt, const struct mode *mode);
int stage_pins(const struct options *opt, const struct mode *mode);
int stage_memory(const struct options *opt, const struct mode *mode);
int stage_restores(const struct options *opt, const struct mode *mode);

/* Of the worker: a figure; the end, for something that must not happen. */
void report(enum measure measure, double value);
void must(bool good, const char *what);
double now_ns(void);

/* ---- results ---- */

struct summary {
	unsigned nr; /* of samples; 0: there are none */
	double median, min, max;
};

struct results {
	const struct options *opt;
	unsigned runs; /* that are complete */
	double samples[NR_MODES][NR_MEASURES][MAX_RUNS];
	char skipped[NR_MODES][MAX_TEXT]; /* why a mode is not measured; empty: it is */
	bool failed[NR_MODES];            /* it should have been */
	char system[256];
};

/* Sorts them. */
struct summary summary_of(double *values, unsigned nr);
bool row_wanted(const struct options *opt, size_t mode, enum measure measure);
bool stage_wanted(const struct options *opt, size_t mode, enum stage stage);
struct summary summarize(const struct results *res, size_t mode, enum measure measure);
/* Of the ratios to fork's figure of the same run: to the mode's baseline, or to another fork. */
struct summary summarize_ratio(const struct results *res, size_t mode, enum measure measure);
struct summary summarize_ratio_to(const struct results *res, size_t fork, size_t mode,
				  enum measure measure);

/* Runs one mode in a process of its own. False: interrupted. */
bool worker_run(struct results *res, unsigned run, size_t mode);
extern volatile int interrupted;

#define TARGET_MODES 11

struct target {
	const char *what;
	enum measure measure;
	double limit, aim; /* 0: none */
	bool best;         /* one of the modes is enough */
	const char *fork;  /* that it is a ratio to; NULL: the one on the mode's kind of pages */
	const char *modes[TARGET_MODES + 1];
};

#define NR_TARGETS 16

extern const struct target targets[NR_TARGETS];

/* A target next to the figure of one of its modes, or of the best one. */
struct verdict {
	const struct target *target;
	const char *mode;
	struct summary ratio;
	bool met;
};

#define MAX_VERDICTS (NR_TARGETS * TARGET_MODES)

/* Of all targets that were measured. Returns their number. */
size_t judge(const struct results *res, struct verdict *verdicts);

void print_results(const struct results *res, FILE *out);
int write_json(const struct results *res, const char *path);
/* native-*.svg in this folder. */
int write_plots(const struct results *res, const char *folder);

/* The machine's pool of 2 MiB pages, enlarged and put back. A message says why not. */
void pool_enlarge(size_t bytes);
void pool_restore(void);

#endif
