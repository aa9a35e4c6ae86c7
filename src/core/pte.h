/* SPDX-License-Identifier: MIT */
/*
 * Leaf page-table entries: one constructor and one decoder for every kind.
 *
 *   present     bit 0 set; flags below; frame number from bit 16. In a PMD, HF_PTE_HUGE is set too:
 *               it maps 512 frames from that one on
 *   none        0
 *   marker      bit 0 clear, kind in bits 1..5
 *   migration   a marker with what the entry was and, from bit 16, the frame that is on its way
 *   swap        a marker with the exclusive bit and, from bit 16, the slot
 *
 * Entries change under ptl only, with two exceptions: the CPU (access.c) sets YOUNG and DIRTY by
 * compare-exchange on the very entry that it read, and fork's HF_PTE_FORK_WRITE lives only while
 * fork holds mmap_lock for write.
 */
#ifndef HF_PTE_H
#define HF_PTE_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t hf_pte;

#define HF_PTE_PRESENT (1ull << 0)
#define HF_PTE_WRITE (1ull << 1)
#define HF_PTE_DIRTY (1ull << 2)
#define HF_PTE_YOUNG (1ull << 3)
#define HF_PTE_SPECIAL (1ull << 4)     /* the shared zeropage */
#define HF_PTE_PROTNONE (1ull << 5)    /* present, no access at all */
#define HF_PTE_FORK_WRITE (1ull << 6)  /* writable before the fork under way protected it */
#define HF_PTE_HUGE (1ull << 10)       /* tables are aligned, so that their pointers lack it */
#define HF_PTE_SOFT_DIRTY (1ull << 12) /* stored to since soft-dirty bits were cleared */
#define HF_PTE_UFFD_WP (1ull << 13)    /* write-protected by userfaultfd */
/* Swap and migration entries keep them. */
#define HF_PTE_TRACK (HF_PTE_SOFT_DIRTY | HF_PTE_UFFD_WP)
#define HF_PTE_FLAGS 0xffffull
#define HF_PTE_PFN_SHIFT 16
#define HF_TABLE_ALIGN 2048

enum hf_pte_marker {
	HF_PTE_MARKER_ABSENT = 1, /* fork left this page out of the child */
	HF_PTE_MARKER_SWAP = 2,
	HF_PTE_MARKER_MIGRATION = 3,
	HF_PTE_MARKER_RESERVED = 4,
};

static inline hf_pte hf_mk_pte(uint64_t pfn, uint64_t flags)
{
	return pfn << HF_PTE_PFN_SHIFT | flags | HF_PTE_PRESENT;
}

static inline hf_pte hf_mk_pte_marker(enum hf_pte_marker marker)
{
	return (uint64_t)marker << 1;
}

static inline bool hf_pte_is_marker(hf_pte pte, enum hf_pte_marker marker)
{
	return (pte & 0x3f) == hf_mk_pte_marker(marker);
}

#define HF_PTE_SWP_EXCLUSIVE (1ull << 6)

static inline hf_pte hf_mk_pte_swap(uint64_t slot, bool exclusive)
{
	return hf_mk_pte_marker(HF_PTE_MARKER_SWAP) | (exclusive ? HF_PTE_SWP_EXCLUSIVE : 0) |
	       slot << HF_PTE_PFN_SHIFT;
}

static inline bool hf_pte_swap(hf_pte pte)
{
	return hf_pte_is_marker(pte, HF_PTE_MARKER_SWAP);
}

static inline uint64_t hf_pte_slot(hf_pte pte)
{
	return pte >> HF_PTE_PFN_SHIFT;
}

/* What a present entry was before it became a migration entry.
 * WRITE implies EXCLUSIVE where there are marks. */
#define HF_PTE_MIG_WRITE (1ull << 6)
#define HF_PTE_MIG_EXCLUSIVE (1ull << 7)
#define HF_PTE_MIG_DIRTY (1ull << 8)
#define HF_PTE_MIG_PROTNONE (1ull << 9)

static inline hf_pte hf_mk_pte_migration(hf_pte pte, bool exclusive)
{
	return hf_mk_pte_marker(HF_PTE_MARKER_MIGRATION) |
	       (pte & HF_PTE_WRITE ? HF_PTE_MIG_WRITE : 0) |
	       (exclusive ? HF_PTE_MIG_EXCLUSIVE : 0) |
	       (pte & HF_PTE_DIRTY ? HF_PTE_MIG_DIRTY : 0) |
	       (pte & HF_PTE_PROTNONE ? HF_PTE_MIG_PROTNONE : 0) | (pte & HF_PTE_TRACK) |
	       (pte & ~HF_PTE_FLAGS);
}

static inline bool hf_pte_migration(hf_pte pte)
{
	return hf_pte_is_marker(pte, HF_PTE_MARKER_MIGRATION);
}

static inline hf_pte hf_pte_from_migration(hf_pte pte, uint64_t pfn)
{
	return hf_mk_pte(pfn, HF_PTE_YOUNG | (pte & HF_PTE_TRACK) |
				      (pte & HF_PTE_MIG_WRITE ? HF_PTE_WRITE : 0) |
				      (pte & HF_PTE_MIG_DIRTY ? HF_PTE_DIRTY : 0) |
				      (pte & HF_PTE_MIG_PROTNONE ? HF_PTE_PROTNONE : 0));
}

static inline bool hf_pte_none(hf_pte pte)
{
	return pte == 0;
}

static inline bool hf_pte_present(hf_pte pte)
{
	return pte & HF_PTE_PRESENT;
}

static inline bool hf_pte_write(hf_pte pte)
{
	return pte & HF_PTE_WRITE;
}

/* PMDs of hugetlb mappings: a page of the pool is kept for the first touch; fork left it out. The
 * first also stands, under ptl, where one huge page is about to take the place of another. */
#define HF_PMD_RESERVED ((uint64_t)HF_PTE_MARKER_RESERVED << 1 | HF_PTE_HUGE)
#define HF_PMD_ABSENT ((uint64_t)HF_PTE_MARKER_ABSENT << 1 | HF_PTE_HUGE)

/* An upper entry that maps pages itself, or is one of the two above. */
static inline bool hf_pmd_huge(uint64_t entry)
{
	return entry & HF_PTE_HUGE;
}

static inline bool hf_pte_special(hf_pte pte)
{
	return pte & HF_PTE_SPECIAL;
}

static inline bool hf_pte_absent(hf_pte pte)
{
	return hf_pte_is_marker(pte, HF_PTE_MARKER_ABSENT);
}

static inline uint64_t hf_pte_pfn(hf_pte pte)
{
	return pte >> HF_PTE_PFN_SHIFT;
}

/* A store must fault first, to be noticed. */
static inline bool hf_pte_tracks(hf_pte pte, bool soft_dirty_wanted)
{
	return pte & HF_PTE_UFFD_WP || (soft_dirty_wanted && !(pte & HF_PTE_SOFT_DIRTY));
}

/* The same mapping, but for what the CPU may have set meanwhile. */
static inline bool hf_pte_same_mapping(hf_pte a, hf_pte b)
{
	return ((a ^ b) & ~(HF_PTE_YOUNG | HF_PTE_DIRTY)) == 0;
}

#endif
