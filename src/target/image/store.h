/* SPDX-License-Identifier: MIT */
/* Kernels that `holdfast kernels fetch` has fetched: STORE/NAME/vmlinuz, STORE/NAME/modules/. */
#ifndef HF_STORE_H
#define HF_STORE_H

#include <stddef.h>

/* The folder, whether it is there or not: ${XDG_CACHE_HOME:-~/.cache}/holdfast/kernels. */
void hf_store_folder(char *path, size_t len);
/* 0 or negative errno: there is no such kernel. */
int hf_store_image(const char *name, char *path, size_t len);

#endif
