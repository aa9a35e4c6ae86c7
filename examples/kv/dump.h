/* SPDX-License-Identifier: MIT */
/*
 * The file that a range of memory is saved to: a header of one page, then the bytes of the range,
 * padded with zeros to whole pages. Written and read by io_uring with several requests in flight,
 * past the page cache where the file system allows that.
 */
#ifndef KV_DUMP_H
#define KV_DUMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the bytes come from. Returns 0 or -errno. */
struct dump_source {
	int (*read)(void *arg, size_t offset, void *buf, size_t len);
	void *arg;
	size_t len;
};

/* What became of writing or reading a file. */
struct dump_result {
	int err;       /* 0 or -errno */
	int signal;    /* that ended the child which was to save, or 0 */
	char what[96]; /* what failed, in words, as "write of dump.kv.tmp" */
	uint64_t bytes;
	uint64_t ns;
	bool direct; /* past the page cache */
};

/*
 * Writes path.tmp, syncs it, and renames it to path: there is always one whole file. `rate` is in
 * bytes a second, 0: as fast as can be. *cancel ends it with -ECANCELED. What fails leaves no
 * path.tmp.
 */
void dump_write(const char *path, const struct dump_source *source, size_t rate,
		const atomic_bool *cancel, struct dump_result *result);

/*
 * Reads the file to `memory`, which is aligned to a page and has `size` bytes, and verifies it;
 * result->bytes is the length of the range. -ENOENT: there is no file. -EFBIG: `size` is too
 * small, result->bytes is needed. -EBADMSG: it is not what has been written.
 */
void dump_load(const char *path, void *memory, size_t size, struct dump_result *result);

/* The name of the file while it is written. False: it is too long. */
bool dump_temporary(const char *path, char *name, size_t size);

#endif
