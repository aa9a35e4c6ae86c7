/* SPDX-License-Identifier: MIT */
/* The whole-state validator. */
#ifndef HOLDFAST_VALIDATE_H
#define HOLDFAST_VALIDATE_H

#include <holdfast/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * I1..I8 are the invariants of exclusivity; the rest are the engine's own books. I5 and I6 join
 * with their kinds of memory.
 */
enum hf_invariant {
	HF_INV_NONE,
	HF_I1_WRITABLE_IS_EXCLUSIVE, /* what a writable entry maps, if anonymous, has the mark */
	HF_I2_EXCLUSIVE_MAPPED_ONCE, /* the mark means at most one mapping */
	HF_I3_PINNED_IS_EXCLUSIVE,   /* a pinned page that is mapped carries the mark */
	HF_I4_SWAP_EXCLUSIVE_ONCE,   /* an exclusive swap entry is the only user of its slot */
	HF_I6_KSM_NEVER_EXCLUSIVE,   /* a merged page is never exclusive */
	HF_I7_ZEROPAGE_UNTOUCHED,    /* it is never anonymous, exclusive, counted or written */
	HF_I8_SHARED_IS_READ_ONLY,   /* no entry of a page mapped twice is writable */
	HF_INV_MAPCOUNT, /* mapcount is the number of entries found by walking all tables */
	HF_INV_REFCOUNT, /* references cover mappings, pins and the swap cache */
	HF_INV_SWAP,     /* a slot's users are the entries that name it; cache and page agree */
	HF_INV_RMAP,     /* the reverse map finds exactly the entries that the walk finds */
	HF_INV_FOLIO,    /* the pages of a folio agree, and its counts are the sums of theirs */
	HF_INV_FILE, /* a file's pages: in its cache, unmarked, writable by no private mapping */
	HF_INV_FREE_PAGE, /* a free frame has no counts, no flags, and (debug) intact junk */
	HF_INV_FRAMES, /* every frame is mapped, referenced, cached or in the buddy lists, once */
	HF_INV_VMA,    /* VMAs are sorted, disjoint, aligned, and hold every present entry */
	HF_INV_TABLE,  /* table entries are well formed, and leaf entries name frames of the pool */
};

struct hf_violation {
	enum hf_invariant invariant;
	uint64_t pfn;           /* HF_PFN_NONE when no page is involved */
	const struct hf_mm *mm; /* NULL when no mm is involved */
	uint64_t addr;
};

/*
 * Walks the whole system and reports the first broken invariant. The caller guarantees that no
 * other call on the system runs meanwhile. 0: all hold. -EUCLEAN: *violation (may be NULL) says
 * which one not. -ENOMEM: no scratch memory.
 */
int hf_validate(struct hf_system *sys, struct hf_violation *violation);
/* "I1: an anonymous page mapped by a writable entry is exclusive", for messages. Never NULL. */
const char *hf_invariant_text(enum hf_invariant invariant);

#ifdef __cplusplus
}
#endif
#endif
