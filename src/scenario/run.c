/* SPDX-License-Identifier: MIT */
/* The runner: feeds a scenario to a target,
 * shows what was seen to the oracle, and writes down the verdict. */
#include "oracle.h"
#include "target.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct round {
	struct hf_target *t;
	const struct hf_scenario *scn;
	struct hf_cell *cell;
	bool trace;
	hf_watch_fn watch; /* NULL: nobody */
	void *watch_arg;
	void *run;
	struct hf_oracle *oracle;
	bool void_ref[HF_SCN_MAX_REFS];
	bool void_proc[HF_SCN_MAX_PROCS];
	size_t size[HF_SCN_MAX_PROCS][HF_SCN_MAX_BUFS]; /* of each buffer, as it came to be */
	bool folios;                                    /* whole ones are mapped for a buffer */
};

static void set_verdict(struct hf_cell *cell, enum hf_verdict verdict, const char *detail)
{
	cell->verdict = verdict;
	snprintf(cell->detail, sizeof(cell->detail), "%s", detail);
}

static void harness_failed(struct hf_cell *cell, int err)
{
	set_verdict(cell, HF_ERROR,
		    err == -E2BIG
			    ? "the oracle keeps no more states apart: fewer steps at the same "
			      "time, please, or more looks at what they did"
			    : "out of memory");
}

bool hf_step_makes_ref(const struct hf_step *st)
{
	return st->proc != HF_SCN_DEVICE && st->ref >= 0 && st->buf >= 0;
}

bool hf_step_fits_ref(const struct hf_step *st, const struct hf_step *maker)
{
	if (st->verb == HF_V_RELEASE)
		return maker->verb == HF_V_VMSPLICE || maker->verb == HF_V_FIXEDBUF;
	return st->proc == maker->proc &&
	       maker->verb == (st->verb == HF_V_PUT ? HF_V_GET : HF_V_PIN);
}

static bool reads(const struct hf_scenario *scn, const struct hf_step *st)
{
	switch (st->verb) {
	case HF_V_READ:
	case HF_V_CHECK:
	case HF_V_PROCESS_VM_READ:
	case HF_V_PTRACE_READ:
	case HF_V_DEV_READ:
	case HF_V_DEV_CHECK:
		return true;
	case HF_V_DEV_FINISH:
		return hf_ref_maker(scn, st->ref)->verb == HF_V_ODIRECT_WRITE;
	default:
		return false;
	}
}

size_t hf_step_read_size(const struct hf_scenario *scn, const struct hf_step *st)
{
	const struct hf_step *maker;

	if (!reads(scn, st))
		return 0;
	if (st->proc != HF_SCN_DEVICE || st->hi)
		return st->hi - st->lo;
	maker = hf_ref_maker(scn, st->ref);
	return maker->hi - maker->lo;
}

/* ---- the trace ---- */

static void describe_pages(const struct round *r, char **out)
{
	size_t len = 0;
	FILE *f = open_memstream(out, &len);

	if (!f)
		return;
	for (size_t p = 0; p < r->scn->nr_procs; p++)
		for (size_t b = 0; b < r->scn->nr_bufs; b++)
			for (unsigned i = 0; i < r->scn->bufs[b].max_pages; i++) {
				struct hf_page_state s;

				if (r->t->ops->page(r->run, (int)p, (int)b, i, &s) || !s.present)
					continue;
				fprintf(f, "%s %s@%u", r->scn->procs[p].name, r->scn->bufs[b].name,
					i);
				if (s.pfn != UINT64_MAX)
					fprintf(f, " frame %llu", (unsigned long long)s.pfn);
				fprintf(f, "%s%s%s", s.zeropage == 1 ? " zeropage" : "",
					s.exclusive == 1 ? " exclusive" : "",
					s.writable == 1   ? " writable"
					: s.writable == 0 ? " read-only"
							  : "");
				if (s.refs >= 0)
					fprintf(f, " refs %d", s.refs);
				if (s.pins >= 0)
					fprintf(f, " pins %d", s.pins);
				if (s.mapcount >= 0)
					fprintf(f, " mapcount %d", s.mapcount);
				fputc('\n', f);
			}
	fclose(f);
}

static char *describe_result(const struct hf_obs *obs)
{
	char text[64];

	if (obs->status < 0)
		snprintf(text, sizeof(text), "%s", strerrorname_np(-obs->status));
	else if (obs->status == HF_OBS_SKIP)
		snprintf(text, sizeof(text), "skip");
	else if (obs->status)
		snprintf(text, sizeof(text), "failed");
	else if (obs->len && !memcmp(obs->data, obs->data + 1, obs->len - 1))
		snprintf(text, sizeof(text), "0x%02x", obs->data[0]);
	else
		snprintf(text, sizeof(text), obs->len ? "mixed" : "ok");
	return strdup(text);
}

