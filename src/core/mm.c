/* SPDX-License-Identifier: MIT */
/* Address spaces: their beginning and end. */
#include "internal.h"

static uint32_t new_asid(struct hf_system *sys)
{
	uint32_t asid;

	do {
		asid = hf_add(&sys->next_asid, 1, relaxed);
	} while (!asid);
	return asid;
}

static void link_mm(struct hf_system *sys, struct hf_mm *mm)
{
	hf_mutex_lock(sys, &sys->mms_lock);
	mm->next = sys->mms;
	if (sys->mms)
		sys->mms->prev = mm;
	sys->mms = mm;
	sys->nr_mms++;
	hf_mutex_unlock(sys, &sys->mms_lock);
}

static void unlink_mm(struct hf_mm *mm)
{
	struct hf_system *sys = mm->sys;

	hf_mutex_lock(sys, &sys->mms_lock);
	if (mm->prev)
		mm->prev->next = mm->next;
	else
		sys->mms = mm->next;
	if (mm->next)
		mm->next->prev = mm->prev;
	sys->nr_mms--;
	hf_mutex_unlock(sys, &sys->mms_lock);
}

struct hf_mm *hf_mm_new(struct hf_system *sys)
{
	struct hf_mm *mm = hf_alloc(sys, sizeof(*mm));

	if (!mm)
		return NULL;
	*mm = (struct hf_mm){ .sys = sys, .asid = new_asid(sys) };
	atomic_init(&mm->users, 1);
	mm->pgd = hf_table_new(sys);
	if (!mm->pgd) {
		hf_free(sys, mm, sizeof(*mm));
		return NULL;
	}
	sys->pf->rwlock_init(sys->pf->ctx, &mm->mmap_lock);
	link_mm(sys, mm);
	return mm;
}

int hf_mm_create(struct hf_system *sys, struct hf_mm **out)
{
	*out = hf_mm_new(sys);
	return *out ? 0 : -HF_ENOMEM;
}

void hf_mm_get(struct hf_mm *mm)
{
	uint32_t old = hf_ref_add(&mm->users, 1, relaxed);

	hf_assert(old > 0);
	(void)old;
}

bool hf_mm_tryget(struct hf_mm *mm)
{
	uint32_t users = hf_ref_ld(&mm->users, 1);

	do {
		if (!users)
			return false;
	} while (!hf_cas(&mm->users, &users, users + 1, relaxed));
	return true;
}

/* No user is left, so nobody translates through these tables, or takes mmap_lock; reverse-map walks
 * still come by, until the VMAs are gone. */
static void mm_teardown(struct hf_mm *mm)
{
	struct hf_system *sys = mm->sys;

	hf_assert(!hf_peek(&mm->users));
	hf_zap_range(mm, 0, HF_TASK_SIZE);
	while (mm->nr_vmas)
		hf_vma_remove(mm, mm->nr_vmas - 1);
	hf_tables_free(mm);
	hf_table_free_rcu(mm->pgd);
	unlink_mm(mm);
	if (mm->cap_vmas)
		hf_free(sys, mm->vmas, mm->cap_vmas * sizeof(*mm->vmas));
	sys->pf->rwlock_destroy(sys->pf->ctx, &mm->mmap_lock);
	hf_free(sys, mm, sizeof(*mm));
}

void hf_mm_put(struct hf_mm *mm)
{
	if (hf_ref_sub(&mm->users, 1, acq_rel) == 1)
		mm_teardown(mm);
}

struct hf_mm *hf_next_mm(struct hf_system *sys, struct hf_mm *mm)
{
	struct hf_mm *next;

	hf_mutex_lock(sys, &sys->mms_lock);
	next = mm ? mm->next : sys->mms;
	while (next && !hf_mm_tryget(next))
		next = next->next;
	hf_mutex_unlock(sys, &sys->mms_lock);
	if (mm)
		hf_mm_put(mm);
	return next;
}

struct hf_page *hf_page_at(struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *table;
	uint32_t huge;
	_Atomic uint64_t *ptep = hf_pte_lock(mm, addr, &table, &huge);
	struct hf_page *page = NULL;
	hf_pte pte;

	hf_assert_mmap_locked(mm);
	if (!ptep)
		return NULL;
	pte = hf_ld(ptep, relaxed);
	if (hf_pte_present(pte) && !hf_pte_special(pte)) {
		page = hf_pfn_page(mm->sys, hf_pte_pfn(pte)) + (huge == HF_NOT_HUGE ? 0 : huge);
		hf_page_get(page);
	}
	hf_mutex_unlock(mm->sys, &table->ptl);
	return page;
}

int hf_mm_page_info(struct hf_mm *mm, uint64_t addr, struct hf_page_info *info)
{
	struct hf_table *table;
	_Atomic uint64_t *ptep;
	struct hf_page *page;
	uint32_t huge;
	hf_pte pte = 0;
	bool mapped;

	*info = (struct hf_page_info){ .pfn = HF_PFN_NONE };
	hf_mmap_read_lock(mm);
	mapped = hf_vma_find(mm, addr);
	ptep = hf_pte_lock(mm, addr, &table, &huge);
	if (ptep) {
		pte = hf_ld(ptep, relaxed);
		if (hf_pte_present(pte)) {
			info->pmd = huge != HF_NOT_HUGE;
			page = hf_pfn_page(mm->sys, hf_pte_pfn(pte));
			info->exclusive = hf_page_exclusive(page);
			page += info->pmd ? huge : 0;
			info->pfn = hf_page_pfn(mm->sys, page);
			info->order = hf_folio_order(page);
			info->anon = hf_page_is_anon(page);
			info->ksm = hf_page_ksm(page);
			info->refs = hf_page_refs(page);
			info->pins = hf_page_pins(page);
			info->mapcount = hf_page_mapcount(page);
		}
		hf_mutex_unlock(mm->sys, &table->ptl);
	}
	hf_mmap_read_unlock(mm);
	info->present = hf_pte_present(pte);
	info->writable = info->present && hf_pte_write(pte);
	info->dirty = info->present && pte & HF_PTE_DIRTY;
	info->soft_dirty = pte & HF_PTE_SOFT_DIRTY;
	info->uffd_wp = pte & HF_PTE_UFFD_WP;
	info->young = info->present && pte & HF_PTE_YOUNG;
	info->zeropage = info->present && hf_pte_special(pte);
	info->absent = hf_pte_absent(pte);
	info->swapped = hf_pte_swap(pte);
	return mapped ? 0 : -HF_EFAULT;
}
