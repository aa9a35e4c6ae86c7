/* SPDX-License-Identifier: MIT */
/* Steps that a process carries out by itself. */
#include "pages.h"
#include "run.h"

#include <holdfast/mm.h>
#include <string.h>

void hf_fill_box(struct hf_here_run *r, const struct hf_step *st, struct hf_call_box *box)
{
	struct hf_place *p = st->buf >= 0 ? &r->place[st->target][st->buf] : NULL;

	box->call = HF_CALL_STEP;
	box->step = st;
	box->target_pid = r->proc[st->target].pid;
	if (!p)
		return;
	if (st->verb == HF_V_MAP && !p->addr)
		p->addr = HF_HERE_BASE + (uint64_t)st->buf * HF_HERE_SPACING;
	box->addr = p->addr + st->lo;
	box->size = st->verb == HF_V_MAP ? st->pages * HF_PAGE_SIZE : p->size;
	box->to = r->next_place;
}

static void note_done(struct hf_here_run *r, const struct hf_step *st,
		      const struct hf_call_box *box)
{
	struct hf_place *p = st->buf >= 0 ? &r->place[st->target][st->buf] : NULL;

	if (st->verb == HF_V_MAP) {
		p->size = box->size;
		p->written = false;
	} else if (st->verb == HF_V_REMAP) {
		*p = (struct hf_place){ .written = p->written,
					.addr = box->to,
					.size = st->pages ? st->pages * HF_PAGE_SIZE : p->size };
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

/* Kind `swapped`: what a process writes first to a buffer that it mapped goes out at once. */
static void swap_out_first_write(struct hf_here_run *r, const struct hf_step *st,
				 struct hf_obs *obs)
{
	struct hf_call_box *box = &r->stage.shared->box[st->proc];
	struct hf_place *p = &r->place[st->target][st->buf];
	int err;

	p->written = true;
	box->call = HF_CALL_PAGEOUT;
	box->addr = p->addr;
	box->size = p->size;
	err = hf_call(r, st->proc);
	if (err) {
		hf_harness_failed(r, st->proc, err, obs);
		return;
	}
	for (size_t at = 0; at < p->size; at += HF_PAGE_SIZE) {
		struct hf_page_state state;

		if (!hf_kernel_page(r->proc[st->proc].pid, p->addr + at, &state) && state.present)
			hf_say(obs, HF_OBS_SKIP, "the kernel did not move the pages out");
	}
}

void hf_call_step(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_call_box *box = &r->stage.shared->box[st->proc];
	int err;

	hf_fill_box(r, st, box);
	err = hf_call(r, st->proc);
	if (err) {
		hf_harness_failed(r, st->proc, err, obs);
		return;
	}
	hf_report(box, obs);
	if (obs->status)
		return;
	note_done(r, st, box);
	if (st->verb == HF_V_FORK)
		hf_take_over_child(r, st, box->child, obs);
	if (st->verb == HF_V_MAP && r->stage.touch && lacks_zeropage(r, st->proc, box->addr))
		hf_say(obs, HF_OBS_SKIP, "this kernel maps no shared zeropage");
	if (st->verb == HF_V_WRITE && r->swaps && !r->place[st->target][st->buf].written)
		swap_out_first_write(r, st, obs);
	if (obs->len)
		memcpy(obs->data, box->data, obs->len);
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
