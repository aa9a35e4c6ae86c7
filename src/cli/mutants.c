/* SPDX-License-Identifier: MIT */
/*
 * holdfast check --mutants: every order of an atomic weakened by one step, every lock, flush and
 * read section left out, every second look skipped, one at a time; the explorer must notice under
 * rc11. No build is needed: the checked core asks at each site what to do. The table of all atomics
 * with what needs their orders comes from the same runs.
 */
#include "cli.h"
#include "pool.h"

#include "../explore/explore.h"
#include "../platform/elapsed.h"

#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POLICIES 8
#define PATIENCE 100 /* times the seconds of an exploration: then a mutant has survived */

struct mutant {
	struct hf_mutation m;
	size_t site;
	char what[48];
};

struct outcome {
	bool killed;
	unsigned tried; /* cells */
	char by[128];   /* scenario and policy */
	char detail[420];
};

/* A scenario over one kind of memory, under one policy. */
struct cell {
	const struct hf_scenario *scn;
	enum hf_kind kind;
	const char *policy;
};

/* What is tried with a mutant, one after another, each within a part of the time. Cells that are
 * gone through whole are not tried again. The first two go over the core as it is before. */
static const struct pass {
	enum hf_strategy strategy;
	unsigned bound, part;
} passes[] = {
	{ HF_EXPLORE_ALL, 0, 8 },
	{ HF_EXPLORE_RANDOM, 3, 8 },
	{ HF_EXPLORE_BOUNDED, 2, 4 },
	{ HF_EXPLORE_ALL, 0, 1 },
};
#define NR_PASSES (sizeof(passes) / sizeof(passes[0]))

struct work {
	struct cell *cells;
	size_t nr_cells;
	size_t *order;                   /* cells, those with the shortest executions first */
	struct hf_explore_result *whole; /* of each cell, unchanged */
	struct mutant *mutants;
	struct outcome *outcomes;
	size_t nr, killed;
	uint64_t executions;
	unsigned threads, seconds;
	const char *only, *table;
	const char *policies[MAX_POLICIES];
	size_t nr_policies;
	bool survivors, list;
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
	      "  --only TEXT         sites whose name has TEXT in it: \"gup_fast.c:fast_one\"\n"
	      "  --list              print the names of the sites, and atomics' orders\n"
	      "  --policy P,...      the first that notices is enough; default: "
	      "holdfast,linux-6.12\n"
	      "  --survivors         print only those that nothing noticed\n"
	      "  --table FILE        write there each atomic, its order, and what needs it\n"
	      "  --executions N      of each scenario at most, default 100000\n"
	      "  --seconds N         the same in CPU time, default 20, after shorter runs of all;\n"
	      "                      a hundred times that for a mutant, or a short run of each\n"
	      "                      scenario if that is more; 0: no limit\n"
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
		.policy = w->cells[cell].policy,
		.memory = HF_MEMORY_RC11,
		.max_executions = w->executions,
		.seconds = w->seconds,
		.cpu_seconds = true,
		.stop = &hf_interrupted,
	};
}

/* ---- the mutants ---- */

static bool is_new(const struct work *w, const struct mutant *m)
{
	for (size_t i = 0; i < w->nr; i++)
		if (!strcmp(w->mutants[i].m.site, m->m.site) &&
		    !strcmp(w->mutants[i].what, m->what))
			return false;
	return true;
}

static int add(struct work *w, size_t site, enum hf_mutation_kind kind, int order)
{
	struct mutant *grown, m = {
		.m = { .kind = kind, .site = hf_site_name(site), .order = order },
		.site = site,
	};

	snprintf(m.what, sizeof(m.what),
		 kind == HF_MUTATE_ORDER  ? "%s -> %s"
		 : kind == HF_MUTATE_SKIP ? "left out"
					  : "no second look",
		 hf_order_name(hf_explore_site(site)->order), hf_order_name(order));
	if ((w->only && !strstr(m.m.site, w->only)) || !is_new(w, &m))
		return 0;
	grown = realloc(w->mutants, (w->nr + 1) * sizeof(*grown));
	if (!grown)
		return -1;
	w->mutants = grown;
	w->mutants[w->nr++] = m;
	return 0;
}

static bool is_atomic(const struct hf_site *s)
{
	return s->kind <= HF_SITE_RMW;
}

