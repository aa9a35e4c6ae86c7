/* SPDX-License-Identifier: MIT */
/*
 * A policy: one complete set of copy-on-write and GUP rules.
 *
 * A policy is a constant table. Each field is a rule out of a small family (src/policy/: fork.c,
 * reuse.c, gup.c); src/policy/table.c puts the tables together. The rules only look at
 * pages and answer; all changes are made by the core, under its locks.
 */
#ifndef HOLDFAST_POLICY_H
#define HOLDFAST_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hf_mm;
struct hf_page;

/* FOLL flags, spelt as the kernel spells them. */
#define HF_FOLL_WRITE (1u << 0)    /* the reference will be written through */
#define HF_FOLL_GET (1u << 1)      /* a plain reference; excludes PIN */
#define HF_FOLL_PIN (1u << 2)      /* a pin; excludes GET */
#define HF_FOLL_LONGTERM (1u << 3) /* held for as long as the user likes; only with PIN */
#define HF_FOLL_FORCE (1u << 4)   /* bypass the VMA's protection where it could have been granted */
#define HF_FOLL_NOFAULT (1u << 5) /* take only what is mapped already */
#define HF_FOLL_FAST_ONLY (1u << 6) /* lockless walk or nothing; only for the _fast calls */

/* What fork does with one present anonymous page of the parent. */
enum hf_fork_action {
	HF_FORK_SHARE,  /* both map it read-only; the exclusive mark is cleared */
	HF_FORK_COPY,   /* the parent keeps it as it is; the child gets a copy now */
	HF_FORK_REFUSE, /* fork fails with -EBUSY */
	HF_FORK_OMIT,   /* the page is absent from the child: access there fails with -EFAULT */
};

/* What a read-only GUP does with a page that a store could still move away from. */
enum hf_gup_action {
	HF_GUP_TAKE,        /* reference it as it is */
	HF_GUP_UNSHARE,     /* unshare fault first */
	HF_GUP_WRITE_FAULT, /* write fault first */
	HF_GUP_FAIL,        /* the whole request fails with -EFAULT */
};

/* What a read-only GUP looks at, when the entry is present and not writable. */
struct hf_gup_view {
	bool anon;      /* an anonymous page; otherwise the shared zeropage */
	bool exclusive; /* its mark */
	unsigned flags; /* HF_FOLL_* */
};

/* Those who take references, for the question which kind. */
enum hf_user {
	HF_USER_ODIRECT_READ,     /* the device writes into memory */
	HF_USER_ODIRECT_WRITE,    /* the device reads memory */
	HF_USER_VMSPLICE,         /* user memory into a pipe */
	HF_USER_FIXEDBUF,         /* an io_uring registered buffer */
	HF_USER_PROCESS_VM_READ,  /* process_vm_readv() of another process */
	HF_USER_PROCESS_VM_WRITE, /* process_vm_writev() */
	HF_USER_PTRACE_READ,      /* ptrace and /proc/pid/mem */
	HF_USER_PTRACE_WRITE,
	HF_NR_USERS,
};

struct hf_policy {
	const char *name;
	const char *summary; /* one line for people */

	/*
	 * The exclusive mark exists: anonymous pages are born with it, GUP pins only pages that
	 * carry it (unless `pins_shared`), sharing clears it and fails on a pinned page.
	 */
	bool has_mark;
	/* Pins may also be held on pages without the mark, so unpin has nothing to check. */
	bool pins_shared;
	/* The unpin check is part of the policy (it runs
	 * in debug systems and where the caller asks). */
	bool unpin_check;
	/* Fork write-protects everything before it copies anything,
	 * so that its copies are one instant. */
	bool fork_one_instant;
	/* mprotect to writable makes the entry of an
	 * exclusive page writable without a fault (6.1). */
	bool mprotect_upgrades;
	/* A write fault on a swapped page counts references,
	 * not mappings, to find its owner (from 5.18 on). */
	bool swap_in_counts_refs;
	/* A page that is read from a swap device for its only entry is its process's own, even if
	 * it was not marked when it left: Linux goes past the swap cache then (5.19 to 6.18,
	 * devices that do I/O at once). */
	bool swap_in_owns_fresh;
	/* A large folio that went out whole comes back as one, if only one address space names its
	 * slots (6.12, devices that do I/O at once). */
	bool swap_in_folios;
	/* When a folio is taken apart, pages of zeros become the zeropage (6.12). */
	bool split_drops_zeros;
	/* A store to what userfaultfd write-protects breaks the PMD up before it asks who owns the
	 * folio: asynchronous write-protection (6.7). */
	bool wp_splits_pmds;
	/* A write to the huge zeropage gets a whole folio, not one small page (after 6.12). */
	bool huge_zero_write_allocates;
	/* A page stays in the swap cache after the last entry that named its slot is gone, and the
	 * cache's reference makes a write fault copy it (5.9 to 5.17; 5.18 takes it out first). */
	bool swap_cache_lingers;
	/* May MADV_PAGEOUT take a large folio apart? A small page goes if nobody else maps it; a
	 * page of a large folio is asked for first, or, where a PMD maps it, the folio's first
	 * page. */
	bool (*pageout_splits)(const struct hf_page *page);
	/* MADV_PAGEOUT of all that a PMD maps leaves it alone if others, who map parts of it, used
	 * them lately (up to 6.1). */
	bool pageout_minds_use;
	/* Linux has no exact count of a small page's pins, nor of those of one page of a large
	 * folio: swap-out, migration and merging go by hf_page_maybe_pinned(). */
	bool estimates_pins;
	/* Collapse wants at least one writable entry (SCAN_PAGE_RO; gone after 6.14). */
	bool collapse_needs_write;
	/* Long-term write pins of shared mappings are
	 * refused where the file tracks stores (6.5). */
	bool refuses_longterm_file_writes;
	/* New pages wait in a batch of their CPU, which holds a reference; a write fault drains its
	 * own CPU's batch before it counts (5.18), not those of others. */
	bool lru_batches, drains_lru_batch;
	/* A write fault sleeps for the page lock and looks again;
	 * otherwise a busy lock means copy. */
	bool reuse_sleeps;

