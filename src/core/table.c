/* SPDX-License-Identifier: MIT */
/*
 * Four-level page tables of 512 entries.
 *
 * Tables come into being under mmap_lock (read is enough: a compare-exchange picks the winner) and
 * go away under mmap_lock (write): unlinked, then the TLB is flushed, then freed after an RCU grace
 * period. So the CPU (tlb_begin), GUP-fast and the reverse map (RCU) may walk them without locks.
 */
#include "internal.h"

#define ENTRY_PRESENT 1ull

static unsigned index_at(uint64_t addr, unsigned level)
{
	return addr >> (HF_PAGE_SHIFT + 9 * level) & 511;
}

static struct hf_table *entry_table(uint64_t entry)
{
	return (struct hf_table *)(uintptr_t)(entry & ~ENTRY_PRESENT);
}

struct hf_table *hf_table_new(struct hf_system *sys)
{
	struct hf_table *table = hf_alloc(sys, sizeof(*table));

	if (!table)
		return NULL;
	for (unsigned i = 0; i < 512; i++)
		atomic_init(&table->entry[i], 0);
	sys->pf->lock_init(sys->pf->ctx, &table->ptl);
	table->sys = sys;
	return table;
}

static void table_free(struct hf_table *table)
{
	struct hf_system *sys = table->sys;

	sys->pf->lock_destroy(sys->pf->ctx, &table->ptl);
	hf_free(sys, table, sizeof(*table));
}

static void table_rcu(struct hf_rcu_head *head)
{
	table_free(hf_container_of(head, struct hf_table, rcu));
}

void hf_table_free_rcu(struct hf_table *table)
{
	table->rcu.func = table_rcu;
	table->sys->pf->call_rcu(table->sys->pf->ctx, &table->rcu);
}

struct hf_table *hf_leaf(const struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *table = mm->pgd;

	for (unsigned level = 3; level > 0; level--) {
		uint64_t entry = hf_ld(&table->entry[index_at(addr, level)], acquire);

		if (!entry)
			return NULL;
		table = entry_table(entry);
	}
	return table;
}

/* The next lower table on the way to addr. */
static struct hf_table *table_below(struct hf_table *table, unsigned index)
{
	uint64_t entry = hf_ld(&table->entry[index], acquire);
	struct hf_table *made;

	if (entry)
		return entry_table(entry);
	made = hf_table_new(table->sys);
	if (!made)
		return NULL;
	if (hf_cas(&table->entry[index], &entry, (uintptr_t)made | ENTRY_PRESENT, acq_rel))
		return made;
	table_free(made);
	return entry_table(hf_ld(&table->entry[index], acquire));
}

struct hf_table *hf_leaf_alloc(struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *table = mm->pgd;

	for (unsigned level = 3; level > 0 && table; level--)
		table = table_below(table, index_at(addr, level));
	return table;
}

_Atomic uint64_t *hf_pte_lock(struct hf_mm *mm, uint64_t addr, struct hf_table **table)
{
	*table = hf_leaf(mm, addr);
	if (!*table)
		return NULL;
	hf_mutex_lock(mm->sys, &(*table)->ptl);
	return &(*table)->entry[hf_pte_index(addr)];
}

/* The first leaf at or after *addr; *addr moves up to where it is found, past what has no tables.
 */
static struct hf_table *find_leaf(const struct hf_mm *mm, uint64_t *addr, uint64_t end)
{
	while (*addr < end) {
		struct hf_table *table = mm->pgd;
		unsigned level = 3, shift;
		uint64_t entry = 0;

		for (; level > 0; level--) {
			entry = hf_ld(&table->entry[index_at(*addr, level)], acquire);
			if (!entry)
				break;
			table = entry_table(entry);
		}
		if (level == 0)
			return table;
		shift = HF_PAGE_SHIFT + 9 * level;
		*addr = ((*addr >> shift) + 1) << shift;
	}
	return NULL;
}

int hf_for_each_leaf(struct hf_mm *mm, uint64_t start, uint64_t end, hf_leaf_fn fn, void *arg)
{
	struct hf_table *table;
	int ret = 0;

	for (uint64_t addr = start; !ret && (table = find_leaf(mm, &addr, end));) {
		uint64_t next = hf_leaf_end(addr, end);

		hf_mutex_lock(mm->sys, &table->ptl);
		ret = fn(mm, table, addr, next, arg);
		hf_mutex_unlock(mm->sys, &table->ptl);
		addr = next;
	}
	return ret;
}

/*
 * Unlinks what lies wholly in [floor, ceiling) below `table` (which starts at `base` and has
 * `level`), chaining the unlinked tables through their owner pointers.
 */
static void prune(struct hf_table *table, unsigned level, uint64_t base, uint64_t floor,
		  uint64_t ceiling, struct hf_table **unlinked)
{
	uint64_t span = 1ull << (HF_PAGE_SHIFT + 9 * level);
	unsigned first = floor > base ? (floor - base) / span : 0;

	for (unsigned i = first; i < 512 && base + i * span < ceiling; i++) {
		uint64_t start = base + i * span, entry = hf_ld(&table->entry[i], acquire);

		if (!entry)
			continue;
		if (level > 1)
			prune(entry_table(entry), level - 1, start, floor, ceiling, unlinked);
		if (start < floor || start + span > ceiling)
			continue;
		hf_st(&table->entry[i], 0, seq_cst);
		entry_table(entry)->rcu.owner = *unlinked;
		*unlinked = entry_table(entry);
	}
}

void hf_tables_prune(struct hf_mm *mm, uint64_t floor, uint64_t ceiling)
{
	struct hf_table *unlinked = NULL, *next;

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
