/* SPDX-License-Identifier: MIT */
/* Finding and parsing scenario files, and kinds of memory. */
#include "cli.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int load_file(struct hf_library *lib, const char *path)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn, **grown;

	if (hf_scenario_load(path, hf_target_name, &scn, &err)) {
		if (err.line)
			fprintf(stderr, "%s:%d:%d: %s\n", path, err.line, err.column, err.text);
		else
			fprintf(stderr, "%s: %s\n", path, err.text[0] ? err.text : "out of memory");
		return HF_EXIT_USAGE;
	}
	grown = realloc(lib->scn, (lib->nr + 1) * sizeof(struct hf_scenario *));
	if (!grown) {
		hf_scenario_free(scn);
		fprintf(stderr, "%s: out of memory\n", path);
		return HF_EXIT_USAGE;
	}
	lib->scn = grown;
	lib->scn[lib->nr++] = scn;
	return 0;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool is_scenario(const FTSENT *e)
{
	/* a file that was named itself is taken whatever it is called */
	return e->fts_level == FTS_ROOTLEVEL ||
	       (e->fts_namelen > 3 && !strcmp(e->fts_name + e->fts_namelen - 3, ".hf"));
}

static int load_path(struct hf_library *lib, const char *path)
{
	char *const paths[] = { (char *)(uintptr_t)path, NULL };
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
	size_t before = lib->nr;
	int status = 0;
	FTSENT *e;

	while (fts && (e = fts_read(fts))) {
		if (e->fts_info == FTS_F && is_scenario(e)) {
			status |= load_file(lib, e->fts_path);
		} else if (e->fts_info == FTS_NS || e->fts_info == FTS_DNR ||
			   e->fts_info == FTS_ERR) {
			fprintf(stderr, "%s: %s\n", e->fts_path, strerror(e->fts_errno));
			status = HF_EXIT_USAGE;
		}
	}
	if (fts)
		fts_close(fts);
	if (!status && lib->nr == before) {
		fprintf(stderr, "%s: no scenario (*.hf) in it\n", path);
		status = HF_EXIT_USAGE;
	}
	return status;
}

int hf_library_load(struct hf_library *lib, char *const *paths, size_t nr)
{
	int status = 0;

	*lib = (struct hf_library){ .nr = 0 };
	for (size_t i = 0; i < nr; i++)
		status |= load_path(lib, paths[i]);
	return status ? HF_EXIT_USAGE : 0;
}

void hf_library_free(struct hf_library *lib)
{
	for (size_t i = 0; i < lib->nr; i++)
		hf_scenario_free(lib->scn[i]);
	free(lib->scn);
}

bool hf_find_kinds(const char *names, hf_kinds *kinds)
{
	*kinds = 0;
	for (size_t len; *names; names += len + (names[len] == ',')) {
		size_t i = 0;

		len = strcspn(names, ",");
		while (hf_kinds_name(i) &&
		       (strlen(hf_kinds_name(i)) != len || memcmp(hf_kinds_name(i), names, len)))
			i++;
		if (!hf_kinds_name(i)) {
			fprintf(stderr,
				"holdfast: --kinds: '%.*s' is not a kind of memory; see 'holdfast "
				"list kinds'\n",
				(int)len, names);
			return false;
		}
		*kinds |= hf_kinds_named(i);
	}
	return true;
}
