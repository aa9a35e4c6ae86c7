/* SPDX-License-Identifier: MIT */
/* Engine and kernel in lock step over random histories. */
#include "equiv.h"
#include "../target/engine/engine.h"

#include "../platform/elapsed.h"
#include "../scenario/oracle.h"
#include "../search/history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 8192
#define WORDS_MAX 320

const char *const hf_difference_names[] = {
	[HF_SAME] = "none",
	[HF_DIFF_STATUS] = "status",
	[HF_DIFF_DATA] = "data",
	[HF_DIFF_PRESENT] = "present",

	[HF_DIFF_FRAME] = "frame",
	[HF_DIFF_SHARED] = "shared",
	[HF_DIFF_EXCLUSIVE] = "exclusive",
	[HF_DIFF_END] = "end",
};

/* What histories never do: no program can ask for it, or pipes and direct I/O are it already. */
#define NOT_REAL                                                                                   \
	(HF_HIST_OP(HF_H_MIGRATE) | HF_HIST_OP(HF_H_MERGE) | HF_HIST_OP(HF_H_PIN_R) |              \
	 HF_HIST_OP(HF_H_PIN_R_SHORT) | HF_HIST_OP(HF_H_PIN_W_SHORT) | HF_HIST_OP(HF_H_GET_R) |    \
	 HF_HIST_OP(HF_H_GET_W))

/* Folios are written to before anything else, so that there is one: what Linux makes of huge
 * zeropages and pages of zeros changed too often. Nor is memory collapsed, which it does or does
 * not for reasons of its own. */
#define NOT_OF_FOLIOS (HF_HIST_OP(HF_H_MAP) | HF_HIST_OP(HF_H_COLLAPSE))
/* When Linux takes a folio apart for MADV_FREE the engine does not know. */
#define NOT_OF_ANY_FOLIOS HF_HIST_OP(HF_H_FREE)

enum { ENGINE, KERNEL };

/* One more than histories have: who looks at the memory of others. */
#define PROCS (HF_HIST_MAX_PROCS + 1)
#define SLOTS (PROCS * HF_HIST_MAX_PAGES)

/* The pages of all processes, as one of the two shows them. */
struct picture {
	struct hf_page_state page[SLOTS];
};

/* One history on both. */
struct pair {
	struct hf_target *t[2];
	void *run[2];
	const struct hf_scenario *scn;
	struct picture now[2], before[2];
	bool void_ref[HF_SCN_MAX_REFS];
	struct hf_step pin[HF_SCN_MAX_REFS]; /* as the engine makes them */
	enum hf_difference what;
	bool skipped;
	unsigned steps; /* compared */
	char words[WORDS_MAX];
};

struct equiv {
	const struct hf_equiv_options *o;
	struct hf_equiv_result *result;
	struct hf_target *engine, *kernel;
	struct hf_hist_limits limits;
	bool always_written;
	struct timespec begin, last;
	struct hf_equiv_found *found;
	unsigned nr_found;
};

/* ---- one step ---- */

static const char *const side_name[] = { "engine", "kernel" };

static void look(struct pair *p, int side)
{
	size_t n = 0;

	p->before[side] = p->now[side];
	for (int proc = 0; proc < PROCS; proc++)
		for (unsigned g = 0; g < HF_HIST_MAX_PAGES; g++, n++) {
			struct hf_page_state *s = &p->now[side].page[n];

			if ((size_t)proc >= p->scn->nr_procs || g >= p->scn->bufs[0].max_pages ||
			    p->t[side]->ops->page(p->run[side], proc, 0, g, s))
				*s = (struct hf_page_state){ .pfn = UINT64_MAX };
		}
}

/* A frame of a page's own. */
static bool has_frame(const struct hf_page_state *s)
{
	return s->present && !s->zeropage && !s->file;
}

/* The zeropage is as nothing, and so is a file's page: Linux does not copy the entries of a mapping
 * that was never written to, nor does it keep all pages of files, and nobody can tell. */
static int state_of(const struct hf_page_state *s)
{
	return has_frame(s) ? 1 : s->swapped ? 2 : 0;
}

