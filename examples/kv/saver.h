/* SPDX-License-Identifier: MIT */
/*
 * Saves the memory as it is at one instant, while the server goes on: from a snapshot by a thread,
 * or by a forked child. Used by the serving thread alone.
 */
#ifndef KV_SAVER_H
#define KV_SAVER_H

#include "dump.h"
#include "heap.h"
#include "memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

struct saver {
	struct memory *memory;
	struct heap *heap;
	const char *path; /* NULL: nothing is ever saved */
	size_t rate;
	int done[2]; /* a pipe: its struct dump_result comes when a save has ended */

	bool running;
	pthread_t thread; /* with a snapshot */
	struct hf_native_snapshot *snapshot;
	struct dump_source source;
	atomic_bool cancel;
	pid_t child; /* without; 0: none */

	time_t begun, last; /* last: the last time that one succeeded */
	uint64_t dirty,
		dirty_then;        /* changes since the last save, and when the running one began */
	struct dump_result result; /* of the last one */
	bool failed;               /* the last one */
	uint64_t saves;            /* that succeeded */
	uint64_t instant_ns;       /* what the last snapshot or fork() took */
};

/* 0 or -errno. */
int saver_init(struct saver *saver, struct memory *memory, const char *path, size_t rate);
/* Reads the file into the memory, if there is one. False: it has been said why not. */
bool saver_load(struct saver *saver);
/* Starts one. -EALREADY: one is running. -ENODEV: there is no path. */
int saver_start(struct saver *saver);
/* To be called when done[0] can be read, or on SIGCHLD where the memory forks. */
void saver_finish(struct saver *saver);
/* Ends a running one. */
void saver_cancel(struct saver *saver);
/* Saves while nothing else is done. 0 or -errno; saver->result has the rest. */
int saver_run(struct saver *saver);
void saver_close(struct saver *saver);
/* Why the last one failed. */
const char *saver_reason(const struct saver *saver);

#endif
