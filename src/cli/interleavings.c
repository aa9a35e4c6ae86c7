/* SPDX-License-Identifier: MIT */
/* holdfast check --interleavings: a process for each scenario, kind and policy, for the explorer
 * has one machine, and what it finds may leave that in ruins. */
#include "cli.h"
#include "pool.h"

#include "../explore/explore.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
	struct hf_explore_options o;
};

struct options {
	struct hf_explore_options explore;
	const char *policies;
	hf_kinds kinds;
	unsigned threads;
};

struct work {
	struct job *jobs;
	struct hf_explore_result *results; /* shared with the processes */
	size_t nr;
};

static void usage(FILE *to)
{
	fputs("Usage: holdfast check --interleavings [OPTION...] FILE|DIR...\n"
	      "\n"
	      "Runs the par blocks of scenarios in every order that makes a difference, on the "
	      "core "
	      "as it is,\n"
	      "and prints for the first unexpected verdict the schedule that leads there.\n"
	      "\n"
	      "  --policy P[,P]      default: holdfast\n"
	      "  --kinds KIND[,KIND] of each scenario's kinds, these only\n"
	      "  --memory MODEL      sc (default), tso, or rc11: what C11's orders allow\n"
	      "  --preemptions N     only schedules with so many preemptions at most\n"
	      "  --random N          N random schedules in place of all (PCT)\n"
	      "  --depth N           of --random: changes of priority, default 3\n"
	      "  --seed N            of --random, default 1\n"
	      "  --executions N      end after so many, for each scenario, kind and policy\n"
	      "  --seconds N         the same, default 60\n"
	      "  --threads N         processes at a time, default: one a CPU\n"
	      "  --schedule S        this one only\n"
	      "  --trace             with --schedule: every operation\n"
	      "  --help\n"
	      "\n"
	      "Exit status: 0 all as expected, 1 not, 2 usage or parse error, 77 no par block, 130 "
	      "interrupted.\n",
	      to);
}

/* ---- options ---- */

enum {
	POLICY = 256,
	KINDS,
	MEMORY,
	PREEMPTIONS,
	RANDOM,
	DEPTH,
	SEED,
	EXECUTIONS,
	SECONDS,
	THREADS,
	SCHEDULE,
	TRACE
};

static bool memory(const char *name, enum hf_memory_model *out)
{
	for (int m = 0; m < HF_NR_MEMORY_MODELS; m++)
		if (!strcmp(name, hf_memory_names[m])) {
			*out = (enum hf_memory_model)m;
			return true;
		}
	fprintf(stderr, "holdfast: --memory '%s': expected sc, tso or rc11\n", name);
	return false;
}

static bool take_option(struct options *o, int c, const char *arg)
{
	struct hf_explore_options *e = &o->explore;
	bool ok;

	switch (c) {
	case POLICY:
		o->policies = arg;
		return true;
	case KINDS:
		return hf_find_kinds(arg, &o->kinds);
	case MEMORY:
		return memory(arg, &e->memory);
	case PREEMPTIONS:
		e->strategy = HF_EXPLORE_BOUNDED;
		return hf_take_small_number("preemptions", arg, 0, 100, &e->bound);
	case RANDOM:
		e->strategy = HF_EXPLORE_RANDOM;
		e->bound = e->bound ? e->bound : 3;
		return hf_take_number("random", arg, 0, UINT64_MAX, &e->max_executions);
	case DEPTH:
		return hf_take_small_number("depth", arg, 0, 16, &e->bound);
	case SEED:
		return hf_take_number("seed", arg, 0, UINT64_MAX, &e->seed);
	case EXECUTIONS:
		return hf_take_number("executions", arg, 0, UINT64_MAX, &e->max_executions);
	case SECONDS:
		return hf_take_small_number("seconds", arg, 0, 1000000, &e->seconds);
	case THREADS:
		ok = hf_take_small_number("threads", arg, 0, 256, &o->threads);
		o->threads += !o->threads;
		return ok;
	case SCHEDULE:
		e->strategy = HF_EXPLORE_REPLAY;
		e->replay = arg;
		return true;
	case TRACE:
		e->trace = true;
		return true;
	default:
		return true;
	}
}

static int parse_options(int argc, char **argv, struct options *o, int *status)
{
	static const struct option longs[] = {
		{ "interleavings", no_argument, NULL, 'i' },
		{ "policy", required_argument, NULL, POLICY },
		{ "kinds", required_argument, NULL, KINDS },
		{ "memory", required_argument, NULL, MEMORY },
		{ "preemptions", required_argument, NULL, PREEMPTIONS },
		{ "random", required_argument, NULL, RANDOM },
		{ "depth", required_argument, NULL, DEPTH },
		{ "seed", required_argument, NULL, SEED },
		{ "executions", required_argument, NULL, EXECUTIONS },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "threads", required_argument, NULL, THREADS },
		{ "schedule", required_argument, NULL, SCHEDULE },
		{ "trace", no_argument, NULL, TRACE },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	*status = HF_EXIT_USAGE;
	*o = (struct options){
		.explore = { .seconds = 60, .seed = 1, .stop = &hf_interrupted },
		.policies = "holdfast",
		.kinds = HF_KINDS_ALL,
		.threads = hf_cpus(),
	};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'h' || c == '?') {
			usage(c == 'h' ? stdout : stderr);
			*status = c == 'h' ? HF_EXIT_OK : HF_EXIT_USAGE;
			return -1;
		}
		if (!take_option(o, c, optarg))
			return -1;
	}
	if (optind < argc)
		return 0;
	fputs("holdfast: no scenario given: name files or folders, such as scenarios/races\n",
	      stderr);
	return -1;
}

