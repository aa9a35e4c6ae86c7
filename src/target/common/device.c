/* SPDX-License-Identifier: MIT */
/* Pipes and rings as devices that read and write through references. */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUF_MAX (HF_SCN_MAX_PAGES * 4096)

/* ---- pipes ---- */

static int read_whole(int fd, uint8_t *to, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = read(fd, to + at, len - at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	return 0;
}

/* tee() gives a second pipe the same pages. */
int hf_pipe_read(struct hf_wire *w, size_t lo, size_t hi, uint8_t *data)
{
	uint8_t *all = malloc(BUF_MAX);
	int copy[2], err = all ? 0 : -ENOMEM;
	ssize_t n;

	if (!err && pipe2(copy, O_CLOEXEC))
		err = -errno;
	if (err) {
		free(all);
		return err;
	}
	fcntl(copy[1], F_SETPIPE_SZ, BUF_MAX + 4096);
	n = tee(w->pipe[0], copy[1], BUF_MAX, SPLICE_F_NONBLOCK);
	if (n < 0)
		err = -errno;
	else if ((size_t)n < hi)
		err = -EIO;
	else
		err = read_whole(copy[0], all, hi);
	if (!err)
		memcpy(data, all + lo, hi - lo);
	close(copy[0]);
	close(copy[1]);
	free(all);
	return err;
}

int hf_pipe_drain(struct hf_wire *w)
{
	uint8_t sink[4096];
	ssize_t n;

	do
		n = read(w->pipe[0], sink, sizeof(sink));
	while (n > 0);
	return n < 0 && errno != EAGAIN ? -errno : 0;
}

/* ---- rings ---- */

/* The result of the one request that is under way. */
static int complete(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait(ring, 1);

	if (ret < 0)
		return ret;
	ret = io_uring_peek_cqe(ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

/* From the file to the registered buffer, or back; what comes after a short count says why. */
static int transfer(struct hf_wire *w, bool to_buffer, size_t lo, size_t len, size_t *done)
{
	for (*done = 0; *done < len;) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
		uint64_t at = w->addr + lo + *done;
		void *buf = (void *)(uintptr_t)at; // NOLINT(performance-no-int-to-ptr)
		unsigned rest = (unsigned)(len - *done);
		int ret;

		if (!sqe)
			return -EBUSY;
		if (to_buffer)
			io_uring_prep_read_fixed(sqe, w->file, buf, rest, *done, 0);
		else
			io_uring_prep_write_fixed(sqe, w->file, buf, rest, *done, 0);
		ret = complete(&w->ring);
		if (ret <= 0)
			return ret ? ret : -EIO;
		*done += (size_t)ret;
	}
	return 0;
}

int hf_ring_read(struct hf_wire *w, size_t lo, size_t hi, uint8_t *data)
{
	size_t done;
	int err = transfer(w, false, lo, hi - lo, &done);

	if (!err && pread(w->file, data, hi - lo, 0) != (ssize_t)(hi - lo))
		err = -EIO;
	return err;
}

int hf_ring_write(struct hf_wire *w, size_t lo, size_t hi, uint8_t value, size_t *done)
{
	uint8_t *bytes = malloc(hi - lo);
	ssize_t n;

	*done = 0;
	if (!bytes)
		return -ENOMEM;
	memset(bytes, value, hi - lo);
	n = pwrite(w->file, bytes, hi - lo, 0);
	free(bytes);
	if (n != (ssize_t)(hi - lo))
		return n < 0 ? -errno : -ENOSPC;
	return transfer(w, true, lo, hi - lo, done);
}
