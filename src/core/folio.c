/* SPDX-License-Identifier: MIT */
/*
 * Large folios: who maps them, and taking them apart.
 *
 * A folio is split when nobody holds it but its mappings and the caller: its entries become
 * migration entries, which keep each page's mark; the count is frozen at zero, so that nobody can
 * take a reference; each page becomes a folio of its own; and the entries come back.
 */
#include "internal.h"

/* ---- who maps it ---- */

static void account_owner(struct hf_page *head, struct hf_mm *mm, uint32_t entries, uint32_t total)
{
	struct hf_owner *o = head->owner;
	unsigned i = o[0].asid == mm->asid ? 0 : 1;

	hf_assert_held(mm->sys, &mm->sys->owner_lock);
	hf_assert(entries);
	if (o[i].asid != mm->asid)
		i = o[0].entries ? 1 : 0;
	if (o[i].entries && o[i].asid != mm->asid)
		return; /* a third one is not tracked: maybe_shared stands */
	if (!o[i].entries && total)
		hf_st(&head->maybe_shared, true, relaxed);
	o[i] = (struct hf_owner){ .asid = mm->asid, .entries = o[i].entries + entries };
}

static void unaccount_owner(struct hf_page *head, struct hf_mm *mm, uint32_t entries,
			    uint32_t total)
{
	hf_assert_held(mm->sys, &mm->sys->owner_lock);
	for (unsigned i = 0; i < 2; i++) {
		struct hf_owner *o = &head->owner[i];

		if (o->asid != mm->asid || !o->entries)
			continue;
		o->entries -= entries < o->entries ? entries : o->entries;
		if (!o->entries)
			o->asid = 0;
	}
	if (head->owner[0].entries == total || head->owner[1].entries == total)
		hf_st(&head->maybe_shared, false, relaxed);
}

void hf_owner_add(struct hf_mm *mm, struct hf_page *head, uint32_t entries)
{
	uint32_t total;

	hf_mutex_lock(mm->sys, &mm->sys->owner_lock);
	total = hf_add(&head->large_mapcount, entries, relaxed);
	account_owner(head, mm, entries, total);
	hf_mutex_unlock(mm->sys, &mm->sys->owner_lock);
}

void hf_owner_remove(struct hf_mm *mm, struct hf_page *head, uint32_t entries)
{
	uint32_t total;

	hf_mutex_lock(mm->sys, &mm->sys->owner_lock);
	total = hf_sub(&head->large_mapcount, entries, relaxed);
	hf_assert(total >= entries);
	unaccount_owner(head, mm, entries, total - entries);
	hf_mutex_unlock(mm->sys, &mm->sys->owner_lock);
}

bool hf_folio_maybe_shared(const struct hf_page *page)
{
	if (!hf_folio_order(page))
		return hf_page_mapcount(page) > 1;
	return hf_folio_mapcount(page) > 1 && hf_ld(&hf_folio(page)->maybe_shared, relaxed);
}

/* ---- migration entries ---- */

struct move {
	struct hf_page *was, *now;
	bool drop; /* the zeropage does as well */
};

/* ptl and the anon_vma lock are held. */
static int freeze_one(const struct hf_family_entry *e, void *arg)
{
	struct hf_system *sys = e->mm->sys;
	struct hf_page *page = arg;
	hf_pte pte = hf_ld(e->ptep, relaxed);
	bool exclusive;

	hf_assert_ptl_held(e->table);
	hf_assert_page_locked(page);
	if (e->huge != HF_NOT_HUGE || !hf_pte_present(pte) ||
	    hf_pte_pfn(pte) != hf_page_pfn(sys, page))
		return 0;
	if (hf_ptep_clear_try_share(e->mm, e->ptep, page, &pte, &exclusive))
		return -HF_EBUSY;
	hf_st(e->ptep, hf_mk_pte_migration(pte, exclusive), relaxed);
	hf_page_remove_rmap(e->mm, page);
	hf_page_put(sys, page);
	return 0;
}

static int thaw_one(const struct hf_family_entry *e, void *arg)
{
	struct hf_system *sys = e->mm->sys;
	const struct move *m = arg;
	hf_pte pte = hf_ld(e->ptep, relaxed);

	hf_assert_ptl_held(e->table);
	hf_assert_page_locked(m->now);
	if (e->huge != HF_NOT_HUGE || !hf_pte_migration(pte) ||
	    hf_pte_pfn(pte) != hf_page_pfn(sys, m->was))
		return 0;
	if (m->drop) {
		pte = hf_pte_from_migration(pte, 0) & ~(HF_PTE_WRITE | HF_PTE_DIRTY);
		hf_st(e->ptep, pte | HF_PTE_SPECIAL, relaxed); /* the zeropage is older */
		return 0;
	}
	hf_page_get(m->now);
	hf_page_add_rmap(e->mm, m->now);
	if (pte & HF_PTE_MIG_EXCLUSIVE)
		hf_mark_restore(sys, m->now);
	hf_st(e->ptep, hf_pte_from_migration(pte, hf_page_pfn(sys, m->now)), release);
	return 0;
}

