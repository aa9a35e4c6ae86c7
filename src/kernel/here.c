/* SPDX-License-Identifier: MIT */
/*
 * Target `here`: the running kernel. Every process of a scenario is a process (actor.c), every step a system call or an
 * access in it; the runner is the devices (device.c, fuse.c) and waits for each step with a time limit.
 */
#include "../scenario/oracle.h"
#include "../scenario/target.h"
#include "actor.h"
#include "device.h"
#include "pages.h"

#include <errno.h>
#include <holdfast/gup.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_LIMIT_MS 10000
#define BUF_SPACING (1ul << 24)
#define BUF_BASE 0x200000000000ul

struct here {
	struct hf_target t;
	bool direct_io_pins; /* Linux 6.5 */
};

struct process {
	pid_t pid; /* 0: not there */
	int pidfd;
};

struct place {
	uint64_t addr;
	size_t size;
};

struct here_run {
	const struct here *here;
	const struct hf_scenario *scn;
	struct hf_stage stage;
	struct process proc[HF_SCN_MAX_PROCS];
	pid_t started[HF_SCN_MAX_PROCS]; /* in order: parents before children */
	size_t nr_started;
	struct place place[HF_SCN_MAX_PROCS][HF_SCN_MAX_BUFS];
	uint64_t next_place;
};

static void say(struct hf_obs *obs, int status, const char *reason)
{
	obs->status = status;
	snprintf(obs->reason, sizeof(obs->reason), "%s", reason);
}

/* ---- processes ----------------------------------------------------------------------------------------------- */

static int adopt_process(struct here_run *r, int proc, pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	r->started[r->nr_started++] = pid;
	r->proc[proc] = (struct process){ .pid = pid, .pidfd = pidfd };
	return pidfd < 0 ? -errno : 0;
}

static int start_process(struct here_run *r, int proc)
{
	pid_t pid = fork();

	if (pid == 0) {
		hf_stage_leave_runner(&r->stage);
		hf_actor_main(&r->stage, proc);
	}
	return pid < 0 ? -errno : adopt_process(r, proc, pid);
}

static void forget_process(struct here_run *r, int proc)
{
	if (r->proc[proc].pidfd >= 0)
		close(r->proc[proc].pidfd);
	r->proc[proc] = (struct process){ .pidfd = -1 };
}

/* The devices go first: a process that waits for one cannot die. */
static void end_processes(struct here_run *r)
{
	for (size_t i = 0; i < r->scn->nr_refs; i++)
		hf_fuse_close(&r->stage.wire[i].fuse);
	for (size_t i = 0; i < r->nr_started; i++)
		kill(r->started[i], SIGKILL);
	/* a grandchild becomes our child when its parent is gone, so this order finds them all */
	for (size_t i = 0; i < r->nr_started; i++)
		while (waitpid(r->started[i], NULL, 0) < 0 && errno == EINTR)
			;
	for (size_t p = 0; p < HF_SCN_MAX_PROCS; p++)
		forget_process(r, (int)p);
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int serve_files(struct here_run *r, const struct pollfd *fds, const int *wires, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		int err = fds[i].revents ? hf_fuse_serve(&r->stage.wire[wires[i]].fuse) : 0;

		if (err)
			return err;
	}
	return 0;
}

/*
 * Serves the FUSE files until `fd` has something to read (0), or `other` has (1), or the file of `held` holds a read
 * (1), or the process is gone (-ESRCH), or the time is up (-ETIMEDOUT). `other` may be -1 and `held` NULL.
 */
