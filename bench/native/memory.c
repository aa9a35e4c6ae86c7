/* SPDX-License-Identifier: MIT */
/*
 * What memory is held beyond the bytes themselves: of all processes that take part, what is theirs
 * alone and their share of the rest, and page tables.
 */
#include "bench.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIRTY_PERCENT 10

size_t proc_field(const char *path, const char *name)
{
	FILE *f = fopen(path, "re");
	char line[256];
	size_t kb = 0;

	must(f, path);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			kb = strtoul(line + strlen(name) + 1, NULL, 10);
	fclose(f);
	return kb << 10;
}

static size_t held_by(pid_t pid)
{
	char path[64];
	size_t bytes;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	bytes = proc_field(path, "Pss");
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return bytes + proc_field(path, "VmPTE");
}

/* Pages of the pool are in nobody's share. */
static size_t pool_used(void)
{
	return (proc_field("/proc/meminfo", "HugePages_Total") -
		proc_field("/proc/meminfo", "HugePages_Free")) /
	       1024 * HUGE_PAGE;
}

static size_t held(const struct mode *mode, const struct instant *at)
{
	size_t bytes = held_by(getpid());

	if (at && at->child)
		bytes += held_by(at->child);
	return bytes + (mode->kind == KIND_HUGETLB ? pool_used() : 0);
}

static void write_some(struct subject *s, const uint32_t *pages, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		add_one(s, pages[i] * PAGE);
}

/* All is rewritten, piece by piece, behind who saves it and is done with it. */
static void save_and_rewrite(struct subject *s)
{
	size_t piece = s->size / 64, most = 0;
	struct hf_native_stats stats;
	struct instant at;

	subject_take(s, &at);
	for (size_t from = 0; from < s->size; from += piece) {
		must(!hf_native_release(at.snapshot, from, piece), "hf_native_release()");
		for (size_t page = 0; page < piece; page += PAGE)
			add_one(s, from + page);
		hf_native_stats(s->space, &stats);
		most = stats.frames_used > most ? stats.frames_used : most;
	}
	report(MEMORY_SAVING, 100 * (double)most / (double)s->size);
	subject_drop(&at);
}

/* The second of two snapshots, after each of which other pages are written. */
int stage_memory(const struct options *opt, const struct mode *mode)
{
	size_t before = held(mode, NULL), nr;
	struct instant last, at;
	struct subject s;
	uint32_t *order;
	int ret = subject_open(&s, mode, opt->size);

	if (ret)
		return ret;
	before += s.size;
	report(MEMORY_IDLE, 100 * ((double)held(mode, NULL) - (double)before) / (double)s.size);
	order = order_random(s.nr_pages, 13);
	nr = s.nr_pages * DIRTY_PERCENT / 100;
	subject_take(&s, &last);
	write_some(&s, order, nr);
	subject_take(&s, &at);
	subject_drop(&last);
	write_some(&s, order + nr, nr);
	free(order);
	report(MEMORY_DIRTY, 100 * ((double)held(mode, &at) - (double)before) / (double)s.size);
	subject_drop(&at);
	if (s.space)
		save_and_rewrite(&s);
	subject_close(&s);
	return 0;
}
