/* SPDX-License-Identifier: MIT */
/* Runs a scenario over and over, in one order after another, and keeps what was seen. */
#include "../platform/elapsed.h"
#include "dpor.h"

#include "../target/engine/engine.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

struct exploration {
	const struct hf_explore_options *o;
	struct hf_explore_result *r;
	struct hf_scenario once; /* one round */
	struct hf_target *target;
	struct hf_cell cell;
	struct timespec start;
	double cpu_start;
};

bool hf_explorable(const struct hf_scenario *scn)
{
	for (size_t i = 0; i < scn->nr_steps; i++)
		if (scn->steps[i].par)
			return true;
	return false;
}

/* ---- which words are looked at one by one ---- */

static void heat(size_t lo, size_t hi)
{
	for (size_t at = lo & ~(size_t)7; at < hi; at += 8) {
		size_t word = at % HF_PAGE_SIZE / 8;

		hf_m.hot[word / 64] |= 1ull << word % 64;
	}
}

static void heat_step(const struct hf_scenario *scn, const struct hf_step *st)
{
	size_t base = 0;

	if (st->proc == HF_SCN_DEVICE) {
		for (size_t i = 0; i < scn->nr_steps; i++)
			if (scn->steps[i].ref == st->ref && scn->steps[i].buf >= 0)
				base = scn->steps[i].lo;
	} else if (st->verb != HF_V_READ && st->verb != HF_V_WRITE) {
		return;
	}
	heat(base + st->lo, base + st->hi);
}

/* Those that steps of par blocks load or store; without any, one, so that copies have a moment. */
static void find_hot_words(const struct hf_scenario *scn)
{
	memset(hf_m.hot, 0, sizeof(hf_m.hot));
	for (size_t i = 0; i < scn->nr_steps; i++)
		for (size_t a = 0; scn->steps[i].par && a < scn->steps[i].par->nr_arms; a++)
			for (size_t k = 0; k < scn->steps[i].par->arms[a].nr_steps; k++)
				heat_step(scn, &scn->steps[i].par->arms[a].steps[k]);
	hf_m.hot[0] |= 1;
}

/* ---- one execution ---- */

static void watch(void *run, const struct hf_oracle *oracle, void *arg)
{
	(void)run;
	(void)oracle;
	(void)arg;
}

static void execute(void *arg)
{
	struct exploration *e = arg;

	hf_run_watched(e->target, &e->once, e->o->kind, watch, NULL, &e->cell);
}

static bool as_expected(const struct exploration *e, enum hf_verdict verdict)
{
	unsigned expected = hf_scenario_expected(e->o->scn, e->o->policy, e->o->kind);

	return (expected ? expected : 1u << HF_OK) >> verdict & 1;
}

/* False: the exploration ends here. */
static bool judge(struct exploration *e, bool whole)
{
	struct hf_explore_result *r = e->r;
	enum hf_verdict verdict = whole ? e->cell.verdict : HF_BUG;

	r->operations += hf_m.nr_events;
	if (r->longest < hf_m.nr_events)
		r->longest = hf_m.nr_events;
	if (whole && hf_dpor_was_redundant()) {
		r->redundant++;
		return true;
	}
	r->executions++;
	r->verdicts[verdict]++;
	if (whole && as_expected(e, verdict))
		return true;
	r->verdict = verdict;
	snprintf(r->detail, sizeof(r->detail), "%s", whole ? e->cell.detail : hf_m.failure.text);
	hf_dpor_schedule(r->schedule, sizeof(r->schedule));
	return false;
}

static double spent(const struct exploration *e)
{
	return e->o->cpu_seconds ? hf_cpu_seconds() - e->cpu_start : hf_seconds_since(&e->start);
}

static bool is_over(const struct exploration *e)
{
	uint64_t done = e->r->executions + e->r->redundant;

	if (e->o->stop && *e->o->stop)
		return true;
	if (e->o->max_executions && done >= e->o->max_executions)
		return true;
	return e->o->seconds && done % 64 == 0 && spent(e) >= e->o->seconds;
}

/* ---- all of them ---- */

static void explore(struct exploration *e)
{
	bool more = true;

	while (more && !is_over(e)) {
		bool whole;

		hf_machine_reset();
		hf_dpor_begin();
		whole = hf_machine_guard(execute, e);
		if (!judge(e, whole))
			return;
		more = hf_dpor_next();
	}
	e->r->complete = !more && e->o->strategy != HF_EXPLORE_RANDOM;
}

static int take_schedule(const struct hf_explore_options *o, struct hf_explore_result *r)
{
	static struct hf_turn turns[HF_SCHEDULE_MAX];
	int nr;

	if (o->strategy != HF_EXPLORE_REPLAY)
		return 0;
	nr = hf_schedule_parse(o->replay, turns, HF_SCHEDULE_MAX);
	if (nr < 0) {
		snprintf(r->detail, sizeof(r->detail), "'%s' is no schedule", o->replay);
		return -EINVAL;
	}
	hf_dpor_replay(turns, (size_t)nr);
	return 0;
}

int hf_explore(const struct hf_explore_options *o, struct hf_explore_result *r)
{
	struct exploration e = { .o = o, .r = r, .once = *o->scn };
	struct rusage usage;
	int err;

	*r = (struct hf_explore_result){ .verdict = HF_OK };
	e.once.rounds = 1;
	e.target = hf_target_engine(o->policy);
	if (!e.target)
		return -ENOMEM;
	find_hot_words(o->scn);
	hf_m.model = o->memory;
	hf_m.trace = o->trace ? hf_trace : NULL;
	hf_mutate(o->mutation, o->sites ? r->sites : NULL);
	hf_dpor_start(o->strategy, o->bound, o->seed);
	err = take_schedule(o, r);
	if (!err && o->trace)
		hf_trace_arms(o->scn);
	clock_gettime(CLOCK_MONOTONIC, &e.start);
	e.cpu_start = hf_cpu_seconds();
	if (!err)
		explore(&e);
	r->seconds = hf_seconds_since(&e.start);
	getrusage(RUSAGE_SELF, &usage);
	r->kib = (size_t)usage.ru_maxrss;
	if (!hf_m.failure.found)
		e.target->ops->free(e.target);
	return err;
}
