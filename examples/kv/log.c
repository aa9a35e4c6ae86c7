/* SPDX-License-Identifier: MIT */
#include "log.h"

#include "../common/arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void say(const char *format, ...)
{
	char when[32], text[512];
	time_t now = time(NULL);
	struct tm tm;
	va_list args;

	strftime(when, sizeof(when), "%F %T", localtime_r(&now, &tm));
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "%s %s: %s\n", when, program, text);
}