static bool is_load(const struct hf_site *s)
{
	return s->kind == HF_SITE_LOAD || s->kind == HF_SITE_HINT;
}

/* The orders one step weaker; -1 ends. */
static void weaker(const struct hf_site *s, int *orders)
{
	int nr = 0;

	switch (s->order) {
	case memory_order_seq_cst:
		orders[nr++] = is_load(s)                 ? memory_order_acquire
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
		if (!is_atomic(s)) {
			err = add(w, i, HF_MUTATE_SKIP, 0);
			continue;
		}
		weaker(s, orders);
		for (int k = 0; orders[k] >= 0 && !err; k++)
			err = add(w, i, HF_MUTATE_ORDER, orders[k]);
		if (s->kind == HF_SITE_LOAD && seen & HF_SITE_CHANGED && !err)
			err = add(w, i, HF_MUTATE_STALE, 0);
	}
	return err;
}

/* ---- runs ---- */

static void take_pass(struct hf_explore_options *o, const struct pass *p)
{
	o->strategy = p->strategy;
	o->bound = p->bound;
	o->seed = 1;
	if (o->seconds)
		o->seconds = o->seconds > p->part ? o->seconds / p->part : 1;
}

/* What is too much to go through whole is looked at in random orders, too: arms meet in them where
 * the first thousands of all orders do not come. */
static void run_unchanged(size_t i, void *arg)
{
	static struct hf_explore_result random;
	struct work *w = arg;
	struct hf_explore_options o = options_for(w, i), again;

	o.sites = true;
	again = o;
	take_pass(&o, &passes[0]);
	hf_explore(&o, &w->whole[i]);
	if (w->whole[i].complete || w->whole[i].verdict != HF_OK)
		return;
	take_pass(&again, &passes[1]);
	hf_explore(&again, &random);
	for (size_t s = 0; s < HF_MAX_SITES; s++)
		w->whole[i].sites[s] |= random.sites[s];
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
	for (size_t i = 0; hf_explore_site(i) && i < HF_MAX_SITES; i++)
		if (w->whole[cell].sites[i] && !strcmp(hf_site_name(i), name))
			return true;
	return false;
}

/* A look that is skipped is missed in any order; the rest needs weak memory, or has data races,
 * which are looked for there. */
static enum hf_memory_model model_for(const struct mutant *m)
{
	return m->m.kind == HF_MUTATE_STALE ? HF_MEMORY_SC : HF_MEMORY_RC11;
}

static void name_cell(const struct work *w, size_t cell, char *text, size_t len)
{
	const struct cell *c = &w->cells[cell];
	bool first = !strcmp(c->policy, w->policies[0]);

	snprintf(text, len, "%s (%s%s%s)", c->scn->name, hf_kind_name(c->kind), first ? "" : ", ",
		 first ? "" : c->policy);
}

/* True: there is nothing more to find there. */
static bool try_cell(const struct work *w, size_t i, size_t cell, const struct pass *p)
{
	static struct hf_explore_result r;
	struct hf_explore_options o = options_for(w, cell);
	struct outcome *out = &w->outcomes[i];

	o.mutation = &w->mutants[i].m;
	o.memory = model_for(&w->mutants[i]);
	take_pass(&o, p);
	name_cell(w, cell, out->by, sizeof(out->by)); /* in case it dies of it */
	hf_explore(&o, &r);
	out->killed = r.verdict != HF_OK;
	if (out->killed)
		snprintf(out->detail, sizeof(out->detail), "%s: %s", hf_verdict_names[r.verdict],
			 r.detail);
	return r.complete && p->strategy == HF_EXPLORE_ALL;
}

static void run_mutant(size_t i, void *arg)
{
	struct work *w = arg;
	struct outcome *out = &w->outcomes[i];
	bool *done = calloc(w->nr_cells, sizeof(*done)), over = false;

	for (size_t c = 0; done && c < w->nr_cells; c++) {
		done[c] = !reaches(w, c, w->mutants[i].m.site);
		out->tried += !done[c];
	}
	for (size_t p = 0; done && p < NR_PASSES; p++)
		for (size_t k = 0; k < w->nr_cells && !out->killed && !over; k++) {
			size_t c = w->order[k];

			if (!done[c])
				done[c] = try_cell(w, i, c, &passes[p]);
			/* each exploration has its turn */
			over = hf_interrupted ||
			       (p && w->seconds && hf_cpu_seconds() > PATIENCE * w->seconds);
		}
	free(done);
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
	printf("%s %s, %s", out->killed ? "killed  " : "SURVIVED", w->mutants[i].m.site,
	       w->mutants[i].what);
	if (out->killed)
		printf(": %s: %.100s", out->by, out->detail);
	else
		printf(" (%u explorations)", out->tried);
	putchar('\n');
	fflush(stdout);
}

