/* SPDX-License-Identifier: MIT */
/* Par blocks: every arm in a thread of its process, or of the runner, all let go at once. */
#include "../common/pages.h"
#include "run.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* Those whose release does not wait for the runner. */
static bool can_take_part(const struct hf_wire *w)
{
	return (w->means == HF_MEANS_RING || w->means == HF_MEANS_TEST) && !w->error;
}

/* An arm runs in one place: a thread of a process, or the runner for devices. */
static const char *cannot_run(const struct hf_here_run *r, const struct hf_arm *arm)
{
	for (size_t i = 0; i < arm->nr_steps; i++) {
		const struct hf_step *st = &arm->steps[i];

		if (st->proc != arm->steps[0].proc || st->thread != arm->steps[0].thread)
			return "an arm of several actors cannot run at once with others on a real "
			       "kernel";
		if (st->verb == HF_V_EXIT)
			return "a process that ends could not tell how its arm went";
		if (st->verb == HF_V_MIGRATE)
			return HF_NO_MIGRATION;
		if (st->verb == HF_V_REMAP)
			return "where memory moves to is told to the step alone";
		if (st->verb == HF_V_MERGE)
			return "when KSM merges cannot be told to the step";
		if (st->ref >= 0 && !can_take_part(&r->stage.wire[st->ref]))
			return "only registered buffers and the kernel's gup_test can take part in "
			       "a par block on a real kernel";
	}
	return NULL;
}

/* gup_test's pins, those that are held at the start and those of the arms. */
static size_t count_test_pins(const struct hf_here_run *r, const struct hf_par *par)
{
	size_t n = hf_test_pin_held(r, -1);

	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 0; i < par->arms[a].nr_steps; i++) {
			const struct hf_step *st = &par->arms[a].steps[i];

			n += st->verb == HF_V_PIN && r->stage.wire[st->ref].means == HF_MEANS_TEST;
		}
	return n;
}

struct device_arm {
	struct hf_here_run *r;
	const struct hf_arm *arm;
	struct hf_obs *obs;
	pthread_t thread;
};

static void *run_device_arm(void *arg)
{
	struct device_arm *d = arg;
	size_t i = 0;

	if (hf_par_meet(d->r->stage.shared))
		for (; i < d->arm->nr_steps; i++) {
			if (d->obs[i].left_out)
				continue;
			hf_step_device(d->r, &d->arm->steps[i], &d->obs[i]);
			if (d->obs[i].status)
				break;
		}
	for (i++; i < d->arm->nr_steps; i++)
		d->obs[i].status = -ECANCELED;
	return NULL;
}

/* Of a process that a fork which failed was to make: nobody comes. */
static bool is_void(const struct hf_here_run *r, const struct hf_arm *arm)
{
	return arm->steps[0].proc != HF_SCN_DEVICE && !r->proc[arm->steps[0].proc].pid;
}

static void place_arms(struct hf_here_run *r, const struct hf_par *par, const struct hf_obs *obs)
{
	struct hf_shared *shared = r->stage.shared;
	size_t n = 0;

	shared->par = par;
	shared->runner = getpid();
	shared->nr_runners = 0;
	atomic_store(&shared->arrived, 0);
	atomic_store(&shared->stop, false);
	for (size_t a = 0; a < par->nr_arms; a++) {
		shared->nr_runners += !is_void(r, &par->arms[a]);
		for (size_t i = 0; i < par->arms[a].nr_steps; i++, n++) {
			const struct hf_step *st = &par->arms[a].steps[i];

			shared->arm_step[n] = (struct hf_arm_step){ .status = obs[n].status,
								    .left_out = obs[n].left_out };
			if (st->buf >= 0)
				shared->arm_step[n].addr =
					r->place[st->target][st->buf].addr + st->lo;
			if (st->buf >= 0)
				shared->arm_step[n].size = hf_here_reach(r, st);
			if (st->ref >= 0 && st->buf >= 0) {
				r->stage.wire[st->ref].maker = st;
				r->stage.wire[st->ref].addr = shared->arm_step[n].addr;
			}
		}
	}
	for (size_t i = 0; i < r->scn->nr_refs; i++)
		atomic_store(&shared->let_go[i], !r->stage.wire[i].maker);
}

