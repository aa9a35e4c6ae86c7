/* SPDX-License-Identifier: MIT */
/* The whole-state validator: walks everything,
 * compares the books, names the first that is wrong. */
#include "internal.h"

struct walk {
	struct hf_system *sys;
	struct hf_violation *bad;
	uint32_t *mapped; /* by frame: leaf entries found */
	uint32_t *huge;   /* by frame: PMDs found */
	bool *writable;   /* by frame: a writable entry was found */
	uint32_t *users;  /* by swap slot: entries found */
	bool junk;        /* look at the junk in free frames */
};

static int violate(struct walk *w, enum hf_invariant invariant, uint64_t pfn,
		   const struct hf_mm *mm, uint64_t addr)
{
	*w->bad =
		(struct hf_violation){ .invariant = invariant, .pfn = pfn, .mm = mm, .addr = addr };
	return -HF_EUCLEAN;
}

static int check_vmas(struct walk *w, const struct hf_mm *mm)
{
	uint64_t end = HF_TASK_MIN;

	for (size_t i = 0; i < mm->nr_vmas; i++) {
		const struct hf_vma *vma = mm->vmas[i];

		if (vma->start < end || vma->end <= vma->start || vma->end > HF_TASK_SIZE ||
		    (vma->start | vma->end) & ~HF_PAGE_MASK || vma->mm != mm)
			return violate(w, HF_INV_VMA, HF_PFN_NONE, mm, vma->start);
		end = vma->end;
	}
	return 0;
}

static int check_swap_entry(struct walk *w, const struct hf_mm *mm, uint64_t addr, hf_pte pte)
{
	uint64_t slot = hf_pte_slot(pte);

	if (slot >= w->sys->nr_slots)
		return violate(w, HF_INV_TABLE, HF_PFN_NONE, mm, addr);
	w->users[slot]++;
	if (pte & HF_PTE_SWP_EXCLUSIVE && w->sys->slots[slot].count != 1)
		return violate(w, HF_I4_SWAP_EXCLUSIVE_ONCE, HF_PFN_NONE, mm, addr);
	return 0;
}

static int check_slots(struct walk *w)
{
	for (size_t i = 0; i < w->sys->nr_slots; i++) {
		const struct hf_swap_slot *s = &w->sys->slots[i];

		if (s->count != w->users[i] || (s->page && !s->count) ||
		    (s->page && (s->page->slot != i + 1 || s->page->swap_users != s->count)))
			return violate(w, HF_INV_SWAP, HF_PFN_NONE, NULL, i);
	}
	return 0;
}

static int check_entry(struct walk *w, const struct hf_mm *mm, uint64_t addr, hf_pte pte)
{
	uint64_t pfn = hf_pte_pfn(pte);

	if (hf_pte_none(pte))
		return 0;
	if (!hf_vma_find(mm, addr))
		return violate(w, HF_INV_VMA, HF_PFN_NONE, mm, addr);
	if (hf_pte_absent(pte))
		return 0;
	if (hf_pte_swap(pte))
		return check_swap_entry(w, mm, addr, pte);
	if (!hf_pte_present(pte) || pfn >= w->sys->nr_frames || pte & HF_PTE_FORK_WRITE)
		return violate(w, HF_INV_TABLE, HF_PFN_NONE, mm, addr);
	if (hf_pte_special(pte) != (pfn == 0))
		return violate(w, HF_INV_TABLE, pfn, mm, addr);
	if (!pfn)
		return hf_pte_write(pte) ? violate(w, HF_I7_ZEROPAGE_UNTOUCHED, pfn, mm, addr) : 0;
	if (!hf_page_is_anon(&w->sys->pages[pfn])) {
		if (hf_pte_write(pte) && !(hf_vma_find(mm, addr)->flags & HF_VM_SHARED))
			return violate(w, HF_INV_FILE, pfn, mm, addr);
	} else if (hf_pte_write(pte) && !hf_mark_allows_write(w->sys, &w->sys->pages[pfn])) {
		return violate(w, HF_I1_WRITABLE_IS_EXCLUSIVE, pfn, mm, addr);
	}
	w->mapped[pfn]++;
	w->writable[pfn] |= hf_pte_write(pte);
	return 0;
}

