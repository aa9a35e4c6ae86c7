/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/pagemap has the frame; /proc/kpageflags has the mark: bit 34 together with bit 12
 * (anonymous) is PageAnonExclusive; /proc/kpagecount has the number of mappings. Frames and the
 * last two are for root only.
 */
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define KPF_ANON 12
#define KPF_COMPOUND_HEAD 15
#define KPF_COMPOUND_TAIL 16
#define KPF_ZERO_PAGE 24
#define KPF_OWNER_2 34

static int read_entry(const char *path, uint64_t index, uint64_t *entry)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (pread(fd, entry, sizeof(*entry), (off_t)(index * sizeof(*entry))) != sizeof(*entry))
		err = errno ? -errno : -EIO;
	close(fd);
	return err;
}

int hf_kernel_pagemap(pid_t pid, uint64_t addr, uint64_t *entry)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	return read_entry(path, addr >> 12, entry);
}

int hf_kernel_page(pid_t pid, uint64_t addr, struct hf_page_state *state)
{
	uint64_t entry, flags, count;
	int err;

	*state = (struct hf_page_state){
		.pfn = UINT64_MAX,
		.writable = -1,
		.exclusive = -1,
		.zeropage = -1,
		.refs = -1,
		.pins = -1,
		.mapcount = -1,
	};
	err = hf_kernel_pagemap(pid, addr, &entry);
	if (err)
		return err;
	state->present = !!(entry & HF_PAGEMAP_PRESENT);
	/* markers look like it: their type, the low bits, is one of the last of 32 */
	state->swapped = entry & HF_PAGEMAP_SWAPPED && (entry & 31) < 20;
	if (!state->present || !(entry & HF_PAGEMAP_PFN))
		return 0;
	state->pfn = entry & HF_PAGEMAP_PFN;
	if (!read_entry("/proc/kpageflags", state->pfn, &flags)) {
		state->exclusive = flags >> KPF_OWNER_2 & flags >> KPF_ANON & 1;
		state->zeropage = flags >> KPF_ZERO_PAGE & 1;
		state->file = !state->zeropage && !(flags >> KPF_ANON & 1);
		state->mark_of_head = flags >> KPF_COMPOUND_TAIL & 1;
	}
	if (!state->zeropage && !read_entry("/proc/kpagecount", state->pfn, &count))
		state->mapcount = (int)count;
	return 0;
}

int hf_kernel_folio_order(pid_t pid, uint64_t addr)
{
	uint64_t entry, flags, pfn, pages = 1;
	int err = hf_kernel_pagemap(pid, addr, &entry);

	pfn = entry & HF_PAGEMAP_PFN;
	if (err || !(entry & HF_PAGEMAP_PRESENT) || !pfn)
		return err ? err : -EPERM;
	err = read_entry("/proc/kpageflags", pfn, &flags);
	if (err || !(flags >> KPF_COMPOUND_HEAD & 1))
		return err;
	while (!read_entry("/proc/kpageflags", pfn + pages, &flags) &&
	       flags >> KPF_COMPOUND_TAIL & 1)
		pages++;
	return __builtin_ctzll(pages);
}