static int wait_for(struct here_run *r, int proc, int fd, int other, const struct hf_fuse *held)
{
	int64_t end = now_ms() + STEP_LIMIT_MS;

	for (;;) {
		struct pollfd fds[HF_SCN_MAX_REFS + 3] = {
			{ .fd = fd, .events = POLLIN },
			{ .fd = other, .events = POLLIN },
			{ .fd = r->proc[proc].pidfd, .events = POLLIN },
		};
		int wires[HF_SCN_MAX_REFS], err;
		int64_t left = end - now_ms();
		size_t nr = 0;

		for (int i = 0; i < (int)r->scn->nr_refs; i++)
			if (r->stage.wire[i].fuse.dev >= 0 && !r->stage.wire[i].fuse.deaf) {
				fds[3 + nr] = (struct pollfd){ .fd = r->stage.wire[i].fuse.dev, .events = POLLIN };
				wires[nr++] = i;
			}
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(fds, 3 + nr, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (fds[0].revents)
			return 0;
		if (fds[1].revents)
			return 1;
		if (fds[2].revents)
			return -ESRCH;
		err = serve_files(r, fds + 3, wires, nr);
		if (err)
			return err;
		if (held && held->held)
			return 1;
	}
}

static void harness_failed(struct here_run *r, int proc, int err, struct hf_obs *obs)
{
	const char *name = r->scn->procs[proc].name;
	siginfo_t info = { .si_code = 0 };

	obs->status = HF_OBS_ERROR;
	if (err == -ETIMEDOUT)
		snprintf(obs->reason, sizeof(obs->reason), "process %s did not finish the step within %d s", name,
			 STEP_LIMIT_MS / 1000);
	else if (err != -ESRCH)
		snprintf(obs->reason, sizeof(obs->reason), "process %s: %s", name, strerror(-err));
	else if (!waitid(P_PID, (id_t)r->proc[proc].pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
		 info.si_code != CLD_EXITED && info.si_pid)
		snprintf(obs->reason, sizeof(obs->reason), "process %s was killed by signal %d (%s)", name,
			 info.si_status, strsignal(info.si_status));
	else
		snprintf(obs->reason, sizeof(obs->reason), "process %s died", name);
}

/* Lets a process do what its box says. 0 or the error of the harness. */
static int call(struct here_run *r, int proc)
{
	int control = r->stage.control[proc][0];
	char token = 0;
	int err;

	r->stage.shared->box[proc].reason[0] = '\0';
	if (send(control, &token, 1, MSG_NOSIGNAL) != 1)
		return -errno;
	err = wait_for(r, proc, control, -1, NULL);
	if (!err && recv(control, &token, 1, 0) != 1)
		err = -ESRCH;
	return err;
}

/* ---- steps in processes -------------------------------------------------------------------------------------- */

static void fill_box(struct here_run *r, const struct hf_step *st, struct hf_call_box *box)
{
	struct place *p = st->buf >= 0 ? &r->place[st->target][st->buf] : NULL;

	box->call = HF_CALL_STEP;
	box->step = st;
	box->target_pid = r->proc[st->target].pid;
	if (!p)
		return;
	if (st->verb == HF_V_MAP && !p->addr)
		p->addr = BUF_BASE + (uint64_t)st->buf * BUF_SPACING;
	box->addr = p->addr + st->lo;
	box->size = st->verb == HF_V_MAP ? st->pages * HF_PAGE_SIZE : p->size;
	box->to = r->next_place;
}

static void note_done(struct here_run *r, const struct hf_step *st, const struct hf_call_box *box)
{
	struct place *p = st->buf >= 0 ? &r->place[st->target][st->buf] : NULL;

	if (st->verb == HF_V_MAP) {
		p->size = box->size;
	} else if (st->verb == HF_V_REMAP) {
		*p = (struct place){ .addr = box->to, .size = st->pages ? st->pages * HF_PAGE_SIZE : p->size };
		r->next_place += BUF_SPACING;
	}
}

static void take_over_child(struct here_run *r, const struct hf_step *st, pid_t pid, struct hf_obs *obs)
{
	int err = adopt_process(r, st->child, pid);

	if (err)
		harness_failed(r, st->child, err, obs);
	memcpy(r->place[st->child], r->place[st->proc], sizeof(r->place[0]));
}

static void report(const struct hf_call_box *box, struct hf_obs *obs)
{
	obs->status = box->status;
	if (box->status == HF_OBS_SKIP)
		say(obs, HF_OBS_SKIP, box->reason);
}

/* Some kernels are built or booted without the shared zeropage. */
static bool lacks_zeropage(const struct here_run *r, int proc, uint64_t addr)
{
	struct hf_page_state state;

	return !hf_kernel_page(r->proc[proc].pid, addr, &state) && state.present && state.zeropage == 0;
}

static void call_step(struct here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_call_box *box = &r->stage.shared->box[st->proc];
	int err;

	fill_box(r, st, box);
	err = call(r, st->proc);
	if (err) {
		harness_failed(r, st->proc, err, obs);
		return;
	}
	report(box, obs);
	if (obs->status)
		return;
	note_done(r, st, box);
	if (st->verb == HF_V_FORK)
		take_over_child(r, st, box->child, obs);
	if (st->verb == HF_V_MAP && r->stage.touch && lacks_zeropage(r, st->proc, box->addr))
		say(obs, HF_OBS_SKIP, "this kernel maps no shared zeropage");
	if (obs->len)
		memcpy(obs->data, box->data, obs->len);
}


static void step_exit(struct here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	char token = 0;
	int err;

	for (size_t i = 0; i < r->scn->nr_refs; i++) {
		const struct hf_wire *w = &r->stage.wire[i];

		if (w->maker && w->maker->proc == st->proc && w->means >= HF_MEANS_READ) {
			say(obs, HF_OBS_SKIP, "a process cannot exit while its direct I/O is in flight");
			return;
		}
	}
	fill_box(r, st, &r->stage.shared->box[st->proc]);
	if (send(r->stage.control[st->proc][0], &token, 1, MSG_NOSIGNAL) != 1)
		err = -errno;
	else
		err = wait_for(r, st->proc, r->proc[st->proc].pidfd, -1, NULL);
	if (err)
		harness_failed(r, st->proc, err, obs);
	else
		forget_process(r, st->proc);
}

/* ---- references ---------------------------------------------------------------------------------------------- */

/* Opens the file, starts the I/O in the process, and waits until its request is there: then the pages are referenced. */
static int start_direct_io(struct here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_wire *w = &r->stage.wire[st->ref];
	struct hf_call_box *box = &r->stage.shared->box[st->proc];
	int err;

	fill_box(r, st, box);
	box->call = HF_CALL_OPEN_FILE;
	err = call(r, st->proc);
	if (!err && box->status) {
		report(box, obs);
		return 0;
	}
	w->fuse.deaf = w->means == HF_MEANS_WRITE;
	box->call = HF_CALL_STEP;
	if (!err)
		err = call(r, st->proc);
	if (!err && box->status) {
		report(box, obs);
		return 0;
	}
	if (!err)
		err = wait_for(r, st->proc, w->done[0], w->fuse.deaf ? w->fuse.dev : -1, &w->fuse);
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

static const char *unavailable(const struct hf_wire *w)
{
	switch (w->means) {
	case HF_MEANS_RING:
		return "io_uring cannot be had (sysctl kernel.io_uring_disabled, seccomp, RLIMIT_MEMLOCK)";
	case HF_MEANS_PIPE:
		return "a pipe cannot be had (fs.pipe-user-pages-soft)";
	default:
		return "holding direct I/O in flight needs /dev/fuse and CAP_SYS_ADMIN (run as root; modprobe fuse)";
	}
}

static void step_take(struct here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_wire *w = &r->stage.wire[st->ref];
	char why[HF_REASON_LEN];
	int err;

	if (hf_means_of(r->scn, st->ref, r->here->direct_io_pins, why) == HF_MEANS_NONE) {
		say(obs, HF_OBS_SKIP, why);
		return;
	}
	if (w->error) {
		obs->status = HF_OBS_SKIP;
		snprintf(obs->reason, sizeof(obs->reason), "%s: %s", unavailable(w), strerror(w->error));
		return;
	}
	if (w->means == HF_MEANS_PIPE || w->means == HF_MEANS_RING) {
		call_step(r, st, obs);
	} else {
		err = start_direct_io(r, st, obs);
		if (err)
			harness_failed(r, st->proc, err, obs);
	}
	if (!obs->status) {
		w->maker = st;
		w->addr = r->place[st->proc][st->buf].addr + st->lo;
	}
}

/* Waits for the system call to return; with it go the pins. */
static int finish_direct_io(struct here_run *r, struct hf_wire *w)
{
	int err = wait_for(r, w->maker->proc, w->done[0], -1, NULL);
	long done = -EIO;

	if (!err && read(w->done[0], &done, sizeof(done)) != sizeof(done))
		err = -EIO;
	w->maker = NULL;
	return err ? err : done < 0 ? (int)done : 0;
}

static int direct_read(struct here_run *r, struct hf_wire *w, size_t len, uint8_t value)
{
	uint8_t *bytes = malloc(len);
	int err;

	if (!bytes)
		return -ENOMEM;
	memset(bytes, value, len);
	err = hf_fuse_complete_read(&w->fuse, bytes, len, 0);
	free(bytes);
	return err ? err : finish_direct_io(r, w);
}

static int direct_write(struct here_run *r, struct hf_wire *w, size_t lo, size_t hi, uint8_t *data)
{
	size_t len = w->maker->hi - w->maker->lo;
	uint8_t *bytes = malloc(len);
	int err;

	if (!bytes)
		return -ENOMEM;
	err = hf_fuse_complete_write(&w->fuse, bytes, len);
	if (!err)
		err = finish_direct_io(r, w);
	if (!err)
		memcpy(data, bytes + lo, hi - lo);
	free(bytes);
	return err;
}

static int release(struct here_run *r, struct hf_wire *w)
{
	int err = 0;

	switch (w->means) {
	case HF_MEANS_PIPE:
		err = hf_pipe_drain(w);
		break;
	case HF_MEANS_RING:
		err = io_uring_unregister_buffers(&w->ring);
		break;
	case HF_MEANS_READ: /* an error, so that memory stays as it is; the call's result is that error */
		err = hf_fuse_complete_read(&w->fuse, NULL, 0, -EIO);
		if (!err)
			err = finish_direct_io(r, w) == -EIO ? 0 : -EPROTO;
		break;
	default: {
		uint8_t nothing;

		return direct_write(r, w, 0, 0, &nothing);
	}
	}
	w->maker = NULL;
	return err;
}

static void step_release(struct here_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_wire *w = &r->stage.wire[st->ref];
	bool direct = w->means == HF_MEANS_READ || w->means == HF_MEANS_WRITE;

	if (w->maker)
		obs->status = release(r, w);
	else if (!direct) /* a direct I/O ends with its device access */
		obs->status = -EINVAL;
}

static void step_device(struct here_run *r, const struct hf_step *st, struct hf_obs *obs)
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
		err = st->verb == HF_V_DEV_WRITE ? hf_ring_write(w, lo, hi, st->value) :
						   hf_ring_read(w, lo, hi, obs->data);
		break;
	case HF_MEANS_READ:
		if (lo) {
			say(obs, HF_OBS_SKIP, "a direct read fills its range from the start");
			return;
		}
		err = direct_read(r, w, hi, st->verb == HF_V_DEV_FINISH ? w->maker->value : st->value);
		break;
	default:
		err = direct_write(r, w, lo, hi, obs->data);
		break;
	}
	obs->status = err;
	if (err == -ETIMEDOUT || err == -ESRCH)
		say(obs, HF_OBS_ERROR, "the direct I/O did not finish");
}

static void here_step(void *run, const struct hf_step *st, struct hf_obs *obs)
{
	struct here_run *r = run;

	if (st->proc == HF_SCN_DEVICE) {
		step_device(r, st, obs);
		return;
	}
	if (!r->proc[st->proc].pid || !r->proc[st->target].pid) {
		obs->status = -ESRCH;
		return;
	}
	switch (st->verb) {
	case HF_V_EXIT:
		step_exit(r, st, obs);
		break;
	case HF_V_PIN:
	case HF_V_GET:
	case HF_V_VMSPLICE:
	case HF_V_FIXEDBUF:
	case HF_V_ODIRECT_READ:
	case HF_V_ODIRECT_WRITE:
		step_take(r, st, obs);
		break;
	case HF_V_UNPIN:
	case HF_V_PUT:
	case HF_V_RELEASE:
		step_release(r, st, obs);
		break;
	default:
		call_step(r, st, obs);
		break;
	}
}

/* ---- par blocks ---------------------------------------------------------------------------------------------- */

/* An arm runs in one place: a thread of a process, or the runner for devices. Only rings can take part. */
static const char *cannot_run(const struct here_run *r, const struct hf_arm *arm)
{
	for (size_t i = 0; i < arm->nr_steps; i++) {
		const struct hf_step *st = &arm->steps[i];

		if (st->proc != arm->steps[0].proc || st->thread != arm->steps[0].thread)
			return "an arm of several actors cannot run at once with others on a real kernel";
		if (st->ref >= 0 && (r->stage.wire[st->ref].means != HF_MEANS_RING || r->stage.wire[st->ref].error))
			return "only registered buffers can take part in a par block on a real kernel";
	}
	return NULL;
}

struct device_arm {
	struct here_run *r;
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
			step_device(d->r, &d->arm->steps[i], &d->obs[i]);
			if (d->obs[i].status)
				break;
		}
	for (i++; i < d->arm->nr_steps; i++)
		d->obs[i].status = -ECANCELED;
	return NULL;
}

