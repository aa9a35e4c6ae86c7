/* SPDX-License-Identifier: MIT */
/* A thread an arm; none starts before all can. */
#include "arms.h"
#include "scenario.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum gate { GATE_SHUT, GATE_OPEN, GATE_CANCELLED };

struct arm_thread {
	void (*fn)(void *arg);
	void *arg;
	atomic_int *gate;
	pthread_t thread;
};

static void *run_arm(void *arg)
{
	struct arm_thread *t = arg;
	int gate;

	while ((gate = atomic_load(t->gate)) == GATE_SHUT)
		sched_yield();
	if (gate == GATE_OPEN)
		t->fn(t->arg);
	return NULL;
}

int hf_run_arms(size_t nr, void (*fn)(void *arg), void *const *args)
{
	struct arm_thread arms[HF_SCN_MAX_ARMS];
	atomic_int gate = GATE_SHUT;
	size_t made = 0;
	int err = 0;

	for (; made < nr && !err; made += !err) {
		arms[made] = (struct arm_thread){ .fn = fn, .arg = args[made], .gate = &gate };
		err = -pthread_create(&arms[made].thread, NULL, run_arm, &arms[made]);
	}
	atomic_store(&gate, err ? GATE_CANCELLED : GATE_OPEN);
	for (size_t i = 0; i < made; i++)
		pthread_join(arms[i].thread, NULL);
	return err;
}
