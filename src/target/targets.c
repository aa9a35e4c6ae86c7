/* SPDX-License-Identifier: MIT */
/* Makes them. */
#include "targets.h"

#include "engine/engine.h"
#include "here/here.h"
#include "image/image.h"
#include "image/store.h"
#include "native/native.h"

#include <holdfast/policy.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static struct hf_target *open_policy(const char *name, char *err, size_t len)
{
	struct hf_target *t = hf_target_engine(name);

	if (!t)
		snprintf(err, len, "target '%s': out of memory", name);
	return t;
}

struct hf_target *hf_target_open(const char *name, const struct hf_image_options *opt, char *err,
				 size_t len)
{
	struct hf_target *native;
	char path[PATH_MAX];

	if (!strcmp(name, "here"))
		return hf_target_here(err, len);
	native = hf_target_native(name, err, len);
	if (native || err[0])
		return native;
	if (hf_policy_find(name))
		return open_policy(name, err, len);
	if (strchr(name, '/'))
		return hf_target_image(name, name, opt, err, len);
	if (!hf_store_image(name, path, sizeof(path)))
		return hf_target_image(name, path, opt, err, len);
	snprintf(err, len,
		 "target '%s' is not a policy, nor 'here', 'native', 'native-signal' or "
		 "'native-bracketed', nor a fetched kernel, nor a path to one; see 'holdfast list "
		 "targets' and 'holdfast "
		 "kernels list'",
		 name);
	return NULL;
}
