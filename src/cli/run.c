/* SPDX-License-Identifier: MIT */
/* holdfast run */
#include "cli.h"

#include "../target/image/image.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef bool (*print_fn)(const struct hf_results *res);

struct options {
	char *on; /* owned */
	print_fn print;
	hf_kinds kinds;
	bool trace;
	struct hf_image_options image;
};

static void run_usage(FILE *to)
{
	fputs("Usage: holdfast run [OPTION...] FILE|DIR...\n"
	      "\n"
	      "  --on TARGET[,TARGET...]  policies, 'here' for the running kernel, 'native',\n"
	      "                           'native-signal' and 'native-bracketed' for native "
	      "spaces,\n"
	      "                           kernel images by path\n"
	      "                           or by name ('holdfast kernels list'); default: "
	      "holdfast,here\n"
	      "  --format FORMAT          table (default), json, tap or markdown\n"
	      "  --kinds KIND[,KIND...]   of each scenario's kinds, these only; see 'holdfast list "
	      "kinds'\n"
	      "  --trace                  page states after every step (table and json)\n"
	      "  --modules DIR            where the kernel images' modules are; default: beside "
	      "them\n"
	      "  --timeout SECONDS        a kernel under QEMU that is silent for so long hangs "
	      "(60)\n"
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

static bool find_timeout(const char *text, unsigned *seconds)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > 3600) {
		fprintf(stderr, "holdfast: --timeout '%s': expected seconds, 1 to 3600\n", text);
		return false;
	}
	*seconds = (unsigned)n;
	return true;
}

/* 0 to go on; otherwise -1 and *status is the exit status. */
static int parse_options(int argc, char **argv, struct options *opt, int *status)
{
	static const struct option longs[] = {
		{ "on", required_argument, NULL, 'o' },
		{ "format", required_argument, NULL, 'f' },
		{ "kinds", required_argument, NULL, 'k' },
		{ "trace", no_argument, NULL, 't' },
		{ "modules", required_argument, NULL, 'm' },
		{ "timeout", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *on = "holdfast,here";
	int c;

	*status = HF_EXIT_USAGE;
	*opt = (struct options){ .print = hf_print_table, .kinds = HF_KINDS_ALL };
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
		case 'm':
			opt->image.modules = optarg;
			break;
		case 's':
			if (!find_timeout(optarg, &opt->image.patience))
				return -1;
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

static int open_targets(char *on, const struct hf_image_options *image, struct hf_results *res)
{
	char err[512], *save = NULL;
	int status = 0;

	for (char *name = strtok_r(on, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		struct hf_target *t = hf_target_open(name, image, err, sizeof(err)), **grown;

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
		fputs("holdfast: --on names no target; see 'holdfast list targets'\n", stderr);
		status = HF_EXIT_USAGE;
	}
	return status;
}

static void progress(struct hf_results *res, const struct hf_cell *cell)
{
	res->nr_run++;
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%zu/%zu %s on %s", res->nr_run, res->nr_cells,
			cell->scn->name, cell->target);
}

static void progress_done(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static void batch_done(void *res, const struct hf_cell *cell)
{
	progress(res, cell);
}

static void batch_note(void *res, const char *text)
{
	(void)res;
	progress_done();
	fprintf(stderr, "holdfast: %s\n", text);
}

/* One column of the table. */
static bool run_batch(struct hf_results *res, size_t column, bool trace)
{
	struct hf_target *t = res->targets[column];
	struct hf_batch batch = { .trace = trace,
				  .stop = &hf_interrupted,
				  .done = batch_done,
				  .note = batch_note,
				  .arg = res };

	batch.cells = calloc(res->nr_cells / res->nr_targets + 1, sizeof(*batch.cells));
	for (size_t i = column; i < res->nr_cells && batch.cells; i += res->nr_targets)
		batch.cells[batch.nr++] = &res->cells[i];
	if (batch.cells)
		t->ops->batch(t, &batch);
	free(batch.cells);
	return batch.cells;
}

/* All cells of the table, as they are before anything was run. */
static bool make_cells(const struct hf_library *lib, struct hf_results *res, hf_kinds kinds)
{
	size_t rows = 0;

	for (size_t i = 0; i < lib->nr; i++)
		for (int k = 0; k < HF_NR_KINDS; k++)
			rows += (lib->scn[i]->kinds & kinds & HF_KINDS_OF(k)) != 0;
	res->cells = calloc(rows * res->nr_targets + 1, sizeof(*res->cells));
	for (size_t i = 0; i < lib->nr && res->cells; i++)
		for (int k = 0; k < HF_NR_KINDS; k++)
			for (size_t t = 0;
			     t < res->nr_targets && lib->scn[i]->kinds & kinds & HF_KINDS_OF(k);
			     t++)
				hf_cell_init(&res->cells[res->nr_cells++], res->targets[t],
					     lib->scn[i], (enum hf_kind)k);
	return res->cells;
}

/* One scenario and kind, on the targets that run cells one by one. */
static void run_row(struct hf_results *res, size_t row, bool trace)
{
	for (size_t t = 0; t < res->nr_targets && !hf_interrupted; t++) {
		struct hf_cell *cell = &res->cells[row * res->nr_targets + t];

		if (res->targets[t]->ops->batch)
			continue;
		hf_run_cell(res->targets[t], cell->scn, cell->kind, trace, &hf_interrupted, cell);
		progress(res, cell);
	}
}

static int run_all(const struct hf_library *lib, struct hf_results *res, hf_kinds kinds, bool trace)
{
	bool memory = make_cells(lib, res, kinds);
	size_t rows = memory ? res->nr_cells / res->nr_targets : 0, row = 0;

	for (size_t t = 0; t < res->nr_targets && memory && !hf_interrupted; t++)
		if (res->targets[t]->ops->batch)
			memory = run_batch(res, t, trace);
	while (row < rows && memory && !hf_interrupted) {
		run_row(res, row, trace);
		row += !hf_interrupted; /* some of its cells may not have been run */
	}
	progress_done();
	if (!memory) {
		fputs("holdfast: out of memory\n", stderr);
		return HF_EXIT_USAGE;
	}
	while (res->nr_cells > row * res->nr_targets) /* it was interrupted */
		hf_cell_free(&res->cells[--res->nr_cells]);
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
	status |= open_targets(opt.on, &opt.image, &res);
	if (!status)
		status = run_all(&lib, &res, opt.kinds, opt.trace);
	if (!status) {
		status = exit_status(&res);
		if (!opt.print(&res)) {
			fputs("holdfast: out of memory\n", stderr);
			status = HF_EXIT_USAGE;
		}
	}
	free_results(&res);
	hf_library_free(&lib);
	free(opt.on);
	return status;
}
