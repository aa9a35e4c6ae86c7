/* SPDX-License-Identifier: MIT */
/* Faults: read, write and unshare (hf_unshare_fault()), but for what huge PMDs map (huge.c). */
#include "internal.h"

struct fault {
	struct hf_mm *mm;
	struct hf_vma *vma;
	uint64_t addr; /* page aligned */
	unsigned flags;
	struct hf_table *table; /* ptl held between fault_lock() and fault_unlock() */
	_Atomic uint64_t *ptep;
	hf_pte pte; /* as read under ptl */
	bool again; /* the entry changed, or is one step further: look at it once more */
	bool small; /* what is out comes back page by page */
};

static void fault_lock(struct fault *f)
{
	hf_mutex_lock(f->mm->sys, &f->table->ptl);
	f->pte = hf_ld(f->ptep, relaxed);
}

static void fault_unlock(struct fault *f)
{
	hf_mutex_unlock(f->mm->sys, &f->table->ptl);
}

uint64_t hf_own_flags(const struct hf_vma *vma, unsigned fault_flags, hf_pte old)
{
	uint64_t flags = HF_PTE_YOUNG | hf_prot_flags(vma->prot);

	if (fault_flags & HF_FAULT_FLAG_WRITE)
		flags |= hf_written_flags(vma);
	else
		flags |= old & HF_PTE_TRACK;
	return flags;
}

static hf_pte own_pte(const struct fault *f, uint64_t pfn)
{
	return hf_mk_pte(pfn, hf_own_flags(f->vma, f->flags, f->pte));
}

static void install_own(struct fault *f, struct hf_page *page)
{
	struct hf_system *sys = f->mm->sys;

	hf_assert_ptl_held(f->table);
	hf_assert(hf_pte_none(hf_peek(f->ptep)));
	hf_page_add_new_rmap(page, f->vma, f->addr);
	/* release: GUP-fast, which reads the entry first, then sees the mark and the contents */
	hf_st(f->ptep, own_pte(f, hf_page_pfn(sys, page)), release);
	hf_lru_add(sys, page);
}

/* ---- new pages ---- */

/* The first address that a folio of that order around the fault has. */
static uint64_t folio_start(const struct fault *f, unsigned order)
{
	return f->addr & ~((HF_PAGE_SIZE << order) - 1);
}

static bool folio_fits(const struct fault *f, unsigned order)
{
	uint64_t start = folio_start(f, order), end = start + (HF_PAGE_SIZE << order);

	if (start < f->vma->start || end > f->vma->end)
		return false;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		if (!hf_pte_none(hf_ld(&f->table->entry[hf_pte_index(addr)], relaxed)))
			return false;
	return true;
}

static bool may_have_folios(const struct fault *f)
{
	return f->vma->flags & HF_VM_HUGEPAGE && !(f->vma->flags & HF_VM_UFFD);
}

/* The largest folio that is enabled, fits, and can be had. */
static struct hf_page *alloc_folio(const struct fault *f)
{
	struct hf_system *sys = f->mm->sys;
	uint32_t orders = may_have_folios(f) ? hf_ld(&sys->thp_orders, relaxed) : 0;
	struct hf_page *head;

	for (unsigned order = HF_PMD_ORDER - 1; order; order--) {
		if (!(orders >> order & 1) || !folio_fits(f, order))
			continue;
		head = hf_folio_alloc(sys, order);
		if (head)
			return head;
	}
	return hf_page_alloc_reclaim(sys);
}

static void install_folio(struct fault *f, struct hf_page *head)
{
	struct hf_system *sys = f->mm->sys;
	unsigned order = hf_folio_order(head), nr = 1u << order;
	uint64_t start = folio_start(f, order);

	hf_assert_ptl_held(f->table);
	hf_assert(order && order < HF_PMD_ORDER && hf_peek_folio(head) == head);
	hf_folio_set_anon(head, f->vma, start);
	hf_ref_add(&head->counts, (nr - 1) * HF_COUNT_REF, relaxed);
	for (unsigned i = 0; i < nr; i++) {
		hf_mark_new(sys, head + i);
		hf_page_add_rmap(f->mm, head + i);
		hf_st(&f->table->entry[hf_pte_index(start) + i],
		      own_pte(f, hf_page_pfn(sys, head + i)), release);
	}
}

