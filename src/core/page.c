/* SPDX-License-Identifier: MIT */
/* A page's counters, and its lock. */
#include "internal.h"

static uint32_t refs_of(uint64_t counts)
{
	return counts & HF_REFS_MAX;
}

static uint32_t pins_of(uint64_t counts, unsigned pin_class)
{
	return counts >> (pin_class ? 44 : 24) & HF_PINS_MAX;
}

uint32_t hf_page_refs(const struct hf_page *page)
{
	return refs_of(hf_ld(&hf_folio(page)->counts, seq_cst));
}

uint32_t hf_page_pins_of(const struct hf_page *page, unsigned pin_class)
{
	if (hf_folio_order(page))
		return (uint32_t)(hf_ld(&page->pins, seq_cst) >> (pin_class ? 32 : 0));
	return pins_of(hf_ld(&page->counts, seq_cst), pin_class);
}

uint32_t hf_folio_pins(const struct hf_page *page)
{
	uint64_t counts = hf_ld(&hf_folio(page)->counts, seq_cst);

	return pins_of(counts, 0) + pins_of(counts, 1);
}

uint32_t hf_page_pins(const struct hf_page *page)
{
	uint64_t pins;

	if (!hf_folio_order(page))
		return hf_folio_pins(page);
	pins = hf_ld(&page->pins, seq_cst);
	return (uint32_t)pins + (uint32_t)(pins >> 32);
}

uint32_t hf_page_mapcount(const struct hf_page *page)
{
	/* a split counts the page's own mapping, then takes the PMD's back: looked at the other way
	 * round, one that is under way counts twice rather than not at all */
	uint32_t entire = hf_ld(&hf_folio(page)->entire_mapcount, acquire);

	return entire +
	       hf_hint(&page->mapcount, relaxed); /* reclaim that sees an old one gives up */
}

uint32_t hf_folio_mapcount(const struct hf_page *page)
{
	if (!hf_folio_order(page))
		return hf_ld(&page->mapcount, relaxed);
	return hf_ld(&hf_folio(page)->large_mapcount, relaxed);
}

uint32_t hf_folio_most_mapped(const struct hf_page *page)
{
	const struct hf_page *head = hf_folio(page);
	uint32_t most = 0;

	for (size_t i = 0; i < hf_folio_pages(head); i++) {
		uint32_t n = hf_page_mapcount(head + i);

		most = n > most ? n : most;
	}
	return most;
}

uint32_t hf_folio_first_mapcount(const struct hf_page *page)
{
	return hf_ld(&hf_folio(page)->mapcount, relaxed);
}

bool hf_folio_behind_pmd(const struct hf_page *page)
{
	return hf_ld(&hf_folio(page)->entire_mapcount, relaxed);
}

size_t hf_folio_nr_pages(const struct hf_page *page)
{
	return hf_folio_pages(page);
}

bool hf_page_lingers(const struct hf_page *page)
{
	return hf_ld(&page->flags, relaxed) & HF_PG_LINGERS;
}

uint32_t hf_page_swap_users(const struct hf_page *page)
{
	return hf_ld(&page->swap_users, relaxed);
}

bool hf_page_maybe_pinned(const struct hf_page *page)
{
	uint64_t counts = hf_ld(&hf_folio(page)->counts, seq_cst);

	if (hf_folio_order(page))
		return pins_of(counts, 0) + pins_of(counts, 1);
	return refs_of(counts) + 1023ull * (pins_of(counts, 0) + pins_of(counts, 1)) >= 1024;
}

/* Users of GUP get half of the references.
 * Mappings, each with tables of its own, cannot use up the other half. */
static bool would_overflow(uint64_t counts, uint64_t delta)
{
	return refs_of(counts) + refs_of(delta) > HF_REFS_MAX / 2 ||
	       pins_of(counts, 0) + pins_of(delta, 0) > HF_PINS_MAX ||
	       pins_of(counts, 1) + pins_of(delta, 1) > HF_PINS_MAX;
}

static bool would_underflow(uint64_t counts, uint64_t delta)
{
	return refs_of(counts) < refs_of(delta) || pins_of(counts, 0) < pins_of(delta, 0) ||
	       pins_of(counts, 1) < pins_of(delta, 1);
}

static int grab_head(struct hf_page *head, uint64_t delta)
{
	uint64_t counts = hf_ref_ld(&head->counts, (int64_t)refs_of(delta));

	hf_assert(refs_of(delta));
	do {
		if (!refs_of(counts))
			return -HF_EAGAIN;
		if (would_overflow(counts, delta))
			return -HF_EOVERFLOW;
	} while (!hf_cas(&head->counts, &counts, counts + delta, seq_cst));
	return 0;
}

