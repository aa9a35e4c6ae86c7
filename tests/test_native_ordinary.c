/* SPDX-License-Identifier: MIT */
/*
 * Native spaces and ordinary programs: what a process may do to itself, a row each, in all modes.
 * It works, or a call returns an error that the header lists; never other bytes with 0. Each cell
 * is a process of its own, so what crashes or hangs is one cell that fails.
 */
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "native_ordinary.h"

#define HANGS_AFTER 60 /* seconds; HF_HANG=3 for those who look for what hangs */

#define MAX_ROWS 400

static const struct row *const tables[] = { locking_rows, descriptor_rows, limit_rows, right_rows,
					    filter_rows,  setting_rows,    life_rows,  thread_rows,
					    memory_rows,  mapping_rows };

static bool here[NR_WAYS];
static struct {
	unsigned rows, right, errors, skipped, failed, wrong;
	uint8_t seen[NR_CALLS][NR_ERRORS];
} sums;

static struct verdict *verdict;
static volatile pid_t playing;

/* ---- a cell ---- */

static void play_cell(const struct row *row, const struct way *way)
{
	static struct scene scene;

	setpgid(0, 0);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	scene.row = row;
	scene.way = way;
	scene.verdict = verdict;
	play(&scene);
}

/* Waits, not for ever. */
static int status_after(pid_t pid)
{
	struct pollfd ends = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	const char *seconds = getenv("HF_HANG");
	int status = -1;

	if (ends.fd >= 0 && !poll(&ends, 1, (seconds ? atoi(seconds) : HANGS_AFTER) * 1000))
		snprintf(verdict->why, sizeof(verdict->why), "hangs");
	if (ends.fd >= 0)
		close(ends.fd);
	if (!strcmp(verdict->why, "hangs")) {
		kill(pid, SIGCONT);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	kill(-pid, SIGKILL); /* the act's processes */
	return status;
}

/* Which calls gave which errors. */
static void list_errors(void)
{
	size_t len = 0;

	for (int i = 0; i < NR_CALLS; i++)
		for (int err = 1; err < NR_ERRORS; err++) {
			if (!verdict->seen[i][err])
				continue;
			sums.seen[i][err] = 1;
			if (len < sizeof(verdict->why))
				len += (size_t)snprintf(
					verdict->why + len, sizeof(verdict->why) - len, "%s%s -%s",
					len ? ", " : "", call_names[i] + 10, strerrorname_np(err));
		}
}

static const char *judge(const struct row *row, int status)
{
	bool ended = WIFEXITED(status) && !WEXITSTATUS(status);

	if (verdict->kind == WRONG) {
		sums.wrong++;
		return "WRONG";
	}
	if (verdict->kind == IMPOSSIBLE && ended) {
		sums.skipped++;
		return "skipped";
	}
	if (verdict->kind == RIGHT && ended) {
		list_errors();
		sums.right += !verdict->nr_errors;
		sums.errors += !!verdict->nr_errors;
		return verdict->nr_errors ? "error" : "right";
	}
	if (WIFSIGNALED(status) && !verdict->why[0])
		snprintf(verdict->why, sizeof(verdict->why), "ended by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (WIFSIGNALED(status) && WTERMSIG(status) == row->dies_of && verdict->kind == NOTHING) {
		sums.errors++;
		return "error";
	}
	sums.failed++;
	return "FAILED";
}

static bool cell(const struct row *row, const struct way *way)
{
	const char *word;
	pid_t pid;

	memset(verdict, 0, sizeof(*verdict));
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		play_cell(row, way);
	playing = pid;
	word = judge(row, status_after(pid));
	playing = 0;
	printf("# %-60s %-16s %s%s%s\n", row->name, way->name, word, verdict->why[0] ? ": " : "",
	       verdict->why);
	return word[0] >= 'a';
}

static void play_row(void **state)
{
	const struct row *row = *state;
	unsigned bad = 0;

	sums.rows++;
	if (row->enter && row->enter()) {
		sums.skipped += NR_WAYS;
		skip();
	}
	for (size_t w = 0; w < NR_WAYS; w++)
		if (here[w])
			bad += !cell(row, &ways[w]);
		else
			sums.skipped++;
	if (bad)
		fail_msg("%u modes", bad);
}

/* Also after a failure. */
static int leave_row(void **state)
{
	const struct row *row = *state;

	if (row->leave)
		row->leave();
	return 0;
}

/* ---- the header ---- */

/* What is above a call's declaration, to its end; NULL: there is no such call. */
static const char *comment_of(const char *header, const char *call, const char **end)
{
	char declaration[64];
	const char *comment = header, *next;

	snprintf(declaration, sizeof(declaration), "\nint %s(", call);
	*end = strstr(header, declaration);
	while (*end && (next = strstr(comment + 1, "\n/*")) && next < *end)
		comment = next;
	return *end ? comment : NULL;
}

static bool is_listed(const char *header, const char *call, int err)
{
	static const char as[] = "rrors as ";
	const char *end, *comment = comment_of(header, call, &end), *found, *other;
	char name[32], other_call[64];

	snprintf(name, sizeof(name), "-%s", strerrorname_np(err));
	found = comment ? strstr(comment, name) : NULL;
	if (found && found < end)
		return true;
	other = comment ? strstr(comment, as) : NULL;
	if (!other || other > end)
		return false;
	other += sizeof(as) - 1;
	snprintf(other_call, sizeof(other_call), "%.*s", (int)strcspn(other, "("), other);
	return is_listed(header, other_call, err);
}

static void errors_that_came_are_listed(void **state)
{
	static char header[64 << 10];
	const char *source = getenv("SOURCE");
	char path[512];
	unsigned bad = 0;
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "%s/include/holdfast/native.h", source ? source : ".");
	file = fopen(path, "re");
	assert_non_null(file);
	header[fread(header, 1, sizeof(header) - 1, file)] = '\0';
	fclose(file);
	for (int i = 0; i < NR_CALLS; i++)
		for (int err = 1; err < NR_ERRORS; err++)
			if (sums.seen[i][err] && !is_listed(header, call_names[i], err)) {
				printf("# %s() gave -%s, which %s does not list\n", call_names[i],
				       strerrorname_np(err), path);
				bad++;
			}
	if (bad)
		fail_msg("%u errors are not documented", bad);
}

