/* SPDX-License-Identifier: MIT */
/*
 * The reverse map: from an anonymous page to every entry that maps it.
 *
 * page->anon_vma names the family of VMAs that descend from the one the page was born in (by fork,
 * split and move), and page->index its place in it. So a walk looks at each VMA of the family, at
 * the address that index has there.
 */
#include "internal.h"

struct hf_anon_vma *hf_anon_vma_new(struct hf_system *sys)
{
	struct hf_anon_vma *av = hf_alloc(sys, sizeof(*av));

	if (!av)
		return NULL;
	av->sys = sys;
	av->family = (struct hf_vmas){ .first = NULL };
	atomic_init(&av->refs, 1);
	sys->pf->lock_init(sys->pf->ctx, &av->lock);
	return av;
}

static void anon_vma_rcu(struct hf_rcu_head *head)
{
	struct hf_anon_vma *av = hf_container_of(head, struct hf_anon_vma, rcu);
	struct hf_system *sys = av->sys;

	sys->pf->lock_destroy(sys->pf->ctx, &av->lock);
	hf_free(sys, av, sizeof(*av));
}

void hf_anon_vma_put(struct hf_anon_vma *av)
{
	if (hf_ref_sub(&av->refs, 1, acq_rel) != 1)
		return;
	av->rcu.func = anon_vma_rcu;
	av->sys->pf->call_rcu(av->sys->pf->ctx, &av->rcu);
}

static bool anon_vma_tryget(struct hf_anon_vma *av)
{
	uint32_t refs = hf_ref_ld(&av->refs, 1);

	do {
		if (!refs)
			return false;
	} while (!hf_cas(&av->refs, &refs, refs + 1, relaxed));
	return true;
}

void hf_anon_vma_link(struct hf_anon_vma *av, struct hf_vma *vma)
{
	hf_assert_held(av->sys, &av->lock);
	hf_ref_add(&av->refs, 1, relaxed);
	vma->anon_vma = av;
	/*
	 * At the end: a walk comes by the parent before the child that fork is making, so it finds
	 * an entry in at least one of them, and after it changed the parent's, fork copies what
	 * is new.
	 */
	hf_vmas_add(&av->family, vma, HF_LIST_FAMILY);
}

void hf_anon_vma_unlink(struct hf_vma *vma)
{
	hf_assert_held(vma->mm->sys, &vma->anon_vma->lock);
	hf_vmas_remove(&vma->anon_vma->family, vma, HF_LIST_FAMILY);
}

void hf_page_add_new_rmap(struct hf_page *page, struct hf_vma *vma, uint64_t addr)
{
	hf_mark_new(vma->mm->sys, page);
	hf_page_add_anon_rmap(page, vma, addr);
}

void hf_folio_set_anon(struct hf_page *head, struct hf_vma *vma, uint64_t addr)
{
	/* out of the swap cache it comes back to the family that it left, at the same index */
	if (!hf_ld(&head->anon_vma, relaxed)) {
		head->index = vma->pgoff + ((addr - vma->start) >> HF_PAGE_SHIFT);
		hf_st(&head->anon_vma, vma->anon_vma, release);
	}
	hf_or(&head->flags, HF_PG_ANON, relaxed);
}

void hf_page_add_anon_rmap(struct hf_page *page, struct hf_vma *vma, uint64_t addr)
{
	struct hf_page *head = hf_folio(page);

	hf_assert(addr >= vma->start && addr < vma->end);
	hf_folio_set_anon(head, vma, addr - (uint64_t)(page - head) * HF_PAGE_SIZE);
	hf_page_add_rmap(vma->mm, page);
}

void hf_page_add_rmap(struct hf_mm *mm, struct hf_page *page)
{
	hf_ref_add(&page->mapcount, 1, relaxed);
	if (hf_folio_order(page))
		hf_owner_add(mm, hf_folio(page), 1);
}

