/* SPDX-License-Identifier: MIT */
/* Access without a snapshot, the snapshot itself, and what it costs to write after one. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define LINE 64
#define RUN_PAGES 64 /* neighbours, in clustered orders */

int stage_access(const struct options *opt, const struct mode *mode)
{
	size_t nr = opt->quick ? 1 << 14 : 1 << 21;
	char line[LINE];
	uint64_t seed = 1;
	struct subject s;
	double start;
	int ret = subject_open(&s, mode, opt->size);

	if (ret)
		return ret;
	memset(line, 1, sizeof(line));
	start = now_ns();
	for (size_t i = 0; i < nr; i++)
		store_bytes(&s, s.base + random_next(&seed) % (s.size / LINE) * LINE, line, LINE);
	report(ACCESS_RANDOM, (double)nr * 1000 / (now_ns() - start));
	start = now_ns();
	for (size_t i = 0; i < s.nr_pages; i++) {
		store_begin(&s, s.base + i * PAGE, PAGE);
		memset(s.base + i * PAGE, 2, PAGE);
		store_end(&s, s.base + i * PAGE, PAGE);
	}
	report(ACCESS_SEQUENTIAL, (double)s.size / (now_ns() - start));
	subject_close(&s);
	return 0;
}

/* ---- snapshots ---- */

/* What is written between two snapshots, so many percent of all pages. */
static const struct dirt {
	enum measure measure;
	size_t percent, run;
} dirts[] = {
	{ REPEAT_1, 1, 1 },
	{ REPEAT_10, 10, 1 },
	{ REPEAT_100, 100, 1 },
	{ REPEAT_1_RUNS, 1, RUN_PAGES },
	{ REPEAT_10_RUNS, 10, RUN_PAGES },
	{ REPEAT_100_RUNS, 100, RUN_PAGES },
};

#define NR_DIRTS (sizeof(dirts) / sizeof(dirts[0]))
#define MAX_REPEATS 3

static void write_runs(struct subject *s, const struct dirt *d, const uint32_t *order, size_t from)
{
	size_t nr_runs = s->nr_pages / d->run, nr = nr_runs * d->percent / 100;

	for (size_t i = 0; i < (nr ? nr : 1); i++)
		for (size_t j = 0; j < d->run; j++)
			add_one(s, (order[(from + i) % nr_runs] * d->run + j) * PAGE);
}

/* Each snapshot is dropped when the next has been taken, as one does who takes them all the time.
 * Few pages take little time: the middle of several counts. */
static void repeat(struct subject *s, struct instant *at, const struct dirt *d)
{
	uint32_t *order = order_random(s->nr_pages / d->run, d->measure);
	unsigned nr = d->percent < 100 ? MAX_REPEATS : 1;
	double ns[MAX_REPEATS];

	for (size_t i = 0; i < nr; i++) {
		struct instant before = *at;

		write_runs(s, d, order, i * (s->nr_pages / d->run / MAX_REPEATS));
		ns[i] = subject_take(s, at);
		subject_drop(&before);
	}
	report(d->measure, summary_of(ns, nr).median / 1000);
	free(order);
}

int stage_snapshots(const struct options *opt, const struct mode *mode)
{
	struct instant at;
	struct subject s;
	int ret = subject_open(&s, mode, opt->size);

	if (ret)
		return ret;
	report(FIRST, subject_take(&s, &at) / 1000);
	for (size_t i = 0; i < NR_DIRTS; i++)
		repeat(&s, &at, &dirts[i]);
	subject_drop(&at);
	subject_close(&s);
	return 0;
}

/* ---- writes ---- */

#define NR_LOOKS 16 /* at what a snapshot has, to see that it is one */

/* Pages in an order; NULL: all, in theirs. */
struct pattern {
	const uint32_t *order;
	size_t count;
};

static uint64_t generation;

static size_t page_of(const struct pattern *p, size_t i)
{
	return p->order ? p->order[i] : i;
}

static void store(struct subject *s, const struct pattern *p)
{
	generation++;
	for (size_t i = 0; i < p->count; i++)
		store_bytes(s, s->base + page_of(p, i) * PAGE, &generation, sizeof(generation));
}

static void time_stores(struct subject *s, struct instant *at, enum measure measure,
			const struct pattern *p)
{
	size_t distinct = p->order ? order_distinct(p->order, p->count, s->nr_pages) : s->nr_pages;
	size_t step = p->count / NR_LOOKS + 1;
	uint64_t had[NR_LOOKS];
	double start;

	for (size_t i = 0; i * step < p->count; i++)
		memcpy(&had[i], s->base + page_of(p, i * step) * PAGE, sizeof(had[i]));
	start = now_ns();
	store(s, p);
	report(measure, (now_ns() - start) / (double)distinct);
	for (size_t i = 0; i * step < p->count; i++)
		subject_expect(at, page_of(p, i * step), had[i]);
}

/* As one who takes snapshots all the time and writes alike between them: `before` has been written
 * since the last one. */
static void time_writes(struct subject *s, enum measure measure, const struct pattern *before,
			const struct pattern *p)
{
	struct instant last, at;

	subject_take(s, &last);
	store(s, before);
	subject_take(s, &at);
	subject_drop(&last);
	time_stores(s, &at, measure, p);
	subject_drop(&at);
}

int stage_writes(const struct options *opt, const struct mode *mode)
{
	struct pattern dense, random, sparse, next, zipf;
	uint32_t *order, *draws;
	struct instant at;
	struct subject s;
	int ret = subject_open(&s, mode, opt->size);

	if (ret)
		return ret;
	order = order_random(s.nr_pages, 7);
	draws = order_zipf(s.nr_pages, 9);
	dense = (struct pattern){ NULL, s.nr_pages };
	random = (struct pattern){ order, s.nr_pages };
	sparse = (struct pattern){ order, s.nr_pages / 100 + 1 };
	next = (struct pattern){ order + sparse.count, sparse.count };
	zipf = (struct pattern){ draws, s.nr_pages };
	subject_take(&s, &at);
	time_stores(&s, &at, WRITE_FRESH, &dense);
	subject_drop(&at);
	time_writes(&s, WRITE_DENSE, &dense, &dense);
	time_writes(&s, WRITE_RANDOM, &random, &random);
	time_writes(&s, WRITE_SPARSE, &sparse, &next);
	time_writes(&s, WRITE_ZIPF, &zipf, &zipf);
	free(draws);
	free(order);
	subject_close(&s);
	return 0;
}
