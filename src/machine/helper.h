/* SPDX-License-Identifier: MIT */
#ifndef HF_HELPER_H
#define HF_HELPER_H

#include <stddef.h>

/* A program that comes with this one: beside it or a folder above in a build, in
 * ../libexec/holdfast when installed. 0 or -ENOENT. */
int hf_helper_path(const char *name, char *path, size_t len);

#endif
