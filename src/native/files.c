/* SPDX-License-Identifier: MIT */
#include "files.h"

#include "userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TURN_IDLE 0
#define TURN_ASKED 1
#define TURN_ANSWERED 2
#define STACK (256UL << 10) /* whatever RLIMIT_STACK says, which mlockall() would bring in */

/* ---- what is ours ---- */

void hf_files_mark(const struct hf_files *files, int fd)
{
	struct f_owner_ex owner = { .type = F_OWNER_TID, .pid = files->keeper_tid };

	fcntl(fd, F_SETOWN_EX, &owner);
}

static bool is_ours(const struct hf_files *files, int fd)
{
	struct f_owner_ex owner = { .pid = 0 };

	return fcntl(fd, F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_TID && owner.pid &&
	       owner.pid == files->keeper_tid;
}

void hf_files_close(const struct hf_files *files, int fd)
{
	if (fd >= 0 && is_ours(files, fd))
		close(fd);
}

static void close_all(struct hf_files *files)
{
	for (int i = 0; i < HF_FILES; i++) {
		hf_files_close(files, files->fd[i]);
		files->fd[i] = -1;
	}
}

/* Has this thread the keeper's table? */
static bool has_own(const struct hf_files *files)
{
	pthread_t self = pthread_self();

	if (pthread_equal(self, files->keeper))
		return true;
	for (unsigned i = 0; i < files->nr_threads; i++) {
		if (pthread_equal(self, files->threads[i]))
			return true;
	}
	return false;
}

bool hf_files_are_gone(struct hf_files *files)
{
	return atomic_load_explicit(&files->gone, memory_order_relaxed) && !has_own(files);
}

void hf_files_look(struct hf_files *files)
{
	if (!atomic_load_explicit(&files->gone, memory_order_relaxed) &&
	    !is_ours(files, files->fd[HF_FILE_USERFAULT]))
		atomic_store_explicit(&files->gone, true, memory_order_relaxed);
}

/* ---- the keeper ---- */

/* A table of its own, with our descriptors alone. */
static int close_others(const struct hf_files *files, unsigned flags)
{
	int low[HF_FILES], nr = 0, from = 0;

	for (int i = 0; i < HF_FILES; i++) { /* in order, by insertion */
		int at = nr;

		if (files->fd[i] < 0)
			continue;
		for (nr++; at && low[at - 1] > files->fd[i]; at--)
			low[at] = low[at - 1];
		low[at] = files->fd[i];
	}
	/* the last range first: of what it closes nothing is copied */
	if (syscall(SYS_close_range, low[nr - 1] + 1, ~0U, flags))
		return -errno;
	for (int i = 0; i < nr; from = low[i++] + 1) {
		if (low[i] > from && syscall(SYS_close_range, from, low[i] - 1, 0))
			return -errno;
	}
	return 0;
}

static int close_others_one_by_one(const struct hf_files *files)
{
	long most = sysconf(_SC_OPEN_MAX);

	if (unshare(CLONE_FILES))
		return -errno;
	for (int fd = 0; fd < most; fd++) {
		bool keep = false;

		for (int i = 0; i < HF_FILES; i++)
			keep = keep || files->fd[i] == fd;
		if (!keep)
			close(fd);
	}
	return 0;
}

/* close_range() came with Linux 5.9; a filter may deny the one or the other. */
static int take_own_table(const struct hf_files *files)
{
	int err = close_others(files, CLOSE_RANGE_UNSHARE);

	return err ? close_others_one_by_one(files) : 0;
}

struct start {
	struct hf_files *files;
	bool user_mode_only;
	uint64_t features;
	_Atomic uint32_t done;
	int err;
};

static int open_all(const struct start *start)
{
	struct hf_files *files = start->files;

	files->keeper_tid = (int)syscall(SYS_gettid);
	files->fd[HF_FILE_USERFAULT] = hf_userfault_open(start->user_mode_only, start->features);
	if (files->fd[HF_FILE_USERFAULT] < 0)
		return files->fd[HF_FILE_USERFAULT];
	files->fd[HF_FILE_PAGEMAP] = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	files->fd[HF_FILE_MAPS] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < HF_FILES; i++)
		hf_files_mark(files, files->fd[i]);
	return 0;
}

/* Waits for a call and makes it; false: it is the last one. */
static bool answer(struct hf_files *files)
{
	uint32_t turn;

	while ((turn = atomic_load(&files->turn)) != TURN_ASKED)
		hf_futex_wait(&files->turn, turn);
	if (!files->call)
		return false;
	files->result = files->call(files->arg);
	atomic_store(&files->turn, TURN_ANSWERED);
	hf_futex_wake(&files->turn);
	return true;
}

