/* SPDX-License-Identifier: MIT */
/* The core's own structures and the calls between its files.
 * Each block is named for the file that has it. */
#ifndef HF_INTERNAL_H
#define HF_INTERNAL_H

#include <holdfast/holdfast.h>

#include "atomic.h"
#include "err.h"
#include "pte.h"

/* Our own mistakes only. Gone with NDEBUG. What a condition reads of atomics it reads by hf_peek():
 * any other look is one more step that the explorer goes through in every order. */
#ifdef NDEBUG
#define hf_assert(cond) ((void)sizeof(cond))
#else
#define hf_assert(cond) ((cond) ? (void)0 : __builtin_trap())
#endif
/* What a function counts on, at its head: this thread has the lock. */
#define hf_assert_held(sys, lock) hf_assert(hf_is_held(sys, lock))
#define hf_assert_ptl_held(table) hf_assert_held((table)->sys, &(table)->ptl)
/* Or nobody is left to take it. */
#define hf_assert_mmap_locked(mm) hf_assert(hf_mmap_is_locked(mm, false))
#define hf_assert_mmap_write_locked(mm) hf_assert(hf_mmap_is_locked(mm, true))
/* Somebody has the page lock: who, it does not say. */
#define hf_assert_page_locked(page) hf_assert(hf_peek_flags(page) & HF_PG_LOCKED)

#define hf_container_of(ptr, type, member) ((type *)(((char *)(ptr)) - offsetof(type, member)))

#define HF_MAX_ORDER 9
#define HF_PMD_ORDER 9
#define HF_PMD_PAGES 512u
#define HF_PMD_SIZE 0x200000ull
#define HF_PMD_MASK (~(HF_PMD_SIZE - 1))
#define HF_NR_PCP 64
#define HF_LRU_BATCH 15
#define HF_MAX_MAP_COUNT 65530
#define HF_POISON 0x6b /* fills free frames in debug systems */

/* ---- pages ---- */

/* hf_page.counts: references in bits 0..23, the two pin counters above. A pin moves both in one
 * operation. A large folio counts in its first page; its pins are counted for each page, too. */
#define HF_COUNT_REF 1ull
#define HF_COUNT_PIN(class) (1ull << ((class) ? 44 : 24))
#define HF_REFS_MAX 0xffffffu
#define HF_PINS_MAX 0xfffffu

#define HF_PG_LOCKED (1u << 0)
#define HF_PG_ANON (1u << 1)
#define HF_PG_EXCLUSIVE (1u << 2) /* the mark, PageAnonExclusive: for mark.c only */
#define HF_PG_DIRTY (1u << 3)
#define HF_PG_RESERVED (1u << 4) /* the zeropage */
#define HF_PG_BUDDY (1u << 5)    /* head of a free block of `order` */
#define HF_PG_LAZYFREE (1u << 7) /* MADV_FREE: dropped rather than moved out, if still clean */
#define HF_PG_CACHED (1u << 6)   /* free, in a per-thread cache */
#define HF_PG_HUGETLB (1u << 8)  /* of the hugetlb pool */
#define HF_PG_KSM (1u << 9)      /* a stable page: index is its checksum, next and prev its list */
#define HF_PG_LINGERS (1u << 11) /* out of the cache, but Linux of this era would have it there */
#define HF_PG_BATCHED (1u << 10) /* in an LRU batch, which holds a reference */

#define HF_COMPOUND(order, offset) ((uint32_t)(order) << 16 | (offset))

/* Who maps a large folio: two address spaces are known, with the number of their entries. */
struct hf_owner {
	uint32_t asid, entries; /* 0, 0: free */
};

/* A frame. Of a folio, counts, the flags but the mark, anon_vma and index are its first page's. */
struct hf_page {
	_Atomic uint64_t counts;
	_Atomic uint32_t flags;
	_Atomic uint32_t mapcount; /* leaf entries that map this page */
	_Atomic uint32_t compound; /* HF_COMPOUND: its folio's order, and its place in the folio */
	_Atomic uint32_t entire_mapcount; /* first page: PMDs that map the folio */
	_Atomic uint32_t large_mapcount;  /* first page: entries of either kind */
	_Atomic uint64_t pins;     /* of this page of a large folio: class 0 low, class 1 high */
	struct hf_owner owner[2];  /* first page, under owner_lock */
	_Atomic bool maybe_shared; /* others than one address space may map it; likewise */
	bool poisoned;             /* has been free: whenever it is, it is full of HF_POISON */
	uint32_t order;            /* of the free block, under the buddy lock */
	struct hf_anon_vma *_Atomic anon_vma;
	struct hf_file *_Atomic file; /* a page of its cache */
	uint64_t index; /* virtual page number at birth, or the file's; finds every mapping */
	_Atomic uint32_t slot;       /* of the swap cache, plus 1; 0: not in it. swap_lock */
	_Atomic uint32_t swap_users; /* of that slot */
	struct hf_page *next, *prev; /* free lists */
};

/* ---- address spaces ---- */

/* Lists of VMAs, in the order in which they came: those of a family, those of a file's mappings. */
enum hf_vma_list { HF_LIST_FAMILY, HF_LIST_FILE, HF_NR_VMA_LISTS };
struct hf_vmas {
	struct hf_vma *first, *last;
};
struct hf_vma_link {
	struct hf_vma *next, *prev;
};

/* Everything that descends by fork, split or move from one mapping.
 * The oldest, simplest reverse map. */
struct hf_anon_vma {
	struct hf_system *sys;
	struct hf_lock lock; /* the list, and start, end, pgoff of every VMA in it */
	struct hf_vmas family;
	_Atomic uint32_t refs; /* one a VMA, and walkers */
	struct hf_rcu_head rcu;
};

