/* SPDX-License-Identifier: MIT */
/* References: taken in a process, used and released by the runner, who is the device. */
#include "../../scenario/oracle.h"
#include "../common/device.h"
#include "../common/gup_test.h"
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Waits for the system call to return, which is to tell of `len` bytes; with it go the pins. */
static int finish_direct_io(struct hf_here_run *r, struct hf_wire *w, int proc, size_t len,
			    struct hf_obs *obs)
{
	int err = hf_wait_for(r, proc, w->done[0], -1, NULL);
	long done = -EIO;

	if (!err && read(w->done[0], &done, sizeof(done)) != sizeof(done))
		err = -EIO;
	w->maker = NULL;
	if (err || done < 0)
		return err ? err : (int)done;
	obs->done = (size_t)done;
	return obs->done < len ? -EFAULT : 0;
}

/* Of a range that ends in a hole, direct I/O takes what is there. A read tells at once. */
static int refuse_short_read(struct hf_here_run *r, struct hf_wire *w, int proc, struct hf_obs *obs)
{
	int err = hf_fuse_complete_read(&w->fuse, NULL, 0, -EIO);

	if (!err)
		err = finish_direct_io(r, w, proc, 0, obs);
	obs->status = -EFAULT;
	return err == -EIO ? 0 : err;
}

/* Opens the file, starts the I/O in the process, and waits until its request is there: then the
 * pages are referenced. */
static int start_direct_io(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_wire *w = &r->stage.wire[st->ref];
	struct hf_call_box *box = &r->stage.shared->box[st->proc];
	int err;

	hf_fill_box(r, st, box);
	box->call = HF_CALL_OPEN_FILE;
	err = hf_call(r, st->proc);
	if (!err && box->status) {
		hf_report(box, obs);
		return 0;
	}
	w->fuse.deaf = w->means == HF_MEANS_WRITE;
	box->call = HF_CALL_STEP;
	if (!err)
		err = hf_call(r, st->proc);
	if (!err && box->status) {
		hf_report(box, obs);
		return 0;
	}
	if (!err)
		err = hf_wait_for(r, st->proc, w->done[0], w->fuse.deaf ? w->fuse.dev : -1,
				  &w->fuse);
	if (err == 1 && w->means == HF_MEANS_READ && w->fuse.size < st->hi - st->lo)
		return refuse_short_read(r, w, st->proc, obs);
	if (err == 1)
		return 0; /* in flight */
	if (!err) {
		long done = -EIO;

		if (read(w->done[0], &done, sizeof(done)) != sizeof(done) || done >= 0)
			done = -EIO;
		obs->status = (int)done;
	}
	return err;
}

bool hf_test_pin_held(const struct hf_here_run *r, int but)
{
	for (int i = 0; i < (int)r->scn->nr_refs; i++)
		if (i != but && r->stage.wire[i].means == HF_MEANS_TEST && r->stage.wire[i].maker)
			return true;
	return false;
}

void hf_step_take(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_wire *w = &r->stage.wire[st->ref];
	char why[HF_REASON_LEN];
	int err;

	if (hf_means_of(r->scn, st->ref, &r->powers, why) == HF_MEANS_NONE) {
		hf_say(obs, HF_OBS_SKIP, why);
		return;
	}
	if (w->error) {
		obs->status = HF_OBS_SKIP;
		snprintf(obs->reason, sizeof(obs->reason), "%s: %s", hf_wire_remedy(w),
			 strerror(w->error));
		return;
	}
	if (w->means == HF_MEANS_TEST && hf_test_pin_held(r, st->ref)) {
		hf_say(obs, HF_OBS_SKIP, HF_ONE_TEST_PIN);
		return;
	}
	if (w->means < HF_MEANS_READ) {
		hf_call_step(r, st, obs);
		if (obs->status < 0 && w->means == HF_MEANS_PIPE)
			hf_pipe_drain(w); /* of what came before the hole */
	} else {
		err = start_direct_io(r, st, obs);
		if (err)
			hf_harness_failed(r, st->proc, err, obs);
	}
	if (!obs->status) {
		w->ended = false;
		w->maker = st;
		w->addr = r->place[st->proc][st->buf].addr + st->lo;
	}
}

