/* SPDX-License-Identifier: MIT */
/* The names of targets, without the targets. */
#include "targets.h"

#include <holdfast/policy.h>

static const struct hf_other_target others[] = {
	{ "here", "the running kernel" },
	{ "native", "native spaces in the default mode: a thread resolves faults" },
	{ "native-signal", "native spaces in signal mode: the faulting thread does" },
	{ "native-bracketed", "native spaces in which stores are bracketed: there are no faults" },
};

#define NR_OTHERS (sizeof(others) / sizeof(others[0]))

const struct hf_other_target *hf_other_target(size_t i)
{
	return i < NR_OTHERS ? &others[i] : NULL;
}

const char *hf_target_name(size_t i)
{
	const struct hf_other_target *other;
	size_t nr = 0;

	if (hf_policy_at(i))
		return hf_policy_at(i)->name;
	while (hf_policy_at(nr))
		nr++;
	other = hf_other_target(i - nr);
	return other ? other->name : NULL;
}