static bool got_another(const struct pair *p, int side, size_t i)
{
	const struct hf_page_state *was = &p->before[side].page[i], *is = &p->now[side].page[i];

	return has_frame(was) && has_frame(is) && was->pfn != is->pfn;
}

static bool together(const struct pair *p, int side, size_t i, size_t j)
{
	const struct hf_page_state *a = &p->now[side].page[i], *b = &p->now[side].page[j];

	return has_frame(a) && has_frame(b) && a->pfn == b->pfn;
}

static void say(struct pair *p, enum hf_difference what, size_t i, const char *engine,
		const char *kernel)
{
	p->what = what;
	snprintf(p->words, sizeof(p->words), "%s %s@%zu: %s %s, %s %s",
		 p->scn->procs[i / HF_HIST_MAX_PAGES].name, p->scn->bufs[0].name,
		 i % HF_HIST_MAX_PAGES, side_name[ENGINE], engine, side_name[KERNEL], kernel);
}

static void compare_sharing(struct pair *p, size_t i)
{
	for (size_t j = 0; j < i && !p->what; j++) {
		bool e = together(p, ENGINE, i, j), k = together(p, KERNEL, i, j);
		char with[64];

		if (e == k)
			continue;
		snprintf(with, sizeof(with), "shares it with %s @%zu",
			 p->scn->procs[j / HF_HIST_MAX_PAGES].name, j % HF_HIST_MAX_PAGES);
		say(p, HF_DIFF_SHARED, i, e ? with : "does not", k ? with : "does not");
	}
}

static void compare_page(struct pair *p, size_t i)
{
	static const char *const states[] = { "has nothing there", "maps a page", "moved it out" };
	const struct hf_page_state *e = &p->now[ENGINE].page[i], *k = &p->now[KERNEL].page[i];

	if (state_of(e) != state_of(k))
		say(p, HF_DIFF_PRESENT, i, states[state_of(e)], states[state_of(k)]);
	else if (!has_frame(e))
		return;
	else if (got_another(p, ENGINE, i) != got_another(p, KERNEL, i))
		say(p, HF_DIFF_FRAME, i,
		    got_another(p, ENGINE, i) ? "has another frame" : "keeps its frame",
		    got_another(p, KERNEL, i) ? "has another frame" : "keeps its frame");
	else if (!k->mark_of_head && e->exclusive != k->exclusive)
		say(p, HF_DIFF_EXCLUSIVE, i, e->exclusive ? "marks it exclusive" : "does not",
		    k->exclusive ? "marks it exclusive" : "does not");
	if (!p->what)
		compare_sharing(p, i);
}

static void compare_pictures(struct pair *p)
{
	for (int side = 0; side < 2; side++) {
		if (p->t[side]->ops->settle)
			p->t[side]->ops->settle(p->run[side]);
		look(p, side);
	}
	for (size_t i = 0; i < SLOTS && !p->what; i++)
		compare_page(p, i);
}

static void status_text(const struct hf_obs *obs, char *text, size_t len)
{
	if (obs->status < 0)
		snprintf(text, len, "fails: %s", strerrorname_np(-obs->status));
	else if (obs->status)
		snprintf(text, len, "breaks: %.100s", obs->reason);
	else
		snprintf(text, len, "goes on");
}

static void compare_results(struct pair *p, const struct hf_obs *e, const struct hf_obs *k)
{
	char text[2][120];
	size_t i = 0;

	if (e->status != k->status || e->status > 0) {
		status_text(e, text[ENGINE], sizeof(text[0]));
		status_text(k, text[KERNEL], sizeof(text[0]));
		p->what = HF_DIFF_STATUS;
		snprintf(p->words, sizeof(p->words), "engine %s, kernel %s", text[ENGINE],
			 text[KERNEL]);
		return;
	}
	if (e->status ||
	    !memcmp(e->data ? e->data : (uint8_t *)"", k->data ? k->data : (uint8_t *)"", e->len))
		return;
	while (e->data[i] == k->data[i])
		i++;
	p->what = HF_DIFF_DATA;
	snprintf(p->words, sizeof(p->words), "byte %zu: engine 0x%02x, kernel 0x%02x", i,
		 e->data[i], k->data[i]);
}

