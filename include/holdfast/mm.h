/* SPDX-License-Identifier: MIT */
/*
 * Systems (machines), address spaces, access, faults and fork.
 *
 * CAVEATS FIRST
 *  - Addresses are virtual addresses of the simulated machine: 48 bits, 4 KiB pages. They are
 *    never host pointers.
 *  - Every call is safe against every other call on the same mm, except hf_system_destroy(),
 *    which must be the last, and the last hf_mm_put(), after which that mm must not be used.
 *  - The library never prints, never exits and never sets errno: 0 or a count on success,
 *    negative errno otherwise.
 *  - On any error everything the call did is undone, except where the call says that it stops
 *    in the middle.
 *  - No call may be made from inside a platform callback.
 */
#ifndef HOLDFAST_MM_H
#define HOLDFAST_MM_H

#include <holdfast/platform.h>
#include <holdfast/policy.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_PAGE_SHIFT 12
#define HF_PAGE_SIZE (1ul << HF_PAGE_SHIFT)
#define HF_PAGE_MASK (~(HF_PAGE_SIZE - 1))
/* Mappings lie in [HF_TASK_MIN, HF_TASK_SIZE). */
#define HF_TASK_MIN 0x10000ul
#define HF_TASK_SIZE 0x800000000000ul

struct hf_system;

/* ---- a machine ---- */

/* junk-fill freed frames, check the junk on allocation, unpin check on */
#define HF_SYSTEM_DEBUG (1u << 0)
/* "the mark still stands" at every unpin, whatever the policy says */
#define HF_SYSTEM_UNPIN_CHECK (1u << 1)

struct hf_system_config {
	const struct hf_platform *platform; /* must outlive the system */
	const struct hf_policy *policy;     /* NULL: hf_policy_default() */
	size_t nr_frames; /* frames of the machine, 1 of them the zeropage; at least 16 */
	/* The last so many of them are the movable zone: a page there is moved away by a long-term
	 * pin; at most nr_frames - 16. */
	size_t nr_movable;
	unsigned flags; /* HF_SYSTEM_* */
};

struct hf_system_stats {
	size_t nr_frames, nr_free; /* nr_free counts per-thread caches too */
	size_t nr_mms;
	uint64_t faults, cow_copies, cow_reuses, unshares, fork_copies;
	/* As nr_foll_pin_acquired and _released in /proc/vmstat: zeropage excluded. */
	uint64_t pins_acquired, pins_released;
	uint64_t fast_fallbacks; /* GUP-fast gave way to the slow path */
	uint64_t unpin_check_failures;
	uint64_t swap_ins, swap_outs;    /* pages read from and written to the device */
	uint64_t migrations;             /* folios */
	uint64_t thp_faults, thp_splits; /* PMDs mapped by a fault, and split */
	uint64_t collapses;
	uint64_t ksm_merges; /* pages merged away */
};

/* Errors: -EINVAL (config), -ENOMEM. */
int hf_system_create(const struct hf_system_config *config, struct hf_system **out);
/* Frees the machine. -EBUSY, and nothing is freed,
 * while an mm or a reference to one of its pages is left. */
int hf_system_destroy(struct hf_system *sys);
void hf_system_stats(struct hf_system *sys, struct hf_system_stats *stats);
/*
 * Which sizes faults in HUGEPAGE mappings may use, as /sys/kernel/mm/transparent_hugepage: bit n
 * allows folios of 2^n pages, n from 1 to 9; bit 9, the only one set at first, is mapped by a PMD.
 * -EINVAL: other bits.
 */
int hf_system_set_thp(struct hf_system *sys, uint32_t orders);
/*
 * The hugetlb pool, as /proc/sys/vm/nr_hugepages: grows by free blocks as far as there are any, and
 * shrinks by pages that are neither used nor reserved. Returns its size.
 */
size_t hf_system_set_hugepages(struct hf_system *sys, size_t nr);
const struct hf_policy *hf_system_policy(const struct hf_system *sys);

/* ---- address spaces ---- */

/* A new, empty address space with one user. -ENOMEM. */
int hf_mm_create(struct hf_system *sys, struct hf_mm **out);
void hf_mm_get(struct hf_mm *mm);
/* Drops a user. The last one unmaps everything and frees the mm;
 * pins and gets on its pages stay valid. */
void hf_mm_put(struct hf_mm *mm);

/*
 * fork: *child becomes a copy of `parent` as of one instant, by the policy's rules.
 *
 * Stores of other threads race with it. Under a policy with fork_one_instant (holdfast) the child
 * shows one instant of the parent; under the Linux policies a page that is copied early may be
 * torn, as in Linux. What devices write through pins meanwhile may or may not be in the child.
 * Errors: -ENOMEM (no memory, or no frame for an early copy), -EBUSY (the policy refuses to fork
 * while pages are pinned). On error there is no child; a mark that was cleared before the error
 * stays cleared, as in Linux: the next write or pin fault proves ownership again.
 */
int hf_mm_fork(struct hf_mm *parent, struct hf_mm **child);

/* ---- mappings ---- */

