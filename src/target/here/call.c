/* SPDX-License-Identifier: MIT */
/* Steps that a process carries out by itself. */
#include "../common/pages.h"
#include "run.h"

#include <holdfast/mm.h>
#include <stdio.h>
#include <string.h>

static size_t whole_folios(const struct hf_here_run *r, size_t size)
{
	size_t folio = HF_PAGE_SIZE << r->stage.kind->order;

	return (size + folio - 1) & ~(folio - 1);
}

size_t hf_here_reach(const struct hf_here_run *r, const struct hf_step *st)
{
	const struct hf_place *p = &r->place[st->target][st->buf];

	return st->lo == 0 && st->hi == p->size ? p->extent : st->hi - st->lo;
}

void hf_fill_box(struct hf_here_run *r, const struct hf_step *st, struct hf_call_box *box)
{
	struct hf_place *p = st->buf >= 0 ? &r->place[st->target][st->buf] : NULL;

	box->call = HF_CALL_STEP;
	box->step = st;
	box->done = 0;
	box->target_pid = r->proc[st->target].pid;
	if (!p)
		return;
	if (st->verb == HF_V_MAP && !p->addr)
		p->addr = HF_HERE_BASE + (uint64_t)st->buf * HF_HERE_SPACING;
	box->addr = p->addr + st->lo;
	if (st->verb == HF_V_MAP)
		box->size = whole_folios(r, st->pages * HF_PAGE_SIZE);
	else if (st->verb == HF_V_REMAP)
		box->size = p->extent;
	else
		box->size = hf_here_reach(r, st);
	box->to = r->next_place;
}

static void note_done(struct hf_here_run *r, const struct hf_step *st,
		      const struct hf_call_box *box)
{
	struct hf_place *p = st->buf >= 0 ? &r->place[st->target][st->buf] : NULL;

	if (st->verb == HF_V_MAP) {
		p->size = st->pages * HF_PAGE_SIZE;
		p->extent = box->size;
		p->shaped = false;
	} else if (st->verb == HF_V_REMAP) {
		size_t size = st->pages ? st->pages * HF_PAGE_SIZE : p->size;

		*p = (struct hf_place){ .shaped = p->shaped,
					.addr = box->to,
					.size = size,
					.extent = size == p->size ? p->extent : size };
		r->next_place += HF_HERE_SPACING;
	}
}

void hf_take_over_child(struct hf_here_run *r, const struct hf_step *st, pid_t pid,
			struct hf_obs *obs)
{
	int err = hf_adopt_process(r, st->child, pid);

	if (err)
		hf_harness_failed(r, st->child, err, obs);
	memcpy(r->place[st->child], r->place[st->proc], sizeof(r->place[0]));
}

void hf_report(const struct hf_call_box *box, struct hf_obs *obs)
{
	obs->status = box->status;
	obs->done = box->done;
	if (box->status == HF_OBS_SKIP)
		hf_say(obs, HF_OBS_SKIP, box->reason);
}

/* Some kernels are built or booted without the shared zeropage. */
static bool lacks_zeropage(const struct hf_here_run *r, int proc, uint64_t addr)
{
	struct hf_page_state state;

	return !hf_kernel_page(r->proc[proc].pid, addr, &state) && state.present &&
	       state.zeropage == 0;
}

/* Did the first write get a folio of the kind's size? */
static bool has_folio(const struct hf_here_run *r, int proc, const struct hf_place *p,
		      struct hf_obs *obs)
{
	unsigned order = r->stage.kind->order;
	int got = hf_kernel_folio_order(r->proc[proc].pid, p->addr);

	if (r->stage.kind->memory != HF_MEM_ANON || !order || got == (int)order)
		return true;
	obs->status = HF_OBS_SKIP;
	if (got < 0)
		snprintf(obs->reason, sizeof(obs->reason),
			 "folios can be seen by root only (/proc/kpageflags)");
	else
		snprintf(obs->reason, sizeof(obs->reason),
			 "the kernel gave no folio of %u KiB, but one of %u KiB", 4u << order,
			 4u << got);
	return false;
}

/* After a write: makes the memory what the kind says. */
static void shape(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	const struct hf_kind_info *kind = r->stage.kind;
	struct hf_call_box *box = &r->stage.shared->box[st->proc];
	struct hf_place *p = &r->place[st->target][st->buf];
	int err;

	p->shaped = true;
	if (!has_folio(r, st->proc, p, obs) || (kind->shape == HF_SHAPE_WHOLE && !kind->swapped))
		return;
	box->call = HF_CALL_SHAPE;
	box->addr = p->addr;
	box->buffer = p->size;
	box->size = p->extent;
	box->to = r->next_place;
	err = hf_call(r, st->proc);
	if (err) {
		hf_harness_failed(r, st->proc, err, obs);
		return;
	}
	hf_report(box, obs);
	obs->done = st->hi - st->lo; /* the write itself */
	if (kind->shape == HF_SHAPE_HALF) {
		r->next_place += HF_HERE_SPACING;
		p->extent /= 2;
	}
	for (size_t at = 0; kind->swapped && !obs->status && at < p->extent; at += HF_PAGE_SIZE) {
		struct hf_page_state state;

		if (!hf_kernel_page(r->proc[st->proc].pid, p->addr + at, &state) && state.present)
			hf_say(obs, HF_OBS_SKIP, "the kernel did not move the pages out");
	}
}

void hf_call_step(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_call_box *box = &r->stage.shared->box[st->proc];
	int err;

	if (st->verb == HF_V_REMAP && st->pages && r->stage.kind->order) {
		hf_say(obs, HF_OBS_SKIP, "a buffer of whole folios does not change its size");
		return;
	}
	hf_fill_box(r, st, box);
	err = hf_call(r, st->proc);
	if (err) {
		hf_harness_failed(r, st->proc, err, obs);
		return;
	}
	hf_report(box, obs);
	if (obs->len)
		memcpy(obs->data, box->data, obs->len);
	if (obs->status)
		return;
	note_done(r, st, box);
	if (st->verb == HF_V_FORK)
		hf_take_over_child(r, st, box->child, obs);
	if (st->verb == HF_V_MAP && r->stage.kind->memory == HF_MEM_ZEROPAGE &&
	    lacks_zeropage(r, st->proc, box->addr))
		hf_say(obs, HF_OBS_SKIP, "this kernel maps no shared zeropage");
	if (st->verb == HF_V_WRITE && !r->place[st->target][st->buf].shaped)
		shape(r, st, obs);
}

void hf_step_exit(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	int err;

	for (size_t i = 0; i < r->scn->nr_refs; i++) {
		const struct hf_wire *w = &r->stage.wire[i];

		if (w->maker && w->maker->proc == st->proc && w->means >= HF_MEANS_READ) {
			hf_say(obs, HF_OBS_SKIP,
			       "a process cannot exit while its direct I/O is in flight");
			return;
		}
	}
	hf_fill_box(r, st, &r->stage.shared->box[st->proc]);
	err = hf_wake(r, st->proc);
	if (!err)
		err = hf_wait_for(r, st->proc, r->proc[st->proc].pidfd, -1, NULL);
	if (err)
		hf_harness_failed(r, st->proc, err, obs);
	else
		hf_forget_process(r, st->proc);
}
