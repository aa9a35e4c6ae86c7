/* SPDX-License-Identifier: MIT */
/*
 * Swap slots and the swap cache.
 *
 * A slot counts its users: entries that name it, and calls that hold it for a moment. The cache is
 * the slot's page while its contents are in memory too; it holds one reference. The last user of a
 * slot frees it, and takes the page out of the cache. swap_lock is a leaf lock.
 */
#include "internal.h"

static void set_page(struct hf_system *sys, size_t slot, struct hf_page *page)
{
	struct hf_swap_slot *s = &sys->slots[slot];

	hf_assert_held(sys, &sys->swap_lock);
	hf_assert(slot < sys->nr_slots && (!page || !hf_peek(&page->slot)));
	hf_assert(!s->page || hf_peek(&s->page->slot) == slot + 1);
	if (s->page) {
		hf_st(&s->page->slot, 0, relaxed);
		hf_st(&s->page->swap_users, 0, relaxed);
	}
	s->page = page;
	if (page) {
		hf_st(&page->slot, (uint32_t)slot + 1, relaxed);
		hf_st(&page->swap_users, s->count, relaxed);
	}
}

static void set_count(struct hf_system *sys, size_t slot, uint32_t count)
{
	struct hf_swap_slot *s = &sys->slots[slot];

	hf_assert_held(sys, &sys->swap_lock);
	hf_assert(slot < sys->nr_slots);
	s->count = count;
	if (s->page)
		hf_st(&s->page->swap_users, count, relaxed);
}

static bool find_free(struct hf_system *sys, size_t *slot)
{
	hf_assert_held(sys, &sys->swap_lock);
	for (size_t i = 0; i < sys->nr_slots; i++) {
		size_t at = (sys->slot_hint + i) % sys->nr_slots;

		if (sys->slots[at].count)
			continue;
		sys->slot_hint = at + 1;
		*slot = at;
		return true;
	}
	return false;
}

int hf_slot_hold(struct hf_system *sys, struct hf_page *page, size_t *slot)
{
	uint32_t has;
	int err = 0;

	hf_assert_page_locked(page);
	hf_assert(!hf_peek_order(page) && hf_peek_flags(page) & HF_PG_ANON);
	hf_mutex_lock(sys, &sys->swap_lock);
	has = hf_ld(&page->slot, relaxed);
	if (has) {
		*slot = has - 1;
		set_count(sys, *slot, sys->slots[*slot].count + 1);
	} else if (find_free(sys, slot)) {
		hf_page_get(page);
		set_page(sys, *slot, page);
		set_count(sys, *slot, 1);
		sys->slots[*slot].order = 0;
		hf_or(&page->flags, HF_PG_DIRTY, relaxed); /* the slot has other contents */
		hf_and(&page->flags, ~HF_PG_LINGERS, relaxed);
	} else {
		err = -HF_ENOSPC;
	}
	hf_mutex_unlock(sys, &sys->swap_lock);
	return err;
}

void hf_slot_get(struct hf_system *sys, size_t slot)
{
	hf_mutex_lock(sys, &sys->swap_lock);
	hf_assert(sys->slots[slot].count);
	set_count(sys, slot, sys->slots[slot].count + 1);
	hf_mutex_unlock(sys, &sys->swap_lock);
}

void hf_slot_put(struct hf_system *sys, size_t slot)
{
	struct hf_page *page = NULL;

	hf_mutex_lock(sys, &sys->swap_lock);
	hf_assert(sys->slots[slot].count);
	set_count(sys, slot, sys->slots[slot].count - 1);
	if (!sys->slots[slot].count) {
		page = sys->slots[slot].page;
		set_page(sys, slot, NULL);
		if (page && sys->policy->swap_cache_lingers)
			hf_or(&page->flags, HF_PG_LINGERS, relaxed);
	}
	hf_mutex_unlock(sys, &sys->swap_lock);
	if (page)
		hf_page_put(sys, page);
}

static struct hf_page *cache_get(struct hf_system *sys, size_t slot)
{
	struct hf_page *page;

	hf_mutex_lock(sys, &sys->swap_lock);
	page = sys->slots[slot].page;
	if (page)
		hf_page_get(page);
	hf_mutex_unlock(sys, &sys->swap_lock);
	return page;
}

