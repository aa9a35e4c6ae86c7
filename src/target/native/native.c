/* SPDX-License-Identifier: MIT */
/*
 * Targets `native`, `native-signal` and `native-bracketed`: native spaces (holdfast/native.h) in
 * their modes. The library's promises are those of the policy holdfast, so its expectations hold.
 */
#include "native.h"
#include "../../machine/machine.h"
#include "../../native/internal.h"
#include "../../scenario/arms.h"
#include "../../scenario/oracle.h"
#include "../common/pages.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/mm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct native {
	struct hf_target t;
	unsigned mode;
	struct hf_kernel_swap swap;
};

void hf_nat_say(struct hf_obs *obs, int status, const char *reason)
{
	obs->status = status;
	snprintf(obs->reason, sizeof(obs->reason), "%.*s", (int)sizeof(obs->reason) - 1, reason);
}

/* ---- what native spaces have not ---- */

static const char *lacks_kind(const struct hf_kind_info *kind)
{
	switch (kind->memory) {
	case HF_MEM_MEMFD:
	case HF_MEM_TMPFILE:
	case HF_MEM_MEMFD_HUGETLB:
	case HF_MEM_MIXED:
		return "native spaces are no private mappings of files";
	default:
		break;
	}
	return kind->shape != HF_SHAPE_WHOLE
		       ? "native spaces have units of 4 KiB or 2 MiB, no folios of other sizes "
			 "and shapes"
		       : NULL;
}

static const char *lacks_advice(const struct hf_step *st, const struct hf_kind_info *kind,
				unsigned mode)
{
	switch (st->advice) {
	case HF_MADV_POPULATE_READ:
	case HF_MADV_POPULATE_WRITE:
		return NULL;
	case HF_MADV_COLLAPSE:
		return kind->order ? NULL : "native spaces of 4 KiB units have no huge pages";
	case HF_MADV_DONTNEED:
	case HF_MADV_FREE:
		return mode & HF_NATIVE_BRACKETED
			       ? NULL
			       : "native spaces have no MADV_DONTNEED: what is in them stays";
	default:
		return "native spaces have no advice for fork: a child has all that its parent has";
	}
}

/* Why the step cannot be done, or NULL. */
static const char *lacks(const struct hf_step *st, const struct hf_kind_info *kind, unsigned mode)
{
	switch (st->verb) {
	case HF_V_MAP:
		return st->prot == (HF_PROT_READ | HF_PROT_WRITE)
			       ? NULL
			       : "native spaces have no protection of the program's own";
	case HF_V_UNMAP:
		return "native spaces have no unmap: memory comes and goes with its space";
	case HF_V_PROTECT:
		return "native spaces have no protection of the program's own";
	case HF_V_REMAP:
		return "native spaces have no mremap: their memory stays where it is";
	case HF_V_TRUNCATE:
		return "native spaces have no private mappings of files";
	case HF_V_ADVISE:
		return lacks_advice(st, kind, mode);
	case HF_V_MIGRATE:
		return HF_NO_MIGRATION;
	case HF_V_MERGE:
		return "native spaces must not be merged: KSM takes their protection away";
	case HF_V_PIN:
	case HF_V_GET:
		return st->foll & (HF_FOLL_FORCE | HF_FOLL_NOFAULT | HF_FOLL_FAST_ONLY)
			       ? "native pins have no force, nofault or fast-only"
			       : NULL;
	default:
		return NULL;
	}
}

/* ---- a run ---- */

static bool sees_frames(void)
{
	struct hf_page_state state;

	return !hf_kernel_page(getpid(), (uintptr_t)&state, &state) && state.pfn != UINT64_MAX;
}

/* What the machine, or the user's rights, do not give. False: obs has it. */
static bool machine_allows(struct native *n, const struct hf_scenario *scn,
			   const struct hf_kind_info *kind, struct hf_obs *obs)
{
	struct hf_native_support support;
	char why[HF_REASON_LEN] = "";

	if (lacks_kind(kind))
		hf_nat_say(obs, HF_OBS_SKIP, lacks_kind(kind));
	else if (!(n->mode & HF_NATIVE_BRACKETED) &&
		 (hf_native_probe(&support) || (!n->mode && !support.kernel_faults)))
		hf_nat_say(obs, HF_OBS_SKIP, support.remedy);
	else if (scn->frames)
		hf_nat_say(obs, HF_OBS_SKIP, "a real machine's memory is not made scarce");
	else if (scn->unpin_check && !sees_frames())
		hf_nat_say(obs, HF_OBS_SKIP, "the unpin check compares frames, which root sees");
	else if (kind->swapped && !hf_kernel_swap_on(&n->swap))
		hf_nat_say(obs, HF_OBS_SKIP, n->swap.why);
	else if (!hf_settings_for(kind, why, sizeof(why)))
		hf_nat_say(obs, HF_OBS_SKIP, why);
	return !obs->status;
}