#define HF_PROT_NONE 0u
#define HF_PROT_READ (1u << 0)
#define HF_PROT_WRITE (1u << 1)

#define HF_MAP_FIXED (1u << 0)           /* at *addr exactly; what was there is unmapped */
#define HF_MAP_FIXED_NOREPLACE (1u << 1) /* at *addr exactly, or -EEXIST */
/* fault everything in, for write where prot allows; failures are not errors */
#define HF_MAP_POPULATE (1u << 2)
/* 2 MiB pages of the pool, all reserved now; address and length are theirs (the length is rounded
 * up). No page of it is split, swapped, migrated or merged. */
#define HF_MAP_HUGETLB (1u << 3)
#define HF_MAP_SHARED (1u << 4) /* of hf_mmap_file() */

/*
 * Maps `len` bytes (rounded up to pages) of private anonymous memory. *addr: hint or exact address
 * in, address out.
 *
 * Errors: -EINVAL (len 0, unaligned fixed address, unknown flags or prot), -ENOMEM (no
 * address space or memory, too many mappings, too few pages left in the hugetlb pool; with
 * HF_MAP_FIXED what was there may be gone, as in Linux), -EEXIST.
 */
int hf_mmap(struct hf_mm *mm, uint64_t *addr, size_t len, unsigned prot, unsigned flags);
/* Unmaps the pages of [addr, addr+len); holes are fine. -EINVAL (alignment, range, part of a
 * hugetlb page), -ENOMEM (split needs memory). */
int hf_munmap(struct hf_mm *mm, uint64_t addr, size_t len);
/* Errors: -EINVAL (alignment, range, prot; a part of a hugetlb page), -ENOMEM (a hole in the range,
 * or no memory). What precedes the hole, or the hugetlb page, is changed, as in Linux. */
int hf_mprotect(struct hf_mm *mm, uint64_t addr, size_t len, unsigned prot);

#define HF_MREMAP_MAYMOVE (1u << 0)
/* To *new_addr exactly, unmapping what is there; needs MAYMOVE. */
#define HF_MREMAP_FIXED (1u << 1)

/*
 * Resizes or moves one mapping. Pages, marks and pins move with the addresses. old_len and new_len
 * must not be 0.
 *
 * A range that moves to a fixed address and keeps its length may have several mappings, and holes
 * behind the first page, if the policy says so (remap_spans): each mapping moves, the holes hide
 * nothing at the new place.
 *
 * Errors: -EINVAL (alignment, flags, overlap; a hugetlb mapping that the policy does not move, that
 * would grow, or whose pages are not met), -EFAULT (the old range begins with a hole, or is not one
 * mapping; where mappings are moved one by one, one of several that userfaultfd watches: those
 * before it have moved), -ENOMEM. With HF_MREMAP_FIXED what was at the new address may be gone
 * after an error, as in Linux.
 */
int hf_mremap(struct hf_mm *mm, uint64_t old_addr, size_t old_len, size_t new_len, unsigned flags,
	      uint64_t *new_addr);

enum hf_advice {
	HF_MADV_DONTNEED,       /* drop the pages; next access reads zeros */
	HF_MADV_DONTFORK,       /* the range is absent from children */
	HF_MADV_DOFORK,         /* undo DONTFORK */
	HF_MADV_WIPEONFORK,     /* children see zeros */
	HF_MADV_KEEPONFORK,     /* undo WIPEONFORK */
	HF_MADV_POPULATE_READ,  /* fault in, readable */
	HF_MADV_POPULATE_WRITE, /* fault in, writable */
	HF_MADV_PAGEOUT,        /* to swap, what can be: not pinned, mapped here only */
	HF_MADV_COLD,           /* the first to go when frames are short */
	HF_MADV_FREE,           /* contents may be dropped, until the next store to the page */
	HF_MADV_HUGEPAGE,       /* faults use large folios, as hf_system_set_thp() allows */
	HF_MADV_NOHUGEPAGE,     /* undo HUGEPAGE */
	HF_MADV_MERGEABLE,      /* hf_ksm_scan() may merge pages that are alike */
	HF_MADV_UNMERGEABLE,    /* undo MERGEABLE; what was merged is copied */
	HF_MADV_COLLAPSE,       /* small pages become folios that PMDs map, now */
};

/*
 * Errors: -EINVAL (range, advice; POPULATE_*: the mapping's protection forbids it; FREE,
 * WIPEONFORK: a mapping of a file; FREE, WIPEONFORK, PAGEOUT, COLD: a hugetlb mapping; a part of a
 * hugetlb page, where it matters): what precedes such a mapping has been advised, as in Linux;
 * -ENOMEM (a hole: the rest of the range is still advised, as in Linux, except by POPULATE_*; or no
 * memory), -EFAULT (POPULATE_*: a page omitted by fork), -EAGAIN (COLLAPSE: somebody holds a page;
 * COLLAPSE stops there, and gives -EINVAL for a range without a whole PMD or without pages, or, in
 * eras that ask for it, without a writable entry).
 */
