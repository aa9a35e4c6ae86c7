/* SPDX-License-Identifier: MIT */
/* The tables: for terminals and for Markdown. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void hf_row_name(const struct hf_cell *cell, char *buf, size_t len)
{
	if (__builtin_popcountll(cell->scn->kinds) > 1)
		snprintf(buf, len, "%s (%s)", cell->scn->name, hf_kind_name(cell->kind));
	else
		snprintf(buf, len, "%s", cell->scn->name);
}

static bool bad(const struct hf_cell *cell)
{
	return cell->verdict != HF_OK && cell->verdict != HF_SKIP;
}

static const char *colour(const struct hf_cell *cell)
{
	if (!hf_cell_as_expected(cell))
		return "\033[1;31m";
	return cell->verdict == HF_OK ? "\033[32m" : bad(cell) ? "\033[33m" : "\033[2m";
}

static int max(int a, int b)
{
	return a > b ? a : b;
}

static void print_cells(const struct hf_results *res, int name_width, bool colours)
{
	char name[160];

	printf("%-*s", name_width, "");
	for (size_t t = 0; t < res->nr_targets; t++)
		printf("  %-*s", max(10, (int)strlen(res->targets[t]->name)),
		       res->targets[t]->name);
	for (size_t i = 0; i < res->nr_cells; i++) {
		const struct hf_cell *c = &res->cells[i];
		size_t t = i % res->nr_targets;
		int width = max(10, (int)strlen(c->target));
		char text[32];

		if (t == 0) {
			hf_row_name(c, name, sizeof(name));
			printf("\n%-*s", name_width, name);
		}
		/* what was not expected stands out without colours too */
		snprintf(text, sizeof(text), "%s%s", hf_verdict_names[c->verdict],
			 hf_cell_as_expected(c) ? "" : "!");
		printf("  %s%-*s%s", colours ? colour(c) : "", width, text,
		       colours ? "\033[0m" : "");
	}
	putchar('\n');
}

static void print_indented(const char *lines, int indent)
{
	while (*lines) {
		int len = (int)strcspn(lines, "\n");

		printf("%*s%.*s\n", indent, "", len, lines);
		lines += len + (lines[len] == '\n');
	}
}

static void print_details(const struct hf_results *res)
{
	char name[160], set[96];

	for (size_t i = 0; i < res->nr_cells; i++) {
		const struct hf_cell *c = &res->cells[i];

		if (!bad(c) && hf_cell_as_expected(c))
			continue;
		hf_row_name(c, name, sizeof(name));
		hf_verdict_set(c->expected ? c->expected : 1u << HF_OK, set, sizeof(set));
		printf("%s on %s: %s", name, c->target, hf_verdict_names[c->verdict]);
		if (!hf_cell_as_expected(c))
			printf(" (UNEXPECTED: %s was expected)", set);
		printf("%s%s\n", c->detail[0] ? ": " : "", c->detail);
		print_indented(c->console ? c->console : "", 4);
	}
}

/* Each reason once, with how many cells it is the reason of. */
static void print_skips(const struct hf_results *res)
{
	for (size_t i = 0; i < res->nr_cells; i++) {
		const struct hf_cell *c = &res->cells[i];
		bool seen = false;
		int n = 0;

		for (size_t j = 0; j < res->nr_cells && c->verdict == HF_SKIP; j++) {
			const struct hf_cell *d = &res->cells[j];

			if (d->verdict != HF_SKIP || d->target != c->target ||
			    strcmp(d->detail, c->detail))
				continue;
			seen |= j < i;
			n++;
		}
		if (n && !seen)
			printf("skip on %s, %d cells: %s\n", c->target, n, c->detail);
	}
}

static void print_trace(const struct hf_results *res)
{
	char name[160];

	for (size_t i = 0; i < res->nr_cells; i++) {
		const struct hf_cell *c = &res->cells[i];

		hf_row_name(c, name, sizeof(name));
		for (size_t s = 0; s < c->nr_steps; s++) {
			const struct hf_cell_step *st = &c->steps[s];

			if (s == 0)
				printf("\n%s on %s:\n", name, c->target);
			printf("  %4d  %-44s %s\n", st->line, st->text, st->result);
			print_indented(st->pages ? st->pages : "", 10);
		}
	}
}

static bool traced(const struct hf_results *res)
{
	for (size_t i = 0; i < res->nr_cells; i++)
		for (size_t s = 0; s < res->cells[i].nr_steps; s++)
			if (res->cells[i].steps[s].pages)
				return true;
	return false;
}

bool hf_print_table(const struct hf_results *res)
{
	size_t ok = 0, skip = 0, unexpected = 0;
	int width = 8;
	char name[160];

	for (size_t i = 0; i < res->nr_cells; i++) {
		const struct hf_cell *c = &res->cells[i];

		hf_row_name(c, name, sizeof(name));
		width = max(width, (int)strlen(name));
		ok += c->verdict == HF_OK;
		skip += c->verdict == HF_SKIP;
		unexpected += !hf_cell_as_expected(c);
	}
	print_cells(res, width, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
	putchar('\n');
	print_details(res);
	print_skips(res);
	if (traced(res))
		print_trace(res);
	printf("%zu cells: %zu ok, %zu bad, %zu skipped; %zu not as expected\n", res->nr_cells, ok,
	       res->nr_cells - ok - skip, skip, unexpected);
	return true;
}

bool hf_print_markdown(const struct hf_results *res)
{
	fputs("| statement | scenario |", stdout);
	for (size_t t = 0; t < res->nr_targets; t++)
		printf(" %s |", res->targets[t]->name);
	fputs("\n|---|---|", stdout);
	for (size_t t = 0; t < res->nr_targets; t++)
		fputs("---|", stdout);
	for (size_t i = 0; i < res->nr_cells; i++) {
		const struct hf_cell *c = &res->cells[i];
		char name[160];

		if (i % res->nr_targets == 0) {
			hf_row_name(c, name, sizeof(name));
			printf("\n| %s | `%s` |",
			       c->scn->nr_quotes ? c->scn->quotes[0] : c->scn->about, name);
		}
		printf(c->verdict == HF_OK ? " %s |" : " **%s** |", hf_verdict_names[c->verdict]);
	}
	putchar('\n');
	return true;
}
