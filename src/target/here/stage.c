/* SPDX-License-Identifier: MIT */
/* Sets up and takes down what the processes of a run share. */
#include "stage.h"

#include "../../scenario/oracle.h"
#include "../common/gup_test.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/gup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- which way a reference is made ---- */

static size_t count_device_steps(const struct hf_step *steps, size_t nr, int ref)
{
	size_t n = 0;

	for (size_t i = 0; i < nr; i++) {
		if (steps[i].par)
			for (size_t a = 0; a < steps[i].par->nr_arms; a++)
				n += 2 * count_device_steps(
						 steps[i].par->arms[a].steps,
						 steps[i].par->arms[a].nr_steps,
						 ref); /* too many: it cannot be in a par block */
		else
			n += steps[i].ref == ref && steps[i].proc == HF_SCN_DEVICE;
	}
	return n;
}

static bool device_only(const struct hf_scenario *scn, int ref, bool writes)
{
	for (size_t i = 0; i < scn->nr_steps; i++) {
		const struct hf_step *st = &scn->steps[i];

		if (!st->par && st->ref == ref && st->proc == HF_SCN_DEVICE &&
		    (st->verb == HF_V_DEV_WRITE) != writes)
			return false;
	}
	return true;
}

static enum hf_means none(char *why, const char *text)
{
	snprintf(why, HF_REASON_LEN, "%s", text);
	return HF_MEANS_NONE;
}

/* A short pin is a direct I/O in flight: the device touches memory once, and that ends it. */
static enum hf_means means_of_short_pin(const struct hf_scenario *scn, int ref, bool writes,
					bool direct_io_pins, char *why)
{
	if (!direct_io_pins)
		return none(why, "short pins: O_DIRECT takes plain references before Linux 6.5");
	if (count_device_steps(scn->steps, scn->nr_steps, ref) > 1)
		return none(
			why,
			"a short pin is a direct I/O here: its device can touch memory only once");
	if (!device_only(scn, ref, writes))
		return none(why, writes ? "a short write pin is a direct read here: its device can "
					  "only write"
					: "a short read pin is a direct write here: its device can "
					  "only read");
	return writes ? HF_MEANS_READ : HF_MEANS_WRITE;
}

#define NO_WAY "which way GUP goes cannot be chosen without the kernel's gup_test"

/*
 * A registered buffer can be written to, so it is preferred; it goes the fast way. But io_uring
 * unpins by folios (Linux 6.12), which the unpin check does not look at.
 */
static enum hf_means means_of_long_pin(const struct hf_scenario *scn, const struct hf_step *m,
				       bool gup_test, char *why)
{
	bool writes = m->foll & HF_FOLL_WRITE;
	bool checked = gup_test && scn->unpin_check && device_only(scn, m->ref, false);

	if (writes && m->fast && !checked)
		return HF_MEANS_RING;
	if (gup_test)
		return HF_MEANS_TEST;
	return none(why, m->fast ? "read-only long-term pins need the kernel's gup_test or RDMA"
				 : NO_WAY);
}

static enum hf_means means_of_raw(const struct hf_scenario *scn, const struct hf_step *m,
				  const struct hf_powers *powers, char *why)
{
	bool writes = m->foll & HF_FOLL_WRITE;

	if (m->target != m->proc)
		return none(why, "references that outlive the call on another process's memory "
				 "need a driver");
	if (m->times > 1)
		return none(why, "counted references need a driver");
	if (m->foll & (HF_FOLL_FORCE | HF_FOLL_NOFAULT | HF_FOLL_FAST_ONLY))
		return none(why, "no system call here takes force, nofault or fast-only");
	if (m->verb == HF_V_PIN && m->foll & HF_FOLL_LONGTERM)
		return means_of_long_pin(scn, m, powers->gup_test, why);
	if (!m->fast)
		return none(why, "which way GUP goes can be chosen for long-term pins only");
	if (m->verb == HF_V_GET)
		return writes ? none(why,
				     "no system call here takes FOLL_GET for writing on demand")
			      : HF_MEANS_PIPE;
	return means_of_short_pin(scn, m->ref, writes, powers->direct_io_pins, why);
}

enum hf_means hf_means_of_call(enum hf_verb verb)
{
	switch (verb) {
	case HF_V_VMSPLICE:
		return HF_MEANS_PIPE;
	case HF_V_FIXEDBUF:
		return HF_MEANS_RING;
	case HF_V_ODIRECT_READ:
		return HF_MEANS_READ;
	case HF_V_ODIRECT_WRITE:
		return HF_MEANS_WRITE;
	default:
		return HF_MEANS_NONE;
	}
}

enum hf_means hf_means_of(const struct hf_scenario *scn, int ref, const struct hf_powers *powers,
			  char *why)
{
	const struct hf_step *maker = hf_ref_maker(scn, ref);
	enum hf_means means = hf_means_of_call(maker->verb);

	return means != HF_MEANS_NONE ? means : means_of_raw(scn, maker, powers, why);
}

/* ---- wires ---- */

/* Room for a whole range, beyond what users may ask for if it is large. */
static int open_pipe(struct hf_wire *w, size_t len)
{
	if (pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK))
		return errno;
	return fcntl(w->pipe[1], F_SETPIPE_SZ, (int)len + 2 * 4096) < 0 ? errno : 0;
}

static int open_ring(struct hf_wire *w)
{
	int err = -io_uring_queue_init(4, &w->ring, 0);

	if (err)
		return err;
	w->ring_up = true;
	w->file = memfd_create("holdfast", MFD_CLOEXEC);
	return w->file < 0 || ftruncate(w->file, HF_SCN_MAX_PAGES * 4096) ? errno : 0;
}

