/* SPDX-License-Identifier: MIT */
/* Files of /sys and /proc that have one value. */
#ifndef HF_MACHINE_FILE_H
#define HF_MACHINE_FILE_H

#include <stddef.h>

/* The first line. 0 or negative errno. */
int hf_read_text(const char *path, char *text, size_t len);
/* "always [madvise] never" is madvise. 0 or negative errno. */
int hf_read_setting(const char *path, char *value, size_t len);
/* -1: there is none. */
long hf_read_number(const char *path);
/* 0 or negative errno. */
int hf_write_text(const char *path, const char *text);

#endif
