/* SPDX-License-Identifier: MIT */
/* The platform for programs: POSIX threads, malloc and liburcu.
 * Not part of the freestanding core. */
#ifndef HOLDFAST_HOSTED_H
#define HOLDFAST_HOSTED_H

#include <holdfast/file.h>
#include <holdfast/platform.h>
#include <holdfast/swap.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One platform for the whole process, valid for its whole life; threads need no registration. After
 * the program's own fork() the child must not use systems on it: liburcu's callback thread and
 * locks held by other threads are not there.
 */
const struct hf_platform *hf_platform_hosted(void);

/*
 * A swap device on a file, made anew with nr_slots pages, or in memory (path NULL). The file is
 * opened for direct I/O where its file system allows, and has no name any more when the call
 * returns. -EINVAL (nr_slots 0), -ENOMEM, or the error of making the file (-ENOSPC, -EACCES, ...).
 */
int hf_swap_device_open(const char *path, size_t nr_slots, struct hf_swap_device *device);
/* After swapoff, or after the system is gone. A second time it does nothing. */
void hf_swap_device_close(struct hf_swap_device *device);

/* A file's pages from and to a real file, open for reading and writing, which stays the caller's
 * and must outlive the hf_file. Errors are those of pread(2) and pwrite(2). */
struct hf_backing hf_backing_of(int fd);

struct hf_reclaimer;
/* A thread that keeps frames free (hf_balance). Stop it before hf_system_destroy(). -ENOMEM,
 * -EAGAIN (no thread). */
int hf_reclaimer_start(struct hf_system *sys, struct hf_reclaimer **out);
void hf_reclaimer_stop(struct hf_reclaimer *reclaimer);

#ifdef __cplusplus
}
#endif
#endif