static void record(struct round *r, const struct hf_step *st, char *result)
{
	struct hf_cell *cell = r->cell;
	struct hf_cell_step *grown =
		r->watch ? NULL : realloc(cell->steps, (cell->nr_steps + 1) * sizeof(*grown));
	struct hf_cell_step *s;

	if (!grown) {
		free(result);
		return;
	}
	cell->steps = grown;
	s = &grown[cell->nr_steps++];
	*s = (struct hf_cell_step){ .line = st->line, .text = strdup(st->text), .result = result };
	if (r->trace && r->run && !st->par)
		describe_pages(r, &s->pages);
}

static void forget_steps(struct hf_cell *cell)
{
	for (size_t i = 0; i < cell->nr_steps; i++) {
		free(cell->steps[i].text);
		free(cell->steps[i].result);
		free(cell->steps[i].pages);
	}
	free(cell->steps);
	cell->steps = NULL;
	cell->nr_steps = 0;
}

/* ---- one step ---- */

/* The step is on what a step that failed was to make. Behind a buffer's end there is nothing, which
 * shows, but the rest of its folio. */
static bool is_void(const struct round *r, const struct hf_step *st)
{
	if (st->ref >= 0 && r->void_ref[st->ref])
		return true;
	if (st->proc == HF_SCN_DEVICE)
		return false;
	return r->void_proc[st->proc] || r->void_proc[st->target] ||
	       (r->folios && st->buf >= 0 && st->hi > r->size[st->target][st->buf]);
}

static void note_sizes(struct round *r, const struct hf_step *st)
{
	if (st->verb == HF_V_FORK)
		memcpy(r->size[st->child], r->size[st->proc], sizeof(r->size[0]));
	else if (st->verb == HF_V_MAP || (st->verb == HF_V_REMAP && st->pages))
		r->size[st->proc][st->buf] = st->pages * HF_PAGE_SIZE;
}

static void make_void(struct round *r, const struct hf_step *st)
{
	if (hf_step_makes_ref(st))
		r->void_ref[st->ref] = true;
	if (st->verb == HF_V_FORK)
		r->void_proc[st->child] = true;
}

/* The step's memory was there in one order of what was done at the same time, and not in another:
 * a file that wants one of the two is to say `maybe`. */
static void blame_file(struct round *r, const struct hf_step *st, const char *what)
{
	char text[320];

	snprintf(
		text, sizeof(text),
		"line %d: '%.120s' %s: the order of what was done at the same time decides whether "
		"it can be done; say 'maybe'",
		st->line, st->text, what);
	set_verdict(r->cell, HF_ERROR, text);
}

/* What a status alone decides; `open`: what can be done hangs on the order of things. True: the
 * oracle is to look at the step. */
static bool judge_status(struct round *r, const struct hf_step *st, const struct hf_obs *obs,
			 bool open)
{
	char text[320];

	switch (obs->status) {
	case HF_OBS_SKIP:
		set_verdict(r->cell, HF_SKIP, obs->reason);
		return false;
	case HF_OBS_ERROR:
	case HF_OBS_BUG:
		snprintf(text, sizeof(text), "line %d: %s", st->line, obs->reason);
		set_verdict(r->cell, obs->status == HF_OBS_BUG ? HF_BUG : HF_ERROR, text);
		return false;
	}
	if (obs->status == 0 && st->fails && open) {
		blame_file(r, st, "must fail");
		return false;
	}
	if (obs->status == 0 && st->fails) {
		snprintf(text, sizeof(text), "line %d: '%s' must fail, but succeeded", st->line,
			 st->text);
		set_verdict(r->cell, HF_BUG, text);
		return false;
	}
	if (obs->status == 0) {
		note_sizes(r, st);
		return true;
	}
	make_void(r, st);
	if (obs->status == -ECANCELED || st->maybe ||
	    (st->fails && (!st->fails_errno || obs->status == -st->fails_errno)))
		return true;
	if (open && (obs->status == -EFAULT || obs->status == -EIO)) {
		blame_file(r, st, "failed");
		return false;
	}
	snprintf(text, sizeof(text), "line %d: '%s' failed: %s", st->line, st->text,
		 strerrorname_np(-obs->status));
	set_verdict(r->cell, HF_REFUSED, text);
	return false;
}

static void adopt(struct round *r, int err, const struct hf_judgement *j)
{
	if (err)
		harness_failed(r->cell, err);
	else if (j->verdict != HF_OK)
		set_verdict(r->cell, j->verdict, j->detail);
}

static void run_step(struct round *r, const struct hf_step *st)
{
	struct hf_obs obs = { .len = hf_step_read_size(r->scn, st) };
	struct hf_judgement j = { .verdict = HF_OK };

	if (is_void(r, st)) {
		record(r, st, strdup("void"));
		return;
	}
	obs.data = obs.len ? calloc(1, obs.len) : NULL;
	if (obs.len && !obs.data) {
		harness_failed(r->cell, -ENOMEM);
		return;
	}
	r->t->ops->step(r->run, st, &obs);
	record(r, st, describe_result(&obs));
	if (judge_status(r, st, &obs, hf_oracle_is_open(r->oracle, st)))
		adopt(r, hf_oracle_step(r->oracle, st, &obs, &j), &j);
	free(obs.data);
}

