/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char units[] = "KMGT";
static const char *const page_names[] = { "auto", "4k", "thp", "hugetlb", "thp-4k" };

static bool digits(const char *text, char **end, unsigned long *out)
{
	errno = 0;
	*out = strtoul(text, end, 10);
	return *text >= '0' && *text <= '9' && !errno;
}

bool take_size(const char *option, const char *text, size_t min, size_t *out)
{
	unsigned long n;
	char *end;
	bool ok = digits(text, &end, &n);

	if (ok && *end) {
		const char *unit = strchr(units, *end);
		int shift = unit ? (int)(unit - units + 1) * 10 : 0;

		ok = unit && !end[1] && n <= SIZE_MAX >> 1 >> shift;
		n <<= ok ? shift : 0;
	}
	*out = n;
	if (ok && n >= min)
		return true;
	fprintf(stderr, "%s: %s '%s': expected a size of at least %s, such as 512M or 4G\n",
		program, option, text, size_text(min));
	return false;
}

bool take_number(const char *option, const char *text, unsigned long min, unsigned long max,
		 unsigned long *out)
{
	char *end;

	if (digits(text, &end, out) && !*end && *out >= min && *out <= max)
		return true;
	fprintf(stderr, "%s: %s '%s': expected a number from %lu to %lu\n", program, option, text,
		min, max);
	return false;
}

bool take_pages(const char *option, const char *text, enum hf_native_pages *out)
{
	for (size_t i = 0; i < sizeof(page_names) / sizeof(page_names[0]); i++)
		if (!strcmp(text, page_names[i])) {
			*out = (enum hf_native_pages)i;
			return true;
		}
	fprintf(stderr, "%s: %s '%s': expected auto, 4k, thp, thp-4k or hugetlb\n", program, option,
		text);
	return false;
}

const char *pages_name(enum hf_native_pages pages)
{
	return page_names[pages];
}

const char *size_text(size_t bytes)
{
	static _Thread_local char text[32];
	int unit = -1;

	while (bytes && bytes % 1024 == 0 && unit < 3) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, sizeof(text), "%zu%.1s", bytes, unit < 0 ? "" : &units[unit]);
	return text;
}

void say_no_space(const struct hf_native_config *config, int err)
{
	struct hf_native_support support = { 0 };

	hf_native_probe(&support);
	fprintf(stderr, "%s: no space of %s bytes of %s pages%s: %s\n", program,
		size_text(config->size), pages_name(config->pages),
		config->flags & HF_NATIVE_SIGNAL ? " in signal mode" : "", strerror(-err));
	if (err == -ENOMEM && config->pages == HF_NATIVE_HUGETLB)
		fprintf(stderr,
			"%s: %s bytes of huge pages are free; raise vm.nr_hugepages or take "
			"--pages thp\n",
			program, size_text(support.hugetlb_free));
	else if (support.remedy[0])
		fprintf(stderr, "%s: %s\n", program, support.remedy);
	if (err == -EPERM && !(config->flags & HF_NATIVE_SIGNAL))
		fprintf(stderr, "%s: or take --signal, which needs no right\n", program);
}