/* The kernel's long-term pins are registered buffers, which GUP-fast does not take: it looks at
 * entries alone, and in Linux 5.10 a forced write leaves a writable one in read-only memory of the
 * pool. */
static const struct hf_step *for_engine(struct pair *p, const struct hf_step *st)
{
	struct hf_step *pin;

	if (st->verb != HF_V_PIN || !(st->foll & HF_FOLL_LONGTERM))
		return st;
	pin = &p->pin[st->ref];
	*pin = *st;
	pin->fast = false;
	return pin;
}

static int run_step(struct pair *p, const struct hf_step *st)
{
	size_t len = hf_step_read_size(p->scn, st);
	struct hf_obs obs[2] = { { .len = len }, { .len = len } };
	int err = 0;

	if (st->ref >= 0 && p->void_ref[st->ref])
		return 0;
	for (int side = 0; side < 2 && len; side++) {
		obs[side].data = calloc(1, len);
		if (!obs[side].data)
			err = -ENOMEM;
	}
	if (!err) {
		p->t[ENGINE]->ops->step(p->run[ENGINE], for_engine(p, st), &obs[ENGINE]);
		p->t[KERNEL]->ops->step(p->run[KERNEL], st, &obs[KERNEL]);
		p->skipped = obs[KERNEL].status == HF_OBS_SKIP;
		if (p->skipped)
			snprintf(p->words, sizeof(p->words), "%s", obs[KERNEL].reason);
		else
			compare_results(p, &obs[ENGINE], &obs[KERNEL]);
		if (obs[KERNEL].status && hf_step_makes_ref(st))
			p->void_ref[st->ref] = true;
		if (!p->skipped && !p->what)
			compare_pictures(p);
		p->steps += !p->skipped;
	}
	free(obs[ENGINE].data);
	free(obs[KERNEL].data);
	return err;
}

/* ---- one history ---- */

static void add_place(struct pair *p, const struct hf_step *st)
{
	char words[WORDS_MAX];

	snprintf(words, sizeof(words), "line %d: '%s': %.200s", st->line, st->text, p->words);
	memcpy(p->words, words, sizeof(words));
}

static int run_steps(struct pair *p)
{
	int err = 0;

	for (size_t i = 0; i < p->scn->nr_steps && !p->what && !p->skipped && !err; i++) {
		err = run_step(p, &p->scn->steps[i]);
		if (p->what)
			add_place(p, &p->scn->steps[i]);
	}
	return err;
}

static void note_failure(struct pair *p, enum hf_difference what, int side, const struct hf_obs *o)
{
	if (p->what)
		return;
	p->what = what;
	snprintf(p->words, sizeof(p->words), "%s: %s", side_name[side], o->reason);
}

static int run_scenario(struct pair *p, enum hf_kind kind)
{
	struct hf_obs obs[2] = { { 0 }, { 0 } };
	int nr = 0, err = 0;

	while (nr < 2 && !p->t[nr]->ops->begin(p->t[nr], p->scn, kind, &p->run[nr], &obs[nr]))
		nr++;
	if (nr == 2)
		err = run_steps(p);
	else if (obs[nr].status == HF_OBS_SKIP) {
		p->skipped = true;
		snprintf(p->words, sizeof(p->words), "%s", obs[nr].reason);
	} else {
		note_failure(p, HF_DIFF_STATUS, nr, &obs[nr]);
	}
	while (nr-- > 0) {
		obs[nr].status = 0;
		p->t[nr]->ops->end(p->run[nr], &obs[nr]);
		if (obs[nr].status)
			note_failure(p, HF_DIFF_END, nr, &obs[nr]);
	}
	return err;
}

