/* SPDX-License-Identifier: MIT */
/* GUP, the slow path: under mmap_lock and ptl, faulting as needed. */
#include "internal.h"

struct gup {
	struct hf_mm *mm;
	unsigned asked, taken;
	/* the last fault for this page was a write fault that this call asked for */
	bool write_faulted;
};

unsigned hf_gup_take_as(const struct hf_system *sys, unsigned flags)
{
	return sys->policy->take_as ? sys->policy->take_as(flags) : flags;
}

uint64_t hf_gup_delta(const struct hf_system *sys, unsigned taken)
{
	unsigned pin_class = sys->policy->pin_class ? sys->policy->pin_class(taken) : 0;

	hf_assert(!(taken & HF_FOLL_PIN) != !(taken & HF_FOLL_GET));
	return taken & HF_FOLL_PIN ? HF_COUNT_REF + HF_COUNT_PIN(pin_class) : HF_COUNT_REF;
}

static bool flags_ok(unsigned flags)
{
	const unsigned known = HF_FOLL_WRITE | HF_FOLL_GET | HF_FOLL_PIN | HF_FOLL_LONGTERM |
			       HF_FOLL_FORCE | HF_FOLL_NOFAULT | HF_FOLL_FAST_ONLY;
	const unsigned both = HF_FOLL_GET | HF_FOLL_PIN;

	return !(flags & ~known) && (flags & both) != both && (flags & both) &&
	       !(flags & HF_FOLL_LONGTERM && !(flags & HF_FOLL_PIN));
}

/* Long-term, through a pin, behind the back of a file system that tracks stores. */
static bool bypasses_tracking(const struct hf_mm *mm, const struct hf_vma *vma, unsigned flags)
{
	const unsigned all = HF_FOLL_PIN | HF_FOLL_LONGTERM | HF_FOLL_WRITE;

	return mm->sys->policy->refuses_longterm_file_writes && (flags & all) == all &&
	       vma->flags & HF_VM_SHARED && vma->file->backing;
}

static bool vma_allows(const struct hf_mm *mm, const struct hf_vma *vma, unsigned flags)
{
	if (bypasses_tracking(mm, vma, flags))
		return false;
	if (mm->sys->policy->hugetlb_refuses_force && vma->flags & HF_VM_HUGETLB)
		flags &= flags & HF_FOLL_WRITE ? ~HF_FOLL_FORCE : ~0u;
	/* private mappings could always be written and read: FORCE takes them at that */
	if (flags & HF_FOLL_FORCE && !(vma->flags & HF_VM_SHARED))
		return true;
	return vma->prot & (flags & HF_FOLL_WRITE ? HF_PROT_WRITE : HF_PROT_READ);
}

/* What stands between an entry and a reference. */
enum need { NEED_NOTHING, NEED_READ_FAULT, NEED_WRITE_FAULT, NEED_UNSHARE, NEED_REFUSED };

static enum need need_for_write(const struct gup *g, const struct hf_vma *vma, hf_pte pte)
{
	struct hf_page *page = hf_pfn_page(g->mm->sys, hf_pte_pfn(pte));

	if (hf_pte_write(pte))
		return NEED_NOTHING;
	/* A forced write to a read-only mapping: COW was broken, the entry stays read-only. */
	if (!(vma->prot & HF_PROT_WRITE) && !hf_pte_special(pte) && hf_page_is_anon(page)) {
		bool broken =
			g->mm->sys->policy->has_mark ? hf_page_exclusive(page) : g->write_faulted;

		if (broken && !hf_pte_tracks(pte, hf_wants_soft_dirty(vma)))
			return NEED_NOTHING;
	}
	return NEED_WRITE_FAULT;
}

/* Read-only, by the slow path: the policy refuses to pin
 * what is not exclusive, or has it unshared first. */
static enum need need_for_read(const struct gup *g, const struct hf_vma *vma, hf_pte pte)
{
	const struct hf_policy *policy = g->mm->sys->policy;
	struct hf_page *page = hf_pfn_page(g->mm->sys, hf_pte_pfn(pte));
	struct hf_gup_view view = {
		.anon = !hf_pte_special(pte) && hf_page_is_anon(page),
		.exclusive = hf_page_exclusive(page),
		.flags = g->taken,
	};

