/* SPDX-License-Identifier: MIT */
/* An initramfs: a cpio archive of the kind "newc". */
#ifndef HF_CPIO_H
#define HF_CPIO_H

#include <stdint.h>
#include <stdio.h>

struct hf_cpio {
	FILE *file; /* the caller's; its error flag tells whether all was written */
	uint32_t nr;
};

void hf_cpio_folder(struct hf_cpio *c, const char *name);
void hf_cpio_device(struct hf_cpio *c, const char *name, unsigned major, unsigned minor);
void hf_cpio_data(struct hf_cpio *c, const char *name, const void *data, size_t len);
/* A file that can be executed. 0 or negative errno: it cannot be read. */
int hf_cpio_copy(struct hf_cpio *c, const char *name, const char *path);
void hf_cpio_end(struct hf_cpio *c);

#endif
