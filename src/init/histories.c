/* SPDX-License-Identifier: MIT */
#include "histories.h"

#include "../equiv/equiv.h"
#include "../scenario/cell_json.h"
#include "kmsg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void (*say)(json_t *o);

static void found(void *arg, const struct hf_equiv_found *f)
{
	(void)arg;
	say(json_pack("{s:{s:i, s:I, s:i, s:b, s:s, s:s}}", "found", "what", (int)f->what,
		      "history", (json_int_t)f->history, "steps", (int)f->steps, "steady",
		      (int)f->steady, "text", f->text, "words", f->words));
}

static void counts(void *arg, const struct hf_equiv_result *r)
{
	(void)arg;
	say(json_pack("{s:{s:I, s:I, s:I, s:I, s:f}}", "counts", "histories",
		      (json_int_t)r->histories, "steps", (json_int_t)r->steps, "skipped",
		      (json_int_t)r->skipped, "differences", (json_int_t)r->differences, "seconds",
		      r->seconds));
}

static void note(void *arg, const char *text)
{
	(void)arg;
	say(json_pack("{s:o}", "note", hf_json_text(text)));
}

void hf_init_equiv(struct hf_target *here, json_t *job, void (*emit)(json_t *o))
{
	struct hf_equiv_options o = { .progress = counts, .found = found, .note = note };
	struct hf_equiv_result result = { 0 };
	json_int_t seed, first, count, without;
	int kind, most, err = -EINVAL;
	char *splat;

	say = emit;
	if (!json_unpack(job, "{s:s, s:i, s:I, s:I, s:I, s:i, s:I}", "policy", &o.policy, "kind",
			 &kind, "seed", &seed, "first", &first, "count", &count, "most", &most,
			 "without", &without)) {
		o.kind = (enum hf_kind)kind;
		o.seed = (uint64_t)seed;
		o.first = (uint64_t)first;
		o.count = (uint64_t)count;
		o.most = (unsigned)most;
		o.without = (uint64_t)without;
		err = hf_equiv(here, &o, &result);
	}
	splat = hf_kmsg_splat();
	if (splat)
		note(NULL, splat);
	free(splat);
	counts(NULL, &result);
	say(json_pack("{s:i}", "status", err));
}