static int by_length(const void *a, const void *b, void *arg)
{
	const struct hf_explore_result *whole = arg;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	if (whole[x].longest != whole[y].longest)
		return whole[x].longest < whole[y].longest ? -1 : 1;
	return x < y ? -1 : x > y;
}

static int order_cells(struct work *w)
{
	w->order = calloc(w->nr_cells, sizeof(*w->order));
	for (size_t c = 0; w->order && c < w->nr_cells; c++)
		w->order[c] = c;
	if (w->order)
		qsort_r(w->order, w->nr_cells, sizeof(*w->order), by_length, w->whole);
	return w->order ? 0 : -1;
}

static void add_cells(struct work *w, const struct hf_scenario *scn, const char *policy)
{
	for (int k = 0; k < HF_NR_KINDS && hf_explorable(scn); k++)
		if (scn->kinds & HF_KINDS_OF(k))
			w->cells[w->nr_cells++] = (struct cell){ scn, (enum hf_kind)k, policy };
}

static int make_cells(struct work *w, const struct hf_library *lib)
{
	w->cells = calloc(w->nr_policies * lib->nr * HF_NR_KINDS, sizeof(*w->cells));
	for (size_t p = 0; w->cells && p < w->nr_policies; p++)
		for (size_t i = 0; i < lib->nr; i++)
			add_cells(w, lib->scn[i], w->policies[p]);
	return w->nr_cells ? 0 : -1;
}

/* ---- the table ---- */

/* What notices each weaker order of a site, or why nothing can. */
static void write_needs(const struct work *w, FILE *to, const char *name, bool met)
{
	const char *between = "";

	if (!met)
		fputs("no arm of a scenario meets another there", to);
	for (size_t i = 0; i < w->nr; i++) {
		const struct mutant *m = &w->mutants[i];

		if (strcmp(m->m.site, name) || m->m.kind != HF_MUTATE_ORDER)
			continue;
		fprintf(to, "%s%s: %s", between, hf_order_name(m->m.order),
			w->outcomes[i].killed ? w->outcomes[i].by : "**nothing**");
		between = "; ";
	}
}

static bool is_first_of_its_name(size_t site)
{
	for (size_t i = 0; i < site; i++)
		if (!strcmp(hf_site_name(i), hf_site_name(site)))
			return false;
	return true;
}

static int by_place(const void *a, const void *b)
{
	const struct hf_site *x = hf_explore_site(*(const size_t *)a);
	const struct hf_site *y = hf_explore_site(*(const size_t *)b);
	int order = strcmp(hf_site_file(x), hf_site_file(y));

	return order ? order : x->line - y->line;
}

/* The sites, each once, by file and line. */
static size_t all_sites(size_t *sites)
{
	size_t nr = 0;

	for (size_t i = 0; hf_explore_site(i) && i < HF_MAX_SITES; i++)
		if (is_first_of_its_name(i))
			sites[nr++] = i;
	qsort(sites, nr, sizeof(*sites), by_place);
	return nr;
}

static bool met_anywhere(const struct work *w, const char *name)
{
	for (size_t c = 0; c < w->nr_cells; c++)
		if (reaches(w, c, name))
			return true;
	return false;
}