#define HF_VM_DONTCOPY (1u << 0)
#define HF_VM_WIPEONFORK (1u << 1)
#define HF_VM_HUGEPAGE (1u << 2)
#define HF_VM_HUGETLB (1u << 3)
#define HF_VM_SHARED (1u << 4)
#define HF_VM_MERGEABLE (1u << 5)
#define HF_VM_TRACK_SOFTDIRTY (1u << 6) /* soft-dirty bits were cleared */
#define HF_VM_NOHUGEPAGE (1u << 8)
#define HF_VM_UFFD (1u << 7) /* userfaultfd watches it; children are not watched */

#define HF_KSM_BUCKETS 256

struct hf_vma {
	struct hf_mm *mm;
	uint64_t start, end; /* change under mmap_lock (write) and the anon_vma lock */
	uint64_t pgoff;      /* index of the page at `start` */
	unsigned prot;       /* HF_PROT_*; WRITE implies READ */
	unsigned flags;      /* HF_VM_* */
	struct hf_anon_vma *anon_vma;
	struct hf_file *file; /* NULL: anonymous memory only */
	uint64_t file_delta;  /* the file's page number of a page, less its index */
	struct hf_vma_link link[HF_NR_VMA_LISTS];
};

struct hf_file {
	struct hf_system *sys;
	_Atomic uint32_t users;
	struct hf_lock lock; /* the cache, the list, and start, end, pgoff of every VMA in it */
	const struct hf_backing *backing;
	bool hugetlb;
	_Atomic size_t nr; /* pages of the file; its own size of page */
	size_t cap;
	_Atomic size_t nr_backed; /* pages that were never cut off: what comes later is zeros */
	struct hf_page **pages;
	struct hf_vmas mappings;
};

/* One page-table page of any level. Upper entries: pointer | 1. Leaf entries: pte.h. */
struct hf_table {
	_Atomic uint64_t entry[512];
	struct hf_lock ptl;       /* guards leaf entries and huge PMDs */
	struct hf_table *deposit; /* of PMDs: leaf tables kept for splits, by rcu.owner */
	struct hf_system *sys;
	struct hf_rcu_head rcu;
};

struct hf_mm {
	struct hf_system *sys;
	_Atomic uint32_t users;
	uint32_t asid;
	struct hf_rwlock mmap_lock;
	struct hf_table *pgd;
	struct hf_vma **vmas; /* sorted by address; mmap_lock */
	size_t nr_vmas, cap_vmas;
	_Atomic uint32_t write_protect_seq; /* odd while fork write-protects and shares */
	_Atomic bool has_pinned;            /* MMF_HAS_PINNED */
	struct hf_mm *next, *prev;          /* sys->mms */
};

/* ---- the machine ---- */

/* Long-term pins are for frames of the first zone only, so that the second can be emptied. */
enum hf_zone { HF_ZONE_NORMAL, HF_ZONE_MOVABLE, HF_NR_ZONES };

struct hf_pcp {
	_Alignas(64) struct hf_lock lock;
	struct hf_page *list;
	_Atomic uint32_t count;
	struct hf_page *batch[HF_LRU_BATCH]; /* new pages on their way to the LRU */
	unsigned nr_batch;
};

enum hf_stat {
	HF_STAT_FAULTS,
	HF_STAT_COW_COPIES,
	HF_STAT_COW_REUSES,
	HF_STAT_UNSHARES,
	HF_STAT_FORK_COPIES,
	HF_STAT_PINS_RELEASED,
	HF_STAT_FAST_FALLBACKS,
	HF_STAT_UNPIN_CHECK_FAILURES,
	HF_STAT_SWAP_IN,
	HF_STAT_SWAP_OUT,
	HF_STAT_MIGRATIONS,
	HF_STAT_THP_FAULTS,
	HF_STAT_THP_SPLITS,
	HF_STAT_COLLAPSES,
	HF_STAT_KSM_MERGES,
	HF_NR_STATS,
};

#define HF_NR_SHARDS HF_NR_PCP
#define HF_NR_CHUNKS 20

typedef _Atomic uint64_t hf_slot; /* of a handle: see held.c */

/* Slots that threads of one number take; all but the chunks is for who has set `busy`. */
struct hf_shard {
	_Alignas(64) _Atomic bool busy;
	uint32_t nr, next, found; /* slots; the one to look at next; free ones of this round */
	_Atomic uint64_t pins;    /* so many were ever made held */
	hf_slot *_Atomic chunk[HF_NR_CHUNKS];
};

struct hf_swap_slot {
	uint32_t count;       /* users; 0: free */
	struct hf_page *page; /* the swap cache */
	uint8_t order;        /* of the folio that the page was one of when it left */
};

struct hf_system {
	const struct hf_platform *pf;
	const struct hf_policy *policy;
	unsigned flags;
	size_t nr_frames;
	unsigned char *frames; /* nr_frames pages */
	struct hf_page *pages;
	struct hf_page *zeropage;              /* frame 0 */
	struct hf_page *_Atomic huge_zeropage; /* made when first needed */
	struct hf_lock owner_lock;
	struct {
		struct hf_lock fault_lock; /* outside of ptls */
		struct hf_lock lock;
		struct hf_page *free; /* by next */
		size_t nr, nr_free, nr_reserved;
	} hugetlb;
	struct {
		struct hf_lock lock;
		struct hf_page *stable[HF_KSM_BUCKETS];
	} ksm;
	_Atomic uint32_t thp_orders; /* bit set: sizes that huge page faults may use */
	struct hf_lock buddy_lock;
	struct hf_page *free[HF_NR_ZONES][HF_MAX_ORDER + 1];
	uint64_t movable_start; /* frames from here on are the movable zone */
	size_t nr_buddy_free;
	struct hf_pcp *pcp;      /* HF_NR_PCP */
	struct hf_shard *shards; /* HF_NR_SHARDS */
	struct hf_lock mms_lock;
	struct hf_mm *mms;
	size_t nr_mms;
	_Atomic uint32_t next_asid;
	struct hf_lock swap_lock;
	const struct hf_swap_device *swap; /* NULL: none */
	struct hf_swap_slot *slots;
	size_t nr_slots, slot_hint;
	_Atomic bool swapping; /* false while swapoff is at work */
	_Atomic size_t clock_hand;
	_Atomic uint64_t stats[HF_NR_STATS];
};

