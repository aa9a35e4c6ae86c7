/* SPDX-License-Identifier: MIT */
/*
 * How long small random writes take, one after the other, from the moment a snapshot begins: the
 * first of them waits for all of it, as a request would that came just then.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define LINE 64
#define SUB_BITS 6 /* a bucket is 1/64 of a power of two wide */
#define NR_BUCKETS (40 << SUB_BITS)

struct histogram {
	uint64_t buckets[NR_BUCKETS], nr, max;
};

static size_t bucket_of(uint64_t ns)
{
	int shift;
	size_t b;

	if (ns < 1 << SUB_BITS)
		return ns;
	shift = 63 - __builtin_clzll(ns) - SUB_BITS;
	b = ((size_t)shift << SUB_BITS) + (ns >> shift);
	return b < NR_BUCKETS ? b : NR_BUCKETS - 1;
}

/* The middle of a bucket. */
static double bucket_ns(size_t b)
{
	size_t shift = b >> SUB_BITS;

	if (shift < 2)
		return (double)b;
	shift--;
	return ((double)(b - (shift << SUB_BITS)) + 0.5) * (double)(1ull << shift);
}

static void count(struct histogram *h, uint64_t ns)
{
	h->buckets[bucket_of(ns)]++;
	h->nr++;
	if (ns > h->max)
		h->max = ns;
}

static double percentile_us(const struct histogram *h, double share)
{
	uint64_t rank = (uint64_t)(share * (double)h->nr), below = 0;

	for (size_t b = 0; b < NR_BUCKETS; b++) {
		below += h->buckets[b];
		if (below > rank)
			return bucket_ns(b) / 1000;
	}
	return (double)h->max / 1000;
}

/* Five measures that follow each other: p50, p99, p99.9, max, rate. */
static void report_window(const struct histogram *h, enum measure p50, double ns)
{
	report(p50, percentile_us(h, 0.5));
	report(p50 + 1, percentile_us(h, 0.99));
	report(p50 + 2, percentile_us(h, 0.999));
	report(p50 + 3, (double)h->max / 1000);
	report(p50 + 4, (double)h->nr * 1000 / ns);
}

/* One reading of the clock a write: what is between two is the write. */
static void write_for(struct subject *s, struct histogram *h, uint64_t *seed, double from,
		      double until)
{
	char line[LINE];
	double last = from, now;

	memset(line, (int)*seed, sizeof(line));
	do {
		store_bytes(s, s->base + random_next(seed) % (s->size / LINE) * LINE, line, LINE);
		now = now_ns();
		count(h, (uint64_t)(now - last));
		last = now;
	} while (now < until);
}

/* There are frames for snapshots, as there are after the first of many. fork has no use for that,
 * and would come out of it with its huge pages split. */
static void fill_frames(struct subject *s)
{
	struct instant at;

	subject_take(s, &at);
	for (size_t i = 0; i < s->nr_pages; i++)
		add_one(s, i * PAGE);
	subject_drop(&at);
}

int stage_latency(const struct options *opt, const struct mode *mode)
{
	struct histogram *h;
	struct instant at;
	struct subject s;
	uint64_t seed = 11;
	double start;
	int ret = subject_open(&s, mode, opt->size);

	if (ret)
		return ret;
	h = calloc(1, sizeof(*h));
	must(h, "memory for a histogram");
	if (s.space)
		fill_frames(&s);
	start = now_ns();
	subject_take(&s, &at);
	write_for(&s, h, &seed, start, start + opt->first_ns);
	report_window(h, EARLY_P50, now_ns() - start);
	write_for(&s, h, &seed, now_ns(), start + opt->whole_ns);
	report_window(h, LATE_P50, now_ns() - start);
	subject_drop(&at);
	subject_close(&s);
	free(h);
	return 0;
}
