/* SPDX-License-Identifier: MIT */
/*
 * Real threads on one system. Run under TSan and ASan too.
 *   stress [SCALE]       SCALE multiplies the work; 1 by default
 */
#include "model.h"

#include <errno.h>
#include <holdfast/hosted.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned scale = 1, test_number;

__attribute__((format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("not ok %u - ", test_number);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	abort();
}

#define must(cond) ((cond) ? (void)0 : fail("%s:%d: %s", __FILE__, __LINE__, #cond))

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct hf_system *make_system(const struct hf_policy *policy, size_t frames)
{
	struct hf_system_config config = {
		.platform = hf_platform_hosted(),
		.policy = policy,
		.nr_frames = frames,
		.flags = HF_SYSTEM_DEBUG,
	};
	struct hf_system *sys;

	must(!hf_system_create(&config, &sys));
	return sys;
}

static void end_system(struct hf_system *sys)
{
	struct hf_violation v;

	if (hf_validate(sys, &v))
		fail("%s", hf_invariant_text(v.invariant));
	must(!hf_system_destroy(sys));
}

static void start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	must(!pthread_create(thread, NULL, fn, arg));
}

/* ---- fork shows one instant ---- */

#define BASE 0x10000000ul
#define PAGES 24
#define WRITERS 2
#define DEVICE_LANE 1024u
#define KEPT (PAGES / 2) /* pages that stay pinned, so that fork has much to copy */

/*
 * Each writer stores 1 to all its places in order, then 2 to all of them, and so on. So at any
 * instant its places read v v v v-1 v-1 v-1, and anything else in a child is a mix of moments.
 */
struct instant {
	struct hf_system *sys;
	struct hf_mm *parent;
	atomic_bool stop;
};

struct writer {
	struct instant *in;
	unsigned lane;
	uint64_t rounds;
};

static uint64_t place(unsigned lane, unsigned i)
{
	/* both ends of every page */
	return BASE + i / 2 * HF_PAGE_SIZE + (i % 2 ? HF_PAGE_SIZE - 64 : 0) + lane * 8;
}

static void *write_places(void *arg)
{
	struct writer *w = arg;

	for (uint64_t v = 1; !atomic_load(&w->in->stop); v++) {
		for (unsigned i = 0; i < 2 * PAGES; i++)
			must(!hf_store(w->in->parent, place(w->lane, i), &v, 8));
		w->rounds = v;
	}
	return NULL;
}

static void read_places(struct hf_mm *mm, unsigned lane, uint64_t *v)
{
	for (unsigned i = 0; i < 2 * PAGES; i++)
		must(!hf_load(mm, place(lane, i), &v[i], 8));
}

static void check_instant(struct hf_mm *child, unsigned lane)
{
	uint64_t v[2 * PAGES], again[2 * PAGES];
	unsigned drops = 0;

	read_places(child, lane, v);
	for (unsigned i = 1; i < 2 * PAGES; i++) {
		drops += v[i] != v[i - 1];
		if (v[i] != v[i - 1] && v[i] + 1 != v[i - 1])
			fail("torn: place %u has %llu after %llu", i, (unsigned long long)v[i],
			     (unsigned long long)v[i - 1]);
	}
	if (drops > 1)
		fail("torn: %u steps", drops);
	sched_yield();
	read_places(child, lane, again);
	must(!memcmp(v, again, sizeof(v)));
}

static void *fork_and_check(void *arg)
{
	struct instant *in = arg;

	for (unsigned i = 0; i < 150 * scale; i++) {
		struct hf_mm *child, *grandchild;
		uint64_t junk = UINT64_MAX;

		must(!hf_mm_fork(in->parent, &child));
		for (unsigned lane = 0; lane < WRITERS; lane++)
			check_instant(child, lane);
		must(!hf_mm_fork(child, &grandchild));
		for (unsigned p = 0; p < 2 * PAGES; p += 3)
			must(!hf_store(child, place(0, p), &junk, 8));
		check_instant(grandchild, 0);
		hf_mm_put(child);
		check_instant(grandchild, WRITERS - 1);
		hf_mm_put(grandchild);
	}
	atomic_store(&in->stop, true);
	return NULL;
}

/* What the CPU saw before, the device sees; what the device sees, the CPU sees after. */
static void check_window(struct instant *in, const struct hf_ref *ref, unsigned page, unsigned lane)
{
	uint64_t before, seen, after;

	must(!hf_load(in->parent, place(lane, 2 * page), &before, 8));
	must(!hf_ref_read(in->sys, ref, lane * 8, &seen, 8));
	must(!hf_load(in->parent, place(lane, 2 * page), &after, 8));
	if (before > seen || seen > after)
		fail("the device sees %llu between %llu and %llu", (unsigned long long)seen,
		     (unsigned long long)before, (unsigned long long)after);
}

