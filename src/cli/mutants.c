/* SPDX-License-Identifier: MIT */
/*
 * holdfast check --mutants: every order of an atomic weakened by one step, every lock, flush and
 * read section left out, every second look skipped, one at a time; the explorer must notice under
 * rc11. No build is needed: the checked core asks at each site what to do.
 */
#include "cli.h"
#include "pool.h"

#include "../check/explore.h"

#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME 160

struct mutant {
	struct hf_mutation m;
	size_t site;
	char name[NAME], what[48];
};

struct outcome {
	bool killed;
	unsigned tried; /* cells */
	char by[96];    /* scenario and verdict */
	char detail[420];
};

/* A scenario over one kind of memory. */
struct cell {
	const struct hf_scenario *scn;
	enum hf_kind kind;
};

struct work {
	struct cell *cells;
	size_t nr_cells;
	struct hf_explore_result *whole; /* of each cell, unchanged */
	struct mutant *mutants;
	struct outcome *outcomes;
	size_t nr, killed;
	uint64_t executions;
	unsigned threads, seconds;
	const char *only, *policy;
	bool survivors;
};

static void usage(FILE *to)
{
	fputs("Usage: holdfast check --mutants [OPTION...] FILE|DIR...\n"
	      "\n"
	      "Makes the core worse in one place at a time, as far as the scenarios' par blocks "
	      "come there, and\n"
	      "explores them under rc11: an order weakened by one step, a lock, flush or RCU "
	      "section left out;\n"
	      "or, under sc, a second look skipped. Prints each with what noticed it.\n"
	      "\n"
	      "  --only TEXT         sites whose name has TEXT in it: \"gup_fast.c:66 ptep\"\n"
	      "  --policy P          default: holdfast\n"
	      "  --survivors         print only those that nothing noticed\n"
	      "  --executions N      of each scenario at most, default 20000\n"
	      "  --seconds N         the same, default 20\n"
	      "  --threads N         processes at a time, default: one a CPU\n"
	      "  --help\n"
	      "\n"
	      "Exit status: 0 all were noticed, 1 not, 2 usage or parse error, 130 interrupted.\n",
	      to);
}

static struct hf_explore_options options_for(const struct work *w, size_t cell)
{
	return (struct hf_explore_options){
		.scn = w->cells[cell].scn,
		.kind = w->cells[cell].kind,
		.policy = w->policy,
		.memory = HF_MEMORY_RC11,
		.max_executions = w->executions,
		.seconds = w->seconds,
		.stop = &hf_interrupted,
	};
}

/* ---- the mutants ---- */

static bool is_new(const struct work *w, const struct mutant *m)
{
	for (size_t i = 0; i < w->nr; i++)
		if (!strcmp(w->mutants[i].name, m->name) && !strcmp(w->mutants[i].what, m->what))
			return false;
	return true;
}

static int add(struct work *w, size_t site, enum hf_mutation_kind kind, int order)
{
	struct mutant *grown, m = { .m = { .kind = kind, .order = order }, .site = site };

	hf_site_name(hf_explore_site(site), m.name, sizeof(m.name));
	snprintf(m.what, sizeof(m.what),
		 kind == HF_MUTATE_ORDER  ? "%s -> %s"
		 : kind == HF_MUTATE_SKIP ? "left out"
					  : "no second look",
		 hf_order_name(hf_explore_site(site)->order), hf_order_name(order));
	if ((w->only && !strstr(m.name, w->only)) || !is_new(w, &m))
		return 0;
	grown = realloc(w->mutants, (w->nr + 1) * sizeof(*grown));
	if (!grown)
		return -1;
	w->mutants = grown;
	w->mutants[w->nr++] = m;
	return 0;
}

/* The orders one step weaker; -1 ends. */
static void weaker(const struct hf_site *s, int *orders)
{
	int nr = 0;

	switch (s->order) {
	case memory_order_seq_cst:
		orders[nr++] = s->kind == HF_SITE_LOAD    ? memory_order_acquire
			       : s->kind == HF_SITE_STORE ? memory_order_release
							  : memory_order_acq_rel;
		break;
	case memory_order_acq_rel:
		orders[nr++] = memory_order_acquire;
		orders[nr++] = memory_order_release;
		break;
	case memory_order_acquire:
	case memory_order_release:
		orders[nr++] = memory_order_relaxed;
		break;
	default:
		break;
	}
	orders[nr] = -1;
}

