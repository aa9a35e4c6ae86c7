/* SPDX-License-Identifier: MIT */
/* Runs all modes in turn, as often as asked, and says what came out. See native/bench.h. */
#include "native/bench.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void on_signal(int signal)
{
	interrupted = signal;
}

/* Without SA_RESTART: the wait for a worker's figures ends. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static void describe_system(struct results *res)
{
	struct utsname name;
	char model[128] = "", line[256];
	FILE *f = fopen("/proc/cpuinfo", "re");
	double load;

	while (f && !*model && fgets(line, sizeof(line), f))
		if (sscanf(line, "model name : %127[^\n<>&]", model) != 1)
			*model = 0;
	if (f)
		fclose(f);
	uname(&name);
	if (getloadavg(&load, 1) != 1)
		load = 0;
	snprintf(res->system, sizeof(res->system), "Linux %.64s, %.80s, %ld CPUs, load before %.1f",
		 name.release, model, sysconf(_SC_NPROCESSORS_ONLN), load);
}

static struct results *new_results(const struct options *opt)
{
	struct results *res = calloc(1, sizeof(*res));

	if (!res) {
		perror("bench-native");
		exit(1);
	}
	res->opt = opt;
	for (size_t m = 0; m < NR_MODES; m++)
		for (int i = 0; i < NR_MEASURES; i++)
			for (unsigned r = 0; r < MAX_RUNS; r++)
				res->samples[m][i][r] = NAN;
	describe_system(res);
	return res;
}

static bool mode_wanted(const struct options *opt, size_t mode)
{
	for (int stage = 0; stage < NR_STAGES; stage++)
		if (stage_wanted(opt, mode, stage))
			return true;
	return false;
}

static bool any_wanted(const struct options *opt)
{
	for (size_t m = 0; m < NR_MODES; m++)
		if (mode_wanted(opt, m))
			return true;
	return false;
}

static void show_progress(const struct options *opt, unsigned run, size_t mode)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (mode < NR_MODES)
		fprintf(stderr, "\r\033[Krun %u of %u: %s", run + 1, opt->runs, modes[mode].name);
	else
		fprintf(stderr, "\r\033[K");
}

/* What is not there the first time is not tried again. False: interrupted. */
static bool run_all(struct results *res)
{
	bool going = true;

	for (unsigned r = 0; going && r < res->opt->runs; r++) {
		for (size_t m = 0; going && m < NR_MODES; m++) {
			if (*res->skipped[m] || !mode_wanted(res->opt, m))
				continue;
			show_progress(res->opt, r, m);
			going = worker_run(res, r, m);
		}
		res->runs += going;
	}
	show_progress(res->opt, 0, NR_MODES);
	return going;
}

static int finish(const struct results *res)
{
	int ret = 0;

	print_results(res, stdout);
	if (res->opt->json && write_json(res, res->opt->json))
		ret = 1;
	if (res->opt->svg && write_plots(res, res->opt->svg))
		ret = 1;
	for (size_t m = 0; m < NR_MODES; m++)
		ret |= res->failed[m];
	return ret;
}

int main(int argc, char **argv)
{
	struct options opt = { 0 };
	struct results *res;
	int ret;

	options_parse(argc, argv, &opt);
	if (!any_wanted(&opt)) {
		fprintf(stderr, "bench-native: --only '%s' is no row, as repeat-1/thp is\n",
			opt.only);
		return 2;
	}
	res = new_results(&opt);
	catch_signals();
	if (opt.hugetlb_pool) {
		atexit(pool_restore);
		pool_enlarge(3 * opt.size);
	}
	if (!run_all(res)) {
		fprintf(stderr, "bench-native: interrupted\n");
		free(res);
		return 128 + interrupted;
	}
	ret = finish(res);
	free(res);
	return ret;
}
