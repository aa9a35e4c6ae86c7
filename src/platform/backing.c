/* SPDX-License-Identifier: MIT */
/* Files' pages from and to a real file. */
#include <holdfast/hosted.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int descriptor(void *ctx)
{
	return (int)(intptr_t)ctx;
}

/* What lies beyond the end of the real file reads as zeros. */
static int backing_read(void *ctx, uint64_t index, void *page)
{
	ssize_t got = pread(descriptor(ctx), page, HF_PAGE_SIZE, (off_t)(index * HF_PAGE_SIZE));

	if (got < 0)
		return -errno;
	memset((char *)page + got, 0, HF_PAGE_SIZE - (size_t)got);
	return 0;
}

/* A copy that stands still: the page may be stored to through pins meanwhile. */
static int backing_write(void *ctx, uint64_t index, const void *page)
{
	const struct hf_platform *pf = hf_platform_hosted();
	unsigned char stable[HF_PAGE_SIZE];
	ssize_t done;

	pf->copy(pf->ctx, stable, page, HF_PAGE_SIZE);
	done = pwrite(descriptor(ctx), stable, HF_PAGE_SIZE, (off_t)(index * HF_PAGE_SIZE));
	return done == HF_PAGE_SIZE ? 0 : done < 0 ? -errno : -EIO;
}

struct hf_backing hf_backing_of(int fd)
{
	return (struct hf_backing){ .ctx = (void *)(intptr_t)fd, // NOLINT
				    .read = backing_read,
				    .write = backing_write };
}
