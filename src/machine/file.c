/* SPDX-License-Identifier: MIT */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int hf_read_text(const char *path, char *text, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;
	ssize_t n = fd < 0 ? 0 : read(fd, text, len - 1);

	if (n < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return err;
}

int hf_read_setting(const char *path, char *value, size_t len)
{
	char text[128], *from, *to;
	int err = hf_read_text(path, text, sizeof(text));

	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to)
		*to = '\0';
	snprintf(value, len, "%.*s", (int)len - 1, to ? from + 1 : text);
	return err;
}

long hf_read_number(const char *path)
{
	char text[32];

	/* counts that went below zero (resv_hugepages does, after a fork copied what was pinned)
	 * read as huge */
	return hf_read_text(path, text, sizeof(text)) || !*text ? -1
								: (long)strtoul(text, NULL, 10);
}

int hf_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;

	if (!err && write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err = errno ? -errno : -EIO;
	if (fd >= 0)
		close(fd);
	return err;
}
