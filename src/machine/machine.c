/* SPDX-License-Identifier: MIT */
/* The runner's side: the lock, the guardian, changes, the end. */
#include "machine.h"

#include "file.h"
#include "helper.h"
#include "hugetlb.h"
#include "journal.h"
#include "leftovers.h"
#include "restore.h"
#include "zram.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GUARDIAN "holdfast-guardian"
#define NODES "/sys/devices/system/node/node*/hugepages/hugepages-2048kB"

static struct {
	void (*say)(const char *text);
	const volatile sig_atomic_t *stop;
	bool expendable, held;
	int refused; /* why not, once it is known */
	unsigned users;
	pid_t pid; /* who joined: a child has no part in it */
	struct hf_journal journal;
	pid_t guardian;
	int line; /* the life line, our end */
} us = { .line = -1 };

void hf_machine_user(void (*say)(const char *text), const volatile sig_atomic_t *stop)
{
	us.say = say;
	us.stop = stop;
}

void hf_machine_expendable(void)
{
	us.expendable = true;
}

static void say(const char *text)
{
	if (us.say)
		us.say(text);
}

/* ---- the guardian ---- */

/* It is in a session of its own and deaf to signals before its first instruction. */
static int spawn(const char *path, int its_end, const char *line)
{
	char pid[16], *argv[] = { (char[]){ GUARDIAN }, pid, (char *)(uintptr_t)line, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t all;
	int err;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, its_end, STDIN_FILENO);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(&us.guardian, path, &files, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return -err;
}

static uint64_t life_line(void)
{
	struct stat st;

	return fstat(us.line, &st) ? 0 : st.st_ino;
}

/* Also where it is gone already. */
static void dismiss_guardian(void)
{
	if (us.line < 0)
		return;
	send(us.line, "", 1, MSG_NOSIGNAL);
	close(us.line);
	us.line = -1;
	while (waitpid(us.guardian, NULL, 0) < 0 && errno == EINTR)
		;
}

static int start_guardian(void)
{
	char path[PATH_MAX], line[24], ready;
	int ends[2], err = hf_helper_path(GUARDIAN, path, sizeof(path));
	ssize_t n;

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	us.line = ends[0];
	snprintf(line, sizeof(line), "%" PRIu64, life_line());
	err = spawn(path, ends[1], line);
	close(ends[1]);
	if (err) {
		close(us.line);
		us.line = -1;
		return err;
	}
	do
		n = read(us.line, &ready, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return 0;
	dismiss_guardian();
	return -ECHILD;
}

/* ---- what the dead have left ---- */

static void tell_trouble(void *arg, enum hf_outcome outcome, const char *text)
{
	unsigned *nr = arg;

	if (outcome == HF_PUT_BACK)
		++*nr;
	else
		say(text);
}

/* How many are stuck. The journal is removed, or closed. */
static unsigned restore_of_the_dead(struct hf_journal *j)
{
	pid_t owner = j->owner.pid;
	unsigned nr = 0, stuck = hf_restore(j, tell_trouble, &nr);
	char text[128];

	snprintf(text, sizeof(text),
		 "process %d has ended without putting back what it changed of this machine: %u "
		 "put back",
		 (int)owner, nr);
	if (nr)
		say(text);
	return stuck;
}

/* ---- the lock ---- */

static bool stopped(void)
{
	return us.stop && *us.stop;
}

/* Said once. */
static void wait_for_owner(bool *said)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	struct hf_owner owner = hf_journal_owner();
	char text[128];

	if (owner.pid && !hf_owner_lives(&owner)) {
		hf_kill_leftovers(owner.line);
	} else if (owner.pid && !*said) {
		snprintf(text, sizeof(text),
			 "waiting for process %d, which has changed this machine's settings",
			 (int)owner.pid);
		say(text);
		*said = true;
	}
	nanosleep(&pause, NULL);
}

/* Ours is empty, and nobody is left who would change something. */
static int take_lock(void)
{
	bool said = false;

	for (;;) {
		int err = hf_journal_open(&us.journal, true);

		if (!err && !us.journal.nr)
			return 0;
		if (!err && restore_of_the_dead(&us.journal))
			return -EBUSY;
		if (err && err != -EWOULDBLOCK)
			return err;
		if (stopped())
			return -EINTR;
		if (err)
			wait_for_owner(&said);
	}
}

static void explain(int err, char *why, size_t len)
{
	switch (err) {
	case -EINTR:
		snprintf(why, len, "interrupted while another run had changed this machine");
		break;
	case -EBUSY:
		snprintf(why, len,
			 "what an earlier run changed cannot be put back; see holdfast restore");
		break;
	case -ENOENT:
	case -ECHILD:
		snprintf(why, len, GUARDIAN ", which would put settings back, cannot be started");
		break;
	case -EPROTO:
		snprintf(why, len, HF_JOURNAL " was written by another version of holdfast");
		break;
	case -EACCES:
		snprintf(why, len, "only root may");
		break;
	default:
		snprintf(why, len, HF_JOURNAL " cannot be written (%s)", strerror(-err));
		break;
	}
}

/* The guardian first: from then on there is somebody who removes the journal. */
static int hold(void)
{
	int err;

	if (us.expendable || us.held)
		return 0;
	if (eaccess("/run", W_OK))
		return -errno;
	err = start_guardian();
	for (int i = 0; i < 3 && err == -ECHILD; i++) /* somebody has killed it */
		err = start_guardian();
	if (err)
		return err;
	err = take_lock();
	if (!err) {
		err = hf_journal_begin(&us.journal, life_line());
		if (err)
			hf_journal_remove(&us.journal);
	}
	if (err)
		dismiss_guardian();
	us.held = !err;
	return err;
}

int hf_machine_hold(char *why, size_t len)
{
	if (!us.refused)
		us.refused = hold();
	if (us.refused)
		explain(us.refused, why, len);
	return us.refused;
}

/* ---- joining and leaving ---- */

void hf_machine_join(void)
{
	if (us.users++ || us.expendable)
		return;
	us.pid = getpid();
	if (!hf_journal_open(&us.journal, false))
		restore_of_the_dead(&us.journal);
}

void hf_machine_leave(void)
{
	unsigned nr = 0;

	if (us.pid != getpid() || --us.users)
		return;
	us.refused = 0;
	if (!us.held)
		return;
	us.held = false;
	if (hf_restore(&us.journal, tell_trouble, &nr))
		say("see holdfast restore");
	dismiss_guardian();
}

/* ---- changes ---- */

static int write_down(enum hf_change_kind kind, const char *path, const char *was, const char *to)
{
	return us.expendable ? 0 : hf_journal_add(&us.journal, kind, path, was, to);
}

static int change(const char *path, const char *was, const char *value)
{
	int err = write_down(HF_CHANGE_SET, path, was, value);

	return err ? err : hf_write_text(path, value);
}

int hf_machine_set(const char *path, const char *value, char *why, size_t len)
{
	char was[64], reason[128];
	int err = hf_machine_hold(reason, sizeof(reason));
	int none = hf_read_setting(path, was, sizeof(was));

	if (!none && !strcmp(was, value) && err != -EINTR && err != -EBUSY)
		return 0;
	if (!err) {
		err = none ? none : change(path, was, value);
		snprintf(reason, sizeof(reason), "%s", strerror(-err));
	}
	if (err)
		snprintf(why, len, "%s cannot be set: %s", path, reason);
	return err;
}

int hf_machine_keep(const char *path)
{
	char was[64], why[128];
	int err = hf_machine_hold(why, sizeof(why));

	if (!err)
		err = hf_read_setting(path, was, sizeof(was));
	return err ? err : write_down(HF_CHANGE_KEEP, path, was, "");
}

/* The kernel spreads what is asked for over nodes as it can, so each may get all of it. */
static int write_pools_down(size_t pages)
{
	char was[24], to[24];
	glob_t nodes;
	int err = 0;

	if (us.expendable)
		return 0;
	if (glob(NODES, 0, NULL, &nodes))
		nodes.gl_pathc = 0;
	for (size_t i = 0; i < (nodes.gl_pathc ? nodes.gl_pathc : 1) && !err; i++) {
		const char *folder = nodes.gl_pathc ? nodes.gl_pathv[i] : HF_HUGETLB;
		long size = hf_hugetlb_size(folder);

		snprintf(was, sizeof(was), "%ld", size);
		snprintf(to, sizeof(to), "%ld", hf_hugetlb_with(folder, pages));
		err = write_down(HF_CHANGE_POOL, folder, was, to);
	}
	if (nodes.gl_pathc)
		globfree(&nodes);
	return err;
}

int hf_machine_enlarge_pool(size_t pages, char *why, size_t len)
{
	int err = hf_machine_hold(why, len);
	long size = hf_hugetlb_with(HF_HUGETLB, pages);

	if (err)
		return err;
	err = size < 0 ? -ENOENT : write_pools_down(pages);
	if (!err)
		err = hf_hugetlb_resize(HF_HUGETLB, size);
	if (err)
		snprintf(why, len, HF_HUGETLB "/nr_hugepages cannot be set: %s", strerror(-err));
	return err;
}

/* The number is known only when the device is there; written down is which it will be, and again
 * which it is, if somebody else was faster. */
static int add_zram(int *id)
{
	int next = hf_zram_next(), err;
	char number[16];

	snprintf(number, sizeof(number), "%d", next);
	err = write_down(HF_CHANGE_ZRAM, number, "", "");
	if (err)
		return err;
	*id = hf_zram_add();
	if (us.expendable || *id == next)
		return 0;
	hf_journal_put_back(&us.journal, us.journal.nr - 1);
	if (*id < 0)
		return *id;
	snprintf(number, sizeof(number), "%d", *id);
	return write_down(HF_CHANGE_ZRAM, number, "", "");
}

int hf_machine_add_swap(char *why, size_t len)
{
	int id = -1, err = hf_machine_hold(why, len);

	if (err)
		return err;
	err = add_zram(&id);
	if (!err)
		err = hf_zram_swap_on(id);
	if (err && id >= 0 && !hf_zram_remove(id) && !us.expendable)
		hf_journal_put_back(&us.journal, us.journal.nr - 1);
	if (err)
		snprintf(why, len, "no zram device can be made and swapped to: %s", strerror(-err));
	return err;
}
