/* SPDX-License-Identifier: MIT */
#include "saver.h"

#include "../common/arguments.h"
#include "log.h"
#include "table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int read_memory(void *base, size_t offset, void *buf, size_t len)
{
	memcpy(buf, (const char *)base + offset, len);
	return 0;
}

/* What has been read is not needed any more: its frames are there for stores to come. */
static int read_snapshot(void *snapshot, size_t offset, void *buf, size_t len)
{
	int err = hf_native_read(snapshot, offset, buf, len);

	return err ? err : hf_native_release(snapshot, offset, len);
}

/* A word behind the top belongs to the heap. */
static size_t length(const struct saver *s)
{
	return s->heap->top + 8;
}

int saver_init(struct saver *s, struct memory *memory, const char *path, size_t rate)
{
	*s = (struct saver){ .memory = memory, .heap = memory->base, .path = path, .rate = rate };
	return pipe2(s->done, O_CLOEXEC | O_NONBLOCK) ? -errno : 0;
}

/* ---- loading ---- */

static void say_not_loaded(const struct saver *s, const struct dump_result *r)
{
	if (r->err == -EFBIG)
		say("--file %s holds %llu bytes, --memory is %s: take --memory %lluM", s->path,
		    (unsigned long long)r->bytes, size_text(s->memory->size),
		    (unsigned long long)(r->bytes >> 20) + 64);
	else
		say("--file %s cannot be loaded: %s (%s); move it away to start empty", s->path,
		    r->what, strerror(-r->err));
}

/* Signal mode: reading is a system call that writes to the space. */
static int load(struct saver *s, struct dump_result *r)
{
	struct memory *m = s->memory;
	struct stat stat_buf;
	size_t len = m->size;
	int err;

	if (!stat(s->path, &stat_buf) && (size_t)stat_buf.st_size < len)
		len = (size_t)stat_buf.st_size;
	err = m->space && len ? hf_native_prepare_write(m->space, m->base, len) : 0;
	if (err)
		return err;
	dump_load(s->path, m->base, m->size, r);
	return m->space && len ? hf_native_finish_write(m->space, m->base, len) : 0;
}

static bool start_empty(struct saver *s)
{
	heap_init(s->heap, s->memory->size);
	return !table_init(s->heap);
}

bool saver_load(struct saver *s)
{
	char temporary[PATH_MAX];
	struct dump_result r = { 0 };
	int err;

	if (!s->path)
		return start_empty(s);
	if (!dump_temporary(s->path, temporary, sizeof(temporary))) {
		say("--file %s: the name is too long", s->path);
		return false;
	}
	if (!unlink(temporary))
		say("%s, of a save that did not end, is removed", temporary);
	if (access(s->path, F_OK) && errno == ENOENT)
		return start_empty(s);
	err = load(s, &r);
	if (err) {
		say("memory for --file %s: %s", s->path, strerror(-err));
		return false;
	}
	if (!r.err && !heap_adopt(s->heap, r.bytes, s->memory->size)) {
		r.err = -EBADMSG;
		snprintf(r.what, sizeof(r.what), "its layout is another version's");
	}
	if (r.err) {
		say_not_loaded(s, &r);
		return false;
	}
	say("%llu keys, %llu bytes, loaded from %s in %llu ms",
	    (unsigned long long)table_count(s->heap), (unsigned long long)r.bytes, s->path,
	    (unsigned long long)r.ns / 1000000);
	s->last = time(NULL);
	return true;
}

/* ---- saving ---- */

/* One write of so few bytes to a pipe is whole. */
static void tell(const struct saver *s, const struct dump_result *result)
{
	while (write(s->done[1], result, sizeof(*result)) < 0 && errno == EINTR)
		;
}

/* Of this thread, or process: who serves comes first, where there are few CPUs. */
static void step_back(void)
{
	setpriority(PRIO_PROCESS, 0, 19);
}

static void *save_snapshot(void *arg)
{
	struct saver *s = arg;
	struct dump_result result;

	step_back();
	dump_write(s->path, &s->source, s->rate, &s->cancel, &result);
	tell(s, &result);
	return NULL;
}

static int start_thread(struct saver *s)
{
	int err = hf_native_snapshot(s->memory->space, &s->snapshot);

	if (err)
		return err;
	s->source = (struct dump_source){ read_snapshot, s->snapshot, length(s) };
	err = pthread_create(&s->thread, NULL, save_snapshot, s);
	if (err) {
		hf_native_drop(s->snapshot);
		s->snapshot = NULL;
	}
	return -err;
}

