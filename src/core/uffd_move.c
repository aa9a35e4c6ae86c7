/* SPDX-License-Identifier: MIT */
/* UFFDIO_MOVE: pages change their address and their family, and nobody else may be looking. */
#include "internal.h"

struct move {
	struct hf_mm *mm;
	struct hf_vma *dst_vma;
	uint64_t dst, src;
	struct hf_table *from_table, *to_table;
};

/* Two ptls of one mm, always the lower address first. */
static void lock_both(const struct move *m)
{
	struct hf_table *first = m->from_table < m->to_table ? m->from_table : m->to_table;
	struct hf_table *second = first == m->from_table ? m->to_table : m->from_table;

	hf_mutex_lock(m->mm->sys, &first->ptl);
	if (second != first)
		hf_mutex_lock(m->mm->sys, &second->ptl);
}

static void unlock_both(const struct move *m)
{
	if (m->from_table != m->to_table)
		hf_mutex_unlock(m->mm->sys, &m->to_table->ptl);
	hf_mutex_unlock(m->mm->sys, &m->from_table->ptl);
}

static bool movable(const struct hf_system *sys, const struct hf_page *page)
{
	return !hf_folio_order(page) && hf_page_is_anon(page) && !hf_page_looks_pinned(sys, page) &&
	       (sys->policy->has_mark ? hf_page_exclusive(page) : hf_page_mapcount(page) == 1);
}

/* Both ptls are held, and the page lock. */
static int move_page(const struct move *m, _Atomic uint64_t *from, _Atomic uint64_t *to,
		     struct hf_page *page)
{
	struct hf_system *sys = m->mm->sys;
	hf_pte pte;

	hf_assert_page_locked(page);
	hf_assert(m->src != m->dst);
	if (!movable(sys, page) || hf_ld(&page->slot, relaxed))
		return -HF_EBUSY;
	pte = hf_xchg(from, 0, seq_cst);
	hf_tlb_flush(m->mm);
	/* GUP-fast may have come between */
	if (!movable(sys, page)) {
		hf_st(from, pte, release);
		return -HF_EBUSY;
	}
	page->index = m->dst_vma->pgoff + ((m->dst - m->dst_vma->start) >> HF_PAGE_SHIFT);
	hf_st(&page->anon_vma, m->dst_vma->anon_vma, release);
	pte |= HF_PTE_SOFT_DIRTY;
	if (m->dst_vma->prot & HF_PROT_WRITE)
		pte |= HF_PTE_WRITE | HF_PTE_DIRTY;
	hf_st(to, pte & ~HF_PTE_UFFD_WP, release);
	return 0;
}

static int move_entry(const struct move *m, struct hf_page *page)
{
	_Atomic uint64_t *from = &m->from_table->entry[hf_pte_index(m->src)];
	_Atomic uint64_t *to = &m->to_table->entry[hf_pte_index(m->dst)];
	hf_pte pte = hf_ld(from, relaxed);

	hf_assert_ptl_held(m->from_table);
	hf_assert_ptl_held(m->to_table);
	if (!hf_pte_none(hf_ld(to, relaxed)))
		return -HF_EEXIST;
	if (hf_pte_none(pte))
		return 0;
	if (hf_pte_swap(pte)) /* it went out again */
		return pte & HF_PTE_SWP_EXCLUSIVE ? -HF_EAGAIN : -HF_EBUSY;
	if (page && hf_pte_present(pte) && hf_pte_pfn(pte) == hf_page_pfn(m->mm->sys, page))
		return move_page(m, from, to, page);
	return page ? -HF_EAGAIN : -HF_EBUSY;
}

static int move_one(struct move *m)
{
	struct hf_page *page = hf_page_at(m->mm, m->src);
	int err = -HF_EAGAIN;

	hf_assert_mmap_locked(m->mm);
	m->to_table = hf_leaf_alloc(m->mm, m->dst);
	m->from_table = page && hf_folio_order(page) ? NULL : hf_leaf_alloc(m->mm, m->src);
	if (page && hf_folio_order(page))
		err = -HF_EBUSY;
	else if (!m->to_table || !m->from_table)
		err = -HF_ENOMEM;
	else if (!page || hf_page_trylock(page)) {
		lock_both(m);
		err = move_entry(m, page);
		unlock_both(m);
		if (page)
			hf_page_unlock(page);
	}
	if (page)
		hf_page_put(m->mm->sys, page);
	return err;
}

static struct hf_vma *fit_vma(struct hf_mm *mm, uint64_t addr, size_t len)
{
	struct hf_vma *vma = hf_vma_find(mm, addr);

	if (!vma || vma->end < addr + len || vma->file || !(vma->prot & HF_PROT_WRITE) ||
	    vma->flags & HF_VM_HUGETLB)
		return NULL;
	return vma;
}

static int64_t move_locked(struct move *m, size_t len)
{
	struct hf_vma *src_vma = fit_vma(m->mm, m->src, len);
	size_t done = 0;
	int err = 0;

	m->dst_vma = fit_vma(m->mm, m->dst, len);
	if (!src_vma || !m->dst_vma)
		return -HF_EINVAL;
	for (; done < len && !err; m->src += HF_PAGE_SIZE, m->dst += HF_PAGE_SIZE) {
		hf_pte pte;
		struct hf_table *leaf = hf_leaf(m->mm, m->src);

		pte = leaf ? hf_ld(&leaf->entry[hf_pte_index(m->src)], relaxed) : 0;
		/* in the swap cache it would keep its old family: it comes back first */
		if (hf_pte_swap(pte) && pte & HF_PTE_SWP_EXCLUSIVE)
			err = hf_fault_locked(src_vma, m->src, HF_FAULT_FLAG_WRITE);
		if (!err)
			err = move_one(m);
		done += err ? 0 : HF_PAGE_SIZE;
	}
	return done ? (int64_t)done : err;
}

int64_t hf_uffd_move(struct hf_mm *mm, uint64_t dst, uint64_t src, size_t len)
{
	struct move m = { .mm = mm, .dst = dst, .src = src };
	int64_t ret;

	len = hf_page_align(len);
	if (!hf_range_ok(dst, len) || !hf_range_ok(src, len) ||
	    (dst < src + len && src < dst + len))
		return -HF_EINVAL;
	hf_mmap_read_lock(mm);
	ret = move_locked(&m, len);
	hf_mmap_read_unlock(mm);
	return ret;
}
