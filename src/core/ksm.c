/* SPDX-License-Identifier: MIT */
/*
 * KSM. Stable pages hold the bytes that several mappings agree on; they are found by checksum, and
 * leave the list when their last mapping goes. A scan remembers the pages that it found no partner
 * for yet, by checksum, too.
 *
 * A page is write-protected before it is compared: its entry is cleared, the TLB flushed, the
 * references counted, and only if none is left but the mappings' is its mark given up.
 */
#include "internal.h"

#define BUCKETS HF_KSM_BUCKETS

struct candidate {
	struct candidate *next;
	struct hf_mm *mm; /* a user is held */
	uint64_t addr;
	uint64_t checksum;
};

struct scan {
	struct hf_system *sys;
	unsigned flags;
	struct candidate *seen[BUCKETS];
	int64_t merged;
};

static uint64_t checksum(const struct hf_system *sys, const struct hf_page *page)
{
	const _Atomic uint64_t *word = (const void *)hf_page_data(sys, page);
	uint64_t sum = 0xcbf29ce484222325ull;

	/* the page may be stored to meanwhile: then it is not merged */
	for (size_t i = 0; i < HF_PAGE_SIZE / sizeof(*word); i++)
		sum = (sum ^ hf_ld(&word[i], relaxed)) * 0x100000001b3ull;
	return sum;
}

static bool same_bytes(const struct hf_system *sys, const struct hf_page *a,
		       const struct hf_page *b)
{
	const _Atomic uint64_t *x = (const void *)hf_page_data(sys, a);
	const _Atomic uint64_t *y = (const void *)hf_page_data(sys, b);
	size_t i = 0;

	while (i < HF_PAGE_SIZE / sizeof(*x) && hf_ld(&x[i], relaxed) == hf_ld(&y[i], relaxed))
		i++;
	return i == HF_PAGE_SIZE / sizeof(*x);
}

/* ---- stable pages ---- */

static void stable_add(struct hf_system *sys, struct hf_page *page, uint64_t sum)
{
	struct hf_page **bucket = &sys->ksm.stable[sum % BUCKETS];

	hf_assert(hf_peek_flags(page) & HF_PG_KSM && !hf_peek_order(page));
	hf_mutex_lock(sys, &sys->ksm.lock);
	page->index = sum;
	page->prev = NULL;
	page->next = *bucket;
	if (*bucket)
		(*bucket)->prev = page;
	*bucket = page;
	hf_mutex_unlock(sys, &sys->ksm.lock);
}

void hf_ksm_forget(struct hf_system *sys, struct hf_page *page)
{
	hf_mutex_lock(sys, &sys->ksm.lock);
	if (page->prev)
		page->prev->next = page->next;
	else
		sys->ksm.stable[page->index % BUCKETS] = page->next;
	if (page->next)
		page->next->prev = page->prev;
	hf_mutex_unlock(sys, &sys->ksm.lock);
}

/* With a reference; its bytes are compared later. */
static struct hf_page *stable_find(struct hf_system *sys, uint64_t sum)
{
	struct hf_page *page;

	hf_mutex_lock(sys, &sys->ksm.lock);
	page = sys->ksm.stable[sum % BUCKETS];
	while (page && (page->index != sum || hf_page_try_grab(sys, page, HF_COUNT_REF)))
		page = page->next;
	hf_mutex_unlock(sys, &sys->ksm.lock);
	return page;
}

/* ---- merging one page ---- */

static bool exact(const struct hf_page *page)
{
	/* its mappings, the scan, and the swap cache */
	return hf_page_refs(page) ==
	       hf_page_mapcount(page) + 1 + (hf_ld(&page->slot, relaxed) ? 1 : 0);
}

/* ptl and the page lock held. The entry becomes read-only and clean, the page loses its mark. */
static bool write_protect(struct hf_mm *mm, _Atomic uint64_t *ptep, struct hf_page *page)
{
	hf_pte pte = hf_ld(ptep, relaxed);
	bool exclusive = hf_page_marked(mm->sys, page);

	hf_assert_page_locked(page);
	if (!(pte & (HF_PTE_WRITE | HF_PTE_DIRTY)) && !exclusive)
		return exact(page);
	pte = hf_xchg(ptep, 0, seq_cst);
	hf_tlb_flush(mm);
	if (!exact(page) || (exclusive && hf_page_try_share(mm->sys, page))) {
		hf_st(ptep, pte, relaxed); /* as in hf_ptep_clear_try_share() */
		return false;
	}
	if (pte & HF_PTE_DIRTY)
		hf_page_set_dirty(page);
	hf_st(ptep, pte & ~(HF_PTE_WRITE | HF_PTE_DIRTY), release);
	return true;
}

