/* SPDX-License-Identifier: MIT */
/* holdfast check */
#include "cli.h"

#include "../search/history.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct options {
	struct hf_search_options search;
	const char *emit;
	bool histories, progress;
};

static void check_usage(FILE *to)
{
	fputs("Usage: holdfast check --histories [OPTION...]\n"
	      "\n"
	      "Tries every history of a few processes, shortest first, on the engine, and prints "
	      "the\n"
	      "first that breaks the policy as a scenario.\n"
	      "\n"
	      "  --policy P          default: holdfast\n"
	      "  --processes N       2 to 4, default 2\n"
	      "  --pages N           1 to 3, default 1\n"
	      "  --kind KIND         of memory: base (default), thp, large-16k to large-1m\n"
	      "  --depth N           steps of a history, 1 to 16, default 6\n"
	      "  --without OP[,OP]   leave these out: write, read, fork, exit, map, unmap, "
	      "protect,\n"
	      "                      wrprotect, swapout, migrate, merge, collapse, split, pin, "
	      "get,\n"
	      "                      vmsplice, odirect, device-read, device-write\n"
	      "  --written           every page has been written to when a history begins\n"
	      "  --find VERDICT      this verdict only: leak, lost-write, ...\n"
	      "  --seconds N         end after so long with what is known\n"
	      "  --threads N         default: one a CPU\n"
	      "  --progress          how far it is, every second, even when stderr is no terminal\n"
	      "  --emit FILE         writes the scenario there\n"
	      "  --checkpoint FILE   writes what is known there after each depth\n"
	      "  --resume FILE       goes on from there\n"
	      "  --help\n"
	      "\n"
	      "Exit status: 0 nothing was found, 1 something was, 2 usage, 130 interrupted.\n",
	      to);
}

static bool verdict(const char *text, enum hf_verdict *out)
{
	for (int v = HF_LOST_WRITE; v < HF_SKIP; v++)
		if (!strcmp(text, hf_verdict_names[v])) {
			*out = (enum hf_verdict)v;
			return true;
		}
	fprintf(stderr,
		"holdfast: --find '%s': expected lost-write, stale-read, leak, torn, refused or "
		"bug\n",
		text);
	return false;
}

bool hf_find_hist_ops(const char *names, uint64_t *out)
{
	for (size_t len; *names; names += len + (names[len] == ',')) {
		hf_hist_ops ops;

		len = strcspn(names, ",");
		ops = hf_hist_ops_named(names, len);
		if (!ops) {
			fprintf(stderr,
				"holdfast: --without: '%.*s' is not an operation; see 'holdfast "
				"check --help'\n",
				(int)len, names);
			return false;
		}
		*out |= ops;
	}
	return true;
}

enum {
	P = 256,
	PROCESSES,
	PAGES,
	KIND,
	DEPTH,
	WITHOUT,
	WRITTEN,
	FIND,
	SECONDS,
	THREADS,
	PROGRESS,
	EMIT,
	CHECKPOINT,
	RESUME
};

static bool take_option(struct options *o, int c, const char *arg)
{
	struct hf_search_options *s = &o->search;

	switch (c) {
	case 'H':
		o->histories = true;
		return true;
	case P:
		return hf_take_policy(arg, &s->policy);
	case PROCESSES:
		return hf_take_small_number("processes", arg, 2, HF_HIST_MAX_PROCS,
					    &s->limits.procs);
	case PAGES:
		return hf_take_small_number("pages", arg, 1, HF_HIST_MAX_PAGES, &s->limits.pages);
	case KIND:
		return hf_take_kind(arg, hf_hist_kind_ok, &s->limits.kind);
	case DEPTH:
		return hf_take_small_number("depth", arg, 1, HF_HIST_MAX_DEPTH, &s->depth);
	case WITHOUT:
		return hf_find_hist_ops(arg, &s->limits.without);
	case WRITTEN:
		s->limits.written = true;
		return true;
	case FIND:
		return verdict(arg, &s->find);
	case SECONDS:
		return hf_take_small_number("seconds", arg, 1, 1000000, &s->seconds);
	case THREADS:
		return hf_take_small_number("threads", arg, 1, 256, &s->threads);
	case PROGRESS:
		o->progress = true;
		return true;
	case EMIT:
		o->emit = arg;
		return true;
	case CHECKPOINT:
		s->checkpoint = arg;
		return true;
	default:
		s->resume = arg;
		return true;
	}
}

