/* SPDX-License-Identifier: MIT */
/*
 * A kernel image as a target: its cells run on the target `here` of the static runner
 * (src/init), the only program of a machine of QEMU's. What kills or hangs the kernel is one cell;
 * the rest goes on in a new machine.
 */
#ifndef HF_IMAGE_H
#define HF_IMAGE_H

#include "../../scenario/target.h"

struct hf_image_options {
	const char *modules; /* folder to look for modules in; NULL: beside the image, /lib */
	const char *init;    /* the static runner; NULL: beside this program, or libexec */
	unsigned patience;   /* seconds of silence after which a kernel hangs; 0: 60 */
};

/* `name` is what the target is called. NULL: err says why. */
struct hf_target *hf_target_image(const char *name, const char *path,
				  const struct hf_image_options *opt, char *err, size_t len);

#endif
