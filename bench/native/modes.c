/* SPDX-License-Identifier: MIT */
/* The modes, and the memory and the instants of each behind one set of calls. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ONLY_SNAPSHOTS (1U << SNAPSHOTS)

const struct mode modes[NR_MODES] = {
	{ .name = "fork-4k", .what = "fork(), 4 KiB pages", .kind = KIND_4K, .is_fork = true },
	{ .name = "4k",
	  .what = "4 KiB, handler thread",
	  .kind = KIND_4K,
	  .config = { .pages = HF_NATIVE_4K } },
	{ .name = "4k-helpers",
	  .what = "4 KiB, handler thread, 1 helper",
	  .kind = KIND_4K,
	  .config = { .pages = HF_NATIVE_4K, .helpers = 1 },
	  .stages = ONLY_SNAPSHOTS },
	{ .name = "4k-signal",
	  .what = "4 KiB, HF_NATIVE_SIGNAL",
	  .kind = KIND_4K,
	  .config = { .pages = HF_NATIVE_4K, .flags = HF_NATIVE_SIGNAL } },
	{ .name = "4k-signal-helpers",
	  .what = "4 KiB, HF_NATIVE_SIGNAL, 1 helper",
	  .kind = KIND_4K,
	  .config = { .pages = HF_NATIVE_4K, .flags = HF_NATIVE_SIGNAL, .helpers = 1 },
	  .stages = ONLY_SNAPSHOTS },
	{ .name = "memfd-signal",
	  .what = "4 KiB, HF_NATIVE_SHARED, HF_NATIVE_SIGNAL",
	  .kind = KIND_4K,
	  .config = { .pages = HF_NATIVE_4K, .flags = HF_NATIVE_SIGNAL | HF_NATIVE_SHARED } },
	{ .name = "4k-bracketed",
	  .what = "4 KiB, HF_NATIVE_BRACKETED",
	  .kind = KIND_4K,
	  .config = { .pages = HF_NATIVE_4K, .flags = HF_NATIVE_BRACKETED } },
	{ .name = "fork-thp", .what = "fork(), THP", .kind = KIND_THP, .is_fork = true },
	{ .name = "thp",
	  .what = "THP, handler thread",
	  .kind = KIND_THP,
	  .config = { .pages = HF_NATIVE_THP } },
	{ .name = "thp-signal",
	  .what = "THP, HF_NATIVE_SIGNAL",
	  .kind = KIND_THP,
	  .config = { .pages = HF_NATIVE_THP, .flags = HF_NATIVE_SIGNAL } },
	{ .name = "thp-4k",
	  .what = "THP copied by 4 KiB, handler thread",
	  .kind = KIND_THP,
	  .config = { .pages = HF_NATIVE_THP_4K } },
	{ .name = "thp-4k-signal",
	  .what = "THP copied by 4 KiB, HF_NATIVE_SIGNAL",
	  .kind = KIND_THP,
	  .config = { .pages = HF_NATIVE_THP_4K, .flags = HF_NATIVE_SIGNAL } },
	{ .name = "thp-bracketed",
	  .what = "THP, HF_NATIVE_BRACKETED",
	  .kind = KIND_THP,
	  .config = { .pages = HF_NATIVE_AUTO, .flags = HF_NATIVE_BRACKETED } },
	{ .name = "fork-hugetlb",
	  .what = "fork(), hugetlb",
	  .kind = KIND_HUGETLB,
	  .is_fork = true },
	{ .name = "hugetlb",
	  .what = "hugetlb, handler thread",
	  .kind = KIND_HUGETLB,
	  .config = { .pages = HF_NATIVE_HUGETLB } },
	{ .name = "hugetlb-signal",
	  .what = "hugetlb, HF_NATIVE_SIGNAL",
	  .kind = KIND_HUGETLB,
	  .config = { .pages = HF_NATIVE_HUGETLB, .flags = HF_NATIVE_SIGNAL } },
};

size_t mode_baseline(size_t mode)
{
	while (!modes[mode].is_fork)
		mode--;
	return mode;
}

bool mode_has(const struct mode *mode, enum measure measure)
{
	return !mode->stages || mode->stages & 1U << measures[measure].stage;
}

/* ---- memory ---- */

