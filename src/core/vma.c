/* SPDX-License-Identifier: MIT */
/* The VMAs of an address space: a sorted array, because look-ups outnumber changes by far. */
#include "internal.h"

#define MMAP_BASE 0x100000000ull

size_t hf_vma_index(const struct hf_mm *mm, uint64_t addr)
{
	size_t lo = 0, hi = mm->nr_vmas;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (mm->vmas[mid]->end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct hf_vma *hf_vma_find(const struct hf_mm *mm, uint64_t addr)
{
	size_t i = hf_vma_index(mm, addr);

	return i < mm->nr_vmas && mm->vmas[i]->start <= addr ? mm->vmas[i] : NULL;
}

void hf_vmas_add(struct hf_vmas *list, struct hf_vma *vma, enum hf_vma_list which)
{
	hf_assert(!list->first == !list->last);
	vma->link[which] = (struct hf_vma_link){ .prev = list->last };
	if (list->last)
		list->last->link[which].next = vma;
	else
		list->first = vma;
	list->last = vma;
}

void hf_vmas_remove(struct hf_vmas *list, struct hf_vma *vma, enum hf_vma_list which)
{
	struct hf_vma_link *link = &vma->link[which];

	hf_assert((link->prev ? link->prev->link[which].next : list->first) == vma);
	hf_assert((link->next ? link->next->link[which].prev : list->last) == vma);
	if (link->prev)
		link->prev->link[which].next = link->next;
	else
		list->first = link->next;
	if (link->next)
		link->next->link[which].prev = link->prev;
	else
		list->last = link->prev;
}

void hf_bounds_lock(struct hf_vma *vma)
{
	if (vma->file)
		hf_mutex_lock(vma->mm->sys, &vma->file->lock);
	hf_mutex_lock(vma->mm->sys, &vma->anon_vma->lock);
}

void hf_bounds_unlock(struct hf_vma *vma)
{
	hf_mutex_unlock(vma->mm->sys, &vma->anon_vma->lock);
	if (vma->file)
		hf_mutex_unlock(vma->mm->sys, &vma->file->lock);
}

static void link_vma(struct hf_anon_vma *av, struct hf_vma *vma)
{
	hf_assert(!vma->file || hf_is_held(vma->mm->sys, &vma->file->lock));
	hf_anon_vma_link(av, vma);
	if (vma->file)
		hf_file_link(vma);
}

static void unlink_vma(struct hf_vma *vma)
{
	hf_anon_vma_unlink(vma);
	if (vma->file)
		hf_file_unlink(vma);
}

static int reserve_slot(struct hf_mm *mm)
{
	size_t cap = mm->cap_vmas ? mm->cap_vmas * 2 : 16;
	struct hf_vma **vmas;

	hf_assert_mmap_write_locked(mm);
	hf_assert(mm->nr_vmas <= mm->cap_vmas);
	if (mm->nr_vmas >= HF_MAX_MAP_COUNT)
		return -HF_ENOMEM;
	if (mm->nr_vmas < mm->cap_vmas)
		return 0;
	vmas = hf_alloc(mm->sys, cap * sizeof(*vmas));
	if (!vmas)
		return -HF_ENOMEM;
	if (mm->cap_vmas) {
		__builtin_memcpy(vmas, mm->vmas, mm->nr_vmas * sizeof(*vmas));
		hf_free(mm->sys, mm->vmas, mm->cap_vmas * sizeof(*vmas));
	}
	mm->vmas = vmas;
	mm->cap_vmas = cap;
	return 0;
}

/* A slot is reserved. */
static void array_insert(struct hf_mm *mm, struct hf_vma *vma)
{
	size_t i = hf_vma_index(mm, vma->start);

	hf_assert_mmap_write_locked(mm);
	hf_assert(mm->nr_vmas < mm->cap_vmas);
	hf_assert(!i || mm->vmas[i - 1]->end <= vma->start);
	hf_assert(i == mm->nr_vmas || vma->end <= mm->vmas[i]->start);
	__builtin_memmove(&mm->vmas[i + 1], &mm->vmas[i], (mm->nr_vmas - i) * sizeof(*mm->vmas));
	mm->vmas[i] = vma;
	mm->nr_vmas++;
}

/* Not yet linked or inserted; a slot is reserved for it. */
static struct hf_vma *vma_new(struct hf_mm *mm, uint64_t start, uint64_t end,
			      const struct hf_vma *like, uint64_t pgoff)
{
	struct hf_vma *vma;

	hf_assert(start < end && !((start | end) & ~HF_PAGE_MASK));
	if (reserve_slot(mm))
		return NULL;
	vma = hf_alloc(mm->sys, sizeof(*vma));
	if (vma)
		*vma = (struct hf_vma){
			.mm = mm,
			.start = start,
			.end = end,
			.pgoff = pgoff,
			.prot = like->prot,
			.flags = like->flags,
			.anon_vma = like->anon_vma,
			.file = like->file,
			.file_delta = like->file_delta,
		};
	if (vma && vma->file)
		hf_file_get(vma->file);
	return vma;
}

int hf_vma_insert(struct hf_mm *mm, uint64_t start, uint64_t end, const struct hf_vma *like,
		  uint64_t pgoff)
{
	struct hf_vma *vma = vma_new(mm, start, end, like, pgoff);

	if (!vma)
		return -HF_ENOMEM;
	hf_bounds_lock(vma);
	link_vma(like->anon_vma, vma);
	hf_bounds_unlock(vma);
	array_insert(mm, vma);
	return 0;
}

void hf_vma_set_end(struct hf_vma *vma, uint64_t end)
{
	hf_assert_mmap_write_locked(vma->mm);
	hf_assert(vma->start < end && !(end & ~HF_PAGE_MASK));
	hf_bounds_lock(vma);
	vma->end = end;
	hf_bounds_unlock(vma);
}

int hf_vma_split(struct hf_mm *mm, uint64_t addr)
{
	struct hf_vma *vma = hf_vma_find(mm, addr), *upper;

	hf_assert_mmap_write_locked(mm);
	hf_assert(!(addr & ~HF_PAGE_MASK));
	if (!vma || vma->start == addr)
		return 0;
	if (vma->flags & HF_VM_HUGETLB && addr & ~HF_PMD_MASK)
		return -HF_EINVAL;
	if (addr & ~HF_PMD_MASK)
		hf_split_huge_pmd_at(mm, addr); /* it maps one VMA's pages only */
	upper = vma_new(mm, addr, vma->end, vma,
			vma->pgoff + ((addr - vma->start) >> HF_PAGE_SHIFT));
	if (!upper)
		return -HF_ENOMEM;
	/* in one step, so that a reverse-map walk sees each page once */
	hf_bounds_lock(vma);
	vma->end = addr;
	link_vma(vma->anon_vma, upper);
	hf_bounds_unlock(vma);
	array_insert(mm, upper);
	return 0;
}

static void array_remove(struct hf_mm *mm, size_t index)
{
	hf_assert_mmap_write_locked(mm);
	hf_assert(index < mm->nr_vmas);
	mm->nr_vmas--;
	__builtin_memmove(&mm->vmas[index], &mm->vmas[index + 1],
			  (mm->nr_vmas - index) * sizeof(*mm->vmas));
}

static void vma_free(struct hf_vma *vma)
{
	hf_anon_vma_put(vma->anon_vma);
	if (vma->file)
		hf_file_put(vma->file);
	hf_free(vma->mm->sys, vma, sizeof(*vma));
}

void hf_vma_remove(struct hf_mm *mm, size_t index)
{
	struct hf_vma *vma = mm->vmas[index];

	array_remove(mm, index);
	hf_bounds_lock(vma);
	unlink_vma(vma);
	hf_bounds_unlock(vma);
	vma_free(vma);
}

static bool mergeable(const struct hf_vma *a, const struct hf_vma *b)
{
	uint64_t pages = (a->end - a->start) >> HF_PAGE_SHIFT;

	return a->end == b->start && a->prot == b->prot && a->flags == b->flags &&
	       a->anon_vma == b->anon_vma && a->pgoff + pages == b->pgoff && a->file == b->file &&
	       a->file_delta == b->file_delta;
}

static void merge_with_next(struct hf_mm *mm, size_t index)
{
	struct hf_vma *vma = mm->vmas[index], *upper = mm->vmas[index + 1];

	hf_assert(index + 1 < mm->nr_vmas);
	array_remove(mm, index + 1);
	hf_bounds_lock(vma);
	vma->end = upper->end;
	unlink_vma(upper);
	hf_bounds_unlock(vma);
	vma_free(upper);
}

void hf_vma_merge(struct hf_mm *mm, uint64_t start, uint64_t end)
{
	size_t i = hf_vma_index(mm, start);

	hf_assert_mmap_write_locked(mm);
	i = i ? i - 1 : 0;
	while (i + 1 < mm->nr_vmas && mm->vmas[i]->start <= end) {
		if (mergeable(mm->vmas[i], mm->vmas[i + 1]))
			merge_with_next(mm, i);
		else
			i++;
	}
}

uint64_t hf_vma_gap(const struct hf_mm *mm, size_t len)
{
	uint64_t addr = MMAP_BASE;

	for (size_t i = hf_vma_index(mm, addr); i < mm->nr_vmas; i++) {
		if (mm->vmas[i]->start >= addr && mm->vmas[i]->start - addr >= len)
			break;
		addr = mm->vmas[i]->end;
	}
	return len <= HF_TASK_SIZE - addr ? addr : 0;
}

bool hf_vma_covers(const struct hf_mm *mm, uint64_t start, uint64_t end)
{
	for (size_t i = hf_vma_index(mm, start); start < end; i++) {
		if (i >= mm->nr_vmas || mm->vmas[i]->start > start)
			return false;
		start = mm->vmas[i]->end;
	}
	return true;
}
