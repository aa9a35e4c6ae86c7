/* SPDX-License-Identifier: MIT */
#include "pagemap.h"

#include "userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define IS_WRITTEN (1ULL << 1) /* not protected */
#define IS_PRESENT (1ULL << 3)
#define IS_SWAPPED (1ULL << 4)
#define ENTRY_PROTECTED (1ULL << 57)
#define ENTRY_SWAPPED (1ULL << 62)
#define ENTRY_PRESENT (1ULL << 63)

/* As <linux/fs.h> has them since Linux 6.7 and 6.11. */
struct region {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

struct query {
	uint64_t size, flags, addr, start, end, vma_flags, page_size, offset, inode;
	uint32_t dev_major, dev_minor, name_size, build_id_size;
	uint64_t name, build_id;
};

#define SCAN _IOWR('f', 16, struct scan)
#define QUERY _IOWR('f', 17, struct query)
#define VMA_READABLE 1
#define OR_NEXT 0x10 /* the mapping, or the next one */

/* A run that may go on. */
struct run {
	char *start, *end;
	void (*found)(void *arg, char *addr, size_t len);
	void *arg;
};

static void end_run(struct run *run)
{
	if (run->end > run->start)
		run->found(run->arg, run->start, (size_t)(run->end - run->start));
	run->start = run->end = NULL;
}

static void add(struct run *run, uint64_t start, uint64_t end)
{
	if ((uintptr_t)run->end != start) {
		end_run(run);
		run->start = (char *)(uintptr_t)start;
	}
	run->end = (char *)(uintptr_t)end;
}

/* ---- by PAGEMAP_SCAN ---- */

static struct scan scan_of(uint64_t start, uint64_t end, struct region *regions, size_t nr)
{
	return (struct scan){
		.size = sizeof(struct scan),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = nr,
	};
}

bool hf_pagemap_can_scan(int fd)
{
	uint64_t here = (uintptr_t)&fd & ~(uint64_t)(PAGE - 1);
	struct region region;
	struct scan scan = scan_of(here, here + PAGE, &region, 1);

	scan.category_mask = scan.return_mask = IS_PRESENT;
	return ioctl(fd, SCAN, &scan) >= 0;
}

/* What matches costs the kernel four times what does not. In memory that is looked at again and
 * again little is missing: asked for are pages that are neither there nor swapped out. */
static int scan_populated(struct hf_files *files, uint64_t start, uint64_t end, struct run *run)
{
	struct region missing[64];

	while (start < end) {
		struct scan scan = scan_of(start, end, missing, 64);
		int n;

		scan.category_inverted = scan.category_mask = IS_PRESENT | IS_SWAPPED;
		scan.return_mask = IS_PRESENT;
		n = (int)hf_files_ioctl(files, HF_FILE_PAGEMAP, SCAN, &scan);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			if (missing[i].start > start)
				add(run, start, missing[i].start);
			start = missing[i].end;
		}
		if (scan.walk_end > start)
			add(run, start, scan.walk_end);
		start = scan.walk_end;
	}
	return 0;
}

/* Of any of the categories. */
static int scan_protected(struct hf_files *files, uint64_t any, uint64_t start, uint64_t end,
			  struct run *run)
{
	struct region regions[64];

	while (start < end) {
		struct scan scan = scan_of(start, end, regions, 64);
		int n;

		scan.category_inverted = scan.category_mask = scan.return_mask = IS_WRITTEN;
		scan.category_anyof_mask = any;
		n = (int)hf_files_ioctl(files, HF_FILE_PAGEMAP, SCAN, &scan);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++)
			add(run, regions[i].start, regions[i].end);
		start = scan.walk_end;
	}
	return 0;
}

/* ---- by entries ---- */

static bool matches(enum hf_pages which, uint64_t entry)
{
	bool populated = entry & (ENTRY_PRESENT | ENTRY_SWAPPED);

	return populated && (which == HF_PAGES_POPULATED || entry & ENTRY_PROTECTED);
}

static int read_entries(struct hf_files *files, enum hf_pages which, uint64_t start, uint64_t end,
			struct run *run)
{
	uint64_t entries[512];