static uint64_t page_pins_of(uint64_t delta)
{
	return pins_of(delta, 0) | (uint64_t)pins_of(delta, 1) << 32;
}

static void forget(struct hf_page *page)
{
	hf_assert(hf_ld(&page->mapcount, relaxed) == 0);
	hf_assert(hf_ld(&page->pins, relaxed) == 0);
	hf_st(&page->flags, 0, relaxed);
	hf_st(&page->anon_vma, NULL, relaxed);
	hf_st(&page->file, NULL, relaxed);
}

/* The last reference went away: nothing maps the frames, nobody can find them but by number. */
static void folio_last_put(struct hf_system *sys, struct hf_page *head)
{
	unsigned order = hf_folio_order(head);

	hf_assert(hf_ld(&head->counts, relaxed) == 0);
	hf_assert(hf_ld(&head->entire_mapcount, relaxed) == 0);
	hf_assert(hf_ld(&head->large_mapcount, relaxed) == 0);
	if (!order) {
		if (hf_page_ksm(head))
			hf_ksm_forget(sys, head);
		forget(head);
		hf_page_free(sys, head);
		return;
	}
	if (hf_page_hugetlb(head)) {
		for (size_t i = 0; i < 1ul << order; i++)
			forget(head + i);
		hf_hugetlb_free(sys, head);
		return;
	}
	for (size_t i = 0; i < 1ul << order; i++) {
		forget(head + i);
		hf_st(&head[i].compound, 0, relaxed);
	}
	hf_buddy_free(sys, head, order);
}

static int drop_counts(struct hf_system *sys, struct hf_page *head, uint64_t delta)
{
	uint64_t counts = hf_ref_ld(&head->counts, -(int64_t)refs_of(delta));

	hf_assert(refs_of(delta));
	do {
		if (would_underflow(counts, delta))
			return -HF_EINVAL;
	} while (!hf_cas(&head->counts, &counts, counts - delta, acq_rel));
	if (!refs_of(counts - delta))
		folio_last_put(sys, head);
	return 0;
}

int hf_page_try_grab(struct hf_system *sys, struct hf_page *page, uint64_t delta)
{
	struct hf_page *head = hf_folio(page);
	int err = grab_head(head, delta);

	if (err)
		return err;
	/* between the two looks the folio may have been freed or split, and made again */
	if (hf_folio(page) != head) {
		err = drop_counts(sys, head, delta); /* perhaps the last by now */
		hf_assert(!err);
		return -HF_EAGAIN;
	}
	if (hf_folio_order(page) && page_pins_of(delta))
		hf_add(&page->pins, page_pins_of(delta), seq_cst);
	return 0;
}

int hf_page_release(struct hf_system *sys, struct hf_page *page, uint64_t delta)
{
	uint64_t pins = page_pins_of(delta);

	if (hf_folio_order(page) && pins) {
		uint64_t has = hf_ld(&page->pins, relaxed);

		do {
			if ((uint32_t)has < (uint32_t)pins || has >> 32 < pins >> 32)
				return -HF_EINVAL;
			/* the dirty mark and the count below publish what came through them */
		} while (!hf_cas(&page->pins, &has, has - pins, relaxed));
	}
	return drop_counts(sys, hf_folio(page), delta);
}

void hf_page_get(struct hf_page *page)
{
	uint64_t old = hf_ref_add(&hf_folio(page)->counts, HF_COUNT_REF, relaxed);

	hf_assert(refs_of(old) > 0 && refs_of(old) < HF_REFS_MAX);
	(void)old;
}

void hf_page_put(struct hf_system *sys, struct hf_page *page)
{
	int err = hf_page_release(sys, page, HF_COUNT_REF);

	hf_assert(!err);
	(void)err;
}

bool hf_page_trylock(struct hf_page *page)
{
	return !(hf_or(&hf_folio(page)->flags, HF_PG_LOCKED, acquire) & HF_PG_LOCKED);
}

void hf_page_lock(struct hf_system *sys, struct hf_page *page)
{
	while (!hf_page_trylock(page))
		sys->pf->relax(sys->pf->ctx);
}

void hf_page_unlock(struct hf_page *page)
{
	uint32_t old = hf_and(&hf_folio(page)->flags, ~HF_PG_LOCKED, release);

	hf_assert(old & HF_PG_LOCKED);
	(void)old;
}

bool hf_page_looks_pinned(const struct hf_system *sys, const struct hf_page *page)
{
	return sys->policy->estimates_pins ? hf_page_maybe_pinned(page) : hf_page_pins(page);
}
