/* SPDX-License-Identifier: MIT */
/*
 * Four-level page tables of 512 entries.
 *
 * Tables come into being under mmap_lock (read is enough: a compare-exchange picks the winner) and
 * go away under mmap_lock (write): unlinked, then the TLB is flushed, then freed after an RCU grace
 * period. So the CPU (tlb_begin), GUP-fast and the reverse map (RCU) may walk them without locks.
 */
#include "internal.h"

static unsigned index_at(uint64_t addr, unsigned level)
{
	return addr >> (HF_PAGE_SHIFT + 9 * level) & 511;
}

struct hf_table *hf_table_new(struct hf_system *sys)
{
	struct hf_table *table = sys->pf->alloc(sys->pf->ctx, sizeof(*table), HF_TABLE_ALIGN);

	if (!table)
		return NULL;
	for (unsigned i = 0; i < 512; i++)
		atomic_init(&table->entry[i], 0);
	sys->pf->lock_init(sys->pf->ctx, &table->ptl);
	table->sys = sys;
	table->deposit = NULL;
	return table;
}

void hf_table_free(struct hf_table *table)
{
	struct hf_system *sys = table->sys;

	hf_assert(!table->deposit);
	sys->pf->lock_destroy(sys->pf->ctx, &table->ptl);
	hf_free(sys, table, sizeof(*table));
}

static void table_rcu(struct hf_rcu_head *head)
{
	hf_table_free(hf_container_of(head, struct hf_table, rcu));
}

void hf_table_free_rcu(struct hf_table *table)
{
	table->rcu.func = table_rcu;
	table->sys->pf->call_rcu(table->sys->pf->ctx, &table->rcu);
}

/* The table of `level` that addr goes through: 0 is the leaf. */
static struct hf_table *lookup(const struct hf_mm *mm, uint64_t addr, unsigned level)
{
	struct hf_table *table = mm->pgd;

	for (unsigned at = 3; at > level; at--) {
		/* none where there is one by now: table_below() finds it */
		uint64_t entry = hf_hint(&table->entry[index_at(addr, at)], acquire);

		if (!entry || hf_pmd_huge(entry))
			return NULL;
		table = hf_entry_table(entry);
	}
	return table;
}

struct hf_table *hf_leaf(const struct hf_mm *mm, uint64_t addr)
{
	return lookup(mm, addr, 0);
}

struct hf_table *hf_pmd_table(const struct hf_mm *mm, uint64_t addr)
{
	return lookup(mm, addr, 1);
}

/* The next lower table on the way to addr. */
static struct hf_table *table_below(struct hf_table *table, unsigned index)
{
	/* none where there is one by now: the exchange finds it */
	uint64_t entry = hf_hint(&table->entry[index], acquire);
	struct hf_table *made;

	if (entry)
		return hf_entry_table(entry);
	made = hf_table_new(table->sys);
	if (!made)
		return NULL;
	if (hf_cas(&table->entry[index], &entry, hf_mk_table_entry(made), release))
		return made;
	hf_table_free(made);
	entry = hf_ld(&table->entry[index], acquire); /* the failed exchange read it relaxed */
	return hf_entry_table(entry);
}

/*
 * The leaf table below a PMD; `pmds` itself if a huge PMD is in the way. A fault that found nothing
 * there may be about to map a folio, under the lock.
 */
static struct hf_table *leaf_below(struct hf_table *pmds, _Atomic uint64_t *pmdp)
{
	uint64_t entry = hf_ld(pmdp, relaxed); /* the caller walks there again */
	struct hf_table *made;

	if (entry)
		return hf_pmd_huge(entry) ? pmds : hf_entry_table(entry);
	made = hf_table_new(pmds->sys);
	if (!made)
		return NULL;
	hf_mutex_lock(pmds->sys, &pmds->ptl);
	entry = hf_ld(pmdp, relaxed);
	if (!entry)
		hf_st(pmdp, hf_mk_table_entry(made), release);
	hf_mutex_unlock(pmds->sys, &pmds->ptl);
	if (!entry)
		return made;
	hf_table_free(made);
	return hf_pmd_huge(entry) ? pmds : hf_entry_table(entry);
}

struct hf_table *hf_pmd_table_alloc(struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *table = mm->pgd;

	hf_assert_mmap_locked(mm);
	for (unsigned level = 3; level > 1 && table; level--)
		table = table_below(table, index_at(addr, level));
	return table;
}

struct hf_table *hf_leaf_alloc(struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *pmds = hf_pmd_table_alloc(mm, addr), *table;

	hf_assert_mmap_locked(mm);
	if (!pmds)
		return NULL;
	/* a huge PMD may come and go meanwhile */
	do {
		hf_split_huge_pmd_at(mm, addr);
		table = leaf_below(pmds, hf_pmd_entry(pmds, addr));
	} while (table && hf_leaf(mm, addr) != table);
	return table;
}

