/* SPDX-License-Identifier: MIT */
/* mprotect, and write-protection of entries that leaves the protection alone. */
#include "internal.h"

struct change {
	const struct hf_vma *vma;
	unsigned prot;
	bool upgrade; /* make entries of marked pages writable at once */
	bool flush;
};

static hf_pte changed_pte(struct hf_mm *mm, hf_pte pte, const struct change *c)
{
	hf_pte new = (pte & ~HF_PTE_PROTNONE) | hf_prot_flags(c->prot);

	if (!(c->prot & HF_PROT_WRITE))
		return new & ~HF_PTE_WRITE;
	if (c->upgrade && !hf_pte_special(pte) &&
	    !hf_pte_tracks(pte, hf_wants_soft_dirty(c->vma)) &&
	    hf_page_exclusive(hf_pfn_page(mm->sys, hf_pte_pfn(pte))))
		new |= HF_PTE_WRITE;
	return new;
}

/* What it will be when it arrives. */
static hf_pte changed_migration(hf_pte pte, unsigned prot)
{
	pte &= ~HF_PTE_MIG_PROTNONE;
	if (!(prot & HF_PROT_WRITE))
		pte &= ~HF_PTE_MIG_WRITE;
	return prot ? pte : pte | HF_PTE_MIG_PROTNONE;
}

static void change_entry(struct hf_mm *mm, _Atomic uint64_t *ptep, struct change *c)
{
	hf_pte pte = hf_ld(ptep, relaxed), new, lost, gained;

	if (hf_pte_migration(pte))
		hf_st(ptep, changed_migration(pte, c->prot), relaxed);
	if (!hf_pte_present(pte))
		return;
	/* a CPU may set YOUNG and DIRTY meanwhile; who pins by a writable entry sees the mark that
	 * made it so */
	do {
		new = changed_pte(mm, pte, c);
	} while (!hf_cas(ptep, &pte, new, release));
	lost = pte & ~new;
	gained = new & ~pte;
	c->flush |= lost & HF_PTE_WRITE || gained & HF_PTE_PROTNONE;
}

static int change_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
		       void *arg)
{
	hf_assert_ptl_held(table);
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		change_entry(mm, &table->entry[hf_pte_index(addr)], arg);
	return 0;
}

static int change_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	hf_assert_ptl_held(table);
	change_entry(mm, hf_pmd_entry(table, addr), arg);
	return 0;
}

static const struct hf_walk change = { .leaf = change_leaf, .huge = change_huge };

/* Of one VMA. What has the protection already is not even parted. */
static int protect_part(struct hf_mm *mm, uint64_t start, uint64_t end, struct change *c)
{
	struct hf_vma *vma = hf_vma_find(mm, start);
	int err;

	hf_assert_mmap_write_locked(mm);
	hf_assert(start < end);
	if (vma->prot == c->prot)
		return 0;
	err = hf_vma_split(mm, start);
	if (!err)
		err = hf_vma_split(mm, end);
	if (!err) {
		vma = hf_vma_find(mm, start);
		vma->prot = c->prot;
		c->vma = vma;
		hf_for_each_leaf(mm, start, end, &change, c);
	}
	hf_vma_merge(mm, start, end);
	return err;
}

/* Changes what lies before the first hole, or before what refuses, as Linux does. */
static int protect_range(struct hf_mm *mm, uint64_t start, uint64_t end, struct change *c)
{
	int err = 0;

	for (uint64_t next; start < end && !err; start = next) {
		const struct hf_vma *vma = hf_vma_find(mm, start);

		if (!vma)
			return -HF_ENOMEM;
		next = vma->end < end ? vma->end : end;
		err = protect_part(mm, start, next, c);
	}
	return err;
}

int hf_mprotect(struct hf_mm *mm, uint64_t addr, size_t len, unsigned prot)
{
	struct change c = { .upgrade = mm->sys->policy->mprotect_upgrades };
	int err;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len) || prot & ~(HF_PROT_READ | HF_PROT_WRITE))
		return -HF_EINVAL;
	c.prot = prot & HF_PROT_WRITE ? prot | HF_PROT_READ : prot;
	hf_mmap_write_lock(mm);
	err = protect_range(mm, addr, addr + len, &c);
	if (c.flush)
		hf_tlb_flush(mm);
	hf_mmap_write_unlock(mm);
	return err;
}

static void wrprotect_entry(_Atomic uint64_t *ptep, bool *flush)
{
	hf_pte pte = hf_ld(ptep, relaxed);

	if (hf_pte_migration(pte))
		hf_and(ptep, ~HF_PTE_MIG_WRITE, relaxed);
	if (hf_pte_present(pte) && hf_pte_write(pte)) {
		hf_and(ptep, ~HF_PTE_WRITE, relaxed);
		*flush = true;
	}
}

static int wrprotect_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
			  void *arg)
{
	hf_assert_ptl_held(table);
	(void)mm;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		wrprotect_entry(&table->entry[hf_pte_index(addr)], arg);
	return 0;
}

