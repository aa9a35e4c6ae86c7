/* SPDX-License-Identifier: MIT */
/* mmap, munmap, and taking pages out of page tables. */
#include "internal.h"

bool hf_range_ok(uint64_t addr, size_t len)
{
	return !(addr & ~HF_PAGE_MASK) && !(len & ~HF_PAGE_MASK) && len && addr >= HF_TASK_MIN &&
	       addr < HF_TASK_SIZE && len <= HF_TASK_SIZE - addr;
}

size_t hf_page_align(size_t len)
{
	return (len + HF_PAGE_SIZE - 1) & HF_PAGE_MASK;
}

/* Pages that are unmapped already but may still be in use by a CPU: released after the flush. */
struct gather {
	struct hf_page *pages[64];
	size_t nr;
	bool flush; /* entries were removed since the last flush */
};

static void gather_flush(struct hf_mm *mm, struct gather *g)
{
	if (g->flush)
		hf_tlb_flush(mm);
	while (g->nr)
		hf_page_put(mm->sys, g->pages[--g->nr]);
	g->flush = false;
}

static void gather_page(struct hf_mm *mm, struct gather *g, struct hf_page *page)
{
	hf_assert(g->nr <= sizeof(g->pages) / sizeof(g->pages[0]));
	if (g->nr == sizeof(g->pages) / sizeof(g->pages[0]))
		gather_flush(mm, g);
	g->pages[g->nr++] = page;
	g->flush = true;
}

static int zap_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
		    void *arg)
{
	struct gather *g = arg;

	hf_assert_ptl_held(table);
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE) {
		_Atomic uint64_t *ptep = &table->entry[hf_pte_index(addr)];
		struct hf_page *page;
		hf_pte pte;

		if (hf_pte_none(hf_ld(ptep, relaxed)))
			continue;
		pte = hf_xchg(ptep, 0, relaxed);
		if (hf_pte_swap(pte))
			hf_slot_put(mm->sys, hf_pte_slot(pte));
		g->flush |= hf_pte_present(pte);
		if (!hf_pte_present(pte) || hf_pte_special(pte))
			continue;
		page = hf_pfn_page(mm->sys, hf_pte_pfn(pte));
		if (pte & HF_PTE_DIRTY && !hf_page_is_anon(page))
			hf_page_set_dirty(page);
		hf_page_remove_rmap(mm, page);
		gather_page(mm, g, page);
	}
	return 0;
}

static int zap_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	struct gather *g = arg;
	hf_pte pmd = hf_xchg(hf_pmd_entry(table, addr), 0, relaxed);
	struct hf_page *head;

	hf_assert_ptl_held(table);
	if (!hf_pte_present(pmd)) {
		if (pmd == HF_PMD_RESERVED)
			hf_hugetlb_unreserve(mm->sys, 1);
		return 0;
	}
	if (hf_pmd_splits(mm, pmd))
		hf_table_free(hf_withdraw(table));
	g->flush = true;
	if (hf_pte_special(pmd))
		return 0;
	head = hf_pfn_page(mm->sys, hf_pte_pfn(pmd));
	hf_folio_remove_pmd_rmap(mm, head);
	gather_page(mm, g, head);
	return 0;
}

static const struct hf_walk zap = { .leaf = zap_leaf, .huge = zap_huge };

void hf_zap_range(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	struct gather g = { .nr = 0 };

	hf_for_each_leaf(mm, start, end, &zap, &g);
	gather_flush(mm, &g);
}

int hf_munmap_locked(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	uint64_t floor, ceiling;
	size_t i;
	int err;

	hf_assert_mmap_write_locked(mm);
	hf_assert(start < end && !((start | end) & ~HF_PAGE_MASK));
	/* both splits first: they are all that can fail */
	err = hf_vma_split(mm, start);
	if (!err)
		err = hf_vma_split(mm, end);
	if (err) {
		hf_vma_merge(mm, start, end);
		return err;
	}
	hf_zap_range(mm, start, end);
	i = hf_vma_index(mm, start);
	while (i < mm->nr_vmas && mm->vmas[i]->start < end)
		hf_vma_remove(mm, i);
	floor = i ? mm->vmas[i - 1]->end : 0;
	ceiling = i < mm->nr_vmas ? mm->vmas[i]->start : HF_TASK_SIZE;
	/* the gap can be huge; only tables that the range itself had can be there */
	start &= HF_PMD_MASK;
	end = hf_leaf_end(end - 1, UINT64_MAX);
	hf_tables_prune(mm, floor > start ? floor : start, ceiling < end ? ceiling : end);
	return 0;
}

int hf_munmap(struct hf_mm *mm, uint64_t addr, size_t len)
{
	int err;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	hf_mmap_write_lock(mm);
	err = hf_munmap_locked(mm, addr, addr + len);
	hf_mmap_write_unlock(mm);
	return err;
}

