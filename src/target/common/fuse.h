/* SPDX-License-Identifier: MIT */
/*
 * A FUSE file as a device that answers when it is told to. The runner is its server, over the raw
 * /dev/fuse protocol; the mount is detached (fsmount), so nothing appears in the file system and
 * nothing can be left behind.
 *
 * The file is "io" in the mount's root. Whoever opens it must be another process than the one that
 * serves.
 */
#ifndef HF_COMMON_FUSE_H
#define HF_COMMON_FUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HF_FUSE_MAX_IO (1u << 20)

struct hf_fuse {
	int dev;   /* /dev/fuse; -1: not open */
	int mount; /* for openat() */
	bool deaf; /* a write is to stay in the queue, unread: serving would copy its bytes */
	bool held; /* a read has arrived, its pages are referenced; it waits for its answer */
	uint64_t unique;
	uint32_t size;
	uint8_t *request; /* a buffer for one request */
};

/* 0 or negative errno: -EPERM without CAP_SYS_ADMIN,
 * -ENOENT without /dev/fuse, -ENODEV without the file system. */
int hf_fuse_open(struct hf_fuse *f);
/* Ends the connection: whoever waits for an answer gets an error. The process that serves does it
 * to both descriptors. */
void hf_fuse_close(struct hf_fuse *f);
/* Reads one request; answers it, or holds it if it is a READ. 0 or negative errno. */
int hf_fuse_serve(struct hf_fuse *f);
/* Completes the held read with len bytes of data, or with an error (negative errno). */
int hf_fuse_complete_read(struct hf_fuse *f, const uint8_t *data, size_t len, int error);
/* Takes the queued write's bytes, at most len, and completes it. */
int hf_fuse_complete_write(struct hf_fuse *f, uint8_t *data, size_t len);

#endif