static void say_error(struct hf_obs *obs, const char *what, int err)
{
	obs->status = HF_OBS_ERROR;
	snprintf(obs->reason, sizeof(obs->reason), "%s: %s", what, strerror(-err));
}

/* Kernels that cannot protect memory of the kind are no failure. */
static int create_spaces(struct hf_nat_run *r, struct hf_obs *obs)
{
	struct hf_native_support support;
	int err = 0;

	for (size_t p = 0; p < r->scn->nr_procs && !err; p++)
		if (r->scn->procs[p].initial)
			err = hf_nat_create(r, (int)p);
	if (err == -EOPNOTSUPP && !hf_native_probe(&support))
		hf_nat_say(obs, HF_OBS_SKIP, support.remedy);
	else if (err)
		say_error(obs, "creating a native space", err);
	return err;
}

static void native_end(void *run, struct hf_obs *obs);

static int native_begin(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
			void **out, struct hf_obs *obs)
{
	struct native *n = (struct native *)t;
	struct hf_nat_run *r;
	struct hf_obs ignored = { 0 };

	if (!machine_allows(n, scn, hf_kind_info(kind), obs))
		return -1;
	r = calloc(1, sizeof(*r));
	if (!r) {
		say_error(obs, "setting up", -ENOMEM);
		return -1;
	}
	r->scn = scn;
	r->kind = hf_kind_info(kind);
	r->mode = n->mode;
	r->swap = &n->swap;
	r->mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (r->mem < 0)
		say_error(obs, "/proc/self/mem", -errno);
	else
		create_spaces(r, obs);
	if (!obs->status) {
		*out = r;
		return 0;
	}
	native_end(r, &ignored);
	return -1;
}

static int do_step(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	if (st->proc == HF_SCN_DEVICE)
		return hf_nat_device(r, st, obs);
	if (!r->proc[st->proc].space || !r->proc[st->target].space)
		return -ESRCH;
	switch (st->verb) {
	case HF_V_PIN:
	case HF_V_GET:
	case HF_V_VMSPLICE:
	case HF_V_FIXEDBUF:
	case HF_V_ODIRECT_READ:
	case HF_V_ODIRECT_WRITE:
		return hf_nat_take(r, st, obs);
	case HF_V_UNPIN:
	case HF_V_PUT:
	case HF_V_RELEASE:
		return hf_step_fits_ref(st, hf_ref_maker(r->scn, st->ref))
			       ? hf_nat_release(&r->ref[st->ref], obs)
			       : -EINVAL;
	default:
		return hf_nat_memory(r, st, obs);
	}
}

static void native_step(void *run, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_nat_run *r = run;
	const char *why = lacks(st, r->kind, r->mode);

	if (why)
		hf_nat_say(obs, HF_OBS_SKIP, why);
	else
		obs->status = do_step(r, st, obs);
	if (st->verb == HF_V_EXIT && obs->status == -EBUSY)
		hf_nat_say(obs, HF_OBS_SKIP, "a native space that is pinned cannot be destroyed");
	if (obs->status == -ETIMEDOUT)
		hf_nat_say(obs, HF_OBS_ERROR, "the direct I/O did not come to its device, or back");
}

/* ---- par blocks ---- */

struct arm_run {
	struct hf_nat_run *r;
	const struct hf_arm *arm;
	struct hf_obs *obs;
};

static void run_arm(void *arg)
{
	struct arm_run *a = arg;
	size_t i = 0;

	for (; i < a->arm->nr_steps; i++) {
		if (a->obs[i].left_out)
			continue;
		native_step(a->r, &a->arm->steps[i], &a->obs[i]);
		if (a->obs[i].status)
			break;
	}
	for (i++; i < a->arm->nr_steps; i++)
		a->obs[i].status = -ECANCELED;
}

static const char *par_lacks(const struct hf_par *par, const struct hf_kind_info *kind,
			     unsigned mode)
{
	const char *why = NULL;

	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 0; i < par->arms[a].nr_steps && !why; i++)
			why = lacks(&par->arms[a].steps[i], kind, mode);
	return why;
}

