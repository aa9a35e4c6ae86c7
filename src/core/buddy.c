/* SPDX-License-Identifier: MIT */
/*
 * Frames: a binary buddy allocator (orders 0 to HF_MAX_ORDER) under per-thread caches of single
 * frames.
 *
 * A cache belongs to no thread for good: threads are spread over HF_NR_PCP of them by number, each
 * has its own lock, and whoever finds the buddy empty drains them all. Lock order: one cache, then
 * the buddy.
 */
#include "internal.h"

#define PCP_BATCH 32
#define PCP_HIGH 96

static void list_add(struct hf_page **head, struct hf_page *page)
{
	hf_assert(!*head || !(*head)->prev);
	page->prev = NULL;
	page->next = *head;
	if (*head)
		(*head)->prev = page;
	*head = page;
}

static void list_del(struct hf_page **head, struct hf_page *page)
{
	hf_assert((page->prev ? page->prev->next : *head) == page);
	hf_assert(!page->next || page->next->prev == page);
	if (page->prev)
		page->prev->next = page->next;
	else
		*head = page->next;
	if (page->next)
		page->next->prev = page->prev;
}

static struct hf_page *list_pop(struct hf_page **head)
{
	struct hf_page *page = *head;

	if (page)
		list_del(head, page);
	return page;
}

static enum hf_zone zone_of(const struct hf_system *sys, const struct hf_page *page)
{
	return hf_page_longterm_pinnable(sys, page) ? HF_ZONE_NORMAL : HF_ZONE_MOVABLE;
}

static void block_add(struct hf_system *sys, struct hf_page *page, unsigned order)
{
	hf_assert_held(sys, &sys->buddy_lock);
	hf_assert(order <= HF_MAX_ORDER && !(hf_page_pfn(sys, page) & ((1ul << order) - 1)));
	page->order = order;
	hf_or(&page->flags, HF_PG_BUDDY, relaxed);
	list_add(&sys->free[zone_of(sys, page)][order], page);
}

static void block_del(struct hf_system *sys, struct hf_page *page)
{
	hf_assert_held(sys, &sys->buddy_lock);
	hf_assert(page->order <= HF_MAX_ORDER);
	hf_and(&page->flags, ~HF_PG_BUDDY, relaxed);
	list_del(&sys->free[zone_of(sys, page)][page->order], page);
}

static struct hf_page *zone_alloc(struct hf_system *sys, enum hf_zone zone, unsigned order)
{
	unsigned found = order;
	struct hf_page *page;

	hf_assert_held(sys, &sys->buddy_lock);
	while (found <= HF_MAX_ORDER && !sys->free[zone][found])
		found++;
	if (found > HF_MAX_ORDER)
		return NULL;
	page = sys->free[zone][found];
	block_del(sys, page);
	while (found > order) {
		found--;
		block_add(sys, page + (1ul << found), found);
	}
	sys->nr_buddy_free -= 1ul << order;
	return page;
}

/* What can be moved goes where it must be movable, as long as there is room. */
static struct hf_page *block_alloc(struct hf_system *sys, unsigned order)
{
	struct hf_page *page = zone_alloc(sys, HF_ZONE_MOVABLE, order);

	return page ? page : zone_alloc(sys, HF_ZONE_NORMAL, order);
}

static void block_free(struct hf_system *sys, struct hf_page *page, unsigned order)
{
	uint64_t pfn = hf_page_pfn(sys, page);

	hf_assert_held(sys, &sys->buddy_lock);
	hf_assert(!hf_peek_refs(page) && !(hf_peek(&page->flags) & HF_PG_BUDDY));
	sys->nr_buddy_free += 1ul << order;
	while (order < HF_MAX_ORDER) {
		uint64_t buddy_pfn = pfn ^ (1ul << order);
		struct hf_page *buddy = &sys->pages[buddy_pfn];

		if (buddy_pfn + (1ul << order) > sys->nr_frames ||
		    zone_of(sys, buddy) != zone_of(sys, page) ||
		    !(hf_ld(&buddy->flags, relaxed) & HF_PG_BUDDY) || buddy->order != order)
			break;
		block_del(sys, buddy);
		pfn &= ~(1ul << order);
		order++;
	}
	block_add(sys, &sys->pages[pfn], order);
}