/* Wakes every process that has an arm, then waits for all. 0 or the error of the harness. */
static int run_processes(struct hf_here_run *r, const struct hf_par *par, struct hf_obs *obs)
{
	bool called[HF_SCN_MAX_PROCS] = { false };
	int err = 0;

	for (size_t a = 0; a < par->nr_arms; a++) {
		int p = par->arms[a].steps[0].proc, woken;

		if (p == HF_SCN_DEVICE || called[p] || is_void(r, &par->arms[a]))
			continue;
		called[p] = true;
		r->stage.shared->box[p].call = HF_CALL_ARMS;
		woken = hf_wake(r, p);
		err = err ? err : woken;
	}
	if (err)
		atomic_store(&r->stage.shared->stop, true);
	for (int p = 0; p < HF_SCN_MAX_PROCS; p++) {
		int lost = called[p] ? hf_hear(r, p) : 0;

		if (!lost && called[p])
			lost = r->stage.shared->box[p].status;
		if (!lost)
			continue;
		atomic_store(&r->stage.shared->stop, true);
		hf_harness_failed(r, p, lost, obs);
		err = lost;
	}
	return err;
}

static void collect(struct hf_here_run *r, const struct hf_par *par, struct hf_obs *obs)
{
	size_t n = 0;

	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 0; i < par->arms[a].nr_steps; i++, n++) {
			const struct hf_step *st = &par->arms[a].steps[i];
			const struct hf_arm_step *s = &r->stage.shared->arm_step[n];

			if (st->proc == HF_SCN_DEVICE)
				continue;
			obs[n].status = s->status;
			if (s->status == HF_OBS_SKIP)
				hf_say(&obs[n], HF_OBS_SKIP, s->reason);
			else if (!s->status && st->verb == HF_V_FORK)
				hf_take_over_child(r, st, s->child, &obs[n]);
			if (s->status && st->ref >= 0 && st->buf >= 0)
				r->stage.wire[st->ref].maker = NULL;
			if (!s->status && (st->verb == HF_V_UNPIN || st->verb == HF_V_PUT))
				r->stage.wire[st->ref].maker = NULL;
			if (obs[n].len)
				memcpy(obs[n].data, s->data, obs[n].len);
		}
}

void hf_here_par(void *run, const struct hf_par *par, struct hf_obs *obs)
{
	struct hf_here_run *r = run;
	struct device_arm dev[HF_SCN_MAX_ARMS];
	size_t nr = 0, n = 0;
	int err = 0;

	for (size_t a = 0; a < par->nr_arms; a++) {
		const char *why = cannot_run(r, &par->arms[a]);

		if (why) {
			hf_say(&obs[0], HF_OBS_SKIP, why);
			return;
		}
	}
	if (count_test_pins(r, par) > 1) {
		hf_say(&obs[0], HF_OBS_SKIP, HF_ONE_TEST_PIN);
		return;
	}
	place_arms(r, par, obs);
	for (size_t a = 0; a < par->nr_arms && !err; n += par->arms[a].nr_steps, a++) {
		if (par->arms[a].steps[0].proc != HF_SCN_DEVICE)
			continue;
		dev[nr] = (struct device_arm){ .r = r, .arm = &par->arms[a], .obs = &obs[n] };
		err = pthread_create(&dev[nr].thread, NULL, run_device_arm, &dev[nr]);
		nr += !err;
	}
	if (err)
		atomic_store(&r->stage.shared->stop, true);
	if (run_processes(r, par, &obs[0]) || err) {
		if (err)
			hf_say(&obs[0], HF_OBS_ERROR, "no thread can be had for a device's arm");
	}
	for (size_t i = 0; i < nr; i++)
		pthread_join(dev[i].thread, NULL);
	if (obs[0].status != HF_OBS_ERROR)
		collect(r, par, obs);
}
