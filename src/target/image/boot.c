/* SPDX-License-Identifier: MIT */
#include "boot.h"

#include "../../machine/leftovers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Where QEMU finds what we give it. */
#define RESULTS_FD 3
#define INITRAMFS_FD 4

/* An oops ends the kernel: what comes after one is worth nothing. */
#define PARAMETERS                                                                                 \
	"console=ttyS0 loglevel=5 printk.time=0 printk.devkmsg=on oops=panic panic=-1 nowatchdog " \
	"mitigations=off"

/* Without rdrand, kernels wait for seconds until they have random numbers. */
static char *const qemu[] = { "qemu-system-x86_64",
			      "-accel",
			      "tcg",
			      "-cpu",
			      "qemu64,+rdrand",
			      "-m",
			      "1024",
			      "-smp",
			      "1",
			      "-nodefaults",
			      "-no-user-config",
			      "-display",
			      "none",
			      "-no-reboot",
			      "-serial",
			      "stdio",
			      "-chardev",
			      "file,id=results,path=/dev/fd/3",
			      "-serial",
			      "chardev:results",
			      "-initrd",
			      "/dev/fd/4",
			      "-append",
			      PARAMETERS,
			      "-kernel" };

/* ---- start and end ---- */

/* Descriptors above 10, so that none is in the way of another's place. */
static bool place(int fd, int to)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	return high >= 0 && dup2(high, to) == to;
}

/* In the child. Writes the errno to `trouble` if QEMU cannot be had. */
static void become_qemu(pid_t runner, const char *image, int console, int results, int initramfs,
			int trouble)
{
	size_t nr = sizeof(qemu) / sizeof(qemu[0]);
	char *argv[sizeof(qemu) / sizeof(qemu[0]) + 2] = { NULL };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), err;

	memcpy(argv, qemu, sizeof(qemu));
	argv[nr] = (char *)(uintptr_t)image;
	setpgid(0, 0); /* the terminal's interrupt is for us to answer */
	hf_die_with(runner);
	trouble = fcntl(trouble, F_DUPFD_CLOEXEC, 10);
	results = fcntl(results, F_DUPFD_CLOEXEC, 10);
	initramfs = fcntl(initramfs, F_DUPFD_CLOEXEC, 10);
	if (place(null, 0) && place(console, 1) && place(console, 2) &&
	    place(results, RESULTS_FD) && place(initramfs, INITRAMFS_FD)) {
		signal(SIGPIPE, SIG_DFL);
		execvp(argv[0], argv);
	}
	err = errno;
	if (write(trouble, &err, sizeof(err)) != sizeof(err))
		_exit(126);
	_exit(127);
}

static int wait_for_exec(struct hf_boot *b, int trouble)
{
	int err = 0;

	if (read(trouble, &err, sizeof(err)) != sizeof(err))
		return 0; /* closed by the exec */
	hf_boot_stop(b);
	return -err;
}

int hf_boot_start(struct hf_boot *b, const char *image, int initramfs)
{
	int pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } }, err = 0;
	pid_t self = getpid();

	*b = (struct hf_boot){ .pid = -1 };
	for (int i = 0; i < 3 && !err; i++)
		err = pipe2(pipes[i], O_CLOEXEC) ? -errno : 0;
	if (!err)
		b->pid = fork();
	if (b->pid == 0)
		become_qemu(self, image, pipes[0][1], pipes[1][1], initramfs, pipes[2][1]);
	if (!err && b->pid < 0)
		err = -errno;
	for (int i = 0; i < 3; i++)
		close(pipes[i][1]);
	b->console = pipes[0][0];
	b->results = pipes[1][0];
	if (err)
		hf_boot_stop(b);
	else
		err = wait_for_exec(b, pipes[2][0]);
	close(pipes[2][0]);
	return err;
}