	while (start < end) {
		size_t want = (end - start) / PAGE < 512 ? (end - start) / PAGE : 512;
		long got =
			hf_files_pread(files, HF_FILE_PAGEMAP, entries, want * sizeof(entries[0]),
				       start / PAGE * sizeof(entries[0]));

		if (got <= 0)
			return got ? (int)got : -EIO;
		for (size_t i = 0; i < (size_t)got / sizeof(entries[0]); i++) {
			if (matches(which, entries[i]))
				add(run, start + i * PAGE, start + (i + 1) * PAGE);
		}
		start += (size_t)got / sizeof(entries[0]) * PAGE;
	}
	return 0;
}

int hf_pagemap_walk(struct hf_files *files, enum hf_pages which, char *addr, size_t len,
		    void (*found)(void *arg, char *addr, size_t len), void *arg)
{
	struct run run = { .found = found, .arg = arg };
	uint64_t start = (uintptr_t)addr, end = start + len;
	int err;

	hf_assert(len && !((start | len) % PAGE));
	hf_assert(files->scan || which != HF_PAGES_HOLES);
	if (!files->scan)
		err = read_entries(files, which, start, end, &run);
	else if (which == HF_PAGES_POPULATED)
		err = scan_populated(files, start, end, &run);
	else if (which == HF_PAGES_HOLES)
		err = scan_protected(files, IS_SWAPPED, start, end, &run);
	else
		err = scan_protected(files, IS_PRESENT | IS_SWAPPED, start, end, &run);
	end_run(&run);
	return err;
}

/* ---- what works here ---- */

/* Protects a page and looks: old kernels do not tell. */
static bool tells_of_protection(struct hf_files *files, char *page)
{
	uint64_t entry = 0;

	return files->fd[HF_FILE_PAGEMAP] >= 0 &&
	       !hf_userfault_register(files, page, PAGE, false) &&
	       !hf_userfault_protect(files, page, PAGE) &&
	       hf_files_pread(files, HF_FILE_PAGEMAP, &entry, sizeof(entry),
			      (uintptr_t)page / PAGE * sizeof(entry)) == sizeof(entry) &&
	       entry & ENTRY_PROTECTED;
}

static bool can_populate(char *page)
{
#ifdef MADV_POPULATE_READ
	return !madvise(page, PAGE, MADV_POPULATE_READ);
#else
	return false;
#endif
}

static bool query(struct hf_files *files, char *addr, struct query *query)
{
	*query = (struct query){ .size = sizeof(*query), .addr = (uintptr_t)addr };
	return hf_files_ioctl(files, HF_FILE_MAPS, QUERY, query) >= 0;
}

int hf_pagemap_probe(struct hf_files *files)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct query q;

	if (page == MAP_FAILED)
		return -ENOMEM;
	*(volatile char *)page = 1;
	files->scan =
		files->fd[HF_FILE_PAGEMAP] >= 0 && hf_pagemap_can_scan(files->fd[HF_FILE_PAGEMAP]);
	files->tells = tells_of_protection(files, page);
	files->query = files->fd[HF_FILE_MAPS] >= 0 && query(files, page, &q);
	files->populate = can_populate(page);
	munmap(page, PAGE);
	return 0;
}

void hf_pagemap_mappings(struct hf_files *files, char *addr, size_t len,
			 void (*found)(void *arg, char *addr, size_t len), void *arg)
{
	uint64_t at = (uintptr_t)addr, end = at + len;
	struct query q;
	int err;

	while (at < end) {
		q = (struct query){ .size = sizeof(q), .flags = OR_NEXT, .addr = at };
		err = (int)hf_files_ioctl(files, HF_FILE_MAPS, QUERY, &q);
		if (err == -ENOENT || (err >= 0 && q.start >= end))
			return;
		if (err < 0) /* a filter */
			q = (struct query){ .start = at, .end = end };
		at = q.start > at ? q.start : at;
		q.end = q.end < end ? q.end : end;
		found(arg, (char *)(uintptr_t)at, q.end - at);
		at = q.end;
	}
}

bool hf_pagemap_is_readable(struct hf_files *files, char *addr, size_t len)
{
	struct query q;

	while (files->query && query(files, addr, &q)) {
		if (!(q.vma_flags & VMA_READABLE))
			return false;
		if (q.end - (uintptr_t)addr >= len)
			return true;
		len -= q.end - (uintptr_t)addr;
		addr = (char *)(uintptr_t)q.end;
	}
	if (files->query)
		return false;
#ifdef MADV_POPULATE_READ
	if (files->populate)
		return !madvise(addr, len, MADV_POPULATE_READ);
#endif
	return true;
}
