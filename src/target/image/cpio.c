/* SPDX-License-Identifier: MIT */
#include "cpio.h"

#include "slurp.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Names and contents begin at multiples of four. */
static void pad(FILE *f, size_t len)
{
	static const char zeros[4];

	fwrite(zeros, 1, -len & 3, f);
}

static void member(struct hf_cpio *c, const char *name, unsigned mode, const void *data, size_t len,
		   unsigned major, unsigned minor)
{
	size_t name_len = strlen(name) + 1;
	/* inode, mode, owner, group, links, time, size, device, device file, name, checksum */
	int head = fprintf(c->file, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
			   c->nr++, mode, 0, 0, 1, 0, len, 0, 0, major, minor, name_len, 0);

	fwrite(name, 1, name_len, c->file);
	pad(c->file, (size_t)head + name_len);
	fwrite(data, 1, len, c->file);
	pad(c->file, len);
}

void hf_cpio_folder(struct hf_cpio *c, const char *name)
{
	member(c, name, S_IFDIR | 0755, "", 0, 0, 0);
}

void hf_cpio_device(struct hf_cpio *c, const char *name, unsigned major, unsigned minor)
{
	member(c, name, S_IFCHR | 0600, "", 0, major, minor);
}

void hf_cpio_data(struct hf_cpio *c, const char *name, const void *data, size_t len)
{
	member(c, name, S_IFREG | 0755, data, len, 0, 0);
}

int hf_cpio_copy(struct hf_cpio *c, const char *name, const char *path)
{
	char *data;
	size_t len;
	int err = hf_slurp(path, &data, &len);

	if (err)
		return err;
	hf_cpio_data(c, name, data, len);
	free(data);
	return 0;
}

void hf_cpio_end(struct hf_cpio *c)
{
	member(c, "TRAILER!!!", 0, "", 0, 0, 0);
}
