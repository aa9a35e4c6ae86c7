/* SPDX-License-Identifier: MIT */
/*
 * GUP-fast: references without locks, or not at all.
 *
 * The order of steps is the contract, for each page:
 *   1. read the entry; refuse what is not present, not accessible, special, or lacks the permission
 *   2. take the reference (unless the frame is free)          seq_cst read-modify-write
 *   3. read the PMD and the entry again                        seq_cst
 *   4. only now, if the entry is read-only, look at the mark   after 3, so that an entry that was
 *                                                              taken away and put back unchanged
 *                                                              shows the cleared mark
 * And around all of them, for pins: write_protect_seq even before, and the same after.
 *
 * Whoever shares a page clears the entry, or makes the sequence odd, by a seq_cst operation before
 * it reads the pin count: one of the two sides sees the other.
 */
#include "internal.h"

static bool entry_allows(hf_pte pte, unsigned taken)
{
	if (!hf_pte_present(pte) || pte & HF_PTE_PROTNONE || hf_pte_special(pte))
		return false;
	return !(taken & HF_FOLL_WRITE) || hf_pte_write(pte);
}

/* GUP-fast refuses to pin what is not exclusive: a read-only entry is taken only if the page has
 * the mark or the policy does not mind (gup_read). A refusal is no error: the slow path
 * unshares. */
static bool mark_allows(const struct hf_system *sys, const struct hf_page *page, hf_pte pte,
			unsigned taken)
{
	const unsigned longterm_write = HF_FOLL_LONGTERM | HF_FOLL_WRITE;
	struct hf_gup_view view = { .anon = hf_page_is_anon(page), .flags = taken };

	/* only the slow path knows whose file it is */
	if (!view.anon && (taken & longterm_write) == longterm_write)
		return false;
	if (hf_pte_write(pte) || taken & HF_FOLL_WRITE)
		return true;
	view.exclusive = hf_page_exclusive(page);
	return sys->policy->gup_read(&view) == HF_GUP_TAKE;
}

static bool fast_one(struct hf_mm *mm, uint64_t addr, uint64_t delta, unsigned taken,
		     struct hf_page **out)
{
	struct hf_system *sys = mm->sys;
	struct hf_table *pmds = hf_pmd_table(mm, addr);
	_Atomic uint64_t *pmdp, *ptep;
	struct hf_page *page, *marked;
	hf_pte pmd, pte;
	int err;

	if (!pmds)
		return false;
	pmdp = hf_pmd_entry(pmds, addr);
	pmd = hf_ld(pmdp, acquire);
	if (!pmd)
		return false;
	ptep = hf_pmd_huge(pmd) ? pmdp : &hf_entry_table(pmd)->entry[hf_pte_index(addr)];
	pte = hf_pmd_huge(pmd) ? pmd : hf_ld(ptep, relaxed);
	if (!entry_allows(pte, taken))
		return false;
	marked = hf_pfn_page(sys, hf_pte_pfn(pte));
	page = hf_pmd_huge(pmd) ? marked + hf_pte_index(addr) : marked;
	if (taken & HF_FOLL_LONGTERM && !hf_page_longterm_pinnable(sys, page))
		return false;
	if (hf_page_try_grab(sys, page, delta))
		return false;
	/* a table goes only after its entries, so the upper levels need no second look */
	if (hf_ld(pmdp, seq_cst) == pmd && (ptep == pmdp || hf_ld(ptep, seq_cst) == pte) &&
	    mark_allows(sys, marked, pte, taken)) {
		*out = page;
		return true;
	}
	err = hf_page_release(sys, page, delta);
	hf_assert(!err);
	(void)err;
	return false;
}

/* The undo runs no unpin check: it may well find a page that is shared by now. */
static void undo(struct hf_system *sys, struct hf_ref *refs, size_t nr, uint64_t delta)
{
	for (size_t i = 0; i < nr; i++) {
		int err = hf_page_release(sys, refs[i].page, delta);

		hf_assert(!err);
		(void)err;
		refs[i] = (struct hf_ref){ .page = NULL };
	}
}

size_t hf_gup_fast(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned asked, unsigned taken,
		   struct hf_ref *refs)
{
	struct hf_system *sys = mm->sys;
	uint64_t delta = hf_gup_delta(sys, taken);
	bool pin = taken & HF_FOLL_PIN;
	uint32_t seq = hf_ld(&mm->write_protect_seq, acquire);
	struct hf_page *page;
	size_t got = 0;

	if (pin && seq & 1)
		return 0;
	hf_rcu_read_lock(sys);
	while (got < nr && fast_one(mm, addr + got * HF_PAGE_SIZE, delta, taken, &page))
		hf_ref_set(&refs[got++], page, asked, taken);
	hf_rcu_read_unlock(sys);
	if (pin && hf_ld(&mm->write_protect_seq, seq_cst) != seq) {
		undo(sys, refs, got, delta);
		return 0;
	}
	return got;
}