static void place_arms(struct here_run *r, const struct hf_par *par)
{
	struct hf_shared *shared = r->stage.shared;
	size_t n = 0;

	shared->par = par;
	shared->nr_runners = (unsigned)par->nr_arms;
	atomic_store(&shared->arrived, 0);
	atomic_store(&shared->stop, false);
	for (size_t a = 0; a < par->nr_arms; a++)
		for (size_t i = 0; i < par->arms[a].nr_steps; i++, n++) {
			const struct hf_step *st = &par->arms[a].steps[i];

			shared->arm_step[n] = (struct hf_arm_step){ .child = 0 };
			if (st->buf >= 0)
				shared->arm_step[n].addr = r->place[st->target][st->buf].addr + st->lo;
			if (st->ref >= 0 && st->buf >= 0) {
				r->stage.wire[st->ref].maker = st;
				r->stage.wire[st->ref].addr = shared->arm_step[n].addr;
			}
		}
}

/* Wakes every process that has an arm, then waits for all. 0 or the error of the harness. */
static int run_processes(struct here_run *r, const struct hf_par *par, struct hf_obs *obs)
{
	bool called[HF_SCN_MAX_PROCS] = { false };
	char token = 0;
	int err = 0;

	for (size_t a = 0; a < par->nr_arms; a++) {
		int p = par->arms[a].steps[0].proc;

		if (p == HF_SCN_DEVICE || called[p])
			continue;
		called[p] = true;
		r->stage.shared->box[p].call = HF_CALL_ARMS;
		if (send(r->stage.control[p][0], &token, 1, MSG_NOSIGNAL) != 1)
			err = -errno;
	}
	if (err)
		atomic_store(&r->stage.shared->stop, true);
	for (int p = 0; p < HF_SCN_MAX_PROCS; p++) {
		int lost = called[p] ? wait_for(r, p, r->stage.control[p][0], -1, NULL) : 0;

		if (!lost && called[p] && recv(r->stage.control[p][0], &token, 1, 0) != 1)
			lost = -ESRCH;
		if (!lost && called[p] && r->stage.shared->box[p].status)
			lost = r->stage.shared->box[p].status;
		if (!lost)
			continue;
		atomic_store(&r->stage.shared->stop, true);
		harness_failed(r, p, lost, obs);
		err = lost;
	}
	return err;
}

