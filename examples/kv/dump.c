/* SPDX-License-Identifier: MIT */
#include "dump.h"

#include "../common/xxh64.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define CHUNK (256UL << 10)
#define SLOTS 8
#define MAGIC 0x316b76647466680a /* of this format */

struct header {
	uint64_t magic;
	uint64_t len, checksum; /* of the range, padding included */
	int64_t time;
	uint64_t own_checksum; /* of this page, with this being 0 */
	char rest[PAGE - 40];
};

/* A request that may be in flight. */
struct slot {
	char *buf;
	uint64_t offset; /* in the file */
	size_t len, done;
	bool busy;
};

/* A file and its requests. The slots are used in turn, so that order is kept. */
struct transfer {
	struct io_uring ring;
	int fd;
	bool writes, registered;
	char *buffers; /* the slots' own */
	struct slot slot[SLOTS];
	struct dump_result *result;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t padded(uint64_t len)
{
	return (len + PAGE - 1) & ~(PAGE - 1);
}

/* The first failure is what is told. */
static int fail(struct dump_result *result, int err, const char *what)
{
	if (err && !result->err) {
		result->err = err;
		snprintf(result->what, sizeof(result->what), "%s", what);
	}
	return err;
}

bool dump_temporary(const char *path, char *name, size_t size)
{
	return (size_t)snprintf(name, size, "%s.tmp", path) < size;
}

/* ---- requests in flight ---- */

static int transfer_start(struct transfer *t)
{
	struct iovec iov = { .iov_len = SLOTS * CHUNK };
	int err = io_uring_queue_init(SLOTS, &t->ring, 0);

	if (err)
		return fail(t->result, err, "io_uring (see the sysctl kernel.io_uring_disabled)");
	t->buffers = aligned_alloc(PAGE, SLOTS * CHUNK);
	if (!t->buffers) {
		io_uring_queue_exit(&t->ring);
		return fail(t->result, -ENOMEM, "memory for buffers");
	}
	for (int i = 0; i < SLOTS; i++)
		t->slot[i].buf = t->buffers + i * CHUNK;
	iov.iov_base = t->buffers;
	/* a low RLIMIT_MEMLOCK refuses it; then the kernel pins them each time */
	t->registered = !io_uring_register_buffers(&t->ring, &iov, 1);
	return 0;
}

static void submit(struct transfer *t, struct slot *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);
	char *at = s->buf + s->done;
	unsigned len = (unsigned)(s->len - s->done);
	uint64_t offset = s->offset + s->done;

	if (!t->writes)
		io_uring_prep_read(sqe, t->fd, at, len, offset);
	else if (t->registered)
		io_uring_prep_write_fixed(sqe, t->fd, at, len, offset, 0);
	else
		io_uring_prep_write(sqe, t->fd, at, len, offset);
	io_uring_sqe_set_data(sqe, s);
	io_uring_submit(&t->ring);
}

static void begin(struct transfer *t, struct slot *s, uint64_t offset, size_t len)
{
	s->offset = offset;
	s->len = len;
	s->done = 0;
	s->busy = true;
	submit(t, s);
}

/* Takes one completion; what came short goes on. An error is one of waiting; others are told in the
 * result. */
static int reap(struct transfer *t)
{
	struct io_uring_cqe *cqe;
	struct slot *s;
	int got = io_uring_wait_cqe(&t->ring, &cqe);

	if (got == -EINTR)
		return 0;
	if (got)
		return fail(t->result, got, "waiting for io_uring");
	s = io_uring_cqe_get_data(cqe);
	got = cqe->res;
	io_uring_cqe_seen(&t->ring, cqe);
	s->done += got > 0 ? (size_t)got : 0;
	if (got == -EINTR || got == -EAGAIN || (got > 0 && s->done < s->len)) {
		submit(t, s);
		return 0;
	}
	s->busy = false;
	if (got <= 0)
		fail(t->result, got ? got : -EIO, t->writes ? "writing" : "reading");
	return 0;
}

static int wait_for(struct transfer *t, struct slot *s)
{
	while (s->busy && !reap(t))
		;
	return t->result->err;
}

static int drain(struct transfer *t)
{
	for (int i = 0; i < SLOTS; i++)
		wait_for(t, &t->slot[i]);
	return t->result->err;
}

static void transfer_end(struct transfer *t)
{
	drain(t);
	io_uring_queue_exit(&t->ring);
	free(t->buffers);
}

/* ---- writing ---- */

/* Past the page cache if the file system can: it would be of use to nobody. */
static int open_file(const char *path, int flags, struct dump_result *result)
{
	int fd = open(path, flags | O_CLOEXEC | O_DIRECT, 0600);

	result->direct = fd >= 0;
	if (fd < 0 && errno == EINVAL)
		fd = open(path, flags | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* Sleeps until `bytes` are due; not long at a time, for somebody may want to end it. */
static void keep_rate(uint64_t begun, uint64_t bytes, size_t rate, const atomic_bool *cancel)
{
	uint64_t due = begun + (rate ? (uint64_t)((double)bytes / (double)rate * 1e9) : 0), now;

	while ((now = now_ns()) < due && !atomic_load(cancel)) {
		uint64_t ns = due - now < 10000000 ? due - now : 10000000;

		nanosleep(&(struct timespec){ .tv_nsec = (long)ns }, NULL);
	}
}

static int write_range(struct transfer *t, const struct dump_source *source, size_t rate,
		       const atomic_bool *cancel, struct xxh64 *checksum)
{
	uint64_t begun = now_ns();

	for (size_t at = 0, turn = 0; at < source->len; at += CHUNK, turn++) {
		struct slot *s = &t->slot[turn % SLOTS];
		size_t left = source->len - at, len = left < CHUNK ? left : CHUNK;
		int err = wait_for(t, s);

		if (err)
			return err;
		if (atomic_load(cancel))
			return fail(t->result, -ECANCELED, "saving");
		err = source->read(source->arg, at, s->buf, len);
		if (err)
			return fail(t->result, err, "reading the memory of that instant");
		memset(s->buf + len, 0, padded(len) - len);
		xxh64_update(checksum, s->buf, padded(len));
		begin(t, s, PAGE + at, padded(len));
		keep_rate(begun, at + len, rate, cancel);
	}
	return drain(t);
}

/* Last: without it the file is none. */
static int write_header(struct transfer *t, size_t len, uint64_t checksum)
{
	struct header *h = (struct header *)t->slot[0].buf;

	*h = (struct header){
		.magic = MAGIC, .len = len, .checksum = checksum, .time = time(NULL)
	};
	h->own_checksum = xxh64(h, sizeof(*h));
	begin(t, &t->slot[0], 0, sizeof(*h));
	return drain(t);
}

/* The name is on the disk, too. */
static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";
	int fd, err;

	if (slash)
		snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path + 1), path);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	return err;
}

