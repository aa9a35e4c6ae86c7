/* SPDX-License-Identifier: MIT */
#ifndef HF_RELEASE_H
#define HF_RELEASE_H

#include <stddef.h>

/* The release that an x86-64 kernel image (bzImage) says it is: "6.1.0-56-amd64". 0 or negative
 * errno; -ENOEXEC: it is no such image. */
int hf_image_release(const char *path, char *release, size_t len);

#endif
