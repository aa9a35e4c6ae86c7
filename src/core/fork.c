/* SPDX-License-Identifier: MIT */
/*
 * fork: the child shares the parent's pages read-only, except those that the policy copies at once.
 *
 * write_protect_seq is odd meanwhile: a lockless pin that overlaps is thrown away, because a page
 * whose entry is read-only already changes owner here without any change to the entry. Slow pins
 * are kept out by mmap_lock.
 *
 * One instant (policy->fork_one_instant): every writable entry is write-protected and the TLB
 * flushed before the first page is looked at. A store that comes later waits in its fault for
 * mmap_lock, so what is copied early cannot be torn, and all pages show the moment of the flush.
 * Entries of copied pages become writable again where they were.
 */
#include "internal.h"

struct fork {
	struct hf_mm *parent, *child;
	struct hf_vma *child_vma;
};

static void fork_begin(struct hf_mm *parent)
{
	hf_mmap_write_lock(parent);
	hf_add(&parent->write_protect_seq, 1, seq_cst);
}

static void fork_end(struct hf_mm *parent)
{
	hf_assert(hf_peek(&parent->write_protect_seq) & 1);
	hf_add(&parent->write_protect_seq, 1, release);
	hf_mmap_write_unlock(parent);
}

static void protect_entry(_Atomic uint64_t *ptep)
{
	if (!hf_pte_write(hf_ld(ptep, relaxed)) || !hf_pte_present(hf_ld(ptep, relaxed)))
		return;
	hf_or(ptep, HF_PTE_FORK_WRITE, relaxed);
	hf_and(ptep, ~HF_PTE_WRITE, relaxed);
}

static int protect_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
			void *arg)
{
	hf_assert_mmap_write_locked(mm);
	hf_assert_ptl_held(table);
	(void)mm;
	(void)arg;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		protect_entry(&table->entry[hf_pte_index(addr)]);
	return 0;
}

static int protect_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	hf_assert_mmap_write_locked(mm);
	hf_assert_ptl_held(table);
	(void)mm;
	(void)arg;
	protect_entry(hf_pmd_entry(table, addr));
	return 0;
}

/* Gives write permission back where this fork took it and the page is still marked. */
static void unprotect_entry(struct hf_mm *mm, _Atomic uint64_t *ptep)
{
	hf_pte pte = hf_ld(ptep, relaxed);

	if (!hf_pte_present(pte) || !(pte & HF_PTE_FORK_WRITE))
		return;
	if (hf_page_exclusive(hf_pfn_page(mm->sys, hf_pte_pfn(pte))))
		hf_or(ptep, HF_PTE_WRITE, relaxed);
	hf_and(ptep, ~HF_PTE_FORK_WRITE, relaxed);
}

static int unprotect_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
			  void *arg)
{
	hf_assert_mmap_write_locked(mm);
	hf_assert_ptl_held(table);
	(void)arg;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		unprotect_entry(mm, &table->entry[hf_pte_index(addr)]);
	return 0;
}

static int unprotect_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	hf_assert_mmap_write_locked(mm);
	hf_assert_ptl_held(table);
	(void)arg;
	unprotect_entry(mm, hf_pmd_entry(table, addr));
	return 0;
}

static const struct hf_walk protect = { .leaf = protect_leaf, .huge = protect_huge };
static const struct hf_walk unprotect = { .leaf = unprotect_leaf, .huge = unprotect_huge };

/* Shared pages stay as they are. */
static bool protects(const struct hf_vma *vma)
{
	return !(vma->flags & (HF_VM_DONTCOPY | HF_VM_WIPEONFORK | HF_VM_SHARED));
}

static bool copies_tables(const struct hf_vma *vma)
{
	return !(vma->flags & (HF_VM_DONTCOPY | HF_VM_WIPEONFORK));
}

static void for_each_copied(struct hf_mm *mm, const struct hf_walk *walk)
{
	for (size_t i = 0; i < mm->nr_vmas; i++)
		if (protects(mm->vmas[i]))
			hf_for_each_leaf(mm, mm->vmas[i]->start, mm->vmas[i]->end, walk, NULL);
}

static void share_entry(_Atomic uint64_t *src, _Atomic uint64_t *dst, hf_pte pte)
{
	hf_assert(hf_pte_present(pte) && !hf_peek(dst));
	if (hf_pte_write(pte))
		hf_and(src, ~HF_PTE_WRITE, relaxed);
	if (pte & HF_PTE_FORK_WRITE)
		hf_and(src, ~HF_PTE_FORK_WRITE, relaxed);
	pte &= ~(HF_PTE_WRITE | HF_PTE_YOUNG | HF_PTE_FORK_WRITE);
	hf_st(dst, pte, relaxed);
}

