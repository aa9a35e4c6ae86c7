/* SPDX-License-Identifier: MIT */
/* The background reclaimer for programs:
 * a thread that looks at the watermarks every other millisecond. */
#include <holdfast/hosted.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define PERIOD_NS 2000000

struct hf_reclaimer {
	struct hf_system *sys;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
};

static void period_from_now(struct timespec *t)
{
	clock_gettime(CLOCK_MONOTONIC, t);
	t->tv_nsec += PERIOD_NS;
	if (t->tv_nsec >= 1000000000) {
		t->tv_nsec -= 1000000000;
		t->tv_sec++;
	}
}

static void *reclaimer_main(void *arg)
{
	struct hf_reclaimer *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		struct timespec until;

		pthread_mutex_unlock(&r->lock);
		if (hf_low_on_frames(r->sys))
			hf_balance(r->sys);
		pthread_mutex_lock(&r->lock);
		period_from_now(&until);
		if (!r->stop)
			pthread_cond_timedwait(&r->wake, &r->lock, &until);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

int hf_reclaimer_start(struct hf_system *sys, struct hf_reclaimer **out)
{
	struct hf_reclaimer *r = calloc(1, sizeof(*r));
	pthread_condattr_t attr;
	int err;

	*out = NULL;
	if (!r)
		return -ENOMEM;
	r->sys = sys;
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&r->thread, NULL, reclaimer_main, r);
	if (err) {
		pthread_cond_destroy(&r->wake);
		pthread_mutex_destroy(&r->lock);
		free(r);
		return -err;
	}
	*out = r;
	return 0;
}

void hf_reclaimer_stop(struct hf_reclaimer *r)
{
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
