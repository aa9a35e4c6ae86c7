/* SPDX-License-Identifier: MIT */
/* One mode in a process of its own, which sends its figures through a pipe. */
#include "../../src/machine/leftovers.h"
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 600 /* a mode that takes longer hangs */

enum message_kind { FIGURE, SKIPPED, FAILED };

struct message {
	enum message_kind kind;
	enum measure measure;
	double value;
	char text[MAX_TEXT];
};

volatile int interrupted;
static int to_parent;

double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- in the worker ---- */

static void send_message(const struct message *m)
{
	if (write(to_parent, m, sizeof(*m)) != sizeof(*m))
		_exit(1);
}

static void send_text(enum message_kind kind, const char *text)
{
	struct message m = { .kind = kind };

	snprintf(m.text, sizeof(m.text), "%s", text);
	send_message(&m);
}

void report(enum measure measure, double value)
{
	struct message m = { .kind = FIGURE, .measure = measure, .value = value };

	send_message(&m);
}

void must(bool good, const char *what)
{
	char text[MAX_TEXT];

	if (good)
		return;
	snprintf(text, sizeof(text), "%s failed", what);
	send_text(FAILED, text);
	_exit(1);
}

static void skip(int error)
{
	struct hf_native_support support;
	char text[MAX_TEXT];

	if (error == -ENODATA) {
		send_text(SKIPPED, "no huge pages came: see "
				   "/sys/kernel/mm/transparent_hugepage/hugepages-2048kB");
		_exit(0);
	}
	memset(&support, 0, sizeof(support));
	hf_native_probe(&support);
	snprintf(text, sizeof(text), "%s%s%s", strerror(-error), *support.remedy ? ": " : "",
		 support.remedy);
	send_text(error == -EINVAL ? FAILED : SKIPPED, text);
	_exit(0);
}

/* A snapshot and fork()'s copies need as much again, and what was dropped is kept. */
static void check_pool(const struct options *opt, const struct mode *mode)
{
	struct hf_native_support support;
	char text[MAX_TEXT];

	if (mode->kind != KIND_HUGETLB)
		return;
	memset(&support, 0, sizeof(support));
	hf_native_probe(&support);
	if (support.hugetlb_free >= 3 * opt->size)
		return;
	snprintf(text, sizeof(text),
		 "the pool has %zu free pages of 2 MiB, %zu are needed: --hugetlb-pool",
		 support.hugetlb_free / HUGE_PAGE, 3 * opt->size / HUGE_PAGE);
	send_text(SKIPPED, text);
	_exit(0);
}

static int (*const stages[NR_STAGES])(const struct options *opt, const struct mode *mode) = {
	[ACCESS] = stage_access,     [SNAPSHOTS] = stage_snapshots, [WRITES] = stage_writes,
	[LATENCY] = stage_latency,   [PINS] = stage_pins,           [MEMORY] = stage_memory,
	[RESTORES] = stage_restores,
};

static _Noreturn void work(pid_t parent, const struct options *opt, size_t mode)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	hf_die_with(parent);
	alarm(SECONDS);
	check_pool(opt, &modes[mode]);
	for (int i = 0; i < NR_STAGES; i++) {
		int ret = 0;

		if (stage_wanted(opt, mode, i))
			ret = stages[i](opt, &modes[mode]);
		if (ret)
			skip(ret);
	}
	_exit(0);
}

/* ---- in the parent ---- */

static void take_message(struct results *res, unsigned run, size_t mode, const struct message *m)
{
	if (m->kind == FIGURE)
		res->samples[mode][m->measure][run] = m->value;
	else
		snprintf(res->skipped[mode], MAX_TEXT, "%s", m->text);
	if (m->kind == FAILED)
		res->failed[mode] = true;
}

/* False: interrupted. */
static bool listen_to(int from, struct results *res, unsigned run, size_t mode)
{
	struct message m;
	ssize_t got;

	while (!interrupted) {
		got = read(from, &m, sizeof(m));
		if (got == sizeof(m))
			take_message(res, run, mode, &m);
		else if (got >= 0 || errno != EINTR)
			break;
	}
	return !interrupted;
}

static void note_death(struct results *res, size_t mode, int status)
{
	if (!WIFSIGNALED(status) || *res->skipped[mode])
		return;
	snprintf(res->skipped[mode], MAX_TEXT, "the worker died: %s", strsignal(WTERMSIG(status)));
	res->failed[mode] = true;
}

bool worker_run(struct results *res, unsigned run, size_t mode)
{
	int ends[2], status = 0;
	pid_t self = getpid(), pid;

	if (pipe2(ends, O_CLOEXEC) || (pid = fork()) < 0) {
		perror("bench-native");
		exit(1);
	}
	if (!pid) {
		close(ends[0]);
		to_parent = ends[1];
		work(self, res->opt, mode);
	}
	close(ends[1]);
	if (!listen_to(ends[0], res, run, mode))
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	close(ends[0]);
	if (!interrupted)
		note_death(res, mode, status);
	return !interrupted;
}
