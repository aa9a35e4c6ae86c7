/* SPDX-License-Identifier: MIT */
/* What native spaces are to reach, as ratios to fork(): on the same kind of page, or on THPs where
 * the target says so. */
#include "bench.h"

#include <assert.h>
#include <string.h>

#define SMALL "4k", "4k-signal", "memfd-signal"
#define HELPED "4k-helpers", "4k-signal-helpers"
#define MIXED "thp-4k", "thp-4k-signal"
#define HUGE_ONES "thp", "thp-signal", "hugetlb", "hugetlb-signal"
#define ALL SMALL, MIXED, HUGE_ONES
#define BRACKETED "4k-bracketed", "thp-bracketed"

const struct target targets[NR_TARGETS] = {
	{ "first snapshot, 4 KiB", FIRST, 0.8, .modes = { SMALL } },
	{ "first snapshot, with a helper", FIRST, 0.5, .modes = { HELPED } },
	{ "first snapshot, huge, of fork-thp", FIRST, 0.15, .fork = "fork-thp",
	  .modes = { MIXED, HUGE_ONES } },
	{ "first snapshot, bracketed", FIRST, 0.05, .modes = { BRACKETED } },
	{ "repeat, all dirty, bracketed", REPEAT_100, 0.05, .modes = { BRACKETED } },
	{ "repeat, 1 % dirty, scattered", REPEAT_1, 0.12, 0.04,
	  .modes = { SMALL, HELPED, MIXED, "thp", "thp-signal" } },
	{ "repeat, 1 % dirty, runs of 64", REPEAT_1_RUNS, 0.03, 0.015,
	  .modes = { SMALL, HELPED, MIXED, "thp", "thp-signal" } },
	{ "dense writes, memfd", WRITE_DENSE, 0.6, .modes = { "memfd-signal" } },
	{ "dense writes, anonymous", WRITE_DENSE, 0.25, .modes = { "4k", "4k-signal", MIXED } },
	{ "dense writes, huge, of fork-thp", WRITE_DENSE, 0.15, .fork = "fork-thp",
	  .modes = { HUGE_ONES } },
	{ "sparse random writes", WRITE_SPARSE, .modes = { SMALL, MIXED, BRACKETED } },
	{ "all pages written, random order", WRITE_RANDOM, 0.75, .modes = { BRACKETED } },
	{ "p99.9 of small writes, best mode", EARLY_P999, 0.2, .best = true,
	  .modes = { ALL, BRACKETED } },
	{ "going back, of a fork server", RESTORE, 0.05, .modes = { BRACKETED, "4k-signal" } },
	{ "no snapshot: random writes", ACCESS_RANDOM, 0.95, .modes = { ALL, BRACKETED } },
	{ "no snapshot: memset()", ACCESS_SEQUENTIAL, 0.95, .modes = { ALL, BRACKETED } },
};

static size_t mode_named(const char *name)
{
	size_t m = 0;

	while (m < NR_MODES && strcmp(modes[m].name, name))
		m++;
	assert(m < NR_MODES);
	return m;
}

static bool met(const struct target *t, double ratio)
{
	return measures[t->measure].more_is_better ? ratio >= t->limit : ratio <= t->limit;
}

/* Adds one verdict, or replaces the one before it if the target is about the best. */
static size_t add(struct verdict *verdicts, size_t nr, const struct verdict *v)
{
	struct verdict *last = nr ? &verdicts[nr - 1] : NULL;

	if (!v->target->best || !last || last->target != v->target) {
		verdicts[nr] = *v;
		return nr + 1;
	}
	if (v->ratio.median < last->ratio.median)
		*last = *v;
	return nr;
}

size_t judge(const struct results *res, struct verdict *verdicts)
{
	size_t nr = 0;

	for (size_t i = 0; i < NR_TARGETS; i++) {
		const struct target *t = &targets[i];

		for (size_t j = 0; t->modes[j]; j++) {
			struct verdict v = { .target = t, .mode = t->modes[j] };
			size_t mode = mode_named(v.mode);

			v.ratio = t->fork ? summarize_ratio_to(res, mode_named(t->fork), mode,
							       t->measure)
					  : summarize_ratio(res, mode, t->measure);
			v.met = met(t, v.ratio.median);
			if (v.ratio.nr && row_wanted(res->opt, mode, t->measure))
				nr = add(verdicts, nr, &v);
		}
	}
	return nr;
}
