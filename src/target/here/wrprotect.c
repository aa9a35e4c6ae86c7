/* SPDX-License-Identifier: MIT */
/* Write-protection of pages: userfaultfd's (Linux 6.7), or what soft-dirty bits bring with them. */
#include "wrprotect.h"

#include "../common/pages.h"
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/mm.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than Debian 12's headers. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

static int open_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, UFFDIO_API, &api))
		return fd;
	close(fd);
	return -ENOSYS;
}

bool hf_wrprotect_is_exact(void)
{
	int fd = open_userfaultfd();

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* One a process; a fork does not hand it down. */
static int wp_descriptor(void)
{
	static int fd = -1;
	static pid_t owner;

	if (fd >= 0 && owner == getpid())
		return fd;
	owner = getpid();
	return fd = open_userfaultfd();
}

/* Is a page of the range there and soft-dirty? */
static bool any_soft_dirty(uint64_t addr, size_t len)
{
	const uint64_t both = HF_PAGEMAP_PRESENT | HF_PAGEMAP_SOFT_DIRTY;
	uint64_t entry;

	for (size_t at = 0; at < len; at += HF_PAGE_SIZE)
		if (!hf_kernel_pagemap(getpid(), addr + at, &entry) && (entry & both) == both)
			return true;
	return false;
}

/* Without CONFIG_MEM_SOFT_DIRTY the kernel takes the request and does nothing. */
static bool has_soft_dirty(void)
{
	static volatile char page[2 * HF_PAGE_SIZE];
	uint64_t addr = ((uintptr_t)page + HF_PAGE_SIZE - 1) & HF_PAGE_MASK;

	page[addr - (uintptr_t)page] = 1;
	return any_soft_dirty(addr, HF_PAGE_SIZE);
}

/* Write-protects all of the process, but leaves out
 * pinned pages whose entries are writable (Linux 5.11). */
static int clear_soft_dirty(uint64_t addr, size_t len, char *reason)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write(fd, "4", 1) == 1 ? 0 : -errno;
	close(fd);
	if (!err && any_soft_dirty(addr, len)) {
		snprintf(reason, HF_REASON_LEN,
			 "wrprotect by soft-dirty bits leaves pinned pages writable, and "
			 "userfaultfd's asynchronous write-protection needs Linux 6.7 and "
			 "CONFIG_PTE_MARKER_UFFD_WP");
		return HF_OBS_SKIP;
	}
	return err;
}

int hf_kernel_wrprotect(uint64_t addr, size_t len, char *reason)
{
	struct uffdio_range range = { .start = addr, .len = len };
	struct uffdio_register reg = { .range = range, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = wp_descriptor();

	if (fd < 0 && has_soft_dirty())
		return clear_soft_dirty(addr, range.len, reason);
	if (fd < 0) {
		snprintf(reason, HF_REASON_LEN,
			 "wrprotect needs userfaultfd with asynchronous write-protection (Linux "
			 "6.7, vm.unprivileged_userfaultfd or root) or CONFIG_MEM_SOFT_DIRTY: %s",
			 strerror(-fd));
		return HF_OBS_SKIP;
	}
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}
