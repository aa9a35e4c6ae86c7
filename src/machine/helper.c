/* SPDX-License-Identifier: MIT */
#include "helper.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

int hf_helper_path(const char *name, char *path, size_t len)
{
	static const char *const places[] = { "%s/%s", "%s/../%s", "%s/../libexec/holdfast/%s" };
	char self[PATH_MAX], *folder;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return -ENOENT;
	self[n] = '\0';
	folder = dirname(self);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, len, places[i], folder, name);
		if (!access(path, X_OK))
			return 0;
	}
	return -ENOENT;
}