static int wrprotect_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	hf_assert_ptl_held(table);
	(void)mm;
	wrprotect_entry(hf_pmd_entry(table, addr), arg);
	return 0;
}

static const struct hf_walk wrprotect = { .leaf = wrprotect_leaf, .huge = wrprotect_huge };

int hf_wrprotect(struct hf_mm *mm, uint64_t addr, size_t len)
{
	bool flush = false;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	hf_mmap_read_lock(mm);
	hf_for_each_leaf(mm, addr, addr + len, &wrprotect, &flush);
	if (flush)
		hf_tlb_flush(mm);
	hf_mmap_read_unlock(mm);
	return 0;
}

/* ---- write tracking ---- */

/* Linux leaves out what looks pinned and is writable:
 * it would be copied on the next store, once. */
static bool stays_soft_dirty(struct hf_mm *mm, hf_pte pte)
{
	return mm->sys->policy->estimates_pins && hf_pte_write(pte) && !hf_pte_special(pte) &&
	       hf_mm_has_pinned(mm) && hf_page_maybe_pinned(hf_pfn_page(mm->sys, hf_pte_pfn(pte)));
}

static void clear_soft_dirty(struct hf_mm *mm, _Atomic uint64_t *ptep)
{
	hf_pte pte = hf_ld(ptep, relaxed);

	if (hf_pte_present(pte) && !stays_soft_dirty(mm, pte))
		hf_and(ptep, ~(HF_PTE_WRITE | HF_PTE_SOFT_DIRTY), relaxed);
	else if (hf_pte_swap(pte))
		hf_and(ptep, ~HF_PTE_SOFT_DIRTY, relaxed);
	else if (hf_pte_migration(pte))
		hf_and(ptep, ~(HF_PTE_MIG_WRITE | HF_PTE_SOFT_DIRTY), relaxed);
}

static int clear_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
		      void *arg)
{
	hf_assert_ptl_held(table);
	(void)arg;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		clear_soft_dirty(mm, &table->entry[hf_pte_index(addr)]);
	return 0;
}

static int clear_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	hf_assert_ptl_held(table);
	(void)arg;
	clear_soft_dirty(mm, hf_pmd_entry(table, addr));
	return 0;
}

void hf_clear_soft_dirty(struct hf_mm *mm)
{
	static const struct hf_walk clear = { .leaf = clear_leaf, .huge = clear_huge };

	hf_mmap_write_lock(mm);
	for (size_t i = 0; i < mm->nr_vmas; i++)
		mm->vmas[i]->flags |= HF_VM_TRACK_SOFTDIRTY;
	hf_for_each_leaf(mm, 0, HF_TASK_SIZE, &clear, NULL);
	hf_tlb_flush(mm);
	hf_mmap_write_unlock(mm);
}

static void uffd_wp_entry(_Atomic uint64_t *ptep, bool protect)
{
	hf_pte pte = hf_ld(ptep, relaxed);

	if (!hf_pte_present(pte) && !hf_pte_swap(pte) && !hf_pte_migration(pte))
		return;
	if (!protect) {
		hf_and(ptep, ~HF_PTE_UFFD_WP, relaxed);
		return;
	}
	hf_or(ptep, HF_PTE_UFFD_WP, relaxed);
	if (hf_pte_present(pte))
		hf_and(ptep, ~HF_PTE_WRITE, relaxed);
	else if (hf_pte_migration(pte))
		hf_and(ptep, ~HF_PTE_MIG_WRITE, relaxed);
}

static int uffd_wp_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
			void *arg)
{
	hf_assert_ptl_held(table);
	(void)mm;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		uffd_wp_entry(&table->entry[hf_pte_index(addr)], *(const bool *)arg);
	return 0;
}

static int uffd_wp_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	hf_assert_ptl_held(table);
	(void)mm;
	uffd_wp_entry(hf_pmd_entry(table, addr), *(const bool *)arg);
	return 0;
}

int hf_uffd_register(struct hf_mm *mm, uint64_t addr, size_t len)
{
	int err;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	hf_mmap_write_lock(mm);
	err = hf_vma_set_flags(mm, addr, addr + len, 0, HF_VM_UFFD);
	hf_mmap_write_unlock(mm);
	return err;
}

void hf_uffd_wp_range(struct hf_mm *mm, uint64_t start, uint64_t end, bool protect)
{
	static const struct hf_walk walk = { .leaf = uffd_wp_leaf, .huge = uffd_wp_huge };

	hf_assert_mmap_locked(mm);
	hf_for_each_leaf(mm, start, end, &walk, &protect);
}

int hf_uffd_writeprotect(struct hf_mm *mm, uint64_t addr, size_t len, bool protect)
{
	int err = 0;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	hf_mmap_read_lock(mm);
	if (hf_vma_covers(mm, addr, addr + len))
		hf_uffd_wp_range(mm, addr, addr + len, protect);
	else
		err = -HF_ENOMEM;
	hf_tlb_flush(mm);
	hf_mmap_read_unlock(mm);
	return err;
}