static inline void hf_count(struct hf_system *sys, enum hf_stat stat, uint64_t n)
{
	hf_tally(&sys->stats[stat], n);
}

static inline void *hf_alloc(struct hf_system *sys, size_t size)
{
	return sys->pf->alloc(sys->pf->ctx, size, 64);
}

static inline void hf_free(struct hf_system *sys, void *ptr, size_t size)
{
	sys->pf->free(sys->pf->ctx, ptr, size);
}

static inline void hf_mutex_lock(struct hf_system *sys, struct hf_lock *lock)
{
	sys->pf->lock(sys->pf->ctx, lock);
}

static inline void hf_mutex_unlock(struct hf_system *sys, struct hf_lock *lock)
{
	sys->pf->unlock(sys->pf->ctx, lock);
}

static inline void hf_mmap_read_lock(struct hf_mm *mm)
{
	mm->sys->pf->read_lock(mm->sys->pf->ctx, &mm->mmap_lock);
}

static inline void hf_mmap_read_unlock(struct hf_mm *mm)
{
	mm->sys->pf->read_unlock(mm->sys->pf->ctx, &mm->mmap_lock);
}

static inline void hf_mmap_write_lock(struct hf_mm *mm)
{
	mm->sys->pf->write_lock(mm->sys->pf->ctx, &mm->mmap_lock);
}

static inline void hf_mmap_write_unlock(struct hf_mm *mm)
{
	mm->sys->pf->write_unlock(mm->sys->pf->ctx, &mm->mmap_lock);
}

static inline bool hf_is_held(const struct hf_system *sys, const struct hf_lock *lock)
{
	return !sys->pf->held || sys->pf->held(sys->pf->ctx, lock);
}

static inline bool hf_mmap_is_locked(const struct hf_mm *mm, bool write)
{
	const struct hf_platform *pf = mm->sys->pf;

	return !pf->rwlock_held || !hf_peek(&mm->users) ||
	       pf->rwlock_held(pf->ctx, &mm->mmap_lock, write);
}

static inline void hf_rcu_read_lock(struct hf_system *sys)
{
	sys->pf->rcu_read_lock(sys->pf->ctx);
}

static inline void hf_rcu_read_unlock(struct hf_system *sys)
{
	sys->pf->rcu_read_unlock(sys->pf->ctx);
}

static inline void hf_tlb_flush(struct hf_mm *mm)
{
	mm->sys->pf->tlb_flush(mm->sys->pf->ctx, mm->asid);
}

static inline uint64_t hf_page_pfn(const struct hf_system *sys, const struct hf_page *page)
{
	return (uint64_t)(page - sys->pages);
}

static inline struct hf_page *hf_pfn_page(const struct hf_system *sys, uint64_t pfn)
{
	hf_assert(pfn < sys->nr_frames);
	return &sys->pages[pfn];
}

static inline unsigned char *hf_page_data(const struct hf_system *sys, const struct hf_page *page)
{
	return sys->frames + hf_page_pfn(sys, page) * HF_PAGE_SIZE;
}

/* Whether a frame holds nothing but that byte. */
static inline bool hf_frame_filled(const struct hf_system *sys, const struct hf_page *page,
				   uint8_t byte)
{
	const uint64_t *word = (const void *)hf_page_data(sys, page);
	const uint64_t want = 0x0101010101010101ull * byte;

	for (size_t i = 0; i < HF_PAGE_SIZE / sizeof(*word); i += 8) {
		uint64_t differ = 0;

		for (size_t k = 0; k < 8; k++)
			differ |= word[i + k] ^ want;
		if (differ)
			return false;
	}
	return true;
}

/* ---- folios ---- */

static inline unsigned hf_folio_order(const struct hf_page *page)
{
	return hf_ld(&page->compound, relaxed) >> 16;
}

/* The first page of the page's folio; the page itself if it is a small one. */
static inline struct hf_page *hf_folio(const struct hf_page *page)
{
	return (struct hf_page *)(uintptr_t)(page - (hf_ld(&page->compound, relaxed) & 0xffff));
}

static inline size_t hf_folio_pages(const struct hf_page *page)
{
	return 1ul << hf_folio_order(page);
}

static inline bool hf_page_is_anon(const struct hf_page *page)
{
	return hf_ld(&hf_folio(page)->flags, relaxed) & HF_PG_ANON;
}

/* The same for assertions, and the folio's flags. */
static inline struct hf_page *hf_peek_folio(const struct hf_page *page)
{
	return (struct hf_page *)(uintptr_t)(page - (hf_peek(&page->compound) & 0xffff));
}

static inline unsigned hf_peek_order(const struct hf_page *page)
{
	return hf_peek(&page->compound) >> 16;
}

static inline uint32_t hf_peek_flags(const struct hf_page *page)
{
	return hf_peek(&hf_peek_folio(page)->flags);
}

static inline uint32_t hf_peek_refs(const struct hf_page *page)
{
	return hf_peek(&hf_peek_folio(page)->counts) & HF_REFS_MAX;
}

static inline uint32_t hf_peek_mapcount(const struct hf_page *page)
{
	return hf_peek(&hf_peek_folio(page)->entire_mapcount) + hf_peek(&page->mapcount);
}

