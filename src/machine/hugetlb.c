/* SPDX-License-Identifier: MIT */
#include "hugetlb.h"

#include "file.h"

#include <stdio.h>

static long number(const char *folder, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return hf_read_number(path);
}

long hf_hugetlb_size(const char *folder)
{
	long all = number(folder, "nr_hugepages"), surplus = number(folder, "surplus_hugepages");

	return surplus > 0 && surplus <= all ? all - surplus : all;
}

/* While others give reservations back, the kernel may show less than none of them: 2^64 - 1. */
long hf_hugetlb_spare(const char *folder)
{
	long unused = number(folder, "free_hugepages"), reserved = number(folder, "resv_hugepages");

	return reserved < unused ? unused - reserved : 0;
}

long hf_hugetlb_with(const char *folder, size_t more)
{
	long all = number(folder, "nr_hugepages");

	return all < 0 ? all : all + (long)more;
}

int hf_hugetlb_resize(const char *folder, long pages)
{
	char path[160], text[24];

	snprintf(path, sizeof(path), "%s/nr_hugepages", folder);
	snprintf(text, sizeof(text), "%ld", pages);
	return hf_write_text(path, text);
}
