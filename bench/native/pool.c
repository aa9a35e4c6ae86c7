/* SPDX-License-Identifier: MIT */
/* Room in the machine's pool of 2 MiB pages, for as long as the benchmark runs. */
#include "bench.h"

#include <errno.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static size_t added; /* pages */

static int pool_read(size_t *pages)
{
	FILE *f = fopen(POOL, "re");
	int got;

	if (!f)
		return -errno;
	got = fscanf(f, "%zu", pages);
	fclose(f);
	return got == 1 ? 0 : -EIO;
}

static int pool_write(size_t pages)
{
	FILE *f = fopen(POOL, "we");
	int ret = 0;

	if (!f)
		return -errno;
	fprintf(f, "%zu\n", pages);
	if (fclose(f))
		ret = -errno;
	return ret;
}

int pool_enlarge(size_t bytes)
{
	size_t before, have;
	int ret = pool_read(&before);

	if (ret)
		return ret;
	added = bytes / HUGE_PAGE;
	ret = pool_write(before + added);
	if (!ret)
		ret = pool_read(&have);
	return ret ? ret : have < before + added ? -ENOMEM : 0;
}

/* As many less, and not what there was before: somebody else may have changed it meanwhile. */
void pool_restore(void)
{
	size_t have;

	if (added && !pool_read(&have))
		pool_write(have > added ? have - added : 0);
	added = 0;
}
