/* SPDX-License-Identifier: MIT */
/* holdfast kernels */
#include "cli.h"

#include "../machine/helper.h"
#include "../target/common/era.h"
#include "../target/image/release.h"
#include "../target/image/store.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static int usage(FILE *to)
{
	fputs("Usage: holdfast kernels fetch [--mirror URL] [RELEASE...]\n"
	      "       holdfast kernels list\n"
	      "\n"
	      "fetch takes Debian's kernels of RELEASEs (bullseye bookworm trixie newest) out of "
	      "their\n"
	      "packages, by apt, and installs nothing. list has those that were fetched: --on "
	      "takes "
	      "their names.\n"
	      "--mirror has debian and debian-security below it; default: what apt uses here.\n"
	      "They are kept in ${XDG_CACHE_HOME:-~/.cache}/holdfast/kernels.\n",
	      to);
	return to == stdout ? HF_EXIT_OK : HF_EXIT_USAGE;
}

/* ---- fetch ---- */

static int run_fetcher(const char *mirror, char **releases, int nr)
{
	static char *const all[] = { "bullseye", "bookworm", "trixie", "newest" };
	char path[PATH_MAX], store[PATH_MAX];
	char **argv = calloc((size_t)nr + 8, sizeof(*argv));

	if (!argv || hf_helper_path("holdfast-fetch-kernels", path, sizeof(path))) {
		fputs("holdfast: holdfast-fetch-kernels is neither beside this program nor in "
		      "../libexec/holdfast\n",
		      stderr);
		free(argv);
		return HF_EXIT_USAGE;
	}
	hf_store_folder(store, sizeof(store));
	argv[0] = path;
	argv[1] = store;
	argv[2] = (char *)(uintptr_t)mirror;
	memcpy(argv + 3, nr ? releases : all, (nr ? (size_t)nr : 4) * sizeof(*argv));
	execv(path, argv);
	fprintf(stderr, "holdfast: %s: %s\n", path, strerror(errno));
	free(argv);
	return HF_EXIT_USAGE;
}

static int fetch(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "mirror", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *mirror = "";
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'm')
			return usage(c == 'h' ? stdout : stderr);
		mirror = optarg;
	}
	return run_fetcher(mirror, argv + optind, argc - optind);
}

/* ---- list ---- */

static int not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void print_kernel(const char *name, const char *release)
{
	printf("%-20s %-24s %s\n", name, release, hf_kernel_era(hf_kernel_version(release)));
}

/* The running kernel is one, too. */
static int list(void)
{
	struct utsname uts;
	char store[PATH_MAX], path[PATH_MAX], release[96];
	struct dirent **all;
	int nr;

	hf_store_folder(store, sizeof(store));
	nr = scandir(store, &all, not_hidden, versionsort);
	for (int i = 0; i < nr; i++) {
		if (!hf_store_image(all[i]->d_name, path, sizeof(path)) &&
		    !hf_image_release(path, release, sizeof(release)))
			print_kernel(all[i]->d_name, release);
		free(all[i]);
	}
	if (nr >= 0)
		free(all);
	if (nr < 0 && errno != ENOENT) {
		fprintf(stderr, "holdfast: %s: %s\n", store, strerror(errno));
		return HF_EXIT_USAGE;
	}
	if (!uname(&uts))
		print_kernel("here", uts.release);
	return HF_EXIT_OK;
}

int hf_cmd_kernels(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "fetch"))
		return fetch(argc - 1, argv + 1);
	if (!strcmp(what, "list") && argc == 2)
		return list();
	return usage(!strcmp(what, "--help") ? stdout : stderr);
}
