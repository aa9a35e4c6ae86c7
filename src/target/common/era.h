/* SPDX-License-Identifier: MIT */
/* Releases of Linux. */
#ifndef HF_COMMON_ERA_H
#define HF_COMMON_ERA_H

/* The runner needs pidfd_open(). */
#define HF_KERNEL_OLDEST 503

/* "6.1.0-56-amd64" is 601; 0: it cannot be told. */
unsigned hf_kernel_version(const char *release);
/* The policy that stands for a version. */
const char *hf_kernel_era(unsigned version);

/* The same, to the letter: where marks within an era differ. */
const char *hf_kernel_rules(unsigned version);

#endif
