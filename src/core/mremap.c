/* SPDX-License-Identifier: MIT */
/* mremap: entries move as they are, and with them marks, pins and dirty bits. */
#include "internal.h"

struct move {
	struct hf_mm *mm;
	struct hf_vma *vma; /* exactly [old, old + old_len) once it is isolated */
	uint64_t old, new;
	size_t old_len, new_len;
};

/* ---- entries ---- */

/* What moved has changed, for those who look at addresses. */
static hf_pte moved_entry(hf_pte pte)
{
	bool page = pte && !hf_pte_absent(pte) && pte != HF_PMD_ABSENT && pte != HF_PMD_RESERVED;

	return page ? pte | HF_PTE_SOFT_DIRTY : pte;
}

/* In between, the entry is nowhere: mmap_lock keeps faults away,
 * the bounds lock reverse-map walks. */
static void move_leaf_entry(struct hf_mm *mm, uint64_t old, uint64_t new)
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
	hf_st(ptep, moved_entry(pte), release);
	hf_mutex_unlock(mm->sys, &table->ptl);
}

/* Takes a huge PMD out, with the table that is kept for its split. */
static hf_pte take_pmd(struct hf_mm *mm, uint64_t addr, struct hf_table **deposit)
{
	struct hf_table *pmds = hf_pmd_table(mm, addr);
	hf_pte pmd;

	hf_mutex_lock(mm->sys, &pmds->ptl);
	pmd = hf_ld(hf_pmd_entry(pmds, addr), relaxed);
	if (!hf_pmd_huge(pmd)) {
		pmd = 0; /* split meanwhile, or nothing is there */
	} else {
		/* a CPU may set YOUNG and DIRTY meanwhile */
		pmd = hf_xchg(hf_pmd_entry(pmds, addr), 0, relaxed);
		*deposit = hf_pmd_splits(mm, pmd) ? hf_withdraw(pmds) : NULL;
	}
	hf_mutex_unlock(mm->sys, &pmds->ptl);
	return pmd;
}

/* The leaf table that was made for the new place goes. */
static void put_pmd(struct hf_mm *mm, uint64_t addr, hf_pte pmd, struct hf_table *deposit)
{
	struct hf_table *pmds = hf_pmd_table(mm, addr), *leaf = hf_leaf(mm, addr);

	hf_mutex_lock(mm->sys, &pmds->ptl);
	if (deposit)
		hf_deposit(pmds, deposit);
	hf_st(hf_pmd_entry(pmds, addr), moved_entry(pmd), release);
	hf_mutex_unlock(mm->sys, &pmds->ptl);
	if (leaf)
		hf_table_free_rcu(leaf);
}

/* Is all that a PMD at old + off maps to be behind one PMD again? */
static bool moves_whole(const struct move *m, size_t off, size_t len)
{
	return !((m->old + off) & ~HF_PMD_MASK) && !((m->new + off) & ~HF_PMD_MASK) &&
	       len - off >= HF_PMD_SIZE;
}

/* From old + off on; returns how much it was. */
static size_t move_some(const struct move *m, size_t off, size_t len)
{
	uint64_t old = m->old + off, new = m->new + off, end = hf_leaf_end(old, m->old + len);
	struct hf_table *deposit;
	hf_pte pmd = 0;

	hf_assert_held(m->mm->sys, &m->vma->anon_vma->lock);
	hf_assert(off < len);
	if (moves_whole(m, off, len) && hf_pmd_table(m->mm, old))
		pmd = take_pmd(m->mm, old, &deposit);
	if (pmd) {
		put_pmd(m->mm, new, pmd, deposit);
		return HF_PMD_SIZE;
	}
	hf_split_huge_pmd_at(m->mm, old);
	for (; old < end; old += HF_PAGE_SIZE, new += HF_PAGE_SIZE)
		move_leaf_entry(m->mm, old, new);
	return end - (m->old + off);
}

/* The tables of the destination exist, and its VMA. */
static void move_entries(const struct move *m, size_t len)
{
	hf_assert_mmap_write_locked(m->mm);
	/* a reverse-map walk must not look at the new place before, and at the old one after */
	hf_bounds_lock(m->vma);
	for (size_t off = 0; off < len; off += move_some(m, off, len))
		;
	hf_bounds_unlock(m->vma);
	hf_tlb_flush(m->mm);
}

static int alloc_tables(const struct move *m, size_t len)
{
	bool hugetlb = m->vma->flags & HF_VM_HUGETLB;

	for (uint64_t addr = m->new; addr < m->new + len; addr = hf_leaf_end(addr, m->new + len))
		if (hugetlb ? !hf_pmd_table_alloc(m->mm, addr) : !hf_leaf_alloc(m->mm, addr))
			return -HF_ENOMEM;
	return 0;
}

/* ---- one mapping ---- */