/* Junk in a free frame that was written to means that somebody still used it. */
static void poison(struct hf_system *sys, struct hf_page *page)
{
	if (!(sys->flags & HF_SYSTEM_DEBUG))
		return;
	hf_fill(hf_page_data(sys, page), HF_POISON, HF_PAGE_SIZE);
	page->poisoned = true;
}

static void check_poison(struct hf_system *sys, struct hf_page *page)
{
	hf_assert(!page->poisoned || hf_frame_filled(sys, page, HF_POISON));
}

static void page_prep(struct hf_system *sys, struct hf_page *page)
{
	hf_assert(hf_page_refs(page) == 0);
	check_poison(sys, page);
	/* release: lockless walkers that see the reference see the cleared flags */
	hf_st(&page->counts, HF_COUNT_REF, release);
}

static struct hf_page *buddy_alloc(struct hf_system *sys, unsigned order, bool normal)
{
	struct hf_page *page;

	hf_mutex_lock(sys, &sys->buddy_lock);
	page = normal ? zone_alloc(sys, HF_ZONE_NORMAL, order) : block_alloc(sys, order);
	hf_mutex_unlock(sys, &sys->buddy_lock);
	return page;
}

void hf_buddy_free(struct hf_system *sys, struct hf_page *page, unsigned order)
{
	for (size_t i = 0; i < 1ul << order; i++)
		poison(sys, page + i);
	hf_mutex_lock(sys, &sys->buddy_lock);
	block_free(sys, page, order);
	hf_mutex_unlock(sys, &sys->buddy_lock);
}

static struct hf_pcp *pcp_lock(struct hf_system *sys)
{
	struct hf_pcp *pcp = &sys->pcp[sys->pf->thread_id(sys->pf->ctx) % HF_NR_PCP];

	hf_mutex_lock(sys, &pcp->lock);
	return pcp;
}

static void pcp_push(struct hf_pcp *pcp, struct hf_page *page)
{
	hf_assert(!hf_peek_order(page) && !(hf_peek(&page->flags) & HF_PG_BUDDY));
	hf_or(&page->flags, HF_PG_CACHED, relaxed);
	list_add(&pcp->list, page);
	hf_add(&pcp->count, 1, relaxed);
}

static struct hf_page *pcp_pop(struct hf_pcp *pcp)
{
	struct hf_page *page = list_pop(&pcp->list);

	if (page) {
		hf_and(&page->flags, ~HF_PG_CACHED, relaxed);
		hf_sub(&pcp->count, 1, relaxed);
	}
	return page;
}

static void pcp_refill(struct hf_system *sys, struct hf_pcp *pcp)
{
	struct hf_page *page;

	hf_assert_held(sys, &pcp->lock);
	hf_mutex_lock(sys, &sys->buddy_lock);
	for (int i = 0; i < PCP_BATCH && (page = block_alloc(sys, 0)); i++)
		pcp_push(pcp, page);
	hf_mutex_unlock(sys, &sys->buddy_lock);
}

/* Gives frames back to the buddy until at most `keep` are left. */
static void pcp_drain(struct hf_system *sys, struct hf_pcp *pcp, uint32_t keep)
{
	hf_assert_held(sys, &pcp->lock);
	hf_mutex_lock(sys, &sys->buddy_lock);
	while (hf_ld(&pcp->count, relaxed) > keep)
		block_free(sys, pcp_pop(pcp), 0);
	hf_mutex_unlock(sys, &sys->buddy_lock);
}

static void drain_all(struct hf_system *sys)
{
	hf_lru_drain_all(sys);
	for (size_t i = 0; i < HF_NR_PCP; i++) {
		struct hf_pcp *pcp = &sys->pcp[i];

		/* what comes there meanwhile was not free before */
		if (!hf_hint(&pcp->count, relaxed))
			continue;
		hf_mutex_lock(sys, &pcp->lock);
		pcp_drain(sys, pcp, 0);
		hf_mutex_unlock(sys, &pcp->lock);
	}
}

static struct hf_page *pcp_alloc(struct hf_system *sys)
{
	struct hf_pcp *pcp = pcp_lock(sys);
	struct hf_page *page;