static uint8_t seen_at(const struct work *w, size_t site)
{
	uint8_t seen = 0;

	for (size_t i = 0; i < w->nr_cells; i++)
		seen |= w->whole[i].sites[site];
	return seen;
}

static int make_mutants(struct work *w)
{
	int err = 0;

	for (size_t i = 0; hf_explore_site(i) && i < HF_MAX_SITES && !err; i++) {
		const struct hf_site *s = hf_explore_site(i);
		uint8_t seen = seen_at(w, i);
		int orders[3];

		if (!(seen & HF_SITE_MET))
			continue;
		if (s->kind > HF_SITE_RMW) {
			err = add(w, i, HF_MUTATE_SKIP, 0);
			continue;
		}
		weaker(s, orders);
		for (int k = 0; orders[k] >= 0 && !err; k++)
			err = add(w, i, HF_MUTATE_ORDER, orders[k]);
		if (s->kind == HF_SITE_LOAD && seen & HF_SITE_CHANGED && !err)
			err = add(w, i, HF_MUTATE_STALE, 0);
	}
	for (size_t i = 0; i < w->nr; i++)
		w->mutants[i].m.site = w->mutants[i].name;
	return err;
}

/* ---- runs ---- */

static void run_unchanged(size_t i, void *arg)
{
	struct work *w = arg;
	struct hf_explore_options o = options_for(w, i);

	o.sites = true;
	hf_explore(&o, &w->whole[i]);
}

static void unchanged_is_done(size_t i, const char *died, void *arg)
{
	struct work *w = arg;

	if (died || w->whole[i].verdict != HF_OK)
		fprintf(stderr, "holdfast: %s fails without any change: %s\n",
			w->cells[i].scn->name, died ? died : w->whole[i].detail);
}

/* Whether a scenario's arms come to the mutant's place. */
static bool reaches(const struct work *w, size_t cell, const char *name)
{
	char other[NAME];

	for (size_t i = 0; hf_explore_site(i) && i < HF_MAX_SITES; i++) {
		if (!w->whole[cell].sites[i])
			continue;
		hf_site_name(hf_explore_site(i), other, sizeof(other));
		if (!strcmp(other, name))
			return true;
	}
	return false;
}

static void run_mutant(size_t i, void *arg)
{
	static struct hf_explore_result r;
	struct work *w = arg;
	struct outcome *out = &w->outcomes[i];

	for (size_t s = 0; s < w->nr_cells && !out->killed; s++) {
		struct hf_explore_options o = options_for(w, s);

		if (!reaches(w, s, w->mutants[i].name))
			continue;
		out->tried++;
		o.mutation = &w->mutants[i].m;
		/* a look that is skipped is missed in any order; the rest needs weak memory, or has
		 * data races, which are looked for there */
		if (o.mutation->kind == HF_MUTATE_STALE)
			o.memory = HF_MEMORY_SC;
		snprintf(out->by, sizeof(out->by), "%s (%s)", o.scn->name, hf_kind_name(o.kind));
		hf_explore(&o, &r);
		out->killed = r.verdict != HF_OK;
		if (out->killed)
			snprintf(out->detail, sizeof(out->detail), "%s: %s",
				 hf_verdict_names[r.verdict], r.detail);
	}
}

static void mutant_is_done(size_t i, const char *died, void *arg)
{
	struct work *w = arg;
	struct outcome *out = &w->outcomes[i];

	if (died) {
		out->killed = true;
		snprintf(out->detail, sizeof(out->detail), "%s", died);
	}
	w->killed += out->killed;
	if (out->killed && w->survivors)
		return;
	printf("%s %s, %s", out->killed ? "killed  " : "SURVIVED", w->mutants[i].name,
	       w->mutants[i].what);
	if (out->killed)
		printf(": %s: %.100s", out->by, out->detail);
	else
		printf(" (%u explorations)", out->tried);
	putchar('\n');
	fflush(stdout);
}

