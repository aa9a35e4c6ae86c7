/* SPDX-License-Identifier: MIT */
#include "era.h"

#include <stddef.h>
#include <stdio.h>

unsigned hf_kernel_version(const char *release)
{
	unsigned major, minor;

	return sscanf(release, "%u.%u", &major, &minor) == 2 ? major * 100 + minor : 0;
}

const char *hf_kernel_rules(unsigned version)
{
	return version >= 619 ? "linux-6.19" : hf_kernel_era(version);
}

const char *hf_kernel_era(unsigned version)
{
	static const struct {
		unsigned from;
		const char *policy;
	} eras[] = {
		{ 615, "linux-6.18" }, { 605, "linux-6.12" }, { 519, "linux-6.1" },
		{ 518, "linux-5.18" }, { 509, "linux-5.10" }, { 508, "linux-5.8" },
		{ 0, "linux-4.19" },
	};
	size_t i = 0;

	while (version < eras[i].from)
		i++;
	return eras[i].policy;
}
