/* SPDX-License-Identifier: MIT */
/* Results for programs: JSON and TAP. */
#include "cli.h"

#include "../scenario/cell_json.h"

#include <stdio.h>

bool hf_print_json(const struct hf_results *res)
{
	json_t *all = json_array();
	bool whole = all;

	for (size_t i = 0; i < res->nr_cells && whole; i++)
		whole = !json_array_append_new(all, hf_cell_to_json(&res->cells[i]));
	whole = whole && (!json_dumpf(all, stdout, JSON_INDENT(1)) || ferror(stdout));
	putchar('\n');
	json_decref(all);
	return whole;
}

bool hf_print_tap(const struct hf_results *res)
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
	return true;
}
