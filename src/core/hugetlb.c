/* SPDX-License-Identifier: MIT */
/*
 * hugetlb: folios of 512 pages out of a pool of their own, always behind PMDs that are never split.
 *
 * A private mapping reserves what it may need when it is made: each PMD is a marker until it is
 * first touched. Children have no reservations, so their faults, and copies, take what is left.
 */
#include "internal.h"

/* ---- the pool ---- */

static void pool_push(struct hf_system *sys, struct hf_page *head)
{
	hf_assert_held(sys, &sys->hugetlb.lock);
	hf_assert(!hf_peek(&head->counts) && hf_peek_order(head) == HF_PMD_ORDER);
	head->next = sys->hugetlb.free;
	sys->hugetlb.free = head;
	sys->hugetlb.nr_free++;
}

static struct hf_page *pool_pop(struct hf_system *sys)
{
	struct hf_page *head = sys->hugetlb.free;

	hf_assert_held(sys, &sys->hugetlb.lock);
	hf_assert(!head == !sys->hugetlb.nr_free);
	if (head) {
		sys->hugetlb.free = head->next;
		sys->hugetlb.nr_free--;
	}
	return head;
}

/* With one reference. Without `reserved`, only what nobody has reserved. */
static struct hf_page *pool_alloc(struct hf_system *sys, bool reserved)
{
	struct hf_page *head = NULL;

	hf_mutex_lock(sys, &sys->hugetlb.lock);
	if (reserved || sys->hugetlb.nr_free > sys->hugetlb.nr_reserved)
		head = pool_pop(sys);
	if (head && reserved)
		sys->hugetlb.nr_reserved--;
	hf_mutex_unlock(sys, &sys->hugetlb.lock);
	if (!head)
		return NULL;
	hf_st(&head->flags, HF_PG_HUGETLB, relaxed);
	hf_st(&head->counts, HF_COUNT_REF, release);
	return head;
}

void hf_hugetlb_free(struct hf_system *sys, struct hf_page *head)
{
	hf_mutex_lock(sys, &sys->hugetlb.lock);
	pool_push(sys, head);
	hf_mutex_unlock(sys, &sys->hugetlb.lock);
}

static int reserve(struct hf_system *sys, size_t nr)
{
	int err = 0;

	hf_mutex_lock(sys, &sys->hugetlb.lock);
	if (sys->hugetlb.nr_free - sys->hugetlb.nr_reserved < nr)
		err = -HF_ENOMEM;
	else
		sys->hugetlb.nr_reserved += nr;
	hf_mutex_unlock(sys, &sys->hugetlb.lock);
	return err;
}

void hf_hugetlb_unreserve(struct hf_system *sys, size_t nr)
{
	hf_mutex_lock(sys, &sys->hugetlb.lock);
	sys->hugetlb.nr_reserved -= nr;
	hf_mutex_unlock(sys, &sys->hugetlb.lock);
}

/* Back to the buddy allocator; nobody uses it. */
static void give_up(struct hf_system *sys, struct hf_page *head)
{
	hf_assert_held(sys, &sys->hugetlb.lock);
	hf_assert(!hf_peek(&head->counts));
	hf_st(&head->flags, 0, relaxed);
	for (size_t i = 0; i < HF_PMD_PAGES; i++)
		hf_st(&head[i].compound, 0, relaxed);
	hf_buddy_free(sys, head, HF_PMD_ORDER);
}

size_t hf_system_set_hugepages(struct hf_system *sys, size_t nr)
{
	struct hf_page *head;

	hf_mutex_lock(sys, &sys->hugetlb.lock);
	while (sys->hugetlb.nr < nr && (head = hf_folio_alloc_normal(sys, HF_PMD_ORDER))) {
		hf_st(&head->counts, 0, relaxed);
		pool_push(sys, head);
		sys->hugetlb.nr++;
	}
	while (sys->hugetlb.nr > nr && sys->hugetlb.nr_free > sys->hugetlb.nr_reserved) {
		give_up(sys, pool_pop(sys));
		sys->hugetlb.nr--;
	}
	nr = sys->hugetlb.nr;
	hf_mutex_unlock(sys, &sys->hugetlb.lock);
	return nr;
}