/* Nothing is mapped yet. */
static int anonymous_fault(struct fault *f)
{
	struct hf_system *sys = f->mm->sys;
	struct hf_page *page = NULL;

	if (hf_wants_own_page(f->flags)) {
		page = alloc_folio(f);
		if (!page)
			return -HF_ENOMEM;
		hf_fill(hf_page_data(sys, page), 0, HF_PAGE_SIZE << hf_folio_order(page));
	}
	fault_lock(f);
	if (page && hf_folio_order(page)) {
		if (folio_fits(f, hf_folio_order(page))) {
			install_folio(f, page);
			page = NULL;
		} else {
			f->pte = HF_PTE_PRESENT; /* look again */
		}
	} else if (hf_pte_none(f->pte) && page) {
		install_own(f, page);
		page = NULL;
	} else if (hf_pte_none(f->pte)) {
		uint64_t flags = HF_PTE_SPECIAL | HF_PTE_YOUNG | hf_prot_flags(f->vma->prot);

		hf_st(f->ptep, hf_mk_pte(0, flags), relaxed); /* the zeropage is older */
	}
	f->again = !hf_pte_none(f->pte);
	fault_unlock(f);
	if (page)
		hf_page_put(sys, page);
	return 0;
}

/* ---- files ---- */

static bool is_shared(const struct fault *f)
{
	return f->vma->flags & HF_VM_SHARED;
}

/* ptl held, nothing is mapped, and the page is the file's still. Where stores are tracked the entry
 * becomes writable by a write fault only. */
static void map_file_page(struct fault *f, struct hf_page *page)
{
	uint64_t flags = HF_PTE_YOUNG | hf_prot_flags(f->vma->prot);
	bool write = f->flags & HF_FAULT_FLAG_WRITE;

	hf_assert_ptl_held(f->table);
	hf_assert(hf_pte_none(hf_peek(f->ptep)));
	hf_assert(hf_peek(&page->file) == f->vma->file);
	if (is_shared(f) && f->vma->prot & HF_PROT_WRITE && (write || !f->vma->file->backing))
		flags |= HF_PTE_WRITE;
	if (is_shared(f) && write) {
		flags |= hf_written_flags(f->vma);
		hf_page_set_dirty(page);
	}
	hf_page_get(page);
	hf_page_add_rmap(f->mm, page);
	hf_st(f->ptep, hf_mk_pte(hf_page_pfn(f->mm->sys, page), flags), release);
}

/* Nothing is mapped yet, in a mapping of a file. */
static int file_fault(struct fault *f)
{
	struct hf_system *sys = f->mm->sys;
	uint64_t index = hf_file_index(f->vma, f->addr);
	bool own = hf_wants_own_page(f->flags) && !is_shared(f);
	struct hf_page *page, *copy = NULL;
	int err = hf_file_page(f->vma->file, index, &page);

	if (err)
		return err;
	if (own) {
		copy = hf_page_alloc_reclaim(sys);
		if (copy)
			sys->pf->copy(sys->pf->ctx, hf_page_data(sys, copy),
				      hf_page_data(sys, page), HF_PAGE_SIZE);
		else
			err = -HF_ENOMEM;
	}
	fault_lock(f);
	f->again = !err && !hf_pte_none(f->pte);
	/* acquire: where the file is longer again, the page is seen to be its no more */
	if (!err && !f->again && index >= hf_ld(&f->vma->file->nr, acquire))
		err = -HF_EFAULT; /* cut off meanwhile */
	if (!err && !f->again && hf_ld(&page->file, relaxed) != f->vma->file)
		f->again = true; /* cut off, and longer again */
	if (!err && !f->again && own) {
		install_own(f, copy);
		copy = NULL;
	} else if (!err && !f->again) {
		map_file_page(f, page);
	}
	fault_unlock(f);
	if (copy)
		hf_page_put(sys, copy);
	hf_page_put(sys, page);
	return err;
}