int hf_freeze_page(struct hf_anon_vma *av, struct hf_page *page)
{
	hf_assert_page_locked(page);
	return hf_anon_vma_walk(av, hf_page_index(page), freeze_one, page);
}

void hf_thaw_page(struct hf_anon_vma *av, uint64_t index, struct hf_page *was, struct hf_page *now)
{
	struct move m = { .was = was, .now = now };

	hf_assert_page_locked(now);
	hf_anon_vma_walk(av, index, thaw_one, &m);
}

/* ---- splitting ---- */

static int split_pmd(const struct hf_family_entry *e, void *arg)
{
	hf_assert_ptl_held(e->table);
	if (e->huge == 0 && hf_pte_pfn(hf_ld(e->ptep, relaxed)) == hf_page_pfn(e->mm->sys, arg))
		hf_split_huge_pmd(e->mm, e->table, e->addr);
	return 0;
}

void hf_folio_split_pmds(struct hf_anon_vma *av, struct hf_page *head)
{
	hf_assert_page_locked(head);
	hf_assert(hf_peek_folio(head) == head);
	if (hf_ld(&head->entire_mapcount, relaxed))
		hf_anon_vma_walk(av, head->index, split_pmd, head);
}

/* The count is frozen, and nothing maps the folio: its pages, locked, with one reference each.
 * Who finds the first by the count sees what it is now; the others, when they are unlocked or
 * mapped. */
static void take_apart(struct hf_page *head, size_t nr)
{
	uint32_t flags = hf_ld(&head->flags, relaxed) &
			 (HF_PG_LOCKED | HF_PG_ANON | HF_PG_DIRTY | HF_PG_LAZYFREE);

	hf_assert_page_locked(head);
	hf_assert(nr > 1 && !hf_peek(&head->counts) && !hf_peek(&head->large_mapcount));
	for (size_t i = 1; i < nr; i++) {
		struct hf_page *page = head + i;

		page->index = head->index + i;
		hf_st(&page->anon_vma, hf_ld(&head->anon_vma, relaxed), relaxed);
		hf_st(&page->flags, flags, relaxed);
		hf_st(&page->compound, 0, relaxed);
		hf_st(&page->counts, HF_COUNT_REF, relaxed);
	}
	hf_mark_drop(head);
	hf_st(&head->compound, 0, relaxed);
	hf_st(&head->counts, HF_COUNT_REF, release);
}

static bool is_zero(struct hf_system *sys, const struct hf_page *page)
{
	const uint8_t *byte = hf_page_data(sys, page);
	size_t i = 0;

	while (i < HF_PAGE_SIZE && !byte[i])
		i++;
	return i == HF_PAGE_SIZE;
}

static int split_locked(struct hf_system *sys, struct hf_page *page, struct hf_anon_vma *av,
			bool drop_zeros)
{
	struct hf_page *head = hf_folio(page);
	size_t nr = hf_folio_pages(head), frozen = 0;
	uint64_t counts = HF_COUNT_REF, index = head->index;
	int err = 0;

	hf_assert_page_locked(page);
	hf_folio_split_pmds(av, head);
	while (frozen < nr && !err)
		err = hf_freeze_page(av, head + frozen++);
	if (!err && !hf_cas(&head->counts, &counts, 0, acquire))
		err = -HF_EBUSY;
	if (!err)
		take_apart(head, nr);
	for (size_t i = 0; i < frozen; i++) {
		struct move m = { .was = head + i, .now = head + i };

		m.drop = !err && drop_zeros && is_zero(sys, head + i);
		hf_anon_vma_walk(av, index + i, thaw_one, &m);
	}
	/* what nothing maps is free now */
	for (size_t i = 0; i < nr && !err; i++) {
		if (head + i == page)
			continue;
		hf_page_unlock(head + i);
		hf_page_put(sys, head + i);
	}
	return err;
}

int hf_folio_split(struct hf_system *sys, struct hf_page *page, bool drop_zeros)
{
	struct hf_page *head = hf_folio(page);
	struct hf_anon_vma *av;
	int err;

	hf_assert_page_locked(page);
	hf_assert(hf_peek_order(page));
	/* a look before the work */
	if (hf_folio_pins(head) || hf_page_refs(head) != hf_folio_mapcount(head) + 1)
		return -HF_EBUSY;
	av = hf_page_get_anon_vma(sys, head);
	if (!av)
		return -HF_EBUSY;
	err = split_locked(sys, page, av, drop_zeros);
	hf_anon_vma_put(av);
	return err;
}
