/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of a tree, and calls on them. A program closes what it did not open (daemons from
 * 3 up), or puts files of its own there; the end of the last descriptor of a userfaultfd ends all
 * protection, and the kernel tells nobody. So a thread, the keeper, has a table of its own with
 * the same descriptors under the same numbers. Calls are made on the program's as long as they are
 * ours, and by the keeper when they are not, or when a filter denies them to the caller.
 *
 * What is ours shows by its owner (F_SETOWN_EX, which belongs to the open file): the keeper.
 * All but start and stop are safe in a signal handler.
 */
#ifndef HF_NATIVE_FILES_H
#define HF_NATIVE_FILES_H

#include "lock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hf_file { HF_FILE_USERFAULT, HF_FILE_PAGEMAP, HF_FILE_MAPS, HF_FILES };

struct hf_files {
	int fd[HF_FILES];  /* -1: there is none */
	bool scan;         /* PAGEMAP_SCAN works (Linux 6.7) */
	bool tells;        /* what the pagemap says of protection is so (5.14) */
	bool query;        /* PROCMAP_QUERY works (6.11) */
	bool populate;     /* MADV_POPULATE_READ works (5.14) */
	bool kept;         /* the keeper runs */
	_Atomic bool gone; /* the program's are not ours any more */
	pthread_t keeper;
	int keeper_tid;
	pthread_t *threads; /* that have the keeper's table too */
	unsigned nr_threads, room;
	struct hf_futex lock; /* of a call */
	_Atomic uint32_t turn;
	long (*call)(void *arg);
	void *arg;
	long result;
};

/* Opens all, and starts the keeper; room for `threads` more with its table. */
int hf_files_start(struct hf_files *files, bool user_mode_only, uint64_t features,
		   unsigned threads);
/* Those threads have ended. */
void hf_files_stop(struct hf_files *files);

/* Runs it in the keeper. It waits for nothing but the kernel: whoever calls may be inside the gate,
 * or have closed it. */
long hf_files_call(struct hf_files *files, long (*call)(void *arg), void *arg);
/* A thread with the keeper's table. */
int hf_files_thread(struct hf_files *files, pthread_t *thread, void *(*run)(void *), void *arg);
/* Whether calls by this thread have to be the keeper's. */
bool hf_files_are_gone(struct hf_files *files);
/* Looks, when a call comes from outside, whether the program's are ours still. */
void hf_files_look(struct hf_files *files);

/* Negative errno, or what the call returns. */
long hf_files_ioctl(struct hf_files *files, enum hf_file file, unsigned long request, void *arg);
long hf_files_pread(struct hf_files *files, enum hf_file file, void *buf, size_t len,
		    uint64_t offset);

/* Marks a descriptor, and closes what has the mark: a number may be the program's by now. */
void hf_files_mark(const struct hf_files *files, int fd);
void hf_files_close(const struct hf_files *files, int fd);

#endif
