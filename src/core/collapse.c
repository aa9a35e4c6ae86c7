/* SPDX-License-Identifier: MIT */
/*
 * Collapse: 512 small pages become a folio that a PMD maps. Always by copying; a page that anybody
 * holds besides its mappings stays where it is, and then nothing is done.
 *
 * mmap_lock (write) keeps faults away, and the anon_vma lock reverse-map walks. The PMD is cleared
 * and the TLB flushed before references are counted: GUP-fast, which takes its reference first and
 * looks at the PMD again after, is seen here or sees it gone.
 */
#include "internal.h"

struct collapse {
	struct hf_mm *mm;
	struct hf_vma *vma;
	uint64_t addr;
	struct hf_table *pmds, *leaf;
	struct hf_page *head;
	bool soft_dirty; /* one of the pages is */
};

static _Atomic uint64_t *entry(const struct collapse *c, unsigned i)
{
	return &c->leaf->entry[i];
}

/* Pages that are away come back first; false: the place cannot be collapsed. */
static int bring_in(struct collapse *c)
{
	const struct hf_policy *policy = c->mm->sys->policy;
	bool any = false, writable = false;
	int err = 0;

	hf_assert_mmap_write_locked(c->mm);
	for (unsigned i = 0; i < HF_PMD_PAGES && !err; i++) {
		hf_pte pte = hf_ld(entry(c, i), relaxed);

		if (hf_pte_swap(pte) || hf_pte_migration(pte))
			err = hf_fault_locked(c->vma, c->addr + i * HF_PAGE_SIZE, 0);
		if (hf_pte_absent(pte))
			return -HF_EINVAL;
		pte = hf_ld(entry(c, i), relaxed);
		if (hf_pte_present(pte) && !hf_pte_special(pte) &&
		    !hf_page_is_anon(hf_pfn_page(c->mm->sys, hf_pte_pfn(pte))))
			return -HF_EINVAL;
		if (pte & HF_PTE_UFFD_WP)
			return -HF_EINVAL; /* the folio's entry could not keep it for one page */
		any |= !hf_pte_none(pte);
		c->soft_dirty |= pte & HF_PTE_SOFT_DIRTY;
		writable |= hf_pte_present(pte) && hf_pte_write(pte);
	}
	if (!err && (!any || (policy->collapse_needs_write && !writable)))
		err = -HF_EINVAL;
	return err;
}

static struct hf_page *source(const struct collapse *c, unsigned i)
{
	hf_pte pte = hf_ld(entry(c, i), relaxed);

	if (!hf_pte_present(pte) || hf_pte_special(pte))
		return NULL;
	return hf_pfn_page(c->mm->sys, hf_pte_pfn(pte));
}

/* Nothing but mappings and the swap cache holds any of the pages. */
static bool exact(const struct collapse *c)
{
	for (unsigned i = 0; i < HF_PMD_PAGES; i++) {
		struct hf_page *page = source(c, i);

		if (hf_pte_swap(hf_ld(entry(c, i), relaxed)) ||
		    hf_pte_migration(hf_ld(entry(c, i), relaxed)))
			return false; /* it went away again */
		if (page && hf_page_refs(page) !=
				    hf_folio_mapcount(page) + (hf_ld(&page->slot, relaxed) ? 1 : 0))
			return false;
	}
	return true;
}

static void copy_page(struct collapse *c, unsigned i)
{
	struct hf_system *sys = c->mm->sys;
	struct hf_page *page = source(c, i);
	unsigned char *to = hf_page_data(sys, c->head + i);

	hf_assert_ptl_held(c->pmds);
	if (!page) {
		hf_fill(to, 0, HF_PAGE_SIZE);
		hf_st(entry(c, i), 0, relaxed);
		return;
	}
	sys->pf->copy(sys->pf->ctx, to, hf_page_data(sys, page), HF_PAGE_SIZE);
	hf_st(entry(c, i), 0, relaxed);
	hf_page_remove_rmap(c->mm, page);
	hf_page_put(sys, page);
}