int hf_madvise(struct hf_mm *mm, uint64_t addr, size_t len, enum hf_advice advice);

/*
 * Makes present entries read-only without touching protections or marks: what clearing soft-dirty
 * bits or arming userfaultfd write-protection in asynchronous mode does to page tables. The next
 * store takes a write fault. Errors: -EINVAL.
 */
int hf_wrprotect(struct hf_mm *mm, uint64_t addr, size_t len);

/*
 * The range is watched page by page from now on: faults make no folios smaller than a PMD there. A
 * child is not watched. Errors: -EINVAL, -ENOMEM (a hole, or no memory).
 */
int hf_uffd_register(struct hf_mm *mm, uint64_t addr, size_t len);

/*
 * Write tracking. Soft-dirty, as /proc/PID/clear_refs and pagemap: the bits of all pages are
 * cleared, and a store sets its page's again (hf_page_info.soft_dirty). Under the Linux policies a
 * writable page that looks pinned keeps its bit.
 */
void hf_clear_soft_dirty(struct hf_mm *mm);
/*
 * Userfaultfd's write-protection in its asynchronous mode: what is mapped is marked
 * (hf_page_info.uffd_wp) until it is stored to. Copies that are made without a store (unshare,
 * fork) stay marked. Errors: -EINVAL (range), -ENOMEM (a hole).
 */
int hf_uffd_writeprotect(struct hf_mm *mm, uint64_t addr, size_t len, bool protect);

/*
 * UFFDIO_MOVE: the pages of [src, src + len) move to dst, where nothing may be mapped, without
 * copying. Both ranges lie in anonymous mappings that can be written to. Small pages only: -EBUSY
 * for one that is pinned, shared, or of a large folio; -EEXIST: something is at its destination;
 * -EAGAIN: somebody is at work on it; -EINVAL (ranges, mappings). Pages that were never touched are
 * passed over. What lies before the error has moved; returns how many bytes were done, if any.
 */
int64_t hf_uffd_move(struct hf_mm *mm, uint64_t dst, uint64_t src, size_t len);

/* ---- access: what a CPU does ---- */

/*
 * One load or store of 1, 2, 4 or 8 bytes, naturally aligned: single-copy atomic, faulting as
 * needed. Errors: -EINVAL (size, alignment), -EFAULT (no mapping, protection, absent page),
 * -ENOMEM, -EIO (swap).
 */
int hf_load(struct hf_mm *mm, uint64_t addr, void *value, size_t size);
int hf_store(struct hf_mm *mm, uint64_t addr, const void *value, size_t size);
/*
 * Copies `len` bytes in or out, page by page, faulting as needed. Returns the bytes copied: short
 * when a later page failed, the error when nothing was copied. Errors as hf_load().
 */
int64_t hf_copy_from_user(struct hf_mm *mm, void *to, uint64_t from, size_t len);
int64_t hf_copy_to_user(struct hf_mm *mm, uint64_t to, const void *from, size_t len);

#define HF_FAULT_FLAG_WRITE (1u << 0)
/* COW logic without "map writable" and without dirtying; excludes WRITE */
#define HF_FAULT_FLAG_UNSHARE (1u << 1)
/* for GUP: VMA protection was checked by the caller (FORCE) */
#define HF_FAULT_FLAG_REMOTE (1u << 2)

/*
 * Resolves one fault; what an access that finds no suitable entry does before it tries again.
 * Without WRITE or UNSHARE it is a read fault. Takes mmap_lock for read. Errors: -EINVAL (flags),
 * -EFAULT (no mapping, protection), -ENOMEM.
 */
int hf_handle_mm_fault(struct hf_mm *mm, uint64_t addr, unsigned flags);

/* ---- looking ---- */

#define HF_PFN_NONE UINT64_MAX

struct hf_page_info {
	uint64_t pfn; /* HF_PFN_NONE when nothing is mapped */
	bool present, writable, dirty, young;
	bool soft_dirty, uffd_wp; /* of entries that are away, too */
	bool zeropage, anon, exclusive;
	bool absent;             /* omitted by fork: access fails */
	bool swapped;            /* on the swap device */
	bool ksm;                /* merged */
	bool pmd;                /* mapped by a PMD */
	unsigned order;          /* of its folio: 2^order pages */
	uint32_t refs;           /* of the folio */
	uint32_t pins, mapcount; /* of the page */
};

/* What is mapped at addr now. Never faults. -EFAULT: no mapping there. */
int hf_mm_page_info(struct hf_mm *mm, uint64_t addr, struct hf_page_info *info);

/* Called once for each entry that maps a page; a non-zero return ends the walk and is returned. */
typedef int (*hf_rmap_fn)(struct hf_mm *mm, uint64_t addr, void *arg);
/*
 * Finds every mapping of an anonymous page by its reverse map. 0 when the page is not mapped. Takes
 * the anon_vma lock and ptls; fn is called under both and must not call the library. -EINVAL: no
 * such frame.
 */
int hf_rmap_walk(struct hf_system *sys, uint64_t pfn, hf_rmap_fn fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
