/* SPDX-License-Identifier: MIT */
/* Swap devices for programs: a file, or memory. */
#include <holdfast/hosted.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct swap_file {
	int fd;
	unsigned char *memory; /* or NULL: the file */
};

/*
 * Whoever holds the page by a plain reference may write to it meanwhile. The device gets a copy
 * that stands still, as SWP_STABLE_WRITES devices need it; what comes later makes the page dirty
 * again.
 */
static int file_write(void *ctx, size_t slot, const void *page)
{
	const struct hf_platform *pf = hf_platform_hosted();
	_Alignas(HF_PAGE_SIZE) unsigned char stable[HF_PAGE_SIZE];
	const struct swap_file *s = ctx;
	off_t at = (off_t)(slot * HF_PAGE_SIZE);

	pf->copy(pf->ctx, s->memory ? s->memory + at : stable, page, HF_PAGE_SIZE);
	if (s->memory)
		return 0;
	return pwrite(s->fd, stable, HF_PAGE_SIZE, at) == HF_PAGE_SIZE ? 0 : -EIO;
}

static int file_read(void *ctx, size_t slot, void *page)
{
	const struct hf_platform *pf = hf_platform_hosted();
	const struct swap_file *s = ctx;
	off_t at = (off_t)(slot * HF_PAGE_SIZE);

	if (s->memory) {
		pf->copy(pf->ctx, page, s->memory + at, HF_PAGE_SIZE);
		return 0;
	}
	return pread(s->fd, page, HF_PAGE_SIZE, at) == HF_PAGE_SIZE ? 0 : -EIO;
}

/* All blocks are had now, so that a full disk is an error here and not at the first write. */
static int open_file(const char *path, size_t nr_slots)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600), err;

	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlink(path);
	err = posix_fallocate(fd, 0, (off_t)(nr_slots * HF_PAGE_SIZE));
	if (!err)
		return fd;
	close(fd);
	return -err;
}

int hf_swap_device_open(const char *path, size_t nr_slots, struct hf_swap_device *device)
{
	struct swap_file *s;

	if (!nr_slots)
		return -EINVAL;
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct swap_file){ .fd = path ? open_file(path, nr_slots) : -1 };
	if (!path)
		s->memory = malloc(nr_slots * HF_PAGE_SIZE);
	if (path ? s->fd < 0 : !s->memory) {
		int err = path ? s->fd : -ENOMEM;

		free(s);
		return err;
	}
	*device = (struct hf_swap_device){
		.ctx = s,
		.nr_slots = nr_slots,
		.write = file_write,
		.read = file_read,
	};
	return 0;
}

void hf_swap_device_close(struct hf_swap_device *device)
{
	struct swap_file *s = device->ctx;

	if (!s) /* closed before */
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->memory);
	free(s);
	device->ctx = NULL;
}
