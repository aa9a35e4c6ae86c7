/* SPDX-License-Identifier: MIT */
/*
 * PMDs that map a folio of 512 pages, the huge zeropage among them.
 *
 * While a PMD maps a folio, the mark of the first page stands for all; a split fans it out. With
 * every PMD that maps pages a leaf table is kept, so that a split cannot fail.
 */
#include "internal.h"

/* ---- deposits ---- */

void hf_deposit(struct hf_table *table, struct hf_table *leaf)
{
	hf_assert_ptl_held(table);
	hf_assert(leaf != table);
	leaf->rcu.owner = table->deposit;
	table->deposit = leaf;
}

struct hf_table *hf_withdraw(struct hf_table *table)
{
	struct hf_table *leaf = table->deposit;

	hf_assert_ptl_held(table);
	hf_assert(leaf);
	table->deposit = leaf->rcu.owner;
	return leaf;
}

/* ---- books ---- */

void hf_folio_add_pmd_rmap(struct hf_mm *mm, struct hf_page *head)
{
	hf_assert(hf_peek_folio(head) == head && hf_peek_order(head) == HF_PMD_ORDER);
	hf_add(&head->entire_mapcount, 1, relaxed);
	hf_owner_add(mm, head, 1);
}

void hf_folio_remove_pmd_rmap(struct hf_mm *mm, struct hf_page *head)
{
	uint32_t old;

	hf_assert(hf_peek_folio(head) == head && hf_peek_order(head) == HF_PMD_ORDER);
	hf_owner_remove(mm, head, 1);
	old = hf_sub(&head->entire_mapcount, 1, relaxed);
	hf_assert(old > 0);
	(void)old;
}

static struct hf_page *pmd_folio(const struct hf_mm *mm, hf_pte pmd)
{
	return hf_pfn_page(mm->sys, hf_pte_pfn(pmd));
}

/* ---- splitting ---- */

/* One PMD's share of the books becomes that of 512 PTEs. */
static void fan_out(struct hf_mm *mm, struct hf_page *head)
{
	hf_assert(hf_peek_order(head) == HF_PMD_ORDER);
	hf_mark_fan_out(mm->sys, head);
	hf_ref_add(&head->counts, (HF_PMD_PAGES - 1) * HF_COUNT_REF, relaxed);
	hf_owner_add(mm, head, HF_PMD_PAGES - 1);
	hf_sub(&head->entire_mapcount, 1, release);
}

static void fill_leaf(struct hf_table *leaf, hf_pte pmd)
{
	uint64_t flags = pmd & HF_PTE_FLAGS & ~HF_PTE_HUGE, pfn = hf_pte_pfn(pmd);
	bool zero = hf_pte_special(pmd);

	for (unsigned i = 0; i < HF_PMD_PAGES; i++)
		hf_st(&leaf->entry[i], hf_mk_pte(zero ? 0 : pfn + i, flags), relaxed);
}

void hf_split_huge_pmd(struct hf_mm *mm, struct hf_table *table, uint64_t addr)
{
	_Atomic uint64_t *pmdp = hf_pmd_entry(table, addr);
	struct hf_table *leaf = hf_withdraw(table);
	hf_pte pmd = hf_ld(pmdp, relaxed);

	hf_assert_ptl_held(table);
	hf_assert(hf_pmd_huge(hf_peek(pmdp)) && hf_pte_present(hf_peek(pmdp)));
	if (!hf_pte_special(pmd))
		fan_out(mm, pmd_folio(mm, pmd));
	/* a CPU may set YOUNG and DIRTY meanwhile */
	do {
		fill_leaf(leaf, pmd);
	} while (!hf_cas(pmdp, &pmd, hf_mk_table_entry(leaf), release));
	hf_count(mm->sys, HF_STAT_THP_SPLITS, 1);
}

bool hf_pmd_splits(const struct hf_mm *mm, hf_pte pmd)
{
	return hf_pmd_huge(pmd) && hf_pte_present(pmd) && !hf_page_hugetlb(pmd_folio(mm, pmd));
}

