/* SPDX-License-Identifier: MIT */
/* What is left of a runner's processes. All that descend from it inherit the life line, its end of
 * a socket pair that nothing else has; a program that is executed does not. */
#ifndef HF_MACHINE_LEFTOVERS_H
#define HF_MACHINE_LEFTOVERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Kills every process but this one that holds the socket with that inode. True: there was one. */
bool hf_kill_leftovers(uint64_t line);

/* In a child that `parent` has just forked: it ends when the thread does that forked it. */
void hf_die_with(pid_t parent);

#endif