void hf_boot_stop(struct hf_boot *b)
{
	if (b->pid > 0) {
		kill(b->pid, SIGKILL);
		while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(b->console);
	close(b->results);
	free(b->line);
	b->pid = b->console = b->results = -1;
	b->line = NULL;
}

/* ---- the console ---- */

static void keep_tail(struct hf_boot *b, const char *text, size_t len)
{
	size_t room = sizeof(b->tail) - 1, drop;

	if (len > room) {
		text += len - room;
		len = room;
	}
	drop = b->tail_len + len > room ? b->tail_len + len - room : 0;
	memmove(b->tail, b->tail + drop, b->tail_len - drop);
	b->tail_len -= drop;
	memcpy(b->tail + b->tail_len, text, len);
	b->tail_len += len;
	b->tail[b->tail_len] = '\0';
}

/* False: there will be no more. */
static bool hear_console(struct hf_boot *b)
{
	char text[4096];
	ssize_t n = read(b->console, text, sizeof(text));
	size_t len = 0;

	for (ssize_t i = 0; i < n; i++) /* serial lines end in both */
		if (text[i] != '\r' && text[i] != '\0')
			text[len++] = text[i];
	keep_tail(b, text, len);
	return n > 0;
}

static char *first_sign(char *text)
{
	static const char *const signs[] = {
		"BUG: ",       "kernel BUG at", "Oops: ", "WARNING: ", "general protection fault",
		"Kernel panic"
	};
	char *first = NULL;

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		char *at = strstr(text, signs[i]);

		first = at && (!first || at < first) ? at : first;
	}
	return first;
}

/* What comes after the last line with a mark. */
static char *after_mark(char *text)
{
	char *at = text;

	while ((at = strstr(at, HF_BOOT_MARK))) {
		at += strcspn(at, "\n");
		text = *at ? at + 1 : at;
	}
	return text;
}

const char *hf_boot_last_words(struct hf_boot *b, bool *crash)
{
	char *from, *words;

	/* QEMU may have gone with words in the pipe */
	fcntl(b->console, F_SETFL, O_NONBLOCK);
	while (hear_console(b))
		;
	while (b->tail_len && b->tail[b->tail_len - 1] == '\n')
		b->tail[--b->tail_len] = '\0';
	from = after_mark(b->tail);
	words = first_sign(from);
	if (crash)
		*crash = words;
	if (!words)
		words = b->tail + b->tail_len;
	while (words > from && words[-1] != '\n')
		words--;
	return words;
}

/* ---- the results ---- */

static char *whole_line(struct hf_boot *b)
{
	char *end;

	memmove(b->line, b->line + b->taken, b->line_len - b->taken);
	b->line_len -= b->taken;
	b->taken = 0;
	end = memchr(b->line, '\n', b->line_len);
	if (!end)
		return NULL;
	*end = '\0';
	b->taken = (size_t)(end + 1 - b->line);
	return b->line;
}

/* False: there will be no more, or no room for it. */
static bool hear_results(struct hf_boot *b)
{
	ssize_t n;

	if (b->line_cap - b->line_len < 4096) {
		char *grown = realloc(b->line, b->line_cap + 65536);

		if (!grown)
			return false;
		b->line = grown;
		b->line_cap += 65536;
	}
	n = read(b->results, b->line + b->line_len, b->line_cap - b->line_len);
	if (n > 0)
		b->line_len += (size_t)n;
	return n > 0;
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

enum hf_boot_end hf_boot_next(struct hf_boot *b, unsigned patience,
			      const volatile sig_atomic_t *stop, char **line)
{
	time_t end = now() + patience;
	struct pollfd fds[] = { { .fd = b->results, .events = POLLIN },
				{ .fd = b->console, .events = POLLIN } };

	while (!(b->line && (*line = whole_line(b)))) {
		if (stop && *stop)
			return HF_BOOT_STOPPED;
		if (now() >= end)
			return HF_BOOT_SILENT;
		if (poll(fds, 2, 250) <= 0)
			continue;
		end = now() + patience;
		if (fds[1].revents && !hear_console(b))
			fds[1].fd = -1;
		if (fds[0].revents && !hear_results(b))
			return HF_BOOT_DIED;
	}
	return HF_BOOT_RUNS;
}
