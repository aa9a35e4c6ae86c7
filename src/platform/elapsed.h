/* SPDX-License-Identifier: MIT */
#ifndef HF_ELAPSED_H
#define HF_ELAPSED_H

#include <time.h>

/* Seconds since a moment of CLOCK_MONOTONIC. */
static inline double hf_seconds_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - t->tv_sec) + (double)(now.tv_nsec - t->tv_nsec) / 1e9;
}

/* That this process has computed. */
static inline double hf_cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif
