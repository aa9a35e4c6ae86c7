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
#include "target/engine/engine.h"

/* What the target shows: by line of the scenario, the byte that a step sees, or a status. */
struct script {
	int line;
	int status;
	uint8_t byte;
	bool mixed;  /* only the first byte is `byte`, the rest are zero */
	size_t done; /* of what fails, so much was done */
};

#define saw(line, byte)                                                                            \
	{                                                                                          \
		line, 0, byte, false, 0                                                            \
	}
#define mix(line, byte)                                                                            \
	{                                                                                          \
		line, 0, byte, true, 0                                                             \
	}
#define got(line, status)                                                                          \
	{                                                                                          \
		line, status, 0, false, 0                                                          \
	}
/* `done` bytes were accessed; loads show `byte` in them. */
#define part(line, status, done, byte)                                                             \
	{                                                                                          \
		line, status, byte, false, done                                                    \
	}

static const struct script *script;
static struct hf_obs at_end;

static void show(const struct hf_step *st, struct hf_obs *obs)
{
	for (const struct script *s = script; s->line; s++) {
		if (s->line != st->line)
			continue;
		obs->status = s->status;
		obs->done = s->done;
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
		for (size_t i = 0; i < par->arms[a].nr_steps; i++, obs++)
			if (!obs->left_out)
				show(&par->arms[a].steps[i], obs);
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

static const char *targets(size_t i)
{
	return i ? NULL : fake.expect;
}

static struct hf_cell cell;

static enum hf_verdict run_on(struct hf_target *t, enum hf_kind kind, const char *text,
			      const struct script *seen)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn;

	if (hf_scenario_parse("x.hf", text, strlen(text), targets, &scn, &err))
		fail_msg("%d:%d: %s", err.line, err.column, err.text);
	script = seen;
	hf_run_cell(t, scn, kind, false, NULL, &cell);
	hf_cell_free(&cell);
	hf_scenario_free(scn);
	return cell.verdict;
}

static enum hf_verdict run(const char *text, const struct script *seen)
{
	return run_on(&fake, HF_KIND_BASE, text, seen);
}

#define seen(...)                                                                                  \
	(const struct script[])                                                                    \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}
/* The scenario with what was seen in it has this verdict. */
#define is(verdict, text, ...) assert_int_equal(run(text, seen(__VA_ARGS__)), verdict)
#define HEAD "about x\nprocess P\nP: map b 1\nP: write b 0x11\n" /* lines 1 to 4 */

static void own_bytes_must_be_seen(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: read b\n", seen(saw(5, 0x11))), HF_OK);
	assert_int_equal(run(HEAD "P: read b\n", seen(saw(5, 0))), HF_LOST_WRITE);
	assert_int_equal(run(HEAD "P: read b\n", seen(saw(5, 0x77))), HF_BUG);
	assert_true(strstr(cell.detail, "nobody wrote"));
	assert_int_equal(run(HEAD "P: read b\n", seen(mix(5, 0x11))), HF_LOST_WRITE); /* in part */
}

static void other_processes_bytes_must_not(void **state)
{
	const char *text = HEAD "P: fork C\nC: write b 0x31\nP: read b\nC: read b\n";

	(void)state;
	assert_int_equal(run(text, seen(saw(7, 0x11), saw(8, 0x31))), HF_OK);
	assert_int_equal(run(text, seen(saw(7, 0x31), saw(8, 0x31))), HF_LEAK);
	assert_int_equal(run(text, seen(saw(7, 0x11), saw(8, 0x11))), HF_LOST_WRITE);
}

static void pins_are_windows(void **state)
{
	const char *r = HEAD "P: pin d b r\nP: write b 0x21\ndevice: read d\n";
	const char *w = HEAD "P: pin d b w\nP: write b 0x21\ndevice: read d\n";

	(void)state;
	assert_int_equal(run(r, seen(saw(7, 0x21))), HF_OK);
	assert_int_equal(run(r, seen(saw(7, 0x11))), HF_STALE_READ);
	assert_int_equal(run(w, seen(saw(7, 0x11))), HF_LOST_WRITE);
	/* until the owner unmaps: then the bytes as they were */
	assert_int_equal(run(HEAD
			     "P: pin d b w\nP: unmap b\nP: map b 1\nP: write b 9\ndevice: read d\n",
			     seen(saw(9, 0x11))),
			 HF_OK);
	assert_int_equal(run(HEAD
			     "P: pin d b w\nP: unmap b\nP: map b 1\nP: write b 9\ndevice: read d\n",
			     seen(saw(9, 9))),
			 HF_BUG);
	assert_true(strstr(cell.detail, "written to other memory (line 8)"));
}

static void plain_references_may_be_old_but_not_foreign(void **state)
{
	const char *text =
		HEAD "P: fork C\nP: get d b r\nP: write b 0x21\nC: write b 0x31\ndevice: read d\n";

	(void)state;
	assert_int_equal(run(text, seen(saw(9, 0x11))), HF_OK);
	assert_int_equal(run(text, seen(saw(9, 0x21))), HF_OK);
	assert_int_equal(run(text, seen(saw(9, 0x31))), HF_LEAK);
	assert_int_equal(run(text, seen(saw(9, 0))), HF_STALE_READ);
	assert_int_equal(run(text, seen(mix(9, 0x11))),
			 HF_STALE_READ); /* zeros are older than the reference */
}

static void device_writes_must_arrive(void **state)
{
	const char *text =
		HEAD "P: odirect read io b[0..512] 0x41\nP: fork C\nP: write b[4095] 0x21\n"
		     "device: finish io\nP: read b[0..512]\nC: read b[0..512]\n";

	(void)state;
	assert_int_equal(run(text, seen(saw(9, 0x41), saw(10, 0x11))), HF_OK);
	assert_int_equal(run(text, seen(saw(9, 0x11))), HF_LOST_WRITE);
	assert_int_equal(run(text, seen(saw(9, 0x41), saw(10, 0x41))), HF_LEAK);
}