/* `p` says what came of it. */
static int run_history(struct equiv *e, const struct hf_history *h, struct pair *p)
{
	char *text = malloc(TEXT_MAX);
	struct hf_scenario *scn = NULL;
	struct hf_parse_error perr;
	int err = text ? 0 : -ENOMEM;

	*p = (struct pair){ .t = { e->engine, e->kernel } };
	if (!err)
		err = hf_scenario_parse(
			"history", text,
			hf_hist_text(h, &e->limits, "about a history\n", text, TEXT_MAX), NULL,
			&scn, &perr);
	if (!err) {
		p->scn = scn;
		err = run_scenario(p, e->limits.kind);
		hf_scenario_free(scn);
	}
	p->scn = NULL;
	free(text);
	return err;
}

/* ---- random histories ---- */

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static unsigned below(uint64_t *state, unsigned n)
{
	return (unsigned)(random_next(state) % n);
}

/* Of the operations that can come next, one; of its places, one:
 * so that those with few places are not rare. */
static struct hf_hist_step choose(const struct hf_hist_step *next, unsigned n, uint64_t *state)
{
	unsigned ops = 0, places = 0, op, last = UINT32_MAX;

	for (unsigned i = 0; i < n; last = next[i++].op)
		ops += next[i].op != last;
	op = below(state, ops);
	last = next[0].op;
	while (op) {
		while (next->op == last)
			next++, n--;
		last = next->op;
		op--;
	}
	while (places < n && next[places].op == last)
		places++;
	return next[below(state, places)];
}

static void random_history(struct equiv *e, uint64_t number, struct hf_history *h)
{
	struct hf_hist_step next[HF_HIST_MAX_NEXT];
	uint64_t state = e->o->seed * 0x100000001b3ull + number;
	unsigned depth, n;

	random_next(&state);
	e->limits.refusals = below(&state, 2);
	e->limits.procs = 2 + below(&state, HF_HIST_MAX_PROCS - 1);
	/* hugetlb pages are not mapped in parts: it is refused */
	e->limits.pages =
		1 + below(&state, hf_is_hugetlb(hf_kind_info(e->limits.kind)) && !e->limits.refusals
					  ? 1
					  : HF_HIST_MAX_PAGES);
	e->limits.written = below(&state, 2) || e->always_written;
	depth = 3 + below(&state, HF_HIST_MAX_DEPTH - 2);
	*h = (struct hf_history){ .nr = 0 };
	while (h->nr < depth) {
		n = hf_hist_next(h, &e->limits, next);
		if (!n)
			break;
		h->step[h->nr++] = choose(next, n, &state);
	}
}

/* ---- a difference ---- */

/* As long as some step can be left out, and the same kind of difference is still there. */
static int shrink(struct equiv *e, struct hf_history *h, struct pair *p)
{
	struct hf_history shorter;
	struct pair q;
	int err = 0;

	for (unsigned i = h->nr; i-- > 0 && !err && !(e->o->stop && *e->o->stop);) {
		hf_hist_without(h, &e->limits, i, &shorter);
		err = run_history(e, &shorter, &q);
		if (err || q.what != p->what)
			continue;
		*h = shorter;
		*p = q;
		i = h->nr;
	}
	return err;
}

/* Pages and processes that no step needs. */
static int shrink_limits(struct equiv *e, struct hf_history *h, struct pair *p)
{
	unsigned pages = 1;
	struct hf_hist_limits was = e->limits;
	struct pair q;
	int err;

	for (unsigned i = 0; i < h->nr; i++) {
		unsigned place = h->step[i].page;
		unsigned needs = place < HF_HIST_ALL ? place + 1 : place == HF_HIST_ALL ? 1 : 3;

		if (h->step[i].op < HF_H_DEV_READ && needs > pages)
			pages = needs;
	}
	e->limits.pages = pages;
	err = run_history(e, h, &q);
	if (!err && q.what == p->what)
		*p = q;
	else
		e->limits = was;
	return err;
}

static char *scenario_of(struct equiv *e, const struct hf_history *h)
{
	char *text = malloc(TEXT_MAX), about[160];

	snprintf(about, sizeof(about), "about   %s and %s differ\n", e->o->policy,
		 e->kernel->detail);
	if (text)
		hf_hist_text(h, &e->limits, about, text, TEXT_MAX);
	return text;
}