static void collect(struct here_run *r, const struct hf_par *par, struct hf_obs *obs)
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
				say(&obs[n], HF_OBS_SKIP, s->reason);
			else if (!s->status && st->verb == HF_V_FORK)
				take_over_child(r, st, s->child, &obs[n]);
			if (s->status && st->ref >= 0 && st->buf >= 0)
				r->stage.wire[st->ref].maker = NULL;
			if (!s->status && st->verb == HF_V_UNPIN)
				r->stage.wire[st->ref].maker = NULL;
			if (obs[n].len)
				memcpy(obs[n].data, s->data, obs[n].len);
		}
}

static void here_par(void *run, const struct hf_par *par, struct hf_obs *obs)
{
	struct here_run *r = run;
	struct device_arm dev[HF_SCN_MAX_ARMS];
	size_t nr = 0, n = 0;
	int err = 0;

	for (size_t a = 0; a < par->nr_arms; a++) {
		const char *why = cannot_run(r, &par->arms[a]);

		if (why) {
			say(&obs[0], HF_OBS_SKIP, why);
			return;
		}
	}
	place_arms(r, par);
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
			say(&obs[0], HF_OBS_ERROR, "no thread can be had for a device's arm");
	}
	for (size_t i = 0; i < nr; i++)
		pthread_join(dev[i].thread, NULL);
	if (obs[0].status != HF_OBS_ERROR)
		collect(r, par, obs);
}

