/* SPDX-License-Identifier: MIT */
/*
 * The system calls of userfaultfd. All return negative errno; all but hf_userfault_open() and
 * hf_userfault_features() are safe in a signal handler.
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

struct hf_files;

int hf_userfault_register(struct hf_files *files, void *addr, size_t len, bool missing);
/* -EFAULT: part of the range is not what was registered. */
int hf_userfault_protect(struct hf_files *files, void *addr, size_t len);
/* Also wakes those that wait for it. */
int hf_userfault_unprotect(struct hf_files *files, void *addr, size_t len);
/* Fills it if nothing is there: else -EEXIST. */
int hf_userfault_fill_hole(struct hf_files *files, void *addr, const void *src, size_t len);
/* Fills pages that are missing, from `src` or with zeros. */
int hf_userfault_copy(struct hf_files *files, void *addr, const void *src, size_t len);
int hf_userfault_zero(struct hf_files *files, void *addr, size_t len);
/* Makes pages that are missing such as cannot be had:
 * SIGBUS, or EFAULT. -EINVAL before Linux 6.6. */
int hf_userfault_poison(struct hf_files *files, void *addr, size_t len);
int hf_userfault_wake(struct hf_files *files, void *addr, size_t len);

#endif
