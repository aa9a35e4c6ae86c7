/* SPDX-License-Identifier: MIT */
#include "slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int read_all(int fd, char **data, size_t *len)
{
	FILE *out = open_memstream(data, len);
	char buf[65536];
	ssize_t n = 0;
	int err;

	if (!out)
		return -ENOMEM;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, out);
	err = n < 0 ? -errno : 0;
	if (fclose(out))
		err = -ENOMEM;
	if (err)
		free(*data);
	return err;
}

static const char *decompressor(const char *path)
{
	static const char *const all[][2] = { { ".xz", "xz" },
					      { ".zst", "zstd" },
					      { ".gz", "gzip" } };
	size_t len = strlen(path);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		size_t end = strlen(all[i][0]);

		if (len > end && !strcmp(path + len - end, all[i][0]))
			return all[i][1];
	}
	return NULL;
}

/* Starts `program -dc <fd`, whose output comes out of *out. */
static int start(const char *program, int fd, int *out, pid_t *pid)
{
	char *argv[] = { (char *)(uintptr_t)program, "-dc", NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], err;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	err = posix_spawnp(pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (err)
		close(ends[0]);
	*out = ends[0];
	return err == ENOENT ? -ENOPKG : -err;
}

static int decompress(const char *program, int fd, char **data, size_t *len)
{
	int out = -1, status, err;
	pid_t pid;

	err = start(program, fd, &out, &pid);
	if (err)
		return err;
	err = read_all(out, data, len);
	close(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!err && status) {
		free(*data);
		err = -EIO;
	}
	return err;
}

int hf_slurp(const char *path, char **data, size_t *len)
{
	const char *program = decompressor(path);
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = program ? decompress(program, fd, data, len) : read_all(fd, data, len);
	close(fd);
	return err;
}
