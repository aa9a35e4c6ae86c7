/* SPDX-License-Identifier: MIT */
/* All figures for programs. Every row is there, with its samples or with why it has none. */
#include "bench.h"

#include <jansson.h>
#include <math.h>

static json_t *summary_json(const struct summary *s)
{
	return json_pack("{s:f, s:f, s:f}", "median", s->median, "min", s->min, "max", s->max);
}

static json_t *samples_json(const struct results *res, size_t mode, enum measure m)
{
	json_t *all = json_array();

	for (unsigned r = 0; r < res->runs; r++) {
		double x = res->samples[mode][m][r];

		json_array_append_new(all, isnan(x) ? json_null() : json_real(x));
	}
	return all;
}

static json_t *row_json(const struct results *res, size_t mode, enum measure m)
{
	struct summary s = summarize(res, mode, m), ratio = summarize_ratio(res, mode, m);
	json_t *row = json_pack("{s:s, s:s, s:s}", "measure", measures[m].id, "mode",
				modes[mode].name, "unit", measures[m].unit);

	if (!s.nr) {
		json_object_set_new(row, "skipped", json_string(res->skipped[mode]));
		return row;
	}
	json_object_set_new(row, "figure", summary_json(&s));
	if (ratio.nr && !modes[mode].is_fork)
		json_object_set_new(row, "ratio", summary_json(&ratio));
	json_object_set_new(row, "samples", samples_json(res, mode, m));
	return row;
}

static json_t *rows_json(const struct results *res)
{
	json_t *rows = json_array();

	for (size_t mode = 0; mode < NR_MODES; mode++)
		for (int m = 0; m < NR_MEASURES; m++)
			if (row_wanted(res->opt, mode, m))
				json_array_append_new(rows, row_json(res, mode, m));
	return rows;
}

static json_t *targets_json(const struct results *res)
{
	struct verdict verdicts[MAX_VERDICTS];
	size_t nr = judge(res, verdicts);
	json_t *all = json_array();

	for (size_t i = 0; i < nr; i++) {
		const struct verdict *v = &verdicts[i];
		json_t *one = json_pack("{s:s, s:s, s:s, s:o}", "target", v->target->what, "mode",
					v->mode, "measure", measures[v->target->measure].id,
					"ratio", summary_json(&v->ratio));

		if (v->target->limit) {
			json_object_set_new(one, "limit", json_real(v->target->limit));
			json_object_set_new(one, "met", json_boolean(v->met));
		}
		if (v->target->aim)
			json_object_set_new(one, "aim", json_real(v->target->aim));
		json_array_append_new(all, one);
	}
	return all;
}

static json_t *modes_json(const struct results *res)
{
	json_t *all = json_array();

	for (size_t m = 0; m < NR_MODES; m++) {
		json_t *one = json_pack("{s:s, s:s, s:s}", "name", modes[m].name, "what",
					modes[m].what, "baseline", modes[mode_baseline(m)].name);

		if (*res->skipped[m])
			json_object_set_new(one, res->failed[m] ? "failed" : "skipped",
					    json_string(res->skipped[m]));
		json_array_append_new(all, one);
	}
	return all;
}

int write_json(const struct results *res, const char *path)
{
	json_t *all = json_pack("{s:s, s:I, s:i, s:f, s:f, s:o, s:o, s:o}", "system", res->system,
				"size", (json_int_t)res->opt->size, "runs", (int)res->runs,
				"first_window_ms", res->opt->first_ns / 1e6, "whole_window_ms",
				res->opt->whole_ns / 1e6, "modes", modes_json(res), "targets",
				targets_json(res), "rows", rows_json(res));
	int ret = all ? json_dump_file(all, path, JSON_INDENT(1)) : -1;

	json_decref(all);
	if (ret)
		fprintf(stderr, "bench-native: cannot write %s\n", path);
	return ret;
}