static void check_device_write(struct instant *in, const struct hf_ref *ref, unsigned page,
			       uint64_t value)
{
	uint64_t seen;

	must(!hf_ref_write(in->sys, ref, DEVICE_LANE, &value, 8));
	must(!hf_load(in->parent, BASE + page * HF_PAGE_SIZE + DEVICE_LANE, &seen, 8));
	must(seen == value);
}

static void *pin_and_check(void *arg)
{
	struct instant *in = arg;
	uint64_t random = 88172645463325252ull;

	for (uint64_t n = 1; !atomic_load(&in->stop); n++) {
		unsigned page = next_random(&random) % PAGES, how = next_random(&random) % 4;
		unsigned flags = how & 1 ? HF_FOLL_WRITE : 0;
		uint64_t addr = BASE + page * HF_PAGE_SIZE;
		struct hf_ref ref;

		if (how & 2)
			must(hf_pin_user_pages_fast(in->parent, addr, 1, flags | HF_FOLL_LONGTERM,
						    &ref) == 1);
		else
			must(hf_pin_user_pages(in->parent, addr, 1, flags, &ref) == 1);
		for (unsigned lane = 0; lane < WRITERS; lane++)
			check_window(in, &ref, page, lane);
		if (flags)
			check_device_write(in, &ref, page, n);
		must(!hf_unpin_user_pages(in->sys, &ref, 1));
	}
	return NULL;
}

/* Entries become read-only and pages go to swap below the writers' feet; they fault and go on. */
static void *disturb(void *arg)
{
	struct instant *in = arg;
	uint64_t random = 362436069ull;

	while (!atomic_load(&in->stop)) {
		unsigned page = next_random(&random) % PAGES;

		must(!hf_wrprotect(in->parent, BASE + page * HF_PAGE_SIZE, 3 * HF_PAGE_SIZE));
		must(!hf_handle_mm_fault(in->parent, BASE + page * HF_PAGE_SIZE,
					 HF_FAULT_FLAG_UNSHARE));
		must(!hf_madvise(in->parent, BASE + page * HF_PAGE_SIZE, 2 * HF_PAGE_SIZE,
				 HF_MADV_PAGEOUT));
		must(hf_migrate_pages(in->parent, BASE + page * HF_PAGE_SIZE, 2 * HF_PAGE_SIZE) >=
		     0);
		sched_yield();
	}
	return NULL;
}

static void test_instant(void)
{
	struct instant in = { .sys = make_system(hf_policy_default(), 2048) };
	struct writer w[WRITERS];
	pthread_t writers[WRITERS], forker, pinner, disturber;
	uint64_t addr = BASE;
	struct hf_ref kept[KEPT];
	struct hf_swap_device swap;
	struct hf_system_stats stats;

	must(!hf_swap_device_open(NULL, 1024, &swap));
	must(!hf_swapon(in.sys, &swap));
	must(!hf_mm_create(in.sys, &in.parent));
	must(!hf_mmap(in.parent, &addr, (PAGES + 4) * HF_PAGE_SIZE, HF_PROT_READ | HF_PROT_WRITE,
		      HF_MAP_FIXED));
	must(hf_pin_user_pages(in.parent, BASE, KEPT, HF_FOLL_WRITE | HF_FOLL_LONGTERM, kept) ==
	     KEPT);
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .in = &in, .lane = i };
		start(&writers[i], write_places, &w[i]);
	}
	start(&pinner, pin_and_check, &in);
	start(&disturber, disturb, &in);
	start(&forker, fork_and_check, &in);
	pthread_join(forker, NULL);
	pthread_join(pinner, NULL);
	pthread_join(disturber, NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	must(!hf_unpin_user_pages(in.sys, kept, KEPT));
	hf_mm_put(in.parent);
	hf_system_stats(in.sys, &stats);
	must(!stats.unpin_check_failures);
	end_system(in.sys);
	hf_swap_device_close(&swap);
	printf("ok %u - fork shows one instant while threads store, pin, protect and page out "
	       "(%u forks, %llu rounds of stores, %llu pages out)\n",
	       test_number, 300 * scale, (unsigned long long)w[0].rounds,
	       (unsigned long long)stats.swap_outs);
}

/* ---- lockless pins while PMDs and leaf tables take each other's place ---- */

