/* SPDX-License-Identifier: MIT */
/*
 * Moving pages to other frames. Every entry is replaced by a migration entry, which says what it
 * was: writable, readable and exclusive, or readable. Then nobody can reach the page, and if nobody
 * holds it either, its bytes move and the entries name the new frame; otherwise they name the old
 * one again. Both ways the mark is what it was.
 */
#include "internal.h"

struct migration {
	struct hf_system *sys;
	struct hf_page *old, *new; /* folios of one order */
};

/* The new folio's lock has kept others away from it; now its identity is the old one's. */
static void move_contents(struct migration *m)
{
	struct hf_system *sys = m->sys;
	size_t nr = hf_folio_pages(m->old);

	hf_assert_page_locked(m->old);
	hf_assert_page_locked(m->new);
	m->new->index = m->old->index;
	hf_st(&m->new->anon_vma, hf_ld(&m->old->anon_vma, relaxed), relaxed);
	hf_or(&m->new->flags,
	      hf_ld(&m->old->flags, relaxed) & (HF_PG_ANON | HF_PG_DIRTY | HF_PG_LAZYFREE),
	      relaxed);
	sys->pf->copy(sys->pf->ctx, hf_page_data(sys, m->new), hf_page_data(sys, m->old),
		      nr * HF_PAGE_SIZE);
}

/* Both are locked, and the family is held. */
static int migrate_locked(struct migration *m, struct hf_anon_vma *av)
{
	size_t nr = hf_folio_pages(m->old), frozen = 0;
	int err = 0;

	hf_assert_page_locked(m->old);
	hf_assert_page_locked(m->new);
	hf_folio_split_pmds(av, m->old);
	while (frozen < nr && !err)
		err = hf_freeze_page(av, m->old + frozen++);
	/* only the caller and the swap cache may hold it */
	if (!err && !hf_swap_cache_replace(m->sys, m->old, m->new))
		err = -HF_EAGAIN;
	if (!err)
		move_contents(m);
	for (size_t i = 0; i < frozen; i++)
		hf_thaw_page(av, m->old->index + i, m->old + i, (err ? m->old : m->new) + i);
	return err;
}

int hf_migrate_folio(struct hf_system *sys, struct hf_page *old, struct hf_page *new)
{
	struct migration m = { .sys = sys, .old = old, .new = new };
	struct hf_anon_vma *av;
	int err = -HF_EBUSY;

	hf_assert(new != old);
	hf_assert(hf_peek_folio(old) == old);
	hf_assert(hf_peek_folio(new) == new);
	hf_lru_drain_all(sys);
	if (!hf_page_trylock(old))
		return -HF_EBUSY;
	av = hf_page_get_anon_vma(sys, old);
	hf_page_lock(sys, new);
	if (av && !hf_folio_pins(old) && !hf_page_hugetlb(old) &&
	    hf_folio_order(old) == hf_folio_order(new))
		err = migrate_locked(&m, av);
	hf_page_unlock(new);
	if (av)
		hf_anon_vma_put(av);
	hf_page_unlock(old);
	if (!err)
		hf_count(sys, HF_STAT_MIGRATIONS, 1);
	return err;
}

/* Moves the folio at addr, if it can be moved. 0 or -ENOMEM. *pages: how far the folio goes. */
static int migrate_at(struct hf_mm *mm, uint64_t addr, size_t *pages, bool *moved)
{
	struct hf_page *old = hf_page_at(mm, addr), *head, *new;

	hf_assert_mmap_locked(mm);
	*pages = 1;
	*moved = false;
	if (!old)
		return 0;
	head = hf_folio(old);
	*pages = hf_folio_pages(head) - (size_t)(old - head);
	new = hf_folio_order(head) ? hf_folio_alloc(mm->sys, hf_folio_order(head))
				   : hf_page_alloc_reclaim(mm->sys);
	if (new) {
		*moved = !hf_migrate_folio(mm->sys, head, new);
		hf_page_put(mm->sys, new); /* frees it, if nothing was moved there */
	}
	hf_page_put(mm->sys, old);
	return new ? 0 : -HF_ENOMEM;
}

int64_t hf_migrate_pages(struct hf_mm *mm, uint64_t addr, size_t len)
{
	int64_t nr = 0;
	size_t pages;
	bool moved;
	int err = 0;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	hf_mmap_read_lock(mm);
	for (uint64_t at = addr; at < addr + len && !err; at += pages * HF_PAGE_SIZE) {
		err = migrate_at(mm, at, &pages, &moved);
		nr += moved;
	}
	hf_mmap_read_unlock(mm);
	return err && !nr ? err : nr;
}
