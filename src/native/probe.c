/* SPDX-License-Identifier: MIT */
/* What the kernel offers, and what to do for what it does not. */
#include "pagemap.h"
#include "userfault.h"

#include <holdfast/native.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define THP_DISABLE_EXCEPT_ADVISED 2 /* PR_THP_DISABLE_EXCEPT_ADVISED */

static size_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

static size_t hugetlb_free(void)
{
	char buf[32];
	unsigned long free_pages = 0, reserved = 0;

	if (read_file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", buf, sizeof(buf)))
		sscanf(buf, "%lu", &free_pages);
	if (read_file("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", buf, sizeof(buf)))
		sscanf(buf, "%lu", &reserved);
	return free_pages > reserved ? (free_pages - reserved) << 21 : 0;
}

/* The process may have them off, but for what asks for them (Linux 6.18). */
static bool thp_disabled(void)
{
	int disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);

	return disabled > 0 && !(disabled & THP_DISABLE_EXCEPT_ADVISED);
}

/* Of all sizes, and since Linux 6.8 of this one. */
static bool thp_enabled(void)
{
	char all[64], size[64];

	if (thp_disabled() ||
	    !read_file("/sys/kernel/mm/transparent_hugepage/enabled", all, sizeof(all)))
		return false;
	if (read_file("/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled", size,
		      sizeof(size)) &&
	    !strstr(size, "[inherit]"))
		return !strstr(size, "[never]");
	return !strstr(all, "[never]");
}

static void find_remedy(struct hf_native_support *support, int kernel_faults)
{
	const char *text = "";

	if (!support->write_protect)
		text = "userfaultfd cannot write-protect memory: use Linux 5.7 or later";
	else if (kernel_faults == -EPERM)
		text = "the default mode handles the kernel's faults: run sysctl "
		       "vm.unprivileged_userfaultfd=1, give access to /dev/userfaultfd, or "
		       "CAP_SYS_PTRACE; or use HF_NATIVE_SIGNAL";
	else if (!support->kernel_faults)
		text = "userfaultfd cannot be opened: look at ulimit -n";
	else if (!support->write_protect_shared)
		text = "memfds and hugetlb need Linux 5.19 or later, THPs Linux 6.4";
	else if (!support->unpopulated)
		text = "THPs need Linux 6.4 or later";
	else if (!support->thp)
		text = "no huge pages: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled "
		       "(and inherit to hugepages-2048kB/enabled there)";
	else if (!support->hugetlb_free)
		text = "HF_NATIVE_HUGETLB needs a pool: sysctl vm.nr_hugepages=N (2 MiB each)";
	snprintf(support->remedy, sizeof(support->remedy), "%s", text);
}

static bool can_scan(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool can = fd >= 0 && hf_pagemap_can_scan(fd);

	if (fd >= 0)
		close(fd);
	return can;
}

int hf_native_probe(struct hf_native_support *support)
{
	int64_t features = hf_userfault_features();
	int fd;

	memset(support, 0, sizeof(*support));
	if (features < 0) {
		snprintf(support->remedy, sizeof(support->remedy), "no userfaultfd: %s",
			 features == -ENOSYS ? "the kernel is built without it, or a filter "
					       "(seccomp) denies it"
					     : strerror((int)-features));
		return (int)features;
	}
	support->write_protect = features & HF_UFFD_WP;
	support->write_protect_shared = features & HF_UFFD_WP_HUGETLBFS_SHMEM;
	support->unpopulated = features & HF_UFFD_WP_UNPOPULATED;
	support->thp = thp_enabled();
	support->hugetlb_free = hugetlb_free();
	support->pagemap_scan = can_scan();
	fd = hf_userfault_open(false, 0);
	support->kernel_faults = fd >= 0;
	if (fd >= 0)
		close(fd);
	find_remedy(support, fd);
	return 0;
}
