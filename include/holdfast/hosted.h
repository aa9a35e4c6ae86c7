/* SPDX-License-Identifier: MIT */
/* The platform for programs: POSIX threads, malloc and liburcu. Not part of the freestanding core.
 */
#ifndef HOLDFAST_HOSTED_H
#define HOLDFAST_HOSTED_H

#include <holdfast/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One platform for the whole process, valid for its whole life; threads need no registration. After
 * the program's own fork() the child must not use systems on it: liburcu's callback thread and
 * locks held by other threads are not there.
 */
const struct hf_platform *hf_platform_hosted(void);

#ifdef __cplusplus
}
#endif
#endif