/* The parent's page stays its own: undoes protect_leaf(). */
static void give_back(_Atomic uint64_t *src, hf_pte pte)
{
	if (!(pte & HF_PTE_FORK_WRITE))
		return;
	hf_or(src, HF_PTE_WRITE, relaxed);
	hf_and(src, ~HF_PTE_FORK_WRITE, relaxed);
}

/* The parent keeps its page; the child gets a new one with the same bytes. */
static int copy_early(struct fork *f, _Atomic uint64_t *src, _Atomic uint64_t *dst, uint64_t addr,
		      hf_pte pte, struct hf_page *page)
{
	struct hf_system *sys = f->parent->sys;
	struct hf_page *copy = hf_page_alloc(sys);
	uint64_t flags = HF_PTE_DIRTY | HF_PTE_YOUNG | hf_prot_flags(f->child_vma->prot);

	hf_assert(hf_mark_peek(page) || !sys->policy->has_mark);
	if (!copy)
		return -HF_ENOMEM;
	sys->pf->copy(sys->pf->ctx, hf_page_data(sys, copy), hf_page_data(sys, page), HF_PAGE_SIZE);
	give_back(src, pte);
	flags |= pte & HF_PTE_TRACK;
	if (f->child_vma->prot & HF_PROT_WRITE &&
	    !hf_pte_tracks(pte, hf_wants_soft_dirty(f->child_vma)))
		flags |= HF_PTE_WRITE;
	hf_page_add_new_rmap(copy, f->child_vma, addr);
	hf_st(dst, hf_mk_pte(hf_page_pfn(sys, copy), flags), relaxed);
	hf_count(sys, HF_STAT_FORK_COPIES, 1);
	return 0;
}

static int fork_file_page(struct fork *f, _Atomic uint64_t *src, _Atomic uint64_t *dst, hf_pte pte,
			  struct hf_page *page)
{
	hf_page_get(page);
	hf_page_add_rmap(f->child, page);
	if (f->child_vma->flags & HF_VM_SHARED)
		hf_st(dst, pte & ~(HF_PTE_YOUNG | HF_PTE_DIRTY), relaxed);
	else
		share_entry(src, dst, pte);
	return 0;
}

static int fork_page(struct fork *f, _Atomic uint64_t *src, _Atomic uint64_t *dst, uint64_t addr,
		     hf_pte pte)
{
	struct hf_system *sys = f->parent->sys;
	struct hf_page *page = hf_pfn_page(sys, hf_pte_pfn(pte));
	enum hf_fork_action action;

	hf_assert(hf_peek(&f->parent->write_protect_seq) & 1);
	if (!hf_page_is_anon(page))
		return fork_file_page(f, src, dst, pte, page);
	action = sys->policy->fork_page(f->parent, page);
	if (action == HF_FORK_REFUSE)
		return -HF_EBUSY;
	if (action == HF_FORK_OMIT) {
		give_back(src, pte);
		hf_st(dst, hf_mk_pte_marker(HF_PTE_MARKER_ABSENT), relaxed);
		return 0;
	}
	if (action == HF_FORK_COPY)
		return copy_early(f, src, dst, addr, pte, page);
	hf_mark_share(f->parent, page);
	hf_page_get(page);
	hf_page_add_rmap(f->child, page);
	share_entry(src, dst, pte);
	return 0;
}

static int fork_entry(struct fork *f, _Atomic uint64_t *src, _Atomic uint64_t *dst, uint64_t addr)
{
	hf_pte pte = hf_ld(src, relaxed);

	hf_assert(hf_pte_none(hf_peek(dst)));
	if (hf_pte_none(pte))
		return 0;
	if (hf_pte_swap(pte))
		hf_slot_get(f->parent->sys, hf_pte_slot(pte));
	if (hf_pte_swap(pte) || hf_pte_migration(pte)) {
		pte = hf_mark_share_away(pte);
		hf_st(src, pte, relaxed);
	}
	if (!hf_pte_present(pte) || hf_pte_special(pte)) {
		hf_st(dst, pte, relaxed);
		return 0;
	}
	return fork_page(f, src, dst, addr, pte);
}

