/* SPDX-License-Identifier: MIT */
/*
 * Moving pages out. The order of each unmapping is the contract with GUP-fast: clear the entry,
 * flush, look for pins and clear the mark, install the swap entry.
 */
#include "internal.h"

struct unmap {
	struct hf_page *page;
	size_t slot;
	bool spare_young;
};

/* ptl and the anon_vma lock are held. */
static int unmap_one(struct hf_mm *mm, uint64_t addr, void *arg)
{
	const struct unmap *u = arg;
	struct hf_system *sys = mm->sys;
	_Atomic uint64_t *ptep = &hf_leaf(mm, addr)->entry[hf_pte_index(addr)];
	bool exclusive;
	hf_pte pte;

	hf_assert_ptl_held(hf_leaf(mm, addr));
	hf_assert_page_locked(u->page);
	if (u->spare_young && hf_and(ptep, ~HF_PTE_YOUNG, relaxed) & HF_PTE_YOUNG)
		return -HF_EAGAIN;
	if (hf_ptep_clear_try_share(mm, ptep, u->page, &pte, &exclusive))
		return -HF_EBUSY;
	if (pte & HF_PTE_DIRTY)
		hf_or(&u->page->flags, HF_PG_DIRTY, relaxed);
	hf_slot_get(sys, u->slot);
	hf_st(ptep, hf_mk_pte_swap(u->slot, exclusive) | (pte & HF_PTE_TRACK), relaxed);
	hf_page_remove_rmap(mm, u->page);
	hf_page_put(sys, u->page);
	return 0;
}

/* Nothing maps the page. Whoever holds it still may write to it: then it stays in the cache. */
static int write_and_drop(struct hf_system *sys, struct hf_page *page, size_t slot)
{
	hf_assert_page_locked(page);
	if (hf_and(&page->flags, ~HF_PG_DIRTY, acquire) & HF_PG_DIRTY) {
		if (sys->swap->write(sys->swap->ctx, slot, hf_page_data(sys, page))) {
			hf_or(&page->flags, HF_PG_DIRTY, relaxed);
			return -HF_EIO;
		}
		hf_count(sys, HF_STAT_SWAP_OUT, 1);
	}
	return hf_swap_cache_drop(sys, slot, page) ? 0 : -HF_EBUSY;
}

/* MADV_FREE'd and not stored to since, nor held by anybody but its mapping and the caller: gone. */
static int discard_one(struct hf_mm *mm, uint64_t addr, void *arg)
{
	struct hf_page *page = arg;
	_Atomic uint64_t *ptep = &hf_leaf(mm, addr)->entry[hf_pte_index(addr)];
	hf_pte pte = hf_xchg(ptep, 0, seq_cst);

	hf_assert_page_locked(page);
	hf_tlb_flush(mm);
	/* references first: whoever held the page made it dirty before he let go of it */
	if (hf_page_refs(page) != 2 || pte & HF_PTE_DIRTY ||
	    hf_ld(&page->flags, relaxed) & HF_PG_DIRTY) {
		hf_st(ptep, pte, release);
		hf_and(&page->flags, ~HF_PG_LAZYFREE, relaxed);
		return -HF_EBUSY;
	}
	hf_page_remove_rmap(mm, page);
	hf_page_put(mm->sys, page);
	return 0;
}

static bool is_discarded(const struct hf_page *page)
{
	return hf_ld(&page->flags, relaxed) & HF_PG_LAZYFREE && hf_page_mapcount(page) == 1 &&
	       !hf_ld(&page->slot, relaxed);
}

/* -EBUSY: it stays, and is like any other the next time. */
static int discard(struct hf_system *sys, struct hf_page *page)
{
	int err = hf_page_rmap_walk(sys, page, discard_one, page);

	return !err && hf_page_mapcount(page) ? -HF_EBUSY : err;
}

static int swap_out_locked(struct hf_system *sys, struct hf_page *page, bool spare_young)
{
	struct unmap u = { .page = page, .spare_young = spare_young };
	int err;

	hf_assert_page_locked(page);
	if (hf_folio_order(page)) {
		err = hf_folio_split(sys, page, false);
		if (err)
			return err;
	}
	if (hf_page_looks_pinned(sys, page))
		return -HF_EBUSY;
	if (!hf_page_mapcount(page) && !hf_ld(&page->slot, relaxed))
		return -HF_EINVAL; /* no address space has it */
	if (is_discarded(page))
		return discard(sys, page);
	if (!sys->swap || !hf_ld(&sys->swapping, seq_cst))
		return -HF_ENOSPC;
	err = hf_slot_hold(sys, page, &u.slot);
	if (err)
		return err;
	err = hf_page_rmap_walk(sys, page, unmap_one, &u);
	if (!err && hf_page_mapcount(page))
		err = -HF_EBUSY;
	if (!err)
		err = write_and_drop(sys, page, u.slot);
	hf_slot_put(sys, u.slot);
	return err;
}

