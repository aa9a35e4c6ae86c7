/* SPDX-License-Identifier: MIT */
/* Going back to what was, after some pages were written, as fuzzers do: by hf_native_restore(), and
 * by a fork server, whose children write and exit. */
#include "bench.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WRITTEN 100 /* pages */
#define ROUNDS 50

static void write_round(struct subject *s, const uint32_t *order, size_t round)
{
	for (size_t i = 0; i < WRITTEN; i++)
		add_one(s, order[(round * WRITTEN + i) % s->nr_pages] * PAGE);
}

/* The stores come after the start, since fork()'s are copies that its end gives back. */
static double fork_round(struct subject *s, const uint32_t *order, size_t round)
{
	double start = now_ns();
	pid_t pid = fork();

	must(pid >= 0, "fork()");
	if (!pid) {
		write_round(s, order, round);
		_exit(0);
	}
	must(waitpid(pid, NULL, 0) == pid, "waitpid()");
	return now_ns() - start;
}

static double restore_round(struct subject *s, const uint32_t *order, size_t round,
			    const struct instant *at)
{
	double start = now_ns();

	write_round(s, order, round);
	must(!hf_native_restore(s->space, at->snapshot), "hf_native_restore()");
	return now_ns() - start;
}

int stage_restores(const struct options *opt, const struct mode *mode)
{
	struct instant at = { 0 };
	double ns[ROUNDS];
	struct subject s;
	uint32_t *order;
	int ret = subject_open(&s, mode, opt->size);

	if (ret)
		return ret;
	order = order_random(s.nr_pages, 17);
	if (s.space)
		subject_take(&s, &at);
	for (size_t i = 0; i < ROUNDS; i++)
		ns[i] = s.space ? restore_round(&s, order, i % 8, &at)
				: fork_round(&s, order, i % 8);
	report(RESTORE, summary_of(ns, ROUNDS).median / 1000);
	free(order);
	if (s.space)
		subject_drop(&at);
	subject_close(&s);
	return 0;
}
