/* SPDX-License-Identifier: MIT */
/* What the two users of an image's boots share: cells (image.c) and histories (histories.c). */
#ifndef HF_IMAGE_RUN_H
#define HF_IMAGE_RUN_H

#include "../../equiv/equiv.h"
#include "cpio.h"
#include "modules.h"

struct hf_image {
	struct hf_target t;
	char *name, *path, *init;
	unsigned patience;
	struct hf_modules modules;
};

/* Folders, modules and the runner. 0 or negative errno. */
int hf_image_add_base(const struct hf_image *image, struct hf_cpio *c);
/* A descriptor of an initramfs with all that `add` puts there, or negative errno. */
int hf_image_initramfs(int (*add)(const void *arg, struct hf_cpio *c), const void *arg);

/* hf_equiv() in there: all histories in one boot. */
int hf_image_equiv(struct hf_target *t, const struct hf_equiv_options *options,
		   struct hf_equiv_result *result);

#endif