void hf_split_huge_pmd_at(struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *table = hf_pmd_table(mm, addr);

	if (!table || !hf_pmd_huge(hf_ld(hf_pmd_entry(table, addr), relaxed)))
		return;
	hf_mutex_lock(mm->sys, &table->ptl);
	if (hf_pmd_splits(mm, hf_ld(hf_pmd_entry(table, addr), relaxed)))
		hf_split_huge_pmd(mm, table, addr);
	hf_mutex_unlock(mm->sys, &table->ptl);
}

/* ---- faults ---- */

struct huge_fault {
	struct hf_mm *mm;
	struct hf_vma *vma;
	uint64_t addr; /* aligned to the PMD */
	unsigned flags;
	struct hf_table *table;
	_Atomic uint64_t *pmdp;
};

static struct hf_page *huge_zeropage(struct hf_system *sys)
{
	struct hf_page *head = hf_ld(&sys->huge_zeropage, acquire), *made;

	if (head)
		return head;
	made = hf_folio_alloc_normal(sys, HF_PMD_ORDER);
	if (!made)
		return NULL;
	hf_fill(hf_page_data(sys, made), 0, HF_PMD_SIZE);
	hf_or(&made->flags, HF_PG_RESERVED, relaxed);
	if (hf_cas(&sys->huge_zeropage, &head, made, release))
		return made;
	hf_page_put(sys, made);
	/* the failed exchange read it relaxed; none would do as well: small zeropages then */
	return hf_hint(&sys->huge_zeropage, acquire);
}

static hf_pte own_pmd(const struct huge_fault *f, uint64_t pfn)
{
	return hf_mk_pte(pfn, HF_PTE_HUGE | hf_own_flags(f->vma, f->flags, 0));
}

/* ptl held, and nothing is mapped. */
static void map_new_folio(struct huge_fault *f, struct hf_page *head)
{
	struct hf_system *sys = f->mm->sys;
	hf_pte pmd;

	hf_assert_ptl_held(f->table);
	hf_assert(!hf_pte_present(hf_peek(f->pmdp)));
	if (hf_wants_own_page(f->flags)) {
		hf_mark_new(sys, head);
		hf_folio_set_anon(head, f->vma, f->addr);
		hf_folio_add_pmd_rmap(f->mm, head);
		pmd = own_pmd(f, hf_page_pfn(sys, head));
		hf_count(sys, HF_STAT_THP_FAULTS, 1);
	} else {
		pmd = own_pmd(f, hf_page_pfn(sys, head)) | HF_PTE_SPECIAL;
	}
	hf_st(f->pmdp, pmd, release);
}

/* No PMD yet. */
static enum hf_huge_result huge_anonymous_fault(struct huge_fault *f)
{
	struct hf_system *sys = f->mm->sys;
	struct hf_table *leaf = hf_table_new(sys);
	bool own = hf_wants_own_page(f->flags), mapped = false;
	struct hf_page *head = NULL;

	if (leaf)
		head = own ? hf_folio_alloc(sys, HF_PMD_ORDER) : huge_zeropage(sys);
	if (head && own)
		hf_fill(hf_page_data(sys, head), 0, HF_PMD_SIZE);
	if (head) {
		hf_mutex_lock(sys, &f->table->ptl);
		mapped = !hf_ld(f->pmdp, relaxed);
		if (mapped) {
			hf_deposit(f->table, leaf);
			map_new_folio(f, head);
		}
		hf_mutex_unlock(sys, &f->table->ptl);
	}
	if (!mapped && head && own)
		hf_page_put(sys, head);
	if (!mapped && leaf)
		hf_table_free(leaf);
	return mapped ? HF_HUGE_DONE : head ? HF_HUGE_AGAIN : HF_HUGE_LEAF;
}

/* A PMD maps the huge zeropage, and somebody wants a page of his own.
 * False: one small page does. */
static bool replace_huge_zero(struct huge_fault *f, hf_pte pmd)
{
	struct hf_system *sys = f->mm->sys;
	struct hf_page *head = hf_folio_alloc(sys, HF_PMD_ORDER);
	bool same;

	if (!head)
		return false;
	hf_fill(hf_page_data(sys, head), 0, HF_PMD_SIZE);
	hf_mutex_lock(sys, &f->table->ptl);
	same = hf_pte_same_mapping(hf_ld(f->pmdp, relaxed), pmd);
	if (same) {
		hf_st(f->pmdp, HF_PMD_RESERVED, relaxed); /* walks pass over what is empty */
		hf_tlb_flush(f->mm);
		map_new_folio(f, head);
	}
	hf_mutex_unlock(sys, &f->table->ptl);
	if (!same)
		hf_page_put(sys, head);
	return true;
}