/* What its parent had before the fork is the child's own past, not another process's bytes. */
static void children_inherit_the_past(void **state)
{
	const char *text = HEAD "P: pin d b w\ndevice: write d 0x41\nP: fork C\nC: read b\n";
	const char *zeros = "about x\nprocess P\nP: map b 1\nP: pin d b w\n"
			    "device: write d 0x41\nP: fork C\nC: fork D\nD: read b\n";

	(void)state;
	assert_int_equal(run(text, seen(saw(8, 0x41))), HF_OK);
	assert_int_equal(run(text, seen(saw(8, 0x11))), HF_LOST_WRITE);
	assert_true(strstr(cell.detail, "but the device wrote 0x41 there (line 6)"));
	assert_int_equal(run(text, seen(saw(8, 0))), HF_LOST_WRITE);
	assert_int_equal(run(zeros, seen(saw(8, 0))), HF_LOST_WRITE);
	assert_int_equal(run(zeros, seen(saw(8, 0x77))), HF_BUG);
}

static void only_what_was_before_the_fork_is_inherited(void **state)
{
	const char *after = HEAD "P: fork C\nP: write b 0x21\nC: write b 0x31\nC: read b\n";
	const char *wiped = HEAD "P: write b 0x21\nP: advise b wipeonfork\nP: fork C\nC: read b\n";
	const char *nephew = HEAD "P: fork C\nC: write b 0x31\nP: fork D\nD: read b\n";

	(void)state;
	assert_int_equal(run(after, seen(saw(8, 0x11))), HF_LOST_WRITE);
	assert_int_equal(run(after, seen(saw(8, 0x21))), HF_LEAK);
	assert_int_equal(run(wiped, seen(saw(8, 0x11))), HF_LEAK);
	assert_int_equal(run(nephew, seen(saw(8, 0x31))), HF_LEAK);
}

static void references_to_inherited_bytes_go_stale(void **state)
{
	const char *r = HEAD "P: write b 0x21\nP: fork C\nC: pin d b r\ndevice: read d\n";
	const char *w = HEAD "P: write b 0x21\nP: fork C\nC: pin d b w\ndevice: read d\n";
	const char *pipe = HEAD "P: write b 0x21\nP: fork C\nC: vmsplice d b\ndevice: read d\n";

	(void)state;
	assert_int_equal(run(r, seen(saw(8, 0x21))), HF_OK);
	assert_int_equal(run(r, seen(saw(8, 0x11))), HF_STALE_READ);
	assert_int_equal(run(w, seen(saw(8, 0x11))), HF_LOST_WRITE);
	assert_int_equal(run(pipe, seen(saw(8, 0x11))), HF_STALE_READ);
}

static void failures_are_refusals_unless_allowed(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: pin d b r\n", seen(got(5, -EFAULT))), HF_REFUSED);
	assert_true(strstr(cell.detail, "line 5") && strstr(cell.detail, "EFAULT"));
	assert_int_equal(run(HEAD "P: pin d b r maybe\ndevice: read d\n", seen(got(5, -EFAULT))),
			 HF_OK);
	assert_int_equal(run(HEAD "P: pin d b r fails\n", seen(got(5, -EBUSY))), HF_OK);
	assert_int_equal(run(HEAD "P: pin d b r fails EFAULT\n", seen(got(5, -EBUSY))), HF_REFUSED);
	assert_int_equal(run(HEAD "P: pin d b r fails\n", seen(saw(5, 0))), HF_BUG);
}

static void targets_speak_for_themselves(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: fork C\n", seen(got(5, HF_OBS_SKIP))), HF_SKIP);
	assert_string_equal(cell.detail, "told so");
	assert_int_equal(run(HEAD "P: fork C\n", seen(got(5, HF_OBS_ERROR))), HF_ERROR);
	assert_int_equal(run(HEAD "P: fork C\n", seen(got(5, HF_OBS_BUG))), HF_BUG);
	at_end = (struct hf_obs){ .status = HF_OBS_BUG, .reason = "a leak" };
	assert_int_equal(run(HEAD, seen(saw(9, 0))), HF_BUG);
	assert_string_equal(cell.detail, "a leak");
	at_end = (struct hf_obs){ .status = 0 };
}

static void a_wrong_check_is_the_files_fault(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: check b 0x22\n", seen(saw(5, 0x11))), HF_ERROR);
	assert_true(strstr(cell.detail, "the reference semantics says 0x11"));
}

static void advice_changes_what_is_owned(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: advise b dontneed\nP: read b\n", seen(saw(6, 0))), HF_OK);
	assert_int_equal(run(HEAD "P: advise b dontneed\nP: read b\n", seen(saw(6, 0x11))), HF_BUG);
	assert_int_equal(
		run(HEAD "P: advise b wipeonfork\nP: fork C\nC: read b\n", seen(saw(7, 0))), HF_OK);
	assert_int_equal(
		run(HEAD "P: advise b wipeonfork\nP: fork C\nC: read b\n", seen(saw(7, 0x11))),
		HF_LEAK);
	assert_int_equal(
		run(HEAD "P: advise b dontfork\nP: fork C\nC: read b\n", seen(saw(7, 0x11))),
		HF_BUG);
}

static void freed_bytes_are_old_or_zero(void **state)
{
	const char *free = HEAD "P: advise b free\nP: read b\n";
	const char *child = HEAD "P: advise b free\nP: fork C\nC: read b\n";
	const char *written = HEAD "P: advise b free\nP: write b 2\nP: read b\n";

	(void)state;
	assert_int_equal(run(free, seen(saw(6, 0x11))), HF_OK);
	assert_int_equal(run(free, seen(saw(6, 0))), HF_OK);
	assert_int_equal(run(free, seen(saw(6, 0x77))), HF_BUG);
	assert_int_equal(run(child, seen(saw(7, 0x11))), HF_OK);
	assert_int_equal(run(child, seen(saw(7, 0))), HF_OK);
	assert_int_equal(run(written, seen(saw(7, 2))), HF_OK);
	assert_int_equal(run(written, seen(saw(7, 0x11))), HF_LOST_WRITE);
	assert_int_equal(run(written, seen(saw(7, 0))), HF_LOST_WRITE);
	is(HF_TORN, HEAD "P: advise b free\nP: read b\n", mix(6, 0x11));
}