_Atomic uint64_t *hf_pte_lock(struct hf_mm *mm, uint64_t addr, struct hf_table **table,
			      uint32_t *huge)
{
	*huge = HF_NOT_HUGE;
	for (;;) {
		struct hf_table *pmds = hf_pmd_table(mm, addr);
		_Atomic uint64_t *pmdp;
		uint64_t entry;

		if (!pmds)
			return NULL;
		pmdp = hf_pmd_entry(pmds, addr);
		entry = hf_ld(pmdp, acquire);
		if (!entry)
			return NULL;
		if (!hf_pmd_huge(entry)) {
			*table = hf_entry_table(entry);
			hf_mutex_lock(mm->sys, &(*table)->ptl);
			return &(*table)->entry[hf_pte_index(addr)];
		}
		hf_mutex_lock(mm->sys, &pmds->ptl);
		if (hf_pmd_huge(hf_ld(pmdp, relaxed))) {
			*table = pmds;
			*huge = hf_pte_index(addr);
			return pmdp;
		}
		hf_mutex_unlock(mm->sys, &pmds->ptl); /* split meanwhile */
	}
}

/* The first leaf, or huge PMD (*pmds: its table), at or after *addr; *addr moves up to where it is
 * found, past what has no tables. False: none. */
static bool find_leaf(const struct hf_mm *mm, uint64_t *addr, uint64_t end, struct hf_table **leaf,
		      struct hf_table **pmds)
{
	while (*addr < end) {
		struct hf_table *table = mm->pgd;
		unsigned level = 3, shift;
		uint64_t entry = 0;

		for (; level > 0; level--) {
			entry = hf_ld(&table->entry[index_at(*addr, level)], acquire);
			if (!entry || hf_pmd_huge(entry))
				break;
			table = hf_entry_table(entry);
		}
		*leaf = level ? NULL : table;
		*pmds = table;
		if (level == 0 || hf_pmd_huge(entry))
			return true;
		shift = HF_PAGE_SHIFT + 9 * level;
		*addr = ((*addr >> shift) + 1) << shift;
	}
	return false;
}

/* A PMD that was huge a moment ago. True: it is dealt with; false: look at the place once more. */
static bool visit_huge(struct hf_mm *mm, struct hf_table *pmds, uint64_t addr, uint64_t next,
		       const struct hf_walk *walk, void *arg, int *ret)
{
	bool huge = next - addr == HF_PMD_SIZE && walk->huge, dealt = true;
	hf_pte pmd;

	hf_mutex_lock(mm->sys, &pmds->ptl);
	pmd = hf_ld(hf_pmd_entry(pmds, addr), relaxed);
	if (!hf_pmd_huge(pmd)) {
		dealt = false;
	} else if (huge && !(walk->splits && walk->splits(pmd, arg))) {
		*ret = walk->huge(mm, pmds, addr, arg);
	} else if (hf_pmd_splits(mm, pmd)) {
		hf_split_huge_pmd(mm, pmds, addr);
		dealt = false;
	}
	hf_mutex_unlock(mm->sys, &pmds->ptl);
	return dealt;
}

int hf_for_each_leaf(struct hf_mm *mm, uint64_t start, uint64_t end, const struct hf_walk *walk,
		     void *arg)
{
	struct hf_table *leaf, *pmds;
	uint64_t addr = start, next;
	int ret = 0;

	hf_assert(start <= end && !((start | end) & ~HF_PAGE_MASK));
	for (; !ret && find_leaf(mm, &addr, end, &leaf, &pmds); addr = next) {
		next = hf_leaf_end(addr, end);
		if (!leaf) {
			if (!visit_huge(mm, pmds, addr, next, walk, arg, &ret))
				next = addr;
			continue;
		}
		hf_mutex_lock(mm->sys, &leaf->ptl);
		ret = walk->leaf(mm, leaf, addr, next, arg);
		hf_mutex_unlock(mm->sys, &leaf->ptl);
	}
	return ret;
}

/*
 * Unlinks what lies wholly in [floor, ceiling) below `table` (which starts at `base` and has
 * `level`), chaining the unlinked tables through their owner pointers. mmap_lock is held for write,
 * or nobody is left to take it, so that all tables are seen.
 */
static void prune(struct hf_table *table, unsigned level, uint64_t base, uint64_t floor,
		  uint64_t ceiling, struct hf_table **unlinked)
{
	uint64_t span = 1ull << (HF_PAGE_SHIFT + 9 * level);
	unsigned first = floor > base ? (floor - base) / span : 0;

	for (unsigned i = first; i < 512 && base + i * span < ceiling; i++) {
		uint64_t start = base + i * span, entry = hf_ld(&table->entry[i], relaxed);

		if (!entry)
			continue;
		if (level > 1)
			prune(hf_entry_table(entry), level - 1, start, floor, ceiling, unlinked);
		if (start < floor || start + span > ceiling)
			continue;
		hf_assert(!hf_entry_table(entry)->deposit);
		hf_st(&table->entry[i], 0, relaxed);
		hf_entry_table(entry)->rcu.owner = *unlinked;
		*unlinked = hf_entry_table(entry);
	}
}

void hf_tables_prune(struct hf_mm *mm, uint64_t floor, uint64_t ceiling)
{
	struct hf_table *unlinked = NULL, *next;

	hf_assert_mmap_write_locked(mm);
	hf_assert(floor <= ceiling);
	prune(mm->pgd, 3, 0, floor, ceiling, &unlinked);
	if (!unlinked)
		return;
	hf_tlb_flush(mm);
	for (; unlinked; unlinked = next) {
		next = unlinked->rcu.owner;
		hf_table_free_rcu(unlinked);
	}
}

void hf_tables_free(struct hf_mm *mm)
{
	hf_tables_prune(mm, 0, 1ull << 48);
}