static void replace(struct hf_mm *mm, _Atomic uint64_t *ptep, struct hf_page *page,
		    struct hf_page *stable)
{
	struct hf_system *sys = mm->sys;
	uint64_t flags = hf_ld(ptep, relaxed) & (HF_PTE_PROTNONE | HF_PTE_TRACK);

	hf_assert_page_locked(page);
	hf_assert(page != stable && !hf_peek_order(page));
	hf_xchg(ptep, 0, relaxed);
	hf_tlb_flush(mm);
	if (stable == sys->zeropage) {
		hf_st(ptep, hf_mk_pte(0, HF_PTE_SPECIAL | flags), release);
	} else {
		hf_page_get(stable);
		hf_page_add_rmap(mm, stable);
		hf_st(ptep, hf_mk_pte(hf_page_pfn(sys, stable), flags), release);
	}
	hf_page_remove_rmap(mm, page);
}

static bool mergeable_page(const struct hf_page *page)
{
	return !hf_folio_order(page) && hf_page_is_anon(page) && !hf_page_ksm(page);
}

/* The page is locked. Its bytes are the stable page's, or nothing is done but give up the mark. */
static bool merge_locked(struct hf_mm *mm, uint64_t addr, struct hf_page *page,
			 struct hf_page *stable)
{
	struct hf_table *table;
	uint32_t huge;
	_Atomic uint64_t *ptep = hf_pte_lock(mm, addr, &table, &huge);
	bool merged = false;
	hf_pte pte;

	hf_assert_mmap_locked(mm);
	hf_assert_page_locked(page);
	if (!ptep)
		return false;
	pte = hf_ld(ptep, relaxed);
	if (huge == HF_NOT_HUGE && hf_pte_present(pte) && !hf_pte_special(pte) &&
	    hf_pte_pfn(pte) == hf_page_pfn(mm->sys, page) && mergeable_page(page) &&
	    write_protect(mm, ptep, page) && same_bytes(mm->sys, page, stable)) {
		replace(mm, ptep, page, stable);
		merged = true;
	}
	hf_mutex_unlock(mm->sys, &table->ptl);
	return merged;
}

/* mmap_lock is taken for read. */
static bool merge_into(struct hf_mm *mm, uint64_t addr, struct hf_page *stable)
{
	struct hf_vma *vma;
	struct hf_page *page = NULL;
	bool merged = false;

	hf_mmap_read_lock(mm);
	vma = hf_vma_find(mm, addr);
	if (vma && vma->flags & HF_VM_MERGEABLE)
		page = hf_page_at(mm, addr);
	if (page && hf_page_trylock(page)) {
		merged = merge_locked(mm, addr, page, stable);
		hf_page_unlock(page);
	}
	if (merged)
		hf_page_put(mm->sys, page); /* the mapping's */
	if (page)
		hf_page_put(mm->sys, page);
	hf_mmap_read_unlock(mm);
	return merged;
}

/* ---- scanning ---- */

/* Two pages that seem to be alike: a stable page with the bytes of the first, and both into it. */
static int merge_two(struct scan *s, const struct candidate *a, struct hf_mm *mm, uint64_t addr)
{
	struct hf_system *sys = s->sys;
	struct hf_page *stable = hf_page_alloc_reclaim(sys);

	if (!stable)
		return -HF_ENOMEM;
	if (hf_copy_from_user(a->mm, hf_page_data(sys, stable), a->addr, HF_PAGE_SIZE) ==
	    (int64_t)HF_PAGE_SIZE) {
		hf_or(&stable->flags, HF_PG_ANON | HF_PG_KSM, relaxed);
		stable_add(sys, stable, a->checksum);
		if (merge_into(a->mm, a->addr, stable))
			s->merged += merge_into(mm, addr, stable);
	}
	hf_page_put(sys, stable);
	return 0;
}

static int remember(struct scan *s, struct hf_mm *mm, uint64_t addr, uint64_t sum)
{
	struct candidate *c = hf_alloc(s->sys, sizeof(*c));

	if (!c)
		return -HF_ENOMEM;
	hf_mm_get(mm);
	*c = (struct candidate){ s->seen[sum % BUCKETS], mm, addr, sum };
	s->seen[sum % BUCKETS] = c;
	return 0;
}

