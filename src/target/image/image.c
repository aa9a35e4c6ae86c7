/* SPDX-License-Identifier: MIT */
#include "image.h"

#include "../../machine/helper.h"
#include "../../scenario/cell_json.h"
#include "../common/era.h"
#include "boot.h"
#include "cpio.h"
#include "modules.h"
#include "release.h"
#include "run.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATIENCE 60

/* The cells of a batch, over as many boots as it takes. */
struct work {
	struct hf_image *image;
	struct hf_batch *batch;
	bool *done;
	struct hf_boot boot;
	bool ready;  /* this kernel has said so */
	int current; /* the cell under way, -1: none */
};

static void finish(struct work *w, size_t i)
{
	w->done[i] = true;
	if (w->batch->done)
		w->batch->done(w->batch->arg, w->batch->cells[i]);
}

/* All cells that are left. */
static void fail_rest(struct work *w, const char *why)
{
	for (size_t i = 0; i < w->batch->nr; i++) {
		struct hf_cell *cell = w->batch->cells[i];

		if (w->done[i])
			continue;
		cell->verdict = HF_ERROR;
		snprintf(cell->detail, sizeof(cell->detail), "%s", why);
		finish(w, i);
	}
}

/* ---- the initramfs ---- */

static const char *scenario_name(const struct hf_batch *b, size_t i, char *name, size_t len)
{
	/* cells of one scenario stand together: it is called by the number of its first */
	while (i > 0 && b->cells[i - 1]->scn == b->cells[i]->scn)
		i--;
	snprintf(name, len, "/scenarios/%zu.hf", i);
	return name;
}

static int add_jobs(const struct work *w, struct hf_cpio *c)
{
	json_t *cells = json_array(), *jobs;
	char name[40], *text;

	for (size_t i = 0; i < w->batch->nr; i++)
		if (!w->done[i])
			json_array_append_new(
				cells, json_pack("[i, s, s]", (int)i,
						 scenario_name(w->batch, i, name, sizeof(name)),
						 hf_kind_name(w->batch->cells[i]->kind)));
	jobs = json_pack("{s:b, s:o}", "trace", w->batch->trace, "cells", cells);
	text = json_dumps(jobs, JSON_COMPACT);
	json_decref(jobs);
	if (!text)
		return -ENOMEM;
	hf_cpio_data(c, "jobs", text, strlen(text));
	free(text);
	return 0;
}

static int add_scenarios(const struct work *w, struct hf_cpio *c)
{
	const struct hf_scenario *last = NULL;
	char name[40];
	int err = 0;

	for (size_t i = 0; i < w->batch->nr && !err; i++) {
		const struct hf_scenario *scn = w->batch->cells[i]->scn;

		if (scn != last)
			err = hf_cpio_copy(c, scenario_name(w->batch, i, name, sizeof(name)) + 1,
					   scn->path);
		last = scn;
	}
	return err;
}

int hf_image_add_base(const struct hf_image *image, struct hf_cpio *c)
{
	static const char *const folders[] = { "proc", "sys",     "dev",     "tmp",
					       "var",  "var/tmp", "modules", "scenarios" };
	const struct hf_modules *m = &image->modules;
	char name[40];

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		hf_cpio_folder(c, folders[i]);
	hf_cpio_device(c, "dev/console", 5, 1);
	for (size_t i = 0; i < m->nr; i++) {
		snprintf(name, sizeof(name), "modules/%zu.ko", i);
		hf_cpio_data(c, name, m->module[i].data, m->module[i].len);
	}
	return hf_cpio_copy(c, "init", image->init);
}

static int add_all(const void *arg, struct hf_cpio *c)
{
	const struct work *w = arg;
	int err = hf_image_add_base(w->image, c);

	if (!err)
		err = add_scenarios(w, c);
	if (!err)
		err = add_jobs(w, c);
	return err;
}

int hf_image_initramfs(int (*add)(const void *arg, struct hf_cpio *c), const void *arg)
{
	int fd = memfd_create("initramfs", MFD_CLOEXEC), err;
	struct hf_cpio c = { .file = fd < 0 ? NULL : fdopen(dup(fd), "w") };

	if (!c.file) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	err = add(arg, &c);
	hf_cpio_end(&c);
	if (ferror(c.file) && !err)
		err = -EIO;
	if (fclose(c.file) && !err)
		err = -errno;
	if (err)
		close(fd);
	return err ? err : fd;
}