/* ptl held, may be dropped for a while. True: dealt with, or changed meanwhile. Unlike small pages:
 * sleep for the lock. */
static bool stays(struct huge_fault *f, hf_pte pmd)
{
	struct hf_reuse r = {
		.vma = f->vma,
		.fault_flags = f->flags,
		.table = f->table,
		.entry = f->pmdp,
		.pte = pmd,
		.rule = f->mm->sys->policy->huge_reuse,
		.sleeps = true,
	};

	hf_assert_ptl_held(f->table);
	return hf_try_reuse(&r, pmd_folio(f->mm, pmd)) != HF_REUSE_COPY;
}

/* A store to what userfaultfd write-protects takes the PMD apart, whatever it maps. */
static bool store_splits(const struct huge_fault *f, hf_pte pmd)
{
	return f->mm->sys->policy->wp_splits_pmds && f->flags & HF_FAULT_FLAG_WRITE &&
	       pmd & HF_PTE_UFFD_WP;
}

/* A PMD that maps pages is there, or was a moment ago. */
static enum hf_huge_result huge_present_fault(struct huge_fault *f)
{
	enum hf_huge_result ret = HF_HUGE_DONE;
	struct hf_system *sys = f->mm->sys;
	hf_pte pmd;

	hf_mutex_lock(sys, &f->table->ptl);
	pmd = hf_ld(f->pmdp, relaxed);
	if (!hf_pmd_huge(pmd)) {
		ret = HF_HUGE_AGAIN;
	} else if (hf_wants_own_page(f->flags) && !hf_pte_write(pmd)) {
		if (hf_pte_special(pmd) || store_splits(f, pmd) || !stays(f, pmd)) {
			/* one small page will be copied, the others stay as they are */
			if (hf_pmd_huge(hf_ld(f->pmdp, relaxed)))
				hf_split_huge_pmd(f->mm, f->table, f->addr);
			ret = HF_HUGE_LEAF;
		}
	} else {
		hf_or(f->pmdp, HF_PTE_YOUNG | (f->flags & HF_FAULT_FLAG_WRITE ? HF_PTE_DIRTY : 0),
		      relaxed);
	}
	hf_mutex_unlock(sys, &f->table->ptl);
	return ret;
}

static bool fits(const struct huge_fault *f)
{
	return f->vma->flags & HF_VM_HUGEPAGE && !f->vma->file &&
	       hf_ld(&f->mm->sys->thp_orders, relaxed) >> HF_PMD_ORDER & 1 &&
	       f->addr >= f->vma->start && f->addr + HF_PMD_SIZE <= f->vma->end;
}

enum hf_huge_result hf_huge_fault(struct hf_vma *vma, uint64_t addr, unsigned flags)
{
	struct huge_fault f = {
		.mm = vma->mm, .vma = vma, .addr = addr & HF_PMD_MASK, .flags = flags
	};
	uint64_t pmd;

	hf_assert_mmap_locked(vma->mm);
	f.table = fits(&f) ? hf_pmd_table_alloc(f.mm, addr) : hf_pmd_table(f.mm, addr);
	if (!f.table)
		return HF_HUGE_LEAF;
	f.pmdp = hf_pmd_entry(f.table, addr);
	pmd = hf_ld(f.pmdp, relaxed); /* only a hint: looked at again under ptl */
	if (!pmd && fits(&f))
		return huge_anonymous_fault(&f);
	if (!pmd || !hf_pmd_huge(pmd))
		return HF_HUGE_LEAF;
	if (hf_pte_special(pmd) && hf_wants_own_page(f.flags) && !store_splits(&f, pmd) &&
	    f.mm->sys->policy->huge_zero_write_allocates && replace_huge_zero(&f, pmd))
		return HF_HUGE_AGAIN;
	return huge_present_fault(&f);
}