/* The first store since the page was written back: it is the file's, and dirty. */
static void make_shared_writable(struct fault *f, struct hf_page *page)
{
	hf_assert_ptl_held(f->table);
	hf_assert(is_shared(f) && hf_peek(&page->file));
	hf_page_set_dirty(page);
	hf_and(f->ptep, ~HF_PTE_UFFD_WP, relaxed);
	hf_or(f->ptep, hf_written_flags(f->vma), release);
}

/* ---- copy-on-write ---- */

void hf_keep_page(const struct hf_vma *vma, unsigned fault_flags, _Atomic uint64_t *entry)
{
	hf_assert(hf_pte_present(hf_peek(entry)));
	if (fault_flags & HF_FAULT_FLAG_WRITE) {
		hf_and(entry, ~HF_PTE_UFFD_WP, relaxed);
		hf_or(entry, hf_written_flags(vma), release);
	} else {
		hf_or(entry, HF_PTE_YOUNG, relaxed);
	}
	hf_count(vma->mm->sys, HF_STAT_COW_REUSES, 1);
}

/* The lock, ptl dropped meanwhile. False: the entry has changed, and the lock is not held. */
static bool sleep_for_page(struct hf_reuse *r, struct hf_page *page)
{
	struct hf_system *sys = r->vma->mm->sys;
	hf_pte orig = r->pte;
	bool same;

	hf_assert_ptl_held(r->table);
	hf_page_get(page);
	hf_mutex_unlock(sys, &r->table->ptl);
	hf_page_lock(sys, page);
	hf_mutex_lock(sys, &r->table->ptl);
	r->pte = hf_ld(r->entry, relaxed);
	same = hf_pte_same_mapping(r->pte, orig);
	if (!same)
		hf_page_unlock(page);
	hf_page_put(sys, page); /* perhaps the last */
	return same;
}

enum hf_reuse_result hf_try_reuse(struct hf_reuse *r, struct hf_page *page)
{
	struct hf_system *sys = r->vma->mm->sys;
	bool slept = false, kept;

	hf_assert_ptl_held(r->table);
	hf_assert(hf_pte_present(r->pte) && !hf_pte_write(r->pte));
	hf_assert(hf_peek_flags(page) & HF_PG_ANON);
	/* The mark is all that counts: no look at references, pins or the lock. */
	if (hf_page_marked(sys, page)) {
		hf_keep_page(r->vma, r->fault_flags, r->entry);
		return HF_REUSE_KEPT;
	}
	if (!hf_page_trylock(page)) {
		if (!r->sleeps)
			return HF_REUSE_COPY;
		if (!sleep_for_page(r, page))
			return HF_REUSE_CHANGED;
		slept = true;
	}
	/* an unshare fault that kept the page meanwhile has left the entry as it was */
	kept = (slept && hf_page_marked(sys, page)) || hf_mark_prove(r->vma->mm, page, r->rule);
	if (kept)
		hf_keep_page(r->vma, r->fault_flags, r->entry);
	hf_page_unlock(page);
	return kept ? HF_REUSE_KEPT : HF_REUSE_COPY;
}

/* The policy's rule for what a leaf entry maps. */
static bool is_ours(const struct hf_mm *mm, const struct hf_page *page)
{
	const struct hf_policy *policy = mm->sys->policy;

	/* another CPU's batch is not looked at: then the page is copied, needlessly */
	if (policy->drains_lru_batch && hf_ld(&page->flags, relaxed) & HF_PG_BATCHED)
		hf_lru_drain(mm->sys);
	return hf_folio_order(page) ? policy->large_reuse(mm, page) : policy->may_reuse(mm, page);
}