/* ---- mappings ---- */

int hf_hugetlb_map(struct hf_vma *vma)
{
	size_t nr = (vma->end - vma->start) / HF_PMD_SIZE;
	struct hf_mm *mm = vma->mm;
	int err = reserve(mm->sys, nr);

	hf_assert_mmap_write_locked(mm);
	hf_assert(!((vma->start | vma->end) & ~HF_PMD_MASK));
	if (err)
		return err;
	for (uint64_t addr = vma->start; addr < vma->end; addr += HF_PMD_SIZE)
		if (!hf_pmd_table_alloc(mm, addr))
			err = -HF_ENOMEM;
	if (err) {
		hf_hugetlb_unreserve(mm->sys, nr);
		return err;
	}
	for (uint64_t addr = vma->start; addr < vma->end; addr += HF_PMD_SIZE)
		hf_st(hf_pmd_entry(hf_pmd_table(mm, addr), addr), HF_PMD_RESERVED, relaxed);
	return 0;
}

/* ---- faults ---- */

struct hugetlb_fault {
	struct hf_vma *vma;
	uint64_t addr;
	unsigned flags;
	struct hf_table *table;
	_Atomic uint64_t *pmdp;
	hf_pte pmd; /* as first read */
	bool again; /* somebody was quicker: look again */
};

/* Whatever the mapping says. */
static hf_pte forced(const struct hugetlb_fault *f)
{
	bool lasts = f->vma->mm->sys->policy->hugetlb_force_lasts;

	return lasts && f->flags & HF_FAULT_FLAG_WRITE ? HF_PTE_WRITE : 0;
}

static hf_pte own_pmd(const struct hugetlb_fault *f, uint64_t pfn)
{
	return hf_mk_pte(pfn, HF_PTE_HUGE | hf_own_flags(f->vma, f->flags, f->pmd) | forced(f));
}

/* ptl held, and the place is empty. */
static void install(struct hugetlb_fault *f, struct hf_page *head)
{
	struct hf_mm *mm = f->vma->mm;

	hf_assert_ptl_held(f->table);
	hf_assert(!hf_pte_present(hf_peek(f->pmdp)));
	hf_mark_new(mm->sys, head);
	hf_folio_set_anon(head, f->vma, f->addr);
	hf_folio_add_pmd_rmap(mm, head);
	hf_st(f->pmdp, own_pmd(f, hf_page_pfn(mm->sys, head)), release);
}

/* Reads get a page of their own, too: there is no huge zeropage for hugetlb. */
static int first_touch(struct hugetlb_fault *f)
{
	struct hf_system *sys = f->vma->mm->sys;
	bool reserved = f->pmd == HF_PMD_RESERVED;
	struct hf_page *head;

	hf_mutex_lock(sys, &f->table->ptl);
	f->again = hf_ld(f->pmdp, relaxed) != f->pmd;
	/* the pool's lock is a leaf lock, and zeroing here keeps the reservation and its use one */
	head = f->again ? NULL : pool_alloc(sys, reserved);
	if (head) {
		hf_fill(hf_page_data(sys, head), 0, HF_PMD_SIZE);
		install(f, head);
	}
	hf_mutex_unlock(sys, &f->table->ptl);
	return f->again || head ? 0 : -HF_ENOMEM;
}

/* In a private mapping of a file: the file has no pages of its own, for nobody can write to it by
 * another way. fault_lock keeps truncation away, which passes over empty PMDs. */
static int first_touch_of_file(struct hugetlb_fault *f)
{
	struct hf_system *sys = f->vma->mm->sys;
	const struct hf_file *file = f->vma->file;
	int ret = -HF_EFAULT;

	hf_mutex_lock(sys, &sys->hugetlb.fault_lock);
	if (hf_file_index(f->vma, f->addr) / HF_PMD_PAGES < hf_file_pages(file))
		ret = first_touch(f);
	hf_mutex_unlock(sys, &sys->hugetlb.fault_lock);
	return ret;
}

/* A copy of the folio, for whom the pool has a page that nobody has reserved. */
struct hf_page *hf_hugetlb_copy(struct hf_system *sys, struct hf_page *head)
{
	struct hf_page *copy = pool_alloc(sys, false);

