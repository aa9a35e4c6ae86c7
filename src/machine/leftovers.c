/* SPDX-License-Identifier: MIT */
#include "leftovers.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool holds(pid_t pid, const char *socket)
{
	char path[300], target[64];
	struct dirent *e;
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	while (fds && !found && (e = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		found = !strcmp(target, socket);
	}
	if (fds)
		closedir(fds);
	return found;
}

bool hf_kill_leftovers(uint64_t line)
{
	DIR *proc = opendir("/proc");
	bool found = false;
	struct dirent *e;
	char socket[48];

	snprintf(socket, sizeof(socket), "socket:[%" PRIu64 "]", line);
	while (proc && (e = readdir(proc))) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid > 0 && pid != getpid() && holds(pid, socket)) {
			kill(pid, SIGKILL);
			found = true;
		}
	}
	if (proc)
		closedir(proc);
	return found;
}

void hf_die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}
