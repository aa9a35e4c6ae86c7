/* SPDX-License-Identifier: MIT */
/* The oracle and the runner, on a target that shows what the test tells it to: each verdict from
 * what was seen. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scenario/target.h"

/* What the target shows: by line of the scenario, the byte that a step sees, or a status. */
struct script {
	int line;
	int status;
	uint8_t byte;
	bool mixed; /* only the first byte is `byte`, the rest are zero */
};

static const struct script *script;
static struct hf_obs at_end;

static void show(const struct hf_step *st, struct hf_obs *obs)
{
	for (const struct script *s = script; s->line; s++) {
		if (s->line != st->line)
			continue;
		obs->status = s->status;
		snprintf(obs->reason, sizeof(obs->reason), "told so");
		if (obs->len) {
			memset(obs->data, s->mixed ? 0 : s->byte, obs->len);
			obs->data[0] = s->byte;
		}
		return;
	}
	if (obs->len)
		fail_msg("line %d: the script shows nothing", st->line);
}

static int fake_begin(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
		      void **run, struct hf_obs *obs)
{
	(void)scn;
	(void)kind;
	(void)obs;
	*run = t;
	return 0;
}

static void fake_step(void *run, const struct hf_step *st, struct hf_obs *obs)
{
	(void)run;
	show(st, obs);
}

static void fake_par(void *run, const struct hf_par *par, struct hf_obs *obs)
{
	(void)run;
	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 0; i < par->arms[a].nr_steps; i++)
			show(&par->arms[a].steps[i], obs++);
}

static int fake_page(void *run, int proc, int buf, unsigned page, struct hf_page_state *state)
{
	(void)run;
	(void)proc;
	(void)buf;
	(void)page;
	(void)state;
	return -1;
}

static void fake_end(void *run, struct hf_obs *obs)
{
	(void)run;
	obs->status = at_end.status;
	snprintf(obs->reason, sizeof(obs->reason), "%s", at_end.reason);
}

static const struct hf_target_ops fake_ops = {
	.begin = fake_begin,
	.step = fake_step,
	.par = fake_par,
	.page = fake_page,
	.end = fake_end,
};

static struct hf_target fake = { .ops = &fake_ops, .name = "fake", .expect = "linux-6.1" };

static struct hf_cell cell;

static enum hf_verdict run(const char *text, const struct script *seen)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn;

	if (hf_scenario_parse("x.hf", text, strlen(text), &scn, &err))
		fail_msg("%d:%d: %s", err.line, err.column, err.text);
	script = seen;
	hf_run_cell(&fake, scn, HF_KIND_BASE, false, NULL, &cell);
	hf_cell_free(&cell);
	hf_scenario_free(scn);
	return cell.verdict;
}

#define seen(...)                                                                                  \
	(const struct script[])                                                                    \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}
#define HEAD "about x\nprocess P\nP: map b 1\nP: write b 0x11\n" /* lines 1 to 4 */

static void own_bytes_must_be_seen(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: read b\n", seen({ 5, 0, 0x11, 0 })), HF_OK);
	assert_int_equal(run(HEAD "P: read b\n", seen({ 5, 0, 0, 0 })), HF_LOST_WRITE);
	assert_int_equal(run(HEAD "P: read b\n", seen({ 5, 0, 0x77, 0 })), HF_BUG);
	assert_true(strstr(cell.detail, "nobody wrote"));
	assert_int_equal(run(HEAD "P: read b\n", seen({ 5, 0, 0x11, 1 })),
			 HF_LOST_WRITE); /* in part */
}

static void other_processes_bytes_must_not(void **state)
{
	const char *text = HEAD "P: fork C\nC: write b 0x31\nP: read b\nC: read b\n";

	(void)state;
	assert_int_equal(run(text, seen({ 7, 0, 0x11, 0 }, { 8, 0, 0x31, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 7, 0, 0x31, 0 }, { 8, 0, 0x31, 0 })), HF_LEAK);
	assert_int_equal(run(text, seen({ 7, 0, 0x11, 0 }, { 8, 0, 0x11, 0 })), HF_LOST_WRITE);
}

