/* SPDX-License-Identifier: MIT */
/*
 * The first and only program of a kernel under QEMU: runs the cells that /jobs asks for on the
 * target `here`, and writes what comes out to the second serial line, a JSON object a line. Nothing
 * is freed: the machine goes with it.
 */
#include "histories.h"
#include "kmsg.h"

#include "../machine/machine.h"
#include "../scenario/cell_json.h"
#include "../target/here/here.h"
#include "../target/image/boot.h"
#include "../target/targets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static FILE *results;

static void emit(json_t *o)
{
	json_dumpf(o, results, JSON_COMPACT);
	fputc('\n', results);
	fflush(results);
	json_decref(o);
}

static void note(const char *what, const char *why)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s", what, why);
	emit(json_pack("{s:o}", "note", hf_json_text(text)));
}

static void mount_all(void)
{
	static const char *const mounts[][2] = {
		{ "/proc", "proc" },    { "/sys", "sysfs" },
		{ "/dev", "devtmpfs" }, { "/sys/kernel/debug", "debugfs" },
		{ "/tmp", "tmpfs" },    { "/var/tmp", "tmpfs" },
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
		mount(mounts[i][1], mounts[i][0], mounts[i][1], 0, NULL);
}

static bool open_results(void)
{
	int fd = open("/dev/ttyS1", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	struct termios raw;

	if (fd < 0 || tcgetattr(fd, &raw))
		return false;
	cfmakeraw(&raw);
	tcsetattr(fd, TCSANOW, &raw);
	results = fdopen(fd, "w");
	return results;
}

/* They are numbered in the order that they need. */
static void load_modules(void)
{
	char path[32];

	for (int i = 0;; i++) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%d.ko", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
			note("a module cannot be loaded", strerror(errno));
		close(fd);
	}
}

static void run_cell(struct hf_target *here, int id, const struct hf_scenario *scn,
		     enum hf_kind kind, bool trace)
{
	struct hf_cell cell;
	json_t *o;

	emit(json_pack("{s:i}", "begin", id));
	hf_kmsg_say(HF_BOOT_MARK);
	hf_run_cell(here, scn, kind, trace, NULL, &cell);
	cell.console = hf_kmsg_splat();
	if (cell.console) {
		cell.verdict = HF_BUG;
		snprintf(cell.detail, sizeof(cell.detail), "the kernel says: %.*s",
			 (int)strcspn(cell.console, "\n"), cell.console);
	}
	o = hf_cell_to_json(&cell);
	json_object_set_new(o, "cell", json_integer(id));
	emit(o);
	hf_cell_free(&cell);
}

static enum hf_kind kind_named(const char *name)
{
	int kind = 0;

	while (kind < HF_NR_KINDS && strcmp(hf_kind_name((enum hf_kind)kind), name))
		kind++;
	return (enum hf_kind)kind;
}

/* {"trace": false, "cells": [[ID, "/scenarios/0.hf", "base"], ...]}, or {"equiv": {...}} */
static void run_jobs(struct hf_target *here)
{
	json_t *jobs = json_load_file("/jobs", 0, NULL), *job;
	bool trace = json_is_true(json_object_get(jobs, "trace"));
	struct hf_scenario *scn = NULL;
	struct hf_parse_error err;
	const char *last = "", *path, *kind;
	size_t i;
	int id;

	if (json_object_get(jobs, "equiv"))
		hf_init_equiv(here, json_object_get(jobs, "equiv"), emit);
	json_array_foreach(json_object_get(jobs, "cells"), i, job)
	{
		if (json_unpack(job, "[i, s, s]", &id, &path, &kind))
			continue;
		if (strcmp(path, last) && hf_scenario_load(path, hf_target_name, &scn, &err)) {
			note(path, err.text);
			continue;
		}
		last = path;
		run_cell(here, id, scn, kind_named(kind), trace);
	}
}

int main(void)
{
	char err[256];
	struct hf_target *here;

	hf_machine_expendable();
	mount_all();
	if (open_results()) {
		load_modules();
		here = hf_target_here(err, sizeof(err));
		if (here) {
			emit(json_pack("{s:o}", "ready", hf_json_text(here->detail)));
			hf_kmsg_open();
			run_jobs(here);
		} else {
			note("the runner cannot start", err);
		}
		emit(json_pack("{s:b}", "end", 1));
		tcdrain(fileno(results));
	}
	reboot(RB_POWER_OFF);
	return 1;
}