static int map_hugetlb(struct subject *s)
{
	s->base = mmap(NULL, s->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
	return s->base == MAP_FAILED ? -errno : 0;
}

/* Aligned to 2 MiB, which THPs need, and which gives 4 KiB pages the same tables. */
static int map_anonymous(struct subject *s)
{
	unsigned char *p = mmap(NULL, s->size + HUGE_PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return -errno;
	before = -(uintptr_t)p % HUGE_PAGE;
	s->base = p + before;
	if (before)
		munmap(p, before);
	munmap(s->base + s->size, HUGE_PAGE - before);
	if (madvise(s->base, s->size, s->mode->kind == KIND_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		return -errno;
	return 0;
}

static int map_plain(struct subject *s)
{
	return s->mode->kind == KIND_HUGETLB ? map_hugetlb(s) : map_anonymous(s);
}

static int create_space(struct subject *s)
{
	struct hf_native_config config = s->mode->config;
	int ret;

	config.size = s->size;
	ret = hf_native_create(&config, &s->space);
	if (!ret)
		s->base = hf_native_base(s->space);
	return ret;
}

int subject_open(struct subject *s, const struct mode *mode, size_t size)
{
	uint32_t *order;
	int ret;

	*s = (struct subject){ .mode = mode, .size = size, .nr_pages = size / PAGE };
	ret = mode->is_fork ? map_plain(s) : create_space(s);
	if (ret)
		return ret;
	order = order_random(s->nr_pages, 3);
	for (size_t i = 0; i < s->nr_pages; i++) {
		store_begin(s, s->base + order[i] * PAGE, PAGE);
		memset(s->base + order[i] * PAGE, (int)i | 1, PAGE);
		store_end(s, s->base + order[i] * PAGE, PAGE);
	}
	free(order);
	if (mode->kind == KIND_THP &&
	    proc_field("/proc/self/smaps_rollup", "AnonHugePages") < s->size / 10 * 9)
		return -ENODATA;
	return 0;
}

void subject_close(struct subject *s)
{
	if (s->space)
		must(!hf_native_destroy(s->space), "hf_native_destroy()");
	else
		munmap(s->base, s->size);
}

/* ---- instants ---- */

/* It keeps its pages until it is told, or until whoever would tell it is gone. */
static _Noreturn void child_waits(const int *ends)
{
	char c;

	close(ends[1]);
	_exit(read(ends[0], &c, 1) < 0);
}

static double take_fork(struct instant *at)
{
	double start, ns;
	int ends[2];

	must(!pipe(ends), "pipe()");
	start = now_ns();
	at->child = fork();
	ns = now_ns() - start;
	must(at->child >= 0, "fork()");
	if (!at->child)
		child_waits(ends);
	close(ends[0]);
	at->release = ends[1];
	return ns;
}

double subject_take(struct subject *s, struct instant *at)
{
	double start;
	int ret;

	*at = (struct instant){ 0 };
	if (!s->space)
		return take_fork(at);
	start = now_ns();
	ret = hf_native_snapshot(s->space, &at->snapshot);
	start = now_ns() - start;
	must(!ret, "hf_native_snapshot()");
	return start;
}

void subject_drop(struct instant *at)
{
	if (at->snapshot) {
		must(!hf_native_drop(at->snapshot), "hf_native_drop()");
		return;
	}
	must(write(at->release, "", 1) == 1, "telling the child");
	must(waitpid(at->child, NULL, 0) == at->child, "waitpid()");
	close(at->release);
}

void subject_expect(const struct instant *at, size_t page, uint64_t value)
{
	uint64_t got;

	if (!at->snapshot)
		return;
	must(!hf_native_read(at->snapshot, page * PAGE, &got, sizeof(got)), "hf_native_read()");
	must(got == value, "what the snapshot should have");
}
