/* SPDX-License-Identifier: MIT */
#include "modules.h"

#include "slurp.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
	struct hf_modules *m;
	const char *const *folders;
	size_t nr;
	char *where;
	size_t len;
};

/* Files have dashes where names have underscores, at times. */
static bool is_module(const char *file, const char *name)
{
	static const char *const ends[] = { ".ko", ".ko.xz", ".ko.zst", ".ko.gz" };
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if ((file[i] == '-' ? '_' : file[i]) != name[i])
			return false;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!strcmp(file + n, ends[i]))
			return true;
	return false;
}

static bool find_below(const char *folder, const char *name, char *path, size_t len)
{
	char *const roots[] = { (char *)(uintptr_t)folder, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR | FTS_NOSTAT, NULL);
	bool found = false;
	FTSENT *e;

	while (fts && !found && (e = fts_read(fts)))
		if (e->fts_info != FTS_D && e->fts_info != FTS_DP && is_module(e->fts_name, name)) {
			snprintf(path, len, "%s", e->fts_path);
			found = true;
		}
	if (fts)
		fts_close(fts);
	return found;
}

/* "depends=zsmalloc,lz4_compress", among the other texts of the section .modinfo */
static const char *depends_of(const struct hf_module *m)
{
	static const char key[] = "\0depends=";
	const char *at = memmem(m->data, m->len, key, sizeof(key) - 1);

	return at && memchr(at + 1, '\0', m->len - (size_t)(at + 1 - m->data))
		       ? at + sizeof(key) - 1
		       : "";
}

static int add(struct search *s, const char *name);

static int add_all(struct search *s, const char *names)
{
	char name[sizeof(s->m->module[0].name)];
	int err = 0;

	while (*names && !err) {
		size_t n = strcspn(names, ",");

		snprintf(name, sizeof(name), "%.*s", (int)n, names);
		for (char *c = name; *c; c++)
			*c = *c == '-' ? '_' : *c;
		err = add(s, name);
		names += n + (names[n] == ',');
	}
	return err;
}

/* What a module needs goes first. */
static int add(struct search *s, const char *name)
{
	struct hf_module found = { .data = NULL };
	char path[PATH_MAX];
	bool there = false;
	int err;

	for (size_t i = 0; i < s->m->nr; i++)
		if (!strcmp(s->m->module[i].name, name))
			return 0;
	for (size_t i = 0; i < s->nr && !there; i++)
		there = find_below(s->folders[i], name, path, sizeof(path));
	if (!there)
		return 0;
	snprintf(found.name, sizeof(found.name), "%s", name);
	err = hf_slurp(path, &found.data, &found.len);
	if (err) {
		snprintf(s->where, s->len, "%s", path);
		return err;
	}
	err = add_all(s, depends_of(&found));
	if (!err && s->m->nr == HF_MAX_MODULES)
		err = -E2BIG;
	if (err)
		free(found.data);
	else
		s->m->module[s->m->nr++] = found;
	return err;
}

int hf_modules_find(struct hf_modules *m, const char *const *folders, size_t nr, char *where,
		    size_t len)
{
	struct search s = { .m = m, .folders = folders, .nr = nr, .where = where, .len = len };
	int err;

	*m = (struct hf_modules){ .nr = 0 };
	snprintf(where, len, "fuse, zram");
	err = add_all(&s, "fuse,zram");
	if (err)
		hf_modules_free(m);
	return err;
}

void hf_modules_free(struct hf_modules *m)
{
	for (size_t i = 0; i < m->nr; i++)
		free(m->module[i].data);
	m->nr = 0;
}
