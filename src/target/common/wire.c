/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include "gup_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

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

void hf_close_fd(int *fd)
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
	hf_close_fd(&w->pipe[0]);
	hf_close_fd(&w->pipe[1]);
	hf_close_fd(&w->done[0]);
	hf_close_fd(&w->done[1]);
	hf_close_fd(&w->file);
}