static void *keep(void *arg)
{
	struct start *start = arg;
	struct hf_files *files = start->files;
	int err = open_all(start);

	if (!err)
		err = take_own_table(files);
	start->err = err;
	atomic_store(&start->done, 1);
	hf_futex_wake(&start->done); /* which may be gone: a wake does no harm */
	while (!err && answer(files))
		;
	return NULL;
}

/* All signals are blocked, here and in the thread. */
static int create_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	long least = sysconf(_SC_THREAD_STACK_MIN);
	pthread_attr_t attr;
	int err = pthread_attr_init(&attr);

	if (err)
		return -err;
	pthread_attr_setstacksize(&attr, least > (long)STACK / 2 ? STACK + (size_t)least : STACK);
	err = pthread_create(thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return err == EINVAL ? -EAGAIN
			     : -err; /* after unshare(CLONE_NEWPID) there are no threads */
}

int hf_files_start(struct hf_files *files, bool user_mode_only, uint64_t features, unsigned threads)
{
	struct start start = { .files = files,
			       .user_mode_only = user_mode_only,
			       .features = features };
	int err;

	*files = (struct hf_files){ .fd = { -1, -1, -1 } };
	files->room = threads;
	files->threads = calloc(threads + 1, sizeof(files->threads[0]));
	if (!files->threads)
		return -ENOMEM;
	err = create_thread(&files->keeper, keep, &start);
	if (err)
		return err;
	while (!atomic_load(&start.done))
		hf_futex_wait(&start.done, 0);
	files->kept = !start.err;
	if (!start.err)
		return 0;
	pthread_join(files->keeper, NULL);
	return start.err;
}

static void ask(struct hf_files *files, long (*call)(void *arg), void *arg)
{
	files->call = call;
	files->arg = arg;
	atomic_store(&files->turn, TURN_ASKED);
	hf_futex_wake(&files->turn);
}

void hf_files_stop(struct hf_files *files)
{
	close_all(files);
	if (files->kept) {
		ask(files, NULL, NULL);
		pthread_join(files->keeper, NULL);
	}
	free(files->threads);
}

long hf_files_call(struct hf_files *files, long (*call)(void *arg), void *arg)
{
	uint32_t turn;
	long result;

	if (!files->kept || has_own(files))
		return call(arg);
	hf_futex_lock(&files->lock);
	hf_assert(atomic_load(&files->turn) == TURN_IDLE);
	ask(files, call, arg);
	while ((turn = atomic_load(&files->turn)) != TURN_ANSWERED)
		hf_futex_wait(&files->turn, turn);
	result = files->result;
	atomic_store(&files->turn, TURN_IDLE);
	hf_futex_unlock(&files->lock);
	return result;
}

struct creation {
	pthread_t *thread;
	void *(*run)(void *);
	void *arg;
};

static long create_called(void *arg)
{
	struct creation *c = arg;

	return create_thread(c->thread, c->run, c->arg);
}

int hf_files_thread(struct hf_files *files, pthread_t *thread, void *(*run)(void *), void *arg)
{
	struct creation creation = { &files->threads[files->nr_threads], run, arg };
	int err = (int)hf_files_call(files, create_called, &creation);

	hf_assert(files->nr_threads < files->room);
	if (!err)
		*thread = files->threads[files->nr_threads++];
	return err;
}

/* ---- calls ---- */

struct call {
	int fd;
	unsigned long request; /* of an ioctl; 0: pread() */
	void *arg;
	size_t len;
	uint64_t offset;
};

static long make_call(void *arg)
{
	const struct call *c = arg;
	long got = c->request ? ioctl(c->fd, c->request, c->arg)
			      : pread(c->fd, c->arg, c->len, (off_t)c->offset);

	return got < 0 ? -errno : got;
}

/* What a descriptor answers that is no more, or is something else; and what a filter does. */
static bool is_denied(long result)
{
	return result == -EBADF || result == -ENOTTY || result == -ENXIO || result == -EPERM ||
	       result == -EACCES || result == -ENOSYS || result == -ESPIPE;
}

static long call_somewhere(struct hf_files *files, struct call *call)
{
	long got = hf_files_are_gone(files) ? -EBADF : make_call(call);

	return is_denied(got) ? hf_files_call(files, make_call, call) : got;
}

long hf_files_ioctl(struct hf_files *files, enum hf_file file, unsigned long request, void *arg)
{
	struct call call = { .fd = files->fd[file], .request = request, .arg = arg };

	return call_somewhere(files, &call);
}

long hf_files_pread(struct hf_files *files, enum hf_file file, void *buf, size_t len,
		    uint64_t offset)
{
	struct call call = { .fd = files->fd[file], .arg = buf, .len = len, .offset = offset };

	return call_somewhere(files, &call);
}
