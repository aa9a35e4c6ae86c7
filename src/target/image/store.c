/* SPDX-License-Identifier: MIT */
#include "store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void hf_store_folder(char *path, size_t len)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (cache && *cache)
		snprintf(path, len, "%s/holdfast/kernels", cache);
	else
		snprintf(path, len, "%s/.cache/holdfast/kernels", home ? home : "");
}

int hf_store_image(const char *name, char *path, size_t len)
{
	char folder[PATH_MAX];

	hf_store_folder(folder, sizeof(folder));
	snprintf(path, len, "%s/%s/vmlinuz", folder, name);
	return access(path, R_OK) ? -errno : 0;
}
