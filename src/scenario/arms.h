/* SPDX-License-Identifier: MIT */
/* How the arms of a par block run: threads (arms.c), or fibers of the explorer (src/explore). */
#ifndef HF_ARMS_H
#define HF_ARMS_H

#include <stddef.h>

/* Runs fn(args[i]) for each, all at once.
 * 0 when all have ended; negative errno, and none has run. */
int hf_run_arms(size_t nr, void (*fn)(void *arg), void *const *args);

#endif
