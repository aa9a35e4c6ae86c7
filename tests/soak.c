/* SPDX-License-Identifier: MIT */
/*
 * Everything at once, for as long as one likes: processes that fork, store, pin, map, protect and
 * exit, against shadow models, on a machine with a third of the frames that they want, with swap on
 * a real file; reclaim, merging, compaction, migration and collapse in the background. Now and then
 * all stop, and the validator looks at everything.
 *   soak [SECONDS [THREADS [FOLDER]]]    10 seconds, 4 threads, swap file in /var/tmp by default
 */
#include "model.h"

#include <errno.h>
#include <holdfast/hosted.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 32
#define FRAMES_A_MODEL 1024 /* a third of what its processes can touch, on the average */
#define BIG_STRIDE 128      /* pages of a slot: four of them are a PMD's */

struct soak {
	struct hf_system *sys;
	struct hf_reclaimer *reclaimer;
	pthread_rwlock_t world; /* write: nobody else is in the engine */
	atomic_bool stop;
	struct model *model[MAX_THREADS];
	unsigned nr;
};

struct player {
	struct soak *soak;
	unsigned number;
};

static atomic_bool interrupted;

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&interrupted, true);
}

__attribute__((format(printf, 1, 2))) _Noreturn static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("not ok 1 - ");
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

static void *play(void *arg)
{
	struct player *p = arg;
	struct soak *s = p->soak;
	uint64_t random = 0x9e3779b97f4a7c15ull * (p->number + 1) ^ (uint64_t)time(NULL);
	uint8_t bytes[512];

	while (!atomic_load(&s->stop)) {
		struct model_input in = { bytes, bytes + sizeof(bytes) };

		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(next_random(&random) >> 24);
		pthread_rwlock_rdlock(&s->world);
		while (model_step(s->model[p->number], &in))
			;
		pthread_rwlock_unlock(&s->world);
	}
	return NULL;
}

/* What kernels do by themselves, and pins that others take. */
static void meddle_once(struct soak *s, struct hf_mm *mm, uint64_t random)
{
	uint64_t addr = MODEL_BASE + random % (MODEL_SLOTS * BIG_STRIDE) * HF_PAGE_SIZE;
	struct hf_ref ref;
	bool pin = random >> 20 & 1;
	unsigned flags = pin && random >> 21 & 1 ? HF_FOLL_LONGTERM : 0;
	int64_t got;

	switch (random >> 24 & 15) {
	case 0:
		must(hf_ksm_scan(s->sys, HF_KSM_USE_ZERO_PAGES) >= -ENOMEM);
		break;
	case 1:
		hf_compact(s->sys);
		break;
	case 2:
		hf_madvise(mm, MODEL_BASE, 512 * HF_PAGE_SIZE, HF_MADV_COLLAPSE);
		break;
	case 3:
		hf_madvise(mm, addr, 64 * HF_PAGE_SIZE, HF_MADV_PAGEOUT);
		break;
	case 4:
		hf_migrate_pages(mm, addr, 64 * HF_PAGE_SIZE);
		break;
	case 5:
		hf_madvise(mm, addr, 32 * HF_PAGE_SIZE, HF_MADV_COLD);
		break;
	default:
		break;
	}
	got = pin ? hf_pin_user_pages_fast(mm, addr, 1, flags, &ref)
		  : hf_get_user_pages_fast(mm, addr, 1, 0, &ref);
	if (got == 1)
		must(!(pin ? hf_unpin_user_pages(s->sys, &ref, 1)
			   : hf_put_user_pages(s->sys, &ref, 1)));
}

static void *meddle(void *arg)
{
	struct soak *s = arg;
	uint64_t random = 521288629ull ^ (uint64_t)time(NULL);

	while (!atomic_load(&s->stop)) {
		struct hf_mm *mm;

		pthread_rwlock_rdlock(&s->world);
		mm = model_borrow(s->model[next_random(&random) % s->nr], next_random(&random) & 7);
		for (unsigned i = 0; mm && i < 8; i++)
			meddle_once(s, mm, next_random(&random));
		if (mm)
			hf_mm_put(mm);
		pthread_rwlock_unlock(&s->world);
	}
	return NULL;
}

static void validate(struct soak *s)
{
	struct hf_violation v;

	pthread_rwlock_wrlock(&s->world);
	hf_reclaimer_stop(s->reclaimer);
	if (hf_validate(s->sys, &v))
		fail("%s (frame %lld)", hf_invariant_text(v.invariant), (long long)v.pfn);
	must(!hf_reclaimer_start(s->sys, &s->reclaimer));
	pthread_rwlock_unlock(&s->world);
}

static void set_up(struct soak *s, const char *folder, struct hf_swap_device *swap)
{
	struct hf_system_config config = {
		.platform = hf_platform_hosted(),
		.nr_frames = FRAMES_A_MODEL * s->nr,
		.nr_movable = FRAMES_A_MODEL * s->nr / 2,
		.flags = HF_SYSTEM_DEBUG,
	};
	pthread_rwlockattr_t attr;
	char path[4096];
	int err;

	must(!hf_system_create(&config, &s->sys));
	must(!hf_system_set_thp(s->sys, 1u << 9 | 1u << 4 | 1u << 2 | 1u << 1));
	snprintf(path, sizeof(path), "%s/holdfast-soak.%ld", folder, (long)getpid());
	err = hf_swap_device_open(path, FRAMES_A_MODEL * s->nr * 4, swap);
	if (err)
		fail("%s: %s", path, strerror(-err));
	must(!hf_swapon(s->sys, swap));
	must(!hf_reclaimer_start(s->sys, &s->reclaimer));
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->world, &attr);
	for (unsigned i = 0; i < s->nr; i++) {
		s->model[i] = model_new(s->sys, true, i % 2 ? BIG_STRIDE : 1);
		must(s->model[i]);
	}
}

static void run_for(struct soak *s, unsigned seconds)
{
	struct player p[MAX_THREADS];
	pthread_t players[MAX_THREADS], meddler;
	unsigned checks = 0;

	for (unsigned i = 0; i < s->nr; i++) {
		p[i] = (struct player){ .soak = s, .number = i };
		must(!pthread_create(&players[i], NULL, play, &p[i]));
	}
	must(!pthread_create(&meddler, NULL, meddle, s));
	for (; checks < 2 * seconds && !atomic_load(&interrupted); checks++) {
		const struct timespec half = { .tv_nsec = 500000000 };

		nanosleep(&half, NULL);
		validate(s);
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r%u of %u seconds", checks / 2, seconds);
	}
	atomic_store(&s->stop, true);
	for (unsigned i = 0; i < s->nr; i++)
		pthread_join(players[i], NULL);
	pthread_join(meddler, NULL);
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	printf("# the validator looked %u times\n", checks);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 10;
	struct soak s = { .nr = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 4 };
	struct hf_system_stats st;
	struct hf_swap_device swap;
	size_t operations = 0;

	if (!s.nr || s.nr > MAX_THREADS) {
		fprintf(stderr, "soak: expected 1 to %d threads\n", MAX_THREADS);
		return 2;
	}
	signal(SIGINT, on_signal);
	set_up(&s, argc > 3 ? argv[3] : "/var/tmp", &swap);
	run_for(&s, seconds);
	hf_reclaimer_stop(s.reclaimer);
	hf_system_stats(s.sys, &st);
	for (unsigned i = 0; i < s.nr; i++) {
		operations += model_operations(s.model[i]);
		model_free(s.model[i]);
	}
	must(!hf_swapoff(s.sys));
	hf_swap_device_close(&swap);
	must(!hf_validate(s.sys, NULL));
	must(!hf_system_destroy(s.sys));
	must(!st.unpin_check_failures);
	printf("# pages out %llu, in %llu; forks' copies %llu; unshares %llu; pins %llu\n",
	       (unsigned long long)st.swap_outs, (unsigned long long)st.swap_ins,
	       (unsigned long long)st.fork_copies, (unsigned long long)st.unshares,
	       (unsigned long long)st.pins_acquired);
	printf("# huge faults %llu, splits %llu, collapses %llu; merges %llu; migrations %llu\n",
	       (unsigned long long)st.thp_faults, (unsigned long long)st.thp_splits,
	       (unsigned long long)st.collapses, (unsigned long long)st.ksm_merges,
	       (unsigned long long)st.migrations);
	printf("ok 1 - %zu operations of %u threads in %u seconds agree with their models\n1..1\n",
	       operations, s.nr, seconds);
	return 0;
}