static int direct_read(struct hf_here_run *r, struct hf_wire *w, size_t len, uint8_t value,
		       struct hf_obs *obs)
{
	uint8_t *bytes = malloc(len);
	int err;

	if (!bytes)
		return -ENOMEM;
	memset(bytes, value, len);
	err = hf_fuse_complete_read(&w->fuse, bytes, len, 0);
	free(bytes);
	return err ? err : finish_direct_io(r, w, w->maker->proc, len, obs);
}

static int direct_write(struct hf_here_run *r, struct hf_wire *w, size_t lo, size_t hi,
			struct hf_obs *obs)
{
	size_t len = w->maker->hi - w->maker->lo;
	uint8_t *bytes = malloc(len);
	int err;

	if (!bytes)
		return -ENOMEM;
	err = hf_fuse_complete_write(&w->fuse, bytes, len);
	if (!err)
		err = finish_direct_io(r, w, w->maker->proc, len, obs);
	if (!err && obs->data)
		memcpy(obs->data, bytes + lo, hi - lo);
	free(bytes);
	return err;
}

static int release(struct hf_here_run *r, struct hf_wire *w)
{
	struct hf_obs ignored = { .data = NULL };
	int err = 0;

	switch (w->means) {
	case HF_MEANS_PIPE:
		err = hf_pipe_drain(w);
		break;
	case HF_MEANS_RING:
		err = io_uring_unregister_buffers(&w->ring);
		break;
	case HF_MEANS_TEST:
		err = hf_gup_test_unpin(w->file);
		break;
	case HF_MEANS_READ:
		/* an error, so that memory stays as it is; the call's result is that error */
		err = hf_fuse_complete_read(&w->fuse, NULL, 0, -EIO);
		if (!err)
			err = finish_direct_io(r, w, w->maker->proc, 0, &ignored) == -EIO ? 0
											  : -EPROTO;
		break;
	default:
		return direct_write(r, w, 0, 0, &ignored);
	}
	w->maker = NULL;
	return err;
}

void hf_step_release(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_wire *w = &r->stage.wire[st->ref];

	if (!hf_step_fits_ref(st, hf_ref_maker(r->scn, st->ref)) || (!w->maker && !w->ended))
		obs->status = -EINVAL;
	else if (w->maker)
		obs->status = release(r, w);
	w->ended = w->ended && obs->status;
}

void hf_step_device(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_wire *w = &r->stage.wire[st->ref];
	size_t lo = st->lo, hi;
	int err;

	if (!w->maker) {
		obs->status = -EINVAL;
		return;
	}
	hi = st->hi ? st->hi : w->maker->hi - w->maker->lo;
	switch (w->means) {
	case HF_MEANS_PIPE:
		err = st->verb == HF_V_DEV_WRITE ? -EINVAL : hf_pipe_read(w, lo, hi, obs->data);
		break;
	case HF_MEANS_RING:
		err = st->verb == HF_V_DEV_WRITE ? hf_ring_write(w, lo, hi, st->value, &obs->done)
						 : hf_ring_read(w, lo, hi, obs->data);
		break;
	case HF_MEANS_TEST:
		if (st->verb == HF_V_DEV_WRITE) {
			hf_say(obs, HF_OBS_SKIP, "gup_test's device only reads");
			return;
		}
		err = hf_gup_test_read(w->file, w->addr, w->maker->hi - w->maker->lo, lo, hi,
				       obs->data);
		break;
	case HF_MEANS_READ:
		if (lo) {
			hf_say(obs, HF_OBS_SKIP, "a direct read fills its range from the start");
			return;
		}
		err = direct_read(r, w, hi,
				  st->verb == HF_V_DEV_FINISH ? w->maker->value : st->value, obs);
		break;
	default:
		err = direct_write(r, w, lo, hi, obs);
		break;
	}
	w->ended = !w->maker;
	obs->status = err;
	if (err == -ETIMEDOUT || err == -ESRCH)
		hf_say(obs, HF_OBS_ERROR, "the direct I/O did not finish");
}
