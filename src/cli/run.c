/* SPDX-License-Identifier: MIT */
/* holdfast run */
#include "cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*print_fn)(const struct hf_results *res);

struct options {
	char *on; /* owned */
	print_fn print;
	hf_kinds kinds;
	bool trace;
};

static void run_usage(FILE *to)
{
	fputs("Usage: holdfast run [OPTION...] FILE|DIR...\n"
	      "\n"
	      "  --on TARGET[,TARGET...]  policies, or 'here' for the running kernel; default: "
	      "holdfast,here\n"
	      "  --format FORMAT          table (default), json, tap or markdown\n"
	      "  --kinds KIND[,KIND...]   of each scenario's kinds, these only; see 'holdfast list "
	      "kinds'\n"
	      "  --trace                  page states after every step (table and json)\n"
	      "  --help\n",
	      to);
}

static print_fn find_format(const char *name)
{
	static const struct {
		const char *name;
		print_fn print;
	} formats[] = {
		{ "table", hf_print_table },
		{ "json", hf_print_json },
		{ "tap", hf_print_tap },
		{ "markdown", hf_print_markdown },
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(formats[i].name, name))
			return formats[i].print;
	return NULL;
}

/* 0 to go on; otherwise -1 and *status is the exit status. */
static int parse_options(int argc, char **argv, struct options *opt, int *status)
{
	static const struct option longs[] = {
		{ "on", required_argument, NULL, 'o' },
		{ "format", required_argument, NULL, 'f' },
		{ "kinds", required_argument, NULL, 'k' },
		{ "trace", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *on = "holdfast,here";
	int c;

	*status = HF_EXIT_USAGE;
	*opt = (struct options){ .print = hf_print_table, .kinds = UINT64_MAX };
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			on = optarg;
			break;
		case 'f':
			opt->print = find_format(optarg);
			if (!opt->print) {
				fprintf(stderr,
					"holdfast: --format '%s': expected table, json, tap or "
					"markdown\n",
					optarg);
				return -1;
			}
			break;
		case 'k':
			if (!hf_find_kinds(optarg, &opt->kinds))
				return -1;
			break;
		case 't':
			opt->trace = true;
			break;
		case 'h':
			run_usage(stdout);
			*status = HF_EXIT_OK;
			return -1;
		default:
			run_usage(stderr);
			return -1;
		}
	}
	if (optind == argc) {
		fputs("holdfast: no scenario given: name files or folders, such as scenarios/\n",
		      stderr);
		return -1;
	}
	opt->on = strdup(on);
	return opt->on ? 0 : -1;
}

static int open_targets(char *on, struct hf_results *res)
{
	char err[256], *save = NULL;
	int status = 0;

	for (char *name = strtok_r(on, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		struct hf_target *t = hf_target_open(name, err, sizeof(err)), **grown;

		grown = t ? realloc(res->targets, (res->nr_targets + 1) * sizeof(*grown)) : NULL;
		if (!grown) {
			fprintf(stderr, "holdfast: %s\n", t ? "out of memory" : err);
			if (t)
				t->ops->free(t);
			status = HF_EXIT_USAGE;
			continue;
		}
		res->targets = grown;
		res->targets[res->nr_targets++] = t;
	}
	if (!status && !res->nr_targets) {
		fputs("holdfast: --on names no target; see 'holdfast list policies'\n", stderr);
		status = HF_EXIT_USAGE;
	}
	return status;
}

static void progress(const struct hf_results *res, size_t total, const char *name)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%zu/%zu %s", res->nr_cells, total, name);
}

static void progress_done(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static void run_row(struct hf_results *res, const struct hf_scenario *scn, enum hf_kind kind,
		    bool trace, size_t total)
{
	for (size_t t = 0; t < res->nr_targets && !hf_interrupted; t++) {
		progress(res, total, scn->name);
		hf_run_cell(res->targets[t], scn, kind, trace, &hf_interrupted,
			    &res->cells[res->nr_cells++]);
	}
}

static int run_all(const struct hf_library *lib, struct hf_results *res, hf_kinds kinds, bool trace)
{
	size_t total = 0;

	for (size_t i = 0; i < lib->nr; i++)
		total += (size_t)__builtin_popcountll(lib->scn[i]->kinds & kinds) * res->nr_targets;
	res->cells = calloc(total, sizeof(*res->cells));
	if (!res->cells) {
		fputs("holdfast: out of memory\n", stderr);
		return HF_EXIT_USAGE;
	}
	for (size_t i = 0; i < lib->nr; i++)
		for (int k = 0; k < HF_NR_KINDS; k++)
			if (lib->scn[i]->kinds & kinds & HF_KINDS_OF(k))
				run_row(res, lib->scn[i], (enum hf_kind)k, trace, total);
	progress_done();
	return 0;
}

static int exit_status(const struct hf_results *res)
{
	bool all_skipped = true, expected = true;

	for (size_t i = 0; i < res->nr_cells; i++) {
		all_skipped &= res->cells[i].verdict == HF_SKIP;
		expected &= hf_cell_as_expected(&res->cells[i]);
	}
	if (hf_interrupted)
		return HF_EXIT_INTERRUPTED;
	return !expected ? HF_EXIT_UNEXPECTED : all_skipped ? HF_EXIT_SKIPPED : HF_EXIT_OK;
}

static void free_results(struct hf_results *res)
{
	for (size_t i = 0; i < res->nr_cells; i++)
		hf_cell_free(&res->cells[i]);
	free(res->cells);
	for (size_t i = 0; i < res->nr_targets; i++)
		res->targets[i]->ops->free(res->targets[i]);
	free(res->targets);
}

int hf_cmd_run(int argc, char **argv)
{
	struct hf_results res = { .nr_cells = 0 };
	struct hf_library lib;
	struct options opt;
	int status;

	if (parse_options(argc, argv, &opt, &status))
		return status;
	status = hf_library_load(&lib, argv + optind, (size_t)(argc - optind));
	status |= open_targets(opt.on, &res);
	if (!status)
		status = run_all(&lib, &res, opt.kinds, opt.trace);
	if (!status) {
		opt.print(&res);
		status = exit_status(&res);
	}
	free_results(&res);
	hf_library_free(&lib);
	free(opt.on);
	return status;
}
