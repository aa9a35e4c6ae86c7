/* SPDX-License-Identifier: MIT */
#include "journal.h"

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_LINE "holdfast journal 1\n"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
/* HF_MAX_CHANGES lines, and as many that say that they are put back. */
#define MAX_SIZE (64 << 10)

static const char *const kinds[] = { "set", "keep", "pool", "zram" };
static const int words_of[] = { 4, 3, 4, 2 };
#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- owners ---- */

/* The name, in brackets, may have any characters.
 * 0: there is no such process, or only its zombie. */
static uint64_t beginning_of(pid_t pid)
{
	char path[32], text[512], state = 'X', *rest;
	uint64_t began = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (hf_read_text(path, text, sizeof(text)) || !(rest = strrchr(text, ')')) ||
	    sscanf(rest,
		   ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
		   "%" SCNu64,
		   &state, &began) != 2)
		return 0;
	return strchr("ZX", state) ? 0 : began;
}

bool hf_owner_lives(const struct hf_owner *owner)
{
	return owner->pid && owner->began && beginning_of(owner->pid) == owner->began;
}

/* ---- reading ---- */

static void take_change(struct hf_journal *j, const char *line)
{
	struct hf_change *c = &j->changes[j->nr];
	char word[8];
	size_t i = 0;
	int words;

	if (j->nr == HF_MAX_CHANGES)
		return;
	*c = (struct hf_change){ .kind = HF_CHANGE_SET };
	words = sscanf(line, "%7s %111s %31s %31s", word, c->path, c->was, c->to);
	while (words > 0 && i < NR_KINDS && strcmp(kinds[i], word))
		i++;
	c->kind = (enum hf_change_kind)i;
	j->nr += i < NR_KINDS && words == words_of[i];
}

/* False: the rest is of another boot. */
static bool take_line(struct hf_journal *j, const char *line)
{
	char boot[64];
	size_t nr;

	if (!strncmp(line, "boot ", 5))
		return !hf_read_text(BOOT_ID, boot, sizeof(boot)) && !strcmp(line + 5, boot);
	if (sscanf(line, "back %zu", &nr) == 1) {
		if (nr >= 1 && nr <= j->nr)
			j->changes[nr - 1].back = true;
		return true;
	}
	if (sscanf(line, "owner %d %" SCNu64 " %" SCNu64, &j->owner.pid, &j->owner.began,
		   &j->owner.line) != 3)
		take_change(j, line);
	return true;
}

/* A line without its end was being written: its change was not made. The length of the lines before
 * it, or negative errno. */
static off_t take_lines(struct hf_journal *j, char *text)
{
	char *line = text + strlen(FIRST_LINE), *end;

	if (!strchr(text, '\n'))
		return 0;
	if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)))
		return -EPROTO;
	for (bool ours = true; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		ours = ours && take_line(j, line);
	}
	return line - text;
}

static off_t take_all(struct hf_journal *j)
{
	char *text = malloc(MAX_SIZE);
	ssize_t n = text ? pread(j->fd, text, MAX_SIZE - 1, 0) : -1;
	off_t len = text ? -errno : -ENOMEM;

	if (n >= 0) {
		text[n] = '\0';
		len = take_lines(j, text);
	}
	free(text);
	return len;
}

/* ---- the lock ---- */

/* Who removes the file has the lock: others may have opened it before that. */
static bool is_still_there(int fd)
{
	struct stat mine, now;

	return !fstat(fd, &mine) && !stat(HF_JOURNAL, &now) && mine.st_dev == now.st_dev &&
	       mine.st_ino == now.st_ino;
}

