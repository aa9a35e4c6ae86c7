/* SPDX-License-Identifier: MIT */
/* mremap: entries move as they are, and with them marks, pins and dirty bits. */
#include "internal.h"

struct move {
	struct hf_mm *mm;
	struct hf_vma *vma; /* exactly [old, old + old_len) once it is isolated */
	uint64_t old, new;
	size_t old_len, new_len;
};

/* In between, the entry is nowhere: mmap_lock keeps faults away, the bounds lock reverse-map walks.
 */
static void move_entry(struct hf_mm *mm, uint64_t old, uint64_t new)
{
	struct hf_table *table;
	uint32_t huge;
	_Atomic uint64_t *ptep = hf_pte_lock(mm, old, &table, &huge);
	hf_pte pte;

	if (!ptep)
		return;
	pte = hf_xchg(ptep, 0, relaxed);
	hf_mutex_unlock(mm->sys, &table->ptl);
	ptep = hf_pte_lock(mm, new, &table, &huge);
	/* what moved has changed, for those who look at addresses */
	hf_st(ptep, pte && !hf_pte_absent(pte) ? pte | HF_PTE_SOFT_DIRTY : pte, release);
	hf_mutex_unlock(mm->sys, &table->ptl);
}

/* The tables of the destination exist, and its VMA. */
static void move_entries(const struct move *m)
{
	for (uint64_t addr = m->old; addr < m->old + m->old_len;
	     addr = hf_leaf_end(addr, UINT64_MAX))
		hf_split_huge_pmd_at(m->mm, addr);
	/* a reverse-map walk must not look at the new place before, and at the old one after */
	hf_bounds_lock(m->vma);
	for (size_t off = 0; off < m->old_len && off < m->new_len; off += HF_PAGE_SIZE)
		move_entry(m->mm, m->old + off, m->new + off);
	hf_bounds_unlock(m->vma);
	hf_tlb_flush(m->mm);
}

static int alloc_tables(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	for (uint64_t addr = start; addr < end; addr = hf_leaf_end(addr, end))
		if (!hf_leaf_alloc(mm, addr))
			return -HF_ENOMEM;
	return 0;
}

static int move_mapping(struct move *m)
{
	struct hf_mm *mm = m->mm;
	size_t moved = m->old_len < m->new_len ? m->old_len : m->new_len;
	int err;

	err = hf_vma_split(mm, m->old);
	if (!err)
		err = hf_vma_split(mm, m->old + m->old_len);
	if (err)
		goto out;
	m->vma = hf_vma_find(mm, m->old);
	err = hf_vma_insert(mm, m->new, m->new + m->new_len, m->vma, m->vma->pgoff);
	if (err)
		goto out;
	err = alloc_tables(mm, m->new, m->new + moved);
	if (err) {
		/* nothing was moved: the new range is empty, and unmapping whole VMAs needs no
		 * memory */
		hf_munmap_locked(mm, m->new, m->new + m->new_len);
		goto out;
	}
	move_entries(m);
	hf_munmap_locked(mm, m->old, m->old + m->old_len);
out:
	hf_vma_merge(mm, m->old, m->old + m->old_len);
	return err;
}

/* Resizes where it is. -EAGAIN: it must move. */
static int resize_in_place(struct hf_mm *mm, struct hf_vma *vma, const struct move *m)
{
	size_t i = hf_vma_index(mm, m->old);
	uint64_t end = m->old + m->new_len;
	uint64_t limit = i + 1 < mm->nr_vmas ? mm->vmas[i + 1]->start : HF_TASK_SIZE;

	if (m->new_len == m->old_len)
		return 0;
	if (m->new_len < m->old_len)
		return hf_munmap_locked(mm, end, m->old + m->old_len);
	if (vma->end != m->old + m->old_len || end > limit)
		return -HF_EAGAIN;
	hf_vma_set_end(vma, end);
	return 0;
}

static int choose_new(struct move *m, unsigned flags)
{
	if (flags & HF_MREMAP_FIXED)
		return hf_munmap_locked(m->mm, m->new, m->new + m->new_len);
	m->new = hf_vma_gap(m->mm, m->new_len);
	return m->new ? 0 : -HF_ENOMEM;
}

static int mremap_locked(struct move *m, unsigned flags)
{
	struct hf_vma *vma = hf_vma_find(m->mm, m->old);
	int err;

	if (!vma || vma->end - m->old < m->old_len)
		return -HF_EFAULT;
	if (vma->flags & HF_VM_HUGETLB)
		return -HF_EINVAL;
	if (!(flags & HF_MREMAP_FIXED)) {
		err = resize_in_place(m->mm, vma, m);
		if (err != -HF_EAGAIN) {
			m->new = m->old;
			return err;
		}
		if (!(flags & HF_MREMAP_MAYMOVE))
			return -HF_ENOMEM;
	}
	err = choose_new(m, flags);
	return err ? err : move_mapping(m);
}

static bool overlap(const struct move *m)
{
	return m->new < m->old + m->old_len && m->old < m->new + m->new_len;
}

int hf_mremap(struct hf_mm *mm, uint64_t old_addr, size_t old_len, size_t new_len, unsigned flags,
	      uint64_t *new_addr)
{
	struct move m = {
		.mm = mm,
		.old = old_addr,
		.new = *new_addr,
		.old_len = hf_page_align(old_len),
		.new_len = hf_page_align(new_len),
	};
	int err;

	if (flags & ~(HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED) || flags == HF_MREMAP_FIXED ||
	    !hf_range_ok(old_addr, m.old_len) || !m.new_len || m.new_len > HF_TASK_SIZE)
		return -HF_EINVAL;
	if (flags & HF_MREMAP_FIXED && (!hf_range_ok(m.new, m.new_len) || overlap(&m)))
		return -HF_EINVAL;
	hf_mmap_write_lock(mm);
	err = mremap_locked(&m, flags);
	hf_mmap_write_unlock(mm);
	if (!err)
		*new_addr = m.new;
	return err;
}