static void pins_are_windows(void **state)
{
	const char *r = HEAD "P: pin d b r\nP: write b 0x21\ndevice: read d\n";
	const char *w = HEAD "P: pin d b w\nP: write b 0x21\ndevice: read d\n";

	(void)state;
	assert_int_equal(run(r, seen({ 7, 0, 0x21, 0 })), HF_OK);
	assert_int_equal(run(r, seen({ 7, 0, 0x11, 0 })), HF_STALE_READ);
	assert_int_equal(run(w, seen({ 7, 0, 0x11, 0 })), HF_LOST_WRITE);
	/* until the owner unmaps: then the bytes as they were */
	assert_int_equal(run(HEAD
			     "P: pin d b w\nP: unmap b\nP: map b 1\nP: write b 9\ndevice: read d\n",
			     seen({ 9, 0, 0x11, 0 })),
			 HF_OK);
	assert_int_equal(run(HEAD
			     "P: pin d b w\nP: unmap b\nP: map b 1\nP: write b 9\ndevice: read d\n",
			     seen({ 9, 0, 9, 0 })),
			 HF_BUG);
	assert_true(strstr(cell.detail, "written to other memory (line 8)"));
}

static void plain_references_may_be_old_but_not_foreign(void **state)
{
	const char *text =
		HEAD "P: fork C\nP: get d b r\nP: write b 0x21\nC: write b 0x31\ndevice: read d\n";

	(void)state;
	assert_int_equal(run(text, seen({ 9, 0, 0x11, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 9, 0, 0x21, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 9, 0, 0x31, 0 })), HF_LEAK);
	assert_int_equal(run(text, seen({ 9, 0, 0, 0 })), HF_STALE_READ);
	assert_int_equal(run(text, seen({ 9, 0, 0x11, 1 })),
			 HF_STALE_READ); /* zeros are older than the reference */
}

static void device_writes_must_arrive(void **state)
{
	const char *text =
		HEAD "P: odirect read io b[0..512] 0x41\nP: fork C\nP: write b[4095] 0x21\n"
		     "device: finish io\nP: read b[0..512]\nC: read b[0..512]\n";

	(void)state;
	assert_int_equal(run(text, seen({ 9, 0, 0x41, 0 }, { 10, 0, 0x11, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 9, 0, 0x11, 0 })), HF_LOST_WRITE);
	assert_int_equal(run(text, seen({ 9, 0, 0x41, 0 }, { 10, 0, 0x41, 0 })), HF_LEAK);
}

/* What its parent had before the fork is the child's own past, not another process's bytes. */
static void children_inherit_the_past(void **state)
{
	const char *text = HEAD "P: pin d b w\ndevice: write d 0x41\nP: fork C\nC: read b\n";
	const char *zeros = "about x\nprocess P\nP: map b 1\nP: pin d b w\n"
			    "device: write d 0x41\nP: fork C\nC: fork D\nD: read b\n";

	(void)state;
	assert_int_equal(run(text, seen({ 8, 0, 0x41, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 8, 0, 0x11, 0 })), HF_LOST_WRITE);
	assert_true(strstr(cell.detail, "but the device wrote 0x41 there (line 6)"));
	assert_int_equal(run(text, seen({ 8, 0, 0, 0 })), HF_LOST_WRITE);
	assert_int_equal(run(zeros, seen({ 8, 0, 0, 0 })), HF_LOST_WRITE);
	assert_int_equal(run(zeros, seen({ 8, 0, 0x77, 0 })), HF_BUG);
}

static void only_what_was_before_the_fork_is_inherited(void **state)
{
	const char *after = HEAD "P: fork C\nP: write b 0x21\nC: write b 0x31\nC: read b\n";
	const char *wiped = HEAD "P: write b 0x21\nP: advise b wipeonfork\nP: fork C\nC: read b\n";
	const char *nephew = HEAD "P: fork C\nC: write b 0x31\nP: fork D\nD: read b\n";

	(void)state;
	assert_int_equal(run(after, seen({ 8, 0, 0x11, 0 })), HF_LOST_WRITE);
	assert_int_equal(run(after, seen({ 8, 0, 0x21, 0 })), HF_LEAK);
	assert_int_equal(run(wiped, seen({ 8, 0, 0x11, 0 })), HF_LEAK);
	assert_int_equal(run(nephew, seen({ 8, 0, 0x31, 0 })), HF_LEAK);
}