static int check_pmd(struct walk *w, const struct hf_mm *mm, uint64_t addr, hf_pte pmd)
{
	uint64_t pfn = hf_pte_pfn(pmd);
	const struct hf_vma *vma = hf_vma_find(mm, addr);
	struct hf_page *head;

	if (!vma || vma->start > addr || vma->end < addr + HF_PMD_SIZE)
		return violate(w, HF_INV_VMA, HF_PFN_NONE, mm, addr);
	if (pmd == HF_PMD_RESERVED || pmd == HF_PMD_ABSENT)
		return vma->flags & HF_VM_HUGETLB ? 0
						  : violate(w, HF_INV_TABLE, HF_PFN_NONE, mm, addr);
	if (!hf_pte_present(pmd) || pfn >= w->sys->nr_frames || pmd & HF_PTE_FORK_WRITE)
		return violate(w, HF_INV_TABLE, HF_PFN_NONE, mm, addr);
	head = &w->sys->pages[pfn];
	if (hf_folio(head) != head || hf_folio_order(head) != HF_PMD_ORDER ||
	    hf_page_hugetlb(head) != !!(vma->flags & HF_VM_HUGETLB) ||
	    hf_pte_special(pmd) != (head == w->sys->huge_zeropage))
		return violate(w, HF_INV_TABLE, pfn, mm, addr);
	if (hf_pte_special(pmd))
		return hf_pte_write(pmd) ? violate(w, HF_I7_ZEROPAGE_UNTOUCHED, pfn, mm, addr) : 0;
	if (hf_pte_write(pmd) && !hf_page_is_anon(head))
		return violate(w, HF_INV_FILE, pfn, mm, addr);
	if (hf_pte_write(pmd) && !hf_mark_allows_write(w->sys, head))
		return violate(w, HF_I1_WRITABLE_IS_EXCLUSIVE, pfn, mm, addr);
	w->huge[pfn]++;
	w->writable[pfn] |= hf_pte_write(pmd);
	return 0;
}

static int check_leaf(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
		      void *arg)
{
	int err = 0;

	for (uint64_t addr = start; addr < end && !err; addr += HF_PAGE_SIZE)
		err = check_entry(arg, mm, addr, hf_ld(&table->entry[hf_pte_index(addr)], relaxed));
	return err;
}

static struct hf_table *below(const struct hf_table *table, unsigned i)
{
	return (struct hf_table *)(uintptr_t)(hf_ld(&table->entry[i], relaxed) & ~1ull);
}

/* Goes down through existing tables only, so that stray entries outside VMAs are found too. */
static int check_tables(struct walk *w, struct hf_mm *mm, struct hf_table *table, unsigned level,
			uint64_t base)
{
	int err = 0;

	if (level == 0)
		return check_leaf(mm, table, base, base + HF_PMD_SIZE, w);
	for (unsigned i = 0; i < 512 && !err; i++)
		if (level == 1 && hf_pmd_huge(hf_ld(&table->entry[i], relaxed)))
			err = check_pmd(w, mm, base + i * HF_PMD_SIZE,
					hf_ld(&table->entry[i], relaxed));
		else if (below(table, i))
			err = check_tables(w, mm, below(table, i), level - 1,
					   base + ((uint64_t)i << (HF_PAGE_SHIFT + 9 * level)));
	return err;
}

static int count_one(struct hf_mm *mm, uint64_t addr, void *arg)
{
	(void)mm;
	(void)addr;
	++*(uint32_t *)arg;
	return 0;
}

/* Once for each folio. */
static int check_folio(struct walk *w, struct hf_page *head, uint64_t pfn)
{
	uint32_t entries = w->huge[pfn], pins = 0;

	for (size_t i = 0; i < hf_folio_pages(head); i++) {
		entries += w->mapped[pfn + i];
		pins += hf_page_pins(head + i);
		if (hf_folio(head + i) != head)
			return violate(w, HF_INV_FOLIO, pfn + i, NULL, 0);
	}
	if (hf_folio_order(head) && hf_folio_mapcount(head) != entries)
		return violate(w, HF_INV_FOLIO, pfn, NULL, 0);
	if (hf_folio_pins(head) != pins)
		return violate(w, HF_INV_FOLIO, pfn, NULL, 0);
	if (hf_page_refs(head) < entries + pins + (hf_ld(&head->slot, relaxed) ? 1 : 0) +
					 (hf_ld(&head->file, relaxed) ? 1 : 0))
		return violate(w, HF_INV_REFCOUNT, pfn, NULL, 0);
	return 0;
}