	/* nobody moves away from a page of a shared mapping */
	if (hf_pte_write(pte) || vma->flags & HF_VM_SHARED)
		return NEED_NOTHING;
	switch (policy->gup_read(&view)) {
	case HF_GUP_UNSHARE:
		return NEED_UNSHARE;
	case HF_GUP_WRITE_FAULT:
		/* in a read-only mapping the entry stays read-only: once is enough */
		return g->write_faulted ? NEED_NOTHING : NEED_WRITE_FAULT;
	case HF_GUP_FAIL:
		return NEED_REFUSED;
	case HF_GUP_TAKE:
		break;
	}
	return NEED_NOTHING;
}

static enum need need(const struct gup *g, const struct hf_vma *vma, hf_pte pte)
{
	if (hf_pte_absent(pte) || pte == HF_PMD_ABSENT)
		return NEED_REFUSED;
	if (hf_pte_none(pte) || pte == HF_PMD_RESERVED || hf_pte_swap(pte) || hf_pte_migration(pte))
		return g->taken & HF_FOLL_WRITE ? NEED_WRITE_FAULT : NEED_READ_FAULT;
	return g->taken & HF_FOLL_WRITE ? need_for_write(g, vma, pte) : need_for_read(g, vma, pte);
}

void hf_ref_set(struct hf_ref *ref, struct hf_page *page, unsigned asked, unsigned taken)
{
	*ref = (struct hf_ref){
		.page = page,
		.flags = asked,
		.taken = taken,
	};
}

/* ptl held, and the entry needs no fault. The huge zeropage counts like any folio. */
static int grab(const struct gup *g, hf_pte pte, uint32_t huge, struct hf_ref *ref)
{
	struct hf_system *sys = g->mm->sys;
	struct hf_page *marked = hf_pfn_page(sys, hf_pte_pfn(pte));
	struct hf_page *page = huge == HF_NOT_HUGE ? marked : marked + huge;
	int err = 0;

	if (!hf_pte_special(pte) || huge != HF_NOT_HUGE) {
		hf_assert(!(g->taken & HF_FOLL_PIN) || hf_pte_special(pte) ||
			  hf_mark_allows_pin(sys, marked));
		err = hf_page_try_grab(sys, page, hf_gup_delta(sys, g->taken));
	}
	if (!err)
		hf_ref_set(ref, page, g->asked, g->taken);
	return err;
}

/* One look at the entry. Where it needs nothing, *ref is set, or *err is grab()'s. */
static enum need follow(const struct gup *g, const struct hf_vma *vma, uint64_t addr,
			struct hf_ref *ref, int *err)
{
	struct hf_table *table;
	uint32_t huge;
	_Atomic uint64_t *ptep = hf_pte_lock(g->mm, addr, &table, &huge);
	enum need ret;
	hf_pte pte;

	if (!ptep)
		return need(g, vma, 0);
	pte = hf_ld(ptep, relaxed);
	ret = need(g, vma, pte);
	if (ret == NEED_NOTHING)
		*err = grab(g, pte, huge, ref);
	hf_mutex_unlock(g->mm->sys, &table->ptl);
	return ret;
}

/* The page is in the movable zone: gives the pin up, and moves it. -ENOMEM, -EBUSY. */
static int move_off(struct gup *g, struct hf_ref *ref)
{
	struct hf_system *sys = g->mm->sys;
	struct hf_page *old = hf_folio(ref->page), *new;
	unsigned tries = 0;
	int err = -HF_ENOMEM;

	hf_page_get(old);
	hf_refs_drop(sys, ref, 1);
	new = hf_folio_alloc_normal(sys, hf_folio_order(old));
	while (new == NULL && hf_reclaim_again(sys, HF_FOR_A_MOVE, &tries))
		new = hf_folio_alloc_normal(sys, hf_folio_order(old));
	if (new) {
		err = hf_migrate_folio(sys, old, new);
		hf_page_put(sys, new);
	}
	hf_page_put(sys, old);
	return err == -HF_EAGAIN ? -HF_EBUSY : err;
}

static bool misplaced(const struct gup *g, const struct hf_ref *ref)
{
	return g->taken & HF_FOLL_LONGTERM && g->taken & HF_FOLL_PIN &&
	       !hf_page_longterm_pinnable(g->mm->sys, ref->page);
}

static int fault_in(struct gup *g, struct hf_vma *vma, uint64_t addr, enum need need)
{
	unsigned write = need == NEED_WRITE_FAULT ? HF_FAULT_FLAG_WRITE : 0;
	int err = need == NEED_UNSHARE ? hf_unshare_fault(vma, addr)
				       : hf_fault_locked(vma, addr, HF_FAULT_FLAG_REMOTE | write);

	if (!err)
		g->write_faulted = write;
	return err;
}

#define MOVES 100 /* others may hold the page for a moment */

