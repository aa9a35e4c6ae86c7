/* SPDX-License-Identifier: MIT */
/* The header is described in the kernel's Documentation/arch/x86/boot.rst. */
#include "release.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x202   /* "HdrS" */
#define VERSION 0x20e /* where the text is, from 0x200 on */

int hf_image_release(const char *path, char *release, size_t len)
{
	uint8_t head[0x210];
	char text[128] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = -ENOEXEC;
	ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof(head));

	if (n < 0)
		err = -errno;
	else if (n == sizeof(head) && !memcmp(head + MAGIC, "HdrS", 4) &&
		 pread(fd, text, sizeof(text) - 1,
		       0x200 + head[VERSION] + head[VERSION + 1] * 256) > 0 &&
		 text[0])
		err = 0;
	if (fd >= 0)
		close(fd);
	snprintf(release, len, "%.*s", (int)strcspn(text, " "), text);
	return err;
}