static void references_to_inherited_bytes_go_stale(void **state)
{
	const char *r = HEAD "P: write b 0x21\nP: fork C\nC: pin d b r\ndevice: read d\n";
	const char *w = HEAD "P: write b 0x21\nP: fork C\nC: pin d b w\ndevice: read d\n";
	const char *pipe = HEAD "P: write b 0x21\nP: fork C\nC: vmsplice d b\ndevice: read d\n";

	(void)state;
	assert_int_equal(run(r, seen({ 8, 0, 0x21, 0 })), HF_OK);
	assert_int_equal(run(r, seen({ 8, 0, 0x11, 0 })), HF_STALE_READ);
	assert_int_equal(run(w, seen({ 8, 0, 0x11, 0 })), HF_LOST_WRITE);
	assert_int_equal(run(pipe, seen({ 8, 0, 0x11, 0 })), HF_STALE_READ);
}

static void failures_are_refusals_unless_allowed(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: pin d b r\n", seen({ 5, -EFAULT, 0, 0 })), HF_REFUSED);
	assert_true(strstr(cell.detail, "line 5") && strstr(cell.detail, "EFAULT"));
	assert_int_equal(
		run(HEAD "P: pin d b r maybe\ndevice: read d\n", seen({ 5, -EFAULT, 0, 0 })),
		HF_OK);
	assert_int_equal(run(HEAD "P: pin d b r fails\n", seen({ 5, -EBUSY, 0, 0 })), HF_OK);
	assert_int_equal(run(HEAD "P: pin d b r fails EFAULT\n", seen({ 5, -EBUSY, 0, 0 })),
			 HF_REFUSED);
	assert_int_equal(run(HEAD "P: pin d b r fails\n", seen({ 5, 0, 0, 0 })), HF_BUG);
}

static void targets_speak_for_themselves(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: fork C\n", seen({ 5, HF_OBS_SKIP, 0, 0 })), HF_SKIP);
	assert_string_equal(cell.detail, "told so");
	assert_int_equal(run(HEAD "P: fork C\n", seen({ 5, HF_OBS_ERROR, 0, 0 })), HF_ERROR);
	assert_int_equal(run(HEAD "P: fork C\n", seen({ 5, HF_OBS_BUG, 0, 0 })), HF_BUG);
	at_end = (struct hf_obs){ .status = HF_OBS_BUG, .reason = "a leak" };
	assert_int_equal(run(HEAD, seen({ 9, 0, 0, 0 })), HF_BUG);
	assert_string_equal(cell.detail, "a leak");
	at_end = (struct hf_obs){ .status = 0 };
}

static void a_wrong_check_is_the_files_fault(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: check b 0x22\n", seen({ 5, 0, 0x11, 0 })), HF_ERROR);
	assert_true(strstr(cell.detail, "the reference semantics says 0x11"));
}

static void advice_changes_what_is_owned(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: advise b dontneed\nP: read b\n", seen({ 6, 0, 0, 0 })),
			 HF_OK);
	assert_int_equal(run(HEAD "P: advise b dontneed\nP: read b\n", seen({ 6, 0, 0x11, 0 })),
			 HF_BUG);
	assert_int_equal(
		run(HEAD "P: advise b wipeonfork\nP: fork C\nC: read b\n", seen({ 7, 0, 0, 0 })),
		HF_OK);
	assert_int_equal(
		run(HEAD "P: advise b wipeonfork\nP: fork C\nC: read b\n", seen({ 7, 0, 0x11, 0 })),
		HF_LEAK);
	assert_int_equal(
		run(HEAD "P: advise b dontfork\nP: fork C\nC: read b\n", seen({ 7, 0, 0x11, 0 })),
		HF_BUG);
}

static void freed_bytes_are_old_or_zero(void **state)
{
	const char *free = HEAD "P: advise b free\nP: read b\n";
	const char *child = HEAD "P: advise b free\nP: fork C\nC: read b\n";
	const char *written = HEAD "P: advise b free\nP: write b 2\nP: read b\n";

	(void)state;
	assert_int_equal(run(free, seen({ 6, 0, 0x11, 0 })), HF_OK);
	assert_int_equal(run(free, seen({ 6, 0, 0, 0 })), HF_OK);
	assert_int_equal(run(free, seen({ 6, 0, 0x77, 0 })), HF_BUG);
	assert_int_equal(run(child, seen({ 7, 0, 0x11, 0 })), HF_OK);
	assert_int_equal(run(child, seen({ 7, 0, 0, 0 })), HF_OK);
	assert_int_equal(run(written, seen({ 7, 0, 2, 0 })), HF_OK);
	assert_int_equal(run(written, seen({ 7, 0, 0x11, 0 })), HF_LOST_WRITE);
	assert_int_equal(run(written, seen({ 7, 0, 0, 0 })), HF_LOST_WRITE);
}