/*
 * ptl of the parent's leaf is held. Nobody but reverse-map walks can reach the child's yet, and
 * they come by the parent's first: what they change there is copied so, and what is copied they
 * find whole. So the child's ptl is not needed. Nor is any order of its entries: walks come from
 * the page, and all others after the mmap_lock.
 */
static int fork_leaf(struct hf_mm *parent, struct hf_table *table, uint64_t start, uint64_t end,
		     void *arg)
{
	struct fork *f = arg;
	struct hf_table *to = hf_leaf_alloc(f->child, start);
	int err = 0;

	hf_assert_ptl_held(table);
	hf_assert(f->parent == parent && f->child_vma->mm == f->child);
	(void)parent;
	if (!to)
		return -HF_ENOMEM;
	for (uint64_t addr = start; addr < end && !err; addr += HF_PAGE_SIZE) {
		unsigned i = hf_pte_index(addr);

		err = fork_entry(f, &table->entry[i], &to->entry[i], addr);
	}
	return err;
}

/* A folio is shared whole, or page by page. */
static bool shares_by_pages(hf_pte pmd, void *arg)
{
	const struct fork *f = arg;
	const struct hf_policy *policy = f->parent->sys->policy;
	const struct hf_page *head = hf_pfn_page(f->parent->sys, hf_pte_pfn(pmd));

	if (hf_pte_special(pmd) || f->child_vma->flags & HF_VM_HUGETLB)
		return false;
	return policy->fork_page(f->parent, head) != HF_FORK_SHARE ||
	       (!policy->estimates_pins && hf_folio_pins(head));
}

/* What the policy says of a folio that cannot be split. */
static enum hf_fork_action hugetlb_action(struct fork *f, struct hf_page *head)
{
	const struct hf_policy *policy = f->parent->sys->policy;
	enum hf_fork_action action = policy->fork_page(f->parent, head);

	for (unsigned i = 1; i < HF_PMD_PAGES && action == HF_FORK_SHARE; i++)
		if (!policy->estimates_pins && hf_page_pins(head + i))
			action = policy->fork_page(f->parent, head + i);
	if (action == HF_FORK_COPY && !policy->hugetlb_fork_copies)
		action = HF_FORK_SHARE;
	return action;
}

static int copy_hugetlb(struct fork *f, _Atomic uint64_t *src, _Atomic uint64_t *dst, uint64_t addr,
			hf_pte pmd, struct hf_page *head)
{
	struct hf_system *sys = f->parent->sys;
	struct hf_page *copy = hf_hugetlb_copy(sys, head);
	uint64_t flags =
		HF_PTE_HUGE | HF_PTE_DIRTY | HF_PTE_YOUNG | hf_prot_flags(f->child_vma->prot);

	if (!copy)
		return -HF_ENOMEM;
	give_back(src, pmd);
	flags |= pmd & HF_PTE_TRACK;
	if (f->child_vma->prot & HF_PROT_WRITE &&
	    !hf_pte_tracks(pmd, hf_wants_soft_dirty(f->child_vma)))
		flags |= HF_PTE_WRITE;
	hf_mark_new(sys, copy);
	hf_folio_set_anon(copy, f->child_vma, addr);
	hf_folio_add_pmd_rmap(f->child, copy);
	hf_st(dst, hf_mk_pte(hf_page_pfn(sys, copy), flags), relaxed);
	hf_count(sys, HF_STAT_FORK_COPIES, 1);
	return 0;
}

/* One ptl is enough, as in fork_leaf(). */
static int fork_hugetlb_pmd(struct fork *f, _Atomic uint64_t *src, _Atomic uint64_t *dst,
			    uint64_t addr)
{
	hf_pte pmd = hf_ld(src, relaxed);
	struct hf_page *head;

	if (!hf_pte_present(pmd)) {
		if (pmd == HF_PMD_ABSENT)
			hf_st(dst, pmd, relaxed);
		return 0; /* reservations are not inherited */
	}
	head = hf_pfn_page(f->parent->sys, hf_pte_pfn(pmd));
	switch (hugetlb_action(f, head)) {
	case HF_FORK_REFUSE:
		return -HF_EBUSY;
	case HF_FORK_COPY:
		return copy_hugetlb(f, src, dst, addr, pmd, head);
	case HF_FORK_OMIT:
		give_back(src, pmd);
		hf_st(dst, HF_PMD_ABSENT, relaxed);
		return 0;
	case HF_FORK_SHARE:
		break;
	}
	hf_mark_share(f->parent, head);
	hf_page_get(head);
	hf_folio_add_pmd_rmap(f->child, head);
	share_entry(src, dst, pmd);
	return 0;
}

