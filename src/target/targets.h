/* SPDX-License-Identifier: MIT */
/* Targets by name. */
#ifndef HF_TARGETS_H
#define HF_TARGETS_H

#include "../scenario/target.h"

struct hf_image_options;

/* Policy names give the engine, paths and names of fetched kernels a kernel under QEMU. NULL and a
 * message in err (never NULL-terminated beyond len) when there is no such target, or it cannot be
 * had on this build. */
struct hf_target *hf_target_open(const char *name, const struct hf_image_options *opt, char *err,
				 size_t len);

/* ---- names.c ---- */

/* All but kernel images, by number: policies in their order, then the others. NULL past the end. */
const char *hf_target_name(size_t i);

struct hf_other_target {
	const char *name, *about;
};

/* Those that are neither policies nor kernel images. NULL past the end. */
const struct hf_other_target *hf_other_target(size_t i);

#endif
