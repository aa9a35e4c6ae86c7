/* SPDX-License-Identifier: MIT */
#include "kmsg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int kmsg = -1;

void hf_kmsg_open(void)
{
	kmsg = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	lseek(kmsg, 0, SEEK_END);
}

void hf_kmsg_say(const char *text)
{
	char line[128]; /* one write; a warning: those go to the console */
	int len = snprintf(line, sizeof(line), "<4>%s\n", text);

	if (write(kmsg, line, (size_t)len) != len)
		kmsg = -1; /* there is no log: no splat will be found */
}

static bool complains(const char *text)
{
	static const char *const signs[] = { "WARNING: ", "BUG: ", "kernel BUG at",
					     "Oops: ", "page dumped because" };

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (strstr(text, signs[i]))
			return true;
	return false;
}

/* A record is "6,339,5140900,-;text\n", and perhaps lines that begin with a blank. */
static const char *text_of(char *record)
{
	char *text = strchr(record, ';');

	text = text ? text + 1 : record;
	text[strcspn(text, "\n")] = '\0';
	return text;
}

char *hf_kmsg_splat(void)
{
	char record[8192], *splat = NULL;
	size_t len = 0;
	FILE *out = NULL;
	ssize_t n;

	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		const char *text;

		if (n < 0) /* EPIPE: some were overwritten */
			continue;
		record[n] = '\0';
		text = text_of(record);
		if (!out && complains(text))
			out = open_memstream(&splat, &len);
		if (out)
			fprintf(out, "%s\n", text);
	}
	if (out)
		fclose(out);
	return splat;
}