int hf_swap_out(struct hf_system *sys, struct hf_page *page, bool spare_young)
{
	int err;

	if (!hf_page_is_anon(page) || hf_page_hugetlb(page) || hf_page_ksm(page))
		return -HF_EINVAL;
	hf_lru_drain_all(sys);
	if (!hf_page_trylock(page))
		return -HF_EBUSY;
	err = swap_out_locked(sys, page, spare_young);
	hf_page_unlock(page);
	return err;
}

/* A clock hand goes over the frames; what was used since it last came by is spared once. */
size_t hf_reclaim(struct hf_system *sys, size_t want)
{
	size_t freed = 0;

	for (size_t i = 0; i < 2 * sys->nr_frames && freed < want; i++) {
		struct hf_page *page =
			&sys->pages[hf_add(&sys->clock_hand, 1, relaxed) % sys->nr_frames];

		if (!hf_page_is_anon(page) || hf_page_try_grab(sys, page, HF_COUNT_REF))
			continue;
		freed += !hf_swap_out(sys, page, i < sys->nr_frames);
		hf_page_put(sys, page);
	}
	return freed;
}

bool hf_low_on_frames(struct hf_system *sys)
{
	return hf_nr_free(sys) < sys->nr_frames / 16;
}

size_t hf_balance(struct hf_system *sys)
{
	size_t freed = 0, batch = 1;

	while (batch && hf_nr_free(sys) < sys->nr_frames / 8) {
		batch = hf_reclaim(sys, 16);
		freed += batch;
	}
	return freed;
}

bool hf_reclaim_again(struct hf_system *sys, struct hf_effort effort, unsigned *tries)
{
	return (*tries)++ < effort.tries && hf_reclaim(sys, effort.frames);
}

struct hf_page *hf_page_alloc_reclaim(struct hf_system *sys)
{
	struct hf_page *page = hf_page_alloc(sys);
	unsigned tries = 0;

	while (!page && hf_reclaim_again(sys, HF_FOR_A_PAGE, &tries))
		page = hf_page_alloc(sys);
	return page;
}

/* ---- advice ---- */

static int cold_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
		     void *arg)
{
	hf_assert_ptl_held(table);
	(void)mm;
	(void)arg;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		if (hf_pte_present(hf_ld(&table->entry[hf_pte_index(addr)], relaxed)))
			hf_and(&table->entry[hf_pte_index(addr)], ~HF_PTE_YOUNG, relaxed);
	return 0;
}

static int cold_huge(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	hf_assert_ptl_held(table);
	(void)mm;
	(void)arg;
	if (hf_pte_present(hf_ld(hf_pmd_entry(table, addr), relaxed)))
		hf_and(hf_pmd_entry(table, addr), ~HF_PTE_YOUNG, relaxed);
	return 0;
}

void hf_cold_range(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	static const struct hf_walk cold = { .leaf = cold_leaf, .huge = cold_huge };

	hf_assert_mmap_locked(mm);
	hf_for_each_leaf(mm, start, end, &cold, NULL);
}

/* ptl held. */
static bool may_free(const struct hf_policy *policy, const struct hf_page *page)
{
	if (hf_ld(&page->slot, relaxed) || hf_folio_order(page) || !hf_page_is_anon(page) ||
	    hf_page_ksm(page))
		return false;
	if (hf_page_mapcount(page) == 1)
		return true;
	return policy->frees_shared && !(hf_ld(&page->flags, relaxed) & HF_PG_DIRTY);
}

static int free_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
		     void *arg)
{
	hf_assert_ptl_held(table);
	(void)arg;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE) {
		_Atomic uint64_t *ptep = &table->entry[hf_pte_index(addr)];
		hf_pte pte = hf_ld(ptep, relaxed);
		struct hf_page *page;

		if (hf_pte_swap(pte)) { /* its contents go at once */
			hf_st(ptep, 0, relaxed);
			hf_slot_put(mm->sys, hf_pte_slot(pte));
		}
		if (!hf_pte_present(pte) || hf_pte_special(pte))
			continue;
		page = hf_pfn_page(mm->sys, hf_pte_pfn(pte));
		if (!may_free(mm->sys->policy, page))
			continue;
		hf_and(ptep, ~(HF_PTE_DIRTY | HF_PTE_YOUNG), relaxed);
		hf_and(&page->flags, ~HF_PG_DIRTY, relaxed);
		hf_or(&page->flags, HF_PG_LAZYFREE, relaxed);
	}
	return 0;
}

/* Stores that come after the flush make the entry dirty again, and that keeps the page. */
void hf_free_range(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	static const struct hf_walk free_walk = { .leaf = free_leaf };

	hf_assert_mmap_locked(mm);
	hf_for_each_leaf(mm, start, end, &free_walk, NULL);
	hf_tlb_flush(mm);
}