static void *count_up(void *arg)
{
	struct instant *in = arg;

	for (uint64_t v = 1; !atomic_load(&in->stop); v++)
		for (unsigned page = 0; page < PAGES; page++)
			must(!hf_store(in->parent, place(0, 2 * page), &v, 8));
	return NULL;
}

/* What the CPU saw before, the device sees; what the device sees, the CPU sees after. */
static void *pin_fast_and_check(void *arg)
{
	struct instant *in = arg;
	uint64_t random = 123456789ull;

	while (!atomic_load(&in->stop)) {
		unsigned page = next_random(&random) % PAGES;
		struct hf_ref ref;

		must(hf_pin_user_pages_fast(in->parent, BASE + page * HF_PAGE_SIZE, 1,
					    next_random(&random) & 1 ? HF_FOLL_WRITE : 0,
					    &ref) == 1);
		check_window(in, &ref, page, 0);
		must(!hf_unpin_user_pages(in->sys, &ref, 1));
	}
	return NULL;
}

static void *collapse_and_split(void *arg)
{
	struct instant *in = arg;
	const uint64_t last = BASE + 511 * HF_PAGE_SIZE;

	for (unsigned i = 0; i < 1500 * scale; i++) {
		int err = hf_madvise(in->parent, BASE, 512 * HF_PAGE_SIZE, HF_MADV_COLLAPSE);

		must(!err || err == -EAGAIN || err == -ENOMEM); /* pins keep old folios */
		must(!hf_mprotect(in->parent, last, HF_PAGE_SIZE, HF_PROT_READ));
		must(!hf_mprotect(in->parent, last, HF_PAGE_SIZE, HF_PROT_READ | HF_PROT_WRITE));
	}
	atomic_store(&in->stop, true);
	return NULL;
}