/* ptl is held, and may be dropped and taken again. True: the page stays, or the entry has changed;
 * false: a copy is needed. */
static bool stays(struct fault *f, struct hf_page *page)
{
	struct hf_reuse r = {
		.vma = f->vma,
		.fault_flags = f->flags,
		.table = f->table,
		.entry = f->ptep,
		.pte = f->pte,
		.rule = is_ours,
		.sleeps = f->mm->sys->policy->reuse_sleeps,
	};
	enum hf_reuse_result result;

	hf_assert_ptl_held(f->table);
	if (hf_page_ksm(page))
		return false;
	result = hf_try_reuse(&r, page);
	f->pte = r.pte;
	f->again = result == HF_REUSE_CHANGED;
	return result != HF_REUSE_COPY;
}

/* Replaces f->pte, still mapped, by a mapping of `copy`. ptl held. */
static void switch_to_copy(struct fault *f, struct hf_page *copy)
{
	hf_assert_ptl_held(f->table);
	/* No CPU may still read the old page once somebody can write the new one. */
	hf_xchg(f->ptep, 0, relaxed);
	hf_tlb_flush(f->mm);
	install_own(f, copy);
	hf_count(f->mm->sys,
		 f->flags & HF_FAULT_FLAG_UNSHARE ? HF_STAT_UNSHARES : HF_STAT_COW_COPIES, 1);
}

/* Called with ptl held; drops it. `old` is NULL for the zeropage. */
static int copy_page_fault(struct fault *f, struct hf_page *old)
{
	struct hf_system *sys = f->mm->sys;
	struct hf_page *copy;
	hf_pte orig = f->pte;
	bool switched = false;

	hf_assert_ptl_held(f->table);
	if (old)
		/* keeps the source, and keeps sharers from reusing it, while ptl is dropped */
		hf_page_get(old);
	fault_unlock(f);
	copy = hf_page_alloc_reclaim(sys);
	if (copy && old)
		sys->pf->copy(sys->pf->ctx, hf_page_data(sys, copy), hf_page_data(sys, old),
			      HF_PAGE_SIZE);
	else if (copy)
		hf_fill(hf_page_data(sys, copy), 0, HF_PAGE_SIZE);
	if (copy) {
		fault_lock(f);
		switched = hf_pte_same_mapping(f->pte, orig);
		if (switched) {
			switch_to_copy(f, copy);
			if (old)
				hf_page_remove_rmap(f->mm, old);
		}
		fault_unlock(f);
	}
	if (switched && old)
		hf_page_put(sys, old); /* the mapping's reference */
	if (copy && !switched)
		hf_page_put(sys, copy);
	f->again = copy && !switched;
	if (old)
		hf_page_put(sys, old);
	return copy ? 0 : -HF_ENOMEM;
}

/* A present, read-only entry, and somebody wants a page of his own. ptl held; drops it. */
static int wp_fault(struct fault *f)
{
	struct hf_page *page;

	hf_assert_ptl_held(f->table);
	hf_assert(hf_pte_present(f->pte) && !hf_pte_write(f->pte));
	if (hf_pte_special(f->pte))
		return copy_page_fault(f, NULL);
	page = hf_pfn_page(f->mm->sys, hf_pte_pfn(f->pte));
	if (!hf_page_is_anon(page)) {
		if (!is_shared(f))
			return copy_page_fault(f, page);
		if (f->flags & HF_FAULT_FLAG_WRITE)
			make_shared_writable(f, page);
	} else if (!stays(f, page)) {
		return copy_page_fault(f, page);
	}
	fault_unlock(f);
	return 0;
}

/* ---- swap ---- */

/* May a write through this entry, the slot's last, keep the page? It is in the cache, mapped here,
 * and held by the caller and the cache besides. */
static bool sole_owner(const struct hf_system *sys, const struct hf_page *page)
{
	if (hf_page_swap_users(page) != 1)
		return false;
	if (sys->policy->swap_in_counts_refs)
		return hf_page_refs(page) == 3;
	return hf_page_mapcount(page) == 1;
}

