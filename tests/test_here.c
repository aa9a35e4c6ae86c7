/* SPDX-License-Identifier: MIT */
/* The running kernel as a target: what it must survive, and what it must leave behind, which is
 * nothing. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine/machine.h"
#include "target/here/here.h"
#include "target/here/run.h"

#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"

static struct hf_target *here;
static struct hf_cell cell;

static size_t count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t nr = 0;

	assert_non_null(dir);
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

static size_t count_mounts(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "r");
	size_t nr = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		nr += c == '\n';
	fclose(f);
	return nr;
}

static struct hf_scenario *parse(const char *text)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn = NULL;

	if (hf_scenario_parse("x.hf", text, strlen(text), NULL, &scn, &err))
		fail_msg("%d:%d: %s", err.line, err.column, err.text);
	return scn;
}

static enum hf_verdict run(const char *text)
{
	struct hf_scenario *scn = parse(text);

	hf_run_cell(here, scn, HF_KIND_BASE, false, NULL, &cell);
	hf_cell_free(&cell);
	hf_scenario_free(scn);
	return cell.verdict;
}

#define HEAD "about x\nprocess P\nP: map b 2\nP: write b 0x11\n"

static int setup(void **state)
{
	char err[256];

	(void)state;
	here = hf_target_here(err, sizeof(err));
	return here ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	here->ops->free(here);
	return 0;
}

/* And the guardian goes. */
static void put_settings_back(void)
{
	teardown(NULL);
	assert_int_equal(setup(NULL), 0);
}

static void plain_memory_works(void **state)
{
	(void)state;
	assert_int_equal(
		run(HEAD
		    "P: fork C\nP: write b[0..8] 0x21\nC: check b 0x11\nP: check b[0..8] 0x21\n"
		    "C: exit\nP: check b[8..16] 0x11\n"),
		HF_OK);
	assert_int_equal(run(HEAD "P: protect b r\nP: write b[0] 1 fails EFAULT\nP: unmap b@1\n"
				  "P: read b@1 fails EFAULT\n"),
			 HF_OK);
}

static void a_fault_that_is_not_announced_refuses(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: protect b none\nP: read b[0]\n"), HF_REFUSED);
	assert_true(strstr(cell.detail, "EFAULT"));
}

/* With what root has, these are no skips. */
static void references_of_every_kind_work(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(
		run(HEAD "P: vmsplice p b\ndevice: check p[4096..4104] 0x11\nP: release p\n"),
		HF_OK);
	assert_int_equal(
		run(HEAD "P: fixedbuf f b\ndevice: write f[8..16] 0x41\nP: check b[8..16] 0x41\n"
			 "device: check f[0..8] 0x11\nP: release f\n"),
		HF_OK);
	assert_int_equal(run(HEAD
			     "P: odirect read r b[100..5000] 0x42\nP: odirect write w b[0..100]\n"
			     "device: finish w\ndevice: finish r\nP: check b[100..5000] 0x42\nP: "
			     "check b[0..100] 0x11\n"),
			 HF_OK);
	assert_int_equal(run("about x\nprocess P\nprocess Q\nP: map b 2\nP: write b 0x11\nQ: "
			     "process_vm read P b\n"
			     "Q: ptrace write P b[0..9] 0x22\nP: check b[0..9] 0x22\n"),
			 HF_OK);
}

static void what_cannot_be_done_is_skipped_with_the_reason(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: pin d b r long fast-only\n"), HF_SKIP);
	assert_true(strstr(cell.detail, "fast-only"));
	assert_int_equal(run(HEAD "P: pin d b w slow\n"), HF_SKIP);
	assert_int_equal(run(HEAD "P: get d b w\n"), HF_SKIP);
	assert_int_equal(run("about x\nframes 99\nprocess P\nP: map b 1\n"), HF_SKIP);
	assert_int_equal(run(HEAD "P: odirect read r b 1\nP: exit\n"), HF_SKIP);
}