/* What it says will be done. */
static bool is_of_our_own(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

int hf_journal_open(struct hf_journal *j, bool create)
{
	off_t len;
	int err;

	*j = (struct hf_journal){ .fd = -1 };
	for (;;) {
		j->fd = open(HF_JOURNAL, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0),
			     0600);
		if (j->fd < 0)
			return -errno;
		err = !is_of_our_own(j->fd) ? -EPERM : flock(j->fd, LOCK_EX | LOCK_NB) ? -errno : 0;
		if (err || is_still_there(j->fd))
			break;
		close(j->fd);
	}
	len = err ? err : take_all(j);
	if (len >= 0)
		err = ftruncate(j->fd, len) ? -errno : 0;
	else
		err = (int)len;
	if (err)
		hf_journal_close(j);
	return err;
}

struct hf_owner hf_journal_owner(void)
{
	struct hf_journal *j = calloc(1, sizeof(*j));
	struct hf_owner owner = { 0 };

	if (!j)
		return owner;
	j->fd = open(HF_JOURNAL, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (j->fd >= 0 && take_all(j) > 0)
		owner = j->owner;
	if (j->fd >= 0)
		close(j->fd);
	free(j);
	return owner;
}

void hf_journal_close(struct hf_journal *j)
{
	close(j->fd);
	j->fd = -1;
}

void hf_journal_remove(struct hf_journal *j)
{
	unlink(HF_JOURNAL);
	hf_journal_close(j);
}

/* ---- writing ---- */

/* What was written of a line that did not get done would be read together with the next one. */
static int append(struct hf_journal *j, const char *text)
{
	off_t end = lseek(j->fd, 0, SEEK_END);
	ssize_t n = end + (off_t)strlen(text) < MAX_SIZE ? write(j->fd, text, strlen(text)) : -1;

	if (n == (ssize_t)strlen(text))
		return 0;
	return ftruncate(j->fd, end) ? -errno : -ENOSPC;
}

int hf_journal_begin(struct hf_journal *j, uint64_t line)
{
	char text[256], boot[64];
	int err = hf_read_text(BOOT_ID, boot, sizeof(boot));

	if (err)
		return err;
	j->nr = 0;
	j->owner = (struct hf_owner){ getpid(), beginning_of(getpid()), line };
	snprintf(text, sizeof(text), FIRST_LINE "boot %s\nowner %d %" PRIu64 " %" PRIu64 "\n", boot,
		 (int)j->owner.pid, j->owner.began, j->owner.line);
	return ftruncate(j->fd, 0) ? -errno : append(j, text);
}

static bool is_written(const struct hf_journal *j, const struct hf_change *c)
{
	for (size_t i = 0; i < j->nr; i++)
		if (!j->changes[i].back && j->changes[i].kind == c->kind &&
		    !strcmp(j->changes[i].path, c->path) && !strcmp(j->changes[i].to, c->to))
			return true;
	return false;
}

int hf_journal_add(struct hf_journal *j, enum hf_change_kind kind, const char *path,
		   const char *was, const char *to)
{
	struct hf_change c = { .kind = kind };
	char text[256];
	int err;

	if (strlen(path) >= sizeof(c.path) || strlen(was) >= sizeof(c.was) ||
	    strlen(to) >= sizeof(c.to) || strpbrk(was, " \t\n") || strpbrk(to, " \t\n") ||
	    2 + !!*was + !!*to != words_of[kind])
		return -EINVAL;
	strcpy(c.path, path);
	strcpy(c.was, was);
	strcpy(c.to, to);
	if (is_written(j, &c))
		return 0;
	if (j->nr == HF_MAX_CHANGES)
		return -ENOSPC;
	snprintf(text, sizeof(text), "%s %s%s%s%s%s\n", kinds[kind], path, *was ? " " : "", was,
		 *to ? " " : "", to);
	err = append(j, text);
	if (!err)
		j->changes[j->nr++] = c;
	return err;
}

int hf_journal_put_back(struct hf_journal *j, size_t change)
{
	char text[32];

	j->changes[change].back = true;
	snprintf(text, sizeof(text), "back %zu\n", change + 1);
	return append(j, text);
}