static void what_truncation_cut_off_is_gone(void **state)
{
	const char *text = "about x\nprocess P\nP: map b 2\nP: write b 0x11\nP: truncate b@1\n"
			   "P: read b@0\nP: read b@1\n";

	(void)state;
	assert_int_equal(run(text, seen(saw(6, 0x11), got(7, -EFAULT))), HF_REFUSED);
	assert_int_equal(run(text, seen(saw(6, 0x11), saw(7, 0x11))), HF_BUG);
}

static void protection_keeps_stores_out(void **state)
{
	(void)state;
	assert_int_equal(run(HEAD "P: protect b r\nP: write b 2\n", seen(saw(6, 0))), HF_BUG);
	assert_int_equal(run(HEAD "P: protect b r\nP: write b 2 fails\n", seen(got(6, -EFAULT))),
			 HF_OK);
	assert_int_equal(
		run(HEAD "P: protect b r\nP: protect b rw\nP: write b 2\n", seen(saw(7, 0))),
		HF_OK);
}

/* Two stores in order, and a fork at the same time: the child may have none, the first, or both. */
static void forks_are_one_instant(void **state)
{
	const char *text =
		HEAD "par {\n\tP: fork C\n} and {\n\tP.T: write b[0] 1\n\tP.T: write b[8] 2\n}\n"
		     "C: read b[8]\nC: read b[0]\n";

	(void)state;
	assert_int_equal(run(text, seen(saw(11, 0x11), saw(12, 0x11))), HF_OK);
	assert_int_equal(run(text, seen(saw(11, 0x11), saw(12, 1))), HF_OK);
	assert_int_equal(run(text, seen(saw(11, 2), saw(12, 1))), HF_OK);
	assert_int_equal(run(text, seen(saw(11, 2), saw(12, 0x11))), HF_TORN);
}

static void reads_in_arms_take_part_in_the_order(void **state)
{
	const char *text =
		HEAD "par {\n\tP: write b[0] 1\n\tP: write b[8] 2\n} and {\n\tP.T: read b[8]\n"
		     "\tP.T: read b[0]\n}\n";

	(void)state;
	assert_int_equal(run(text, seen(saw(9, 2), saw(10, 1))), HF_OK);
	assert_int_equal(run(text, seen(saw(9, 0x11), saw(10, 1))), HF_OK);
	assert_int_not_equal(run(text, seen(saw(9, 2), saw(10, 0x11))), HF_OK);
}

#define HEAD4 "about x\nprocess P\nP: map b 4\nP: write b 0x11\n"
/* What is less than a page of the pool stays; a buffer's mapping ends with its page. */
static void pages_of_the_pool_are_dropped_whole(void **state)
{
	const char *part = HEAD4 "P: advise b[0..8192] dontneed\nP: read b@0\n";
	const char *all = HEAD4 "P: advise b dontneed\nP: read b@0\n";

	(void)state;
	for (enum hf_kind kind = HF_KIND_HUGETLB;; kind = HF_KIND_MEMFD_HUGETLB) {
		assert_int_equal(run_on(&fake, kind, part, seen(saw(6, 0x11))), HF_OK);
		assert_int_equal(run_on(&fake, kind, part, seen(saw(6, 0))), HF_LOST_WRITE);
		assert_int_equal(run_on(&fake, kind, all, seen(saw(6, 0))), HF_OK);
		assert_int_equal(run_on(&fake, kind, all, seen(saw(6, 0x11))), HF_BUG);
		if (kind == HF_KIND_MEMFD_HUGETLB)
			break;
	}
	assert_int_equal(run(part, seen(saw(6, 0))), HF_OK);
}

#define HOLE HEAD4 "P: unmap b@1\n" /* lines 1 to 5 */

/* madvise(2): ENOMEM, and the rest is done. */
static void advice_goes_on_after_a_hole(void **state)
{
	const char *dontneed = HOLE "P: advise b dontneed maybe\nP: read b@0\nP: read b@2\n";
	const char *some =
		HOLE "P: advise b[4096..12288] dontneed maybe\nP: read b@2\nP: read b@3\n";
	const char *free = HOLE "P: advise b free maybe\nP: read b@2\n";
	const char *populate = HOLE "P: advise b populate-write maybe\nP: read b@0\n";
	const char *dontfork = HOLE "P: advise b dontfork maybe\nP: fork C\nC: read b@3\n";
	const char *wipe =
		HOLE "P: advise b wipeonfork maybe\nP: fork C\nC: read b@3\nP: read b@3\n";
	const char *again = HOLE "P: advise b wipeonfork maybe\nP: map x 4\nP: remap b 4 maybe\n"
				 "P: unmap b\nP: map b 4\nP: write b 0x21\nP: fork C\nC: read b\n";

	(void)state;
	is(HF_OK, dontneed, got(6, -ENOMEM), saw(7, 0), saw(8, 0));
	is(HF_BUG, dontneed, got(6, -ENOMEM), saw(7, 0x11));
	is(HF_BUG, dontneed, got(6, -ENOMEM), saw(7, 0), saw(8, 0x11));
	is(HF_OK, some, got(6, -ENOMEM), saw(7, 0), saw(8, 0x11));
	is(HF_LOST_WRITE, some, got(6, -ENOMEM), saw(7, 0), saw(8, 0));
	is(HF_OK, free, got(6, -ENOMEM), saw(7, 0));
	is(HF_OK, free, got(6, -ENOMEM), saw(7, 0x11));
	is(HF_LOST_WRITE, populate, got(6, -ENOMEM), saw(7, 0));
	is(HF_BUG, dontfork, got(6, -ENOMEM), saw(8, 0x11));
	is(HF_OK, wipe, got(6, -ENOMEM), saw(8, 0), saw(9, 0x11));
	is(HF_LEAK, wipe, got(6, -ENOMEM), saw(8, 0x11));
	/* and what is mapped anew has no advice */
	is(HF_OK, again, got(6, -ENOMEM), got(8, -EFAULT), saw(13, 0x21));
	is(HF_OK,
	   HEAD4 "P: unmap b@0\nP: advise b wipeonfork maybe\nP: map b 1\nP: write b@0 2\n"
		 "P: fork C\nC: read b@0\n",
	   got(6, -ENOMEM), saw(10, 2));
}