static int write_table(const struct work *w)
{
	static size_t sites[HF_MAX_SITES];
	size_t nr = all_sites(sites), relaxed = 0;
	FILE *to = fopen(w->table, "w");

	if (!to) {
		fprintf(stderr, "holdfast: cannot write %s\n", w->table);
		return -1;
	}
	fputs("# The core's atomics\n"
	      "Made by `make mutants`: each atomic access that is more than relaxed, and what "
	      "notices the next weaker order (a scenario, its kind\n"
	      "of memory and, unless it is `holdfast`, the policy; all under rc11). docs/proof.md "
	      "says what is noticed, and how.\n\n"
	      "| site | order | weaker is noticed by |\n|---|---|---|\n",
	      to);
	for (size_t i = 0; i < nr; i++) {
		const struct hf_site *s = hf_explore_site(sites[i]);
		const char *name = hf_site_name(sites[i]);

		if (!is_atomic(s))
			continue;
		relaxed += s->order == memory_order_relaxed;
		if (s->order == memory_order_relaxed)
			continue;
		fprintf(to, "| `%s` | %s | ", name, hf_order_name(s->order));
		write_needs(w, to, name, met_anywhere(w, name));
		fputs(" |\n", to);
	}
	fprintf(to, "\nAnother %zu are relaxed, the weakest there is.\n", relaxed);
	return fclose(to) ? -1 : 0;
}

static int list_sites(const char *only)
{
	static size_t sites[HF_MAX_SITES];
	size_t nr = all_sites(sites);

	for (size_t i = 0; i < nr; i++) {
		const struct hf_site *s = hf_explore_site(sites[i]);
		const char *name = hf_site_name(sites[i]);

		if (only && !strstr(name, only))
			continue;
		if (is_atomic(s))
			printf("%s, %s\n", name, hf_order_name(s->order));
		else
			puts(name);
	}
	return HF_EXIT_OK;
}

/* ---- all of it ---- */

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
	if (!w->whole || hf_pool_run(&unchanged) || order_cells(w) || make_mutants(w))
		return HF_EXIT_USAGE;
	if (!w->nr) {
		fprintf(stderr, "holdfast: no arms meet at a site with '%s' in its name\n",
			w->only ? w->only : "");
		return HF_EXIT_USAGE;
	}
	w->outcomes = hf_shared_alloc(w->nr * sizeof(*w->outcomes));
	all.nr = w->nr;
	if (!w->outcomes || hf_pool_run(&all))
		return HF_EXIT_USAGE;
	printf("explored mutants: %zu/%zu killed\n", w->killed, w->nr);
	if (hf_interrupted)
		return HF_EXIT_INTERRUPTED;
	if (w->table && write_table(w))
		return HF_EXIT_USAGE;
	return w->killed == w->nr ? HF_EXIT_OK : HF_EXIT_UNEXPECTED;
}

/* ---- the command ---- */

/* Several, with commas in between. */
static bool take_policies(struct work *w, const char *arg)
{
	static char text[256];
	char *rest = text;

	snprintf(text, sizeof(text), "%s", arg);
	w->nr_policies = 0;
	for (char *name; (name = strsep(&rest, ","));)
		if (w->nr_policies == MAX_POLICIES ||
		    !hf_take_policy(name, &w->policies[w->nr_policies++]))
			return false;
	return true;
}

static bool take_option(struct work *w, int c, const char *arg)
{
	switch (c) {
	case 'o':
		w->only = arg;
		return true;
	case 'p':
		return take_policies(w, arg);
	case 'T':
		w->table = arg;
		return true;
	case 's':
		w->survivors = true;
		return true;
	case 'l':
		w->list = true;
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
		{ "list", no_argument, NULL, 'l' },
		{ "policy", required_argument, NULL, 'p' },
		{ "survivors", no_argument, NULL, 's' },
		{ "table", required_argument, NULL, 'T' },
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
	if (optind < argc || w->list)
		return 0;
	fputs("holdfast: no scenario given: name files or folders, such as scenarios/races\n",
	      stderr);
	return -1;
}

int hf_cmd_mutants(int argc, char **argv)
{
	struct hf_library lib = { .nr = 0 };
	struct work w = {
		.policies = { "holdfast", "linux-6.12" },
		.nr_policies = 2,
		.executions = 100000,
		.seconds = 20,
		.threads = hf_cpus(),
	};
	int status;

	if (parse_options(argc, argv, &w, &status))
		return status;
	if (w.list)
		return list_sites(w.only);
	status = hf_library_load(&lib, argv + optind, (size_t)(argc - optind));
	if (!status)
		status = run_all(&w, &lib);
	hf_shared_free(w.whole, w.nr_cells * sizeof(*w.whole));
	hf_shared_free(w.outcomes, w.nr * sizeof(*w.outcomes));
	free(w.mutants);
	free(w.order);
	free(w.cells);
	hf_library_free(&lib);
	return status;
}
