/* SPDX-License-Identifier: MIT */
/*
 * Single-thread figures of the engine: medians over interleaved rounds, in nanoseconds an
 * operation, next to a bare copy of a page in the same rounds, since only the ratio travels from
 * machine to machine. bench_core [--json] [ROUNDS]
 */
#include <holdfast/holdfast.h>
#include <holdfast/hosted.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGES 512
#define REPEAT 64 /* of what takes only nanoseconds, a page */
#define BASE 0x10000000ul
#define MAX_ROUNDS 1001

static struct hf_system *sys;
static struct hf_mm *mm;

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench_core: %s failed\n", what);
	exit(1);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t page_addr(size_t i)
{
	return BASE + i * HF_PAGE_SIZE;
}

static void store_all(struct hf_mm *m)
{
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t value = i;

		must(!hf_store(m, page_addr(i), &value, 8), "a store");
	}
}

static void map_all(void)
{
	uint64_t addr = BASE;

	must(!hf_mmap(mm, &addr, PAGES * HF_PAGE_SIZE, HF_PROT_READ | HF_PROT_WRITE, HF_MAP_FIXED),
	     "mmap");
}

/* Each returns nanoseconds for one operation. Memory is mapped anew before each. */

static unsigned char *copy_from, *copy_to;

static double bare_copy(void)
{
	double start = now_ns();

	for (size_t i = 0; i < PAGES; i++)
		memcpy(copy_to + i * HF_PAGE_SIZE, copy_from + i * HF_PAGE_SIZE, HF_PAGE_SIZE);
	return (now_ns() - start) / PAGES;
}

static double page_fault(void)
{
	double start = now_ns();

	store_all(mm);
	return (now_ns() - start) / PAGES;
}

static double zeropage_fault(void)
{
	double start = now_ns();
	uint64_t value;

	for (size_t i = 0; i < PAGES; i++)
		must(!hf_load(mm, page_addr(i), &value, 8), "a load");
	return (now_ns() - start) / PAGES;
}

static double cow_fault(void)
{
	struct hf_mm *child;
	double ns;

	store_all(mm);
	must(!hf_mm_fork(mm, &child), "fork");
	ns = page_fault();
	hf_mm_put(child);
	return ns;
}

static double cow_reuse(void)
{
	struct hf_mm *child;

	store_all(mm);
	must(!hf_mm_fork(mm, &child), "fork");
	hf_mm_put(child);
	return page_fault();
}

static double fork_page(void)
{
	struct hf_mm *child;
	double ns, start;

	store_all(mm);
	start = now_ns();
	must(!hf_mm_fork(mm, &child), "fork");
	ns = (now_ns() - start) / PAGES;
	hf_mm_put(child);
	return ns;
}

static double fork_pinned_page(void)
{
	static struct hf_ref refs[PAGES];
	double ns;

	must(hf_pin_user_pages(mm, BASE, PAGES, HF_FOLL_WRITE, refs) == PAGES, "a pin");
	ns = fork_page();
	must(!hf_unpin_user_pages(sys, refs, PAGES), "unpin");
	return ns;
}

typedef int64_t (*pin_call)(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			    struct hf_ref *refs);

static double pin_unpin(pin_call pin, unsigned flags)
{
	static struct hf_ref refs[PAGES];
	double start;

	store_all(mm);
	start = now_ns();
	for (size_t n = 0; n < REPEAT; n++) {
		must(pin(mm, BASE, PAGES, flags, refs) == PAGES, "a pin");
		must(!hf_unpin_user_pages(sys, refs, PAGES), "unpin");
	}
	return (now_ns() - start) / (PAGES * REPEAT);
}

static double pin_unpin_fast(void)
{
	return pin_unpin(hf_pin_user_pages_fast, HF_FOLL_WRITE | HF_FOLL_LONGTERM);
}

static double pin_unpin_slow(void)
{
	return pin_unpin(hf_pin_user_pages, HF_FOLL_WRITE);
}

static double store_hit(void)
{
	double start;

	store_all(mm);
	start = now_ns();
	for (size_t n = 0; n < REPEAT; n++)
		store_all(mm);
	return (now_ns() - start) / (PAGES * REPEAT);
}

