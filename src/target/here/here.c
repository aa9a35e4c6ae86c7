/* SPDX-License-Identifier: MIT */
/*
 * Target `here`: the running kernel. Every process of a scenario is a process (actor.c), every step
 * a system call or an access in it; the runner is the devices (device.c, fuse.c) and waits for each
 * step with a time limit.
 */
#include "here.h"
#include "../../machine/file.h"
#include "../../machine/machine.h"
#include "../common/era.h"
#include "../common/gup_test.h"
#include "../common/pages.h"
#include "../common/settings.h"
#include "run.h"
#include "wrprotect.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

struct here {
	struct hf_target t;
	struct hf_powers powers;
	struct hf_kernel_swap swap;
	bool quiet;
};

#define SCANS "/sys/kernel/mm/ksm/full_scans"

/* A page is merged when its second scan finds it unchanged,
 * and a partner for it; three are enough. */
static void wait_for_scans(struct hf_obs *obs)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	long goal = hf_read_number(SCANS) + 4;

	for (int i = 0; i < 5000; i++) {
		if (hf_read_number(SCANS) >= goal)
			return;
		nanosleep(&pause, NULL);
	}
	hf_say(obs, HF_OBS_SKIP, "KSM did not scan all memory within ten seconds");
}

static void step_merge(struct hf_here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	char why[HF_REASON_LEN];

	if (!hf_settings_for_merging(why, sizeof(why))) {
		hf_say(obs, HF_OBS_SKIP, why);
		return;
	}
	hf_call_step(r, st, obs);
	if (!obs->status)
		wait_for_scans(obs);
}

static void here_step(void *run, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_here_run *r = run;

	if (st->proc == HF_SCN_DEVICE) {
		hf_step_device(r, st, obs);
		return;
	}
	if (!r->proc[st->proc].pid || !r->proc[st->target].pid) {
		obs->status = -ESRCH;
		return;
	}
	switch (st->verb) {
	case HF_V_EXIT:
		hf_step_exit(r, st, obs);
		break;
	case HF_V_PIN:
	case HF_V_GET:
	case HF_V_VMSPLICE:
	case HF_V_FIXEDBUF:
	case HF_V_ODIRECT_READ:
	case HF_V_ODIRECT_WRITE:
		hf_step_take(r, st, obs);
		break;
	case HF_V_UNPIN:
	case HF_V_PUT:
	case HF_V_RELEASE:
		hf_step_release(r, st, obs);
		break;
	case HF_V_SWAPOUT:
		if (hf_kernel_swap_on(r->swap))
			hf_call_step(r, st, obs);
		else
			hf_say(obs, HF_OBS_SKIP, r->swap->why);
		break;
	case HF_V_MERGE:
		step_merge(r, st, obs);
		break;
	case HF_V_MIGRATE:
		hf_say(obs, HF_OBS_SKIP, HF_NO_MIGRATION);
		break;
	default:
		hf_call_step(r, st, obs);
		break;
	}
}

/* Only such kernels have this function. Its name may be read by everybody, its address not. */
static bool has_debug_vm(void)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char line[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, " T dump_mm\n");
	if (f)
		fclose(f);
	return found;
}