static int make_cells(struct work *w, const struct hf_library *lib)
{
	w->cells = calloc(lib->nr * HF_NR_KINDS, sizeof(*w->cells));
	for (size_t i = 0; w->cells && i < lib->nr; i++)
		for (int k = 0; k < HF_NR_KINDS && hf_explorable(lib->scn[i]); k++)
			if (lib->scn[i]->kinds & HF_KINDS_OF(k))
				w->cells[w->nr_cells++] =
					(struct cell){ lib->scn[i], (enum hf_kind)k };
	return w->nr_cells ? 0 : -1;
}

static int run_all(struct work *w, const struct hf_library *lib)
{
	struct hf_pool unchanged = {
		.threads = w->threads, .run = run_unchanged, .done = unchanged_is_done, .arg = w
	};
	struct hf_pool all = {
		.threads = w->threads, .run = run_mutant, .done = mutant_is_done, .arg = w
	};

	if (make_cells(w, lib))
		return HF_EXIT_USAGE;
	unchanged.nr = w->nr_cells;
	w->whole = hf_shared_alloc(w->nr_cells * sizeof(*w->whole));
	if (!w->whole || hf_pool_run(&unchanged) || make_mutants(w) || !w->nr)
		return HF_EXIT_USAGE;
	w->outcomes = hf_shared_alloc(w->nr * sizeof(*w->outcomes));
	all.nr = w->nr;
	if (!w->outcomes || hf_pool_run(&all))
		return HF_EXIT_USAGE;
	printf("explored mutants: %zu/%zu killed\n", w->killed, w->nr);
	if (hf_interrupted)
		return HF_EXIT_INTERRUPTED;
	return w->killed == w->nr ? HF_EXIT_OK : HF_EXIT_UNEXPECTED;
}

/* ---- the command ---- */

static bool take_option(struct work *w, int c, const char *arg)
{
	switch (c) {
	case 'o':
		w->only = arg;
		return true;
	case 'p':
		return hf_take_policy(arg, &w->policy);
	case 's':
		w->survivors = true;
		return true;
	case 'e':
		return hf_take_number("executions", arg, 1, UINT64_MAX, &w->executions);
	case 'S':
		return hf_take_small_number("seconds", arg, 0, 1000000, &w->seconds);
	case 't':
		return hf_take_small_number("threads", arg, 1, 256, &w->threads);
	default:
		return true; /* --mutants */
	}
}

static int parse_options(int argc, char **argv, struct work *w, int *status)
{
	static const struct option longs[] = {
		{ "mutants", no_argument, NULL, 'm' },
		{ "only", required_argument, NULL, 'o' },
		{ "policy", required_argument, NULL, 'p' },
		{ "survivors", no_argument, NULL, 's' },
		{ "executions", required_argument, NULL, 'e' },
		{ "seconds", required_argument, NULL, 'S' },
		{ "threads", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	*status = HF_EXIT_USAGE;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'h' || c == '?') {
			usage(c == 'h' ? stdout : stderr);
			*status = c == 'h' ? HF_EXIT_OK : HF_EXIT_USAGE;
			return -1;
		}
		if (!take_option(w, c, optarg))
			return -1;
	}
	if (optind < argc)
		return 0;
	fputs("holdfast: no scenario given: name files or folders, such as scenarios/races\n",
	      stderr);
	return -1;
}

int hf_cmd_mutants(int argc, char **argv)
{
	struct hf_library lib = { .nr = 0 };
	struct work w = {
		.policy = "holdfast", .executions = 20000, .seconds = 20, .threads = hf_cpus()
	};
	int status;

	if (parse_options(argc, argv, &w, &status))
		return status;
	status = hf_library_load(&lib, argv + optind, (size_t)(argc - optind));
	if (!status)
		status = run_all(&w, &lib);
	hf_shared_free(w.whole, w.nr_cells * sizeof(*w.whole));
	hf_shared_free(w.outcomes, w.nr * sizeof(*w.outcomes));
	free(w.mutants);
	free(w.cells);
	hf_library_free(&lib);
	return status;
}