/* EINVAL comes of the first VMA that refuses, and all memory of a file refuses these. */
static void advice_stops_where_it_is_refused(void **state)
{
	const char *free = HEAD4 "P: advise b@1 free maybe\nP: advise b free maybe\nP: read b\n";
	const char *wipe = HEAD4 "P: advise b@1 wipeonfork maybe\nP: advise b wipeonfork maybe\n"
				 "P: fork C\nC: read b\n";
	const char *dontfork = HEAD4 "P: protect b@1 r\nP: advise b dontfork maybe\nP: fork C\n"
				     "C: read b@0 maybe\nC: read b@3 maybe\n";
	const struct script *lost = seen(got(5, -EINVAL), got(6, -EINVAL), saw(7, 0));
	const struct script *kept = seen(got(5, -EINVAL), got(6, -EINVAL), saw(8, 0x11));

	(void)state;
	assert_int_equal(run_on(&fake, HF_KIND_MEMFD, free, lost), HF_LOST_WRITE);
	assert_int_equal(run_on(&fake, HF_KIND_MEMFD, wipe, kept), HF_OK);
	is(HF_LOST_WRITE, free, got(5, -EINVAL), got(6, -EINVAL), saw(7, 0));
	/* the kernel's memory is short: nobody can tell where it stopped, but it began in front */
	is(HF_OK, dontfork, got(6, -EAGAIN), saw(8, 0x11), saw(9, 0x11));
	is(HF_OK, dontfork, got(6, -EAGAIN), got(8, -EFAULT), saw(9, 0x11));
	is(HF_LOST_WRITE, dontfork, got(6, -EAGAIN), saw(8, 0), saw(9, 0x11));
	is(HF_OK, dontfork, saw(6, 0), got(8, -EFAULT), got(9, -EFAULT));
	is(HF_BUG, dontfork, saw(6, 0), got(8, -EFAULT), saw(9, 0x11));
	is(HF_LOST_WRITE, HEAD4 "P: advise b@1 free maybe\nP: advise b free maybe\nP: read b@0\n",
	   got(5, -EINVAL), got(6, -EINVAL), saw(7, 0));
	/* no hole, so it is memory that was short */
	is(HF_OK, dontfork, got(6, -ENOMEM), saw(8, 0x11), saw(9, 0x11));
	/* the last VMA was not reached */
	is(HF_REFUSED,
	   HEAD4 "P: protect b@1 r\nP: advise b dontfork maybe\nP: fork C\nC: read b@3\n",
	   got(6, -EAGAIN), got(8, -EFAULT));
}

static void protection_ends_at_a_hole(void **state)
{
	const char *text = HOLE "P: protect b r maybe\nP: write b@0 2 maybe\nP: write b@2 3\n";
	const char *back = HOLE "P: protect b@0 r\nP: protect b rw maybe\nP: write b@0 2\n";

	(void)state;
	is(HF_OK, text, got(6, -ENOMEM), got(7, -EFAULT), saw(8, 0));
	is(HF_BUG, text, got(6, -ENOMEM), saw(7, 0));
	is(HF_OK, back, got(7, -ENOMEM), saw(8, 0));
	/* nobody knows how far it came: neither is wrong, and a store that fails is the file's */
	is(HF_OK, HEAD4 "P: protect b@1 r\nP: protect b r maybe\nP: write b@0 2\n", got(6, -EAGAIN),
	   saw(7, 0));
	is(HF_ERROR, HEAD4 "P: protect b@1 r\nP: protect b r maybe\nP: write b@0 2\n",
	   got(6, -EAGAIN), got(7, -EFAULT));
	assert_non_null(strstr(cell.detail, "say 'maybe'"));
}

static void writes_are_done_up_to_the_fault(void **state)
{
	const char *cpu = HOLE "P: write b 0x21 maybe\nP: read b@0\nP: read b@2\n";
	const char *vm = HOLE "P: process_vm write P b 0x21 maybe\nP: read b@0\nP: read b@2\n";
	const char *mem = HOLE "P: ptrace write P b 0x21 maybe\nP: read b@0\nP: read b@2\n";
	const char *all[] = { cpu, vm, mem };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		is(HF_OK, all[i], part(6, -EFAULT, 4096, 0), saw(7, 0x21), saw(8, 0x11));
		is(HF_LOST_WRITE, all[i], part(6, -EFAULT, 4096, 0), saw(7, 0x11));
		is(HF_BUG, all[i], part(6, -EFAULT, 4096, 0), saw(7, 0x21), saw(8, 0x21));
		is(HF_OK, all[i], part(6, -EFAULT, 0, 0), saw(7, 0x11), saw(8, 0x11));
		is(HF_BUG, all[i], part(6, -EFAULT, 0, 0), saw(7, 0x21));
		/* a count that ends within what no step tells apart */
		is(HF_OK, all[i], part(6, -EFAULT, 100, 0), saw(7, 0x21), saw(8, 0x11));
		is(HF_OK, all[i], part(6, -EFAULT, 100, 0), saw(7, 0x11), saw(8, 0x11));
	}
}

static void what_a_failing_load_saw_was_seen(void **state)
{
	const char *text =
		HEAD4 "P: fork C\nC: write b 0x31\nC: unmap b@1\nP: process_vm read C b maybe\n";

	(void)state;
	is(HF_OK, text, part(8, -EFAULT, 4096, 0x31));
	is(HF_LOST_WRITE, text, part(8, -EFAULT, 4096, 0x11));
	is(HF_OK, text, part(8, -EFAULT, 0, 0x11));
}

static void devices_that_fail_may_have_written(void **state)
{
	const char *write =
		HEAD4 "P: pin d b w\ndevice: write d 0x41 maybe\nP: read b@0\nP: read b@1\n";
	const char *io = HEAD4
		"P: odirect read d b 0x41\ndevice: finish d maybe\nP: read b@0\nP: read b@1\n";
	const char *all[] = { write, io };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		is(HF_OK, all[i], got(6, -EIO), saw(7, 0x41), saw(8, 0x11));
		is(HF_OK, all[i], got(6, -EIO), saw(7, 0x11), saw(8, 0x41));
		is(HF_BUG, all[i], got(6, -EIO), saw(7, 0x77));
		is(HF_LOST_WRITE, all[i], part(6, -EIO, 4096, 0), saw(7, 0x11));
		is(HF_OK, all[i], part(6, -EIO, 4096, 0), saw(7, 0x41), saw(8, 0x11));
		is(HF_BUG, all[i], got(6, -EINVAL), saw(7, 0x41)); /* it was refused */
		is(HF_OK, all[i], got(6, -EINVAL), saw(7, 0x11), saw(8, 0x11));
	}
}

