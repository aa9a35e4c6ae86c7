/* SPDX-License-Identifier: MIT */
/* Tasks in processes of their own, some at a time. */
#ifndef HF_POOL_H
#define HF_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct hf_pool {
	size_t nr;        /* tasks, numbered from 0 */
	unsigned threads; /* at a time */
	/* In the task's own process, which then ends; what it finds goes to shared memory. */
	void (*run)(size_t task, void *arg);
	/* In this process, in the order of the tasks. NULL: it ended well. Otherwise why not. */
	void (*done)(size_t task, const char *died, void *arg);
	void *arg;
};

/* Until all are done, or an interrupt: then those that have begun end. 0 or negative errno. */
int hf_pool_run(const struct hf_pool *pool);
/* Zeroed memory that processes share; NULL: none. */
void *hf_shared_alloc(size_t size);
void hf_shared_free(void *ptr, size_t size);

#endif
