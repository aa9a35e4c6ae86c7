/* SPDX-License-Identifier: MIT */
/* The pool of 2 MiB pages: of the machine, and of each of its nodes. */
#ifndef HF_MACHINE_HUGETLB_H
#define HF_MACHINE_HUGETLB_H

#include <stddef.h>

/* Its pages without surplus, which is what can be set. -1: there is no such pool. */
long hf_hugetlb_size(const char *folder);
/* Its pages that nobody has or has reserved. */
long hf_hugetlb_spare(const char *folder);
/* The size that it has with so many pages more: surplus ones, which others may have reserved,
 * become its own before it grows. -1. */
long hf_hugetlb_with(const char *folder, size_t more);
/* 0 or negative errno. Pages that are in use go when they are not any more. */
int hf_hugetlb_resize(const char *folder, long pages);

#endif