/* The tail is cut off first; since Linux 6.17, VMAs move one by one. */
static void failed_moves_may_have_begun(void **state)
{
	const char *shrink =
		HEAD4 "P: fork C\nP: remap b 2 maybe\nP: remap b 4 maybe\nP: read b@3\n";
	const char *cut = HEAD4 "P: remap b 2 maybe\nP: read b@1\n";
	const char *move =
		HEAD4 "P: protect b@1 r\nP: remap b maybe\nP: read b@0 maybe\nP: read b@3\n";

	(void)state;
	is(HF_OK, shrink, got(6, -EFAULT), got(7, -EFAULT), saw(8, 0x11));
	is(HF_ERROR, shrink, got(6, -EFAULT), got(7, -EFAULT), got(8, -EFAULT));
	is(HF_OK, shrink, got(6, -EFAULT), saw(7, 0),
	   saw(8, 0)); /* it was cut off, and grew again */
	is(HF_OK, shrink, got(6, -EFAULT), saw(7, 0), saw(8, 0x11));
	is(HF_REFUSED, cut, got(5, -EFAULT), got(6, -EFAULT));
	is(HF_OK, move, got(6, -EFAULT), got(7, -EFAULT), saw(8, 0x11));
	is(HF_OK, move, got(6, -EFAULT), saw(7, 0x11), saw(8, 0x11));
	is(HF_REFUSED, move, saw(6, 0), got(7, -EFAULT), got(8, -EFAULT));
	is(HF_ERROR, HEAD4 "P: protect b@1 r\nP: remap b maybe\nP: read b@0\n", got(6, -EFAULT),
	   got(7, -EFAULT));
}

static void calls_that_fail_as_a_whole_do_nothing(void **state)
{
	const char *unmap = HEAD4 "P: unmap b maybe\nP: read b\n";
	const char *fork =
		HEAD4 "P: fork C maybe\nC: write b 2\nP: read b\nP: process_vm read C b\n";
	const char *map = HEAD4 "P: map b 4 maybe\nP: read b\n";
	const char *pin = HEAD4 "P: pin d b w maybe\ndevice: write d 0x41\nP: read b\n";

	(void)state;
	is(HF_OK, unmap, got(5, -ENOMEM), saw(6, 0x11));
	is(HF_BUG, unmap, saw(5, 0), saw(6, 0x11));
	/* nothing is done by, or to, a process that is not there */
	is(HF_OK, fork, got(5, -EAGAIN), saw(7, 0x11));
	is(HF_OK, map, got(5, -EEXIST), saw(6, 0x11));
	is(HF_OK, pin, got(5, -EFAULT), saw(7, 0x11));
	/* behind the buffer's end is the rest of its folio, which no step asks for */
	assert_int_equal(run_on(&fake, HF_KIND_THP, HEAD "P: map b 2 maybe\nP: read b@1\n",
				seen(got(5, -EEXIST), saw(6, 0))),
			 HF_OK);
}

static void truncation_that_fails_may_be_done(void **state)
{
	const char *text = HEAD4 "P: truncate b@1 maybe\nP: read b@1\n";

	(void)state;
	is(HF_OK, text, got(5, -EIO), saw(6, 0x11));
	is(HF_ERROR, text, got(5, -EIO), got(6, -EFAULT));
	is(HF_REFUSED, text, got(5, -EINVAL), got(6, -EFAULT));
}

static void a_file_that_grows_again_has_zeros(void **state)
{
	const char *text =
		HEAD4 "P: truncate b@0\nP: truncate b@2\nP: read b@1\nP: read b@3 maybe\n";
	const char *anew = HEAD4 "P: truncate b@1\nP: unmap b\nP: map b 4 none\nP: protect b rw\n"
				 "P: read b@0\nP: read b@1 maybe\n";
	const char *child = HEAD4 "P: truncate b@1\nP: fork C\nP: truncate b@2\nC: read b@1\n";

	(void)state;
	is(HF_OK, text, saw(7, 0), got(8, -EFAULT));
	is(HF_BUG, text, saw(7, 0x11));
	is(HF_BUG, text, saw(7, 0), saw(8, 0));
	is(HF_OK, anew, saw(9, 0), got(10, -EFAULT));
	is(HF_BUG, anew, saw(9, 0), saw(10, 0));
	is(HF_OK, child, saw(8, 0));
}

static void what_grows_is_as_what_was_there(void **state)
{
	const char *wipe =
		HEAD4 "P: advise b wipeonfork\nP: remap b 6\nP: write b 0x21\nP: fork C\n"
		      "C: read b@5\n";
	const char *fork =
		HEAD4 "P: advise b dontfork\nP: remap b 6\nP: fork C\nC: read b@5 maybe\n";
	const char *smaller = HEAD4 "P: advise b dontfork\nP: remap b 2\nP: remap b 6\nP: fork C\n"
				    "C: read b@5 maybe\n";

	(void)state;
	is(HF_OK, wipe, saw(9, 0));
	is(HF_LEAK, wipe, saw(9, 0x21));
	is(HF_BUG, fork, saw(8, 0));
	is(HF_BUG, smaller, saw(9, 0));
	is(HF_OK, HEAD4 "P: protect b r\nP: remap b 6\nP: write b@5 2 maybe\n", got(7, -EFAULT));
	is(HF_BUG, HEAD4 "P: protect b r\nP: remap b 6\nP: write b@5 2 maybe\n", saw(7, 0));
}