/* ---- results ---- */

static bool take_cell(struct work *w, json_t *o, json_int_t i)
{
	if (i < 0 || i != w->current || hf_cell_from_json(o, w->batch->cells[i]))
		return false;
	w->current = -1;
	finish(w, (size_t)i);
	return true;
}

static bool take_begin(struct work *w, json_int_t i)
{
	if (!w->ready || w->current >= 0 || i < 0 || (size_t)i >= w->batch->nr || w->done[i])
		return false;
	w->current = (int)i;
	return true;
}

static void take_note(const struct work *w, const char *note)
{
	char text[320];

	snprintf(text, sizeof(text), "%s: %s", w->image->t.name, note);
	if (w->batch->note)
		w->batch->note(w->batch->arg, text);
}

/* False: it is not what the runner says. */
static bool take_line(struct work *w, const char *line, bool *end)
{
	json_t *o = json_loads(line, 0, NULL);
	const char *text;
	bool good = true;
	json_int_t i;

	if (!json_unpack(o, "{s:I}", "cell", &i))
		good = take_cell(w, o, i);
	else if (!json_unpack(o, "{s:I}", "begin", &i))
		good = take_begin(w, i);
	else if (!json_unpack(o, "{s:s}", "note", &text))
		take_note(w, text);
	else if (!json_unpack(o, "{s:s}", "ready", &text))
		w->ready = true;
	else
		good = *end = json_object_get(o, "end");
	json_decref(o);
	return good;
}

/* ---- a boot that did not come to its end ---- */

static void blame(struct work *w, size_t i, enum hf_boot_end how)
{
	static const char *const what[] = {
		[HF_BOOT_RUNS] = "the runner says what it should not",
		[HF_BOOT_DIED] = "the kernel died",
		[HF_BOOT_SILENT] = "the kernel hangs",
		[HF_BOOT_STOPPED] = "interrupted",
	};
	struct hf_cell *cell = w->batch->cells[i];
	bool crash;
	const char *words = hf_boot_last_words(&w->boot, &crash);

	cell->verdict = crash ? HF_BUG : HF_ERROR;
	snprintf(cell->detail, sizeof(cell->detail), "%s%s%.*s", what[how], *words ? ": " : "",
		 (int)strcspn(words, "\n"), words);
	free(cell->console);
	cell->console = *words ? strdup(words) : NULL;
	finish(w, i);
}

static void not_started(struct work *w, enum hf_boot_end how)
{
	const char *words = hf_boot_last_words(&w->boot, NULL);
	char why[320];

	snprintf(why, sizeof(why), "the kernel does not come up: %s%.*s",
		 how == HF_BOOT_SILENT ? "it is silent; before: " : "", (int)strcspn(words, "\n"),
		 words);
	fail_rest(w, why);
}

static void pick_up(struct work *w, enum hf_boot_end how)
{
	size_t next = 0;

	if (how == HF_BOOT_STOPPED) {
		fail_rest(w, "interrupted");
		return;
	}
	if (!w->ready) {
		not_started(w, how);
		return;
	}
	/* between two cells: then it will be the one that comes next */
	while (next < w->batch->nr && w->done[next])
		next++;
	if (w->current >= 0)
		next = (size_t)w->current;
	if (next < w->batch->nr)
		blame(w, next, how);
}

/* ---- boots ---- */

static bool all_done(const struct work *w)
{
	for (size_t i = 0; i < w->batch->nr; i++)
		if (!w->done[i])
			return false;
	return true;
}

static void follow(struct work *w)
{
	enum hf_boot_end how;
	bool end = false;
	char *line;

	w->ready = false;
	w->current = -1;
	do
		how = hf_boot_next(&w->boot, w->image->patience, w->batch->stop, &line);
	while (how == HF_BOOT_RUNS && take_line(w, line, &end) && !end);
	if (!end)
		pick_up(w, how);
	else
		fail_rest(w, w->ready ? "the runner left it out" : "the runner cannot start there");
}

static void boot_once(struct work *w)
{
	int initramfs = hf_image_initramfs(add_all, w), err;
	char why[320];

	if (initramfs < 0) {
		snprintf(why, sizeof(why), "making the initramfs: %s", strerror(-initramfs));
		fail_rest(w, why);
		return;
	}
	err = hf_boot_start(&w->boot, w->image->path, initramfs);
	close(initramfs);
	if (err) {
		snprintf(why, sizeof(why), "qemu-system-x86_64: %s%s", strerror(-err),
			 err == -ENOENT ? "; install qemu-system-x86" : "");
		fail_rest(w, why);
		return;
	}
	follow(w);
	hf_boot_stop(&w->boot);
}

