/* SPDX-License-Identifier: MIT */
#include "backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (256UL << 10)

int backup_open(struct backup *b, const char *dir)
{
	char path[4096];
	int fd;

	*b = (struct backup){ 0 };
	if ((size_t)snprintf(path, sizeof(path), "%s/live-backup.chain.%d", dir, getpid()) >=
	    sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlink(path);
	b->file = fdopen(fd, "w+");
	if (b->file)
		return 0;
	close(fd);
	return -ENOMEM;
}

void backup_close(struct backup *b)
{
	if (b->file)
		fclose(b->file);
}

static int put(struct backup *b, const void *data, size_t len)
{
	return fwrite(data, 1, len, b->file) == len ? 0 : -errno;
}

static int add_run(struct backup *b, const struct hf_native_snapshot *s, struct hf_native_run run,
		   char *chunk)
{
	int err = put(b, &run, sizeof(run));

	for (size_t at = 0; at < run.len && !err; at += CHUNK) {
		size_t len = run.len - at < CHUNK ? run.len - at : CHUNK;

		err = hf_native_read(s, run.offset + at, chunk, len);
		if (!err)
			err = put(b, chunk, len);
	}
	*(b->nr ? &b->incremental_bytes : &b->full_bytes) += run.len;
	return err;
}

int backup_add(struct backup *b, const struct hf_native_snapshot *before,
	       const struct hf_native_snapshot *snapshot)
{
	struct hf_native_run run = { 0, 0 };
	char *chunk = malloc(CHUNK);
	int err = chunk ? 0 : -ENOMEM, more = 1;

	while (!err && more) {
		more = hf_native_diff(before, snapshot, HF_NATIVE_EXACT, &run);
		if (more < 0)
			err = more;
		else if (more)
			err = add_run(b, snapshot, run, chunk);
	}
	free(chunk);
	b->nr++;
	return err;
}

/* Later runs lie over earlier ones. */
static int restore(struct backup *b, char *memory, size_t size)
{
	struct hf_native_run run;

	if (fflush(b->file))
		return -errno;
	rewind(b->file);
	while (fread(&run, sizeof(run), 1, b->file) == 1)
		if (run.offset > size || run.len > size - run.offset ||
		    fread(memory + run.offset, 1, run.len, b->file) != run.len)
			return -EIO;
	return ferror(b->file) ? -EIO : 0;
}

int backup_compare(struct backup *b, const struct hf_native_snapshot *snapshot, size_t size)
{
	char *memory = calloc(1, size), *chunk = malloc(CHUNK);
	int err = memory && chunk ? restore(b, memory, size) : -ENOMEM;

	for (size_t at = 0; at < size && !err; at += CHUNK) {
		size_t len = size - at < CHUNK ? size - at : CHUNK;

		err = hf_native_read(snapshot, at, chunk, len);
		if (!err && memcmp(memory + at, chunk, len))
			err = -EBADMSG;
	}
	free(memory);
	free(chunk);
	return err;
}
