/* SPDX-License-Identifier: MIT */
/*
 * The scenario parser: the corpus of malformed files (tests/scenario/bad, each with the message
 * that it must give), what a good file becomes, and memory that runs out. test_parse BAD_DIR
 * LIBRARY_DIR
 */
#include <errno.h>
#include <fts.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scenario/scenario.h"
#include "target/targets.h"
#include <holdfast/mm.h>
#include <holdfast/policy.h>

static const char *bad_dir, *library_dir;

static struct hf_scenario *parse(const char *text)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn = NULL;

	if (hf_scenario_parse("dir/name.hf", text, strlen(text), hf_target_name, &scn, &err))
		fail_msg("%d:%d: %s", err.line, err.column, err.text);
	return scn;
}

static void read_expected(const char *hf_path, char *buf, size_t len)
{
	char path[4096];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%.*s.err", (int)strlen(hf_path) - 3, hf_path);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s is missing", path);
	n = fread(buf, 1, len - 1, f);
	fclose(f);
	while (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
}

static void check_bad_file(const char *path)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn;
	char want[512], got[512];

	read_expected(path, want, sizeof(want));
	if (!hf_scenario_load(path, hf_target_name, &scn, &err))
		fail_msg("%s was accepted", path);
	if (err.line)
		snprintf(got, sizeof(got), "%d:%d: %s", err.line, err.column, err.text);
	else
		snprintf(got, sizeof(got), " %s", err.text);
	if (strcmp(got, want))
		fail_msg("%s:\n  got  '%s'\n  want '%s'", path, got, want);
}

static size_t for_each_file(const char *dir, void (*fn)(const char *path))
{
	char *const paths[] = { (char *)(uintptr_t)dir, NULL };
	FTS *fts = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, NULL);
	size_t nr = 0;
	FTSENT *e;

	assert_non_null(fts);
	while ((e = fts_read(fts)))
		if (e->fts_info == FTS_F && e->fts_namelen > 3 &&
		    !strcmp(e->fts_name + e->fts_namelen - 3, ".hf")) {
			fn(e->fts_path);
			nr++;
		}
	fts_close(fts);
	return nr;
}

static void malformed_files_get_their_message(void **state)
{
	(void)state;
	assert_true(for_each_file(bad_dir, check_bad_file) >= 45);
}

static void check_good_file(const char *path)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn;

	if (hf_scenario_load(path, hf_target_name, &scn, &err))
		fail_msg("%s:%d:%d: %s", path, err.line, err.column, err.text);
	if (!scn->about || !scn->nr_steps || !scn->nr_expects)
		fail_msg("%s: lacks a line about it, steps, or expectations", path);
	if (!scn->nr_sources)
		fail_msg("%s: lacks a source", path);
	hf_scenario_free(scn);
}

static void library_files_say_where_they_come_from(void **state)
{
	(void)state;
	assert_true(for_each_file(library_dir, check_good_file) >= 45);
}

/* Cut anywhere, a good file is an error or a shorter good file: never a crash. */
static void check_cut_file(const char *path)
{
	static char text[1 << 16];
	FILE *f = fopen(path, "r");
	size_t len = fread(text, 1, sizeof(text), f);

	fclose(f);
	for (size_t cut = 0; cut < len; cut += 3) {
		struct hf_parse_error err = { .line = 0 };
		struct hf_scenario *scn;
		char *copy = malloc(cut + 1); /* exactly as long, for ASan */

		memcpy(copy, text, cut);
		if (!hf_scenario_parse(path, copy, cut, hf_target_name, &scn, &err))
			hf_scenario_free(scn);
		else
			assert_true(err.text[0]);
		free(copy);
	}
}

static void files_may_be_cut_anywhere(void **state)
{
	(void)state;
	for_each_file(library_dir, check_cut_file);
}

static void settings_are_kept(void **state)
{
	struct hf_scenario *scn = parse(
		"about  some words\nquote \"a # b\"\nsource here # not this\nkinds base zeropage\n"
		"rounds 7\nframes 99\nunpin-check\nprocess P\n\nP: map b 3 r\n");

	(void)state;
	assert_string_equal(scn->name, "name");
	assert_string_equal(scn->about, "some words");
	assert_string_equal(scn->quotes[0], "a # b");
	assert_string_equal(scn->sources[0], "here");
	assert_int_equal(scn->kinds, 1u << HF_KIND_BASE | 1u << HF_KIND_ZEROPAGE);
	assert_int_equal(scn->rounds, 7);
	assert_int_equal(scn->frames, 99);
	assert_true(scn->unpin_check);
	assert_int_equal(scn->steps[0].prot, HF_PROT_READ);
	assert_int_equal(scn->bufs[0].max_pages, 3);
	hf_scenario_free(scn);
}