static inline void hf_page_set_dirty(struct hf_page *page)
{
	/* whoever takes the mark away to write the page out must see what made it dirty */
	hf_or(&hf_folio(page)->flags, HF_PG_DIRTY, release);
}

static inline uint64_t hf_page_index(const struct hf_page *page)
{
	const struct hf_page *head = hf_folio(page);

	return head->index + (uint64_t)(page - head);
}

/* ---- page.c ---- */

/* Adds references and pins (HF_COUNT_*). -EAGAIN: the page is free.
 * -EOVERFLOW: a counter is full. Order: seq_cst. */
int hf_page_try_grab(struct hf_system *sys, struct hf_page *page, uint64_t delta);
/* Takes them back; frees the page with the last reference. -EINVAL, nothing done: the counters do
 * not hold that much. */
int hf_page_release(struct hf_system *sys, struct hf_page *page, uint64_t delta);
/* For callers that know they hold the reference. */
void hf_page_get(struct hf_page *page);
void hf_page_put(struct hf_system *sys, struct hf_page *page);
/* The folio's. The caller holds a reference, or ptl of an entry that maps the page, and either
 * keeps the folio from being taken apart meanwhile. */
bool hf_page_trylock(struct hf_page *page);
void hf_page_lock(struct hf_system *sys, struct hf_page *page);
void hf_page_unlock(struct hf_page *page);
/* Pinned, as far as the policy can tell. */
bool hf_page_looks_pinned(const struct hf_system *sys, const struct hf_page *page);

/* ---- mark.c: the exclusive mark; hf_page_exclusive() is in policy.h ---- */

/* hf_page_exclusive(); where the policy has no marks, false without a look. */
bool hf_page_marked(const struct hf_system *sys, const struct hf_page *page);
/* hf_page_exclusive() for assertions. */
bool hf_mark_peek(const struct hf_page *page);
/* The invariants, of a page: may a writable entry map it (I1)? So many entries (I2)? May it be
 * pinned as it is (I3)? */
bool hf_mark_allows_write(const struct hf_system *sys, const struct hf_page *page);
bool hf_mark_allows_mappings(const struct hf_system *sys, const struct hf_page *page,
			     uint32_t mappings);
bool hf_mark_allows_pin(const struct hf_system *sys, const struct hf_page *page);
/* The unpin check, of an anonymous page that was pinned: has it its mark still? */
bool hf_mark_stands(const struct hf_system *sys, const struct hf_page *page);
/* Birth: nobody had the page before, and nothing maps it yet.
 * Of a folio that a PMD will map, the first page. */
void hf_mark_new(const struct hf_system *sys, struct hf_page *page);
typedef bool (*hf_reuse_fn)(const struct hf_mm *mm, const struct hf_page *page);
/* Proof, by one of the policy's rules: nobody else has the page, which is marked from now on.
 * False: it must be copied. A read-only entry of mm maps it; ptl is held, and the page lock or, for
 * hugetlb, fault_lock. */
bool hf_mark_prove(const struct hf_mm *mm, struct hf_page *page, hf_reuse_fn rule);
/* An entry that was away had the mark, or its fault found that nobody else has the page: it has the
 * mark now. False: the policy has no marks. ptl held. */
bool hf_mark_restore(const struct hf_system *sys, struct hf_page *page);
/* The mark's part of the split of a PMD, and the pages' mappings. ptl of the PMD held. */
void hf_mark_fan_out(const struct hf_system *sys, struct hf_page *head);
/* fork shares the page, or what the PMD maps, or what the entry names that is away. mmap_lock
 * (write), ptl held, and write_protect_seq is odd. */
void hf_mark_share(const struct hf_mm *parent, struct hf_page *page);
hf_pte hf_mark_share_away(hf_pte pte);
/* Takes the mark of a marked page whose entry is cleared and flushed; ptl held. -EBUSY: it is
 * pinned, and the policy says that the mark must stand then. */
int hf_page_try_share(const struct hf_system *sys, struct hf_page *page);
/*
 * Takes an entry of the page away, by the contract with GUP-fast: clear the entry, flush, look for
 * pins, clear the mark. *exclusive: it was marked. -EBUSY: it is pinned, and all is as before. ptl
 * held; the mapping and its reference still count.
 */
int hf_ptep_clear_try_share(struct hf_mm *mm, _Atomic uint64_t *ptep, struct hf_page *page,
			    hf_pte *pte, bool *exclusive);
/* A folio is taken apart: its count is frozen, and its pages' marks are in migration entries. */
void hf_mark_drop(struct hf_page *head);

/* ---- buddy.c ---- */

void hf_buddy_init(struct hf_system *sys);
/* A frame with one reference, contents undefined; NULL when there is none. */
struct hf_page *hf_page_alloc(struct hf_system *sys);
void hf_page_free(struct hf_system *sys, struct hf_page *page);
/* A folio of 2^order pages, with one reference, contents undefined; NULL when there is none. */
struct hf_page *hf_folio_alloc(struct hf_system *sys, unsigned order);
/* The same, of the normal zone. */
struct hf_page *hf_folio_alloc_normal(struct hf_system *sys, unsigned order);
/* Takes the free frames of [pfn, end) away from allocation, and gives them back. The list goes by
 * next; the blocks keep their orders. */
struct hf_page *hf_buddy_isolate(struct hf_system *sys, uint64_t pfn, uint64_t end);
void hf_buddy_unisolate(struct hf_system *sys, struct hf_page *list);

static inline bool hf_page_longterm_pinnable(const struct hf_system *sys,
					     const struct hf_page *page)
{
	return hf_page_pfn(sys, page) < sys->movable_start;
}
void hf_buddy_free(struct hf_system *sys, struct hf_page *page, unsigned order);
size_t hf_nr_free(struct hf_system *sys);

