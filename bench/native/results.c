/* SPDX-License-Identifier: MIT */
/* What is measured, and medians of it. */
#include "bench.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>

const struct measure_info measures[NR_MEASURES] = {
	[ACCESS_RANDOM] = { "access-random", "no snapshot: random writes of 64 bytes", "M/s",
			    ACCESS, true },
	[ACCESS_SEQUENTIAL] = { "access-sequential", "no snapshot: memset()", "GB/s", ACCESS,
				true },
	[FIRST] = { "first", "first snapshot", "us", SNAPSHOTS, false },
	[REPEAT_1] = { "repeat-1", "repeat, 1 % dirty, scattered", "us", SNAPSHOTS, false },
	[REPEAT_10] = { "repeat-10", "repeat, 10 % dirty, scattered", "us", SNAPSHOTS, false },
	[REPEAT_100] = { "repeat-100", "repeat, all dirty, scattered", "us", SNAPSHOTS, false },
	[REPEAT_1_RUNS] = { "repeat-1-runs", "repeat, 1 % dirty, runs of 64", "us", SNAPSHOTS,
			    false },
	[REPEAT_10_RUNS] = { "repeat-10-runs", "repeat, 10 % dirty, runs of 64", "us", SNAPSHOTS,
			     false },
	[REPEAT_100_RUNS] = { "repeat-100-runs", "repeat, all dirty, runs of 64", "us", SNAPSHOTS,
			      false },
	[WRITE_FRESH] = { "write-fresh", "a page written, dense, the first time", "ns", WRITES,
			  false },
	[WRITE_DENSE] = { "write-dense", "a page written, dense", "ns", WRITES, false },
	[WRITE_RANDOM] = { "write-random", "a page written, all, random order", "ns", WRITES,
			   false },
	[WRITE_SPARSE] = { "write-sparse", "a page written, random 1 %", "ns", WRITES, false },
	[WRITE_ZIPF] = { "write-zipf", "a page written, Zipf 0.99", "ns", WRITES, false },
	[EARLY_P50] = { "early-p50", "64 bytes, first window: p50", "us", LATENCY, false },
	[EARLY_P99] = { "early-p99", "64 bytes, first window: p99", "us", LATENCY, false },
	[EARLY_P999] = { "early-p99.9", "64 bytes, first window: p99.9", "us", LATENCY, false },
	[EARLY_MAX] = { "early-max", "64 bytes, first window: max", "us", LATENCY, false },
	[EARLY_RATE] = { "early-rate", "64 bytes, first window: writes", "M/s", LATENCY, true },
	[LATE_P50] = { "late-p50", "64 bytes, whole window: p50", "us", LATENCY, false },
	[LATE_P99] = { "late-p99", "64 bytes, whole window: p99", "us", LATENCY, false },
	[LATE_P999] = { "late-p99.9", "64 bytes, whole window: p99.9", "us", LATENCY, false },
	[LATE_MAX] = { "late-max", "64 bytes, whole window: max", "us", LATENCY, false },
	[LATE_RATE] = { "late-rate", "64 bytes, whole window: writes", "M/s", LATENCY, true },
	[PIN_PAGE] = { "pin-4k", "pin and unpin, 4 KiB", "ns", PINS, false },
	[PIN_MANY] = { "pin-1m", "pin and unpin, 1 MiB", "ns", PINS, false },
	[IO_QUIET] = { "io-quiet", "reads into a pinned buffer", "MB/s", PINS, true },
	[IO_SNAPSHOTS] = { "io-snapshots", "the same, a snapshot every 20 ms", "MB/s", PINS, true },
	[MEMORY_IDLE] = { "memory-idle", "memory beyond the bytes, no snapshot", "%", MEMORY,
			  false },
	[MEMORY_DIRTY] = { "memory-dirty", "memory, snapshot, 10 % written", "%", MEMORY, false },
	[MEMORY_SAVING] = { "memory-saving", "frames of a save that releases, all written", "%",
			    MEMORY, false },
	[RESTORE] = { "restore", "going back, 100 pages written", "us", RESTORES, false },
};

bool row_wanted(const struct options *opt, size_t mode, enum measure measure)
{
	char name[128], pattern[128];

	if (!mode_has(&modes[mode], measure))
		return false;
	if (!opt->only)
		return true;
	snprintf(name, sizeof(name), "%s/%s", measures[measure].id, modes[mode].name);
	snprintf(pattern, sizeof(pattern), "*%s*", opt->only);
	return !fnmatch(pattern, name, 0);
}

/* A ratio needs fork's figure too; targets have hugetlb's to the one on THPs. */
static bool is_compared(size_t mode, size_t other)
{
	if (!modes[other].is_fork)
		return mode == other;
	return mode_baseline(mode) == other ||
	       (modes[mode].kind == KIND_HUGETLB && modes[other].kind == KIND_THP);
}

bool stage_wanted(const struct options *opt, size_t mode, enum stage stage)
{
	for (size_t m = 0; m < NR_MODES; m++) {
		for (int i = 0; is_compared(m, mode) && i < NR_MEASURES; i++)
			if (measures[i].stage == stage && row_wanted(opt, m, i))
				return true;
	}
	return false;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct summary summary_of(double *values, unsigned nr)
{
	if (!nr)
		return (struct summary){ 0 };
	qsort(values, nr, sizeof(*values), compare);
	return (struct summary){ nr, (values[nr / 2] + values[(nr - 1) / 2]) / 2, values[0],
				 values[nr - 1] };
}

struct summary summarize(const struct results *res, size_t mode, enum measure measure)
{
	double values[MAX_RUNS];
	unsigned nr = 0;

	for (unsigned r = 0; r < res->runs; r++)
		if (!isnan(res->samples[mode][measure][r]))
			values[nr++] = res->samples[mode][measure][r];
	return summary_of(values, nr);
}

struct summary summarize_ratio_to(const struct results *res, size_t fork, size_t mode,
				  enum measure measure)
{
	double values[MAX_RUNS];
	unsigned nr = 0;

	for (unsigned r = 0; r < res->runs; r++) {
		double ratio = res->samples[mode][measure][r] / res->samples[fork][measure][r];

		if (!isnan(ratio))
			values[nr++] = ratio;
	}
	return summary_of(values, nr);
}

struct summary summarize_ratio(const struct results *res, size_t mode, enum measure measure)
{
	return summarize_ratio_to(res, mode_baseline(mode), mode, measure);
}
