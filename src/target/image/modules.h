/* SPDX-License-Identifier: MIT */
/* A kernel's modules: those that scenarios use, and what those need. */
#ifndef HF_MODULES_H
#define HF_MODULES_H

#include <stddef.h>

#define HF_MAX_MODULES 16

struct hf_module {
	char name[56]; /* with underscores */
	char *data;    /* the object file, decompressed */
	size_t len;
};

struct hf_modules {
	struct hf_module module[HF_MAX_MODULES]; /* in the order to load them in */
	size_t nr;
};

/*
 * Looks for fuse and zram and what they need, in folders and all below them, the first that has one
 * wins. What is not there may be built in: it is left out. 0, or negative errno with the file or
 * folder that it is about in `where`.
 */
int hf_modules_find(struct hf_modules *m, const char *const *folders, size_t nr, char *where,
		    size_t len);
void hf_modules_free(struct hf_modules *m);

#endif