/* ---- table.c ---- */

struct hf_table *hf_table_new(struct hf_system *sys);
void hf_table_free_rcu(struct hf_table *table);
void hf_table_free(struct hf_table *table);
/* The leaf table of addr, or NULL, also where a PMD maps pages.
 * Lockless: under mmap_lock, RCU or tlb_begin. */
struct hf_table *hf_leaf(const struct hf_mm *mm, uint64_t addr);
/* The same, made if missing; a huge PMD is split. NULL: no memory. mmap_lock held. */
struct hf_table *hf_leaf_alloc(struct hf_mm *mm, uint64_t addr);
/* The table of PMDs that addr goes through, or NULL; made if missing (NULL: no memory). */
struct hf_table *hf_pmd_table(const struct hf_mm *mm, uint64_t addr);
struct hf_table *hf_pmd_table_alloc(struct hf_mm *mm, uint64_t addr);

static inline _Atomic uint64_t *hf_pmd_entry(struct hf_table *table, uint64_t addr)
{
	return &table->entry[addr >> 21 & 511];
}

static inline uint64_t hf_mk_table_entry(struct hf_table *table)
{
	return (uintptr_t)table | 1;
}

static inline struct hf_table *hf_entry_table(uint64_t entry)
{
	return (struct hf_table *)(uintptr_t)(entry & ~1ull);
}
/* Frees the tables of [start, end) that lie in the gap between floor and ceiling;
 * entries are none. mmap_lock (write). */
void hf_tables_prune(struct hf_mm *mm, uint64_t floor, uint64_t ceiling);
/* Frees every table but the pgd's page itself. No users left. */
void hf_tables_free(struct hf_mm *mm);

static inline unsigned hf_pte_index(uint64_t addr)
{
	return addr >> HF_PAGE_SHIFT & 511;
}

#define HF_NOT_HUGE UINT32_MAX
/*
 * The entry that maps addr, found and locked: a PTE, or a huge PMD. NULL when there is neither.
 * *huge is the distance of addr from the start of what the entry maps, in pages, and
 * HF_NOT_HUGE for a PTE.
 */
_Atomic uint64_t *hf_pte_lock(struct hf_mm *mm, uint64_t addr, struct hf_table **table,
			      uint32_t *huge);

/* The first address after addr that another leaf table holds, at most `end`. */
static inline uint64_t hf_leaf_end(uint64_t addr, uint64_t end)
{
	uint64_t next = (addr & HF_PMD_MASK) + HF_PMD_SIZE;

	return next < end ? next : end;
}

typedef int (*hf_leaf_fn)(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
			  void *arg);
typedef int (*hf_huge_fn)(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg);
struct hf_walk {
	hf_leaf_fn leaf;
	hf_huge_fn huge;
	bool (*splits)(hf_pte pmd, void *arg); /* this one rather than to have huge called */
};
/*
 * Calls leaf for each leaf table that exists in [start, end), and huge for each huge PMD that lies
 * wholly inside, with its ptl held. Other huge PMDs, all if huge is NULL, and those that splits
 * (may be NULL) asks for, are split, except hugetlb's, which are passed over. Stops at a non-zero
 * return.
 */
int hf_for_each_leaf(struct hf_mm *mm, uint64_t start, uint64_t end, const struct hf_walk *walk,
		     void *arg);

/* ---- rmap.c ---- */

struct hf_anon_vma *hf_anon_vma_new(struct hf_system *sys);
/* Membership, anon_vma lock held. A member holds a reference,
 * which unlink leaves for the caller to put. */
void hf_anon_vma_link(struct hf_anon_vma *av, struct hf_vma *vma);
void hf_anon_vma_unlink(struct hf_vma *vma);
void hf_anon_vma_put(struct hf_anon_vma *av);
/* The small page is new and will be mapped once at addr of vma. */
void hf_page_add_new_rmap(struct hf_page *page, struct hf_vma *vma, uint64_t addr);
/* A page that was mapped before is mapped at addr of vma; ptl and page lock held. */
void hf_page_add_anon_rmap(struct hf_page *page, struct hf_vma *vma, uint64_t addr);
/* One more, one less leaf entry of mm maps it; ptl held. */
void hf_page_add_rmap(struct hf_mm *mm, struct hf_page *page);
void hf_page_remove_rmap(struct hf_mm *mm, struct hf_page *page);
/* The folio belongs to vma's family, its first page to addr, unless it has a family already. */
void hf_folio_set_anon(struct hf_page *head, struct hf_vma *vma, uint64_t addr);
/* An entry that may map a page of a family. */
struct hf_family_entry {
	struct hf_mm *mm;
	uint64_t addr;
	struct hf_table *table;
	_Atomic uint64_t *ptep;
	uint32_t huge; /* as hf_pte_lock() */
};
typedef int (*hf_family_fn)(const struct hf_family_entry *entry, void *arg);
/* Calls fn, with ptl held, for every entry that the page at `index` of the family can be mapped by,
 * whatever is there. Stops at a non-zero return. The caller holds the family. */
int hf_anon_vma_walk(struct hf_anon_vma *av, uint64_t index, hf_family_fn fn, void *arg);
/* The page's family, held; NULL: it is not mapped. */
struct hf_anon_vma *hf_page_get_anon_vma(struct hf_system *sys, struct hf_page *page);
/* As hf_rmap_walk(), on a page. */
int hf_page_rmap_walk(struct hf_system *sys, struct hf_page *page, hf_rmap_fn fn, void *arg);

/* ---- folio.c ---- */

/* The family's entries of one page become migration entries, or name a page again. Page lock held.
 * -EBUSY: a pin; some may be frozen already. */