static void map_folio(struct collapse *c)
{
	uint64_t flags = HF_PTE_HUGE | HF_PTE_YOUNG | HF_PTE_DIRTY | hf_prot_flags(c->vma->prot) |
			 (c->soft_dirty ? HF_PTE_SOFT_DIRTY : 0);
	struct hf_system *sys = c->mm->sys;

	hf_assert_ptl_held(c->pmds);
	hf_assert(!hf_peek(hf_pmd_entry(c->pmds, c->addr)));
	if (c->vma->prot & HF_PROT_WRITE && !hf_pte_tracks(flags, hf_wants_soft_dirty(c->vma)))
		flags |= HF_PTE_WRITE;

	hf_mark_new(sys, c->head);
	hf_folio_set_anon(c->head, c->vma, c->addr);
	hf_folio_add_pmd_rmap(c->mm, c->head);
	hf_st(hf_pmd_entry(c->pmds, c->addr), hf_mk_pte(hf_page_pfn(sys, c->head), flags), release);
	hf_count(sys, HF_STAT_COLLAPSES, 1);
}

/* The leaf table becomes the deposit; a lockless walk may still be in it. */
static int collapse_locked(struct collapse *c, struct hf_table *deposit)
{
	_Atomic uint64_t *pmdp = hf_pmd_entry(c->pmds, c->addr);

	hf_assert_held(c->mm->sys, &c->vma->anon_vma->lock);
	hf_assert_ptl_held(c->pmds);
	hf_st(pmdp, 0, seq_cst);
	hf_tlb_flush(c->mm);
	if (!exact(c)) {
		hf_st(pmdp, hf_mk_table_entry(c->leaf), release);
		return -HF_EAGAIN;
	}
	for (unsigned i = 0; i < HF_PMD_PAGES; i++)
		copy_page(c, i);
	hf_deposit(c->pmds, deposit);
	map_folio(c);
	return 0;
}

/* Page locks of the sources are not needed:
 * who holds one holds a reference, too, or the anon_vma lock. */
static int collapse_pmd(struct collapse *c)
{
	struct hf_system *sys = c->mm->sys;
	struct hf_table *deposit = hf_table_new(sys);
	int err = -HF_ENOMEM;

	c->head = deposit ? hf_folio_alloc(sys, HF_PMD_ORDER) : NULL;
	if (c->head) {
		hf_mutex_lock(sys, &c->vma->anon_vma->lock);
		hf_mutex_lock(sys, &c->pmds->ptl);
		err = collapse_locked(c, deposit);
		hf_mutex_unlock(sys, &c->pmds->ptl);
		hf_mutex_unlock(sys, &c->vma->anon_vma->lock);
		if (err)
			hf_page_put(sys, c->head);
		else
			hf_table_free_rcu(c->leaf);
	}
	if (err && deposit)
		hf_table_free(deposit);
	return err;
}

static int collapse_at(struct hf_vma *vma, uint64_t addr)
{
	struct collapse c = { .mm = vma->mm, .vma = vma, .addr = addr };
	int err;

	hf_assert_mmap_write_locked(c.mm);
	hf_assert(!(addr & ~HF_PMD_MASK));
	c.pmds = hf_pmd_table(c.mm, addr);
	c.leaf = hf_leaf(c.mm, addr);
	if (!c.leaf) /* nothing there, or a PMD maps it already */
		return c.pmds && hf_ld(hf_pmd_entry(c.pmds, addr), relaxed) ? 0 : -HF_EINVAL;
	err = bring_in(&c);
	hf_lru_drain_all(c.mm->sys);
	return err ? err : collapse_pmd(&c);
}

/* Has it room for a folio behind a PMD, and may have one? */
static bool collapses(const struct hf_vma *vma)
{
	uint64_t first = (vma->start + HF_PMD_SIZE - 1) & HF_PMD_MASK;

	return !(vma->flags & (HF_VM_HUGETLB | HF_VM_NOHUGEPAGE)) && !vma->file &&
	       first < vma->end && vma->end - first >= HF_PMD_SIZE;
}

int hf_collapse_range(struct hf_vma *vma, uint64_t start, uint64_t end)
{
	uint64_t addr = (start + HF_PMD_SIZE - 1) & HF_PMD_MASK;
	int err = !collapses(vma) || addr > (end & HF_PMD_MASK) ? -HF_EINVAL : 0;

	for (; !err && addr < (end & HF_PMD_MASK); addr += HF_PMD_SIZE)
		err = collapse_at(vma, addr);
	return err;
}