	if (!pcp->list)
		pcp_refill(sys, pcp);
	page = pcp_pop(pcp);
	hf_mutex_unlock(sys, &pcp->lock);
	return page;
}

struct hf_page *hf_page_alloc(struct hf_system *sys)
{
	struct hf_page *page = pcp_alloc(sys);

	if (!page) {
		drain_all(sys);
		page = pcp_alloc(sys);
	}
	if (page)
		page_prep(sys, page);
	return page;
}

static struct hf_page *folio_alloc(struct hf_system *sys, unsigned order, bool normal)
{
	struct hf_page *head = buddy_alloc(sys, order, normal);

	if (!head) {
		drain_all(sys);
		head = buddy_alloc(sys, order, normal);
	}
	if (!head)
		return NULL;
	head->owner[0] = head->owner[1] = (struct hf_owner){ .entries = 0 };
	hf_st(&head->maybe_shared, false, relaxed);
	for (uint32_t i = 0; i < 1u << order; i++) {
		check_poison(sys, head + i);
		hf_st(&head[i].compound, HF_COMPOUND(order, i), relaxed);
	}
	hf_st(&head->counts, HF_COUNT_REF, release);
	return head;
}

struct hf_page *hf_folio_alloc(struct hf_system *sys, unsigned order)
{
	return order ? folio_alloc(sys, order, false) : hf_page_alloc(sys);
}

struct hf_page *hf_folio_alloc_normal(struct hf_system *sys, unsigned order)
{
	return folio_alloc(sys, order, true);
}

struct hf_page *hf_buddy_isolate(struct hf_system *sys, uint64_t pfn, uint64_t end)
{
	struct hf_page *list = NULL;

	drain_all(sys);
	hf_mutex_lock(sys, &sys->buddy_lock);
	for (uint64_t i = pfn; i < end; i++) {
		struct hf_page *page = &sys->pages[i];

		if (!(hf_ld(&page->flags, relaxed) & HF_PG_BUDDY))
			continue;
		block_del(sys, page);
		sys->nr_buddy_free -= 1ul << page->order;
		page->next = list;
		list = page;
	}
	hf_mutex_unlock(sys, &sys->buddy_lock);
	return list;
}

void hf_buddy_unisolate(struct hf_system *sys, struct hf_page *list)
{
	drain_all(sys);
	hf_mutex_lock(sys, &sys->buddy_lock);
	while (list) {
		struct hf_page *page = list;

		list = page->next;
		block_free(sys, page, page->order);
	}
	hf_mutex_unlock(sys, &sys->buddy_lock);
}

void hf_page_free(struct hf_system *sys, struct hf_page *page)
{
	struct hf_pcp *pcp;

	poison(sys, page);
	pcp = pcp_lock(sys);
	pcp_push(pcp, page);
	if (hf_hint(&pcp->count, relaxed) > PCP_HIGH)
		pcp_drain(sys, pcp, PCP_HIGH - PCP_BATCH);
	hf_mutex_unlock(sys, &pcp->lock);
}

size_t hf_nr_free(struct hf_system *sys)
{
	size_t n;

	hf_mutex_lock(sys, &sys->buddy_lock);
	n = sys->nr_buddy_free;
	hf_mutex_unlock(sys, &sys->buddy_lock);
	for (size_t i = 0; i < HF_NR_PCP; i++)
		n += hf_ld(&sys->pcp[i].count, relaxed);
	return n;
}

/* Frame 0 is the zeropage; the others are the largest aligned blocks that their zone has. */
void hf_buddy_init(struct hf_system *sys)
{
	uint64_t pfn = 1, end = sys->movable_start;

	hf_mutex_lock(sys, &sys->buddy_lock);
	while (pfn < sys->nr_frames) {
		unsigned order = HF_MAX_ORDER;

		if (pfn == end)
			end = sys->nr_frames;
		while (pfn & ((1ul << order) - 1) || pfn + (1ul << order) > end)
			order--;
		block_add(sys, &sys->pages[pfn], order);
		sys->nr_buddy_free += 1ul << order;
		pfn += 1ul << order;
	}
	hf_mutex_unlock(sys, &sys->buddy_lock);
}