static void image_batch(struct hf_target *t, struct hf_batch *batch)
{
	struct work w = { .image = (struct hf_image *)t, .batch = batch };

	w.done = calloc(batch->nr + 1, sizeof(*w.done));
	for (size_t i = 0; i < batch->nr && !w.done; i++) {
		batch->cells[i]->verdict = HF_ERROR;
		snprintf(batch->cells[i]->detail, sizeof(batch->cells[i]->detail), "out of memory");
	}
	while (w.done && !all_done(&w))
		boot_once(&w);
	free(w.done);
}

/* ---- the target ---- */

static void image_free(struct hf_target *t)
{
	struct hf_image *image = (struct hf_image *)t;

	hf_modules_free(&image->modules);
	free(image->name);
	free(image->path);
	free(image->init);
	free(image);
}

static const struct hf_target_ops image_ops = {
	.batch = image_batch,
	.equiv = hf_image_equiv,
	.free = image_free,
};

static bool find_init(struct hf_image *image, const struct hf_image_options *opt, char *err,
		      size_t len)
{
	char path[PATH_MAX];

	if (opt->init)
		snprintf(path, sizeof(path), "%s", opt->init);
	else if (hf_helper_path("holdfast-init", path, sizeof(path))) {
		snprintf(err, len,
			 "%s: holdfast-init, which kernels under QEMU run, is neither beside this "
			 "program nor in ../libexec/holdfast; it is built where liburing, liburcu "
			 "and jansson have static libraries",
			 image->name);
		return false;
	}
	image->init = strdup(path);
	return image->init;
}

/* Beside the image as distributions, builds and our own store lay them out; then the system's. */
static bool find_modules(struct hf_image *image, const char *release,
			 const struct hf_image_options *opt, char *err, size_t len)
{
	static const char *const places[] = { "%s/modules", "%s/kernel", "%s/../lib/modules/%s",
					      "%s/../usr/lib/modules/%s" };
	char path[5][PATH_MAX], where[PATH_MAX], *copy = strdup(image->path);
	const char *folders[5] = { opt->modules };
	const char *beside = copy ? dirname(copy) : "";
	int e = copy ? 0 : -ENOMEM;
	size_t nr = 1;

	if (!e && !opt->modules) {
		for (nr = 0; nr < 4; nr++)
			snprintf(path[nr], sizeof(path[0]), places[nr], beside, release);
		snprintf(path[nr++], sizeof(path[0]), "/lib/modules/%s", release);
		for (size_t i = 0; i < nr; i++)
			folders[i] = path[i];
	}
	if (!e)
		e = hf_modules_find(&image->modules, folders, nr, where, sizeof(where));
	if (e)
		snprintf(err, len, "%s: modules: %s: %s", image->name, where, strerror(-e));
	free(copy);
	return !e;
}

struct hf_target *hf_target_image(const char *name, const char *path,
				  const struct hf_image_options *opt, char *err, size_t len)
{
	struct hf_image *image = calloc(1, sizeof(*image));
	char release[96] = "";
	int e = image ? hf_image_release(path, release, sizeof(release)) : -ENOMEM;
	unsigned version = hf_kernel_version(release);

	if (e || version < HF_KERNEL_OLDEST) {
		snprintf(err, len, "%s: %s", path,
			 e == -ENOEXEC ? "not an x86-64 kernel image (bzImage)"
			 : e           ? strerror(-e)
				       : "Linux 5.3 or later is needed");
		free(image);
		return NULL;
	}
	image->patience = opt->patience ? opt->patience : PATIENCE;
	image->name = strdup(name);
	image->path = strdup(path);
	image->t = (struct hf_target){ .ops = &image_ops,
				       .name = image->name,
				       .expect = hf_kernel_era(version),
				       .rules = hf_kernel_rules(version) };
	snprintf(image->t.detail, sizeof(image->t.detail), "Linux %s", release);
	snprintf(err, len, "%s: out of memory", path);
	if (image->name && image->path && find_init(image, opt, err, len) &&
	    find_modules(image, release, opt, err, len))
		return &image->t;
	image_free(&image->t);
	return NULL;
}