/* 0 to go on; otherwise -1 and *status is the exit status. */
static int parse_options(int argc, char **argv, struct options *o, int *status)
{
	static const struct option longs[] = {
		{ "histories", no_argument, NULL, 'H' },
		{ "policy", required_argument, NULL, P },
		{ "processes", required_argument, NULL, PROCESSES },
		{ "pages", required_argument, NULL, PAGES },
		{ "kind", required_argument, NULL, KIND },
		{ "depth", required_argument, NULL, DEPTH },
		{ "without", required_argument, NULL, WITHOUT },
		{ "written", no_argument, NULL, WRITTEN },
		{ "find", required_argument, NULL, FIND },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "threads", required_argument, NULL, THREADS },
		{ "progress", no_argument, NULL, PROGRESS },
		{ "emit", required_argument, NULL, EMIT },
		{ "checkpoint", required_argument, NULL, CHECKPOINT },
		{ "resume", required_argument, NULL, RESUME },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	*status = HF_EXIT_USAGE;
	*o = (struct options){ .search = { .policy = "holdfast",
					   .limits = { .procs = 2, .pages = 1 },
					   .depth = 6,
					   .threads = hf_cpus(),
					   .stop = &hf_interrupted } };
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'h') {
			check_usage(stdout);
			*status = HF_EXIT_OK;
			return -1;
		}
		if (c == '?') {
			check_usage(stderr);
			return -1;
		}
		if (!take_option(o, c, optarg))
			return -1;
	}
	if (o->histories && optind == argc)
		return 0;
	fputs(o->histories ? "holdfast: check takes no files\n"
			   : "holdfast: check what? --histories or --interleavings is needed\n",
	      stderr);
	return -1;
}

static void print_counts(FILE *to, const struct hf_search_result *r)
{
	fprintf(to, "depth %u: %llu histories, %llu states, %.0f histories a second, %.1f MiB\n",
		r->depth, (unsigned long long)r->runs, (unsigned long long)r->distinct,
		r->seconds > 0 ? (double)r->runs / r->seconds : 0, (double)r->bytes / (1 << 20));
}

/* "40s", "12m", "3h". */
static const char *duration(double seconds, char *text, size_t len)
{
	if (seconds < 120)
		snprintf(text, len, "%.0fs", seconds);
	else if (seconds < 7200)
		snprintf(text, len, "%.0fm", seconds / 60);
	else
		snprintf(text, len, "%.0fh", seconds / 3600);
	return text;
}

/* One line of a terminal: this depth, and how long the one after it will take. */
static void progress(const struct hf_search_progress *p)
{
	bool terminal = isatty(STDERR_FILENO);
	char left[24], to_come[24];

	fprintf(stderr, "%sdepth %u: %.0f%%; %llu states, %.0f histories a second",
		terminal ? "\r\033[K" : "", p->depth, 100.0 * (double)p->done / (double)p->of,
		(unsigned long long)p->distinct, (double)p->runs / p->seconds);
	if (p->left >= 0)
		fprintf(stderr, "; %s left, then %s", duration(p->left, left, sizeof(left)),
			duration(p->to_come, to_come, sizeof(to_come)));
	if (!terminal)
		fputc('\n', stderr);
}

static void progress_done(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static size_t scenario_of(const struct options *o, const struct hf_search_result *r, char *text,
			  size_t len)
{
	char about[96];
	size_t at;

	snprintf(about, sizeof(about), "about   a shortest history that breaks %s\n",
		 o->search.policy);
	at = hf_hist_text(&r->found, &o->search.limits, about, text, len);
	snprintf(text + at, len - at, "\nexpect %s %s\n", o->search.policy,
		 hf_verdict_names[r->verdict]);
	return strlen(text);
}

static int show(const struct options *o, const struct hf_search_result *r)
{
	char text[4096];

	print_counts(stdout, r);
	if (r->verdict != HF_OK) {
		scenario_of(o, r, text, sizeof(text));
		printf("%s breaks after %u steps: %s: %s\n\n%s", o->search.policy, r->found.nr,
		       hf_verdict_names[r->verdict], r->detail, text);
		return o->emit && hf_emit(o->emit, text) ? HF_EXIT_USAGE : HF_EXIT_UNEXPECTED;
	}
	if (r->complete)
		printf("%s: every history of any length was tried: nothing\n", o->search.policy);
	else
		printf("%s: nothing in any history of up to %u steps\n", o->search.policy,
		       r->depth);
	return hf_interrupted ? HF_EXIT_INTERRUPTED : HF_EXIT_OK;
}

static void say_why_not(const struct hf_search_options *o, int err)
{
	if (o->resume && err == -EINVAL)
		fprintf(stderr, "holdfast: check: not a checkpoint of this search: %s\n",
			o->resume);
	else if (o->resume && err == -EBADMSG)
		fprintf(stderr, "holdfast: check: %s is damaged: start again without --resume\n",
			o->resume);
	else
		fprintf(stderr, "holdfast: check: %s\n", strerror(-err));
}

int hf_cmd_check(int argc, char **argv)
{
	struct hf_search_result result;
	struct options o;
	int status, err;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--interleavings"))
			return hf_cmd_interleavings(argc, argv);
		if (!strcmp(argv[i], "--mutants"))
			return hf_cmd_mutants(argc, argv);
	}
	if (parse_options(argc, argv, &o, &status))
		return status;
	if (o.progress || isatty(STDERR_FILENO))
		o.search.progress = progress;
	err = hf_search(&o.search, &result);
	progress_done();
	if (err) {
		say_why_not(&o.search, err);
		return HF_EXIT_USAGE;
	}
	return show(&o, &result);
}
