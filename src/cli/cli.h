/* SPDX-License-Identifier: MIT */
/* The command. Exit status: 0 as expected, 1 not,
 * 2 usage or parse error, 77 all skipped, 130 interrupted. */
#ifndef HF_CLI_H
#define HF_CLI_H

#include <signal.h>

#include "../target/targets.h"

#define HF_EXIT_OK 0
#define HF_EXIT_UNEXPECTED 1
#define HF_EXIT_USAGE 2
#define HF_EXIT_SKIPPED 77
#define HF_EXIT_INTERRUPTED 130

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t hf_interrupted;

int hf_cmd_run(int argc, char **argv);
int hf_cmd_check(int argc, char **argv);
int hf_cmd_interleavings(int argc, char **argv); /* of check */
int hf_cmd_mutants(int argc, char **argv);       /* of check */
int hf_cmd_equiv(int argc, char **argv);
int hf_cmd_list(int argc, char **argv);
int hf_cmd_kernels(int argc, char **argv);
int hf_cmd_restore(int argc, char **argv);

/* library.c: all *.hf files of a list of files and folders, sorted, parsed. */
struct hf_library {
	struct hf_scenario **scn;
	size_t nr;
};

/* 0, or HF_EXIT_USAGE after every error has been printed as FILE:LINE:COLUMN: text. */
int hf_library_load(struct hf_library *lib, char *const *paths, size_t nr);
void hf_library_free(struct hf_library *lib);
/* --kinds: kinds and sets of kinds, with commas between them. False after a message. */
bool hf_find_kinds(const char *names, hf_kinds *kinds);

/* --without: operations of histories, as a bit set. False after a message. */
bool hf_find_hist_ops(const char *names, uint64_t *out);

/* options.c: arguments of options. False after a message. */
bool hf_take_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out);
bool hf_take_small_number(const char *what, const char *text, unsigned min, unsigned max,
			  unsigned *out);
bool hf_take_policy(const char *text, const char **out);
/* --kind: those that histories can be over. */
bool hf_take_kind(const char *text, bool (*ok)(enum hf_kind kind), enum hf_kind *out);
/* As many as --threads has by default. */
unsigned hf_cpus(void);
/* --emit: writes a file. -1 after a message. */
int hf_emit(const char *path, const char *text);

/* Everything that a run found. Cells of one scenario and kind stand together, targets in order. */
struct hf_results {
	struct hf_target **targets;
	size_t nr_targets;
	struct hf_cell *cells;
	size_t nr_cells;
	size_t nr_run; /* cells that are done, while they are run */
};

/* False: not all of it could be printed, for want of memory. */
bool hf_print_table(const struct hf_results *res);
bool hf_print_json(const struct hf_results *res);
bool hf_print_tap(const struct hf_results *res);
bool hf_print_markdown(const struct hf_results *res);

/* "name", or "name (kind)" when its scenario runs over several. */
void hf_row_name(const struct hf_cell *cell, char *buf, size_t len);

#endif
