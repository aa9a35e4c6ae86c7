/* SPDX-License-Identifier: MIT */
/* holdfast list */
#include "cli.h"

#include <holdfast/policy.h>
#include <stdio.h>
#include <string.h>

static int list_policies(void)
{
	const struct hf_policy *p;

	for (size_t i = 0; (p = hf_policy_at(i)); i++)
		printf("%-16s %s\n", p->name, p->summary);
	return HF_EXIT_OK;
}

/* All but kernel images. */
static int list_targets(void)
{
	const struct hf_other_target *other;

	for (size_t i = 0; (other = hf_other_target(i)); i++)
		printf("%-16s %s\n", other->name, other->about);
	return list_policies();
}

static int list_kinds(void)
{
	for (size_t i = 0; hf_kinds_name(i); i++)
		if (hf_kinds_about(i))
			printf("%-16s a set: %s\n", hf_kinds_name(i), hf_kinds_about(i));
		else
			puts(hf_kinds_name(i));
	return HF_EXIT_OK;
}

static int list_scenarios(int argc, char **argv)
{
	static char *here[] = { "scenarios" };
	struct hf_library lib;
	int status =
		argc ? hf_library_load(&lib, argv, (size_t)argc) : hf_library_load(&lib, here, 1);

	for (size_t i = 0; i < lib.nr; i++)
		printf("%-40s %s\n", lib.scn[i]->name, lib.scn[i]->about);
	hf_library_free(&lib);
	return status;
}

int hf_cmd_list(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "policies") && argc == 2)
		return list_policies();
	if (!strcmp(what, "targets") && argc == 2)
		return list_targets();
	if (!strcmp(what, "kinds") && argc == 2)
		return list_kinds();
	if (!strcmp(what, "scenarios"))
		return list_scenarios(argc - 2, argv + 2);
	fprintf(!strcmp(what, "--help") ? stdout : stderr,
		"Usage: holdfast list policies|targets|kinds\n       holdfast list scenarios "
		"[FILE|DIR...] "
		"  (default: scenarios)\n");
	return !strcmp(what, "--help") ? HF_EXIT_OK : HF_EXIT_USAGE;
}
