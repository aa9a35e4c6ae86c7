/* SPDX-License-Identifier: MIT */
/* madvise: dropping and populating pages, and what forks and faults do with a range. */
#include "internal.h"

int hf_vma_set_flags(struct hf_mm *mm, uint64_t start, uint64_t end, unsigned clear, unsigned set)
{
	int err = hf_vma_split(mm, start);

	if (!err)
		err = hf_vma_split(mm, end);
	if (!err) {
		for (size_t i = hf_vma_index(mm, start);
		     i < mm->nr_vmas && mm->vmas[i]->start < end; i++)
			mm->vmas[i]->flags = (mm->vmas[i]->flags & ~clear) | set;
		if (!hf_vma_covers(mm, start, end))
			err = -HF_ENOMEM;
	}
	hf_vma_merge(mm, start, end);
	return err;
}

static int unmerge(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	int err = 0;

	for (size_t i = hf_vma_index(mm, start); i < mm->nr_vmas && !err; i++) {
		struct hf_vma *vma = mm->vmas[i];

		if (vma->start >= end)
			break;
		err = hf_unmerge_range(vma, vma->start > start ? vma->start : start,
				       vma->end < end ? vma->end : end);
	}
	return err;
}

static int advise_vmas(struct hf_mm *mm, uint64_t start, uint64_t end, enum hf_advice advice)
{
	int err;

	switch (advice) {
	case HF_MADV_DONTFORK:
		return hf_vma_set_flags(mm, start, end, 0, HF_VM_DONTCOPY);
	case HF_MADV_DOFORK:
		return hf_vma_set_flags(mm, start, end, HF_VM_DONTCOPY, 0);
	case HF_MADV_WIPEONFORK:
		return hf_vma_set_flags(mm, start, end, 0, HF_VM_WIPEONFORK);
	case HF_MADV_HUGEPAGE:
		return hf_vma_set_flags(mm, start, end, 0, HF_VM_HUGEPAGE);
	case HF_MADV_NOHUGEPAGE:
		return hf_vma_set_flags(mm, start, end, HF_VM_HUGEPAGE, 0);
	case HF_MADV_MERGEABLE:
		return hf_vma_set_flags(mm, start, end, 0, HF_VM_MERGEABLE);
	case HF_MADV_UNMERGEABLE:
		err = unmerge(mm, start, end);
		return err ? err : hf_vma_set_flags(mm, start, end, HF_VM_MERGEABLE, 0);
	default:
		return hf_vma_set_flags(mm, start, end, HF_VM_WIPEONFORK, 0);
	}
}

static bool may_drop(const struct hf_mm *mm, uint64_t start, uint64_t end)
{
	bool may = true;

	for (size_t i = hf_vma_index(mm, start); i < mm->nr_vmas && mm->vmas[i]->start < end; i++)
		may &= !(mm->vmas[i]->flags & HF_VM_HUGETLB) || mm->sys->policy->hugetlb_dontneed;
	return may;
}

static int advise_pages(struct hf_mm *mm, uint64_t start, uint64_t end, enum hf_advice advice)
{
	switch (advice) {
	case HF_MADV_POPULATE_READ:
	case HF_MADV_POPULATE_WRITE:
		return hf_populate_locked(mm, start, end, advice == HF_MADV_POPULATE_WRITE);
	case HF_MADV_PAGEOUT:
		hf_pageout_range(mm, start, end);
		break;
	case HF_MADV_COLD:
		hf_cold_range(mm, start, end);
		break;
	case HF_MADV_FREE:
		hf_free_range(mm, start, end);
		break;
	default:
		if (!may_drop(mm, start, end))
			return -HF_EINVAL;
		hf_zap_range(mm, start, end);
	}
	return hf_vma_covers(mm, start, end) ? 0 : -HF_ENOMEM;
}

int hf_madvise(struct hf_mm *mm, uint64_t addr, size_t len, enum hf_advice advice)
{
	uint64_t end;
	int err;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	end = addr + len;
	switch (advice) {
	case HF_MADV_DONTNEED:
	case HF_MADV_POPULATE_READ:
	case HF_MADV_POPULATE_WRITE:
	case HF_MADV_PAGEOUT:
	case HF_MADV_COLD:
	case HF_MADV_FREE:
		hf_mmap_read_lock(mm);
		err = advise_pages(mm, addr, end, advice);
		hf_mmap_read_unlock(mm);
		return err;
	case HF_MADV_COLLAPSE:
		hf_mmap_write_lock(mm);
		err = hf_collapse_range(mm, addr, end);
		hf_mmap_write_unlock(mm);
		return err;
	case HF_MADV_DONTFORK:
	case HF_MADV_DOFORK:
	case HF_MADV_WIPEONFORK:
	case HF_MADV_KEEPONFORK:
	case HF_MADV_HUGEPAGE:
	case HF_MADV_NOHUGEPAGE:
	case HF_MADV_MERGEABLE:
	case HF_MADV_UNMERGEABLE:
		hf_mmap_write_lock(mm);
		err = advise_vmas(mm, addr, end, advice);
		hf_mmap_write_unlock(mm);
		return err;
	}
	return -HF_EINVAL;
}