/* ---- jobs ---- */

static bool add_job(struct work *w, const struct options *o, const struct hf_scenario *scn,
		    enum hf_kind kind, const char *policy)
{
	struct job *grown = realloc(w->jobs, (w->nr + 1) * sizeof(*grown));

	if (!grown)
		return false;
	w->jobs = grown;
	w->jobs[w->nr] = (struct job){ .o = o->explore };
	w->jobs[w->nr].o.scn = scn;
	w->jobs[w->nr].o.kind = kind;
	w->jobs[w->nr++].o.policy = policy;
	return true;
}

static int make_jobs(struct work *w, const struct options *o, const struct hf_library *lib,
		     char *policies)
{
	const char *policy;
	char *save = NULL;

	for (char *p = strtok_r(policies, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (!hf_take_policy(p, &policy))
			return HF_EXIT_USAGE;
		for (size_t i = 0; i < lib->nr; i++)
			for (int k = 0; k < HF_NR_KINDS && hf_explorable(lib->scn[i]); k++)
				if (lib->scn[i]->kinds & o->kinds & HF_KINDS_OF(k) &&
				    !add_job(w, o, lib->scn[i], (enum hf_kind)k, policy))
					return HF_EXIT_USAGE;
	}
	if (!w->nr) {
		fputs("holdfast: none of these scenarios has a par block and such a kind\n",
		      stderr);
		return HF_EXIT_SKIPPED;
	}
	w->results = hf_shared_alloc(w->nr * sizeof(*w->results));
	return w->results ? 0 : HF_EXIT_USAGE;
}

static void run_job(size_t i, void *arg)
{
	struct work *w = arg;

	hf_explore(&w->jobs[i].o, &w->results[i]);
}

/* ---- results ---- */

static void print_verdicts(const struct hf_explore_result *r)
{
	for (int v = 0; v < HF_NR_VERDICTS; v++)
		if (r->verdicts[v])
			printf(" %s %llu", hf_verdict_names[v], (unsigned long long)r->verdicts[v]);
}

static void print_result(const struct job *job, const struct hf_explore_result *r)
{
	const struct hf_explore_options *o = &job->o;

	printf("%s (%s) %s %s:", o->scn->name, hf_kind_name(o->kind), o->policy,
	       hf_memory_names[o->memory]);
	if (r->executions + r->redundant)
		printf(" %llu executions%s, %.0f a second, longest %llu, %.1f MiB,",
		       (unsigned long long)r->executions, r->complete ? " (all)" : "",
		       (double)(r->executions + r->redundant) / (r->seconds + 1e-9),
		       (unsigned long long)r->longest, (double)r->kib / 1024);
	print_verdicts(r);
	putchar('\n');
	if (r->verdict == HF_OK && !r->detail[0])
		return;
	printf("  %s: %s\n", hf_verdict_names[r->verdict], r->detail);
	if (r->schedule[0] && o->strategy != HF_EXPLORE_REPLAY)
		printf("  holdfast check --interleavings --policy %s --kinds %s --memory %s "
		       "--schedule %s --trace %s\n",
		       o->policy, hf_kind_name(o->kind), hf_memory_names[o->memory], r->schedule,
		       o->scn->path);
}

static void job_is_done(size_t i, const char *died, void *arg)
{
	struct work *w = arg;
	struct hf_explore_result *r = &w->results[i];

	if (died) {
		r->verdict = HF_ERROR;
		snprintf(r->detail, sizeof(r->detail), "%s", died);
	}
	print_result(&w->jobs[i], r);
}

static int exit_status(const struct work *w)
{
	if (hf_interrupted)
		return HF_EXIT_INTERRUPTED;
	for (size_t i = 0; i < w->nr; i++)
		if (w->results[i].verdict != HF_OK || w->results[i].detail[0])
			return HF_EXIT_UNEXPECTED;
	return HF_EXIT_OK;
}

static void print_sum(const struct work *w)
{
	uint64_t executions = 0, operations = 0;
	size_t complete = 0, bad = 0;

	for (size_t i = 0; i < w->nr; i++) {
		executions += w->results[i].executions;
		operations += w->results[i].operations;
		complete += w->results[i].complete;
		bad += w->results[i].verdict != HF_OK;
	}
	printf("%zu explorations, %zu complete, %llu executions, %llu operations, %zu "
	       "unexpected\n",
	       w->nr, complete, (unsigned long long)executions, (unsigned long long)operations,
	       bad);
}

static int run_jobs(struct work *w, unsigned threads)
{
	struct hf_pool pool = {
		.nr = w->nr, .threads = threads, .run = run_job, .done = job_is_done, .arg = w
	};

	if (hf_pool_run(&pool)) {
		fputs("holdfast: out of memory\n", stderr);
		return HF_EXIT_USAGE;
	}
	if (w->nr > 1)
		print_sum(w);
	return exit_status(w);
}

int hf_cmd_interleavings(int argc, char **argv)
{
	struct work w = { .nr = 0 };
	struct hf_library lib = { .nr = 0 };
	struct options o;
	char *policies = NULL;
	int status;

	if (parse_options(argc, argv, &o, &status))
		return status;
	status = hf_library_load(&lib, argv + optind, (size_t)(argc - optind));
	if (!status) {
		policies = strdup(o.policies);
		status = policies ? make_jobs(&w, &o, &lib, policies) : HF_EXIT_USAGE;
	}
	if (!status)
		status = run_jobs(&w, o.threads);
	hf_shared_free(w.results, w.nr * sizeof(*w.results));
	free(w.jobs);
	free(policies);
	hf_library_free(&lib);
	return status;
}
