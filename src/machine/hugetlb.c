/* SPDX-License-Identifier: MIT */
#include "hugetlb.h"

#include "file.h"

#include <stdio.h>

long hf_hugetlb_size(const char *folder)
{
	char path[160];
	long all, surplus;

	snprintf(path, sizeof(path), "%s/nr_hugepages", folder);
	all = hf_read_number(path);
	snprintf(path, sizeof(path), "%s/surplus_hugepages", folder);
	surplus = hf_read_number(path);
	return surplus > 0 && surplus <= all ? all - surplus : all;
}

int hf_hugetlb_resize(const char *folder, long pages)
{
	char path[160], text[24];

	snprintf(path, sizeof(path), "%s/nr_hugepages", folder);
	snprintf(text, sizeof(text), "%ld", pages);
	return hf_write_text(path, text);
}