static int here_begin(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
		      void **out, struct hf_obs *obs)
{
	struct here *here = (struct here *)t;
	const struct hf_kind_info *info = hf_kind_info(kind);
	char why[HF_REASON_LEN];
	struct hf_here_run *r;
	int err;

	if (info->swapped && !hf_kernel_swap_on(&here->swap)) {
		hf_say(obs, HF_OBS_SKIP, here->swap.why);
		return -1;
	}
	if (!hf_settings_for(info, why, sizeof(why))) {
		hf_say(obs, HF_OBS_SKIP, why);
		return -1;
	}
	if (scn->frames || (scn->unpin_check && !has_debug_vm())) {
		hf_say(obs, HF_OBS_SKIP,
		       scn->frames ? "a real machine's memory is not made scarce"
				   : "the kernel's unpin check needs CONFIG_DEBUG_VM");
		return -1;
	}
	if (info->memory == HF_MEM_TMPFILE && access("/var/tmp", W_OK)) {
		hf_say(obs, HF_OBS_SKIP, "/var/tmp cannot be written to");
		return -1;
	}
	r = calloc(1, sizeof(*r));
	err = r ? hf_stage_open(&r->stage, scn, info, &here->powers) : -ENOMEM;
	if (err) {
		free(r);
		obs->status = HF_OBS_ERROR;
		snprintf(obs->reason, sizeof(obs->reason), "setting up processes: %s",
			 strerror(-err));
		return err;
	}
	r->powers = here->powers;
	r->scn = scn;
	r->swap = &here->swap;
	r->quiet = &here->quiet;
	r->next_place = HF_HERE_BASE + HF_SCN_MAX_BUFS * HF_HERE_SPACING;
	for (size_t p = 0; p < HF_SCN_MAX_PROCS; p++)
		r->proc[p].pidfd = -1;
	for (size_t p = 0; p < scn->nr_procs && !err; p++)
		if (scn->procs[p].initial)
			err = hf_start_process(r, (int)p);
	if (err) {
		obs->status = HF_OBS_ERROR;
		snprintf(obs->reason, sizeof(obs->reason), "starting a process: %s",
			 strerror(-err));
		hf_end_processes(r);
		hf_stage_close(&r->stage);
		free(r);
		return err;
	}
	*out = r;
	return 0;
}

static int here_page(void *run, int proc, int buf, unsigned page, struct hf_page_state *state)
{
	struct hf_here_run *r = run;
	const struct hf_place *p = &r->place[proc][buf];

	if (!r->proc[proc].pid || page >= p->size / HF_PAGE_SIZE)
		return -1;
	return hf_kernel_page(r->proc[proc].pid, p->addr + page * HF_PAGE_SIZE, state);
}

/* Pages wait in lists of each CPU, and are held by them, for operations on many at once.
 * MADV_COLD empties those of this CPU, whatever it is asked for. */
static void here_settle(void *run)
{
	static _Alignas(HF_PAGE_SIZE) char page[HF_PAGE_SIZE];
	struct hf_here_run *r = run;

	if (!*r->quiet)
		hf_settings_without_noise();
	*r->quiet = true;
	sched_setaffinity(0, sizeof(cpu_set_t), &r->stage.one_cpu);
	madvise(page, sizeof(page), MADV_COLD);
}

static void here_end(void *run, struct hf_obs *obs)
{
	struct hf_here_run *r = run;

	(void)obs;
	hf_end_processes(r);
	hf_stage_close(&r->stage);
	free(r);
}

static void here_free(struct hf_target *t)
{
	hf_machine_leave();
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	free(t);
}

static const struct hf_target_ops here_ops = {
	.begin = here_begin,
	.step = here_step,
	.par = hf_here_par,
	.page = here_page,
	.settle = here_settle,
	.end = here_end,
	.free = here_free,
};

struct hf_target *hf_target_here(char *err, size_t len)
{
	struct utsname uts;
	unsigned version = uname(&uts) ? 0 : hf_kernel_version(uts.release);
	struct here *h;

	if (!version) {
		snprintf(err, len, "here: the kernel's release cannot be told");
		return NULL;
	}
	if (version < HF_KERNEL_OLDEST) {
		snprintf(err, len, "here: Linux 5.3 or later is needed (pidfd_open), this is %s",
			 uts.release);
		return NULL;
	}
	/* processes whose parent exits come to us, so that we can wait for them */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1)) {
		snprintf(err, len, "here: PR_SET_CHILD_SUBREAPER: %s", strerror(errno));
		return NULL;
	}
	h = calloc(1, sizeof(*h));
	if (!h) {
		snprintf(err, len, "here: out of memory");
		return NULL;
	}
	hf_machine_join();
	h->t.ops = &here_ops;
	h->t.name = "here";
	h->t.expect = hf_kernel_era(version);
	h->t.rules = hf_kernel_rules(version);
	h->t.wrprotects_all = !hf_wrprotect_is_exact();
	h->powers = (struct hf_powers){ .direct_io_pins = version >= 605,
					.gup_test = hf_gup_test_there() };
	snprintf(h->t.detail, sizeof(h->t.detail), "%.20s %.60s %.40s", uts.sysname, uts.release,
		 uts.machine);
	return &h->t;
}
