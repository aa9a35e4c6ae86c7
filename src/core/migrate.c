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
	struct hf_page *old,
		*new; /* restoring: new is where the entries go, perhaps the old page */
};

/* ptl and the anon_vma lock are held. */
static int freeze_one(struct hf_mm *mm, uint64_t addr, _Atomic uint64_t *ptep, void *arg)
{
	const struct migration *m = arg;
	hf_pte pte = hf_ld(ptep, relaxed);
	bool exclusive;

	(void)addr;
	if (!hf_pte_present(pte) || hf_pte_pfn(pte) != hf_page_pfn(m->sys, m->old))
		return 0;
	if (hf_ptep_clear_try_share(mm, ptep, m->old, &pte, &exclusive))
		return -HF_EBUSY;
	hf_st(ptep, hf_mk_pte_migration(pte, exclusive), seq_cst);
	hf_page_remove_rmap(m->old);
	hf_page_put(m->sys, m->old);
	return 0;
}

static int restore_one(struct hf_mm *mm, uint64_t addr, _Atomic uint64_t *ptep, void *arg)
{
	const struct migration *m = arg;
	hf_pte pte = hf_ld(ptep, relaxed);

	(void)mm;
	(void)addr;
	if (!hf_pte_migration(pte) || hf_pte_pfn(pte) != hf_page_pfn(m->sys, m->old))
		return 0;
	hf_page_get(m->new);
	hf_page_add_rmap(m->new);
	if (pte & HF_PTE_MIG_EXCLUSIVE)
		hf_or(&m->new->flags, HF_PG_EXCLUSIVE, release);
	hf_st(ptep, hf_pte_from_migration(pte, hf_page_pfn(m->sys, m->new)), seq_cst);
	return 0;
}

/* Nothing maps the old page. Its identity goes to the new one, if only the caller and the swap
 * cache hold it. */
static bool move_contents(struct migration *m)
{
	struct hf_system *sys = m->sys;

	m->new->index = m->old->index;
	hf_st(&m->new->anon_vma, hf_ld(&m->old->anon_vma, relaxed), relaxed);
	hf_or(&m->new->flags,
	      hf_ld(&m->old->flags, relaxed) & (HF_PG_ANON | HF_PG_DIRTY | HF_PG_LAZYFREE),
	      relaxed);
	if (!hf_swap_cache_replace(sys, m->old, m->new))
		return false;
	sys->pf->copy(sys->pf->ctx, hf_page_data(sys, m->new), hf_page_data(sys, m->old),
		      HF_PAGE_SIZE);
	return true;
}

/* Both pages are locked, and the family is held. */
static int migrate_locked(struct migration *m, struct hf_anon_vma *av)
{
	struct hf_page *target = m->new;
	int err = hf_anon_vma_walk(av, m->old->index, freeze_one, m);

	if (!err && !move_contents(m))
		err = -HF_EAGAIN;
	if (err)
		m->new = m->old;
	hf_anon_vma_walk(av, m->old->index, restore_one, m);
	m->new = target;
	return err;
}

static int migrate_page(struct hf_system *sys, struct hf_page *old, struct hf_page *new)
{
	struct migration m = { .sys = sys, .old = old, .new = new };
	struct hf_anon_vma *av;
	int err = -HF_EBUSY;

	if (!hf_page_trylock(old))
		return -HF_EBUSY;
	av = hf_page_get_anon_vma(sys, old);
	hf_page_lock(sys, new);
	if (av && !hf_page_pins(old))
		err = migrate_locked(&m, av);
	hf_page_unlock(new);
	if (av)
		hf_anon_vma_put(av);
	hf_page_unlock(old);
	return err;
}

/* 1: moved, 0: not, or -ENOMEM. */
static int migrate_at(struct hf_mm *mm, uint64_t addr)
{
	struct hf_page *old = hf_page_at(mm, addr), *new;
	int err;

	if (!old)
		return 0;
	new = hf_page_alloc_reclaim(mm->sys);
	err = new ? migrate_page(mm->sys, old, new) : -HF_ENOMEM;
	hf_page_put(mm->sys, old);
	if (!new)
		return err;
	hf_page_put(mm->sys, new); /* frees it, if nothing was moved there */
	if (!err)
		hf_count(mm->sys, HF_STAT_MIGRATIONS, 1);
	return !err;
}

int64_t hf_migrate_pages(struct hf_mm *mm, uint64_t addr, size_t len)
{
	int64_t moved = 0;
	int ret = 0;

	len = hf_page_align(len);
	if (!hf_range_ok(addr, len))
		return -HF_EINVAL;
	hf_mmap_read_lock(mm);
	for (uint64_t at = addr; at < addr + len && ret >= 0; at += HF_PAGE_SIZE) {
		ret = migrate_at(mm, at);
		moved += ret > 0;
	}
	hf_mmap_read_unlock(mm);
	return ret < 0 && !moved ? ret : moved;
}