static int gup_one(struct gup *g, uint64_t addr, struct hf_ref *ref)
{
	struct hf_vma *vma = hf_vma_find(g->mm, addr);

	hf_assert_mmap_locked(g->mm);
	if (!vma || !vma_allows(g->mm, vma, g->taken))
		return -HF_EFAULT;
	g->write_faulted = false;
	for (int moves = 0;;) {
		int err = 0;
		enum need need = follow(g, vma, addr, ref, &err);

		if (need == NEED_NOTHING && !err && misplaced(g, ref)) {
			err = move_off(g, ref);
			if (err && (err != -HF_EBUSY || ++moves == MOVES))
				return err;
			if (err)
				g->mm->sys->pf->relax(g->mm->sys->pf->ctx);
			continue;
		}
		if (need == NEED_NOTHING)
			return err;
		if (need == NEED_REFUSED || g->taken & HF_FOLL_NOFAULT)
			return -HF_EFAULT;
		err = fault_in(g, vma, addr, need);
		if (err)
			return err;
	}
}

static int64_t gup_slow(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned asked, unsigned taken,
			struct hf_ref *refs)
{
	struct gup g = { .mm = mm, .asked = asked, .taken = taken };
	size_t got = 0;
	int err = 0;

	hf_mmap_read_lock(mm);
	while (got < nr && !err) {
		err = gup_one(&g, addr + got * HF_PAGE_SIZE, &refs[got]);
		if (!err)
			got++;
	}
	hf_mmap_read_unlock(mm);
	return got ? (int64_t)got : err;
}

static int64_t take(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags, bool fast,
		    struct hf_ref *refs)
{
	unsigned taken;
	size_t got = 0;
	int64_t ret;

	addr &= HF_PAGE_MASK;
	if (!flags_ok(flags) || (!fast && flags & HF_FOLL_FAST_ONLY) || !nr ||
	    addr >= HF_TASK_SIZE || nr > (HF_TASK_SIZE - addr) >> HF_PAGE_SHIFT)
		return -HF_EINVAL;
	taken = hf_gup_take_as(mm->sys, flags);
	/* before the first pin: fork looks at it before it looks at pins */
	if (taken & HF_FOLL_PIN && !hf_ld(&mm->has_pinned, relaxed))
		hf_st(&mm->has_pinned, true, seq_cst);
	if (fast) {
		got = hf_gup_fast(mm, addr, nr, flags, taken, refs);
		if (got == nr || flags & HF_FOLL_FAST_ONLY)
			return (int64_t)got;
		hf_count(mm->sys, HF_STAT_FAST_FALLBACKS, 1);
	}
	ret = gup_slow(mm, addr + got * HF_PAGE_SIZE, nr - got, flags, taken, refs + got);
	if (ret < 0)
		return got ? (int64_t)got : ret;
	return (int64_t)got + ret;
}

static int64_t gup(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags, bool fast,
		   struct hf_ref *refs)
{
	int64_t got = take(mm, addr, nr, flags, fast, refs), held;

	if (got <= 0)
		return got;
	held = (int64_t)hf_refs_hold(mm->sys, refs, (size_t)got);
	/* no unpin check of the rest: nobody ever had it */
	hf_refs_drop(mm->sys, refs + held, (size_t)(got - held));
	return held ? held : -HF_ENOMEM;
}

bool hf_mm_has_pinned(const struct hf_mm *mm)
{
	return hf_hint(&mm->has_pinned, seq_cst); /* fork asks for every page: once is enough */
}

int64_t hf_get_user_pages(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			  struct hf_ref *refs)
{
	return gup(mm, addr, nr, flags | HF_FOLL_GET, false, refs);
}

int64_t hf_get_user_pages_fast(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			       struct hf_ref *refs)
{
	return gup(mm, addr, nr, flags | HF_FOLL_GET, true, refs);
}

int64_t hf_get_user_pages_remote(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
				 struct hf_ref *refs)
{
	return gup(mm, addr, nr, flags | HF_FOLL_GET, false, refs);
}

int64_t hf_pin_user_pages(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			  struct hf_ref *refs)
{
	return gup(mm, addr, nr, flags | HF_FOLL_PIN, false, refs);
}

int64_t hf_pin_user_pages_fast(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			       struct hf_ref *refs)
{
	return gup(mm, addr, nr, flags | HF_FOLL_PIN, true, refs);
}

int64_t hf_pin_user_pages_remote(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
				 struct hf_ref *refs)
{
	return gup(mm, addr, nr, flags | HF_FOLL_PIN, false, refs);
}
