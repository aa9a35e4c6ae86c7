/* SPDX-License-Identifier: MIT */
/*
 * Files: the page cache of each, its mappings, writeback, truncation.
 *
 * file->lock guards the cache, the list of mappings, and with the anon_vma lock their bounds. It
 * nests inside page locks, and outside anon_vma locks and ptls.
 */
#include "internal.h"

static size_t page_size(const struct hf_file *file)
{
	return file->hugetlb ? HF_PMD_SIZE : HF_PAGE_SIZE;
}

int hf_file_create(struct hf_system *sys, size_t size, const struct hf_backing *backing,
		   unsigned flags, struct hf_file **out)
{
	struct hf_file *file;

	*out = NULL;
	if (!size || flags & ~HF_FILE_HUGETLB || (backing && flags & HF_FILE_HUGETLB))
		return -HF_EINVAL;
	file = hf_alloc(sys, sizeof(*file));
	if (!file)
		return -HF_ENOMEM;
	*file = (struct hf_file){ .sys = sys, .backing = backing, .hugetlb = flags };
	file->cap = (size + page_size(file) - 1) / page_size(file);
	hf_st(&file->nr, file->cap, relaxed);
	hf_st(&file->nr_backed, file->cap, relaxed);
	file->pages = hf_alloc(sys, file->cap * sizeof(*file->pages));
	if (!file->pages) {
		hf_free(sys, file, sizeof(*file));
		return -HF_ENOMEM;
	}
	__builtin_memset(file->pages, 0, file->cap * sizeof(*file->pages));
	sys->pf->lock_init(sys->pf->ctx, &file->lock);
	atomic_init(&file->users, 1);
	*out = file;
	return 0;
}

void hf_file_get(struct hf_file *file)
{
	hf_ref_add(&file->users, 1, relaxed);
}

/* Those of hugetlb have none: see hf_hugetlb_fault(). */
static size_t nr_cached(const struct hf_file *file)
{
	return file->hugetlb ? 0 : hf_file_pages(file);
}

static void drop_page(struct hf_file *file, struct hf_page *page)
{
	hf_assert(hf_peek(&page->file) == file && hf_peek_refs(page));
	hf_st(&page->file, NULL, relaxed);
	hf_page_put(file->sys, page);
}

void hf_file_put(struct hf_file *file)
{
	struct hf_system *sys = file->sys;

	if (hf_ref_sub(&file->users, 1, acq_rel) != 1)
		return;
	hf_file_sync(file);
	for (size_t i = 0; i < nr_cached(file); i++)
		if (file->pages[i])
			drop_page(file, file->pages[i]);
	sys->pf->lock_destroy(sys->pf->ctx, &file->lock);
	hf_free(sys, file->pages, file->cap * sizeof(*file->pages));
	hf_free(sys, file, sizeof(*file));
}

/* ---- mappings ---- */

/* At the end, for the reason that hf_anon_vma_link() has: what a walk took away from the parent
 * fork does not copy to the child, and what it copied the walk still finds. */
void hf_file_link(struct hf_vma *vma)
{
	hf_assert_held(vma->file->sys, &vma->file->lock);
	hf_vmas_add(&vma->file->mappings, vma, HF_LIST_FILE);
}

void hf_file_unlink(struct hf_vma *vma)
{
	hf_assert_held(vma->file->sys, &vma->file->lock);
	hf_vmas_remove(&vma->file->mappings, vma, HF_LIST_FILE);
}

/* The address of a page of the file in a mapping; 0: it is not in it. */
static uint64_t address_in(const struct hf_vma *vma, uint64_t index)
{
	uint64_t at = index - vma->file_delta - vma->pgoff;

	return at < (vma->end - vma->start) >> HF_PAGE_SHIFT ? vma->start + (at << HF_PAGE_SHIFT)
							     : 0;
}

int hf_file_rmap_walk(struct hf_page *page, hf_rmap_fn fn, void *arg)
{
	struct hf_file *file = hf_ld(&page->file, relaxed); /* found in its cache, under its lock */
	struct hf_system *sys;
	int ret = 0;

	if (!file || file->hugetlb)
		return 0;
	sys = file->sys;
	/* keeps the tables, too: a VMA leaves the file before they go */
	hf_mutex_lock(sys, &file->lock);
	for (struct hf_vma *vma = file->mappings.first; vma && !ret;
	     vma = vma->link[HF_LIST_FILE].next) {
		uint64_t addr = address_in(vma, page->index);
		struct hf_table *table;
		uint32_t huge;
		_Atomic uint64_t *ptep = addr ? hf_pte_lock(vma->mm, addr, &table, &huge) : NULL;
		hf_pte pte;

		if (!ptep)
			continue;
		pte = hf_ld(ptep, relaxed);
		if (hf_pte_present(pte) && hf_pte_pfn(pte) == hf_page_pfn(sys, page))
			ret = fn(vma->mm, addr, arg);
		hf_mutex_unlock(sys, &table->ptl);
	}
	hf_mutex_unlock(sys, &file->lock);
	return ret;
}

