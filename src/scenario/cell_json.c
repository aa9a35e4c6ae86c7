/* SPDX-License-Identifier: MIT */
#include "cell_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *hf_json_text(const char *text)
{
	json_t *string = json_string(text);
	char *copy = string ? NULL : strdup(text);

	for (char *c = copy; c && *c; c++)
		*c = *c & 0x80 ? '?' : *c;
	if (copy)
		string = json_string(copy);
	free(copy);
	return string;
}

static json_t *steps_json(const struct hf_cell *c)
{
	json_t *steps = json_array();

	for (size_t i = 0; i < c->nr_steps; i++) {
		const struct hf_cell_step *s = &c->steps[i];
		json_t *o = json_pack("{s:i, s:o, s:s}", "line", s->line, "step",
				      hf_json_text(s->text ? s->text : ""), "result",
				      s->result ? s->result : "");

		if (s->pages)
			json_object_set_new(o, "pages", hf_json_text(s->pages));
		json_array_append_new(steps, o);
	}
	return steps;
}

json_t *hf_cell_to_json(const struct hf_cell *c)
{
	char set[96];
	json_t *o;

	hf_verdict_set(c->expected, set, sizeof(set));
	o = json_pack("{s:o, s:s, s:o, s:s, s:s?, s:o, s:o}", "scenario",
		      hf_json_text(c->scn->name), "kind", hf_kind_name(c->kind), "target",
		      hf_json_text(c->target), "verdict", hf_verdict_names[c->verdict], "expected",
		      c->expected ? set : NULL, "detail", hf_json_text(c->detail), "steps",
		      steps_json(c));
	if (c->console)
		json_object_set_new(o, "console", hf_json_text(c->console));
	return o;
}

static int step_from_json(json_t *o, struct hf_cell_step *s)
{
	const char *text, *result, *pages = NULL;

	if (json_unpack(o, "{s:i, s:s, s:s, s?s}", "line", &s->line, "step", &text, "result",
			&result, "pages", &pages))
		return -EINVAL;
	s->text = strdup(text);
	s->result = strdup(result);
	s->pages = pages ? strdup(pages) : NULL;
	return s->text && s->result && (s->pages || !pages) ? 0 : -ENOMEM;
}

static int steps_from_json(json_t *array, struct hf_cell *cell)
{
	size_t i;
	json_t *o;

	cell->steps = calloc(json_array_size(array) + 1, sizeof(*cell->steps));
	if (!cell->steps)
		return -ENOMEM;
	json_array_foreach(array, i, o)
	{
		int err = step_from_json(o, &cell->steps[cell->nr_steps++]);

		if (err)
			return err;
	}
	return 0;
}

int hf_cell_from_json(json_t *object, struct hf_cell *cell)
{
	const char *verdict, *detail, *console = NULL;
	json_t *steps;
	int v = 0;

	if (json_unpack(object, "{s:s, s:s, s:o, s?s}", "verdict", &verdict, "detail", &detail,
			"steps", &steps, "console", &console))
		return -EINVAL;
	while (v < HF_NR_VERDICTS && strcmp(hf_verdict_names[v], verdict))
		v++;
	if (v == HF_NR_VERDICTS)
		return -EINVAL;
	cell->verdict = (enum hf_verdict)v;
	snprintf(cell->detail, sizeof(cell->detail), "%s", detail);
	cell->console = console ? strdup(console) : NULL;
	if (console && !cell->console)
		return -ENOMEM;
	return steps_from_json(steps, cell);
}
