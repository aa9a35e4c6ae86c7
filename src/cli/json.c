/* SPDX-License-Identifier: MIT */
/* Results for programs: JSON and TAP. */
#include "cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *steps_json(const struct hf_cell *c)
{
	json_t *steps = json_array();

	for (size_t i = 0; i < c->nr_steps; i++) {
		const struct hf_cell_step *s = &c->steps[i];
		json_t *o = json_pack("{s:i, s:s, s:s}", "line", s->line, "step",
				      s->text ? s->text : "", "result", s->result ? s->result : "");

		if (s->pages)
			json_object_set_new(o, "pages", json_string(s->pages));
		json_array_append_new(steps, o);
	}
	return steps;
}

static json_t *cell_json(const struct hf_cell *c)
{
	char set[96];

	hf_verdict_set(c->expected, set, sizeof(set));
	return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s, s:o}", "scenario", c->scn->name, "kind",
			 hf_kind_name(c->kind), "target", c->target, "verdict",
			 hf_verdict_names[c->verdict], "expected", c->expected ? set : NULL,
			 "detail", c->detail, "steps", steps_json(c));
}

void hf_print_json(const struct hf_results *res)
{
	json_t *all = json_array();

	for (size_t i = 0; i < res->nr_cells; i++)
		json_array_append_new(all, cell_json(&res->cells[i]));
	json_dumpf(all, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(all);
}

void hf_print_tap(const struct hf_results *res)
{
	printf("TAP version 13\n1..%zu\n", res->nr_cells);
	for (size_t i = 0; i < res->nr_cells; i++) {
		const struct hf_cell *c = &res->cells[i];

		printf("%sok %zu - %s %s on %s", hf_cell_as_expected(c) ? "" : "not ", i + 1,
		       c->scn->name, hf_kind_name(c->kind), c->target);
		if (c->verdict == HF_SKIP)
			printf(" # SKIP %s", c->detail);
		else if (c->verdict != HF_OK)
			printf(": %s", hf_verdict_names[c->verdict]);
		putchar('\n');
		if (!hf_cell_as_expected(c))
			printf("# %s\n", c->detail);
	}
}