/* ---- the cache ---- */

/* The page, if it is there, with a reference. -EFAULT: beyond the end. 1: not there. */
static int cached(struct hf_file *file, uint64_t index, struct hf_page **out)
{
	int ret = 1;

	hf_mutex_lock(file->sys, &file->lock);
	if (index >= hf_file_pages(file))
		ret = -HF_EFAULT;
	else if (file->pages[index])
		ret = 0;
	if (!ret) {
		*out = file->pages[index];
		hf_page_get(*out);
	}
	hf_mutex_unlock(file->sys, &file->lock);
	return ret;
}

/* Files' pages do not migrate. */
static struct hf_page *alloc_normal(struct hf_system *sys)
{
	struct hf_page *page = hf_folio_alloc_normal(sys, 0);
	unsigned tries = 0;

	while (!page && hf_reclaim_again(sys, HF_FOR_A_PAGE, &tries))
		page = hf_folio_alloc_normal(sys, 0);
	return page;
}

/* What was cut off once is zeros, whatever the backing has there. */
static bool is_backed(const struct hf_file *file, uint64_t index)
{
	return file->backing && index < hf_ld(&file->nr_backed, relaxed);
}

static int read_new(struct hf_file *file, uint64_t index, bool backed, struct hf_page **out)
{
	struct hf_system *sys = file->sys;
	struct hf_page *page = alloc_normal(sys);
	void *data = page ? hf_page_data(sys, page) : NULL;
	int err = 0;

	if (!page)
		return -HF_ENOMEM;
	if (backed)
		err = file->backing->read(file->backing->ctx, index, data);
	else
		hf_fill(data, 0, HF_PAGE_SIZE);
	if (err)
		hf_page_put(sys, page);
	*out = page;
	return err;
}

int hf_file_page(struct hf_file *file, uint64_t index, struct hf_page **out)
{
	struct hf_system *sys = file->sys;
	struct hf_page *page;
	bool backed = is_backed(file, index);
	int ret = cached(file, index, out);

	if (ret <= 0)
		return ret;
	ret = read_new(file, index, backed, &page);
	if (ret)
		return ret;
	hf_mutex_lock(sys, &file->lock);
	if (index < hf_file_pages(file) && !file->pages[index] &&
	    is_backed(file, index) == backed) {
		page->index = index;
		hf_st(&page->file, file, relaxed);
		file->pages[index] = page;
		hf_page_get(page); /* the cache's */
	} else {
		ret = 1; /* somebody was first, or it was cut off */
	}
	hf_mutex_unlock(sys, &file->lock);
	*out = page;
	if (!ret)
		return 0;
	hf_page_put(sys, page);
	return hf_file_page(file, index, out);
}

static int access_file(struct hf_file *file, uint64_t offset, unsigned char *buf, size_t len,
		       bool write)
{
	struct hf_system *sys = file->sys;

	if (file->hugetlb || offset > hf_file_pages(file) * HF_PAGE_SIZE ||
	    len > hf_file_pages(file) * HF_PAGE_SIZE - offset)
		return -HF_EINVAL;
	for (size_t n; len; offset += n, buf += n, len -= n) {
		size_t at = offset & ~HF_PAGE_MASK;
		struct hf_page *page;
		int err = hf_file_page(file, offset >> HF_PAGE_SHIFT, &page);

		if (err)
			return err == -HF_EFAULT ? -HF_EINVAL : err;
		n = HF_PAGE_SIZE - at < len ? HF_PAGE_SIZE - at : len;
		if (write) {
			sys->pf->copy(sys->pf->ctx, hf_page_data(sys, page) + at, buf, n);
			hf_page_set_dirty(page);
		} else {
			sys->pf->copy(sys->pf->ctx, buf, hf_page_data(sys, page) + at, n);
		}
		hf_page_put(sys, page);
	}
	return 0;
}