/* What succeeds although it cannot. */
static void nobody_gets_past_protection(void **state)
{
	static const char *const writers[] = {
		"P: write b 2\n", "P: process_vm write P b 2\n", "P: pin d b w\n",
		"P: get d b w\n", "P: fixedbuf d b\n",           "P: odirect read d b 2\n",
	};
	static const char *const readers[] = {
		"P: read b\n",       "P: process_vm read P b\n", "P: pin d b r\n",
		"P: vmsplice d b\n", "P: odirect write d b\n",
	};
	static const char *const forced[] = { "P: ptrace write P b 2\n", "P: ptrace read P b\n",
					      "P: pin d b w force\n" };
	char text[256];

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), HEAD "P: protect b r\n%s", writers[i]);
		is(HF_BUG, text, saw(6, 0));
		assert_non_null(strstr(cell.detail, "read-only"));
		snprintf(text, sizeof(text), HEAD "P: protect b none\n%s", writers[i]);
		is(HF_BUG, text, saw(6, 0));
		snprintf(text, sizeof(text), HEAD "P: unmap b\n%s", writers[i]);
		is(HF_BUG, text, saw(6, 0));
		assert_non_null(strstr(cell.detail, "not mapped there"));
	}
	for (size_t i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), HEAD "P: protect b r\n%s", readers[i]);
		is(HF_OK, text, saw(6, 0x11));
		snprintf(text, sizeof(text), HEAD "P: protect b none\n%s", readers[i]);
		is(HF_BUG, text, saw(6, 0x11));
		snprintf(text, sizeof(text), HEAD "P: unmap b\n%s", readers[i]);
		is(HF_BUG, text, saw(6, 0x11));
	}
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), HEAD "P: protect b none\n%s", forced[i]);
		is(HF_OK, text, saw(6, 0x11));
		snprintf(text, sizeof(text), HEAD "P: unmap b\n%s", forced[i]);
		is(HF_BUG, text, saw(6, 0x11));
	}
}

#define PAR_FORK                                                                                   \
	HEAD4 "P: pin d b@3 w\npar {\n\tP: fork C\n} and {\n"                                      \
	      "\tP.T: write b[0..8] 0x21\n\tP.T: write b[4096..4104] 0x22\n}\n" /* to line 11 */

/* Torn is what each byte, but not all of them together, is explained by. */
static void torn_is_what_no_instant_explains(void **state)
{
	const char *leak = PAR_FORK "device: write d 0x41\nC: read b@3\n";
	const char *child = PAR_FORK "C: read b[0..8]\nC: read b[4096..4104]\n";
	const char *at_once = PAR_FORK "C: read b\n";
	const char *grandchild = PAR_FORK "C: fork D\nD: read b[0..8]\nD: read b[4096..4104]\n";
	const char *both = PAR_FORK "C: fork D\nC: read b[0..8]\nD: read b[4096..4104]\n";
	const char *device =
		PAR_FORK "C: pin e b r\ndevice: read e[0..8]\ndevice: read e[4096..4104]\n";
	const char *parent = PAR_FORK "P: read b[0..8]\nP: read b[4096..4104]\n";
	const char *then = PAR_FORK "C: read b[0..8]\nP: write b 0x51\nC: read b[4096..4104]\n";
	const char *later = PAR_FORK "P: fork D\nP: write b 0x51\nD: read b[0..8]\n";

	(void)state;
	is(HF_OK, leak, saw(13, 0x11));
	is(HF_LEAK, leak, saw(13, 0x41));
	is(HF_BUG, leak, saw(13, 0x77));
	is(HF_LOST_WRITE, leak, saw(13, 0));
	is(HF_OK, child, saw(12, 0x21), saw(13, 0x11));
	is(HF_TORN, child, saw(12, 0x11), saw(13, 0x22));
	is(HF_LEAK, then, saw(12, 0x11), saw(14, 0x51));
	is(HF_TORN, then, saw(12, 0x11), saw(14, 0x22));
	is(HF_LOST_WRITE, child, saw(12, 0x11), saw(13, 0));
	is(HF_LEAK, at_once, saw(12, 0x21)); /* in places where no store of the block was */
	is(HF_TORN, grandchild, saw(13, 0x11), saw(14, 0x22));
	is(HF_TORN, both, saw(13, 0x11), saw(14, 0x22));
	is(HF_TORN, device, saw(13, 0x11), saw(14, 0x22));
	is(HF_STALE_READ, device, saw(13, 0x11), saw(14, 0));
	/* a parent has no instants, and nor have children of another moment */
	is(HF_LOST_WRITE, parent, saw(12, 0x21), saw(13, 0x11));
	is(HF_LEAK, later, saw(14, 0x51));
	is(HF_LOST_WRITE, later, saw(14, 0x11));
	is(HF_OK, PAR_FORK "C: read b[4096..4104]\nC: check b[0..8] 0x21\n", saw(12, 0x22),
	   saw(13, 0x21));
	is(HF_LOST_WRITE,
	   HEAD "par {\n\tP: write b[0] 1\n\tP: write b[8] 3\n} and {\n\tP.T: write b[8] 4\n"
		"\tP.T: write b[0] 2\n}\nP: fork D\nD: read b[0]\nD: read b[8]\n",
	   saw(13, 1), saw(14, 4));
	/* nor is it torn what cannot be read at all */
	is(HF_BUG, PAR_FORK "C: protect b none\nC: read b[0..8]\n", saw(13, 0x21));
	/* a process that is no such child loses writes where no order has all that it sees */
	is(HF_LOST_WRITE,
	   "about x\nprocess P\nP: map b 1\npar {\n\tP: write b[0] 1\n\tP: write b[8] 3\n} and {\n"
	   "\tP.T: write b[8] 0\n\tP.T: write b[0] 2\n}\nP: read b[0..16]\n",
	   mix(11, 1));
}

/* What speaks against an instant for all is no child's to show. */
static void other_looks_rule_instants_out(void **state)
{
	const char *text = HEAD4 "par {\n\tP: fork C\n\tP: write b[0..8] 0x31\n} and {\n"
				 "\tP.T: write b[0..8] 0x21\n\tP.T: write b[4096..4104] 0x22\n}\n"
				 "P: read b[0..8]\nC: read b[0..8]\nC: read b[4096..4104]\n";

	(void)state;
	is(HF_OK, text, saw(12, 0x31), saw(13, 0x21), saw(14, 0x22));
	is(HF_OK, text, saw(12, 0x21), saw(13, 0x11), saw(14, 0x11));
	/* the last store is 0x21, so the fork came before it and before 0x22 */
	is(HF_LEAK, text, saw(12, 0x21), saw(13, 0x21));
	is(HF_LEAK, text, saw(12, 0x21), saw(13, 0x11), saw(14, 0x22));
}

