/* SPDX-License-Identifier: MIT */
/*
 * madvise: dropping and populating pages, and what forks and faults do with a range.
 *
 * Advice goes mapping by mapping, as in Linux: the first that refuses it ends it there, and holes
 * are passed over, and reported at the end.
 */
#include "internal.h"

struct advice {
	enum hf_advice what;
	unsigned clear, set; /* HF_VM_* */
};

/* ---- flags of mappings ---- */

static int set_flags(struct hf_mm *mm, uint64_t start, uint64_t end, const struct advice *a)
{
	struct hf_vma *vma = hf_vma_find(mm, start);
	int err;

	hf_assert_mmap_write_locked(mm);
	/* nothing to do: a part that cannot be parted is none, and neighbours that have become
	 * alike stay two */
	if (((vma->flags & ~a->clear) | a->set) == vma->flags)
		return 0;
	err = hf_vma_split(mm, start);
	if (!err)
		err = hf_vma_split(mm, end);
	if (!err) {
		vma = hf_vma_find(mm, start);
		vma->flags = (vma->flags & ~a->clear) | a->set;
	}
	hf_vma_merge(mm, start, end);
	return err;
}

/* Calls `visit` for each mapping's part of the range. */
static int for_each_mapping(struct hf_mm *mm, uint64_t start, uint64_t end, const struct advice *a,
			    int (*visit)(struct hf_mm *mm, uint64_t start, uint64_t end,
					 const struct advice *a))
{
	uint64_t addr = start;
	bool hole = false;
	int err = 0;

	hf_assert_mmap_locked(mm);
	while (addr < end && !err) {
		size_t i = hf_vma_index(mm, addr);
		const struct hf_vma *vma = i < mm->nr_vmas ? mm->vmas[i] : NULL;
		uint64_t next;

		hole |= !vma || vma->start > addr;
		if (!vma || vma->start >= end)
			break;
		next = vma->end < end ? vma->end : end;
		err = visit(mm, vma->start > addr ? vma->start : addr, next, a);
		addr = next;
	}
	return err ? err : hole ? -HF_ENOMEM : 0;
}

int hf_vma_set_flags(struct hf_mm *mm, uint64_t start, uint64_t end, unsigned clear, unsigned set)
{
	const struct advice a = { .clear = clear, .set = set };

	return for_each_mapping(mm, start, end, &a, set_flags);
}

/* ---- one mapping ---- */

/* hugetlb's anonymous mappings are a file's, too. */
static bool is_anonymous(const struct hf_vma *vma)
{
	return !vma->file && !(vma->flags & HF_VM_HUGETLB);
}

static int advise_flags(struct hf_mm *mm, uint64_t start, uint64_t end, const struct advice *a)
{
	struct hf_vma *vma = hf_vma_find(mm, start);
	int err = 0;

	if (a->what == HF_MADV_WIPEONFORK && !is_anonymous(vma))
		return -HF_EINVAL;
	if (a->what == HF_MADV_DOFORK && vma->flags & HF_VM_HUGETLB &&
	    mm->sys->policy->hugetlb_refuses_dofork)
		return -HF_EINVAL;
	if (a->what == HF_MADV_UNMERGEABLE)
		err = hf_unmerge_range(vma, start, end);
	return err ? err : set_flags(mm, start, end, a);
}

/* Whole pages of the pool only; what is less at the end stays. */
static int drop_hugetlb(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	if (!mm->sys->policy->hugetlb_dontneed || start & ~HF_PMD_MASK)
		return -HF_EINVAL;
	end &= HF_PMD_MASK;
	if (end > start)
		hf_zap_range(mm, start, end);
	return 0;
}

static int advise_pages(struct hf_mm *mm, uint64_t start, uint64_t end, const struct advice *a)
{
	struct hf_vma *vma = hf_vma_find(mm, start);
	bool hugetlb = vma->flags & HF_VM_HUGETLB;

	if (a->what == HF_MADV_DONTNEED && hugetlb)
		return drop_hugetlb(mm, start, end);
	if (hugetlb || (a->what == HF_MADV_FREE && vma->file))
		return -HF_EINVAL;
	switch (a->what) {
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
		hf_zap_range(mm, start, end);
	}
	return 0;
}

static int populate(struct hf_mm *mm, uint64_t start, uint64_t end, const struct advice *a)
{
	return hf_populate_locked(mm, start, end, a->what == HF_MADV_POPULATE_WRITE);
}

static int collapse(struct hf_mm *mm, uint64_t start, uint64_t end, const struct advice *a)
{
	(void)a;
	return hf_collapse_range(hf_vma_find(mm, start), start, end);
}

/* ---- the call ---- */

static int advise_read_locked(struct hf_mm *mm, uint64_t start, uint64_t end,
			      const struct advice *a)
{
	bool populates = a->what == HF_MADV_POPULATE_READ || a->what == HF_MADV_POPULATE_WRITE;
	int err;

	hf_mmap_read_lock(mm);
	if (populates && !mm->sys->policy->populates_over_holes)
		err = populate(mm, start, end, a);
	else
		err = for_each_mapping(mm, start, end, a, populates ? populate : advise_pages);
	hf_mmap_read_unlock(mm);
	return err;
}

static int advise_write_locked(struct hf_mm *mm, uint64_t start, uint64_t end,
			       const struct advice *a)
{
	int err;

	hf_mmap_write_lock(mm);
	err = for_each_mapping(mm, start, end, a,
			       a->what == HF_MADV_COLLAPSE ? collapse : advise_flags);
	hf_mmap_write_unlock(mm);
	return err;
}

int hf_madvise(struct hf_mm *mm, uint64_t addr, size_t len, enum hf_advice advice)
{
	static const struct {
		unsigned clear, set;
	} flags[] = {
		[HF_MADV_DONTFORK] = { 0, HF_VM_DONTCOPY },
		[HF_MADV_DOFORK] = { HF_VM_DONTCOPY, 0 },
		[HF_MADV_WIPEONFORK] = { 0, HF_VM_WIPEONFORK },
		[HF_MADV_KEEPONFORK] = { HF_VM_WIPEONFORK, 0 },
		[HF_MADV_HUGEPAGE] = { HF_VM_NOHUGEPAGE, HF_VM_HUGEPAGE },
		[HF_MADV_NOHUGEPAGE] = { HF_VM_HUGEPAGE, HF_VM_NOHUGEPAGE },
		[HF_MADV_MERGEABLE] = { 0, HF_VM_MERGEABLE },
		[HF_MADV_UNMERGEABLE] = { HF_VM_MERGEABLE, 0 },
		[HF_MADV_COLLAPSE] = { 0, 0 },
	};
	struct advice a = { .what = advice };

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	switch (advice) {
	case HF_MADV_DONTNEED:
	case HF_MADV_POPULATE_READ:
	case HF_MADV_POPULATE_WRITE:
	case HF_MADV_PAGEOUT:
	case HF_MADV_COLD:
	case HF_MADV_FREE:
		return advise_read_locked(mm, addr, addr + len, &a);
	case HF_MADV_DONTFORK:
	case HF_MADV_DOFORK:
	case HF_MADV_WIPEONFORK:
	case HF_MADV_KEEPONFORK:
	case HF_MADV_HUGEPAGE:
	case HF_MADV_NOHUGEPAGE:
	case HF_MADV_MERGEABLE:
	case HF_MADV_UNMERGEABLE:
	case HF_MADV_COLLAPSE:
		a.clear = flags[advice].clear;
		a.set = flags[advice].set;
		return advise_write_locked(mm, addr, addr + len, &a);
	}
	return -HF_EINVAL;
}
