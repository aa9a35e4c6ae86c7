/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a scenario: an error with a message, or a scenario that the engine runs: as it is,
 * and on any kind of memory as if each of its steps might fail. The policy `holdfast` loses
 * nothing, whatever the scenario does; no policy breaks an invariant.
 */
#include "fuzz.h"
#include "scenario/arms.h"
#include "target/engine/engine.h"
#include "target/targets.h"

#include <holdfast/policy.h>
#include <string.h>

/* What takes longer than milliseconds is parsed only. */
#define MAX_STEPS 40
#define MAX_PAGES 100 /* in all buffers of all processes */
#define MAX_ORDERS 200
#define MAX_TIMES 1500

FUZZ_UNITS(0)

/* ---- arms one after the other: what is found happens again ---- */

static uint64_t arm_order;

int __wrap_hf_run_arms(size_t nr, void (*fn)(void *arg), void *const *args);

int __wrap_hf_run_arms(size_t nr, void (*fn)(void *arg), void *const *args)
{
	size_t first = fuzz_random(&arm_order) % nr;

	for (size_t i = 0; i < nr; i++)
		fn(args[(first + i) % nr]);
	return 0;
}

/* ---- what is worth a run ---- */

/* In how many orders the oracle looks at the steps of a block. */
static double orders(const struct hf_par *par)
{
	double nr = 1, before = 0;

	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 1; i <= par->arms[a].nr_steps; i++)
			nr *= ++before / (double)i;
	return nr;
}

static size_t times(const struct hf_step *steps, size_t nr)
{
	size_t sum = 0;

	for (size_t i = 0; i < nr; i++) {
		sum += steps[i].times;
		for (size_t a = 0; steps[i].par && a < steps[i].par->nr_arms; a++)
			sum += times(steps[i].par->arms[a].steps, steps[i].par->arms[a].nr_steps);
	}
	return sum;
}

static bool small(const struct hf_scenario *scn)
{
	double all_orders = 1;
	size_t pages = 0;

	for (size_t i = 0; i < scn->nr_steps; i++)
		all_orders *= scn->steps[i].par ? orders(scn->steps[i].par) : 1;
	for (size_t i = 0; i < scn->nr_bufs; i++)
		pages += scn->bufs[i].max_pages;
	return scn->nr_steps <= MAX_STEPS && pages * scn->nr_procs <= MAX_PAGES &&
	       all_orders <= MAX_ORDERS && times(scn->steps, scn->nr_steps) <= MAX_TIMES &&
	       scn->frames <= 4096;
}

/* ---- the run ---- */

/* A run that no failing step and no wrong claim of the file's ends. */
static void loosen(struct hf_step *steps, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		struct hf_step *st = &steps[i];

		st->maybe = true;
		st->fails = false;
		if (st->verb == HF_V_CHECK)
			st->verb = HF_V_READ;
		if (st->verb == HF_V_DEV_CHECK)
			st->verb = HF_V_DEV_READ;
		for (size_t a = 0; st->par && a < st->par->nr_arms; a++)
			loosen(st->par->arms[a].steps, st->par->arms[a].nr_steps);
	}
}

static bool is_broken(const struct hf_cell *cell, bool holds)
{
	switch (cell->verdict) {
	case HF_LOST_WRITE:
	case HF_STALE_READ:
	case HF_LEAK:
	case HF_TORN:
		return holds;
	case HF_BUG:
		/* the unpin check and claims of the file's own are for policies that hold */
		return strstr(cell->detail, "broken invariant") ||
		       strstr(cell->detail, "were left at the end") ||
		       (holds && !strstr(cell->detail, "must fail, but succeeded"));
	default:
		return false;
	}
}

static void run(const struct hf_scenario *scn, const char *policy, enum hf_kind kind)
{
	struct hf_target *t = hf_target_engine(policy);
	struct hf_cell cell;

	if (!t)
		return;
	hf_run_cell(t, scn, kind, true, NULL, &cell);
	if (is_broken(&cell, !strcmp(policy, "holdfast")))
		fuzz_found("%s, %s: %s: %s", policy, hf_kind_name(kind),
			   hf_verdict_names[cell.verdict], cell.detail);
	hf_cell_free(&cell);
	t->ops->free(t);
}

/* Memory by 2 MiB takes so much longer that it comes seldom. */
static enum hf_kind pick_kind(hf_kinds kinds, uint64_t *random)
{
	bool huge = fuzz_random(random) % 16 == 0;
	unsigned first = fuzz_random(random) % HF_NR_KINDS;

	for (unsigned i = 0; i < HF_NR_KINDS; i++) {
		enum hf_kind kind = (first + i) % HF_NR_KINDS;
		const struct hf_kind_info *info = hf_kind_info(kind);

		if (kinds >> kind & 1 &&
		    (huge || (info->order < 7 && info->memory != HF_MEM_HUGETLB &&
			      info->memory != HF_MEM_MEMFD_HUGETLB)))
			return kind;
	}
	return HF_KIND_BASE;
}

static uint64_t hash(const uint8_t *data, size_t size)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < size; i++)
		h = (h ^ data[i]) * 0x100000001b3ull;
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn;
	uint64_t random = hash(data, size);
	const struct hf_policy *other;

	if (hf_scenario_parse("fuzz.hf", (const char *)data, size, hf_target_name, &scn, &err)) {
		if (!err.text[0] || err.line < 0 || (err.line && err.column < 1))
			fuzz_found("line %d, column %d: '%s'", err.line, err.column, err.text);
		return 0;
	}
	arm_order = random;
	scn->rounds = 1;
	if (small(scn)) {
		run(scn, "holdfast", pick_kind(scn->kinds, &random));
		loosen(scn->steps, scn->nr_steps);
		run(scn, "holdfast", pick_kind(UINT64_MAX, &random));
		other = hf_policy_at(fuzz_random(&random) % 32);
		if (other)
			run(scn, other->name, pick_kind(UINT64_MAX, &random));
	}
	hf_scenario_free(scn);
	return 0;
}
