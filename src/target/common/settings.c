/* SPDX-License-Identifier: MIT */
/* Files of /sys: huge page sizes, the hugetlb pool, KSM. */
#include "settings.h"

#include "../../machine/file.h"
#include "../../machine/hugetlb.h"
#include "../../machine/machine.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define THP "/sys/kernel/mm/transparent_hugepage/"
#define KSM "/sys/kernel/mm/ksm/"
#define POOL_PAGES 16

/* ---- huge pages ---- */

static bool size_path(unsigned order, char *path, size_t len)
{
	snprintf(path, len, THP "hugepages-%ukB/enabled", 4u << order);
	return !access(path, F_OK);
}

/* khugepaged would put together what a step has split. It sleeps for an hour now; but it runs when
 * it is told so, and when it has no process and gets one. So it has this one, and looks at one page
 * at a time: never as far as at a process that comes later. */
static void lull_khugepaged(void)
{
	const size_t size = (size_t)1 << 21;
	char why[256];
	void *area;

	hf_machine_set(THP "khugepaged/pages_to_scan", "1", why, sizeof(why));
	hf_machine_set(THP "khugepaged/scan_sleep_millisecs", "3600000", why, sizeof(why));
	area = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return;
	madvise(area, 2 * size, MADV_HUGEPAGE);
	munmap(area, 2 * size);
}

/* Only the one size: a fault takes the largest that is allowed. */
static bool allow_size(unsigned order, char *why, size_t len)
{
	char path[96];
	bool sizes = false;

	/* where it is less than what khugepaged likes, the kernel makes it more */
	hf_machine_keep("/proc/sys/vm/min_free_kbytes");
	for (unsigned o = 1; o <= 9; o++) {
		if (!size_path(o, path, sizeof(path)))
			continue;
		sizes = true;
		if (hf_machine_set(path, o == order ? "madvise" : "never", why, len))
			return false;
	}
	if (sizes && size_path(order, path, sizeof(path)))
		return true;
	snprintf(why, len, "this kernel has no folios of %u KiB for anonymous memory", 4u << order);
	if (sizes || order != 9 || access(THP "enabled", F_OK))
		return false;
	return !hf_machine_set(THP "enabled", "madvise", why, len);
}

/* A pool that another run makes larger is not one to rely on: theirs first. */
static bool fill_pool(char *why, size_t len)
{
	char reason[128] = "the kernel has no memory in one piece for more";
	int err = hf_machine_hold(reason, sizeof(reason));
	long spare = hf_hugetlb_spare(HF_HUGETLB);

	if (!err && spare < POOL_PAGES)
		err = hf_machine_enlarge_pool((size_t)(POOL_PAGES - spare), reason, sizeof(reason));
	if (err != -EINTR && err != -EBUSY && hf_hugetlb_spare(HF_HUGETLB) >= POOL_PAGES / 2)
		return true;
	snprintf(why, len,
		 "the hugetlb pool lacks pages of 2 MiB: %s, or set /proc/sys/vm/nr_hugepages",
		 reason);
	return false;
}

bool hf_settings_for(const struct hf_kind_info *kind, char *why, size_t len)
{
	switch (kind->memory) {
	case HF_MEM_HUGETLB:
	case HF_MEM_MEMFD_HUGETLB:
		return fill_pool(why, len);
	case HF_MEM_ANON:
	case HF_MEM_ZEROPAGE:
		if (!kind->order)
			return true;
		if (!allow_size(kind->order, why, len))
			return false;
		lull_khugepaged();
		return true;
	default:
		return true;
	}
}

/* Without the right to, there is more noise. */
void hf_settings_without_noise(void)
{
	char why[256];

	/* pages beside one that is read from swap would be read with it */
	hf_machine_set("/proc/sys/vm/page-cluster", "0", why, sizeof(why));
	lull_khugepaged();
}

/* ---- KSM ---- */

bool hf_settings_for_merging(char *why, size_t len)
{
	return !hf_machine_set(KSM "sleep_millisecs", "0", why, len) &&
	       !hf_machine_set(KSM "pages_to_scan", "20000", why, len) &&
	       !hf_machine_set(KSM "run", "1", why, len);
}