/* One entry, and the caller. */
bool hf_swap_is_fresh(struct hf_system *sys, size_t slot)
{
	bool fresh;

	hf_mutex_lock(sys, &sys->swap_lock);
	fresh = !sys->slots[slot].page && sys->slots[slot].count == 2;
	hf_mutex_unlock(sys, &sys->swap_lock);
	return fresh;
}

/* ptl of the one entry that has the slot is held, as it is by whoever asks. */
void hf_slot_note_order(struct hf_system *sys, size_t slot, unsigned order)
{
	hf_assert(slot < sys->nr_slots && order < HF_PMD_ORDER + 1);
	sys->slots[slot].order = (uint8_t)order;
}

bool hf_swap_is_out_whole(struct hf_system *sys, size_t slot, unsigned order)
{
	bool whole = true;

	hf_assert(slot + (1u << order) <= sys->nr_slots);
	hf_mutex_lock(sys, &sys->swap_lock);
	for (size_t i = slot; i < slot + (1u << order); i++)
		whole &= !sys->slots[i].page && sys->slots[i].order >= order;
	hf_mutex_unlock(sys, &sys->swap_lock);
	return whole;
}

/* False: somebody else was first. */
static bool cache_add(struct hf_system *sys, size_t slot, struct hf_page *page)
{
	bool first;

	hf_assert_page_locked(page);
	hf_mutex_lock(sys, &sys->swap_lock);
	first = !sys->slots[slot].page;
	if (first) {
		hf_page_get(page);
		set_page(sys, slot, page);
	}
	hf_mutex_unlock(sys, &sys->swap_lock);
	return first;
}

static void cache_remove(struct hf_system *sys, size_t slot, struct hf_page *page)
{
	hf_assert_page_locked(page);
	hf_mutex_lock(sys, &sys->swap_lock);
	set_page(sys, slot, NULL);
	hf_mutex_unlock(sys, &sys->swap_lock);
	hf_page_put(sys, page);
}

bool hf_swap_cache_drop(struct hf_system *sys, size_t slot, struct hf_page *page)
{
	bool drop;

	hf_assert_page_locked(page);
	/* nobody finds the page any more while the lock is held:
	 * two references are the cache's and the caller's */
	hf_mutex_lock(sys, &sys->swap_lock);
	drop = hf_page_refs(page) == 2 && !(hf_ld(&page->flags, relaxed) & HF_PG_DIRTY);
	if (drop)
		set_page(sys, slot, NULL);
	hf_mutex_unlock(sys, &sys->swap_lock);
	if (drop)
		hf_page_put(sys, page);
	return drop;
}

bool hf_swap_cache_replace(struct hf_system *sys, struct hf_page *old, struct hf_page *new)
{
	uint32_t slot;
	bool exact;

	hf_assert_page_locked(old);
	hf_assert_page_locked(new);
	hf_mutex_lock(sys, &sys->swap_lock);
	slot = hf_ld(&old->slot, relaxed);
	exact = hf_page_refs(old) == (slot ? 2 : 1);
	if (exact && slot) {
		hf_page_get(new);
		set_page(sys, slot - 1, new);
	}
	hf_mutex_unlock(sys, &sys->swap_lock);
	if (exact && slot)
		hf_page_put(sys, old);
	return exact;
}

/* Locked already, so nobody uses it before it is read. -EAGAIN: somebody else was first. */
static int read_slot(struct hf_system *sys, size_t slot, struct hf_page **out)
{
	struct hf_page *page = hf_page_alloc_reclaim(sys);

	if (!page)
		return -HF_ENOMEM;
	hf_page_lock(sys, page);
	if (!cache_add(sys, slot, page)) {
		hf_page_unlock(page);
		hf_page_put(sys, page);
		return -HF_EAGAIN;
	}
	if (sys->swap->read(sys->swap->ctx, slot, hf_page_data(sys, page))) {
		cache_remove(sys, slot, page);
		hf_page_unlock(page);
		hf_page_put(sys, page);
		return -HF_EIO;
	}
	hf_count(sys, HF_STAT_SWAP_IN, 1);
	*out = page;
	return 0;
}

