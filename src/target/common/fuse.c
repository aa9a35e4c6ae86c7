/* SPDX-License-Identifier: MIT */
/* The server's side of the FUSE protocol, as far as one file needs it. */
#include "fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REQUEST_SIZE (HF_FUSE_MAX_IO + 65536)
#define NODE_IO 2

/* fsopen() and its like have no wrappers before glibc 2.36. */
static int set_string(int fs, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int make_mount(int dev)
{
	int fs = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC), mount = -1, err;
	char number[16];

	if (fs < 0)
		return -errno;
	snprintf(number, sizeof(number), "%d", dev);
	err = set_string(fs, "fd", number) || set_string(fs, "rootmode", "40000") ||
	      set_string(fs, "user_id", "0") || set_string(fs, "group_id", "0") ||
	      syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (!err)
		mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
				     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	err = mount < 0 ? -errno : 0;
	close(fs);
	return err ? err : mount;
}

int hf_fuse_open(struct hf_fuse *f)
{
	*f = (struct hf_fuse){ .dev = -1, .mount = -1 };
	f->request = malloc(REQUEST_SIZE);
	if (!f->request)
		return -ENOMEM;
	f->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	f->mount = f->dev < 0 ? -errno : make_mount(f->dev);
	if (f->mount < 0) {
		int err = f->mount;

		hf_fuse_close(f);
		return err;
	}
	return 0;
}

void hf_fuse_close(struct hf_fuse *f)
{
	if (f->dev >= 0)
		close(f->dev);
	if (f->mount >= 0)
		close(f->mount);
	free(f->request);
	*f = (struct hf_fuse){ .dev = -1, .mount = -1 };
}

static int answer(struct hf_fuse *f, uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + len),
		.error = error,
		.unique = unique,
	};
	struct iovec iov[] = { { &out, sizeof(out) }, { (void *)(uintptr_t)data, len } };

	return writev(f->dev, iov, len ? 2 : 1) < 0 ? -errno : 0;
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.size = node == NODE_IO ? HF_FUSE_MAX_IO : 0,
		.mode = node == NODE_IO ? S_IFREG | 0600 : S_IFDIR | 0700,
		.nlink = 1,
	};
}

static int answer_init(struct hf_fuse *f, const struct fuse_in_header *in,
		       const struct fuse_init_in *init)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = init->minor < FUSE_KERNEL_MINOR_VERSION ? init->minor
								 : FUSE_KERNEL_MINOR_VERSION,
		.flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES,
		.max_write = HF_FUSE_MAX_IO,
		.max_pages = HF_FUSE_MAX_IO / 4096,
	};

	return answer(f, in->unique, 0, &out, sizeof(out));
}

static int answer_lookup(struct hf_fuse *f, const struct fuse_in_header *in, const char *name)
{
	struct fuse_entry_out out = { .nodeid = NODE_IO, .entry_valid = 3600, .attr_valid = 3600 };

	if (strcmp(name, "io"))
		return answer(f, in->unique, -ENOENT, NULL, 0);
	out.attr = attributes(NODE_IO);
	return answer(f, in->unique, 0, &out, sizeof(out));
}

static int answer_getattr(struct hf_fuse *f, const struct fuse_in_header *in)
{
	struct fuse_attr_out out = { .attr_valid = 3600, .attr = attributes(in->nodeid) };

	return answer(f, in->unique, 0, &out, sizeof(out));
}

static int answer_open(struct hf_fuse *f, const struct fuse_in_header *in)
{
	struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO };

	return answer(f, in->unique, 0, &out, sizeof(out));
}

static int hold_read(struct hf_fuse *f, const struct fuse_in_header *in,
		     const struct fuse_read_in *read)
{
	f->held = true;
	f->unique = in->unique;
	f->size = read->size;
	return 0;
}

int hf_fuse_serve(struct hf_fuse *f)
{
	const struct fuse_in_header *in = (const void *)f->request;
	const void *body = in + 1;
	ssize_t n = read(f->dev, f->request, REQUEST_SIZE);

	if (n < 0) /* ENOENT: the asker gave up */
		return errno == ENOENT || errno == EINTR || errno == EAGAIN ? 0 : -errno;
	switch (in->opcode) {
	case FUSE_INIT:
		return answer_init(f, in, body);
	case FUSE_LOOKUP:
		return answer_lookup(f, in, body);
	case FUSE_GETATTR:
		return answer_getattr(f, in);
	case FUSE_OPEN:
		return answer_open(f, in);
	case FUSE_READ:
		return hold_read(f, in, body);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return 0; /* these want no answer */
	case FUSE_RELEASE:
		return answer(f, in->unique, 0, NULL, 0);
	default:
		return answer(f, in->unique, -ENOSYS, NULL, 0);
	}
}

int hf_fuse_complete_read(struct hf_fuse *f, const uint8_t *data, size_t len, int error)
{
	if (!f->held)
		return -EINVAL;
	f->held = false;
	return answer(f, f->unique, error, data, len < f->size ? len : f->size);
}

int hf_fuse_complete_write(struct hf_fuse *f, uint8_t *data, size_t len)
{
	const struct fuse_in_header *in = (const void *)f->request;
	const struct fuse_write_in *w = (const void *)(in + 1);
	ssize_t n = read(f->dev, f->request, REQUEST_SIZE);
	struct fuse_write_out out = { .size = 0 };

	if (n < 0)
		return -errno;
	f->deaf = false;
	if (in->opcode != FUSE_WRITE || (size_t)n < sizeof(*in) + sizeof(*w) + w->size)
		return -EPROTO;
	out.size = w->size;
	memcpy(data, w + 1, len < w->size ? len : w->size);
	return answer(f, in->unique, 0, &out, sizeof(out));
}