int hf_file_read(struct hf_file *file, uint64_t offset, void *to, size_t len)
{
	return access_file(file, offset, to, len, false);
}

int hf_file_write(struct hf_file *file, uint64_t offset, const void *from, size_t len)
{
	return access_file(file, offset, (unsigned char *)(uintptr_t)from, len, true);
}

/* ---- writeback ---- */

/* The next store takes a fault, and marks the page dirty again. */
static int clean_entry(struct hf_mm *mm, uint64_t addr, void *arg)
{
	_Atomic uint64_t *ptep = &hf_leaf(mm, addr)->entry[hf_pte_index(addr)];
	hf_pte pte = hf_and(ptep, ~(HF_PTE_WRITE | HF_PTE_DIRTY), relaxed);

	hf_assert_ptl_held(hf_leaf(mm, addr));
	hf_assert_page_locked(arg);
	hf_tlb_flush(mm);
	if (pte & HF_PTE_DIRTY)
		hf_page_set_dirty(arg);
	return 0;
}

static int write_page(struct hf_file *file, struct hf_page *page)
{
	struct hf_system *sys = file->sys;
	int err;

	hf_page_lock(sys, page);
	hf_file_rmap_walk(page, clean_entry, page);
	err = 0;
	if (hf_and(&page->flags, ~HF_PG_DIRTY, acquire) & HF_PG_DIRTY) {
		err = file->backing->write(file->backing->ctx, page->index,
					   hf_page_data(sys, page));
		if (err)
			hf_page_set_dirty(page);
	}
	hf_page_unlock(page);
	return err;
}

int hf_file_sync(struct hf_file *file)
{
	int first = 0;

	for (size_t i = 0; file->backing; i++) {
		struct hf_page *page;
		int err = cached(file, i, &page);

		if (err < 0)
			break;
		if (err > 0)
			continue;
		err = write_page(file, page);
		hf_page_put(file->sys, page);
		if (!first)
			first = err;
	}
	return first;
}

/* ---- truncation ---- */

/* Takes [start, end) of the VMA's file pages away;
 * the caller holds file->lock, which keeps the VMA. */
static void zap_mapping(struct hf_vma *vma, uint64_t from)
{
	uint64_t pages = (vma->end - vma->start) >> HF_PAGE_SHIFT;
	uint64_t first = vma->pgoff + vma->file_delta; /* the file's page at `start` */
	uint64_t skip = from > first ? from - first : 0;

	hf_assert_held(vma->mm->sys, &vma->file->lock);
	if (skip < pages)
		hf_zap_range(vma->mm, vma->start + (skip << HF_PAGE_SHIFT), vma->end);
}

static void truncate(struct hf_file *file, size_t nr)
{
	struct hf_system *sys = file->sys;
	size_t was;

	hf_mutex_lock(sys, &file->lock);
	was = hf_file_pages(file);
	if (hf_ld(&file->nr_backed, relaxed) > nr)
		hf_st(&file->nr_backed, nr, relaxed);
	/* a fault that has its page already looks again under ptl: its table is there, then, and
	 * its ptl is taken below */
	hf_st(&file->nr, nr, release);
	for (struct hf_vma *vma = file->mappings.first; vma && nr < was;
	     vma = vma->link[HF_LIST_FILE].next)
		zap_mapping(vma, nr * (page_size(file) / HF_PAGE_SIZE));
	for (size_t i = nr; i < was && !file->hugetlb; i++) {
		if (file->pages[i])
			drop_page(file, file->pages[i]);
		file->pages[i] = NULL;
	}
	hf_mutex_unlock(sys, &file->lock);
}

void hf_file_extend(struct hf_file *file, size_t nr)
{
	hf_mutex_lock(file->sys, &file->lock);
	if (hf_file_pages(file) < nr)
		hf_st(&file->nr, nr, relaxed);
	hf_mutex_unlock(file->sys, &file->lock);
}

int hf_file_truncate(struct hf_file *file, size_t size)
{
	struct hf_system *sys = file->sys;
	size_t nr = (size + page_size(file) - 1) / page_size(file);

	if (file->hugetlb ? size % HF_PMD_SIZE != 0 : nr > file->cap)
		return -HF_EINVAL;

	/* an empty PMD is passed over without its lock: no fault may be about to fill it */
	if (file->hugetlb)
		hf_mutex_lock(sys, &sys->hugetlb.fault_lock);
	truncate(file, nr);
	if (file->hugetlb)
		hf_mutex_unlock(sys, &sys->hugetlb.fault_lock);
	return 0;
}