static int fork_hugetlb(struct fork *f, struct hf_table *table, uint64_t addr)
{
	struct hf_table *to = hf_pmd_table_alloc(f->child, addr);

	hf_assert_ptl_held(table);
	hf_assert(!(addr & ~HF_PMD_MASK));
	if (!to)
		return -HF_ENOMEM;
	return fork_hugetlb_pmd(f, hf_pmd_entry(table, addr), hf_pmd_entry(to, addr), addr);
}

static int fork_huge(struct hf_mm *parent, struct hf_table *table, uint64_t addr, void *arg)
{
	struct fork *f = arg;
	_Atomic uint64_t *src = hf_pmd_entry(table, addr);
	hf_pte pmd = hf_ld(src, relaxed);
	struct hf_page *head;
	struct hf_table *to, *leaf;

	hf_assert_ptl_held(table);
	hf_assert(!(addr & ~HF_PMD_MASK));
	if (f->child_vma->flags & HF_VM_HUGETLB)
		return fork_hugetlb(f, table, addr);
	head = hf_pfn_page(parent->sys, hf_pte_pfn(pmd));
	to = hf_pmd_table_alloc(f->child, addr);
	leaf = to ? hf_table_new(parent->sys) : NULL;
	if (!leaf)
		return -HF_ENOMEM;
	hf_mutex_lock(parent->sys, &to->ptl);
	if (!hf_pte_special(pmd)) {
		hf_mark_share(parent, head);
		hf_page_get(head);
		hf_folio_add_pmd_rmap(f->child, head);
	}
	hf_deposit(to, leaf);
	share_entry(src, hf_pmd_entry(to, addr), pmd);
	hf_mutex_unlock(parent->sys, &to->ptl);
	return 0;
}

static const struct hf_walk fork_walk = { .leaf = fork_leaf,
					  .huge = fork_huge,
					  .splits = shares_by_pages };

static int fork_vma(struct fork *f, struct hf_vma *vma)
{
	int err;

	hf_assert_mmap_write_locked(f->parent);
	hf_assert_mmap_write_locked(f->child);
	if (vma->flags & HF_VM_DONTCOPY)
		return 0;
	err = hf_vma_insert(f->child, vma->start, vma->end, vma, vma->pgoff);
	if (err)
		return err;
	f->child_vma = hf_vma_find(f->child, vma->start);
	f->child_vma->flags &= ~HF_VM_UFFD; /* what is wiped, too, is the parent's to watch */
	if (!copies_tables(vma))
		return 0;
	err = hf_for_each_leaf(f->parent, vma->start, vma->end, &fork_walk, f);
	if (vma->flags & HF_VM_UFFD)
		hf_uffd_wp_range(f->child, vma->start, vma->end, false);
	return err;
}

static int fork_once(struct hf_mm *parent, struct hf_mm **child)
{
	bool one_instant = parent->sys->policy->fork_one_instant;
	struct fork f = { .parent = parent, .child = hf_mm_new(parent->sys) };
	int err = 0;

	*child = NULL;
	if (!f.child)
		return -HF_ENOMEM;
	fork_begin(parent);
	hf_mmap_write_lock(f.child); /* swapoff and KSM find it already */
	if (one_instant) {
		for_each_copied(parent, &protect);
		hf_tlb_flush(parent);
	}
	for (size_t i = 0; i < parent->nr_vmas && !err; i++)
		err = fork_vma(&f, parent->vmas[i]);
	if (err && one_instant)
		for_each_copied(parent, &unprotect);
	/* Linux flushes at the end: until then CPUs may store to pages that are shared already. */
	if (!one_instant)
		hf_tlb_flush(parent);
	hf_mmap_write_unlock(f.child);
	fork_end(parent);
	if (err)
		hf_mm_put(f.child);
	else
		*child = f.child;
	return err;
}

int hf_mm_fork(struct hf_mm *parent, struct hf_mm **child)
{
	int err = fork_once(parent, child);
	unsigned tries = 0;

	/* no page can be moved out while fork holds its locks */
	while (err == -HF_ENOMEM && hf_reclaim_again(parent->sys, HF_FOR_A_FORK, &tries))
		err = fork_once(parent, child);
	return err;
}
