/* SPDX-License-Identifier: MIT */
/*
 * What a CPU does: translate, set the accessed and dirty bits, move the bytes.
 *
 * tlb_begin() makes the translation count as cached: whoever takes the entry away and flushes waits
 * until the bytes have moved. So an access races with fork, unmap and copy-on-write as on hardware,
 * and never touches a freed frame.
 */
#include "internal.h"

struct access {
	struct hf_mm *mm;
	bool write;
	bool whole; /* one load or store of len bytes */
};

static void move_whole(void *to, const void *from, size_t len, bool store)
{
#define MOVE(type)                                                                                 \
	do {                                                                                       \
		if (store) {                                                                       \
			type value;                                                                \
			__builtin_memcpy(&value, from, sizeof(value));                             \
			hf_st((_Atomic type *)to, value, relaxed);                                 \
		} else {                                                                           \
			type value = hf_ld((_Atomic type *)(uintptr_t)from, relaxed);              \
			__builtin_memcpy(to, &value, sizeof(value));                               \
		}                                                                                  \
	} while (0)
	switch (len) {
	case 1:
		MOVE(uint8_t);
		break;
	case 2:
		MOVE(uint16_t);
		break;
	case 4:
		MOVE(uint32_t);
		break;
	default:
		MOVE(uint64_t);
	}
#undef MOVE
}

static void move(const struct access *a, unsigned char *frame, void *buf, size_t len)
{
	const struct hf_platform *pf = a->mm->sys->pf;
	void *to = a->write ? (void *)frame : buf;
	const void *from = a->write ? buf : (void *)frame;

	if (a->whole)
		move_whole(to, from, len, a->write);
	else
		pf->copy(pf->ctx, to, from, len);
}

enum translation { TRANSLATED, NEEDS_FAULT, CHANGED };

static enum translation translate_and_move(const struct access *a, uint64_t addr, void *buf,
					   size_t len)
{
	uint64_t need = a->write ? HF_PTE_YOUNG | HF_PTE_DIRTY : HF_PTE_YOUNG;
	struct hf_system *sys = a->mm->sys;
	struct hf_table *pmds = hf_pmd_table(a->mm, addr);
	_Atomic uint64_t *ptep;
	uint64_t offset = addr & ~HF_PAGE_MASK;
	hf_pte pte;

	if (!pmds)
		return NEEDS_FAULT;
	ptep = hf_pmd_entry(pmds, addr);
	pte = hf_ld(ptep, acquire);
	if (!pte)
		return NEEDS_FAULT;
	if (hf_pmd_huge(pte)) {
		offset = addr & ~HF_PMD_MASK;
	} else {
		ptep = &hf_entry_table(pte)->entry[hf_pte_index(addr)];
		pte = hf_ld(ptep, acquire);
	}
	if (!hf_pte_present(pte) || pte & HF_PTE_PROTNONE || (a->write && !hf_pte_write(pte)))
		return NEEDS_FAULT;
	/* relaxed: the entry was acquired, and who takes it away waits for us in its flush */
	if ((pte & need) != need && !hf_cas(ptep, &pte, pte | need, relaxed))
		return CHANGED;
	move(a, sys->frames + hf_pte_pfn(pte) * HF_PAGE_SIZE + offset, buf, len);
	return TRANSLATED;
}

/* [addr, addr + len) lies in one page. */
static int access_page(const struct access *a, uint64_t addr, void *buf, size_t len)
{
	const struct hf_platform *pf = a->mm->sys->pf;

	for (;;) {
		enum translation t;
		int err;

		pf->tlb_begin(pf->ctx, a->mm->asid);
		t = translate_and_move(a, addr, buf, len);
		pf->tlb_end(pf->ctx);
		if (t == TRANSLATED)
			return 0;
		if (t == CHANGED)
			continue;
		err = hf_handle_mm_fault(a->mm, addr, a->write ? HF_FAULT_FLAG_WRITE : 0);
		if (err)
			return err;
	}
}

static bool addr_ok(uint64_t addr, size_t len)
{
	return addr < HF_TASK_SIZE && len <= HF_TASK_SIZE - addr;
}

static int access_whole(struct hf_mm *mm, uint64_t addr, void *buf, size_t size, bool write)
{
	struct access a = { .mm = mm, .write = write, .whole = true };

	if ((size != 1 && size != 2 && size != 4 && size != 8) || addr % size)
		return -HF_EINVAL;
	if (!addr_ok(addr, size))
		return -HF_EFAULT;
	return access_page(&a, addr, buf, size);
}

int hf_load(struct hf_mm *mm, uint64_t addr, void *value, size_t size)
{
	return access_whole(mm, addr, value, size, false);
}

int hf_store(struct hf_mm *mm, uint64_t addr, const void *value, size_t size)
{
	return access_whole(mm, addr, (void *)(uintptr_t)value, size, true);
}

static int64_t access_range(struct hf_mm *mm, uint64_t addr, unsigned char *buf, size_t len,
			    bool write)
{
	struct access a = { .mm = mm, .write = write };
	size_t done = 0;

	if (!addr_ok(addr, len))
		return -HF_EFAULT;
	while (done < len) {
		size_t in_page = HF_PAGE_SIZE - ((addr + done) & ~HF_PAGE_MASK);
		size_t n = in_page < len - done ? in_page : len - done;
		int err = access_page(&a, addr + done, buf + done, n);

		if (err)
			return done ? (int64_t)done : err;
		done += n;
	}
	return (int64_t)done;
}

int64_t hf_copy_from_user(struct hf_mm *mm, void *to, uint64_t from, size_t len)
{
	return access_range(mm, from, to, len, false);
}

int64_t hf_copy_to_user(struct hf_mm *mm, uint64_t to, const void *from, size_t len)
{
	return access_range(mm, to, (unsigned char *)(uintptr_t)from, len, true);
}
