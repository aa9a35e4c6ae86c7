/* SPDX-License-Identifier: MIT */
/* What options of several subcommands take. */
#include "cli.h"

#include "../search/history.h"

#include <errno.h>
#include <holdfast/policy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool hf_take_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	if (!errno && *text >= '0' && *text <= '9' && !*end && *out >= min && *out <= max)
		return true;
	fprintf(stderr, "holdfast: --%s '%s': expected a number from %llu to %llu\n", what, text,
		(unsigned long long)min, (unsigned long long)max);
	return false;
}

bool hf_take_small_number(const char *what, const char *text, unsigned min, unsigned max,
			  unsigned *out)
{
	uint64_t n;
	bool ok = hf_take_number(what, text, min, max, &n);

	if (ok)
		*out = (unsigned)n;
	return ok;
}

bool hf_take_policy(const char *text, const char **out)
{
	*out = text;
	if (hf_policy_find(text))
		return true;
	fprintf(stderr, "holdfast: --policy '%s' is not a policy; see 'holdfast list policies'\n",
		text);
	return false;
}

bool hf_take_kind(const char *text, bool (*ok)(enum hf_kind kind), enum hf_kind *out)
{
	for (int k = 0; k < HF_NR_KINDS; k++)
		if (ok(k) && !strcmp(text, hf_kind_name(k))) {
			*out = (enum hf_kind)k;
			return true;
		}
	fprintf(stderr, "holdfast: --kind '%s': expected one of", text);
	for (int k = 0; k < HF_NR_KINDS; k++)
		if (ok(k))
			fprintf(stderr, " %s", hf_kind_name(k));
	fputc('\n', stderr);
	return false;
}

unsigned hf_cpus(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus > 0 ? (unsigned)cpus : 1;
}

int hf_emit(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	bool done = f && fputs(text, f) >= 0;

	if (f && fclose(f))
		done = false;
	if (!done)
		fprintf(stderr, "holdfast: --emit %s: %s\n", path, strerror(errno));
	return done ? 0 : -1;
}
