/* SPDX-License-Identifier: MIT */
/* What all the rest stands on: memory of the kernel's, time, and being left alone. */
#include "internal.h"

#include <sys/mman.h>
#include <time.h>

void *hf_zalloc(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void hf_zfree(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

uint64_t hf_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void hf_enter(struct hf_undisturbed *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old->signals);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old->cancel);
}

void hf_leave(const struct hf_undisturbed *old)
{
	int disabled;

	pthread_setcancelstate(old->cancel, &disabled);
	pthread_sigmask(SIG_SETMASK, &old->signals, NULL);
}