/* ---- the target ---------------------------------------------------------------------------------------------- */

static int here_begin(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind, void **out,
		      struct hf_obs *obs)
{
	const struct here *here = (const struct here *)t;
	struct here_run *r;
	int err;

	if (scn->frames || scn->unpin_check) {
		say(obs, HF_OBS_SKIP,
		    scn->frames ? "a real machine's memory is not made scarce" :
				  "the kernel's unpin check needs CONFIG_DEBUG_VM");
		return -1;
	}
	r = calloc(1, sizeof(*r));
	err = r ? hf_stage_open(&r->stage, scn, here->direct_io_pins) : -ENOMEM;
	if (err) {
		free(r);
		obs->status = HF_OBS_ERROR;
		snprintf(obs->reason, sizeof(obs->reason), "setting up processes: %s", strerror(-err));
		return err;
	}
	r->here = here;
	r->scn = scn;
	r->stage.touch = kind == HF_KIND_ZEROPAGE;
	r->next_place = BUF_BASE + HF_SCN_MAX_BUFS * BUF_SPACING;
	for (size_t p = 0; p < HF_SCN_MAX_PROCS; p++)
		r->proc[p].pidfd = -1;
	for (size_t p = 0; p < scn->nr_procs && !err; p++)
		if (scn->procs[p].initial)
			err = start_process(r, (int)p);
	if (err) {
		obs->status = HF_OBS_ERROR;
		snprintf(obs->reason, sizeof(obs->reason), "starting a process: %s", strerror(-err));
		end_processes(r);
		hf_stage_close(&r->stage);
		free(r);
		return err;
	}
	*out = r;
	return 0;
}