#define RACE HEAD "par {\n\tP: advise b dontneed\n} and {\n\tP.T: write b[0..8] 0x21\n}\n"

static void order_is_not_the_files_to_claim(void **state)
{
	const char *stores = HEAD "par {\n\tP: write b[0] 1\n} and {\n\tP.T: write b[0] 2\n}\n"
				  "P: read b[0]\nP: check b[0] 1\n";
	const char *device = HEAD "P: pin d b r\npar {\n\tP: write b[0] 1\n} and {\n"
				  "\tP.T: write b[0] 2\n}\ndevice: check d[0] 1\n";

	(void)state;
	is(HF_ERROR, RACE "P: check b[7..4096] 0\n", saw(10, 0));
	assert_non_null(strstr(cell.detail, "0x00 must be seen"));
	assert_non_null(strstr(cell.detail, "that or 0x21"));
	is(HF_ERROR, RACE "P: check b[7..4096] 0\n", saw(10, 0x21));
	is(HF_ERROR, RACE "P: check b[0..8] 0x21\n", saw(10, 0));
	assert_non_null(strstr(cell.detail, "that or 0x00"));
	is(HF_OK, RACE "P: check b[8..4096] 0\n", saw(10, 0));
	is(HF_ERROR, RACE "P: check b[0..8] 0x11\n", saw(10, 0));
	assert_null(strstr(cell.detail, "that or"));
	/* what was seen before has decided it */
	is(HF_OK, stores, saw(10, 1), saw(11, 1));
	is(HF_LOST_WRITE, stores, saw(10, 1), saw(11, 2));
	is(HF_ERROR, stores, saw(10, 2), saw(11, 2));
	is(HF_ERROR, device, saw(11, 1));
	/* what reclaim decides, and what a pipe may show */
	is(HF_OK, HEAD "P: advise b free\nP: check b 0\n", saw(6, 0));
	is(HF_ERROR, HEAD "P: advise b free\nP: check b 0\n", saw(6, 0x11));
	is(HF_ERROR, HEAD "P: vmsplice d b\nP: write b 2\ndevice: check d 2\n", saw(7, 0x11));
}

static void order_decides_what_can_be_done(void **state)
{
	const char *text = HEAD "par {\n\tP: protect b r\n} and {\n\tP.T: protect b rw\n}\n";
	const char *arms = HEAD "par {\n\tP: unmap b\n} and {\n\tP.T: write b[0] 1%s\n}\n";
	char with[200];

	(void)state;
	snprintf(with, sizeof(with), "%sP: write b 2\n", text);
	is(HF_OK, with, saw(10, 0));
	is(HF_ERROR, with, got(10, -EFAULT));
	is(HF_REFUSED, with, got(10, -ENOMEM)); /* which no order explains */
	snprintf(with, sizeof(with), "%sP: write b 2 fails\n", text);
	is(HF_OK, with, got(10, -EFAULT));
	is(HF_ERROR, with, saw(10, 0));
	snprintf(with, sizeof(with), "%sP: read b fails\n", text);
	is(HF_BUG, with, saw(10, 0x11));
	snprintf(with, sizeof(with), arms, "");
	is(HF_OK, with, saw(8, 0));
	is(HF_ERROR, with, got(8, -EFAULT));
	snprintf(with, sizeof(with), arms, " fails");
	is(HF_ERROR, with, saw(8, 0));
	snprintf(with, sizeof(with), arms, " maybe");
	is(HF_OK, with, got(8, -EFAULT));
	is(HF_REFUSED, HEAD "par {\n\tP: wrprotect b\n} and {\n\tP.T: write b[0] 1\n}\n",
	   got(8, -EFAULT));
}

/* MADV_DONTNEED and MADV_FREE go from page to page; so do pins. But fork comes before or after. */
static void discards_go_by_pages(void **state)
{
	const char *text = HEAD4 "par {\n\tP: advise b dontneed\n} and {\n"
				 "\tP.T: write b[0..8] 0x21\n\tP.T: write b[4096..4104] 0x22\n}\n"
				 "P: read b[0..8]\nP: read b[4096..4104]\n";
	const char *fork = HEAD4 "par {\n\tP: fork C\n} and {\n\tP.T: advise b dontneed\n}\n"
				 "C: read b@0\nC: read b@1\n";

	(void)state;
	is(HF_OK, text, saw(11, 0x21), saw(12, 0));
	is(HF_OK, text, saw(11, 0), saw(12, 0x22));
	is(HF_OK, text, saw(11, 0), saw(12, 0));
	is(HF_BUG, text, saw(11, 0x11));
	is(HF_OK, fork, saw(10, 0), saw(11, 0));
	is(HF_OK, fork, saw(10, 0x11), saw(11, 0x11));
	is(HF_TORN, fork, saw(10, 0), saw(11, 0x11));
	is(HF_OK,
	   HEAD4 "par {\n\tP: advise b dontneed\n} and {\n\tP.T: pin d b r\n}\n"
		 "device: read d[0..4096]\ndevice: read d[4096..8192]\n",
	   saw(10, 0x11), saw(11, 0));
}

/* Twelve steps of four arms come in 369600 orders. */
static void orders_that_end_alike_are_one(void **state)
{
	char text[1024] = HEAD "par {\n";
	size_t at = strlen(text);

	(void)state;
	for (int i = 0; i < 12; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\tP.T%d: write b[%d] %d\n",
				       i && i % 3 == 0 ? "} and {\n" : "", i / 3, i, i + 1);
	snprintf(text + at, sizeof(text) - at, "}\nP: read b[11]\nP: read b[0]\n");
	is(HF_OK, text, saw(22, 12), saw(23, 1));
	is(HF_LOST_WRITE, text, saw(22, 12), saw(23, 0x11));
	/* but not those that only what comes later tells apart */
	snprintf(text, sizeof(text),
		 HEAD "par {\n\tP: write b[0] 1\n} and {\n\tP.T: write b[0] 2\n}\n"
		      "P: advise b free\npar {\n\tP: write b[8] 3\n} and {\n\tP.T: wrprotect b\n}\n"
		      "P: read b[0]\n");
	is(HF_OK, text, saw(16, 1));
	is(HF_OK, text, saw(16, 2));
}