/* Few kernels have gup_test: elsewhere this is about the reason. */
static void read_only_long_term_pins_are_gup_tests(void **state)
{
	static const char *const ways[] = { "", " slow" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char text[300];
		enum hf_verdict got;

		snprintf(text, sizeof(text),
			 HEAD "P: pin d b[100..5000] r long%s\nP: write b[100..108] 0x21\n"
			      "device: check d[0..8] 0x21\ndevice: check d[8..4900] 0x11\n"
			      "P: unpin d\n",
			 ways[i]);
		got = run(text);
		if (access("/sys/kernel/debug/gup_test", R_OK | W_OK)) {
			assert_int_equal(got, HF_SKIP);
			assert_true(strstr(cell.detail, "gup_test"));
		} else {
			assert_int_equal(got, HF_OK);
		}
	}
}

static void gup_test_holds_one_pin(void **state)
{
	(void)state;
	if (access("/sys/kernel/debug/gup_test", R_OK | W_OK))
		skip();
	assert_int_equal(run(HEAD "P: pin d b r long\nP: pin e b r long\n"), HF_SKIP);
	assert_int_equal(run(HEAD "P: pin d b r long\nP: unpin d\nP: pin e b r long\n"), HF_OK);
	assert_int_equal(run(HEAD "P: pin d b w long slow\ndevice: write d 0x21\n"), HF_SKIP);
}

/* An older one is the guardian of the machine's settings. */
static pid_t newest_child(void)
{
	char path[64];
	int child = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "r");
	assert_non_null(f);
	while (fscanf(f, "%d", &child) == 1)
		;
	assert_int_not_equal(child, 0);
	fclose(f);
	return child;
}

/* Of the newest child's buffer, in KiB. */
static long behind_pmds(void)
{
	uint64_t start, end;
	bool buffer = false;
	char path[64], line[256];
	long all = 0, one;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)newest_child());
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			buffer = start / HF_HERE_SPACING == HF_HERE_BASE / HF_HERE_SPACING;
		else if (buffer && sscanf(line, "AnonHugePages: %ld", &one) == 1)
			all += one;
	fclose(f);
	return all;
}

/* As it is on a machine with much to put together, until the target sees to it. */
static void khugepaged_is_busy(void)
{
	char why[256];

	hf_machine_set(KHUGEPAGED "pages_to_scan", "65536", why, sizeof(why));
	hf_machine_set(KHUGEPAGED "scan_sleep_millisecs", "1", why, sizeof(why));
}

static void a_split_leaves_no_pmd(void **state)
{
	struct hf_scenario *scn = parse("about x\nkinds thp\nprocess P\nP: map b 1\n"
					"P: write b 0x11\nP: split b\nP: check b 0x11\n");
	struct hf_obs obs = { 0 };
	void *r;

	(void)state;
	khugepaged_is_busy();
	if (here->ops->begin(here, scn, HF_KIND_THP, &r, &obs))
		skip();
	for (size_t i = 0; i < 3 && !obs.status; i++) {
		here->ops->step(r, &scn->steps[i], &obs);
		if (i == 1 && !obs.status)
			assert_int_equal(behind_pmds(), 2048);
	}
	for (int i = 0; i < 20 && !obs.status; i++) {
		assert_int_equal(behind_pmds(), 0);
		usleep(5000);
	}
	assert_true(obs.status == 0 || obs.status == HF_OBS_SKIP);
	here->ops->end(r, &obs);
	hf_scenario_free(scn);
	put_settings_back();
}

static void steps_of_the_dead_fail(void **state)
{
	(void)state;
	assert_int_equal(
		run("about x\nprocess P\nprocess Q\nP: map b 1\nP: write b 1\nP: fork C\nP: exit\n"
		    "Q: process_vm read C b\nC: check b 1\n"),
		HF_OK);
}

/* What a signal to the process makes of the next step. */
static void signal_between_steps(int sig, const char *reason)
{
	struct hf_scenario *scn = parse(HEAD);
	struct hf_obs obs = { 0 };
	void *r;

	assert_int_equal(here->ops->begin(here, scn, HF_KIND_BASE, &r, &obs), 0);
	here->ops->step(r, &scn->steps[0], &obs);
	assert_int_equal(obs.status, 0);
	assert_int_equal(kill(newest_child(), sig), 0);
	here->ops->step(r, &scn->steps[1], &obs);
	assert_int_equal(obs.status, HF_OBS_ERROR);
	if (!strstr(obs.reason, reason))
		fail_msg("'%s' does not say '%s'", obs.reason, reason);
	here->ops->end(r, &obs);
	hf_scenario_free(scn);
}