/* The child ends when the server does, however that ends: its file would be nobody's. */
static int start_child(struct saver *s)
{
	struct dump_source source = { read_memory, s->heap, length(s) };
	struct dump_result result;
	pid_t server = getpid();

	s->child = fork();
	if (s->child < 0) {
		s->child = 0;
		return -errno;
	}
	if (s->child)
		return 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != server)
		_exit(1);
	step_back();
	close_range(3, (unsigned)s->done[1] - 1, 0); /* clients wait for their sockets to close */
	close_range((unsigned)s->done[1] + 1, ~0U, 0);
	dump_write(s->path, &source, s->rate, &s->cancel, &result);
	tell(s, &result);
	_exit(result.err ? 1 : 0);
}

int saver_start(struct saver *s)
{
	uint64_t begun = now_ns();
	int err;

	if (s->running)
		return -EALREADY;
	if (!s->path)
		return -ENODEV;
	atomic_store(&s->cancel, false);
	err = s->memory->space ? start_thread(s) : start_child(s);
	if (err) {
		s->failed = true;
		s->result = (struct dump_result){ .err = err };
		snprintf(s->result.what, sizeof(s->result.what), "%s",
			 s->memory->space ? "snapshot" : "fork");
		return err;
	}
	s->instant_ns = now_ns() - begun;
	s->running = true;
	s->begun = time(NULL);
	s->dirty_then = s->dirty;
	return 0;
}

/* Ends what did the saving. False: it has not ended. */
static bool collect(struct saver *s, bool wait)
{
	int status = 0;
	bool told;

	if (s->child && waitpid(s->child, &status, wait ? 0 : WNOHANG) == 0)
		return false;
	if (s->snapshot && wait)
		pthread_join(s->thread, NULL);
	told = read(s->done[0], &s->result, sizeof(s->result)) == sizeof(s->result);
	if (s->snapshot && !told)
		return false;
	if (!told) {
		s->result = (struct dump_result){ .err = -ECHILD,
						  .signal = WTERMSIG(status),
						  .what = "the child that saved has ended" };
	}
	if (s->snapshot && !wait)
		pthread_join(s->thread, NULL);
	if (s->snapshot)
		hf_native_drop(s->snapshot);
	s->snapshot = NULL;
	s->child = 0;
	s->running = false;
	return true;
}

const char *saver_reason(const struct saver *s)
{
	return s->result.signal ? strsignal(s->result.signal) : strerror(-s->result.err);
}

static void conclude(struct saver *s)
{
	const struct dump_result *r = &s->result;

	s->failed = r->err != 0;
	if (r->err) {
		say("saving to %s failed: %s: %s; the old file stays", s->path, r->what,
		    saver_reason(s));
		return;
	}
	s->last = time(NULL);
	s->saves++;
	say("%llu bytes saved to %s in %llu ms%s", (unsigned long long)r->bytes, s->path,
	    (unsigned long long)r->ns / 1000000, r->direct ? "" : " through the page cache");
}

static void remove_temporary(const struct saver *s)
{
	char temporary[PATH_MAX];

	if (dump_temporary(s->path, temporary, sizeof(temporary)))
		unlink(temporary);
}

void saver_finish(struct saver *s)
{
	if (!s->running || !collect(s, false))
		return;
	conclude(s);
	if (!s->failed)
		s->dirty -= s->dirty_then;
	else if (s->result.err == -ECHILD) /* it could not do so itself */
		remove_temporary(s);
}

void saver_cancel(struct saver *s)
{
	if (!s->running)
		return;
	atomic_store(&s->cancel, true);
	if (s->child)
		kill(s->child, SIGKILL);
	collect(s, true);
	remove_temporary(s);
}

int saver_run(struct saver *s)
{
	struct dump_source source = { read_memory, s->heap, length(s) };

	if (s->running)
		return -EALREADY;
	if (!s->path)
		return -ENODEV;
	atomic_store(&s->cancel, false);
	dump_write(s->path, &source, 0, &s->cancel, &s->result);
	conclude(s);
	if (!s->failed)
		s->dirty = 0;
	return s->result.err;
}

void saver_close(struct saver *s)
{
	saver_cancel(s);
	close(s->done[0]);
	close(s->done[1]);
}
