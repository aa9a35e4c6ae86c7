/* SPDX-License-Identifier: MIT */
#include "restore.h"

#include "file.h"
#include "hugetlb.h"
#include "leftovers.h"
#include "zram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct telling {
	hf_told_fn told;
	void *arg;
	unsigned stuck;
};

static void tell(struct telling *t, enum hf_outcome outcome, const char *text)
{
	t->stuck += outcome == HF_STUCK;
	if (t->told)
		t->told(t->arg, outcome, text);
}

/* What there was before the first change of a setting is what is put back;
 * it is the last that is. */
static bool is_first(const struct hf_journal *j, size_t change)
{
	for (size_t i = 0; i < change; i++)
		if (!j->changes[i].back && j->changes[i].kind == j->changes[change].kind &&
		    !strcmp(j->changes[i].path, j->changes[change].path))
			return false;
	return true;
}

/* ---- is it still as we left it? ---- */

static bool we_set(const struct hf_journal *j, const char *path, const char *now)
{
	for (size_t i = 0; i < j->nr; i++)
		if (!strcmp(j->changes[i].path, path) && !strcmp(j->changes[i].to, now))
			return true;
	return false;
}

/* The kernel may have found less than was asked for. */
static bool we_enlarged(const struct hf_journal *j, const struct hf_change *c, long now)
{
	long most = 0, to;

	for (size_t i = 0; i < j->nr; i++) {
		to = strtol(j->changes[i].to, NULL, 10);
		if (!strcmp(j->changes[i].path, c->path) && to > most)
			most = to;
	}
	return now >= strtol(c->was, NULL, 10) && now <= most;
}

/* ---- one change ---- */

static void outcome_of(struct telling *t, const struct hf_change *c, const char *now, int err)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s again, as it was before (%s)", c->path, c->was, now);
	if (err)
		snprintf(text, sizeof(text), "%s: %s cannot be put back: %s", c->path, c->was,
			 strerror(-err));
	tell(t, err ? HF_STUCK : HF_PUT_BACK, text);
}

static void leave(struct telling *t, const char *path, const char *now)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: left at %s, which somebody else has set", path, now);
	tell(t, HF_NOT_OURS, text);
}

/* Returns an error that another attempt may not have. What is as it was is written again: a write
 * that was killed may have been half done (khugepaged not started). */
static int restore_setting(const struct hf_journal *j, const struct hf_change *c, struct telling *t)
{
	char now[64];
	int err = hf_read_setting(c->path, now, sizeof(now));
	bool same = !err && !strcmp(now, c->was);

	if (err == -ENOENT)
		return 0;
	if (!err && !same && !we_set(j, c->path, now)) {
		leave(t, c->path, now);
		return 0;
	}
	if (!err)
		err = hf_write_text(c->path, c->was);
	if (!same)
		outcome_of(t, c, now, err);
	return same ? 0 : err;
}

static int restore_kept(const struct hf_change *c)
{
	char now[64];
	int err = hf_read_setting(c->path, now, sizeof(now));

	return !err && strcmp(now, c->was) ? hf_write_text(c->path, c->was) : 0;
}

static int restore_pool(const struct hf_journal *j, const struct hf_change *c, struct telling *t)
{
	long size = hf_hugetlb_size(c->path);
	char now[32];
	int err;

	snprintf(now, sizeof(now), "%ld", size);
	if (size < 0)
		return 0;
	if (!strcmp(now, c->was)) {
		hf_hugetlb_resize(c->path, size);
		return 0;
	}
	if (!we_enlarged(j, c, size)) {
		leave(t, c->path, now);
		return 0;
	}
	err = hf_hugetlb_resize(c->path, strtol(c->was, NULL, 10));
	outcome_of(t, c, now, err);
	return err;
}

static int restore_zram(const struct hf_change *c, struct telling *t)
{
	int id = atoi(c->path), err;
	char text[128];

	if (!hf_zram_exists(id))
		return 0;
	snprintf(text, sizeof(text), "/dev/zram%d: left, somebody else has it", id);
	if (!hf_zram_looks_like_ours(id)) {
		tell(t, HF_NOT_OURS, text);
		return 0;
	}
	err = hf_zram_remove(id);
	snprintf(text, sizeof(text), "/dev/zram%d: %s%s", id,
		 err ? "cannot be removed: " : "removed, with the swap on it",
		 err ? strerror(-err) : "");
	tell(t, err ? HF_STUCK : HF_PUT_BACK, text);
	return err;
}

static int restore_change(const struct hf_journal *j, size_t change, struct telling *t)
{
	const struct hf_change *c = &j->changes[change];

	if (!is_first(j, change))
		return 0;
	switch (c->kind) {
	case HF_CHANGE_SET:
		return restore_setting(j, c, t);
	case HF_CHANGE_KEEP:
		return restore_kept(c);
	case HF_CHANGE_POOL:
		return restore_pool(j, c, t);
	case HF_CHANGE_ZRAM:
		return restore_zram(c, t);
	}
	return 0;
}

unsigned hf_restore(struct hf_journal *j, hf_told_fn told, void *arg)
{
	struct telling t = { .told = told, .arg = arg };

	for (size_t i = j->nr; i-- > 0;)
		if (!j->changes[i].back && !restore_change(j, i, &t))
			hf_journal_put_back(j, i);
	if (t.stuck)
		hf_journal_close(j);
	else
		hf_journal_remove(j);
	return t.stuck;
}

/* ---- of the dead ---- */

int hf_restore_now(struct hf_owner *owner, hf_told_fn told, void *arg)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	struct hf_journal *j = calloc(1, sizeof(*j));
	int err = j ? hf_journal_open(j, false) : -ENOMEM;

	for (int i = 0; i < 1000 && err == -EWOULDBLOCK; i++) {
		*owner = hf_journal_owner();
		if (hf_owner_lives(owner))
			break;
		if (owner->pid)
			hf_kill_leftovers(owner->line);
		nanosleep(&pause, NULL);
		err = hf_journal_open(j, false);
	}
	if (!err) {
		*owner = j->owner;
		err = (int)hf_restore(j, told, arg);
	}
	free(j);
	return err == -EWOULDBLOCK ? -EBUSY : err;
}