static struct candidate *seen_before(struct scan *s, uint64_t sum)
{
	struct candidate *c = s->seen[sum % BUCKETS];

	while (c && c->checksum != sum)
		c = c->next;
	return c;
}

/* The page's checksum. False: it is not for merging. */
static bool look_at(struct hf_mm *mm, uint64_t addr, uint64_t *sum)
{
	struct hf_page *page;
	bool fine;

	hf_mmap_read_lock(mm);
	page = hf_page_at(mm, addr);
	hf_mmap_read_unlock(mm);
	fine = page && mergeable_page(page);
	if (fine)
		*sum = checksum(mm->sys, page);
	if (page)
		hf_page_put(mm->sys, page);
	return fine;
}

static int scan_page(struct scan *s, struct hf_mm *mm, uint64_t addr)
{
	struct hf_system *sys = s->sys;
	struct hf_page *stable;
	struct candidate *c;
	uint64_t sum;

	if (!look_at(mm, addr, &sum))
		return 0;
	if (s->flags & HF_KSM_USE_ZERO_PAGES && sum == checksum(sys, sys->zeropage)) {
		s->merged += merge_into(mm, addr, sys->zeropage);
		return 0;
	}
	stable = stable_find(sys, sum);
	if (stable) {
		s->merged += merge_into(mm, addr, stable);
		hf_page_put(sys, stable);
		return 0;
	}
	c = seen_before(s, sum);
	return c ? merge_two(s, c, mm, addr) : remember(s, mm, addr, sum);
}

/* The next page of a mergeable mapping at or after addr; HF_TASK_SIZE: none. */
static uint64_t next_page(struct hf_mm *mm, uint64_t addr)
{
	uint64_t found = HF_TASK_SIZE;

	hf_mmap_read_lock(mm);
	for (size_t i = hf_vma_index(mm, addr); i < mm->nr_vmas; i++) {
		const struct hf_vma *vma = mm->vmas[i];

		if (!(vma->flags & HF_VM_MERGEABLE))
			continue;
		found = addr > vma->start ? addr : vma->start;
		break;
	}
	hf_mmap_read_unlock(mm);
	return found;
}

static int scan_mm(struct scan *s, struct hf_mm *mm)
{
	uint64_t addr = HF_TASK_MIN;
	int err = 0;

	while (!err && (addr = next_page(mm, addr)) < HF_TASK_SIZE) {
		err = scan_page(s, mm, addr);
		addr += HF_PAGE_SIZE;
	}
	return err;
}

static void forget_candidates(struct scan *s)
{
	for (size_t i = 0; i < BUCKETS; i++)
		while (s->seen[i]) {
			struct candidate *c = s->seen[i];

			s->seen[i] = c->next;
			hf_mm_put(c->mm);
			hf_free(s->sys, c, sizeof(*c));
		}
}

int64_t hf_ksm_scan(struct hf_system *sys, unsigned flags)
{
	struct scan *s;
	struct hf_mm *mm = NULL;
	int64_t merged;
	int err = 0;

	if (flags & ~HF_KSM_USE_ZERO_PAGES)
		return -HF_EINVAL;
	s = hf_alloc(sys, sizeof(*s));
	if (!s)
		return -HF_ENOMEM;
	__builtin_memset(s, 0, sizeof(*s));
	s->sys = sys;
	s->flags = flags;
	hf_lru_drain_all(sys);
	while (!err && (mm = hf_next_mm(sys, mm)))
		err = scan_mm(s, mm);
	if (mm)
		hf_mm_put(mm);
	forget_candidates(s);
	merged = s->merged;
	hf_count(sys, HF_STAT_KSM_MERGES, (uint64_t)merged);
	hf_free(sys, s, sizeof(*s));
	return err ? err : merged;
}

/* ---- unmerging ---- */

static bool maps_ksm(struct hf_mm *mm, uint64_t addr)
{
	struct hf_page *page = hf_page_at(mm, addr);
	bool ksm = page && hf_page_ksm(page);

	if (page)
		hf_page_put(mm->sys, page);
	return ksm;
}

int hf_unmerge_range(struct hf_vma *vma, uint64_t start, uint64_t end)
{
	int err = 0;

	hf_assert_mmap_locked(vma->mm);
	hf_assert(vma->start <= start && end <= vma->end);
	for (uint64_t addr = start; addr < end && !err; addr += HF_PAGE_SIZE)
		if (maps_ksm(vma->mm, addr))
			err = hf_unshare_fault(vma, addr);
	return err;
}
