/* SPDX-License-Identifier: MIT */
/* The thread that fills frames: it evicts blocks and reads others, several at a time. */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IN_FLIGHT 16
#define TRIES 1000

/* A frame that changes its block. */
struct request {
	size_t frame;
	uint64_t old, new;
	bool busy, writes;
	int tries;
	struct iovec iov; /* of a read that is pinned for itself */
};

struct io {
	struct pool *pool;
	struct io_uring ring;
	struct hf_native_buffers buffers;
	struct request request[IN_FLIGHT];
	struct block *copy;
	uint64_t random;
	int in_flight;
};

static int fail(struct io *io, int err, const char *what)
{
	if (!io->pool->what)
		io->pool->what = what;
	return err;
}

static int submit(struct io *io, struct request *r)
{
	struct pool *p = io->pool;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	struct block *at = pool_frame(p, r->frame);
	off_t offset = (off_t)((r->writes ? r->old : r->new) * BLOCK_BYTES);
	int index = p->pins_reads ? 0 : hf_native_buffer_index(&io->buffers, at, BLOCK_BYTES);

	if (index < 0)
		return index;
	if (p->pins_reads && r->writes)
		io_uring_prep_write(sqe, p->file, at, BLOCK_BYTES, (uint64_t)offset);
	else if (p->pins_reads)
		io_uring_prep_read(sqe, p->file, r->iov.iov_base, BLOCK_BYTES, (uint64_t)offset);
	else if (r->writes)
		io_uring_prep_write_fixed(sqe, p->file, at, BLOCK_BYTES, (uint64_t)offset, index);
	else
		io_uring_prep_read_fixed(sqe, p->file, at, BLOCK_BYTES, (uint64_t)offset, index);
	io_uring_sqe_set_data(sqe, r);
	io->in_flight++;
	return io_uring_submit(&io->ring) < 0 ? -EIO : 0;
}

/* From the moment that the directory says so, the frame is the device's. */
static int start_read(struct io *io, struct request *r)
{
	struct pool *p = io->pool;
	struct frame *f = &p->directory[r->frame];
	int nr;

	r->writes = false;
	while (!frame_try_latch(f))
		;
	f->state = FRAME_READING;
	f->block = r->new;
	f->dirty = false;
	frame_unlatch(f);
	if (!p->pins_reads)
		return submit(io, r);
	nr = hf_native_pin(p->space, pool_frame(p, r->frame), BLOCK_BYTES, HF_FOLL_WRITE, &r->iov,
			   1);
	return nr < 0 ? fail(io, nr, "pinning a frame") : submit(io, r);
}

/* Picks a frame that nobody uses and a block that has none. */
static int start(struct io *io, struct request *r)
{
	struct pool *p = io->pool;
	struct frame *f;

	r->frame = pool_random(&io->random) % p->nr_frames;
	r->new = pool_random(&io->random) % p->nr_blocks;
	f = &p->directory[r->frame];
	if (p->resident[r->new] || !frame_try_latch(f))
		return 0;
	if (f->state != FRAME_VALID && f->state != FRAME_EMPTY) {
		frame_unlatch(f);
		return 0;
	}
	r->busy = true;
	r->tries = 0;
	r->writes = f->state == FRAME_VALID && f->dirty;
	r->old = f->block;
	p->resident[r->new] = 1;
	if (r->writes)
		f->state = FRAME_WRITING;
	else if (f->state == FRAME_VALID)
		p->resident[r->old] = 0;
	if (!r->writes)
		f->state = FRAME_READING;
	frame_unlatch(f);
	return r->writes ? submit(io, r) : start_read(io, r);
}

/* What the device wrote is what the owner sees: the version that was written back. */
static int finish_read(struct io *io, struct request *r)
{
	struct pool *p = io->pool;
	struct frame *f = &p->directory[r->frame];
	int err = 0;

	if (p->pins_reads)
		err = hf_native_unpin(p->space, pool_frame(p, r->frame), BLOCK_BYTES,
				      HF_FOLL_WRITE);
	memcpy(io->copy, pool_frame(p, r->frame), BLOCK_BYTES);
	p->torn += !block_whole(io->copy, r->new);
	p->lost += io->copy->version != atomic_load(&p->latest[r->new]);
	while (!frame_try_latch(f))
		;
	f->state = FRAME_VALID;
	frame_unlatch(f);
	p->reads++;
	r->busy = false;
	return err;
}

static int finish_write(struct io *io, struct request *r)
{
	io->pool->writes++;
	io->pool->resident[r->old] = 0;
	return start_read(io, r);
}

static int reap(struct io *io)
{
	struct io_uring_cqe *cqe;
	int err = io_uring_wait_cqe(&io->ring, &cqe);
	struct request *r;

	if (err)
		return err == -EINTR ? 0 : err;
	r = io_uring_cqe_get_data(cqe);
	err = cqe->res;
	io_uring_cqe_seen(&io->ring, cqe);
	io->in_flight--;
	/* signal mode: a snapshot is just being taken, and not yet done with what is pinned */
	if (err == -EFAULT && r->tries++ < TRIES)
		return submit(io, r);
	if (err != (int)BLOCK_BYTES)
		return fail(io, err < 0 ? err : -EIO,
			    r->writes ? "writing a block" : "reading a block");
	return r->writes ? finish_write(io, r) : finish_read(io, r);
}

static int run(struct io *io)
{
	int err = 0;

	while (!err && (!atomic_load(&io->pool->stop) || io->in_flight)) {
		for (int i = 0; i < IN_FLIGHT && !err && !atomic_load(&io->pool->stop); i++)
			if (!io->request[i].busy)
				err = start(io, &io->request[i]);
		if (!err && io->in_flight)
			err = reap(io);
	}
	return err;
}

static int set_up(struct io *io)
{
	struct pool *p = io->pool;
	int err = io_uring_queue_init(2 * IN_FLIGHT, &io->ring, 0);

	if (err)
		return fail(io, err, "io_uring (see the sysctl kernel.io_uring_disabled)");
	io->copy = aligned_alloc(4096, BLOCK_BYTES);
	err = io->copy ? 0 : -ENOMEM;
	if (!err && !p->pins_reads)
		err = hf_native_register_buffers(&io->ring, p->space, p->frames,
						 p->nr_frames * BLOCK_BYTES, &io->buffers);
	if (!err)
		return 0;
	io_uring_queue_exit(&io->ring);
	return fail(io, err, "registering the frames (raise ulimit -l, or take --pin read)");
}

void *pool_io(void *arg)
{
	struct io io = { .pool = arg, .random = 0x2545f4914f6cdd1d };
	int err = set_up(&io), end = 0;

	if (!err) {
		err = run(&io);
		if (!io.pool->pins_reads)
			end = hf_native_unregister_buffers(&io.ring, &io.buffers);
		io_uring_queue_exit(&io.ring);
	}
	free(io.copy);
	if (err || end) {
		io.pool->err = err ? err : end;
		atomic_store(&io.pool->stop, true);
	}
	return NULL;
}
