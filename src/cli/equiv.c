/* SPDX-License-Identifier: MIT */
/* holdfast equiv */
#include "cli.h"

#include "../equiv/equiv.h"
#include "../target/image/image.h"

#include <errno.h>
#include <getopt.h>
#include <holdfast/policy.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct options {
	struct hf_equiv_options equiv;
	struct hf_image_options image;
	const char *on, *emit;
	bool emitted;
};

static void equiv_usage(FILE *to)
{
	fputs("Usage: holdfast equiv [OPTION...]\n"
	      "\n"
	      "Runs random histories on the engine and on a kernel, step for step, and compares "
	      "after each\n"
	      "what can be seen of every page: contents, reuse or copy, who shares with whom, "
	      "the exclusive\n"
	      "mark. Half of the histories have calls that fail, too. A difference is shrunk to a "
	      "short\n"
	      "history and printed as a scenario.\n"
	      "\n"
	      "  --on KERNEL         here (default), a kernel image by path or name\n"
	      "  --policy P          default: the rules of the kernel's era\n"
	      "  --kind KIND         of memory: base (default), zeropage, thp, huge-zeropage, "
	      "hugetlb,\n"
	      "                      memfd, tmpfile, memfd-hugetlb, mixed, large-16k to large-1m\n"
	      "  --count N           histories (1000)\n"
	      "  --seed S            of the random choice (1); with --first N, from the N-th on\n"
	      "  --differences N     ends after so many that are not alike (1)\n"
	      "  --without OP[,OP]   leave these out, as 'holdfast check' does; also remap, "
	      "truncate,\n"
	      "                      advise, process_vm, ptrace\n"
	      "  --emit FILE         writes the first difference there\n"
	      "  --modules DIR       as for 'holdfast run'\n"
	      "  --timeout SECONDS   as for 'holdfast run'\n"
	      "  --help\n"
	      "\n"
	      "Exit status: 0 no difference, 1 a difference, 2 usage, 77 it cannot be run there, "
	      "130 interrupted.\n",
	      to);
}

static bool small_number(const char *what, const char *text, unsigned *out)
{
	uint64_t n;

	if (!hf_take_number(what, text, 0, 1000, &n))
		return false;
	*out = n ? (unsigned)n : 1;
	return true;
}

enum { ON = 256, POLICY, KIND, COUNT, SEED, FIRST, DIFFERENCES, WITHOUT, EMIT, MODULES, TIMEOUT };

static bool take_option(struct options *o, int c, const char *arg)
{
	switch (c) {
	case ON:
		o->on = arg;
		return true;
	case POLICY:
		return hf_take_policy(arg, &o->equiv.policy);
	case KIND:
		return hf_take_kind(arg, hf_equiv_kind_ok, &o->equiv.kind);
	case COUNT:
		return hf_take_number("count", arg, 0, UINT64_MAX, &o->equiv.count);
	case SEED:
		return hf_take_number("seed", arg, 0, UINT64_MAX, &o->equiv.seed);
	case FIRST:
		return hf_take_number("first", arg, 0, UINT64_MAX, &o->equiv.first);
	case DIFFERENCES:
		return small_number("differences", arg, &o->equiv.most);
	case WITHOUT:
		return hf_find_hist_ops(arg, &o->equiv.without);
	case EMIT:
		o->emit = arg;
		return true;
	case MODULES:
		o->image.modules = arg;
		return true;
	default:
		return small_number("timeout", arg, &o->image.patience);
	}
}

/* 0 to go on; otherwise -1 and *status is the exit status. */
static int parse_options(int argc, char **argv, struct options *o, int *status)
{
	static const struct option longs[] = {
		{ "on", required_argument, NULL, ON },
		{ "policy", required_argument, NULL, POLICY },
		{ "kind", required_argument, NULL, KIND },
		{ "count", required_argument, NULL, COUNT },
		{ "seed", required_argument, NULL, SEED },
		{ "first", required_argument, NULL, FIRST },
		{ "differences", required_argument, NULL, DIFFERENCES },
		{ "without", required_argument, NULL, WITHOUT },
		{ "emit", required_argument, NULL, EMIT },
		{ "modules", required_argument, NULL, MODULES },
		{ "timeout", required_argument, NULL, TIMEOUT },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	*status = HF_EXIT_USAGE;
	*o = (struct options){
		.on = "here",
		.equiv = { .count = 1000, .seed = 1, .most = 1, .stop = &hf_interrupted, .arg = o },
	};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'h') {
			equiv_usage(stdout);
			*status = HF_EXIT_OK;
			return -1;
		}
		if (c == '?') {
			equiv_usage(stderr);
			return -1;
		}
		if (!take_option(o, c, optarg))
			return -1;
	}
	if (optind == argc)
		return 0;
	fputs("holdfast: equiv takes no files\n", stderr);
	return -1;
}

static void progress(void *arg, const struct hf_equiv_result *r)
{
	const struct options *o = arg;

	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%llu/%llu histories, %llu steps, %llu differences",
			(unsigned long long)r->histories, (unsigned long long)o->equiv.count,
			(unsigned long long)r->steps, (unsigned long long)r->differences);
}

static void progress_done(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static void note(void *arg, const char *text)
{
	(void)arg;
	progress_done();
	fprintf(stderr, "holdfast: %s\n", text);
}

static void found(void *arg, const struct hf_equiv_found *f)
{
	struct options *o = arg;

	progress_done();
	printf("history %llu: %s: %s%s\n\n%s\n", (unsigned long long)f->history,
	       hf_difference_names[f->what], f->words,
	       f->steady ? "" : " (it did not come again when the history was run again)", f->text);
	if (!o->emit || o->emitted)
		return;
	o->emitted = true;
	hf_emit(o->emit, f->text);
}

static int show(const struct options *o, const struct hf_target *t, const struct hf_equiv_result *r,
		int err)
{
	progress_done();
	printf("%s on %s (%s): %llu histories, %llu steps compared, %llu skipped, %llu "
	       "differences, "
	       "%.1f seconds\n",
	       o->equiv.policy, t->name, t->detail, (unsigned long long)r->histories,
	       (unsigned long long)r->steps, (unsigned long long)r->skipped,
	       (unsigned long long)r->differences, r->seconds);
	if (err && err != -EINTR && err != -ENOTSUP)
		fprintf(stderr, "holdfast: equiv: %s\n", strerror(-err));
	if (err == -EINTR || hf_interrupted)
		return HF_EXIT_INTERRUPTED;
	if (r->differences)
		return HF_EXIT_UNEXPECTED;
	return err || r->skipped == r->histories ? HF_EXIT_SKIPPED : HF_EXIT_OK;
}

int hf_cmd_equiv(int argc, char **argv)
{
	struct hf_equiv_result result;
	struct hf_target *t;
	char why[512];
	struct options o;
	int status, err;

	if (parse_options(argc, argv, &o, &status))
		return status;
	t = hf_target_open(o.on, &o.image, why, sizeof(why));
	if (t && !t->rules) {
		snprintf(why, sizeof(why), "--on %s: a kernel is needed", o.on);
		t->ops->free(t);
		t = NULL;
	}
	if (!t) {
		fprintf(stderr, "holdfast: %s\n", why);
		return HF_EXIT_USAGE;
	}
	if (!o.equiv.policy)
		o.equiv.policy = t->rules;
	o.equiv.progress = progress;
	o.equiv.found = found;
	o.equiv.note = note;
	err = hf_equiv(t, &o.equiv, &result);
	status = show(&o, t, &result, err);
	t->ops->free(t);
	return status;
}
