/* SPDX-License-Identifier: MIT */
/* A page's counters, its lock, and the one way to share it. */
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
	return refs_of(hf_ld(&page->counts, seq_cst));
}

uint32_t hf_page_pins_of(const struct hf_page *page, unsigned pin_class)
{
	return pins_of(hf_ld(&page->counts, seq_cst), pin_class);
}

uint32_t hf_page_pins(const struct hf_page *page)
{
	uint64_t counts = hf_ld(&page->counts, seq_cst);

	return pins_of(counts, 0) + pins_of(counts, 1);
}

uint32_t hf_page_mapcount(const struct hf_page *page)
{
	return hf_ld(&page->mapcount, relaxed);
}

uint32_t hf_page_swap_users(const struct hf_page *page)
{
	return hf_ld(&page->swap_users, relaxed);
}

bool hf_page_exclusive(const struct hf_page *page)
{
	return hf_ld(&page->flags, acquire) & HF_PG_EXCLUSIVE;
}

bool hf_page_maybe_pinned(const struct hf_page *page)
{
	uint64_t counts = hf_ld(&page->counts, seq_cst);

	return refs_of(counts) + 1023ull * (pins_of(counts, 0) + pins_of(counts, 1)) >= 1024;
}

/* Users of GUP get half of the references. Mappings, each with tables of its own, cannot use up the
 * other half. */
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

int hf_page_try_grab(struct hf_page *page, uint64_t delta)
{
	uint64_t counts = hf_ld(&page->counts, relaxed);

	do {
		if (!refs_of(counts))
			return -HF_EAGAIN;
		if (would_overflow(counts, delta))
			return -HF_EOVERFLOW;
	} while (!hf_cas(&page->counts, &counts, counts + delta, seq_cst));
	return 0;
}

/* The last reference went away: nothing maps the frame, nobody can find it but by its number. */
static void page_last_put(struct hf_system *sys, struct hf_page *page)
{
	hf_assert(hf_ld(&page->counts, relaxed) == 0);
	hf_assert(hf_ld(&page->mapcount, relaxed) == 0);
	hf_st(&page->flags, 0, relaxed);
	hf_st(&page->anon_vma, NULL, relaxed);
	hf_add(&page->generation, 1, release);
	hf_page_free(sys, page);
}

int hf_page_release(struct hf_system *sys, struct hf_page *page, uint64_t delta)
{
	uint64_t counts = hf_ld(&page->counts, relaxed);

	do {
		if (would_underflow(counts, delta))
			return -HF_EINVAL;
	} while (!hf_cas(&page->counts, &counts, counts - delta, acq_rel));
	if (!refs_of(counts - delta))
		page_last_put(sys, page);
	return 0;
}

void hf_page_get(struct hf_page *page)
{
	uint64_t old = hf_add(&page->counts, HF_COUNT_REF, seq_cst);

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
	return !(hf_or(&page->flags, HF_PG_LOCKED, acquire) & HF_PG_LOCKED);
}

void hf_page_lock(struct hf_system *sys, struct hf_page *page)
{
	while (!hf_page_trylock(page))
		sys->pf->relax(sys->pf->ctx);
}

void hf_page_unlock(struct hf_page *page)
{
	uint32_t old = hf_and(&page->flags, ~HF_PG_LOCKED, release);

	hf_assert(old & HF_PG_LOCKED);
	(void)old;
}

int hf_page_try_share(struct hf_system *sys, struct hf_page *page)
{
	const struct hf_policy *policy = sys->policy;

	if (!policy->has_mark || !hf_page_exclusive(page))
		return 0;
	if (!policy->pins_shared && hf_page_pins(page))
		return -HF_EBUSY;
	hf_and(&page->flags, ~HF_PG_EXCLUSIVE, release);
	return 0;
}