static int here_page(void *run, int proc, int buf, unsigned page, struct hf_page_state *state)
{
	struct here_run *r = run;
	const struct place *p = &r->place[proc][buf];

	if (!r->proc[proc].pid || page >= p->size / HF_PAGE_SIZE)
		return -1;
	return hf_kernel_page(r->proc[proc].pid, p->addr + page * HF_PAGE_SIZE, state);
}

static void here_end(void *run, struct hf_obs *obs)
{
	struct here_run *r = run;

	(void)obs;
	end_processes(r);
	hf_stage_close(&r->stage);
	free(r);
}

static void here_free(struct hf_target *t)
{
	free(t);
}

static const struct hf_target_ops here_ops = {
	.begin = here_begin,
	.step = here_step,
	.par = here_par,
	.page = here_page,
	.end = here_end,
	.free = here_free,
};

/* The policy that stands for a release. */
static const char *era_of(unsigned version)
{
	static const struct {
		unsigned from;
		const char *policy;
	} eras[] = {
		{ 615, "linux-6.18" }, { 605, "linux-6.12" }, { 519, "linux-6.1" },	{ 518, "linux-5.18" },
		{ 509, "linux-5.10" }, { 508, "linux-5.8" },  { 0, "linux-4.19" },
	};
	size_t i = 0;

	while (version < eras[i].from)
		i++;
	return eras[i].policy;
}

struct hf_target *hf_target_here(char *err, size_t len)
{
	struct utsname uts;
	unsigned major, minor;
	struct here *h;

	if (uname(&uts) || sscanf(uts.release, "%u.%u", &major, &minor) != 2) {
		snprintf(err, len, "here: the kernel's release cannot be told");
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
	h->t.ops = &here_ops;
	h->t.name = "here";
	h->t.expect = era_of(major * 100 + minor);
	h->direct_io_pins = major * 100 + minor >= 605;
	snprintf(h->t.detail, sizeof(h->t.detail), "%.20s %.60s %.40s", uts.sysname, uts.release, uts.machine);
	return &h->t;
}