void hf_page_remove_rmap(struct hf_mm *mm, struct hf_page *page)
{
	uint32_t old;

	if (hf_folio_order(page))
		hf_owner_remove(mm, hf_folio(page), 1);
	old = hf_ref_sub(&page->mapcount, 1, relaxed); /* its reference is given back later */
	hf_assert(old > 0);
	(void)old;
}

/* Calls fn for the place where the index lies in the VMA, with ptl held. */
static int walk_one(struct hf_vma *vma, uint64_t index, hf_family_fn fn, void *arg)
{
	uint64_t pages = (vma->end - vma->start) >> HF_PAGE_SHIFT;
	uint64_t addr = vma->start + ((index - vma->pgoff) << HF_PAGE_SHIFT);
	struct hf_family_entry e = { .mm = vma->mm, .addr = addr };
	struct hf_table *table;
	int ret;

	hf_assert_held(vma->mm->sys, &vma->anon_vma->lock);
	hf_assert(vma->start < vma->end);
	if (index - vma->pgoff >= pages)
		return 0;
	e.ptep = hf_pte_lock(vma->mm, addr, &table, &e.huge);
	if (!e.ptep)
		return 0;
	e.table = table;
	ret = fn(&e, arg);
	hf_mutex_unlock(vma->mm->sys, &table->ptl);
	return ret;
}

int hf_anon_vma_walk(struct hf_anon_vma *av, uint64_t index, hf_family_fn fn, void *arg)
{
	struct hf_system *sys = av->sys;
	int ret = 0;

	hf_assert(hf_peek(&av->refs)); /* the caller's */
	/* keeps the tables, too: a VMA leaves the family
	 * before they go, and collapse holds the lock */
	hf_mutex_lock(sys, &av->lock);
	for (struct hf_vma *vma = av->family.first; vma && !ret;
	     vma = vma->link[HF_LIST_FAMILY].next)
		ret = walk_one(vma, index, fn, arg);
	hf_mutex_unlock(sys, &av->lock);
	return ret;
}

struct hf_anon_vma *hf_page_get_anon_vma(struct hf_system *sys, struct hf_page *page)
{
	struct hf_anon_vma *av;

	/* the read section keeps an anon_vma that lost its last VMA */
	hf_rcu_read_lock(sys);
	av = hf_ld(&hf_folio(page)->anon_vma, acquire);
	if (av && (!hf_folio_mapcount(page) || !anon_vma_tryget(av)))
		av = NULL;
	hf_rcu_read_unlock(sys);
	return av;
}

struct mappings {
	const struct hf_page *page;
	hf_rmap_fn fn;
	void *arg;
};

static int call_if_mapped(const struct hf_family_entry *e, void *arg)
{
	const struct mappings *m = arg;
	hf_pte pte = hf_ld(e->ptep, relaxed);
	uint64_t pfn = hf_pte_pfn(pte) + (e->huge == HF_NOT_HUGE ? 0 : e->huge);

	if (!hf_pte_present(pte) || pfn != hf_page_pfn(e->mm->sys, m->page))
		return 0;
	return m->fn(e->mm, e->addr, m->arg);
}

int hf_page_rmap_walk(struct hf_system *sys, struct hf_page *page, hf_rmap_fn fn, void *arg)
{
	struct hf_anon_vma *av = hf_page_get_anon_vma(sys, page);
	struct mappings m = { .page = page, .fn = fn, .arg = arg };
	int ret;

	if (!av)
		return 0;
	ret = hf_anon_vma_walk(av, hf_page_index(page), call_if_mapped, &m);
	hf_anon_vma_put(av);
	return ret;
}

int hf_rmap_walk(struct hf_system *sys, uint64_t pfn, hf_rmap_fn fn, void *arg)
{
	if (pfn >= sys->nr_frames)
		return -HF_EINVAL;
	return hf_page_rmap_walk(sys, &sys->pages[pfn], fn, arg);
}