	/*
	 * What a request is really taken as: its flags with FOLL_GET and FOLL_PIN perhaps exchanged
	 * (no FOLL_PIN before 5.6; write GETs counted as pins; short read pins as GETs). NULL: as
	 * asked.
	 */
	unsigned (*take_as)(unsigned foll_flags);
	/* Which of a page's two pin counters a pin with these flags uses:
	 * 0 or 1. NULL: always 0. */
	unsigned (*pin_class)(unsigned foll_flags);
	/* Called with mmap_lock held for write and ptl held. */
	enum hf_fork_action (*fork_page)(const struct hf_mm *src, const struct hf_page *page);
	/* May a write fault keep this page (read-only entry of mm, page locked, ptl held) instead
	 * of copying it? */
	bool (*may_reuse)(const struct hf_mm *mm, const struct hf_page *page);
	/* The same, for a page of a large folio behind a leaf entry of mm, and for a folio behind a
	 * PMD (page: its first). */
	bool (*large_reuse)(const struct hf_mm *mm, const struct hf_page *page);
	bool (*huge_reuse)(const struct hf_mm *mm, const struct hf_page *page);
	/* And for hugetlb: Linux counts mappings there to this day,
	 * so plain references can leak. */
	bool (*hugetlb_reuse)(const struct hf_mm *mm, const struct hf_page *page);
	/* Fork copies pinned hugetlb pages (5.12), as it does others. */
	bool hugetlb_fork_copies;
	/* MADV_DONTNEED drops hugetlb pages (5.18); else it is -EINVAL there. */
	bool hugetlb_dontneed;
	/* MADV_DOFORK is -EINVAL for hugetlb mappings (after 6.18; seen on 7.3). */
	bool hugetlb_refuses_dofork;
	/* mremap moves hugetlb mappings (5.16); else it is -EINVAL there. */
	bool hugetlb_moves;
	/* FOLL_FORCE does not write to read-only hugetlb mappings (6.0 to 6.13); or it does, and
	 * leaves the entry writable, so that the process can store there, too (before that). */
	bool hugetlb_refuses_force, hugetlb_force_lasts;
	/* mremap to a fixed address moves all mappings of a range, and its holes (6.17); else a
	 * range that is not one mapping is -EFAULT. */
	bool remap_spans;
	/* MADV_POPULATE_READ and _WRITE go over holes, as other advice does (up to 6.8); else they
	 * end at the first with -ENOMEM. */
	bool populates_over_holes;
	/* MADV_FREE takes a page that others map, too, unless the page itself is dirty: not their
	 * entries, which say so where they stored to it. A page that an unshare fault copied is
	 * clean in every way, and so is lost to all who share it since. */
	bool frees_shared;
	/* Registered buffers may lie in mappings of files on a device, and of more than one file
	 * (6.5); else they are -EOPNOTSUPP and -EINVAL. */
	bool registers_files;
	/* Called for entries that are present and not writable,
	 * under ptl or locklessly (GUP-fast). */
	enum hf_gup_action (*gup_read)(const struct hf_gup_view *view);

	/* HF_FOLL_* of each user. */
	unsigned users[HF_NR_USERS];
};

/* The default: the thread's option 2, complete and exact. Never NULL. */
const struct hf_policy *hf_policy_default(void);
/* The policy of that name, or NULL. There are some that hf_policy_at() leaves out: releases within
 * an era that differ from it only in what the page tables show. */
const struct hf_policy *hf_policy_find(const char *name);
/* The i-th policy, Linux eras first and oldest first, or NULL past the end. */
const struct hf_policy *hf_policy_at(size_t i);

/* For rules: what they may ask of a page.
 * Racy unless the caller holds what keeps the answer still. */
uint32_t hf_page_refs(const struct hf_page *page); /* of the folio: mappings, gets, pins */
uint32_t hf_page_pins(const struct hf_page *page); /* pins of both classes */
uint32_t hf_page_pins_of(const struct hf_page *page, unsigned pin_class);
uint32_t hf_folio_pins(const struct hf_page *page);
uint32_t hf_page_mapcount(const struct hf_page *page);     /* entries that map it */
uint32_t hf_folio_mapcount(const struct hf_page *page);    /* entries that map its folio */
uint32_t hf_folio_most_mapped(const struct hf_page *page); /* of the page with the most of them */
/* Of the first page, by leaf entries. */
uint32_t hf_folio_first_mapcount(const struct hf_page *page);
bool hf_folio_behind_pmd(const struct hf_page *page); /* one PMD at least maps it */
size_t hf_folio_nr_pages(const struct hf_page *page);
bool hf_folio_maybe_shared(const struct hf_page *page);  /* by others than one mm; from 6.15 */
uint32_t hf_page_swap_users(const struct hf_page *page); /* entries that name its swap slot */
bool hf_page_lingers(const struct hf_page *page);        /* see swap_cache_lingers */
bool hf_page_exclusive(const struct hf_page *page);      /* PageAnonExclusive */
/* Linux's estimate: of a small page, 1024 references; of a large folio, any pin. */
bool hf_page_maybe_pinned(const struct hf_page *page);
bool hf_mm_has_pinned(const struct hf_mm *mm); /* MMF_HAS_PINNED: sticky, not inherited */

#ifdef __cplusplus
}
#endif
#endif