	if (copy)
		sys->pf->copy(sys->pf->ctx, hf_page_data(sys, copy), hf_page_data(sys, head),
			      HF_PMD_SIZE);
	return copy;
}

/* ptl is held. The old folio is the caller's then. */
static int copy_folio(struct hugetlb_fault *f, struct hf_page *old)
{
	struct hf_mm *mm = f->vma->mm;
	struct hf_page *copy = hf_hugetlb_copy(mm->sys, old);

	hf_assert_ptl_held(f->table);
	if (!copy)
		return -HF_ENOMEM;
	hf_st(f->pmdp, HF_PMD_RESERVED, relaxed); /* walks pass over what is empty */
	hf_tlb_flush(mm);
	install(f, copy);
	hf_folio_remove_pmd_rmap(mm, old);
	hf_count(mm->sys, f->flags & HF_FAULT_FLAG_UNSHARE ? HF_STAT_UNSHARES : HF_STAT_COW_COPIES,
		 1);
	return 0;
}

static void keep(const struct hugetlb_fault *f)
{
	hf_keep_page(f->vma, f->flags, f->pmdp);
	hf_or(f->pmdp, forced(f), release);
}

/* ptl held, and fault_lock for whom wants a page of his own. *old: what is not mapped any more. */
static int present_locked(struct hugetlb_fault *f, struct hf_page **old)
{
	struct hf_mm *mm = f->vma->mm;
	struct hf_page *head;
	int err = 0;

	hf_assert_ptl_held(f->table);
	hf_assert(!hf_wants_own_page(f->flags) ||
		  hf_is_held(mm->sys, &mm->sys->hugetlb.fault_lock));
	f->pmd = hf_ld(f->pmdp, relaxed);
	f->again = !hf_pte_present(f->pmd);
	if (f->again)
		return 0;
	head = hf_pfn_page(mm->sys, hf_pte_pfn(f->pmd));
	if (hf_pte_write(f->pmd) || !hf_wants_own_page(f->flags) || hf_page_marked(mm->sys, head) ||
	    hf_mark_prove(mm, head, mm->sys->policy->hugetlb_reuse)) {
		keep(f);
	} else {
		err = copy_folio(f, head);
		*old = err ? NULL : head;
	}
	return err;
}

/*
 * One fault at a time looks whether it needs a copy, until it has let go of the old folio: of two
 * that share one the second has it to himself then, where both at once would take two pages out of
 * a pool that may have one left.
 */
static int present_fault(struct hugetlb_fault *f)
{
	struct hf_system *sys = f->vma->mm->sys;
	struct hf_page *old = NULL;
	int ret;

	if (hf_wants_own_page(f->flags))
		hf_mutex_lock(sys, &sys->hugetlb.fault_lock);
	hf_mutex_lock(sys, &f->table->ptl);
	ret = present_locked(f, &old);
	hf_mutex_unlock(sys, &f->table->ptl);
	if (old)
		hf_page_put(sys, old);
	if (hf_wants_own_page(f->flags))
		hf_mutex_unlock(sys, &sys->hugetlb.fault_lock);
	return ret;
}

static int fault_once(struct hugetlb_fault *f)
{
	f->pmd = hf_ld(f->pmdp, relaxed); /* looked at again under ptl */
	if (f->pmd == HF_PMD_ABSENT)
		return -HF_EFAULT;
	if (hf_pte_present(f->pmd))
		return present_fault(f);
	return f->vma->file ? first_touch_of_file(f) : first_touch(f);
}

int hf_hugetlb_fault(struct hf_vma *vma, uint64_t addr, unsigned flags)
{
	struct hugetlb_fault f = { .vma = vma, .addr = addr & HF_PMD_MASK, .flags = flags };
	int err;

	hf_assert_mmap_locked(vma->mm);
	hf_assert(vma->flags & HF_VM_HUGETLB);
	f.table = hf_pmd_table_alloc(vma->mm, addr);
	if (!f.table)
		return -HF_ENOMEM;
	f.pmdp = hf_pmd_entry(f.table, addr);
	do {
		f.again = false;
		err = fault_once(&f);
	} while (!err && f.again);
	return err;
}