static int move_mapping(struct move *m)
{
	struct hf_mm *mm = m->mm;
	size_t moved = m->old_len < m->new_len ? m->old_len : m->new_len;
	int err;

	hf_assert_mmap_write_locked(mm);
	err = hf_vma_split(mm, m->old);
	if (!err)
		err = hf_vma_split(mm, m->old + m->old_len);
	if (err)
		goto out;
	m->vma = hf_vma_find(mm, m->old);
	err = hf_vma_insert(mm, m->new, m->new + m->new_len, m->vma, m->vma->pgoff);
	if (err)
		goto out;
	err = alloc_tables(m, moved);
	if (err) {
		/* nothing was moved: the new range is empty,
		 * and unmapping whole VMAs needs no memory */
		hf_munmap_locked(mm, m->new, m->new + m->new_len);
		goto out;
	}
	move_entries(m, moved);
	hf_munmap_locked(mm, m->old, m->old + m->old_len);
out:
	hf_vma_merge(mm, m->old, m->old + m->old_len);
	return err;
}

/* What a mapping itself may refuse. Lengths of hugetlb mappings become those of their pages. */
static int check_mapping(struct move *m, const struct hf_vma *vma)
{
	if (!vma)
		return -HF_EFAULT;
	if (!(vma->flags & HF_VM_HUGETLB))
		return 0;
	if (!m->mm->sys->policy->hugetlb_moves)
		return -HF_EINVAL;
	m->old_len = (m->old_len + HF_PMD_SIZE - 1) & HF_PMD_MASK;
	m->new_len = (m->new_len + HF_PMD_SIZE - 1) & HF_PMD_MASK;
	/* what is reserved does not grow */
	return (m->old | m->new) & ~HF_PMD_MASK || m->new_len > m->old_len ? -HF_EINVAL : 0;
}

static bool is_one_mapping(const struct move *m)
{
	const struct hf_vma *vma = hf_vma_find(m->mm, m->old);

	return vma && vma->end - m->old >= m->old_len;
}

/* To m->new, whatever was there. What is too long is cut off first. */
static int move_to(struct move *m)
{
	int err = hf_munmap_locked(m->mm, m->new, m->new + m->new_len);

	if (!err && m->old_len > m->new_len) {
		err = hf_munmap_locked(m->mm, m->old + m->new_len, m->old + m->old_len);
		m->old_len = m->new_len;
	}
	if (err)
		return err;
	return is_one_mapping(m) ? move_mapping(m) : -HF_EFAULT;
}

/* Resizes where it is. -EAGAIN: it must move. */
static int resize_in_place(struct hf_vma *vma, const struct move *m)
{
	size_t i = hf_vma_index(m->mm, m->old);
	uint64_t end = m->old + m->new_len;
	uint64_t limit = i + 1 < m->mm->nr_vmas ? m->mm->vmas[i + 1]->start : HF_TASK_SIZE;

	if (m->new_len == m->old_len)
		return 0;
	if (m->new_len < m->old_len)
		return hf_munmap_locked(m->mm, end, m->old + m->old_len);
	if (!is_one_mapping(m))
		return -HF_EFAULT;
	if (vma->end != m->old + m->old_len || end > limit)
		return -HF_EAGAIN;
	hf_vma_set_end(vma, end);
	return 0;
}

static int move_anywhere(struct move *m, unsigned flags)
{
	int err = resize_in_place(hf_vma_find(m->mm, m->old), m);

	if (err != -HF_EAGAIN) {
		m->new = m->old;
		return err;
	}
	if (!(flags & HF_MREMAP_MAYMOVE))
		return -HF_ENOMEM;
	m->new = hf_vma_gap(m->mm, m->new_len);
	return m->new ? move_mapping(m) : -HF_ENOMEM;
}

/* ---- more than one mapping ---- */

/*
 * Each mapping of the range moves by itself, and the gaps between them are gaps again, whatever is
 * there. The first that cannot move ends it: what precedes it has moved.
 */
static int move_all(struct move *whole)
{
	uint64_t end = whole->old + whole->old_len, addr = whole->old;
	int err = hf_vma_find(whole->mm, addr) ? 0 : -HF_EFAULT;

	while (addr < end && !err) {
		size_t i = hf_vma_index(whole->mm, addr);
		const struct hf_vma *vma = i < whole->mm->nr_vmas ? whole->mm->vmas[i] : NULL;
		struct move m = *whole;

		if (!vma || vma->start >= end)
			break;
		m.old = vma->start > addr ? vma->start : addr;
		m.new = whole->new + (m.old - whole->old);
		m.old_len = m.new_len = (vma->end < end ? vma->end : end) - m.old;
		addr = m.old + m.old_len;
		/* its owner would have to be told without the lock */
		if (vma->flags & HF_VM_UFFD && (m.old > whole->old || addr < end))
			return -HF_EFAULT;
		err = check_mapping(&m, vma);
		if (!err)
			err = move_to(&m);
	}
	return err;
}

/* ---- the call ---- */

static int mremap_locked(struct move *m, unsigned flags)
{
	int err;

	if (flags & HF_MREMAP_FIXED && m->old_len == m->new_len && m->mm->sys->policy->remap_spans)
		return move_all(m);
	err = check_mapping(m, hf_vma_find(m->mm, m->old));
	if (err)
		return err;
	return flags & HF_MREMAP_FIXED ? move_to(m) : move_anywhere(m, flags);
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
		.new = (flags & HF_MREMAP_FIXED) ? *new_addr : 0,
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