static void steps_are_what_they_say(void **state)
{
	struct hf_scenario *scn =
		parse("about a\nprocess P\nprocess Q\n"
		      "P: map b 2\n"
		      "P: write b[8..16] 0x7f\n"
		      "P: check b@1 3\n"
		      "Q: pin r1 b[1] w long of P times 3 maybe\n"
		      "P: get r2 b r slow nofault\n"
		      "device: read r1[0..1]\n"
		      "P: fork C fails EBUSY\n"
		      "par {\n\tP: fork D\n} and {\n\tP.T2: write b[0..8] 1\n\tP.T2: read b[8]\n}\n"
		      "Q: ptrace write P b[0] 9\n");
	const struct hf_step *s = scn->steps;

	(void)state;
	assert_int_equal(s[1].lo, 8);
	assert_int_equal(s[1].hi, 16);
	assert_int_equal(s[1].value, 0x7f);
	assert_int_equal(s[2].lo, 4096);
	assert_int_equal(s[2].verb, HF_V_CHECK);
	assert_true(s[3].proc != s[3].target && s[3].maybe && s[3].times == 3 && s[3].lo == 1 &&
		    s[3].hi == 2);
	assert_int_equal(s[3].foll, HF_FOLL_WRITE | HF_FOLL_LONGTERM);
	assert_int_equal(s[4].foll, HF_FOLL_NOFAULT);
	assert_false(s[4].fast);
	assert_int_equal(s[5].proc, HF_SCN_DEVICE);
	assert_int_equal(s[6].fails_errno, EBUSY);
	assert_int_equal(s[7].par->nr_arms, 2);
	assert_int_equal(s[7].par->arms[1].nr_steps, 2);
	assert_int_equal(s[7].par->arms[1].steps[0].thread, 1);
	assert_int_equal(s[8].verb, HF_V_PTRACE_WRITE);
	hf_scenario_free(scn);
}

static void expectations_spread_over_ranges(void **state)
{
	struct hf_scenario *scn =
		parse("about a\nprocess P\nP: map b 1\n"
		      "expect linux-5.8..linux-6.1,here ok|torn\nexpect holdfast leak\n");

	(void)state;
	assert_int_equal(hf_scenario_expected(scn, "linux-5.10", HF_KIND_BASE),
			 1u << HF_OK | 1u << HF_TORN);
	assert_int_equal(hf_scenario_expected(scn, "here", HF_KIND_BASE),
			 1u << HF_OK | 1u << HF_TORN);
	assert_int_equal(hf_scenario_expected(scn, "holdfast", HF_KIND_BASE), 1u << HF_LEAK);
	assert_int_equal(hf_scenario_expected(scn, "linux-4.19", HF_KIND_BASE), 0);
	hf_scenario_free(scn);
}

static void expectations_may_be_for_kinds(void **state)
{
	struct hf_scenario *scn =
		parse("about a\nkinds base swapped zeropage\nprocess P\nP: map b 1\n"
		      "expect here ok\nexpect here leak for swapped\n"
		      "expect holdfast torn for base zeropage\n");

	(void)state;
	assert_int_equal(hf_scenario_expected(scn, "here", HF_KIND_BASE), 1u << HF_OK);
	assert_int_equal(hf_scenario_expected(scn, "here", HF_KIND_SWAPPED), 1u << HF_LEAK);
	assert_int_equal(hf_scenario_expected(scn, "holdfast", HF_KIND_ZEROPAGE), 1u << HF_TORN);
	assert_int_equal(hf_scenario_expected(scn, "holdfast", HF_KIND_SWAPPED), 0);
	hf_scenario_free(scn);
}

static void missing_files_are_errors_of_their_own(void **state)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn;

	(void)state;
	assert_int_equal(hf_scenario_load("/nonexistent/x.hf", hf_target_name, &scn, &err),
			 -ENOENT);
	assert_true(strstr(err.text, "No such file"));
	assert_int_not_equal(hf_scenario_load("/", hf_target_name, &scn, &err), 0);
	assert_int_equal(err.line, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_files_get_their_message),
		cmocka_unit_test(library_files_say_where_they_come_from),
		cmocka_unit_test(files_may_be_cut_anywhere),
		cmocka_unit_test(settings_are_kept),
		cmocka_unit_test(steps_are_what_they_say),
		cmocka_unit_test(expectations_spread_over_ranges),
		cmocka_unit_test(expectations_may_be_for_kinds),
		cmocka_unit_test(missing_files_are_errors_of_their_own),
	};

	if (argc != 3)
		return 2;
	bad_dir = argv[1];
	library_dir = argv[2];
	return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