/*
 * The page goes into the cache before it is read: a reader that came later to the cache than to the
 * device could bring back what the slot held before the page was out, in and out again.
 */
int hf_swap_page(struct hf_system *sys, size_t slot, struct hf_page **out)
{
	int err = -HF_EAGAIN;

	while (err == -HF_EAGAIN) {
		struct hf_page *page = cache_get(sys, slot);

		if (!page) {
			err = read_slot(sys, slot, out);
			continue;
		}
		hf_page_lock(sys, page);
		*out = page;
		if (hf_ld(&page->slot, relaxed) == slot + 1)
			return 0;
		/* it left the cache, or could not be read */
		hf_page_unlock(page);
		hf_page_put(sys, page);
	}
	return err;
}

/* ---- on and off ---- */

int hf_swapon(struct hf_system *sys, const struct hf_swap_device *device)
{
	struct hf_swap_slot *slots;
	int err = -HF_EBUSY;

	if (!device->nr_slots || device->nr_slots > UINT32_MAX - 1)
		return -HF_EINVAL;
	slots = hf_alloc(sys, device->nr_slots * sizeof(*slots));
	if (!slots)
		return -HF_ENOMEM;
	__builtin_memset(slots, 0, device->nr_slots * sizeof(*slots));
	hf_mutex_lock(sys, &sys->swap_lock);
	if (!sys->swap) {
		sys->swap = device;
		sys->slots = slots;
		sys->nr_slots = device->nr_slots;
		err = 0;
	}
	hf_mutex_unlock(sys, &sys->swap_lock);
	if (err)
		hf_free(sys, slots, device->nr_slots * sizeof(*slots));
	return err;
}

void hf_swap_release(struct hf_system *sys)
{
	if (sys->swap)
		hf_free(sys, sys->slots, sys->nr_slots * sizeof(*sys->slots));
	sys->swap = NULL;
	sys->slots = NULL;
	sys->nr_slots = 0;
}

/* The first entry of a leaf that names a slot. */
struct find {
	uint64_t addr;
};

static int find_swapped(struct hf_mm *mm, struct hf_table *table, uint64_t start, uint64_t end,
			void *arg)
{
	struct find *find = arg;

	(void)mm;
	for (uint64_t addr = start; addr < end; addr += HF_PAGE_SIZE)
		if (hf_pte_swap(hf_ld(&table->entry[hf_pte_index(addr)], relaxed))) {
			find->addr = addr;
			return 1;
		}
	return 0;
}

/* Whole folios are never away. */
static int pass_over(struct hf_mm *mm, struct hf_table *table, uint64_t addr, void *arg)
{
	(void)mm;
	(void)table;
	(void)addr;
	(void)arg;
	return 0;
}

static const struct hf_walk swapped = { .leaf = find_swapped, .huge = pass_over };

static int bring_back(struct hf_mm *mm)
{
	struct find find;
	int err = 0;

	hf_mmap_read_lock(mm);
	while (!err && hf_for_each_leaf(mm, 0, HF_TASK_SIZE, &swapped, &find))
		err = hf_fault_locked(hf_vma_find(mm, find.addr), find.addr, 0);
	hf_mmap_read_unlock(mm);
	return err;
}

static bool in_use(struct hf_system *sys)
{
	hf_assert_held(sys, &sys->swap_lock);
	for (size_t i = 0; i < sys->nr_slots; i++)
		if (sys->slots[i].count)
			return true;
	return false;
}

int hf_swapoff(struct hf_system *sys)
{
	struct hf_mm *mm = NULL;
	int err = 0;

	if (!sys->swap)
		return -HF_EINVAL;
	hf_st(&sys->swapping, false, seq_cst);
	while (!err && (mm = hf_next_mm(sys, mm)))
		err = bring_back(mm);
	if (mm)
		hf_mm_put(mm);
	hf_mutex_lock(sys, &sys->swap_lock);
	if (!err && in_use(sys))
		err = -HF_EBUSY; /* a process that was born or is dying meanwhile */
	if (!err)
		hf_swap_release(sys);
	hf_mutex_unlock(sys, &sys->swap_lock);
	hf_st(&sys->swapping, true, seq_cst);
	return err;
}
