/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 64UL /* blocks that are written or read at once where nothing else goes on */

static int write_all(int fd, const char *from, size_t len, off_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, from, len, at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int make_blocks(struct pool *p)
{
	struct block *batch = aligned_alloc(4096, BATCH * BLOCK_BYTES);
	int err = batch ? 0 : -ENOMEM;

	for (size_t i = 0; i < p->nr_blocks && !err; i += BATCH) {
		for (size_t k = 0; k < BATCH; k++)
			block_fill(&batch[k], i + k, 1);
		err = write_all(p->file, (char *)batch, BATCH * BLOCK_BYTES,
				(off_t)(i * BLOCK_BYTES));
	}
	for (size_t i = 0; i < p->nr_blocks; i++)
		p->latest[i] = 1;
	free(batch);
	return err;
}

static int open_file(struct pool *p, const char *dir)
{
	char path[4096];

	if ((size_t)snprintf(path, sizeof(path), "%s/live-backup.data.%d", dir, getpid()) >=
	    sizeof(path))
		return -ENAMETOOLONG;
	p->file = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	if (p->file < 0)
		return -errno;
	unlink(path);
	return 0;
}

/* The directory has units of its own: it is not pinned. */
static void lay_out(struct pool *p, struct hf_native_config *config, size_t file_size)
{
	size_t unit = config->pages == HF_NATIVE_4K ? 4096 : 2UL << 20;

	p->nr_blocks = file_size / BLOCK_BYTES / BATCH * BATCH;
	p->nr_frames = p->nr_blocks / 4;
	p->frames_offset = (p->nr_frames * sizeof(struct frame) + unit - 1) / unit * unit;
	config->size = p->frames_offset + p->nr_frames * BLOCK_BYTES;
}

int pool_open(struct pool *p, const struct hf_native_config *wanted, const char *dir,
	      size_t file_size)
{
	struct hf_native_config config = *wanted;
	int err;

	lay_out(p, &config, file_size);
	p->file = -1;
	p->latest = calloc(p->nr_blocks, sizeof(*p->latest));
	p->resident = calloc(p->nr_blocks, 1);
	if (!p->latest || !p->resident)
		return -ENOMEM;
	err = open_file(p, dir);
	if (!err)
		err = make_blocks(p);
	if (!err)
		err = hf_native_create(&config, &p->space);
	if (err)
		return err;
	p->directory = hf_native_base(p->space);
	p->frames = (char *)hf_native_base(p->space) + p->frames_offset;
	return 0;
}

void pool_close(struct pool *p)
{
	if (p->space)
		hf_native_destroy(p->space);
	if (p->file >= 0)
		close(p->file);
	free(p->latest);
	free(p->resident);
}

/* ---- workers ---- */

static void update(struct pool *p, size_t i)
{
	struct frame *f = &p->directory[i];
	uint64_t version;

	if (f->state != FRAME_VALID)
		return;
	version = atomic_load(&p->latest[f->block]) + 1;
	f->dirty = true;
	block_fill(pool_frame(p, i), f->block, version);
	atomic_store(&p->latest[f->block], version);
	atomic_fetch_add(&p->updates, 1);
}

void *pool_work(void *arg)
{
	struct pool *p = arg;
	uint64_t random = (uintptr_t)&random | 1;

	while (!atomic_load(&p->stop)) {
		size_t i = pool_random(&random) % p->nr_frames;

		if (!frame_try_latch(&p->directory[i]))
			continue;
		update(p, i);
		frame_unlatch(&p->directory[i]);
	}
	return NULL;
}

/* ---- the end ---- */

static int write_back(struct pool *p)
{
	int err = 0;

	for (size_t i = 0; i < p->nr_frames && !err; i++) {
		struct frame *f = &p->directory[i];

		if (f->state == FRAME_VALID && f->dirty)
			err = write_all(p->file, (char *)pool_frame(p, i), BLOCK_BYTES,
					(off_t)(f->block * BLOCK_BYTES));
	}
	return err;
}

int pool_check_file(struct pool *p)
{
	struct block *batch = aligned_alloc(4096, BATCH * BLOCK_BYTES);
	int err = batch ? write_back(p) : -ENOMEM;

	for (size_t i = 0; i < p->nr_blocks && !err; i += BATCH) {
		if (pread(p->file, batch, BATCH * BLOCK_BYTES, (off_t)(i * BLOCK_BYTES)) !=
		    (ssize_t)(BATCH * BLOCK_BYTES))
			err = -EIO;
		for (size_t k = 0; k < BATCH && !err; k++) {
			p->torn += !block_whole(&batch[k], i + k);
			p->lost += batch[k].version != p->latest[i + k];
		}
	}
	free(batch);
	return err;
}
