/* SPDX-License-Identifier: MIT */
/* The pool of 2 MiB pages: of the machine, and of each of its nodes. */
#ifndef HF_MACHINE_HUGETLB_H
#define HF_MACHINE_HUGETLB_H

/* Its pages without surplus, which is what can be set. -1: there is no such pool. */
long hf_hugetlb_size(const char *folder);
/* 0 or negative errno. Pages that are in use go when they are not any more. */
int hf_hugetlb_resize(const char *folder, long pages);

#endif