static int check_file_page(struct walk *w, struct hf_page *page, uint64_t pfn, uint32_t mapped)
{
	const struct hf_file *file = hf_ld(&hf_folio(page)->file, relaxed);
	uint32_t found = 0;

	if (hf_page_exclusive(page) || (mapped && !file))
		return violate(w, HF_INV_FILE, pfn, NULL, 0);
	if (!file || file->hugetlb)
		return 0;
	if (page->index >= hf_file_pages(file) || file->pages[page->index] != page)
		return violate(w, HF_INV_FILE, pfn, NULL, 0);
	hf_file_rmap_walk(page, count_one, &found);
	return found == mapped ? 0 : violate(w, HF_INV_RMAP, pfn, NULL, 0);
}

static int check_used_page(struct walk *w, struct hf_page *page, uint64_t pfn)
{
	struct hf_page *head = hf_folio(page);
	uint32_t huge = w->huge[pfn - (uint64_t)(page - head)], mapped = w->mapped[pfn] + huge;
	uint32_t pins = hf_page_pins(page), found = 0;
	int err = page == head ? check_folio(w, page, pfn) : 0;

	if (err)
		return err;
	if (hf_page_mapcount(page) != mapped)
		return violate(w, HF_INV_MAPCOUNT, pfn, NULL, 0);
	if (!hf_mark_allows_mappings(w->sys, page, mapped))
		return violate(w, HF_I2_EXCLUSIVE_MAPPED_ONCE, pfn, NULL, 0);
	if (pins && mapped && !hf_mark_allows_pin(w->sys, page))
		return violate(w, HF_I3_PINNED_IS_EXCLUSIVE, pfn, NULL, 0);
	if (!hf_page_is_anon(page))
		return check_file_page(w, page, pfn, mapped);
	if (mapped > 1 && w->writable[pfn])
		return violate(w, HF_I8_SHARED_IS_READ_ONLY, pfn, NULL, 0);
	if (hf_page_ksm(page)) /* never marked, and not found by families */
		return hf_page_exclusive(page) ? violate(w, HF_I6_KSM_NEVER_EXCLUSIVE, pfn, NULL, 0)
					       : 0;
	hf_page_rmap_walk(w->sys, page, count_one, &found);
	return found == mapped ? 0 : violate(w, HF_INV_RMAP, pfn, NULL, 0);
}

static int check_free_page(struct walk *w, struct hf_page *page, uint64_t pfn)
{
	if (w->mapped[pfn] || hf_page_mapcount(page) || hf_ld(&page->counts, relaxed) ||
	    hf_ld(&page->compound, relaxed) ||
	    hf_ld(&page->flags, relaxed) & ~(HF_PG_BUDDY | HF_PG_CACHED))
		return violate(w, HF_INV_FREE_PAGE, pfn, NULL, 0);
	if (w->junk && page->poisoned && !hf_frame_filled(w->sys, page, HF_POISON))
		return violate(w, HF_INV_FREE_PAGE, pfn, NULL, 0);
	return 0;
}

static int check_zeropage(struct walk *w)
{
	struct hf_page *zero = w->sys->zeropage;

	if (hf_ld(&zero->counts, relaxed) != HF_COUNT_REF || hf_page_mapcount(zero) ||
	    hf_ld(&zero->flags, relaxed) != HF_PG_RESERVED)
		return violate(w, HF_I7_ZEROPAGE_UNTOUCHED, 0, NULL, 0);
	return hf_frame_filled(w->sys, zero, 0) ? 0
						: violate(w, HF_I7_ZEROPAGE_UNTOUCHED, 0, NULL, 0);
}

