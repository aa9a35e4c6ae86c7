/* SPDX-License-Identifier: MIT */
/* The processes of a run, seen from the runner: started, waited for with a time limit, ended. */
#include "actor.h"
#include "run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_LIMIT_MS 10000

void hf_say(struct hf_obs *obs, int status, const char *reason)
{
	obs->status = status;
	snprintf(obs->reason, sizeof(obs->reason), "%s", reason);
}

/* ---- processes ---- */

int hf_adopt_process(struct hf_here_run *r, int proc, pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	r->started[r->nr_started++] = pid;
	r->proc[proc] = (struct hf_process){ .pid = pid, .pidfd = pidfd };
	return pidfd < 0 ? -errno : 0;
}

int hf_start_process(struct hf_here_run *r, int proc)
{
	pid_t pid = fork();

	if (pid == 0) {
		hf_stage_leave_runner(&r->stage);
		hf_actor_main(&r->stage, proc);
	}
	return pid < 0 ? -errno : hf_adopt_process(r, proc, pid);
}

void hf_forget_process(struct hf_here_run *r, int proc)
{
	if (r->proc[proc].pidfd >= 0)
		close(r->proc[proc].pidfd);
	r->proc[proc] = (struct hf_process){ .pidfd = -1 };
}

/* The devices go first: a process that waits for one cannot die. */
void hf_end_processes(struct hf_here_run *r)
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
		hf_forget_process(r, (int)p);
}

/* ---- waiting ---- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int serve_files(struct hf_here_run *r, const struct pollfd *fds, const int *wires, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		int err = fds[i].revents ? hf_fuse_serve(&r->stage.wire[wires[i]].fuse) : 0;

		if (err)
			return err;
	}
	return 0;
}

/* The process is gone. poll() looks at one after the other, so what it did last may have come
 * behind its back: an answer before the end, or the end itself if that is what is waited for. */
static int what_came(struct pollfd *fds)
{
	if (poll(fds, 2, 0) < 0)
		return -errno;
	return fds[0].revents ? 0 : fds[1].revents ? 1 : -ESRCH;
}

int hf_wait_for(struct hf_here_run *r, int proc, int fd, int other, const struct hf_fuse *held)
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
				fds[3 + nr] = (struct pollfd){ .fd = r->stage.wire[i].fuse.dev,
							       .events = POLLIN };
				wires[nr++] = i;
			}
		/* it may have come while something else was waited for */
		if (held && held->held)
			return 1;
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(fds, 3 + nr, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (fds[0].revents)
			return 0;
		if (fds[1].revents)
			return 1;
		if (fds[2].revents)
			return what_came(fds);
		err = serve_files(r, fds + 3, wires, nr);
		if (err)
			return err;
	}
}

void hf_harness_failed(struct hf_here_run *r, int proc, int err, struct hf_obs *obs)
{
	const char *name = r->scn->procs[proc].name;
	siginfo_t info = { .si_code = 0 };

	obs->status = HF_OBS_ERROR;
	if (err == -ETIMEDOUT)
		snprintf(obs->reason, sizeof(obs->reason),
			 "process %s did not finish the step within %d s", name,
			 STEP_LIMIT_MS / 1000);
	else if (err != -ESRCH)
		snprintf(obs->reason, sizeof(obs->reason), "process %s: %s", name, strerror(-err));
	else if (!waitid(P_PID, (id_t)r->proc[proc].pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
		 info.si_code != CLD_EXITED && info.si_pid)
		snprintf(obs->reason, sizeof(obs->reason),
			 "process %s was killed by signal %d (%s)", name, info.si_status,
			 strsignal(info.si_status));
	else
		snprintf(obs->reason, sizeof(obs->reason), "process %s died", name);
}

int hf_wake(struct hf_here_run *r, int proc)
{
	char token = 0;

	r->stage.shared->box[proc].reason[0] = '\0';
	return send(r->stage.control[proc][0], &token, 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int hf_hear(struct hf_here_run *r, int proc)
{
	int control = r->stage.control[proc][0], err = hf_wait_for(r, proc, control, -1, NULL);
	char token;

	return !err && recv(control, &token, 1, 0) != 1 ? -ESRCH : err;
}

int hf_call(struct hf_here_run *r, int proc)
{
	int err = hf_wake(r, proc);

	return err ? err : hf_hear(r, proc);
}