static double load_hit(void)
{
	uint64_t value;
	double start;

	store_all(mm);
	start = now_ns();
	for (size_t n = 0; n < REPEAT; n++)
		for (size_t i = 0; i < PAGES; i++)
			must(!hf_load(mm, page_addr(i), &value, 8), "a load");
	return (now_ns() - start) / (PAGES * REPEAT);
}

/* What it costs that a rule is a pointer in a table: the pin paths ask one or two, accesses that
 * hit ask none. */
static double policy_rule(void)
{
	const struct hf_policy *volatile policy = hf_system_policy(sys);
	unsigned flags = HF_FOLL_PIN;
	double start = now_ns();

	for (size_t n = 0; n < REPEAT * PAGES; n++)
		flags = policy->take_as(flags);
	must(flags == HF_FOLL_PIN, "a rule");
	return (now_ns() - start) / (REPEAT * PAGES);
}

static const struct bench {
	const char *name, *what;
	double (*run)(void);
} benches[] = {
	{ "bare_copy", "bare copy of 4 KiB", bare_copy },
	{ "page_fault", "page fault: first store to a page", page_fault },
	{ "zeropage_fault", "page fault: first load of a page", zeropage_fault },
	{ "cow_fault", "COW fault: store to a shared page", cow_fault },
	{ "cow_reuse", "COW fault: the page is kept", cow_reuse },
	{ "fork_page", "fork, a mapped page", fork_page },
	{ "fork_pinned_page", "fork, a pinned page (early copy)", fork_pinned_page },
	{ "pin_unpin_fast", "pin + unpin, GUP-fast, a page", pin_unpin_fast },
	{ "pin_unpin_slow", "pin + unpin, slow path, a page", pin_unpin_slow },
	{ "store_hit", "store that needs no fault", store_hit },
	{ "load_hit", "load that needs no fault", load_hit },
	{ "policy_rule", "one rule of the policy, asked", policy_rule },
};

#define NR_BENCHES (sizeof(benches) / sizeof(benches[0]))

static double samples[NR_BENCHES][MAX_ROUNDS];

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void set_up(void)
{
	struct hf_system_config config = { .platform = hf_platform_hosted(),
					   .nr_frames = 4 * PAGES };

	must(!hf_system_create(&config, &sys) && !hf_mm_create(sys, &mm), "the machine");
	copy_from = aligned_alloc(HF_PAGE_SIZE, PAGES * HF_PAGE_SIZE);
	copy_to = aligned_alloc(HF_PAGE_SIZE, PAGES * HF_PAGE_SIZE);
	must(copy_from && copy_to, "memory");
	memset(copy_from, 1, PAGES * HF_PAGE_SIZE);
	memset(copy_to, 2, PAGES * HF_PAGE_SIZE);
}

static void print(bool json, unsigned rounds)
{
	double copy = samples[0][rounds / 2];

	if (json)
		printf("{\n");
	else
		printf("%-36s %10s %10s %14s\n", "", "median ns", "best ns", "of a bare copy");
	for (size_t b = 0; b < NR_BENCHES; b++) {
		double median = samples[b][rounds / 2], best = samples[b][0];

		if (json)
			printf(" \"%s\": {\"median_ns\": %.1f, \"best_ns\": %.1f, "
			       "\"of_bare_copy\": %.3f}%s\n",
			       benches[b].name, median, best, median / copy,
			       b + 1 < NR_BENCHES ? "," : "");
		else
			printf("%-36s %10.1f %10.1f %14.2f\n", benches[b].what, median, best,
			       median / copy);
	}
	if (json)
		printf("}\n");
}

int main(int argc, char **argv)
{
	bool json = argc > 1 && !strcmp(argv[1], "--json");
	unsigned rounds = argc > 1 + json ? (unsigned)strtoul(argv[1 + json], NULL, 10) : 51;

	if (rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: bench_core [--json] [ROUNDS]   (1 to %d rounds)\n",
			MAX_ROUNDS);
		return 2;
	}
	set_up();
	for (unsigned r = 0; r < rounds; r++)
		for (size_t b = 0; b < NR_BENCHES; b++) {
			map_all();
			samples[b][r] = benches[b].run();
		}
	for (size_t b = 0; b < NR_BENCHES; b++)
		qsort(samples[b], rounds, sizeof(double), compare);
	print(json, rounds);
	hf_mm_put(mm);
	must(!hf_system_destroy(sys), "the end");
	free(copy_from);
	free(copy_to);
	return 0;
}
