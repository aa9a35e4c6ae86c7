/* SPDX-License-Identifier: MIT */
/* Histories in a kernel under QEMU: the runner there has the engine, too, and compares; what it
 * finds comes back as lines of JSON. */
#include "run.h"

#include "boot.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct talk {
	const struct hf_image *image;
	const struct hf_equiv_options *o;
	struct hf_equiv_result *result;
	struct hf_boot boot;
	bool ready, over;
	int status;
};

static int add_all(const void *arg, struct hf_cpio *c)
{
	const struct talk *t = arg;
	const struct hf_equiv_options *o = t->o;
	int err = hf_image_add_base(t->image, c);
	json_t *job = json_pack("{s:{s:s, s:i, s:I, s:I, s:I, s:i, s:I}}", "equiv", "policy",
				o->policy, "kind", (int)o->kind, "seed", (json_int_t)o->seed,
				"first", (json_int_t)o->first, "count", (json_int_t)o->count,
				"most", (int)o->most, "without", (json_int_t)o->without);
	char *text = json_dumps(job, JSON_COMPACT);

	json_decref(job);
	if (text)
		hf_cpio_data(c, "jobs", text, strlen(text));
	free(text);
	return text ? err : -ENOMEM;
}

/* ---- lines ---- */

static bool take_counts(struct talk *t, json_t *o)
{
	json_int_t histories, steps, skipped, differences;

	if (json_unpack(o, "{s:I, s:I, s:I, s:I, s:f}", "histories", &histories, "steps", &steps,
			"skipped", &skipped, "differences", &differences, "seconds",
			&t->result->seconds) ||
	    histories < 0 || steps < 0 || skipped < 0 || differences < 0)
		return false;
	t->result->histories = (uint64_t)histories;
	t->result->steps = (uint64_t)steps;
	t->result->skipped = (uint64_t)skipped;
	t->result->differences = (uint64_t)differences;
	return true;
}

static bool take_found(const struct talk *t, json_t *o)
{
	struct hf_equiv_found f = { .times = 1 };
	json_int_t history, what, steps;
	int steady;

	if (json_unpack(o, "{s:I, s:I, s:I, s:b, s:s, s:s}", "what", &what, "history", &history,
			"steps", &steps, "steady", &steady, "text", &f.text, "words", &f.words) ||
	    what < HF_SAME || what > HF_DIFF_END || history < 0 || steps < 0 || steps > UINT_MAX)
		return false;
	f.what = (enum hf_difference)what;
	f.history = (uint64_t)history;
	f.steps = (unsigned)steps;
	f.steady = steady;
	if (t->o->found)
		t->o->found(t->o->arg, &f);
	return true;
}

static void note(const struct talk *t, const char *what, const char *text)
{
	char words[512];

	snprintf(words, sizeof(words), "%s: %s%s", t->image->t.name, what, text);
	if (t->o->note)
		t->o->note(t->o->arg, words);
}

static bool take_status(struct talk *t, json_int_t status)
{
	t->over = status <= 0 && status > -4096;
	if (t->over)
		t->status = (int)status;
	return t->over;
}

/* False: it is not what the runner says. */
static bool take_line(struct talk *t, const char *line)
{
	json_t *o = json_loads(line, 0, NULL), *part;
	json_int_t status;
	const char *text;
	bool good = true;

	if ((part = json_object_get(o, "counts"))) {
		good = take_counts(t, part);
		if (good && t->o->progress)
			t->o->progress(t->o->arg, t->result);
	} else if ((part = json_object_get(o, "found"))) {
		good = take_found(t, part);
	} else if (!json_unpack(o, "{s:I}", "status", &status)) {
		good = take_status(t, status);
	} else if (!json_unpack(o, "{s:s}", "note", &text)) {
		note(t, "", text);
	} else if (!json_unpack(o, "{s:s}", "ready", &text)) {
		t->ready = true;
	} else {
		good = t->over = json_object_get(o, "end");
		t->status = -EIO;
	}
	json_decref(o);
	return good;
}

/* ---- the boot ---- */

static void tell_how_it_ended(struct talk *t, enum hf_boot_end how)
{
	static const char *const what[] = {
		[HF_BOOT_RUNS] = "the runner says what it should not; ",
		[HF_BOOT_DIED] = "the kernel died: ",
		[HF_BOOT_SILENT] = "the kernel hangs: ",
	};

	t->status = how == HF_BOOT_STOPPED ? -EINTR : -EIO;
	if (how != HF_BOOT_STOPPED)
		note(t, what[how], hf_boot_last_words(&t->boot, NULL));
}

static void follow(struct talk *t)
{
	enum hf_boot_end how;
	bool good = true;
	char *line;

	do
		how = hf_boot_next(&t->boot, t->image->patience, t->o->stop, &line);
	while (how == HF_BOOT_RUNS && (good = take_line(t, line)) && !t->over);
	if (how != HF_BOOT_RUNS || !good)
		tell_how_it_ended(t, how);
}

int hf_image_equiv(struct hf_target *target, const struct hf_equiv_options *options,
		   struct hf_equiv_result *result)
{
	struct talk t = { .image = (struct hf_image *)target, .o = options, .result = result };
	int initramfs = hf_image_initramfs(add_all, &t), err;

	if (initramfs < 0)
		return initramfs;
	err = hf_boot_start(&t.boot, t.image->path, initramfs);
	close(initramfs);
	if (err) {
		note(&t, "qemu-system-x86_64: ", strerror(-err));
		return -ENOTSUP;
	}
	follow(&t);
	hf_boot_stop(&t.boot);
	return t.status;
}
