/* SPDX-License-Identifier: MIT */
/*
 * References. Who gives memory to a device pins it first, and then the device's driver pins it in
 * the kernel: by a registered buffer of io_uring, or for direct I/O by the transfer itself.
 * vmsplice alone is done unpinned, and the kernel's reference is a plain one.
 */
#include "run.h"

#include "../common/device.h"
#include "../common/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum hf_means means_of(const struct hf_step *st)
{
	enum hf_means means = hf_means_of_call(st->verb);

	return means == HF_MEANS_NONE ? HF_MEANS_RING : means;
}

static unsigned flags_of(const struct hf_step *st)
{
	if (st->verb == HF_V_FIXEDBUF)
		return HF_FOLL_WRITE | HF_FOLL_LONGTERM;
	if (st->verb == HF_V_ODIRECT_READ)
		return HF_FOLL_WRITE;
	return st->foll & (HF_FOLL_WRITE | HF_FOLL_LONGTERM);
}

/* ---- pins ---- */

static void unpin_all(struct hf_nat_ref *ref)
{
	while (ref->pins && !hf_native_unpin(ref->space, ref->addr, ref->len, ref->flags))
		ref->pins--;
}

static int pin_all(struct hf_nat_ref *ref, unsigned times)
{
	struct iovec iov;
	int n = 1;

	while (ref->pins < times && n > 0) {
		n = hf_native_pin(ref->space, ref->addr, ref->len, ref->flags, &iov, 1);
		ref->pins += n > 0;
		if (n == 1 && (iov.iov_base != ref->addr || iov.iov_len != ref->len))
			n = -EPROTO;
	}
	if (n < 0)
		unpin_all(ref);
	return n < 0 ? n : 0;
}

/* ---- frames: until the unpin they stay what they are ---- */

static size_t nr_pages(const struct hf_nat_ref *ref)
{
	uintptr_t first = (uintptr_t)ref->addr & HF_PAGE_MASK;

	return ((uintptr_t)ref->addr + ref->len - first + HF_PAGE_SIZE - 1) >> HF_PAGE_SHIFT;
}

/* 0: it cannot be seen, by others than root, or while the page is away. */
static uint64_t frame_of(const struct hf_nat_ref *ref, size_t page)
{
	const char *addr = ref->addr + page * HF_PAGE_SIZE;
	uintptr_t start = (uintptr_t)addr & HF_PAGE_MASK;
	uint64_t entry;

	/* what was swapped out comes back to its frame */
	(void)*(page ? (const volatile char *)start : (const volatile char *)addr);
	if (hf_kernel_pagemap(getpid(), start, &entry) || !(entry & HF_PAGEMAP_PRESENT))
		return 0;
	return entry & HF_PAGEMAP_PFN;
}

static int note_frames(struct hf_nat_ref *ref)
{
	ref->frames = calloc(nr_pages(ref), sizeof(*ref->frames));
	for (size_t i = 0; ref->frames && i < nr_pages(ref); i++)
		ref->frames[i] = frame_of(ref, i);
	return ref->frames ? 0 : -ENOMEM;
}

static int check_frames(const struct hf_nat_ref *ref, struct hf_obs *obs)
{
	for (size_t i = 0; ref->frames && i < nr_pages(ref); i++) {
		uint64_t now = frame_of(ref, i);

		if (!now || !ref->frames[i] || now == ref->frames[i])
			continue;
		obs->status = HF_OBS_BUG;
		snprintf(obs->reason, sizeof(obs->reason),
			 "the unpin check: page %zu of the range is in another frame than when it "
			 "was pinned",
			 i);
		return HF_OBS_BUG;
	}
	return 0;
}

/* ---- what a device has ---- */

static int fill_pipe(struct hf_nat_run *r, struct hf_nat_ref *ref)
{
	struct iovec iov = { ref->addr, ref->len };
	int err = r->mode ? hf_native_prepare_read(ref->addr, ref->len) : 0;
	ssize_t n;

	while (!err && iov.iov_len) {
		n = vmsplice(ref->wire.pipe[1], &iov, 1, SPLICE_F_NONBLOCK);
		if (n <= 0)
			return n ? -errno : -EIO;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
	}
	return err;
}

static int enlist(struct hf_nat_ref *ref, struct hf_obs *obs)
{
	struct iovec iov = { ref->addr, ref->len };
	int err = io_uring_register_buffers(&ref->wire.ring, &iov, 1);

	ref->wire.addr = (uintptr_t)ref->addr;
	if (err != -ENOMEM)
		return err;
	hf_nat_say(obs, HF_OBS_SKIP,
		   "registering a buffer: RLIMIT_MEMLOCK is too low; raise it (ulimit -l)");
	return HF_OBS_SKIP;
}

