/* SPDX-License-Identifier: MIT */
/*
 * holdfast-guardian PID INODE: puts back what process PID changes of the machine, should it end
 * without having done so; ends with it. Standard input is the other end of its life line, whose
 * inode is INODE (src/machine/leftovers.h).
 *
 * The runner may be killed at any time, and so may this: then the next runner reads the journal.
 * Nothing is printed: there is nobody any more who would read it.
 */
#include "../machine/file.h"
#include "../machine/leftovers.h"
#include "../machine/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LINE STDIN_FILENO

static void pause_ms(long ms)
{
	const struct timespec pause = { .tv_nsec = ms * 1000000 };

	nanosleep(&pause, NULL);
}

/* Whoever waits for the end of the runner's output does not wait for us, and memory that is short
 * is not found here. */
static void stand_apart(void)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	closefrom(STDERR_FILENO + 1);
	hf_write_text("/proc/self/oom_score_adj", "-1000");
	if (chdir("/"))
		_exit(1);
}

/* -1: it is gone, and its number may be another's. */
static int open_runner(pid_t runner)
{
	int fd = (int)syscall(SYS_pidfd_open, runner, 0);

	if (getppid() != runner)
		return -1;
	if (fd < 0) /* it cannot be guarded, and is told so by our end */
		_exit(1);
	return fd;
}

/* True: it has put back everything itself. */
static bool runner_leaves(int runner)
{
	struct pollfd fds[] = { { .fd = LINE, .events = POLLIN },
				{ .fd = runner, .events = POLLIN } };
	char byte;

	while (runner >= 0 && poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	return recv(LINE, &byte, 1, MSG_DONTWAIT) == 1;
}

/* The line hangs up when nobody holds it any more. Some may wait for the end of a direct I/O. */
static void end_processes(uint64_t line)
{
	struct pollfd fd = { .fd = LINE };

	for (int i = 0; i < 1000 && poll(&fd, 1, 0) == 0; i++) {
		hf_kill_leftovers(line);
		poll(&fd, 1, 10);
	}
}

/* Others wait for the lock, too: who gets it puts back first. */
static void put_back(pid_t runner)
{
	static struct hf_journal j;
	int err = hf_journal_open(&j, false);

	for (int i = 0; i < 6000 && err == -EWOULDBLOCK; i++) {
		struct hf_owner owner = hf_journal_owner();

		if (owner.pid && owner.pid != runner)
			return;
		pause_ms(10);
		err = hf_journal_open(&j, false);
	}
	if (!err)
		hf_restore(&j, NULL, NULL);
}

int main(int argc, char **argv)
{
	pid_t runner = argc == 3 ? (pid_t)atoi(argv[1]) : 0;
	int fd;

	if (runner <= 0 || isatty(LINE))
		return 2;
	stand_apart();
	fd = open_runner(runner);
	if (write(LINE, "", 1) == 1 && runner_leaves(fd))
		return 0;
	end_processes(strtoull(argv[2], NULL, 10));
	put_back(runner);
	return 0;
}