/* Of the entry of a page that came back; `written`: by a write that keeps it. What is marked is
 * mapped writable at once. */
static uint64_t flags_of_swapped(const struct fault *f, bool written, bool marked)
{
	uint64_t flags = HF_PTE_YOUNG | hf_prot_flags(f->vma->prot);

	if (written)
		return flags | hf_written_flags(f->vma);
	flags |= f->pte & HF_PTE_TRACK;
	if (marked && f->vma->prot & HF_PROT_WRITE &&
	    !hf_pte_tracks(f->pte, hf_wants_soft_dirty(f->vma)))
		flags |= HF_PTE_WRITE;
	return flags;
}

/* ptl and the page lock are held, and the entry still names the slot. */
/* True: a write keeps the page, which takes it out of the cache. */
static bool map_swapped(struct fault *f, struct hf_page *page, size_t slot, bool own)
{
	struct hf_system *sys = f->mm->sys;
	bool write = f->flags & HF_FAULT_FLAG_WRITE, keep = f->pte & HF_PTE_SWP_EXCLUSIVE;
	bool marked;

	hf_assert_ptl_held(f->table);
	hf_assert_page_locked(page);
	hf_assert(hf_pte_swap(f->pte) && hf_pte_slot(f->pte) == slot);
	hf_page_get(page);
	hf_page_add_anon_rmap(page, f->vma, f->addr);
	hf_slot_put(sys, slot); /* the entry's */
	keep |= own || (write && sole_owner(sys, page));
	marked = keep && hf_mark_restore(sys, page);
	hf_st(f->ptep,
	      hf_mk_pte(hf_page_pfn(sys, page), flags_of_swapped(f, keep && write, marked)),
	      release);
	return keep && write;
}

/* Do all entries of the folio name slots, one after the other and alike in all else, of what left
 * as a folio? ptl held. */
static bool out_in_a_row(const struct fault *f, unsigned order)
{
	uint64_t start = folio_start(f, order), end = start + (HF_PAGE_SIZE << order);
	const _Atomic uint64_t *entry = &f->table->entry[hf_pte_index(start)];
	hf_pte first = hf_ld(entry, relaxed);

	hf_assert_ptl_held(f->table);
	if (start < f->vma->start || end > f->vma->end || !hf_pte_swap(first))
		return false;
	for (uint64_t i = 1; i < 1u << order; i++)
		if (hf_ld(entry + i, relaxed) != first + (i << HF_PTE_PFN_SHIFT))
			return false;
	return hf_swap_is_out_whole(f->mm->sys, hf_pte_slot(first), order);
}

/* The largest folio that what is out here can come back as. ptl held. */
static unsigned order_of_swapped(const struct fault *f)
{
	struct hf_system *sys = f->mm->sys;
	uint32_t orders = hf_ld(&sys->thp_orders, relaxed);

	hf_assert_ptl_held(f->table);
	hf_assert(hf_pte_swap(f->pte));
	if (f->small || !sys->policy->swap_in_folios || !may_have_folios(f))
		return 0;
	for (unsigned order = HF_PMD_ORDER - 1; order; order--)
		if (orders >> order & 1 && out_in_a_row(f, order))
			return order;
	return 0;
}

/* The slots are the caller's, too. */
static struct hf_page *read_folio(const struct fault *f, unsigned order, size_t slot)
{
	struct hf_system *sys = f->mm->sys;
	bool owns = sys->policy->swap_in_owns_fresh, fresh = true;
	struct hf_page *head;

	for (size_t i = 0; i < 1u << order && fresh; i++)
		fresh = hf_swap_is_fresh(sys, slot + i) ||
			(owns && slot + i != hf_pte_slot(f->pte));
	head = fresh ? hf_folio_alloc(sys, order) : NULL;
	for (size_t i = 0; head && i < 1u << order; i++)
		if (sys->swap->read(sys->swap->ctx, slot + i, hf_page_data(sys, head + i))) {
			hf_page_put(sys, head);
			head = NULL;
		}
	return head;
}

