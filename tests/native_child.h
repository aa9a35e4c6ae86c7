/* SPDX-License-Identifier: MIT */
/* What the tests share that need a process of their own: its end, and all that native spaces do
 * without cmocka, whose jumps are for the parent alone. */
#ifndef TEST_NATIVE_CHILD_H
#define TEST_NATIVE_CHILD_H

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"

/* For children: says which, and ends the test with a status that is not 0. */
#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "# %s:%d: %s\n", __FILE__, __LINE__, #condition);          \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

#define SKIPPED 77 /* the exit status of a child that cannot test here; it has said why */

static inline int not_here(const char *why)
{
	fprintf(stderr, "# not here: %s\n", why);
	return SKIPPED;
}

/* Sanitizers have memory of their own. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* The wait status of a process that does this. It is killed when it hangs. */
static inline int status_of(int (*run)(const void *arg), const void *arg)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(100);
		_exit(run(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static inline void in_child(int (*run)(const void *arg), const void *arg)
{
	int status = status_of(run, arg);

	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		return;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the child's wait status is %#x", status);
}

static inline bool way_exists(const struct way *way)
{
	struct hf_native *space = make(way, 1);

	return space && !hf_native_destroy(space);
}

/* As make_with(), for children: the error. */
static inline int create_with(const struct way *way, size_t units, size_t pool_limit,
			      struct hf_native **space)
{
	struct hf_native_config config = {
		.size = units * way_unit(way),
		.pages = way->pages,
		.flags = way->flags,
		.pool_limit = pool_limit,
	};

	return hf_native_create(&config, space);
}

static inline int create(const struct way *way, size_t units, struct hf_native **space)
{
	return create_with(way, units, 0, space);
}

static inline uint64_t peek(const struct hf_native_snapshot *s, size_t offset)
{
	uint64_t value;

	return hf_native_read(s, offset, &value, sizeof(value)) ? UINT64_MAX : value;
}

/* A figure of a file of lines "key figure kB"; -1: there is none. */
static inline long figure_of(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[256];
	long kib = -1;

	while (file && kib < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			kib = strtol(line + strlen(key), NULL, 10);
	if (file)
		fclose(file);
	return kib;
}

static inline int entries_of(const char *path)
{
	DIR *folder = opendir(path);
	int nr = 0;

	while (folder && readdir(folder))
		nr++;
	if (folder)
		closedir(folder);
	return nr;
}

static inline int open_files(void)
{
	return entries_of("/proc/self/fd");
}

/* Snapshots of old and new memory, a child, a map and a pin: 0 if all is as it must be. */
static inline int all_works(const struct way *way)
{
	struct hf_native_snapshot *a, *b;
	struct hf_native *space, *child;
	struct iovec iov;
	const void *view;
	size_t unit;

	NEED(!create(way, 8, &space));
	unit = hf_native_unit(space);
	*word(space, 0) = 1;
	NEED(!hf_native_snapshot(space, &a));
	*word(space, 0) = 2;
	*word(space, 5 * unit) = 3;
	NEED(!hf_native_snapshot(space, &b));
	*word(space, 5 * unit) = 4;
	*word(space, 7 * unit) = 5;
	NEED(peek(a, 0) == 1 && peek(a, 5 * unit) == 0 && peek(a, 7 * unit) == 0);
	NEED(peek(b, 0) == 2 && peek(b, 5 * unit) == 3 && peek(b, 7 * unit) == 0);
	NEED(!hf_native_map(b, &view));
	NEED(*(const uint64_t *)((const char *)view + 5 * unit) == 3);
	NEED(!hf_native_unmap(b));
	if (hf_native_memfd(space) < 0) {
		NEED(!hf_native_fork(space, &child));
		*word(space, 0) = 6;
		NEED(*word(child, 0) == 2 && *word(child, 5 * unit) == 4);
		NEED(!hf_native_destroy(child));
	}
	NEED(hf_native_pin(space, word(space, 0), 8, HF_FOLL_WRITE, &iov, 1) == 1);
	NEED(!hf_native_drop(a));
	NEED(peek(b, 0) == 2);
	NEED(!hf_native_unpin(space, word(space, 0), 8, HF_FOLL_WRITE));
	NEED(!hf_native_drop(b));
	NEED(!hf_native_destroy(space));
	return 0;
}

#endif