int hf_freeze_page(struct hf_anon_vma *av, struct hf_page *page);
void hf_thaw_page(struct hf_anon_vma *av, uint64_t index, struct hf_page *was, struct hf_page *now);
/* Splits the PMDs that map the folio. The caller holds the family. */
void hf_folio_split_pmds(struct hf_anon_vma *av, struct hf_page *head);
/* Makes small pages of a folio, or the zeropage of those of zeros (drop_zeros). The caller holds
 * the lock and one reference of the folio, and then those of `page`. -EBUSY: somebody else holds
 * it. */
int hf_folio_split(struct hf_system *sys, struct hf_page *page, bool drop_zeros);
/* Books of who maps a folio, at owner_lock. */
void hf_owner_add(struct hf_mm *mm, struct hf_page *head, uint32_t entries);
void hf_owner_remove(struct hf_mm *mm, struct hf_page *head, uint32_t entries);

/* ---- file.c ---- */

static inline size_t hf_file_pages(const struct hf_file *file)
{
	return hf_ld(&file->nr, relaxed);
}

/* The file's page number at addr. */
static inline uint64_t hf_file_index(const struct hf_vma *vma, uint64_t addr)
{
	return vma->pgoff + vma->file_delta + ((addr - vma->start) >> HF_PAGE_SHIFT);
}

void hf_file_get(struct hf_file *file);
/* The list of mappings; file->lock held. */
void hf_file_link(struct hf_vma *vma);
void hf_file_unlink(struct hf_vma *vma);
/* A page with a reference, read if need be. -EFAULT: beyond the end. -ENOMEM, or the backing's. */
int hf_file_page(struct hf_file *file, uint64_t index, struct hf_page **page);
/* A file of hugetlb pages has so many of them at least. */
void hf_file_extend(struct hf_file *file, size_t nr);
/* As hf_rmap_walk(), of a page of a file. */
int hf_file_rmap_walk(struct hf_page *page, hf_rmap_fn fn, void *arg);

/* ---- hugetlb.c ---- */

/* A new mapping: reserves its pages. -ENOMEM. mmap_lock (write). */
int hf_hugetlb_map(struct hf_vma *vma);
void hf_hugetlb_unreserve(struct hf_system *sys, size_t nr);
/* The fault in such a mapping. -ENOMEM: the pool is empty. -EFAULT. */
int hf_hugetlb_fault(struct hf_vma *vma, uint64_t addr, unsigned flags);
/* NULL: the pool is empty. */
struct hf_page *hf_hugetlb_copy(struct hf_system *sys, struct hf_page *head);
/* The last reference is gone. */
void hf_hugetlb_free(struct hf_system *sys, struct hf_page *head);

static inline bool hf_page_hugetlb(const struct hf_page *page)
{
	return hf_ld(&hf_folio(page)->flags, relaxed) & HF_PG_HUGETLB;
}

/* ---- ksm.c ---- */

static inline bool hf_page_ksm(const struct hf_page *page)
{
	return hf_ld(&page->flags, relaxed) & HF_PG_KSM;
}

/* The last reference is gone. */
void hf_ksm_forget(struct hf_system *sys, struct hf_page *page);
/* Copies for all stable pages of a part of a VMA. mmap_lock held. */
int hf_unmerge_range(struct hf_vma *vma, uint64_t start, uint64_t end);

/* ---- collapse.c ---- */

/* Each PMD that lies in a range of the VMA. mmap_lock (write). -EINVAL, -ENOMEM, -EAGAIN: somebody
 * holds one of the pages. */
int hf_collapse_range(struct hf_vma *vma, uint64_t start, uint64_t end);

/* ---- huge.c: PMDs that map pages; the ptl of the PMD's table is held ---- */

/* A leaf table with the same mappings takes the entry's place. */
void hf_split_huge_pmd(struct hf_mm *mm, struct hf_table *table, uint64_t addr);
/* It maps pages, and not hugetlb's. */
bool hf_pmd_splits(const struct hf_mm *mm, hf_pte pmd);
/* For callers without the lock; nothing happens where there is no huge PMD. */
void hf_split_huge_pmd_at(struct hf_mm *mm, uint64_t addr);
/* Leaf tables that are kept for splits: a split must not fail. */
void hf_deposit(struct hf_table *table, struct hf_table *leaf);
struct hf_table *hf_withdraw(struct hf_table *table);
/* Maps a folio by a PMD, once more or for the first time. */
void hf_folio_add_pmd_rmap(struct hf_mm *mm, struct hf_page *head);
void hf_folio_remove_pmd_rmap(struct hf_mm *mm, struct hf_page *head);
enum hf_huge_result {
	HF_HUGE_DONE,
	HF_HUGE_LEAF,  /* go on with the leaf table */
	HF_HUGE_AGAIN, /* somebody was quicker: look again */
};
/* The fault at a huge PMD or where one could be, but of hugetlb. No ptl held. */
enum hf_huge_result hf_huge_fault(struct hf_vma *vma, uint64_t addr, unsigned flags);

/* ---- vma.c: mmap_lock held, for write where the array or a VMA changes ---- */

/* What keeps the bounds of VMAs, for those who come by the file or by the family. */
void hf_bounds_lock(struct hf_vma *vma);
void hf_bounds_unlock(struct hf_vma *vma);
/* Index of the first VMA that ends after addr (nr_vmas if none). */
size_t hf_vma_index(const struct hf_mm *mm, uint64_t addr);
/* The VMA that holds addr, or NULL. */
struct hf_vma *hf_vma_find(const struct hf_mm *mm, uint64_t addr);
/* A VMA like `like` (prot, flags, anon_vma) at another place,
 * linked to the anon_vma and inserted. -ENOMEM. */
int hf_vma_insert(struct hf_mm *mm, uint64_t start, uint64_t end, const struct hf_vma *like,
		  uint64_t pgoff);