/* ptl held. */
static void map_folio_swapped(struct fault *f, struct hf_page *head, size_t slot)
{
	struct hf_system *sys = f->mm->sys;
	unsigned nr = (unsigned)hf_folio_pages(head);
	uint64_t start = folio_start(f, hf_folio_order(head));
	bool keep = f->pte & HF_PTE_SWP_EXCLUSIVE || sys->policy->swap_in_owns_fresh;

	hf_assert_ptl_held(f->table);
	hf_assert(hf_peek_folio(head) == head && hf_peek_order(head));
	hf_folio_set_anon(head, f->vma, start);
	hf_ref_add(&head->counts, (nr - 1) * HF_COUNT_REF, relaxed);
	for (unsigned i = 0; i < nr; i++) {
		bool write = f->flags & HF_FAULT_FLAG_WRITE && start + i * HF_PAGE_SIZE == f->addr;
		bool marked = keep && hf_mark_restore(sys, head + i);
		uint64_t flags = flags_of_swapped(f, keep && write, marked);

		hf_page_add_rmap(f->mm, head + i);
		hf_st(&f->table->entry[hf_pte_index(start) + i],
		      hf_mk_pte(hf_page_pfn(sys, head + i), flags), release);
		hf_slot_put(sys, slot + i); /* the entry's */
	}
	hf_count(sys, HF_STAT_SWAP_IN, nr);
}

/* Called with ptl held; drops it. */
static void swap_folio_fault(struct fault *f, unsigned order)
{
	struct hf_system *sys = f->mm->sys;
	hf_pte orig = f->pte;
	size_t nr = 1u << order,
	       slot = hf_pte_slot(orig) - ((f->addr - folio_start(f, order)) >> HF_PAGE_SHIFT);
	struct hf_page *head;

	hf_assert_ptl_held(f->table);
	hf_assert(hf_pte_swap(f->pte));
	for (size_t i = 0; i < nr; i++)
		hf_slot_get(sys, slot + i);
	fault_unlock(f);
	head = read_folio(f, order, slot);
	fault_lock(f);
	if (head && f->pte == orig && out_in_a_row(f, order)) {
		map_folio_swapped(f, head, slot);
		head = NULL;
	} else {
		f->small = true;
	}
	fault_unlock(f);
	for (size_t i = 0; i < nr; i++)
		hf_slot_put(sys, slot + i);
	if (head)
		hf_page_put(sys, head);
	f->again = true;
}

/* Called with ptl held; drops it. */
static int swap_fault(struct fault *f)
{
	struct hf_system *sys = f->mm->sys;
	hf_pte orig = f->pte;
	size_t slot = hf_pte_slot(orig);
	struct hf_page *page;
	bool fresh, kept = false;
	int err;

	hf_assert_ptl_held(f->table);
	hf_assert(hf_pte_swap(f->pte));
	hf_slot_get(sys, slot); /* it is not used for something else meanwhile */
	fresh = hf_swap_is_fresh(sys, slot);
	fault_unlock(f);
	err = hf_swap_page(sys, slot, &page);
	if (!err) {
		fault_lock(f);
		/* fork may have taken the exclusive bit away; the entry as it is now counts */
		if (((f->pte ^ orig) & ~HF_PTE_SWP_EXCLUSIVE) == 0)
			kept = map_swapped(f, page, slot, fresh && sys->policy->swap_in_owns_fresh);
		fault_unlock(f);
	}
	hf_slot_put(sys, slot);
	if (!err) {
		if (fresh || kept)
			hf_and(&page->flags, ~HF_PG_LINGERS, relaxed);
		hf_page_unlock(page);
		hf_page_put(sys, page);
	}
	f->again = !err && !kept; /* a forced write keeps it, and leaves the entry read-only */
	return err;
}

