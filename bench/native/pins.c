/* SPDX-License-Identifier: MIT */
/*
 * Pins, next to what the kernel takes to register the same buffer with io_uring; and I/O into a
 * pinned buffer, with and without snapshots. The file is in memory, so that no disk sets the pace.
 */
#include "bench.h"

#include <liburing.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#define MANY_PAGES ((size_t)256)
#define BLOCK ((size_t)64 << 10)
#define DEPTH 16
#define BUFFER ((size_t)4 << 20)
#define SNAPSHOT_EVERY_NS 20e6

#define FLAGS (HF_FOLL_WRITE | HF_FOLL_LONGTERM)

struct io {
	struct io_uring ring;
	struct iovec iov;
	int file;
};

static int io_open(struct io *io)
{
	int ret = io_uring_queue_init(DEPTH, &io->ring, 0);

	if (ret)
		return ret;
	io->file = memfd_create("bench-native", MFD_CLOEXEC);
	must(io->file >= 0 && !ftruncate(io->file, (off_t)BUFFER), "a file in memory");
	return 0;
}

static void io_close(struct io *io)
{
	close(io->file);
	io_uring_queue_exit(&io->ring);
}

static void io_register(struct io *io, struct subject *s, size_t offset, size_t len)
{
	io->iov = (struct iovec){ s->base + offset, len };
	must(!io_uring_register_buffers(&io->ring, &io->iov, 1), "registering a buffer");
}

/* ---- pins ---- */

static void pin(struct subject *s, size_t offset, size_t len)
{
	struct iovec iov;

	must(hf_native_pin(s->space, s->base + offset, len, FLAGS, &iov, 1) == 1,
	     "hf_native_pin()");
}

static void unpin(struct subject *s, size_t offset, size_t len)
{
	must(!hf_native_unpin(s->space, s->base + offset, len, FLAGS), "hf_native_unpin()");
}

/* There and back; without a space, as io_uring does it. */
static void time_pins(struct io *io, struct subject *s, enum measure measure, size_t len, size_t nr)
{
	double start = now_ns();

	for (size_t i = 0; i < nr; i++) {
		size_t offset = i * len % (s->size - len + 1) / PAGE * PAGE;

		if (s->space) {
			pin(s, offset, len);
			unpin(s, offset, len);
		} else {
			io_register(io, s, offset, len);
			io_uring_unregister_buffers(&io->ring);
		}
	}
	report(measure, (now_ns() - start) / (double)nr);
}

/* ---- I/O ---- */

/* Reads as many blocks as there may be at a time. */
static void read_batch(struct io *io, struct subject *s)
{
	struct io_uring_cqe *cqe;

	for (size_t i = 0; i < DEPTH; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
		size_t at = i * BLOCK;

		must(sqe, "an sqe");
		io_uring_prep_read_fixed(sqe, io->file, s->base + at, BLOCK, at, 0);
	}
	must(io_uring_submit_and_wait(&io->ring, DEPTH) == DEPTH, "submitting reads");
	for (size_t i = 0; i < DEPTH; i++) {
		must(!io_uring_wait_cqe(&io->ring, &cqe) && cqe->res == (int)BLOCK, "a read");
		io_uring_cqe_seen(&io->ring, cqe);
	}
}

static void time_reads(const struct options *opt, struct io *io, struct subject *s,
		       enum measure measure)
{
	double start = now_ns(), now = start, next = measure == IO_SNAPSHOTS ? start : INFINITY;
	struct instant at, before;
	size_t batches = 0, taken = 0;

	for (; now < start + opt->io_ns; now = now_ns(), batches++) {
		if (now >= next) {
			before = at;
			subject_take(s, &at);
			if (taken++)
				subject_drop(&before);
			next = now + SNAPSHOT_EVERY_NS;
		}
		read_batch(io, s);
	}
	report(measure, (double)(batches * DEPTH * BLOCK) * 1000 / (now - start));
	if (taken)
		subject_drop(&at);
}

int stage_pins(const struct options *opt, const struct mode *mode)
{
	size_t nr = opt->quick ? 10 : 1000;
	struct subject s;
	struct io io;
	int ret = subject_open(&s, mode, opt->size);

	if (ret)
		return ret;
	ret = io_open(&io);
	if (ret)
		return ret;
	time_pins(&io, &s, PIN_PAGE, PAGE, nr);
	time_pins(&io, &s, PIN_MANY, MANY_PAGES * PAGE, nr);
	if (s.space)
		pin(&s, 0, BUFFER);
	io_register(&io, &s, 0, BUFFER);
	time_reads(opt, &io, &s, IO_QUIET);
	time_reads(opt, &io, &s, IO_SNAPSHOTS);
	io_close(&io);
	if (s.space)
		unpin(&s, 0, BUFFER);
	subject_close(&s);
	return 0;
}
