/* SPDX-License-Identifier: MIT */
#ifndef HF_SLURP_H
#define HF_SLURP_H

#include <stddef.h>

/* The whole of a file, decompressed if its name ends in .xz, .zst or .gz (by the program of that
 * format). *data is the caller's to free. 0 or negative errno; -ENOPKG: there is no such program;
 * -EIO: it failed. */
int hf_slurp(const char *path, char **data, size_t *len);

#endif