static struct hf_equiv_found *known(const struct equiv *e, const char *text)
{
	for (unsigned i = 0; i < e->nr_found; i++)
		if (!strcmp(e->found[i].text, text))
			return &e->found[i];
	return NULL;
}

static int keep(struct equiv *e, uint64_t number, const struct hf_history *h, const struct pair *p,
		bool steady)
{
	char *text = scenario_of(e, h);
	struct hf_equiv_found *f = text ? known(e, text) : NULL;

	if (!text)
		return -ENOMEM;
	if (f) {
		f->times++;
		free(text);
		return 0;
	}
	f = &e->found[e->nr_found++];
	*f = (struct hf_equiv_found){ .what = p->what,
				      .history = number,
				      .steps = h->nr,
				      .times = 1,
				      .steady = steady,
				      .text = text,
				      .words = strdup(p->words) };
	if (e->o->found && f->words)
		e->o->found(e->o->arg, f);
	return f->words ? 0 : -ENOMEM;
}

static int take_difference(struct equiv *e, uint64_t number, struct hf_history *h, struct pair *p)
{
	struct pair again;
	int err = run_history(e, h, &again);
	bool steady = !err && again.what == p->what;

	if (!err && steady)
		err = shrink(e, h, p);
	if (!err && steady)
		err = shrink_limits(e, h, p);
	return err ? err : keep(e, number, h, p, steady);
}

/* ---- what this kernel can do ---- */

static void note(const struct equiv *e, const char *text)
{
	if (e->o->note)
		e->o->note(e->o->arg, text);
}

/* A short history with the operation in it. */
static void probe_of(unsigned op, struct hf_history *h)
{
	h->nr = 0;
	h->step[h->nr++] = (struct hf_hist_step){ .op = HF_H_WRITE };
	h->step[h->nr++] = (struct hf_hist_step){ .op = (uint8_t)op };
}

static int probe(struct equiv *e)
{
	struct hf_history h;
	char text[400];
	struct pair p;
	int err = 0;

	e->limits.procs = 2;
	e->limits.pages = 1;
	probe_of(HF_H_WRITE, &h);
	err = run_history(e, &h, &p);
	if (!err && (p.skipped || p.what == HF_DIFF_STATUS)) {
		note(e, p.words);
		return -ENOTSUP;
	}
	if (e->kernel->wrprotects_all && !(e->limits.without >> HF_H_WRPROTECT & 1)) {
		e->limits.without |= HF_HIST_OP(HF_H_WRPROTECT);
		note(e, "without 'wrprotect': it goes for all of a process (soft-dirty bits); "
			"exact are Linux 6.7 and later with CONFIG_PTE_MARKER_UFFD_WP");
	}
	for (unsigned op = HF_H_WRPROTECT; op < HF_H_DEV_READ && !err; op++) {
		if (e->limits.without >> op & 1 ||
		    ((op == HF_H_COLLAPSE || op == HF_H_SPLIT) && e->limits.kind != HF_KIND_THP))
			continue;
		probe_of(op, &h);
		err = run_history(e, &h, &p);
		if (err || !p.skipped)
			continue;
		e->limits.without |= HF_HIST_OP(op);
		snprintf(text, sizeof(text), "without '%s': %s", hf_hist_op_name(op), p.words);
		note(e, text);
	}
	return err;
}

/* Frames and marks are for root, and the comparison is nothing without them. */
static int can_see(struct equiv *e)
{
	static const char text[] = "about a probe\nprocess P\nP: map mem 1\nP: write mem 1\n";
	struct hf_page_state s = { .pfn = UINT64_MAX, .exclusive = -1 };
	struct hf_obs obs = { 0 };
	struct hf_parse_error perr;
	struct hf_scenario *scn;
	void *run;
	int err = hf_scenario_parse("probe", text, sizeof(text) - 1, NULL, &scn, &perr);

	if (err)
		return err;
	err = e->kernel->ops->begin(e->kernel, scn, e->limits.kind, &run, &obs);
	for (size_t i = 0; i < scn->nr_steps && !err && !obs.status; i++)
		e->kernel->ops->step(run, &scn->steps[i], &obs);
	if (!err) {
		e->kernel->ops->page(run, 0, 0, 0, &s);
		e->kernel->ops->end(run, &obs);
	}
	hf_scenario_free(scn);
	if (obs.status)
		note(e, obs.reason);
	else if (s.pfn == UINT64_MAX || s.exclusive < 0)
		note(e, "frames and marks can be seen by root only (/proc/PID/pagemap, "
			"/proc/kpageflags)");
	return obs.status || s.pfn == UINT64_MAX || s.exclusive < 0 ? -ENOTSUP : 0;
}

