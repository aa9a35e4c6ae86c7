/* SPDX-License-Identifier: MIT */
/* Targets by name. */
#include "target.h"

#include <holdfast/policy.h>
#include <stdio.h>
#include <string.h>

struct hf_target *hf_target_open(const char *name, char *err, size_t len)
{
	struct hf_target *t;

	if (!strcmp(name, "here"))
		return hf_target_here(err, len);
	if (!hf_policy_find(name)) {
		snprintf(err, len,
			 "target '%s' is not a policy, nor 'here'; see 'holdfast list policies'",
			 name);
		return NULL;
	}
	t = hf_target_engine(name);
	if (!t)
		snprintf(err, len, "target '%s': out of memory", name);
	return t;
}
