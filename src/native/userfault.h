/* SPDX-License-Identifier: MIT */
/*
 * The system calls of userfaultfd, and what finds populated pages. All return negative errno; all
 * but hf_userfault_open() are safe in a signal handler.
 */
#ifndef HF_NATIVE_USERFAULT_H
#define HF_NATIVE_USERFAULT_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than the headers that we build with. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define HF_UFFD_WP (1ULL << 0)
#define HF_UFFD_SIGBUS (1ULL << 7)
#define HF_UFFD_WP_HUGETLBFS_SHMEM (1ULL << 12)
#define HF_UFFD_WP_UNPOPULATED (1ULL << 13)

/* A descriptor with `features`, for faults of user mode alone or the kernel's, too. -ENOSYS,
 * -EPERM, -EOPNOTSUPP (features), -EMFILE, ... */
int hf_userfault_open(bool user_mode_only, uint64_t features);
/* What the kernel offers: HF_UFFD_* bits; negative errno when there is no userfaultfd. */
int64_t hf_userfault_features(void);

int hf_userfault_register(int fd, void *addr, size_t len, bool missing);
int hf_userfault_protect(int fd, void *addr, size_t len);
/* Also wakes those that wait for it. */
int hf_userfault_unprotect(int fd, void *addr, size_t len);
/* Fills pages that are missing, from `src` or with zeros. */
int hf_userfault_copy(int fd, void *addr, const void *src, size_t len);
int hf_userfault_zero(int fd, void *addr, size_t len);
/* Makes pages that are missing such as cannot be had: SIGBUS, or EFAULT. -EINVAL before Linux 6.6.
 */
int hf_userfault_poison(int fd, void *addr, size_t len);
int hf_userfault_wake(int fd, void *addr, size_t len);

/* How to find populated pages: an ioctl (Linux 6.7), by reading /proc/self/pagemap, or not. */
struct hf_pagemap {
	int fd; /* -1: not */
	bool scan;
};

void hf_pagemap_open(struct hf_pagemap *map);
void hf_pagemap_close(struct hf_pagemap *map);
/* Calls found() for each run of pages that are present or swapped out. */
int hf_pagemap_walk(const struct hf_pagemap *map, char *addr, size_t len,
		    void (*found)(void *arg, char *addr, size_t len), void *arg);

#endif