/* Steps of all arms, in order of appearance. */
static size_t list_steps(const struct hf_par *par, const struct hf_step **steps)
{
	size_t n = 0;

	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 0; i < par->arms[a].nr_steps; i++)
			steps[n++] = &par->arms[a].steps[i];
	return n;
}

static bool harness_ok(const struct hf_obs *obs, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (obs[i].status > 0)
			return false;
	return true;
}

/* Statuses first: what happened elsewhere than the file says is no order's to explain. */
static void judge_par(struct round *r, const struct hf_par *par, const struct hf_step *const *steps,
		      const struct hf_obs *obs, size_t nr)
{
	struct hf_judgement j = { .verdict = HF_OK };
	unsigned open = 0;
	int err = harness_ok(obs, nr) ? hf_oracle_par(r->oracle, par, obs, &open, &j) : 0;

	for (size_t i = 0; i < nr; i++) {
		record(r, steps[i], obs[i].left_out ? strdup("void") : describe_result(&obs[i]));
		if (r->cell->verdict == HF_OK)
			judge_status(r, steps[i], &obs[i], open >> i & 1);
	}
	if (r->cell->verdict == HF_OK)
		adopt(r, err, &j);
}

static void run_par(struct round *r, const struct hf_par *par)
{
	struct hf_obs obs[HF_SCN_MAX_PAR_STEPS] = { 0 };
	uint8_t data[HF_SCN_MAX_PAR_STEPS][8] = { 0 };
	const struct hf_step *steps[HF_SCN_MAX_PAR_STEPS];
	size_t nr = list_steps(par, steps);

	for (size_t i = 0; i < nr; i++) {
		obs[i].len = hf_step_read_size(r->scn, steps[i]);
		obs[i].data = data[i];
		obs[i].left_out = is_void(r, steps[i]);
		obs[i].status = obs[i].left_out ? -ECANCELED : 0;
	}
	r->t->ops->par(r->run, par, obs);
	judge_par(r, par, steps, obs, nr);
}

static void run_steps(struct round *r)
{
	for (size_t i = 0; i < r->scn->nr_steps && r->cell->verdict == HF_OK; i++) {
		if (r->scn->steps[i].par)
			run_par(r, r->scn->steps[i].par);
		else
			run_step(r, &r->scn->steps[i]);
	}
}

static void run_round(struct round *r, enum hf_kind kind)
{
	struct hf_obs obs = { 0 };

	r->folios = hf_kind_info(kind)->order > 0;
	r->oracle = hf_oracle_new(r->scn, kind);
	if (!r->oracle) {
		harness_failed(r->cell, -ENOMEM);
		return;
	}
	if (r->t->ops->begin(r->t, r->scn, kind, &r->run, &obs)) {
		set_verdict(r->cell, obs.status == HF_OBS_SKIP ? HF_SKIP : HF_ERROR, obs.reason);
	} else {
		run_steps(r);
		if (r->watch && r->cell->verdict == HF_OK)
			r->watch(r->run, r->oracle, r->watch_arg);
		obs = (struct hf_obs){ 0 };
		r->t->ops->end(r->run, &obs);
		if (obs.status && r->cell->verdict == HF_OK)
			set_verdict(r->cell, obs.status == HF_OBS_BUG ? HF_BUG : HF_ERROR,
				    obs.reason);
	}
	hf_oracle_free(r->oracle);
}

void hf_run_watched(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
		    hf_watch_fn watch, void *arg, struct hf_cell *cell)
{
	struct round r = { .t = t, .scn = scn, .cell = cell, .watch = watch, .watch_arg = arg };

	*cell = (struct hf_cell){ .scn = scn, .kind = kind, .target = t->name, .verdict = HF_OK };
	run_round(&r, kind);
}

void hf_cell_init(struct hf_cell *cell, const struct hf_target *t, const struct hf_scenario *scn,
		  enum hf_kind kind)
{
	*cell = (struct hf_cell){ .scn = scn, .kind = kind, .target = t->name, .verdict = HF_OK };
	cell->expected = hf_scenario_expected(scn, t->name, kind);
	if (!cell->expected && t->expect)
		cell->expected = hf_scenario_expected(scn, t->expect, kind);
}

void hf_run_cell(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind, bool trace,
		 const volatile sig_atomic_t *stop, struct hf_cell *cell)
{
	hf_cell_init(cell, t, scn, kind);
	/* rounds look for bad luck: the first bad one is the verdict */
	for (unsigned i = 0; i < scn->rounds && cell->verdict == HF_OK; i++) {
		struct round r = { .t = t, .scn = scn, .cell = cell, .trace = trace };

		if (stop && *stop) {
			set_verdict(cell, HF_ERROR, "interrupted");
			break;
		}
		forget_steps(cell);
		run_round(&r, kind);
	}
}

void hf_cell_free(struct hf_cell *cell)
{
	forget_steps(cell);
	free(cell->console);
	cell->console = NULL;
}

bool hf_cell_as_expected(const struct hf_cell *cell)
{
	if (cell->verdict == HF_SKIP)
		return true;
	return (cell->expected ? cell->expected : 1u << HF_OK) >> cell->verdict & 1;
}