static void write_file(int fd, const struct dump_source *source, size_t rate,
		       const atomic_bool *cancel, struct dump_result *result)
{
	struct transfer t = { .fd = fd, .writes = true, .result = result };
	struct xxh64 checksum;

	if (transfer_start(&t))
		return;
	xxh64_init(&checksum);
	if (!write_range(&t, source, rate, cancel, &checksum))
		write_header(&t, source->len, xxh64_digest(&checksum));
	transfer_end(&t);
	if (!result->err && fsync(fd))
		fail(result, -errno, "fsync");
}

void dump_write(const char *path, const struct dump_source *source, size_t rate,
		const atomic_bool *cancel, struct dump_result *result)
{
	uint64_t begun = now_ns();
	char temporary[PATH_MAX];
	int fd;

	*result = (struct dump_result){ .bytes = source->len };
	if (!dump_temporary(path, temporary, sizeof(temporary))) {
		fail(result, -ENAMETOOLONG, "the file's name");
		return;
	}
	fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, result);
	if (fd < 0) {
		fail(result, fd, "opening the temporary file");
		return;
	}
	write_file(fd, source, rate, cancel, result);
	close(fd);
	if (!result->err && rename(temporary, path))
		fail(result, -errno, "renaming the temporary file");
	if (result->err)
		unlink(temporary);
	else
		fail(result, sync_folder(path), "fsync of the folder");
	result->ns = now_ns() - begun;
}

/* ---- reading ---- */

static int check_header(struct transfer *t, uint64_t file_len, size_t size, struct header *h)
{
	uint64_t own;

	begin(t, &t->slot[0], 0, sizeof(*h));
	if (drain(t))
		return t->result->err;
	memcpy(h, t->slot[0].buf, sizeof(*h));
	own = h->own_checksum;
	h->own_checksum = 0;
	if (h->magic != MAGIC || own != xxh64(h, sizeof(*h)))
		return fail(t->result, -EBADMSG, "its header is none of this program's");
	if (h->len > file_len || file_len != PAGE + padded(h->len))
		return fail(t->result, -EBADMSG, "it is not as long as its header says");
	t->result->bytes = h->len;
	if (padded(h->len) > size)
		return fail(t->result, -EFBIG, "there is not enough memory for it");
	return 0;
}

static size_t chunk_at(uint64_t at, uint64_t len)
{
	return at >= len ? 0 : len - at < CHUNK ? len - at : CHUNK;
}

static void ask(struct transfer *t, char *memory, uint64_t at, uint64_t len)
{
	struct slot *s = &t->slot[at / CHUNK % SLOTS];

	s->buf = memory + at;
	if (chunk_at(at, len))
		begin(t, s, PAGE + at, chunk_at(at, len));
}

static int read_range(struct transfer *t, char *memory, uint64_t len, struct xxh64 *checksum)
{
	for (int i = 0; i < SLOTS; i++)
		ask(t, memory, i * CHUNK, len);
	for (uint64_t at = 0; at < len; at += CHUNK) {
		if (wait_for(t, &t->slot[at / CHUNK % SLOTS]))
			return t->result->err;
		xxh64_update(checksum, memory + at, chunk_at(at, len));
		ask(t, memory, at + SLOTS * CHUNK, len);
	}
	return 0;
}

static void read_file(int fd, uint64_t file_len, void *memory, size_t size,
		      struct dump_result *result)
{
	struct transfer t = { .fd = fd, .result = result };
	struct xxh64 checksum;
	struct header header;

	if (transfer_start(&t))
		return;
	xxh64_init(&checksum);
	if (!check_header(&t, file_len, size, &header) &&
	    !read_range(&t, memory, padded(header.len), &checksum) &&
	    xxh64_digest(&checksum) != header.checksum)
		fail(result, -EBADMSG, "its checksum is wrong");
	transfer_end(&t);
}

void dump_load(const char *path, void *memory, size_t size, struct dump_result *result)
{
	uint64_t begun = now_ns();
	struct stat stat;
	int fd;

	*result = (struct dump_result){ 0 };
	fd = open_file(path, O_RDONLY, result);
	if (fd < 0) {
		fail(result, fd, "opening it");
		return;
	}
	if (fstat(fd, &stat))
		fail(result, -errno, "stat");
	else if (!S_ISREG(stat.st_mode) || stat.st_size < (off_t)PAGE)
		fail(result, -EBADMSG, "it is too short");
	else
		read_file(fd, (uint64_t)stat.st_size, memory, size, result);
	close(fd);
	result->ns = now_ns() - begun;
}
