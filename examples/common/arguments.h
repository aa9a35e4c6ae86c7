/* SPDX-License-Identifier: MIT */
/* Arguments of options that both examples take, and what they say when one is wrong. */
#ifndef EXAMPLES_ARGUMENTS_H
#define EXAMPLES_ARGUMENTS_H

#include <holdfast/native.h>
#include <stdbool.h>
#include <stddef.h>

/* The name that messages begin with. */
extern const char *program;

/* A number of bytes: digits and perhaps K, M, G or T. On an error both print and return false. */
bool take_size(const char *option, const char *text, size_t min, size_t *out);
bool take_number(const char *option, const char *text, unsigned long min, unsigned long max,
		 unsigned long *out);
bool take_pages(const char *option, const char *text, enum hf_native_pages *out);

const char *pages_name(enum hf_native_pages pages);
/* "64M", "1536K": what take_size() would take. One buffer for each thread. */
const char *size_text(size_t bytes);

/* Says why there is no space, and what to do. */
void say_no_space(const struct hf_native_config *config, int err);

#endif