/* In a par block, too, steps on what is not there do nothing, and the arm goes on. */
static void arms_leave_out_what_is_not_there(void **state)
{
	const char *text =
		HEAD "P: pin d b w maybe\nP: fork C maybe\npar {\n\tdevice: write d[0..8] 0x41\n"
		     "} and {\n\tP.T: unpin d\n\tP.T: write b[8..16] 0x21\n} and {\n"
		     "\tC: write b[0..8] 0x31\n}\nP: read b[0..8]\nP: read b[8..16]\n";

	(void)state;
	is(HF_OK, text, got(5, -EFAULT), got(6, -EAGAIN), saw(15, 0x11), saw(16, 0x21));
	/* nor does an arm go on after a step that failed */
	is(HF_BUG,
	   HEAD "P: pin d b w\npar {\n\tdevice: read d[0..8] maybe\n\tdevice: write d[8..16] 0x41\n"
		"} and {\n\tP: wrprotect b\n}\nP: read b[8..16]\n",
	   got(7, -EIO), got(8, -ECANCELED), saw(12, 0x41));
}

static void looks_in_arms_are_judged(void **state)
{
	const char *text = HEAD "P: fork C\nP: write b 0x51\npar {\n\tP: write b[0] 1\n} and {\n"
				"\tC: read b[0]\n}\n";
	const char *torn = HEAD "par {\n\tP: fork C\n\tC: read b[0]\n\tC: read b[8]\n} and {\n"
				"\tP.T: write b[0] 1\n\tP.T: write b[8] 2\n}\n";

	(void)state;
	is(HF_OK, text, saw(10, 0x11));
	is(HF_LEAK, text, saw(10, 0x51));
	is(HF_LEAK, text, saw(10, 1));
	is(HF_OK, torn, saw(7, 1), saw(8, 0x11));
	is(HF_TORN, torn, saw(7, 0x11), saw(8, 2));
	is(HF_LOST_WRITE, torn, saw(7, 0x11), saw(8, 0));
}

static void pipes_show_what_was_freed(void **state)
{
	const char *text = HEAD "P: advise b free\nP: vmsplice d b\nP: write b 2\ndevice: read d\n";

	(void)state;
	is(HF_OK, text, saw(8, 0x11));
	is(HF_OK, text, saw(8, 0));
	is(HF_OK, text, saw(8, 2));
	is(HF_BUG, text, saw(8, 3));
}

/* The engine as a target: how far it came, and why it stopped. */
static void the_engine_counts(void **state)
{
	struct hf_target *t = hf_target_engine("holdfast");
	const struct script *none = seen(saw(999, 0));
	const char *holes[] = {
		"P: write b 0x21 fails EFAULT\n",
		"P: process_vm write P b 0x21 fails EFAULT\n",
		"P: ptrace write P b 0x21 fails EIO\n",
	};
	char text[300];

	(void)state;
	assert_non_null(t);
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), HOLE "%sP: check b@0 0x21\nP: check b@2 0x11\n",
			 holes[i]);
		assert_int_equal(run_on(t, HF_KIND_BASE, text, none), HF_OK);
	}
	assert_int_equal(run_on(t, HF_KIND_BASE,
				"about x\nframes 16\nprocess P\nP: map b 40\n"
				"P: write b 1 fails ENOMEM\nP: check b@0 1\n",
				none),
			 HF_OK);
	assert_int_equal(run_on(t, HF_KIND_BASE,
				"about x\nframes 16\nprocess P\nP: map b 40\n"
				"P: pin d b w fails ENOMEM\nP: write b@0 1\n",
				none),
			 HF_OK);
	t->ops->free(t);
}

static void expectations_decide_what_is_unexpected(void **state)
{
	(void)state;
	run(HEAD "P: read b\nexpect linux-6.1 lost-write\n", seen(saw(5, 0)));
	assert_true(hf_cell_as_expected(&cell)); /* by the target's era */
	run(HEAD "P: read b\nexpect linux-6.1 lost-write\n", seen(saw(5, 0x11)));
	assert_false(hf_cell_as_expected(&cell));
	run(HEAD "P: read b\n", seen(saw(5, 0)));
	assert_false(hf_cell_as_expected(&cell));
	run(HEAD "P: read b\nexpect linux-6.1 lost-write\n", seen(got(5, HF_OBS_SKIP)));
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
		cmocka_unit_test(pages_of_the_pool_are_dropped_whole),
		cmocka_unit_test(advice_goes_on_after_a_hole),
		cmocka_unit_test(advice_stops_where_it_is_refused),
		cmocka_unit_test(protection_ends_at_a_hole),
		cmocka_unit_test(writes_are_done_up_to_the_fault),
		cmocka_unit_test(what_a_failing_load_saw_was_seen),
		cmocka_unit_test(devices_that_fail_may_have_written),
		cmocka_unit_test(failed_moves_may_have_begun),
		cmocka_unit_test(calls_that_fail_as_a_whole_do_nothing),
		cmocka_unit_test(truncation_that_fails_may_be_done),
		cmocka_unit_test(a_file_that_grows_again_has_zeros),
		cmocka_unit_test(what_grows_is_as_what_was_there),
		cmocka_unit_test(nobody_gets_past_protection),
		cmocka_unit_test(torn_is_what_no_instant_explains),
		cmocka_unit_test(other_looks_rule_instants_out),
		cmocka_unit_test(order_is_not_the_files_to_claim),
		cmocka_unit_test(order_decides_what_can_be_done),
		cmocka_unit_test(discards_go_by_pages),
		cmocka_unit_test(orders_that_end_alike_are_one),
		cmocka_unit_test(arms_leave_out_what_is_not_there),
		cmocka_unit_test(looks_in_arms_are_judged),
		cmocka_unit_test(pipes_show_what_was_freed),
		cmocka_unit_test(the_engine_counts),
		cmocka_unit_test(expectations_decide_what_is_unexpected),
	};

	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