/* Puts a VMA at the end of a list, takes it off; the list's lock held. */
void hf_vmas_add(struct hf_vmas *list, struct hf_vma *vma, enum hf_vma_list which);
void hf_vmas_remove(struct hf_vmas *list, struct hf_vma *vma, enum hf_vma_list which);
/* Makes addr a boundary between VMAs if it lies inside one. -ENOMEM. */
int hf_vma_split(struct hf_mm *mm, uint64_t addr);
void hf_vma_remove(struct hf_mm *mm, size_t index);
/* Moves the end of a VMA; the new part is free address space. */
void hf_vma_set_end(struct hf_vma *vma, uint64_t end);
/* Joins neighbours in and around [start, end) that are one mapping again. */
void hf_vma_merge(struct hf_mm *mm, uint64_t start, uint64_t end);
/* For all of a range, splitting and merging VMAs. -ENOMEM: it has holes, or no memory; what is
 * mapped has the flags unless there was none. mmap_lock (write). */
int hf_vma_set_flags(struct hf_mm *mm, uint64_t start, uint64_t end, unsigned clear, unsigned set);
/* userfaultfd's write-protection of what is there or out, given or taken. */
void hf_uffd_wp_range(struct hf_mm *mm, uint64_t start, uint64_t end, bool protect);
/* Start of a free range of len bytes, 0 if there is none. */
uint64_t hf_vma_gap(const struct hf_mm *mm, size_t len);
/* True when [start, end) has no hole. */
bool hf_vma_covers(const struct hf_mm *mm, uint64_t start, uint64_t end);

/* ---- mmap.c ---- */

/* Page-aligned, non-empty, inside the task's address range. */
bool hf_range_ok(uint64_t addr, size_t len);
/* Rounds len up to pages; 0 when it does not fit. */
size_t hf_page_align(size_t len);
/* Removes present entries; the frames are released after the TLB flush. mmap_lock held. */
void hf_zap_range(struct hf_mm *mm, uint64_t start, uint64_t end);
int hf_munmap_locked(struct hf_mm *mm, uint64_t start, uint64_t end);
int hf_populate_locked(struct hf_mm *mm, uint64_t start, uint64_t end, bool write);

/* ---- fault.c ---- */

/* As hf_handle_mm_fault() after the VMA lookup; mmap_lock held. */
int hf_fault_locked(struct hf_vma *vma, uint64_t addr, unsigned flags);
/* The unshare fault: the page is marked then, and the entry as read-only as before. Likewise. */
int hf_unshare_fault(struct hf_vma *vma, uint64_t addr);
/* Whether such a fault, in a private mapping, must leave a page that is the process's alone. */
static inline bool hf_wants_own_page(unsigned fault_flags)
{
	return fault_flags & (HF_FAULT_FLAG_WRITE | HF_FAULT_FLAG_UNSHARE);
}

/* Entry flags that a VMA's protection asks for, WRITE excluded. */
static inline uint64_t hf_prot_flags(unsigned prot)
{
	return prot & (HF_PROT_READ | HF_PROT_WRITE) ? 0 : HF_PTE_PROTNONE;
}

static inline bool hf_wants_soft_dirty(const struct hf_vma *vma)
{
	return vma->flags & HF_VM_TRACK_SOFTDIRTY;
}

/* What a write fault makes of an entry of a page that is the process's own. */
static inline uint64_t hf_written_flags(const struct hf_vma *vma)
{
	return HF_PTE_YOUNG | HF_PTE_DIRTY | HF_PTE_SOFT_DIRTY |
	       (vma->prot & HF_PROT_WRITE ? HF_PTE_WRITE : 0);
}

/* The flags of an entry of a page that is the VMA's alone, for a fault with these flags: writable
 * only for a write that the VMA allows. `old`: what the entry was; an unshare stores nothing, and
 * keeps its tracking bits. */
uint64_t hf_own_flags(const struct hf_vma *vma, unsigned fault_flags, hf_pte old);
/* The page stays: a write makes the entry writable; an unshare has nothing left to do. ptl held. */
void hf_keep_page(const struct hf_vma *vma, unsigned fault_flags, _Atomic uint64_t *entry);

/* A read-only entry of an anonymous page, and a fault that wants a page of its own. */
struct hf_reuse {
	const struct hf_vma *vma;
	unsigned fault_flags;
	struct hf_table *table; /* its ptl is held, and may be dropped and taken again */
	_Atomic uint64_t *entry;
	hf_pte pte;       /* as read under ptl; read anew if that was dropped */
	hf_reuse_fn rule; /* whether a page without the mark is nobody else's */
	bool sleeps;      /* while the page lock is busy; otherwise a busy lock means copy */
};
enum hf_reuse_result {
	HF_REUSE_KEPT,    /* dealt with */
	HF_REUSE_CHANGED, /* by somebody else, while ptl was dropped */
	HF_REUSE_COPY,    /* the page may be somebody else's, too */
};
enum hf_reuse_result hf_try_reuse(struct hf_reuse *r, struct hf_page *page);

/* ---- swap.c ---- */

/* The slot of a page, a free one if it has none yet,
 * held by one more user. Page lock held. -ENOSPC. */
int hf_slot_hold(struct hf_system *sys, struct hf_page *page, size_t *slot);
/* One more user, for callers that know of one; one less. */
void hf_slot_get(struct hf_system *sys, size_t slot);
void hf_slot_put(struct hf_system *sys, size_t slot);
/* The page of a slot that the caller holds, locked, with a reference, read from the device if need
 * be. -ENOMEM, -EIO. No lock but mmap_lock held. */