static int fault_once(struct fault *f)
{
	uint64_t set = HF_PTE_YOUNG;

	fault_lock(f);
	if (hf_pte_none(f->pte)) {
		fault_unlock(f);
		return f->vma->file ? file_fault(f) : anonymous_fault(f);
	}
	if (hf_pte_swap(f->pte)) {
		unsigned order = order_of_swapped(f);

		if (!order)
			return swap_fault(f);
		swap_folio_fault(f, order);
		return 0;
	}
	if (hf_pte_migration(f->pte)) {
		fault_unlock(f);
		f->again = true;
		f->mm->sys->pf->relax(f->mm->sys->pf->ctx);
		return 0;
	}
	if (hf_pte_absent(f->pte)) {
		fault_unlock(f);
		return -HF_EFAULT;
	}
	if (hf_wants_own_page(f->flags) && !hf_pte_write(f->pte))
		return wp_fault(f);
	if (f->flags & HF_FAULT_FLAG_WRITE)
		set |= HF_PTE_DIRTY | HF_PTE_SOFT_DIRTY;
	hf_or(f->ptep, set, relaxed);
	fault_unlock(f);
	return 0;
}

static int leaf_fault(struct fault *f)
{
	f->table = hf_leaf_alloc(f->mm, f->addr);
	if (!f->table)
		return -HF_ENOMEM;
	f->ptep = &f->table->entry[hf_pte_index(f->addr)];
	return fault_once(f);
}

int hf_fault_locked(struct hf_vma *vma, uint64_t addr, unsigned flags)
{
	struct fault f = { .mm = vma->mm, .vma = vma, .addr = addr & HF_PAGE_MASK, .flags = flags };
	int err = 0;

	hf_assert_mmap_locked(vma->mm);
	hf_assert(addr >= vma->start && addr < vma->end);
	hf_count(f.mm->sys, HF_STAT_FAULTS, 1);
	if (vma->flags & HF_VM_HUGETLB)
		return hf_hugetlb_fault(vma, addr, flags);
	do {
		enum hf_huge_result huge = hf_huge_fault(vma, addr, flags);

		f.again = huge == HF_HUGE_AGAIN;
		if (huge == HF_HUGE_LEAF)
			err = leaf_fault(&f);
	} while (!err && f.again);
	return err;
}

/*
 * The copy-on-write logic of a write fault without its two ends: nothing is mapped writable, and
 * nothing is dirtied, in a mapping that may well be read-only. It leaves a page that carries the
 * mark, which is what a read-only pin needs: wp_fault() keeps the page if it is marked or turns out
 * to be nobody else's, and copies it if not. hf_own_flags() and hf_keep_page() are where the two
 * kinds of fault differ.
 */
int hf_unshare_fault(struct hf_vma *vma, uint64_t addr)
{
	return hf_fault_locked(vma, addr, HF_FAULT_FLAG_UNSHARE | HF_FAULT_FLAG_REMOTE);
}

static bool access_allowed(const struct hf_vma *vma, unsigned flags)
{
	if (flags & (HF_FAULT_FLAG_REMOTE | HF_FAULT_FLAG_UNSHARE))
		return true;
	return vma->prot & (flags & HF_FAULT_FLAG_WRITE ? HF_PROT_WRITE : HF_PROT_READ);
}

int hf_handle_mm_fault(struct hf_mm *mm, uint64_t addr, unsigned flags)
{
	const unsigned both = HF_FAULT_FLAG_WRITE | HF_FAULT_FLAG_UNSHARE;
	struct hf_vma *vma;
	int err = -HF_EFAULT;

	if (flags & ~(both | HF_FAULT_FLAG_REMOTE) || (flags & both) == both)
		return -HF_EINVAL;
	hf_mmap_read_lock(mm);
	vma = hf_vma_find(mm, addr);
	if (vma && access_allowed(vma, flags))
		err = hf_fault_locked(vma, addr, flags);
	hf_mmap_read_unlock(mm);
	return err;
}
