/* SPDX-License-Identifier: MIT */
/* Room in the machine's pool of 2 MiB pages, for as long as the benchmark runs. */
#include "bench.h"

#include <errno.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static bool enlarged;
static size_t before;

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
	size_t want, have;
	int ret = pool_read(&before);

	if (ret)
		return ret;
	want = before + bytes / HUGE_PAGE;
	enlarged = true;
	ret = pool_write(want);
	if (!ret)
		ret = pool_read(&have);
	return ret ? ret : have < want ? -ENOMEM : 0;
}

void pool_restore(void)
{
	if (enlarged)
		pool_write(before);
	enlarged = false;
}