int hf_swap_page(struct hf_system *sys, size_t slot, struct hf_page **page);
/* Will it be read for the only entry that names it? */
bool hf_swap_is_fresh(struct hf_system *sys, size_t slot);
/* The slot's page left as one of a folio of that order. */
void hf_slot_note_order(struct hf_system *sys, size_t slot, unsigned order);
/* Did the pages of 2^order slots leave as a folio's, and is none of them in memory? */
bool hf_swap_is_out_whole(struct hf_system *sys, size_t slot, unsigned order);
/* Takes a clean page that nobody else holds out of the cache. Page lock held. */
bool hf_swap_cache_drop(struct hf_system *sys, size_t slot, struct hf_page *page);
/* Puts another page into an old one's place in the cache, if it is there. False, and nothing is
 * done, if anybody but the caller and the cache holds the old page. Both page locks held. */
bool hf_swap_cache_replace(struct hf_system *sys, struct hf_page *old, struct hf_page *new);
void hf_swap_release(struct hf_system *sys);

/* ---- reclaim.c ---- */

/* Moves a page out, if it has no pins, and frees its frame, if nobody else holds it. The caller
 * holds one reference and no lock but mmap_lock. 0: only that reference is left. */
int hf_swap_out(struct hf_system *sys, struct hf_page *page, bool spare_young);
/* Tries to free that many frames; how many it did. As above. */
size_t hf_reclaim(struct hf_system *sys, size_t want);
/* How hard to try. */
struct hf_effort {
	size_t frames; /* at a time */
	unsigned tries;
};
#define HF_FOR_A_PAGE ((struct hf_effort){ .frames = 8, .tries = 16 })
#define HF_FOR_A_MOVE ((struct hf_effort){ .frames = 8, .tries = 1 }) /* of a long-term pin */
#define HF_FOR_A_FORK ((struct hf_effort){ .frames = 32, .tries = 8 })
/* For who found no frame: moves others out, and says whether to try again. Others may take what was
 * freed, so a few times, not for ever. *tries: 0 at first. As above. */
bool hf_reclaim_again(struct hf_system *sys, struct hf_effort effort, unsigned *tries);
/* hf_page_alloc(), which moves others out when there is no frame. As above. */
struct hf_page *hf_page_alloc_reclaim(struct hf_system *sys);
/* MADV_COLD and MADV_FREE. mmap_lock held. */
void hf_cold_range(struct hf_mm *mm, uint64_t start, uint64_t end);
void hf_free_range(struct hf_mm *mm, uint64_t start, uint64_t end);
/* Pages that only this mm maps. mmap_lock held. */
void hf_pageout_range(struct hf_mm *mm, uint64_t start, uint64_t end);

/* ---- migrate.c ---- */

/* Moves a folio into a new one of the same order; the caller holds one reference of each, and no
 * lock but mmap_lock. -EBUSY, -EAGAIN: it stays where it is. */
int hf_migrate_folio(struct hf_system *sys, struct hf_page *old, struct hf_page *new);

/* ---- lru.c ---- */

/* A new small page goes to the batch of this CPU, where there are batches. */
void hf_lru_add(struct hf_system *sys, struct hf_page *page);
/* This CPU's batch, and all, give their references back. */
void hf_lru_drain(struct hf_system *sys);
void hf_lru_drain_all(struct hf_system *sys);

/* ---- mm.c ---- */

struct hf_mm *hf_mm_new(struct hf_system *sys);
/* One more user, if there is one. */
bool hf_mm_tryget(struct hf_mm *mm);
/* The mm after `mm` (NULL: the first), with a user taken; `mm`'s is dropped. */
struct hf_mm *hf_next_mm(struct hf_system *sys, struct hf_mm *mm);
/* The anonymous page that is mapped at addr, with a reference, or NULL. mmap_lock held. */
struct hf_page *hf_page_at(struct hf_mm *mm, uint64_t addr);

/* ---- validate.c ---- */

/* As hf_validate(); without a look at the junk in free frames, which is most of the work. */
int hf_validate_books(struct hf_system *sys, struct hf_violation *violation, bool junk);

/* ---- gup.c, gup_fast.c, ref.c ---- */

/* How a request is taken under the system's policy. */
unsigned hf_gup_take_as(const struct hf_system *sys, unsigned flags);
/* What such a reference adds to a page's counts. */
uint64_t hf_gup_delta(const struct hf_system *sys, unsigned taken);
/* Lockless walk: how many pages it got. `asked` and `taken` go into the handles. */
size_t hf_gup_fast(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned asked, unsigned taken,
		   struct hf_ref *refs);
void hf_ref_set(struct hf_ref *ref, struct hf_page *page, unsigned asked, unsigned taken);
/* Takes the pages' counts back and makes the handles void. Gives how many were pins that count. */
uint64_t hf_refs_drop(struct hf_system *sys, struct hf_ref *refs, size_t nr);

/* ---- held.c ---- */

bool hf_shards_alloc(struct hf_system *sys);
void hf_shards_free(struct hf_system *sys);
/* Makes the first of these references held, as many as there is memory for. */
size_t hf_refs_hold(struct hf_system *sys, struct hf_ref *refs, size_t nr);
/* Pins that were ever held. */
uint64_t hf_pins_acquired(const struct hf_system *sys);
/* False: it is void, was released, or is of another system. */
bool hf_ref_is_held(const struct hf_system *sys, const struct hf_ref *ref);
/* The two halves of a release. After the first nobody else can release them; false, and all stay
 * held: one is not, or is not of this kind (HF_FOLL_GET, HF_FOLL_PIN), or is there twice. */
bool hf_refs_leave(struct hf_system *sys, const struct hf_ref *refs, size_t nr, unsigned kind);
void hf_refs_left(struct hf_system *sys, const struct hf_ref *refs, size_t nr);

#ifdef HF_CHECKED
#include "hook_locks.h"
#endif

#endif