static int open_direct(struct hf_wire *w)
{
	int err = hf_fuse_open(&w->fuse);

	if (err)
		return -err;
	return pipe2(w->done, O_CLOEXEC) ? errno : 0;
}

void hf_wire_init(struct hf_wire *w)
{
	*w = (struct hf_wire){ .pipe = { -1, -1 },
			       .done = { -1, -1 },
			       .file = -1,
			       .fuse = { .dev = -1, .mount = -1 } };
}

void hf_wire_open(struct hf_wire *w, const struct hf_step *maker)
{
	switch (w->means) {
	case HF_MEANS_NONE:
		break;
	case HF_MEANS_PIPE:
		w->error = open_pipe(w, maker->hi - maker->lo);
		break;
	case HF_MEANS_RING:
		w->error = open_ring(w);
		break;
	case HF_MEANS_TEST:
		w->file = hf_gup_test_open();
		w->error = w->file < 0 ? -w->file : 0;
		break;
	case HF_MEANS_READ:
	case HF_MEANS_WRITE:
		w->error = open_direct(w);
		break;
	}
}

const char *hf_wire_remedy(const struct hf_wire *w)
{
	switch (w->means) {
	case HF_MEANS_RING:
		return "io_uring cannot be had (sysctl kernel.io_uring_disabled, seccomp, "
		       "RLIMIT_MEMLOCK)";
	case HF_MEANS_PIPE:
		return "a pipe cannot be had (fs.pipe-user-pages-soft)";
	case HF_MEANS_TEST:
		return "/sys/kernel/debug/gup_test cannot be had";
	default:
		return "holding direct I/O in flight needs /dev/fuse and CAP_SYS_ADMIN (run as "
		       "root; modprobe fuse)";
	}
}

int hf_wire_open_file(const struct hf_wire *w)
{
	char value[32];
	int fd = openat(w->fuse.mount, "io", O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(dup(fd));                                                          /* FLUSH */
	syscall(SYS_fgetxattr, fd, "security.capability", value, sizeof(value)); /* GETXATTR */
	return fd;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void hf_wire_close(struct hf_wire *w)
{
	if (w->ring_up)
		io_uring_queue_exit(&w->ring);
	w->ring_up = false;
	hf_fuse_close(&w->fuse);
	close_fd(&w->pipe[0]);
	close_fd(&w->pipe[1]);
	close_fd(&w->done[0]);
	close_fd(&w->done[1]);
	close_fd(&w->file);
}

/* ---- the stage ---- */

static void choose_cpus(struct hf_stage *stage)
{
	int cpu = 0;

	sched_getaffinity(0, sizeof(cpu_set_t), &stage->all_cpus);
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &stage->all_cpus))
		cpu++;
	CPU_ZERO(&stage->one_cpu);
	CPU_SET(cpu, &stage->one_cpu);
}

/* The file of a kind; -1: it has none, or none can be had, which its mappings will say. */
static int open_file_of(const struct hf_kind_info *kind)
{
	bool memory = kind->memory == HF_MEM_MEMFD || kind->memory == HF_MEM_MEMFD_HUGETLB ||
		      kind->memory == HF_MEM_MIXED;
	int fd = -1;

	if (memory)
		fd = memfd_create("holdfast", MFD_CLOEXEC | (kind->order ? MFD_HUGETLB : 0));
	else if (kind->memory == HF_MEM_TMPFILE)
		fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	else
		return -1;
	if (fd >= 0 && !ftruncate(fd, HF_SCN_MAX_PAGES * 4096))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int hf_stage_open(struct hf_stage *stage, const struct hf_scenario *scn,
		  const struct hf_kind_info *kind, const struct hf_powers *powers)
{
	char why[HF_REASON_LEN];

	*stage = (struct hf_stage){ .scn = scn, .kind = kind, .file = open_file_of(kind) };
	memset(stage->control, 0xff, sizeof(stage->control));
	for (size_t i = 0; i < HF_SCN_MAX_REFS; i++)
		hf_wire_init(&stage->wire[i]);
	choose_cpus(stage);
	stage->shared = mmap(NULL, sizeof(*stage->shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stage->shared == MAP_FAILED) {
		stage->shared = NULL;
		return -ENOMEM;
	}
	for (size_t p = 0; p < scn->nr_procs; p++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stage->control[p])) {
			int err = -errno;

			hf_stage_close(stage);
			return err;
		}
	for (size_t i = 0; i < scn->nr_refs; i++) {
		stage->wire[i].means = hf_means_of(scn, (int)i, powers, why);
		hf_wire_open(&stage->wire[i], hf_ref_maker(scn, (int)i));
	}
	return 0;
}

void hf_stage_close(struct hf_stage *stage)
{
	for (size_t i = 0; i < HF_SCN_MAX_REFS; i++)
		hf_wire_close(&stage->wire[i]);
	for (size_t p = 0; p < HF_SCN_MAX_PROCS; p++) {
		close_fd(&stage->control[p][0]);
		close_fd(&stage->control[p][1]);
	}
	close_fd(&stage->file);
	if (stage->shared)
		munmap(stage->shared, sizeof(*stage->shared));
	stage->shared = NULL;
}

void hf_stage_leave_runner(struct hf_stage *stage)
{
	for (size_t p = 0; p < stage->scn->nr_procs; p++)
		close_fd(&stage->control[p][0]);
	for (size_t i = 0; i < stage->scn->nr_refs; i++) {
		close_fd(&stage->wire[i].fuse.dev);
		close_fd(&stage->wire[i].pipe[0]);
		close_fd(&stage->wire[i].done[0]);
	}
}