static void test_collapse(void)
{
	struct instant in = { .sys = make_system(hf_policy_default(), 4096) };
	pthread_t writer, pinners[2], collapser;
	uint64_t addr = BASE;
	struct hf_system_stats stats;

	must(!hf_mm_create(in.sys, &in.parent));
	must(!hf_mmap(in.parent, &addr, 512 * HF_PAGE_SIZE, HF_PROT_READ | HF_PROT_WRITE,
		      HF_MAP_FIXED));
	start(&writer, count_up, &in);
	for (unsigned i = 0; i < 2; i++)
		start(&pinners[i], pin_fast_and_check, &in);
	start(&collapser, collapse_and_split, &in);
	pthread_join(collapser, NULL);
	pthread_join(writer, NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(pinners[i], NULL);
	hf_mm_put(in.parent);
	hf_system_stats(in.sys, &stats);
	must(!stats.unpin_check_failures);
	end_system(in.sys);
	printf("ok %u - pins stay windows while pages collapse and split (%llu collapses, %llu "
	       "pins)\n",
	       test_number, (unsigned long long)stats.collapses,
	       (unsigned long long)stats.pins_acquired);
}

/* ---- many models on one system, and somebody who meddles ---- */

#define MODELS 3

struct crowd {
	struct hf_system *sys;
	struct model *model[MODELS];
	unsigned stride;
	atomic_uint running;
};

struct player {
	struct crowd *crowd;
	unsigned number;
};

static void *play(void *arg)
{
	struct player *p = arg;
	uint64_t random = 0x9e3779b97f4a7c15ull * (p->number + 1);
	uint8_t bytes[4096];

	for (unsigned round = 0; round < 4 * scale; round++) {
		struct model_input in = { bytes, bytes + sizeof(bytes) };

		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(next_random(&random) >> 24);
		while (model_step(p->crowd->model[p->number], &in))
			;
	}
	atomic_fetch_sub(&p->crowd->running, 1);
	return NULL;
}

static int count_mapping(struct hf_mm *mm, uint64_t addr, void *arg)
{
	(void)mm;
	(void)addr;
	++*(unsigned *)arg;
	return 0;
}

/* References and pins that come and go, lockless and remote, on processes that fork and exit
 * meanwhile. */
static void meddle_once(struct crowd *c, struct hf_mm *mm, uint64_t random)
{
	uint64_t addr = MODEL_BASE + random % MODEL_SLOTS * c->stride * HF_PAGE_SIZE;
	struct hf_ref ref;
	unsigned found = 0;
	bool pin = random >> 8 & 1;
	int64_t got;

	if ((random >> 10 & 7) == 0)
		hf_madvise(mm, MODEL_BASE, MODEL_SLOTS * c->stride * HF_PAGE_SIZE, HF_MADV_PAGEOUT);
	if ((random >> 13 & 7) == 0)
		hf_migrate_pages(mm, addr, HF_PAGE_SIZE);
	if (random >> 9 & 1)
		got = pin ? hf_pin_user_pages_fast(mm, addr, 1, 0, &ref)
			  : hf_get_user_pages_fast(mm, addr, 1, 0, &ref);
	else
		got = pin ? hf_pin_user_pages_remote(mm, addr, 1, 0, &ref)
			  : hf_get_user_pages_remote(mm, addr, 1, 0, &ref);
	if (got != 1)
		return;
	must(!hf_rmap_walk(c->sys, hf_ref_pfn(c->sys, &ref), count_mapping, &found) || !found);
	must(!(pin ? hf_unpin_user_pages(c->sys, &ref, 1) : hf_put_user_pages(c->sys, &ref, 1)));
}

static void *meddle(void *arg)
{
	struct crowd *c = arg;
	uint64_t random = 521288629ull;

	while (atomic_load(&c->running)) {
		struct hf_mm *mm = model_borrow(c->model[next_random(&random) % MODELS],
						next_random(&random) & 7);

		if (!mm)
			continue;
		for (unsigned i = 0; i < 8; i++)
			meddle_once(c, mm, next_random(&random));
		hf_mm_put(mm);
	}
	return NULL;
}

static void test_crowd(const struct hf_policy *policy, size_t frames, size_t slots, unsigned stride)
{
	struct hf_swap_device swap;
	struct hf_reclaimer *reclaimer;
	struct crowd c = { .sys = make_system(policy, frames), .stride = stride };
	struct hf_system_stats stats;
	struct player p[MODELS];
	pthread_t players[MODELS], meddler;
	size_t operations = 0;

	/* slots of 128 pages: four of them can be a PMD's; single pages: small folios */
	must(!hf_system_set_thp(c.sys, stride == 1 ? 0xe : 0x2f0));
	if (slots) {
		must(!hf_swap_device_open(NULL, slots, &swap));
		must(!hf_swapon(c.sys, &swap));
		must(!hf_reclaimer_start(c.sys, &reclaimer));
	}
	for (unsigned i = 0; i < MODELS; i++) {
		c.model[i] = model_new(c.sys, policy == hf_policy_default(), stride);
		must(c.model[i]);
	}
	atomic_store(&c.running, MODELS);
	for (unsigned i = 0; i < MODELS; i++) {
		p[i] = (struct player){ .crowd = &c, .number = i };
		start(&players[i], play, &p[i]);
	}
	start(&meddler, meddle, &c);
	for (unsigned i = 0; i < MODELS; i++)
		pthread_join(players[i], NULL);
	pthread_join(meddler, NULL);
	for (unsigned i = 0; i < MODELS; i++) {
		operations += model_operations(c.model[i]);
		model_free(c.model[i]);
	}
	if (slots)
		hf_reclaimer_stop(reclaimer);
	hf_system_stats(c.sys, &stats);
	end_system(c.sys);
	if (slots)
		hf_swap_device_close(&swap);
	printf("ok %u - %zu operations of %d process trees with a meddler, policy %s, %zu frames, "
	       "%zu slots, %u pages a slot of the model, %llu pages out and %llu in, %llu huge "
	       "faults, %llu splits, %llu collapses, %llu merges\n",
	       test_number, operations, MODELS, policy->name, frames, slots, stride,
	       (unsigned long long)stats.swap_outs, (unsigned long long)stats.swap_ins,
	       (unsigned long long)stats.thp_faults, (unsigned long long)stats.thp_splits,
	       (unsigned long long)stats.collapses, (unsigned long long)stats.ksm_merges);
}

int main(int argc, char **argv)
{
	const struct hf_policy *policy;

	if (argc > 1)
		scale = (unsigned)strtoul(argv[1], NULL, 0);
	test_number = 1;
	test_instant();
	test_number++;
	test_collapse();
	for (size_t i = 0; (policy = hf_policy_at(i)); i++) {
		test_number++;
		test_crowd(policy, 512, 0, 1);
		test_number++;
		test_crowd(policy, 48, 512, 1);
	}
	test_number++;
	test_crowd(hf_policy_default(), 100, 0, 1);
	test_number++;
	test_crowd(hf_policy_default(), 8192, 16384, 128);
	test_number++;
	test_crowd(hf_policy_find("linux-6.18"), 8192, 16384, 128);
	printf("1..%u\n", test_number);
	return 0;
}