static void what_truncation_cut_off_is_gone(void **state)
{
	const char *text = "about x\nprocess P\nP: map b 2\nP: write b 0x11\nP: truncate b@1\n"
			   "P: read b@0\nP: read b@1\n";

	(void)state;
	assert_int_equal(run(text, seen({ 6, 0, 0x11, 0 }, { 7, -EFAULT, 0, 0 })), HF_REFUSED);
	assert_int_equal(run(text, seen({ 6, 0, 0x11, 0 }, { 7, 0, 0x11, 0 })), HF_BUG);
}

static void protection_keeps_stores_out(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: protect b r\nP: write b 2\n", seen({ 6, 0, 0, 0 })), HF_BUG);
	assert_int_equal(
		run(HEAD "P: protect b r\nP: write b 2 fails\n", seen({ 6, -EFAULT, 0, 0 })),
		HF_OK);
	assert_int_equal(
		run(HEAD "P: protect b r\nP: protect b rw\nP: write b 2\n", seen({ 7, 0, 0, 0 })),
		HF_OK);
}

/* Two stores in order, and a fork at the same time: the child may have none, the first, or both. */
static void forks_are_one_instant(void **state)
{
	const char *text =
		HEAD "par {\n\tP: fork C\n} and {\n\tP.T: write b[0] 1\n\tP.T: write b[8] 2\n}\n"
		     "C: read b[8]\nC: read b[0]\n";

	(void)state;
	assert_int_equal(run(text, seen({ 11, 0, 0x11, 0 }, { 12, 0, 0x11, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 11, 0, 0x11, 0 }, { 12, 0, 1, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 11, 0, 2, 0 }, { 12, 0, 1, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 11, 0, 2, 0 }, { 12, 0, 0x11, 0 })), HF_TORN);
}

static void reads_in_arms_take_part_in_the_order(void **state)
{
	const char *text =
		HEAD "par {\n\tP: write b[0] 1\n\tP: write b[8] 2\n} and {\n\tP.T: read b[8]\n"
		     "\tP.T: read b[0]\n}\n";

	(void)state;
	assert_int_equal(run(text, seen({ 9, 0, 2, 0 }, { 10, 0, 1, 0 })), HF_OK);
	assert_int_equal(run(text, seen({ 9, 0, 0x11, 0 }, { 10, 0, 1, 0 })), HF_OK);
	assert_int_not_equal(run(text, seen({ 9, 0, 2, 0 }, { 10, 0, 0x11, 0 })), HF_OK);
}

static void expectations_decide_what_is_unexpected(void **state)
{
	(void)state;
	run(HEAD "P: read b\nexpect linux-6.1 lost-write\n", seen({ 5, 0, 0, 0 }));
	assert_true(hf_cell_as_expected(&cell)); /* by the target's era */
	run(HEAD "P: read b\nexpect linux-6.1 lost-write\n", seen({ 5, 0, 0x11, 0 }));
	assert_false(hf_cell_as_expected(&cell));
	run(HEAD "P: read b\n", seen({ 5, 0, 0, 0 }));
	assert_false(hf_cell_as_expected(&cell));
	run(HEAD "P: read b\nexpect linux-6.1 lost-write\n", seen({ 5, HF_OBS_SKIP, 0, 0 }));
	assert_true(hf_cell_as_expected(&cell));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_bytes_must_be_seen),
		cmocka_unit_test(other_processes_bytes_must_not),
		cmocka_unit_test(pins_are_windows),
		cmocka_unit_test(plain_references_may_be_old_but_not_foreign),
		cmocka_unit_test(device_writes_must_arrive),
		cmocka_unit_test(children_inherit_the_past),
		cmocka_unit_test(only_what_was_before_the_fork_is_inherited),
		cmocka_unit_test(references_to_inherited_bytes_go_stale),
		cmocka_unit_test(failures_are_refusals_unless_allowed),
		cmocka_unit_test(targets_speak_for_themselves),
		cmocka_unit_test(a_wrong_check_is_the_files_fault),
		cmocka_unit_test(advice_changes_what_is_owned),
		cmocka_unit_test(freed_bytes_are_old_or_zero),
		cmocka_unit_test(what_truncation_cut_off_is_gone),
		cmocka_unit_test(protection_keeps_stores_out),
		cmocka_unit_test(forks_are_one_instant),
		cmocka_unit_test(reads_in_arms_take_part_in_the_order),
		cmocka_unit_test(expectations_decide_what_is_unexpected),
	};

	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