static void native_par(void *run, const struct hf_par *par, struct hf_obs *obs)
{
	struct hf_nat_run *r = run;
	struct arm_run arms[HF_SCN_MAX_ARMS];
	void *args[HF_SCN_MAX_ARMS];
	const char *why = par_lacks(par, r->kind, r->mode);
	size_t n = 0;

	if (why) {
		hf_nat_say(&obs[0], HF_OBS_SKIP, why);
		return;
	}
	for (size_t i = 0; i < par->nr_arms; i++) {
		arms[i] = (struct arm_run){ .r = r, .arm = &par->arms[i], .obs = &obs[n] };
		args[i] = &arms[i];
		n += par->arms[i].nr_steps;
	}
	if (hf_run_arms(par->nr_arms, run_arm, args))
		hf_nat_say(&obs[0], HF_OBS_ERROR, "no thread can be had for an arm");
}

/* ---- the trace ---- */

static bool has(hf_bits *bits, size_t unit)
{
	return atomic_load(&bits[unit / HF_WORD_UNITS]) >> unit % HF_WORD_UNITS & 1;
}

/* Exclusive is the unit's; a pin of either sort, or a prepared write, counts. */
static int native_page(void *run, int proc, int buf, unsigned page, struct hf_page_state *state)
{
	struct hf_nat_run *r = run;
	const struct hf_native *space = r->proc[proc].space;
	size_t at = (size_t)buf * r->slot + page * HF_PAGE_SIZE, unit;
	uint64_t pins;
	int err;

	if (!space || page >= r->proc[proc].place[buf].size / HF_PAGE_SIZE)
		return -1;
	err = hf_kernel_page(getpid(), (uintptr_t)space->window + at, state);
	if (err)
		return err;
	unit = at >> space->tree->unit_shift;
	pins = atomic_load(&space->pins[unit]);
	/* without a snapshot nothing is protected, and nobody has looked for what there is */
	state->exclusive = !atomic_load(&space->newest) || has(space->exclusive, unit) ||
			   !has(space->populated, unit);
	state->writable = state->exclusive;
	state->pins = 0;
	for (; pins; pins /= HF_NATIVE_PIN_MAX + 1ull)
		state->pins += (int)(pins & HF_NATIVE_PIN_MAX);
	return 0;
}

/* ---- the end ---- */

/* The last space of its origin: all that was made of it is gone. */
static bool left_nothing(const struct hf_native *space)
{
	struct hf_native_stats stats;

	hf_native_stats(space, &stats);
	return !stats.snapshots && !stats.frames_used && !stats.lost;
}

/* Children come after their parents. */
static void end_spaces(struct hf_nat_run *r, struct hf_obs *obs)
{
	for (size_t p = r->scn->nr_procs; p-- > 0;) {
		struct hf_nat_proc *proc = &r->proc[p];

		if (!proc->space)
			continue;
		if (proc->protected && !hf_native_drop(proc->protected))
			proc->protected = NULL;
		if (!proc->is_child && !left_nothing(proc->space) && !obs->status)
			hf_nat_say(obs, HF_OBS_BUG, "snapshots or frames were left at the end");
		if (hf_nat_exit(r, (int)p) && !obs->status)
			hf_nat_say(obs, HF_OBS_BUG, "a space cannot be destroyed at the end");
	}
}

static void native_end(void *run, struct hf_obs *obs)
{
	struct hf_nat_run *r = run;

	for (size_t i = 0; i < r->scn->nr_refs; i++)
		if (r->ref[i].maker)
			hf_nat_release(&r->ref[i], obs);
	end_spaces(r, obs);
	if (r->mem >= 0)
		close(r->mem);
	free(r);
}

static void native_free(struct hf_target *t)
{
	hf_machine_leave();
	free(t);
}

static const struct hf_target_ops native_ops = {
	.begin = native_begin,
	.step = native_step,
	.par = native_par,
	.page = native_page,
	.end = native_end,
	.free = native_free,
};

static const struct {
	const char *name;
	unsigned flags;
} modes[] = {
	{ "native", 0 },
	{ "native-signal", HF_NATIVE_SIGNAL },
	{ "native-bracketed", HF_NATIVE_BRACKETED },
};

#define NR_MODES (sizeof(modes) / sizeof(modes[0]))

struct hf_target *hf_target_native(const char *name, char *err, size_t len)
{
	struct native *n;
	struct utsname uts;
	size_t mode = 0;

	err[0] = 0;
	while (mode < NR_MODES && strcmp(name, modes[mode].name))
		mode++;
	if (mode == NR_MODES)
		return NULL;
	n = calloc(1, sizeof(*n));
	if (!n) {
		snprintf(err, len, "native: out of memory");
		return NULL;
	}
	hf_machine_join();
	n->mode = modes[mode].flags;
	n->t.ops = &native_ops;
	n->t.name = modes[mode].name;
	n->t.expect = "holdfast";
	if (!uname(&uts))
		snprintf(n->t.detail, sizeof(n->t.detail), "native spaces on %.20s %.60s",
			 uts.sysname, uts.release);
	return &n->t;
}
