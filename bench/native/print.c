/* SPDX-License-Identifier: MIT */
/* The tables. */
#include "bench.h"

#include <math.h>
#include <string.h>

#define NAME_WIDTH 39
#define CELL_WIDTH 18

/* Three digits that say something. */
static const char *figure(double x, char *buf, size_t size)
{
	double a = fabs(x);

	snprintf(buf, size, "%.*f", a >= 99.95 ? 0 : a >= 9.995 ? 1 : a >= 0.9995 ? 2 : 3, x);
	return buf;
}

/* ---- targets ---- */

static void print_verdict(const struct verdict *v, FILE *out)
{
	const struct target *t = v->target;
	const char *than = measures[t->measure].more_is_better ? ">=" : "<=";
	char f[24], lo[24], hi[24], limit[32] = "none", aim[24];

	if (t->limit)
		snprintf(limit, sizeof(limit), "%s %s", than, figure(t->limit, f, sizeof(f)));
	fprintf(out, "%-34s %-18s %7s", t->what, v->mode, figure(v->ratio.median, f, sizeof(f)));
	fprintf(out, "  %6s - %-6s  %-9s", figure(v->ratio.min, lo, sizeof(lo)),
		figure(v->ratio.max, hi, sizeof(hi)), limit);
	fprintf(out, "  %s", !t->limit ? "-" : v->met ? "met" : "NOT MET");
	if (t->aim && v->met)
		fprintf(out, v->ratio.median <= t->aim ? ", and %s" : ", not %s",
			figure(t->aim, aim, sizeof(aim)));
	fputc('\n', out);
}

static void print_targets(const struct results *res, FILE *out)
{
	struct verdict verdicts[MAX_VERDICTS];
	size_t nr = judge(res, verdicts), nr_limits = 0, nr_met = 0;

	fprintf(out, "%-34s %-18s %7s  %15s  %-9s\n", "TARGET (ratio to fork)", "mode", "figure",
		"min - max", "target");
	for (size_t i = 0; i < nr; i++) {
		print_verdict(&verdicts[i], out);
		nr_limits += verdicts[i].target->limit != 0;
		nr_met += verdicts[i].target->limit != 0 && verdicts[i].met;
	}
	fprintf(out, "%zu of %zu met\n", nr_met, nr_limits);
}

/* ---- all figures ---- */

static void print_cell(const struct results *res, size_t mode, enum measure m, FILE *out)
{
	struct summary s = summarize(res, mode, m), ratio = summarize_ratio(res, mode, m);
	char text[64], f[24], r[24];

	if (!s.nr)
		snprintf(text, sizeof(text), "-");
	else if (modes[mode].is_fork || !ratio.nr || measures[m].stage == MEMORY)
		snprintf(text, sizeof(text), "%s", figure(s.median, f, sizeof(f)));
	else
		snprintf(text, sizeof(text), "%s (%s)", figure(s.median, f, sizeof(f)),
			 figure(ratio.median, r, sizeof(r)));
	fprintf(out, "%*s", CELL_WIDTH, text);
}

static bool has_row(const struct results *res, size_t from, size_t to, enum measure m)
{
	for (size_t i = from; i < to; i++)
		if (row_wanted(res->opt, i, m) && summarize(res, i, m).nr)
			return true;
	return false;
}

static bool has_column(const struct results *res, size_t mode)
{
	for (int i = 0; i < NR_MEASURES; i++)
		if (summarize(res, mode, i).nr)
			return true;
	return false;
}

static void print_row(const struct results *res, size_t from, size_t to, enum measure m, FILE *out)
{
	fprintf(out, "%-*s %-4s", NAME_WIDTH, measures[m].what, measures[m].unit);
	for (size_t mode = from; mode < to; mode++)
		if (has_column(res, mode))
			print_cell(res, mode, m, out);
	fputc('\n', out);
}

static void print_family(const struct results *res, size_t from, size_t to, FILE *out)
{
	fprintf(out, "\n%-*s", NAME_WIDTH + 5, "");
	for (size_t m = from; m < to; m++)
		if (has_column(res, m))
			fprintf(out, "%*s", CELL_WIDTH, modes[m].name);
	fputc('\n', out);
	for (int i = 0; i < NR_MEASURES; i++)
		if (has_row(res, from, to, i))
			print_row(res, from, to, i, out);
	for (size_t m = from; m < to; m++)
		if (*res->skipped[m])
			fprintf(out, "%s %s: %s\n", modes[m].name,
				res->failed[m] ? "FAILED" : "not measured", res->skipped[m]);
}

void print_results(const struct results *res, FILE *out)
{
	fprintf(out, "%s; %zu MiB, medians of %u interleaved runs\n", res->system,
		res->opt->size >> 20, res->runs);
	fprintf(out,
		"latencies: first window %.0f ms, whole window %.0f ms; the first write waits for "
		"the whole snapshot\n\n",
		res->opt->first_ns / 1e6, res->opt->whole_ns / 1e6);
	print_targets(res, out);
	for (size_t m = 0; m < NR_MODES;) {
		size_t from = m++;

		while (m < NR_MODES && !modes[m].is_fork)
			m++;
		print_family(res, from, m, out);
	}
}