static void a_killed_process_is_an_error_cell(void **state)
{
	(void)state;
	signal_between_steps(SIGKILL, "killed by signal 9");
}

static void a_hanging_process_is_an_error_cell(void **state)
{
	(void)state;
	signal_between_steps(SIGSTOP, "did not finish the step within 10 s");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and is gone all the same */
}

static void par_blocks_really_run_at_once(void **state)
{
	(void)state;
	assert_int_equal(run("about x\nrounds 20\nprocess P\nprocess Q\nP: map b 1\nQ: map c 1\nP: "
			     "fixedbuf f b\n"
			     "par {\n\tP: fork C\n} and {\n\tP.T: write b[0..8] 1\n\tP.T: read "
			     "b[0..8]\n} and {\n"
			     "\tQ: write c[8..16] 2\n} and {\n\tdevice: read f[0..8]\n}\nQ: check "
			     "c[8..16] 2\n"),
			 HF_OK);
}

/* poll() looks at descriptors one after the other; this one sees the end of a process before what
 * comes with it, once. */
static bool end_comes_first;

int __real_poll(struct pollfd *fds, nfds_t nr, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout)
{
	struct pollfd only;
	int n;

	if (!end_comes_first || nr < 3)
		return __real_poll(fds, nr, timeout);
	end_comes_first = false;
	only = fds[2];
	n = __real_poll(&only, 1, timeout);
	fds[0].revents = fds[1].revents = 0;
	fds[2].revents = only.revents;
	return n;
}

/* What hf_wait_for() says of a process that ends, waited for at its end or at its answer. */
static int wait_for_one(bool for_end, bool answers)
{
	static const struct hf_scenario none;
	static struct hf_here_run r;
	int ends[2], err;
	pid_t pid;

	r = (struct hf_here_run){ .scn = &none };
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0)
		_exit(answers && write(ends[1], "x", 1) != 1);
	assert_true(pid > 0);
	assert_int_equal(hf_adopt_process(&r, 0, pid), 0);
	end_comes_first = true;
	err = hf_wait_for(&r, 0, for_end ? r.proc[0].pidfd : ends[0], -1, NULL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	hf_forget_process(&r, 0);
	close(ends[0]);
	close(ends[1]);
	return err;
}

static void an_end_that_comes_while_poll_looks_is_not_missed(void **state)
{
	(void)state;
	assert_int_equal(wait_for_one(true, false), 0);
	assert_int_equal(wait_for_one(false, true), 0);
	assert_int_equal(wait_for_one(false, false), -ESRCH);
}

static void nothing_is_left_behind(void **state)
{
	size_t descriptors = count_descriptors(), mounts = count_mounts();

	(void)state;
	for (int i = 0; i < 10; i++) {
		references_of_every_kind_work(state);
		run(HEAD "P: odirect read r b 1\nP: odirect write w b\nP: vmsplice p b\nP: "
			 "fixedbuf f b\n"
			 "P: fork C\nC: fork D\nC: exit\n"); /* all of it still there at the end */
		a_killed_process_is_an_error_cell(state);
	}
	assert_int_equal(count_descriptors(), descriptors);
	assert_int_equal(count_mounts(), mounts);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_memory_works),
		cmocka_unit_test(a_fault_that_is_not_announced_refuses),
		cmocka_unit_test(references_of_every_kind_work),
		cmocka_unit_test(what_cannot_be_done_is_skipped_with_the_reason),
		cmocka_unit_test(read_only_long_term_pins_are_gup_tests),
		cmocka_unit_test(gup_test_holds_one_pin),
		cmocka_unit_test(a_split_leaves_no_pmd),
		cmocka_unit_test(steps_of_the_dead_fail),
		cmocka_unit_test(a_killed_process_is_an_error_cell),
		cmocka_unit_test(a_hanging_process_is_an_error_cell),
		cmocka_unit_test(an_end_that_comes_while_poll_looks_is_not_missed),
		cmocka_unit_test(par_blocks_really_run_at_once),
		cmocka_unit_test(nothing_is_left_behind),
	};

	return cmocka_run_group_tests_name("here", tests, setup, teardown);
}
