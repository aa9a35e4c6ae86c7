/* SPDX-License-Identifier: MIT */
/*
 * What /proc says of our memory: which pages are there, which are protected, and what mapping they
 * are in. By ioctls where the kernel has them, else by reading an entry a page.
 */
#ifndef HF_NATIVE_PAGEMAP_H
#define HF_NATIVE_PAGEMAP_H

#include "files.h"

/* Whether PAGEMAP_SCAN works on this descriptor. */
bool hf_pagemap_can_scan(int fd);
/* Fills what works: files->scan, ->tells, ->query, ->populate. -ENOMEM. */
int hf_pagemap_probe(struct hf_files *files);

enum hf_pages {
	HF_PAGES_POPULATED, /* present, or swapped out */
	HF_PAGES_PROTECTED, /* by userfaultfd; files->tells */
	HF_PAGES_HOLES,     /* protected, and swapped out, moving, or given back; files->scan */
};

/* Calls found() for each run of such pages, as long as it is; neighbours make one run. */
int hf_pagemap_walk(struct hf_files *files, enum hf_pages which, char *addr, size_t len,
		    void (*found)(void *arg, char *addr, size_t len), void *arg);

/* Calls found() for each mapping's part of the range. files->query. */
void hf_pagemap_mappings(struct hf_files *files, char *addr, size_t len,
			 void (*found)(void *arg, char *addr, size_t len), void *arg);
/* Whether the program can read all of the range: then so can we. Where nothing tells, it can. */
bool hf_pagemap_is_readable(struct hf_files *files, char *addr, size_t len);

#endif