static bool is_behind_pmd(struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *table = hf_pmd_table(mm, addr);

	return table && hf_pmd_huge(hf_ld(hf_pmd_entry(table, addr), relaxed));
}

/* Makes the page one that can be moved out by itself.
 * The folio is taken apart even if the page then stays. */
static bool split_for_pageout(struct hf_mm *mm, uint64_t addr, struct hf_page *page,
			      bool goes_whole)
{
	struct hf_page *asked = is_behind_pmd(mm, addr) ? hf_folio(page) : page;
	int err = -HF_EBUSY;

	if (!hf_folio_order(page))
		return true;
	if (hf_page_hugetlb(page) || !mm->sys->policy->pageout_splits(asked) ||
	    !hf_page_trylock(page))
		return false;
	if (hf_folio_order(page))
		err = hf_folio_split(mm->sys, page,
				     mm->sys->policy->split_drops_zeros && !goes_whole);
	hf_page_unlock(page);
	return !err;
}

struct use {
	const struct hf_mm *but;
	uint64_t pfn;
	bool found;
};

/* Looking makes it old. */
static int look_for_use(const struct hf_family_entry *e, void *arg)
{
	struct use *use = arg;
	hf_pte pte = hf_ld(e->ptep, relaxed);

	hf_assert_ptl_held(e->table);
	if (e->mm != use->but && e->huge == HF_NOT_HUGE && hf_pte_present(pte) &&
	    hf_pte_pfn(pte) == use->pfn)
		use->found |= (hf_and(e->ptep, ~HF_PTE_YOUNG, relaxed) & HF_PTE_YOUNG) != 0;
	return 0;
}

/* Did another address space use a page of the folio since this was last asked? */
static bool others_used(struct hf_mm *mm, struct hf_page *page)
{
	struct hf_page *head = hf_folio(page);
	struct use use = { .but = mm, .pfn = hf_page_pfn(mm->sys, head) };
	struct hf_anon_vma *av;

	if (hf_folio_mapcount(head) == 1)
		return false;
	av = hf_page_get_anon_vma(mm->sys, head);
	for (size_t i = 0; av && i < hf_folio_pages(head); i++, use.pfn++)
		hf_anon_vma_walk(av, head->index + i, look_for_use, &use);
	if (av)
		hf_anon_vma_put(av);
	return use.found;
}

/* All that a PMD maps goes at once, if it goes. */
static bool stays_whole(struct hf_mm *mm, uint64_t addr, uint64_t end, struct hf_page *page)
{
	return mm->sys->policy->pageout_minds_use && !(addr & ~HF_PMD_MASK) &&
	       end - addr >= HF_PMD_SIZE && is_behind_pmd(mm, addr) && others_used(mm, page);
}

/* The page at the beginning of a folio that is in the range and this address space's alone. */
static unsigned order_going_whole(struct hf_mm *mm, uint64_t addr, uint64_t end,
				  const struct hf_page *page)
{
	unsigned order = hf_folio_order(page);

	hf_assert(addr < end);
	if (!mm->sys->policy->swap_in_folios || hf_folio(page) != page ||
	    end - addr < HF_PAGE_SIZE << order)
		return 0;
	return hf_folio_mapcount(page) == (is_behind_pmd(mm, addr) ? 1 : 1u << order) ? order : 0;
}

static void note_order(struct hf_mm *mm, uint64_t addr, unsigned order)
{
	struct hf_table *leaf = hf_leaf(mm, addr);
	hf_pte pte;

	hf_mutex_lock(mm->sys, &leaf->ptl);
	pte = hf_ld(&leaf->entry[hf_pte_index(addr)], relaxed);
	if (hf_pte_swap(pte))
		hf_slot_note_order(mm->sys, hf_pte_slot(pte), order);
	hf_mutex_unlock(mm->sys, &leaf->ptl);
}

/* Advice does not move out what others use. */
void hf_pageout_range(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	uint64_t whole_until = start;
	unsigned order = 0;

	hf_assert_mmap_locked(mm);
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE) {
		struct hf_page *page = hf_page_at(mm, addr);

		if (!page)
			continue;
		if (hf_folio_order(page)) {
			order = order_going_whole(mm, addr, end, page);
			whole_until = addr + (order ? HF_PAGE_SIZE << order : 0);
		}
		if (stays_whole(mm, addr, end, page))
			addr += HF_PMD_SIZE - HF_PAGE_SIZE;
		else if (split_for_pageout(mm, addr, page, addr < whole_until) &&
			 hf_page_mapcount(page) == 1 && !hf_swap_out(mm->sys, page, false) &&
			 addr < whole_until)
			note_order(mm, addr, order);
		hf_page_put(mm->sys, page);
	}
}
