/* SPDX-License-Identifier: MIT */
/* Which pages of a range are there: by PAGEMAP_SCAN, or by reading an entry a page. */
#include "userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PAGE 4096
#define IS_PRESENT (1ULL << 3)
#define IS_SWAPPED (1ULL << 4)
#define ENTRY_SWAPPED (1ULL << 62)
#define ENTRY_PRESENT (1ULL << 63)

/* As <linux/fs.h> has them since Linux 6.7. */
struct region {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN _IOWR('f', 16, struct scan)

/* Asks for pages that are neither, for what matches costs the kernel four times what does not, and
 * in memory that is looked at again and again little is missing. */
static int scan_once(int fd, uint64_t start, uint64_t end, struct region *regions, size_t nr,
		     uint64_t *walk_end)
{
	struct scan scan = {
		.size = sizeof(scan),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = nr,
		.category_inverted = IS_PRESENT | IS_SWAPPED,
		.category_mask = IS_PRESENT | IS_SWAPPED,
		.return_mask = IS_PRESENT,
	};
	int n = ioctl(fd, SCAN, &scan);

	*walk_end = scan.walk_end;
	return n < 0 ? -errno : n;
}

void hf_pagemap_open(struct hf_pagemap *map)
{
	struct region region;
	uint64_t end;
	char here;

	map->scan = false;
	map->fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (map->fd < 0)
		return;
	end = (uintptr_t)&here & ~(uint64_t)(PAGE - 1);
	map->scan = scan_once(map->fd, end, end + PAGE, &region, 1, &end) >= 0;
}

void hf_pagemap_close(struct hf_pagemap *map)
{
	if (map->fd >= 0)
		close(map->fd);
	map->fd = -1;
}

static int walk_by_scan(const struct hf_pagemap *map, uint64_t start, uint64_t end,
			void (*found)(void *arg, char *addr, size_t len), void *arg)
{
	struct region missing[64];
	uint64_t walked;

	while (start < end) {
		int n = scan_once(map->fd, start, end, missing, 64, &walked);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			if (missing[i].start > start)
				found(arg, (char *)(uintptr_t)start, missing[i].start - start);
			start = missing[i].end;
		}
		if (walked > start)
			found(arg, (char *)(uintptr_t)start, walked - start);
		start = walked;
	}
	return 0;
}

static int walk_by_entry(const struct hf_pagemap *map, uint64_t start, uint64_t end,
			 void (*found)(void *arg, char *addr, size_t len), void *arg)
{
	uint64_t entries[512];

	while (start < end) {
		size_t want = (end - start) / PAGE < 512 ? (end - start) / PAGE : 512;
		ssize_t got = pread(map->fd, entries, want * sizeof(entries[0]),
				    (off_t)(start / PAGE * sizeof(entries[0])));

		if (got <= 0)
			return got ? -errno : -EIO;
		for (size_t i = 0; i < (size_t)got / sizeof(entries[0]); i++) {
			if (entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED))
				found(arg, (char *)(uintptr_t)(start + i * PAGE), PAGE);
		}
		start += (size_t)got / sizeof(entries[0]) * PAGE;
	}
	return 0;
}

int hf_pagemap_walk(const struct hf_pagemap *map, char *addr, size_t len,
		    void (*found)(void *arg, char *addr, size_t len), void *arg)
{
	uint64_t start = (uintptr_t)addr;

	return (map->scan ? walk_by_scan : walk_by_entry)(map, start, start + len, found, arg);
}
