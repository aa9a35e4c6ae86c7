/* SPDX-License-Identifier: MIT */
/* The memory that everything is in, and instants of it: by snapshots of a native space, or fork().
 */
#ifndef KV_MEMORY_H
#define KV_MEMORY_H

#include <holdfast/native.h>
#include <stdbool.h>
#include <stddef.h>

struct memory {
	struct hf_native_config config;
	bool forks;              /* plain memory: an instant of it is a child process */
	bool protects;           /* a native space that is not bracketed */
	struct hf_native *space; /* NULL if it forks */
	void *base;
	size_t size;
};

/* False: it has been said why. */
bool memory_open(struct memory *memory);
void memory_close(struct memory *memory);

#endif