/* ---- all ---- */

static void ends_early(int sig)
{
	if (playing)
		kill(-playing, SIGKILL);
	put_back_settings();
	signal(sig, SIG_DFL);
	raise(sig);
}

static int look_around(void **state)
{
	const char *wanted = getenv("HF_WAYS");

	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct hf_native *space = make(&ways[w], 64); /* of which hugetlb needs many */

		here[w] = space && (!wanted || strstr(ways[w].name, wanted));
		if (space)
			hf_native_destroy(space);
	}
	return 0;
}

static int sum_up(void **state)
{
	(void)state;
	put_back_settings();
	printf("# %u rows x %zu modes: %u right, %u errors that the header lists, %u skipped, ",
	       sums.rows, NR_WAYS, sums.right, sums.errors, sums.skipped);
	if (sums.failed)
		printf("%u failed, ", sums.failed);
	printf("%u wrong\n", sums.wrong);
	return 0;
}

int main(void)
{
	static struct CMUnitTest tests[MAX_ROWS + 1];
	const char *wanted = getenv("HF_ROWS");
	size_t nr = 0;

	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (verdict == MAP_FAILED)
		return 1;
	signal(SIGTERM, ends_early);
	signal(SIGINT, ends_early);
	signal(SIGHUP, ends_early);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (const struct row *row = tables[i]; row->name; row++)
			if (nr < MAX_ROWS && (!wanted || strstr(row->name, wanted)))
				tests[nr++] = (struct CMUnitTest){
					.name = row->name,
					.test_func = play_row,
					.teardown_func = leave_row,
					.initial_state = (void *)(uintptr_t)row,
				};
	tests[nr++] = (struct CMUnitTest)cmocka_unit_test(errors_that_came_are_listed);
	return _cmocka_run_group_tests("native spaces and ordinary programs", tests, nr,
				       look_around, sum_up);
}