static int attach(struct hf_nat_run *r, struct hf_nat_ref *ref, struct hf_obs *obs)
{
	switch (ref->wire.means) {
	case HF_MEANS_PIPE:
		return fill_pipe(r, ref);
	case HF_MEANS_RING:
		return enlist(ref, obs);
	default:
		return hf_flight_start(ref);
	}
}

/* In signal mode the kernel takes its references between prepare and finish: a snapshot that comes
 * in between protects what is pinned, too, for a moment. So in both modes for a registered buffer
 * whose owner pinned it for reading, for the kernel takes it as one to write to. */
static bool needs_preparing(const struct hf_nat_run *r, const struct hf_nat_ref *ref)
{
	if (ref->flags & HF_FOLL_WRITE)
		return r->mode;
	return ref->wire.means == HF_MEANS_RING;
}

static int attach_prepared(struct hf_nat_run *r, struct hf_nat_ref *ref, struct hf_obs *obs)
{
	bool guard = needs_preparing(r, ref);
	int err = guard ? hf_native_prepare_write(ref->space, ref->addr, ref->len) : 0;

	if (err)
		return err;
	err = attach(r, ref, obs);
	if (guard)
		hf_native_finish_write(ref->space, ref->addr, ref->len);
	return err;
}

static int open_wire(struct hf_nat_ref *ref, const struct hf_step *st, struct hf_obs *obs)
{
	hf_wire_init(&ref->wire);
	ref->wire.means = means_of(st);
	hf_wire_open(&ref->wire, st);
	if (!ref->wire.error)
		return 0;
	obs->status = HF_OBS_SKIP;
	snprintf(obs->reason, sizeof(obs->reason), "%s: %s", hf_wire_remedy(&ref->wire),
		 strerror(ref->wire.error));
	return HF_OBS_SKIP;
}

int hf_nat_take(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_nat_ref *ref = &r->ref[st->ref];
	unsigned times = st->verb == HF_V_VMSPLICE ? 0 : st->times ? st->times : 1;
	int err;

	*ref = (struct hf_nat_ref){
		.space = r->proc[st->target].space,
		.addr = hf_nat_addr(r, st->target, st),
		.len = st->hi - st->lo,
		.flags = flags_of(st),
	};
	err = open_wire(ref, st, obs);
	if (!err)
		err = pin_all(ref, times);
	if (!err)
		err = attach_prepared(r, ref, obs);
	if (!err && ref->pins)
		err = note_frames(ref);
	if (err) {
		hf_wire_close(&ref->wire);
		unpin_all(ref);
		return err;
	}
	ref->maker = st;
	return 0;
}

static int detach(struct hf_nat_ref *ref)
{
	switch (ref->wire.means) {
	case HF_MEANS_PIPE:
		return hf_pipe_drain(&ref->wire);
	case HF_MEANS_RING:
		return io_uring_unregister_buffers(&ref->wire.ring);
	default:
		hf_flight_abandon(ref);
		return 0;
	}
}

int hf_nat_release(struct hf_nat_ref *ref, struct hf_obs *obs)
{
	int wrong, err;

	if (!atomic_exchange(&ref->maker, NULL)) /* another arm may be at it */
		return -EINVAL;
	wrong = check_frames(ref, obs);
	err = detach(ref);
	hf_wire_close(&ref->wire);
	unpin_all(ref);
	if (!err && ref->pins)
		err = -EPROTO;
	free(ref->frames);
	ref->frames = NULL;
	return wrong ? wrong : err;
}

int hf_nat_device(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_nat_ref *ref = &r->ref[st->ref];
	const struct hf_step *maker = ref->maker;
	size_t hi = st->hi ? st->hi : ref->len;
	int err, last;

	if (!maker)
		return -EINVAL;
	if (st->verb == HF_V_DEV_WRITE && !(ref->flags & HF_FOLL_WRITE))
		return -EINVAL;
	if (ref->wire.means == HF_MEANS_PIPE)
		return hf_pipe_read(&ref->wire, st->lo, hi, obs->data);
	if (ref->wire.means == HF_MEANS_RING)
		return st->verb == HF_V_DEV_WRITE
			       ? hf_ring_write(&ref->wire, st->lo, hi, st->value, &obs->done)
			       : hf_ring_read(&ref->wire, st->lo, hi, obs->data);
	err = ref->wire.means == HF_MEANS_READ ? hf_flight_finish_read(ref, maker->value)
					       : hf_flight_finish_write(ref, obs->data);
	last = hf_nat_release(ref, obs);
	return err ? err : last;
}