static int check_frames(struct walk *w)
{
	size_t nr_free = 0, nr_pool = 0;
	int err = check_zeropage(w);

	if (!err && w->junk && w->sys->huge_zeropage &&
	    !hf_frame_filled(w->sys, w->sys->huge_zeropage, 0))
		err = violate(w, HF_I7_ZEROPAGE_UNTOUCHED,
			      hf_page_pfn(w->sys, w->sys->huge_zeropage), NULL, 0);

	for (uint64_t pfn = 1; pfn < w->sys->nr_frames && !err; pfn++) {
		struct hf_page *page = &w->sys->pages[pfn];

		if (hf_page_refs(page)) {
			err = check_used_page(w, page, pfn);
		} else if (hf_folio_order(page)) {
			nr_pool++;
		} else {
			err = check_free_page(w, page, pfn);
			nr_free++;
		}
	}
	if (!err &&
	    (nr_free != hf_nr_free(w->sys) || nr_pool != w->sys->hugetlb.nr_free * HF_PMD_PAGES))
		err = violate(w, HF_INV_FRAMES, HF_PFN_NONE, NULL, 0);
	return err;
}

static int check_all(struct walk *w)
{
	int err = 0;

	for (struct hf_mm *mm = w->sys->mms; mm && !err; mm = mm->next) {
		err = check_vmas(w, mm);
		if (!err)
			err = check_tables(w, mm, mm->pgd, 3, 0);
	}
	if (!err)
		err = check_slots(w);
	return err ? err : check_frames(w);
}

int hf_validate(struct hf_system *sys, struct hf_violation *violation)
{
	return hf_validate_books(sys, violation, true);
}

int hf_validate_books(struct hf_system *sys, struct hf_violation *violation, bool junk)
{
	size_t size = sys->nr_frames * (2 * sizeof(uint32_t) + sizeof(bool)) +
		      sys->nr_slots * sizeof(uint32_t);
	struct hf_violation ignored;
	struct walk w = { .sys = sys, .bad = violation ? violation : &ignored, .junk = junk };
	int err;

	*w.bad = (struct hf_violation){ .pfn = HF_PFN_NONE };
	w.mapped = hf_alloc(sys, size);
	if (!w.mapped)
		return -HF_ENOMEM;
	__builtin_memset(w.mapped, 0, size);
	w.huge = w.mapped + sys->nr_frames;
	w.users = w.huge + sys->nr_frames;
	w.writable = (bool *)(w.users + sys->nr_slots);
	err = check_all(&w);
	hf_free(sys, w.mapped, size);
	return err;
}

const char *hf_invariant_text(enum hf_invariant invariant)
{
	switch (invariant) {
	case HF_INV_NONE:
		return "no invariant is broken";
	case HF_I1_WRITABLE_IS_EXCLUSIVE:
		return "I1: an anonymous page mapped by a writable entry is exclusive";
	case HF_I2_EXCLUSIVE_MAPPED_ONCE:
		return "I2: an exclusive page is mapped at most once";
	case HF_I3_PINNED_IS_EXCLUSIVE:
		return "I3: a pinned page that is mapped is exclusive";
	case HF_I4_SWAP_EXCLUSIVE_ONCE:
		return "I4: an exclusive swap entry is the only user of its slot";
	case HF_I6_KSM_NEVER_EXCLUSIVE:
		return "I6: a merged page is never exclusive";
	case HF_I7_ZEROPAGE_UNTOUCHED:
		return "I7: the zeropage is never anonymous, exclusive, counted or written";
	case HF_I8_SHARED_IS_READ_ONLY:
		return "I8: no entry of a page mapped twice is writable";
	case HF_INV_MAPCOUNT:
		return "mapcount: a page's mapcount is the number of entries that map it";
	case HF_INV_REFCOUNT:
		return "refcount: a page's references cover its mappings, its pins and the swap "
		       "cache";
	case HF_INV_SWAP:
		return "swap: a slot's users are the entries that name it; cache and page agree";
	case HF_INV_RMAP:
		return "rmap: the reverse map finds exactly the entries that map a page";
	case HF_INV_FILE:
		return "file: its pages are in its cache, without marks, and no private mapping "
		       "can store to them";
	case HF_INV_FOLIO:
		return "folio: its pages agree on it, and its counts are the sums of theirs";
	case HF_INV_FREE_PAGE:
		return "free page: a free frame has no counts and no flags, and nobody wrote to it";
	case HF_INV_FRAMES:
		return "frames: every frame is in use or free, once";
	case HF_INV_VMA:
		return "VMA: mappings are sorted and disjoint and hold every present entry";
	case HF_INV_TABLE:
		return "tables: entries are well formed and name frames of the pool";
	}
	return "an unknown invariant";
}