/* ---- all of them ---- */

static void tell(struct equiv *e)
{
	e->result->seconds = hf_seconds_since(&e->begin);
	if (!e->o->progress || hf_seconds_since(&e->last) < 1)
		return;
	clock_gettime(CLOCK_MONOTONIC, &e->last);
	e->o->progress(e->o->arg, e->result);
}

static int one(struct equiv *e, uint64_t number)
{
	struct hf_history h;
	struct pair p;
	int err;

	random_history(e, number, &h);
	err = run_history(e, &h, &p);
	if (err)
		return err;
	e->result->histories++;
	e->result->steps += p.steps;
	e->result->skipped += p.skipped;
	if (!p.what)
		return 0;
	e->result->differences++;
	return take_difference(e, number, &h, &p);
}

static int all(struct equiv *e)
{
	int err = can_see(e);

	if (!err)
		err = probe(e);
	for (uint64_t i = 0; i < e->o->count && !err && e->nr_found < e->o->most; i++) {
		if (e->o->stop && *e->o->stop)
			return -EINTR;
		err = one(e, e->o->first + i);
		tell(e);
	}
	return err;
}

static bool is_file(enum hf_kind kind)
{
	return kind == HF_KIND_MEMFD || kind == HF_KIND_TMPFILE || kind == HF_KIND_MEMFD_HUGETLB;
}

bool hf_equiv_kind_ok(enum hf_kind kind)
{
	return hf_hist_kind_ok(kind) || kind == HF_KIND_HUGETLB || kind == HF_KIND_ZEROPAGE ||
	       kind == HF_KIND_HUGE_ZEROPAGE || kind == HF_KIND_MIXED || is_file(kind);
}

static void limit(struct equiv *e)
{
	enum hf_kind kind = e->o->kind;
	bool folios = hf_kind_info(kind)->memory == HF_MEM_ANON && kind != HF_KIND_BASE;

	e->limits = (struct hf_hist_limits){ .kind = kind, .real = true, .looked_at = true };
	e->limits.without =
		e->o->without | NOT_REAL | (folios ? NOT_OF_FOLIOS : 0) |
		(hf_kind_info(kind)->order && !hf_is_hugetlb(hf_kind_info(kind)) ? NOT_OF_ANY_FOLIOS
										 : 0) |
		(is_file(kind) ? 0 : HF_HIST_OP(HF_H_TRUNCATE));
	e->always_written = folios;
}

int hf_equiv(struct hf_target *t, const struct hf_equiv_options *options,
	     struct hf_equiv_result *result)
{
	struct equiv e = { .o = options, .result = result, .kernel = t };
	int err;

	*result = (struct hf_equiv_result){ 0 };
	if (t->ops->equiv)
		return t->ops->equiv(t, options, result);
	limit(&e);
	e.engine = hf_target_engine(options->policy);
	if (!e.engine)
		return -EINVAL;
	e.found = calloc(options->most + 1, sizeof(*e.found));
	clock_gettime(CLOCK_MONOTONIC, &e.begin);
	e.last = e.begin;
	err = e.found ? all(&e) : -ENOMEM;
	result->seconds = hf_seconds_since(&e.begin);
	for (unsigned i = 0; i < e.nr_found; i++) {
		free((void *)e.found[i].text);
		free((void *)e.found[i].words);
	}
	free(e.found);
	e.engine->ops->free(e.engine);
	return err;
}
