/* SPDX-License-Identifier: MIT */
/* Files of /sys: huge page sizes, the hugetlb pool, KSM. */
#include "settings.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THP "/sys/kernel/mm/transparent_hugepage/"
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define KSM "/sys/kernel/mm/ksm/"
#define POOL_PAGES 16

static bool read_text(const char *path, char *text, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, len - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return n > 0;
}

bool hf_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

long hf_read_number(const char *path)
{
	char text[32];

	/* counts that went below zero (resv_hugepages does, after a fork copied what was pinned)
	 * read as huge */
	return read_text(path, text, sizeof(text)) ? (long)strtoul(text, NULL, 10) : -1;
}

/* "always [madvise] never" is madvise. */
static bool read_setting(const char *path, char *value, size_t len)
{
	char text[96], *from, *to;

	if (!read_text(path, text, sizeof(text)))
		return false;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to)
		*to = '\0';
	snprintf(value, len, "%.*s", (int)len - 1, to ? from + 1 : text);
	return true;
}

static bool set(struct hf_settings *s, const char *path, const char *value)
{
	struct hf_setting now;
	size_t i = 0;

	if (!read_setting(path, now.was, sizeof(now.was)))
		return false;
	if (!strcmp(now.was, value))
		return true;
	while (i < s->nr && strcmp(s->saved[i].path, path))
		i++;
	if (i == s->nr) {
		if (s->nr == sizeof(s->saved) / sizeof(s->saved[0]))
			return false;
		snprintf(now.path, sizeof(now.path), "%s", path);
		s->saved[s->nr++] = now;
	}
	return hf_write_text(path, value);
}

void hf_settings_restore(struct hf_settings *s)
{
	while (s->nr) {
		s->nr--;
		hf_write_text(s->saved[s->nr].path, s->saved[s->nr].was);
	}
}

/* ---- huge pages ---- */

static bool size_path(unsigned order, char *path, size_t len)
{
	snprintf(path, len, THP "hugepages-%ukB/enabled", 4u << order);
	return !access(path, F_OK);
}

/* Only the one size: a fault takes the largest that is allowed. */
static bool allow_size(struct hf_settings *s, unsigned order, char *why, size_t len)
{
	char path[96];
	bool sizes = false;

	for (unsigned o = 1; o <= 9; o++) {
		if (!size_path(o, path, sizeof(path)))
			continue;
		sizes = true;
		if (!set(s, path, o == order ? "madvise" : "never")) {
			snprintf(why, len, "%s cannot be set; run as root", path);
			return false;
		}
	}
	if (sizes && size_path(order, path, sizeof(path)))
		return true;
	snprintf(why, len, "this kernel has no folios of %u KiB for anonymous memory", 4u << order);
	if (sizes || order != 9 || access(THP "enabled", F_OK))
		return false;
	snprintf(why, len, THP "enabled cannot be set; run as root");
	return set(s, THP "enabled", "madvise");
}

/* While others give reservations back, the kernel may show less than none of them: 2^64 - 1. */
static long spare_pages(void)
{
	long unused = hf_read_number(POOL "free_hugepages");
	long reserved = hf_read_number(POOL "resv_hugepages");

	return reserved < unused ? unused - reserved : 0;
}

static bool fill_pool(struct hf_settings *s, char *why, size_t len)
{
	long nr = hf_read_number(POOL "nr_hugepages"), spare = spare_pages();
	char text[24];

	snprintf(text, sizeof(text), "%ld", nr + POOL_PAGES - spare);
	if (nr >= 0 && spare < POOL_PAGES)
		set(s, POOL "nr_hugepages", text);
	spare = spare_pages();
	if (nr >= 0 && spare >= POOL_PAGES / 2)
		return true;
	snprintf(why, len,
		 "the hugetlb pool lacks pages of 2 MiB; run as root, or set "
		 "/proc/sys/vm/nr_hugepages");
	return false;
}

bool hf_settings_for(struct hf_settings *s, const struct hf_kind_info *kind, char *why, size_t len)
{
	switch (kind->memory) {
	case HF_MEM_HUGETLB:
	case HF_MEM_MEMFD_HUGETLB:
		return fill_pool(s, why, len);
	case HF_MEM_ANON:
	case HF_MEM_ZEROPAGE:
		return !kind->order || allow_size(s, kind->order, why, len);
	default:
		return true;
	}
}

void hf_settings_without_noise(struct hf_settings *s)
{
	if (s->quiet)
		return;
	s->quiet = true;
	/* pages beside one that is read from swap would be read with it */
	set(s, "/proc/sys/vm/page-cluster", "0");
	/* khugepaged would make folios of small pages, after a pause of an hour now */
	set(s, THP "khugepaged/scan_sleep_millisecs", "3600000");
}

/* ---- KSM ---- */

bool hf_settings_for_merging(struct hf_settings *s, char *why, size_t len)
{
	if (set(s, KSM "sleep_millisecs", "0") && set(s, KSM "pages_to_scan", "20000") &&
	    set(s, KSM "run", "1"))
		return true;
	snprintf(why, len, "merging needs KSM and root");
	return false;
}