int hf_populate_locked(struct hf_mm *mm, uint64_t start, uint64_t end, bool write)
{
	unsigned flags = write ? HF_FAULT_FLAG_WRITE : 0;

	hf_assert_mmap_locked(mm);
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE) {
		struct hf_vma *vma = hf_vma_find(mm, addr);
		int err;

		if (!vma)
			return -HF_ENOMEM;
		if (!(vma->prot & (write ? HF_PROT_WRITE : HF_PROT_READ)))
			return -HF_EINVAL;
		err = hf_fault_locked(vma, addr, flags);
		if (err)
			return err;
	}
	return 0;
}

/* Decides where the mapping goes and makes room there. */
static int place(struct hf_mm *mm, uint64_t *addr, size_t len, unsigned flags)
{
	uint64_t align = flags & HF_MAP_HUGETLB ? HF_PMD_SIZE : HF_PAGE_SIZE;
	uint64_t hint = *addr & ~(align - 1);
	size_t i;

	hf_assert_mmap_write_locked(mm);
	if (flags & (HF_MAP_FIXED | HF_MAP_FIXED_NOREPLACE)) {
		if (!hf_range_ok(*addr, len) || *addr & (align - 1))
			return -HF_EINVAL;
		i = hf_vma_index(mm, *addr);
		if (i >= mm->nr_vmas || mm->vmas[i]->start >= *addr + len)
			return 0;
		return flags & HF_MAP_FIXED_NOREPLACE ? -HF_EEXIST
						      : hf_munmap_locked(mm, *addr, *addr + len);
	}
	if (hf_range_ok(hint, len)) {
		i = hf_vma_index(mm, hint);
		if (i >= mm->nr_vmas || mm->vmas[i]->start >= hint + len) {
			*addr = hint;
			return 0;
		}
	}
	*addr = hf_vma_gap(mm, len + (align - HF_PAGE_SIZE));
	if (!*addr)
		return -HF_ENOMEM;
	*addr = (*addr + align - 1) & ~(align - 1);
	return 0;
}

static int mmap_locked(struct hf_mm *mm, uint64_t *addr, size_t len, unsigned prot, unsigned flags,
		       struct hf_file *file, uint64_t file_page)
{
	struct hf_vma like = {
		.prot = prot & HF_PROT_WRITE ? prot | HF_PROT_READ : prot,
		.file = file,
	};
	int err;

	if (flags & HF_MAP_HUGETLB)
		like.flags |= HF_VM_HUGETLB;
	if (flags & HF_MAP_SHARED)
		like.flags |= HF_VM_SHARED;
	like.anon_vma = hf_anon_vma_new(mm->sys);
	if (!like.anon_vma)
		return -HF_ENOMEM;
	err = place(mm, addr, len, flags);
	like.file_delta = file_page - (*addr >> HF_PAGE_SHIFT);
	if (!err)
		err = hf_vma_insert(mm, *addr, *addr + len, &like, *addr >> HF_PAGE_SHIFT);
	if (!err && flags & HF_MAP_HUGETLB) {
		err = hf_hugetlb_map(hf_vma_find(mm, *addr));
		if (err)
			hf_munmap_locked(mm, *addr, *addr + len); /* a whole VMA: cannot fail */
		else if (file && prot & HF_PROT_WRITE)
			hf_file_extend(file, file_page / HF_PMD_PAGES + len / HF_PMD_SIZE);
	}
	hf_anon_vma_put(like.anon_vma);
	return err;
}

static int map(struct hf_mm *mm, uint64_t *addr, size_t len, unsigned prot, unsigned flags,
	       struct hf_file *file, uint64_t file_page)
{
	int err;

	if (!len || prot & ~(HF_PROT_READ | HF_PROT_WRITE))
		return -HF_EINVAL;
	len = hf_page_align(len);
	if (flags & HF_MAP_HUGETLB)
		len = (len + HF_PMD_SIZE - 1) & HF_PMD_MASK;
	if (!len || len > HF_TASK_SIZE - HF_TASK_MIN)
		return -HF_ENOMEM;
	hf_mmap_write_lock(mm);
	err = mmap_locked(mm, addr, len, prot, flags, file, file_page);
	if (!err && flags & HF_MAP_POPULATE && prot)
		hf_populate_locked(mm, *addr, *addr + len, prot & HF_PROT_WRITE);
	hf_mmap_write_unlock(mm);
	return err;
}

#define PLACEMENT (HF_MAP_FIXED | HF_MAP_FIXED_NOREPLACE | HF_MAP_POPULATE)

int hf_mmap(struct hf_mm *mm, uint64_t *addr, size_t len, unsigned prot, unsigned flags)
{
	if (flags & ~(PLACEMENT | HF_MAP_HUGETLB))
		return -HF_EINVAL;
	return map(mm, addr, len, prot, flags, NULL, 0);
}

int hf_mmap_file(struct hf_mm *mm, uint64_t *addr, size_t len, unsigned prot, unsigned flags,
		 struct hf_file *file, uint64_t pgoff)
{
	if (flags & ~(PLACEMENT | HF_MAP_SHARED) ||
	    (file->hugetlb && (flags & HF_MAP_SHARED || pgoff % HF_PMD_PAGES)))
		return -HF_EINVAL;
	return map(mm, addr, len, prot, flags | (file->hugetlb ? HF_MAP_HUGETLB : 0), file, pgoff);
}
